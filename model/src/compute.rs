//! Where a model computes, and in which type of numbers.

use std::fmt;
use std::str::FromStr;

use candle_core::{DType, Device, Tensor};
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// A processor: `cpu`, `cuda` or `cuda:1` (the first GPU has number 0), `metal`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceName {
    /// The processor itself.
    #[default]
    Cpu,
    /// An NVIDIA GPU by its number; builds with the feature `cuda` have it.
    Cuda(usize),
    /// An Apple GPU by its number; builds with the feature `metal` have it.
    Metal(usize),
}

impl DeviceName {
    /// Whether programs built with these features know the device.
    #[must_use]
    pub fn is_built_in(self) -> bool {
        match self {
            Self::Cpu => true,
            Self::Cuda(_) => cfg!(feature = "cuda"),
            Self::Metal(_) => cfg!(feature = "metal"),
        }
    }

    fn open(self) -> Result<Device> {
        let refused = |must: String| Error::Setting {
            setting: "device".to_owned(),
            found: self.to_string(),
            must,
        };
        let feature = match self {
            Self::Cpu => return Ok(Device::Cpu),
            Self::Cuda(_) => "cuda",
            Self::Metal(_) => "metal",
        };
        if !self.is_built_in() {
            return Err(refused(format!(
                "this program was built without `--features {feature}`"
            )));
        }
        let opened = match self {
            Self::Cpu => Ok(Device::Cpu),
            Self::Cuda(number) => Device::new_cuda(number),
            Self::Metal(number) => Device::new_metal(number),
        };
        opened.map_err(|cause| refused(format!("it cannot be used: {cause}")))
    }
}

impl fmt::Display for DeviceName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cpu => write!(formatter, "cpu"),
            Self::Cuda(number) => write!(formatter, "cuda:{number}"),
            Self::Metal(number) => write!(formatter, "metal:{number}"),
        }
    }
}

impl FromStr for DeviceName {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let (kind, number) = text.split_once(':').unwrap_or((text, "0"));
        match (kind, number.parse()) {
            ("cpu", Ok(0)) => Ok(Self::Cpu),
            ("cuda", Ok(number)) => Ok(Self::Cuda(number)),
            ("metal", Ok(number)) => Ok(Self::Metal(number)),
            _ => Err(Error::Setting {
                setting: "device".to_owned(),
                found: text.to_owned(),
                must: "it must be cpu, cuda, cuda:N or metal".to_owned(),
            }),
        }
    }
}

impl TryFrom<String> for DeviceName {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<DeviceName> for String {
    fn from(name: DeviceName) -> Self {
        name.to_string()
    }
}

/// The type of numbers that flow through a model. Trained weights and the optimiser's numbers are f32
/// in any case.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// 32 bits.
    #[default]
    F32,
    /// 16 bits, of which 8 are digits, on a GPU: half the memory, and its matrix units' full speed.
    /// Norms, softmax and the loss are computed in f32, frozen matrices are held in 16 bits.
    Bf16,
    /// 64 bits, slowly and anywhere but on Apple's GPUs: to judge the others by.
    F64,
}

impl Precision {
    fn dtype(self) -> DType {
        match self {
            Self::F32 => DType::F32,
            Self::Bf16 => DType::BF16,
            Self::F64 => DType::F64,
        }
    }
}

/// Where a model computes, and in which type of numbers; f32 on the CPU unless said otherwise.
///
/// f32 on the CPU goes through operations of this crate; everything else through candle's own,
/// one after the other, which is slower there and takes more memory.
#[derive(Debug, Clone)]
pub struct Compute {
    device: Device,
    dtype: DType,
}

impl Default for Compute {
    fn default() -> Self {
        Self {
            device: Device::Cpu,
            dtype: DType::F32,
        }
    }
}

impl Compute {
    /// Opens the device.
    ///
    /// # Errors
    /// [`Error::Setting`] where the program was built without it, there is none of this number, or it
    /// does not compute in this precision.
    pub fn new(device: DeviceName, precision: Precision) -> Result<Self> {
        let must = match (device, precision) {
            (DeviceName::Cpu, Precision::Bf16) => {
                "the CPU computes in f32 (`--weights bf16` halves a model's memory there)"
            }
            (DeviceName::Metal(_), Precision::F64) => "Apple's GPUs do not compute in it",
            _ => {
                return Ok(Self {
                    device: device.open()?,
                    dtype: precision.dtype(),
                });
            }
        };
        Err(Error::Setting {
            setting: "precision".to_owned(),
            found: format!("{precision:?}").to_lowercase(),
            must: must.to_owned(),
        })
    }

    /// On the CPU, in a type that nobody asks for there.
    #[cfg(test)]
    pub(crate) fn in_type(dtype: DType) -> Self {
        Self {
            device: Device::Cpu,
            dtype,
        }
    }

    /// The device that tensors lie on.
    #[must_use]
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The type of activations.
    pub(crate) fn dtype(&self) -> DType {
        self.dtype
    }

    /// Whether this crate's own operations do the work.
    pub(crate) fn is_ours(&self) -> bool {
        self.device.is_cpu() && self.dtype == DType::F32
    }

    /// An input on the device, in the type of activations.
    ///
    /// # Errors
    /// The device has no memory for it.
    pub fn take(&self, input: &Tensor) -> Result<Tensor> {
        Ok(input.to_device(&self.device)?.to_dtype(self.dtype)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_read_as_it_is_told() {
        for (text, name) in [
            ("cpu", DeviceName::Cpu),
            ("cuda", DeviceName::Cuda(0)),
            ("cuda:3", DeviceName::Cuda(3)),
            ("metal", DeviceName::Metal(0)),
        ] {
            assert_eq!(text.parse::<DeviceName>().unwrap(), name);
            assert_eq!(name.to_string().parse::<DeviceName>().unwrap(), name);
        }
        for text in ["", "gpu", "cpu:1", "cuda:", "cuda:-1", "cuda:x"] {
            let message = text.parse::<DeviceName>().unwrap_err().to_string();
            assert!(message.contains("it must be cpu, cuda"), "{message}");
        }
    }

    #[test]
    fn what_the_program_was_not_built_with_is_refused_by_name() {
        let message = |device, precision| {
            let refused = Compute::new(device, precision);
            refused.err().map(|error| error.to_string())
        };
        if !cfg!(feature = "cuda") {
            let message = message(DeviceName::Cuda(1), Precision::F32).unwrap();
            assert!(
                message.contains("cuda:1") && message.contains("--features cuda"),
                "{message}"
            );
        }
        let message = message(DeviceName::Cpu, Precision::Bf16).unwrap();
        assert!(message.contains("--weights bf16"), "{message}");
    }
}
