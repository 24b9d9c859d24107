//! Layers whose inner activations are not kept for the backward pass (gradient checkpointing, Chen et
//! al. 2016, arXiv 1604.06174).

use std::sync::Arc;

use candle_core::backend::BackendStorage;
use candle_core::op::BackpropOp;
use candle_core::{
    CpuStorage, CudaStorage, CustomOp1, Layout, MetalStorage, Result, Shape, Storage, Tensor, Var,
    bail,
};

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

    /// The forward pass on any device, without a graph: what the layer computes on its way is freed at
    /// once.
    fn run_alone(&self, hidden: Storage, layout: &Layout) -> Result<(Storage, Shape)> {
        if !layout.is_contiguous() || layout.start_offset() > 0 {
            bail!("{} needs a tensor that lies in one piece", self.name());
        }
        let shape = layout.shape().clone();
        let hidden = Tensor::from_storage(hidden, shape, BackpropOp::none(), false);
        let output = self.run(&hidden)?.force_contiguous()?;
        let (storage, layout) = output.storage_and_layout();
        Ok((storage.try_clone(layout)?, layout.shape().clone()))
    }
}

impl CustomOp1 for RecomputedLayer {
    fn name(&self) -> &'static str {
        "recomputed-layer"
    }

    fn cpu_fwd(&self, hidden: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        match self.run_alone(Storage::Cpu(hidden.clone()), layout)? {
            (Storage::Cpu(storage), shape) => Ok((storage, shape)),
            _ => bail!("{} left the CPU", self.name()),
        }
    }

    fn cuda_fwd(&self, hidden: &CudaStorage, layout: &Layout) -> Result<(CudaStorage, Shape)> {
        match self.run_alone(Storage::Cuda(hidden.try_clone(layout)?), layout)? {
            (Storage::Cuda(storage), shape) => Ok((storage, shape)),
            _ => bail!("{} left the GPU", self.name()),
        }
    }

    fn metal_fwd(&self, hidden: &MetalStorage, layout: &Layout) -> Result<(MetalStorage, Shape)> {
        match self.run_alone(Storage::Metal(hidden.try_clone(layout)?), layout)? {
            (Storage::Metal(storage), shape) => Ok((storage, shape)),
            _ => bail!("{} left the GPU", self.name()),
        }
    }

    fn bwd(&self, hidden: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let hidden = Var::from_tensor(&hidden.detach())?;
        let output = self.run(&hidden)?;
        // The sum's gradient is `gradient`, so that of its input is what the layer passes on.
        let gradients = (output * gradient.detach())?.sum_all()?.backward()?;
        Ok(gradients.get(&hidden).cloned())
    }
}
