//! Layers whose inner activations are not kept for the backward pass (gradient checkpointing, Chen et
//! al. 2016, arXiv 1604.06174).

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, Storage, Tensor, Var, bail};

use crate::language::{LanguageModel, Positions};

/// A frozen layer of a language model as one operation: of the forward pass only its input
/// `[B, T, width]` is kept, and the backward pass computes the layer once more.
///
/// The numbers are those of the layer itself, bit for bit. Memory in the backward pass is that of one
/// layer's graph. The layer must have no variable: its gradient would be lost.
pub(crate) struct RecomputedLayer {
    pub(crate) language: Arc<dyn LanguageModel>,
    pub(crate) layer: usize,
    pub(crate) positions: Arc<Positions>,
}

impl RecomputedLayer {
    fn run(&self, hidden: &Tensor) -> Result<Tensor> {
        let run = self
            .language
            .layer(self.layer, hidden, &self.positions, None);
        run.map_err(candle_core::Error::wrap)
    }
}

impl CustomOp1 for RecomputedLayer {
    fn name(&self) -> &'static str {
        "recomputed-layer"
    }

    fn cpu_fwd(&self, hidden: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("{} needs a contiguous tensor", self.name());
        };
        let values = &hidden.as_slice::<f32>()?[start..end];
        // Without a graph: what the layer computes on its way is freed at once.
        let hidden = Tensor::from_slice(values, layout.shape(), &candle_core::Device::Cpu)?;
        let output = self.run(&hidden)?.contiguous()?;
        let (storage, layout) = output.storage_and_layout();
        let Storage::Cpu(storage) = &*storage else {
            bail!("{} runs on the CPU", self.name());
        };
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("{} needs a contiguous result", self.name());
        };
        let values = storage.as_slice::<f32>()?[start..end].to_vec();
        Ok((CpuStorage::F32(values), layout.shape().clone()))
    }

    fn bwd(&self, hidden: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let hidden = Var::from_tensor(&hidden.detach())?;
        let output = self.run(&hidden)?;
        // The sum's gradient is `gradient`, so that of its input is what the layer passes on.
        let gradients = (output * gradient.detach())?.sum_all()?.backward()?;
        Ok(gradients.get(&hidden).cloned())
    }
}
