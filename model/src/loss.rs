//! The training loss.

use candle_core::{DType, Device, Tensor};

use crate::fused::{self, CrossEntropy};
use crate::{Error, Result, plain};

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

/// Cross entropies, in nats, of `targets` under scores `[T, V]`, f32 `[T]`.
pub(crate) fn token_losses(logits: &Tensor, targets: &[u32]) -> Result<Tensor> {
    let vocabulary = logits.dim(1)?;
    if let Some(target) = targets
        .iter()
        .find(|target| **target as usize >= vocabulary)
    {
        return Err(Error::Input {
            what: "targets",
            expected: format!("ids below {vocabulary}, as many as there are scores"),
            found: format!("id {target}"),
        });
    }
    let targets = Tensor::from_slice(targets, targets.len(), logits.device())?;
    let losses = if fused::takes(logits) {
        logits.contiguous()?.apply_op2(&targets, CrossEntropy)?
    } else {
        plain::cross_entropy(logits, &targets)?
    };
    Ok(losses.to_dtype(DType::F32)?)
}
