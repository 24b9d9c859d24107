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
    let targets = Tensor::from_slice(targets, targets.len(), &Device::Cpu)?;
    let losses = logits.contiguous()?.apply_op2(&targets, CrossEntropy)?;
    Ok(losses.mean_all()?)
}
