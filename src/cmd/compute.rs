//! Where commands run a model, and in which numbers.

use clap::{Args, ValueEnum};

use crate::model::{DeviceName, Precision, WeightType};
use crate::trained::Running;

/// How a trained model is run.
#[derive(Debug, Args)]
pub(super) struct Compute {
    /// Where to compute: cpu, cuda, cuda:1, metal; GPUs need a build with the feature of their name
    #[arg(long, value_name = "DEVICE", default_value = "cpu")]
    device: DeviceName,
    /// Numbers to compute in: f32; bf16 on a GPU; f64 to judge the others by, slowly
    #[arg(long, value_enum, default_value_t = Numbers::F32)]
    precision: Numbers,
    /// How weights are held in memory: bf16 takes half and rounds each to 8 binary digits; int8 takes
    /// little more than a third, less exactly
    #[arg(long, value_enum, default_value_t = Weights::F32)]
    weights: Weights,
}

/// The type of numbers computed in.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Numbers {
    F32,
    Bf16,
    F64,
}

/// The type of weights in memory.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum Weights {
    F32,
    Bf16,
    Int8,
}

impl Compute {
    /// The same as the library names it.
    pub(super) fn running(&self) -> Running {
        Running {
            device: self.device,
            precision: match self.precision {
                Numbers::F32 => Precision::F32,
                Numbers::Bf16 => Precision::Bf16,
                Numbers::F64 => Precision::F64,
            },
            weights: match self.weights {
                Weights::F32 => WeightType::F32,
                Weights::Bf16 => WeightType::Bf16,
                Weights::Int8 => WeightType::Int8,
            },
        }
    }
}
