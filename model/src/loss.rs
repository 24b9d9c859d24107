//! The training loss.

use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::fused::CrossEntropy;

/// Mean cross entropy, in nats, of `targets` `[T]` under scores `[T, V]`.
///
/// # Errors
/// Shapes do not fit together, or a target is not below V.
pub fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    if targets.is_empty() {
        // A batch without a target is data, not a fault: it teaches nothing.
        return Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?);
    }
    Ok(token_losses(logits, targets)?.mean_all()?)
}

/// Cross entropies, in nats, of `targets` under scores `[T, V]`, `[T]`.
pub(crate) fn token_losses(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let targets = Tensor::from_slice(targets, targets.len(), &Device::Cpu)?;
    Ok(logits.contiguous()?.apply_op2(&targets, CrossEntropy)?)
}
