//! Training: steps, the optimiser, the learning rate, and checkpoints.
//!
//! The recipe is the paper's (Alayrac et al. 2022, section 2.4 and appendix B.1.2): one gradient per
//! data set, weighted and summed, then one update; AdamW; gradients clipped by their global norm;
//! a linear warm-up.

mod checkpoint;
mod collective;
mod gradients;
mod moments;
#[cfg(feature = "nccl")]
mod nccl;
mod optimizer;
mod schedule;
mod step;

use serde::{Deserialize, Serialize};

use crate::group::Group;
use crate::{Error, Result};

pub use checkpoint::Checkpoint;
pub(crate) use checkpoint::{
    CONFIG_FILE, MODEL_FILE, OPTIMIZER_FILE, TRAINING_FILE, content_error, file_error,
    replace_directory, save_parts, write_file, write_tensors,
};
pub use collective::{Collective, Single, Star};
pub(crate) use gradients::Gradients;
#[cfg(feature = "nccl")]
pub use nccl::Nccl;
pub(crate) use optimizer::{AdamW, Update};
pub(crate) use schedule::Rates;
pub use schedule::Schedule;
pub(crate) use step::on_deep_stack;
pub use step::{StepReport, Trainer};

/// How to train. Defaults follow the paper and OpenFlamingo's `train.py`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TrainConfig {
    /// Which parts are trained. The paper trains the default, on pretrained encoders and language
    /// models; a model that starts from nothing must train the first five groups, all but `lora`.
    pub trainable: Vec<Group>,
    /// Layers of the frozen language model keep only their input for the backward pass, which
    /// computes them once more: less memory, more work, the same numbers.
    #[serde(skip_serializing_if = "is_false")]
    pub gradient_checkpointing: bool,
    /// Learning rate after the warm-up.
    pub learning_rate: f64,
    /// Steps over which the rate rises linearly from 0; the very first step has rate 0 then.
    pub warmup_steps: usize,
    /// What becomes of the rate after that.
    pub schedule: Schedule,
    /// The step at which a falling rate reaches 0.
    pub schedule_steps: usize,
    /// Decay of matrices per step, times the learning rate. Resampler and embeddings are never
    /// decayed.
    pub weight_decay: f64,
    /// Whether norms, biases and gates are decayed as well; OpenFlamingo does so inside gated
    /// blocks.
    pub decay_norms_and_gates: bool,
    /// The gradient of all parameters together is scaled down to this norm.
    pub clip_norm: f64,
    /// Averaging of the gradient and of its square.
    pub betas: [f64; 2],
    /// Added to the root of the averaged square.
    pub epsilon: f64,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            trainable: vec![Group::Resampler, Group::GatedXattn, Group::Embeddings],
            gradient_checkpointing: false,
            learning_rate: 1e-4,
            warmup_steps: 5000,
            schedule: Schedule::Constant,
            schedule_steps: 0,
            weight_decay: 0.1,
            decay_norms_and_gates: false,
            clip_norm: 1.0,
            betas: [0.9, 0.999],
            epsilon: 1e-8,
        }
    }
}

fn is_false(value: &bool) -> bool {
    !value
}

impl TrainConfig {
    fn rates(&self) -> Rates {
        Rates {
            learning_rate: self.learning_rate,
            warmup_steps: self.warmup_steps,
            schedule: self.schedule,
            schedule_steps: self.schedule_steps,
        }
    }

    /// Checks what the types cannot hold.
    ///
    /// # Errors
    /// [`Error::Setting`] names the first setting that makes no sense.
    pub fn validate(&self) -> Result<()> {
        let setting = |holds: bool, setting: &str, found: String, must: &str| {
            if holds {
                return Ok(());
            }
            Err(Error::Setting {
                setting: format!("train.{setting}"),
                found,
                must: must.to_owned(),
            })
        };
        setting(
            !self.trainable.is_empty(),
            "trainable",
            "empty".to_owned(),
            "name at least one group",
        )?;
        let trains_layers = [Group::Language, Group::Lora]
            .iter()
            .any(|group| self.trainable.contains(group));
        setting(
            !self.gradient_checkpointing || !trains_layers,
            "gradient_checkpointing",
            "true".to_owned(),
            "it is for layers that are frozen: leave it out, or `language` and `lora` out of \
             train.trainable",
        )?;
        for (name, value) in [
            ("learning_rate", self.learning_rate),
            ("clip_norm", self.clip_norm),
            ("epsilon", self.epsilon),
        ] {
            let holds = value > 0.0 && value.is_finite();
            setting(holds, name, value.to_string(), "it must be above 0")?;
        }
        let is_falling = self.schedule != Schedule::Constant;
        setting(
            !is_falling || self.schedule_steps > self.warmup_steps,
            "schedule_steps",
            self.schedule_steps.to_string(),
            "it must exceed train.warmup_steps where the rate falls",
        )?;
        let decay = self.weight_decay;
        let holds = decay >= 0.0 && decay.is_finite();
        setting(
            holds,
            "weight_decay",
            decay.to_string(),
            "it must be at least 0",
        )?;
        for beta in self.betas {
            let holds = (0.0..1.0).contains(&beta);
            setting(holds, "betas", beta.to_string(), "each must lie in [0, 1)")?;
        }
        Ok(())
    }
}
