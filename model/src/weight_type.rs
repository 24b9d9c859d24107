//! How weights lie in memory.

use candle_core::{D, DType, Tensor};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::fused::{Blocks, row_bytes};

/// The type that weights are held in where they are not trained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WeightType {
    /// 32 bits: what all arithmetic is done in.
    #[default]
    F32,
    /// 16 bits, of which 8 are the number's first digits: relative errors up to 0.4 %.
    Bf16,
    /// 8 bits, and 16 for a scale that 32 numbers of a row share: errors up to 0.4 % of the largest
    /// among them. Tables, and maps of rows that such groups do not fill, are held as bf16, but what a
    /// GGUF file has in this form (`Q8_0`) is held as it is. Such a model can be run, but neither
    /// trained nor saved.
    Int8,
}

impl WeightType {
    /// A weight `[out, in]`, or a table, in this type.
    pub(crate) fn of(self, weight: &Tensor, is_map: bool) -> Result<Tensor> {
        Ok(match self {
            Self::F32 => weight.to_dtype(DType::F32)?,
            Self::Int8 if is_map && row_bytes(weight.dim(D::Minus1)?).is_some() => {
                let weight = weight.to_dtype(DType::F32)?.contiguous()?;
                weight.apply_op1_no_bwd(&Blocks)?
            }
            Self::Bf16 | Self::Int8 => weight.to_dtype(DType::BF16)?,
        })
    }
}
