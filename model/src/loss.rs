//! The training loss.

use candle_core::{DType, Device, Tensor};

use crate::Result;
use crate::ops::log_softmax;

/// Mean cross entropy, in nats, of `targets` `[T]` under scores `[T, V]`.
///
/// # Errors
/// Shapes do not fit together, or a target is not below V.
pub fn cross_entropy(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    if targets.is_empty() {
        // A batch without a target is data, not a fault: it teaches nothing.
        return Ok(Tensor::zeros((), DType::F32, &Device::Cpu)?);
    }
    let targets = Tensor::from_slice(targets, (targets.len(), 1), &Device::Cpu)?;
    let log_probabilities = log_softmax(logits)?.gather(&targets, 1)?;
    Ok(log_probabilities.mean_all()?.neg()?)
}
