//! Updates of low rank beside frozen maps (LoRA, Hu et al. 2021, arXiv 2106.09685, section 4.1).

use candle_core::Tensor;

use crate::Result;
use crate::init::{Init, ParameterStore};
use crate::language::LoraConfig;
use crate::linear::product;

/// What is added to a map: `scale * B A`, `A` `[rank, in]` and `B` `[out, rank]`.
pub(crate) struct LowRank {
    a: Tensor,
    b: Tensor,
    scale: f64,
}

impl LowRank {
    /// The update of the map called `name`. It starts at zero; what is trained of it is f32,
    /// whatever the map's weight is.
    pub(crate) fn new(
        parameters: &mut ParameterStore,
        name: &str,
        [outputs, inputs]: [usize; 2],
        lora: &LoraConfig,
    ) -> Result<Self> {
        let rank = lora.rank;
        let a = format!("{name}.lora_A.weight");
        let b = format!("{name}.lora_B.weight");
        Ok(Self {
            a: parameters.get(&a, &[rank, inputs], Init::fan_in(inputs, 1.0))?,
            b: parameters.get(&b, &[outputs, rank], Init::Zeros)?,
            scale: lora.alpha / rank as f64,
        })
    }

    /// Of outputs `start .. start + count` alone.
    pub(crate) fn rows(&self, start: usize, count: usize) -> Result<Self> {
        Ok(Self {
            a: self.a.clone(),
            b: self.b.narrow(0, start, count)?,
            scale: self.scale,
        })
    }

    /// `[M, in]` to `[M, out]`.
    pub(crate) fn forward(&self, rows: &Tensor) -> Result<Tensor> {
        Ok((product(&product(rows, &self.a)?, &self.b)? * self.scale)?)
    }
}
