//! Gradients of trained parameters, where the model computes.

use std::collections::BTreeMap;

use candle_core::{CpuStorage, Storage, Tensor, Var};
use rayon::prelude::*;

use super::collective::Collective;
use crate::Result;

/// Keeps the clipping factor finite for a zero gradient, as in PyTorch's `clip_grad_norm_`.
const NORM_EPSILON: f64 = 1e-6;

/// Numbers of gradients that are summed over the processes at a time (16 MiB), or those of one
/// parameter where it has more.
const BUCKET: usize = 1 << 22;

/// Numbers of a gradient or parameter that one task walks over.
pub(super) const NUMBERS_PER_TASK: usize = 1 << 16;

/// The gradient of one parameter.
pub(crate) struct Gradient {
    /// In the parameter's shape, f32, in one piece, on the parameter's device.
    pub(crate) slopes: Tensor,
    /// What each of the slopes is multiplied by where they are used: clipping walks over nothing.
    pub(crate) factor: f32,
}

/// The gradient of each trained parameter, by name.
#[derive(Default)]
pub(crate) struct Gradients(BTreeMap<String, Gradient>);

impl Gradients {
    pub(crate) fn insert(&mut self, name: &str, slopes: &Tensor) -> Result<()> {
        let gradient = Gradient {
            slopes: slopes.detach().contiguous()?,
            factor: 1.0,
        };
        self.0.insert(name.to_owned(), gradient);
        Ok(())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Gradient> {
        self.0.get(name)
    }

    /// Adds the gradients of a batch to those of the batches before it; none of them is clipped.
    pub(crate) fn add(&mut self, batch: Self) -> Result<()> {
        for (name, gradient) in batch.0 {
            let sum = match self.0.get(&name) {
                None => gradient.slopes,
                Some(sum) => (&sum.slopes + gradient.slopes)?,
            };
            self.insert(&name, &sum)?;
        }
        Ok(())
    }

    /// The norm of all these together whose names are asked for. On the CPU it is summed in an order that
    /// the number of threads has no part in, and in f64, so that it is the same on every run.
    pub(crate) fn norm(&self, is_meant: impl Fn(&str) -> bool) -> Result<f64> {
        let mut total = 0.0;
        let mut elsewhere = Vec::new();
        for (_, gradient) in self.0.iter().filter(|(name, _)| is_meant(name)) {
            let factor = f64::from(gradient.factor).powi(2);
            if gradient.slopes.device().is_cpu() {
                let squares = with_numbers(&gradient.slopes, |slopes| {
                    let parts = slopes.par_chunks(NUMBERS_PER_TASK).map(square_sum);
                    parts.collect::<Vec<f64>>().iter().sum::<f64>()
                })?;
                total += factor * squares;
            } else {
                elsewhere.push((gradient.slopes.sqr()?.sum_all()? * factor)?);
            }
        }
        if !elsewhere.is_empty() {
            // One number comes from the device, not one for each parameter.
            total += f64::from(
                Tensor::stack(&elsewhere, 0)?
                    .sum_all()?
                    .to_scalar::<f32>()?,
            );
        }
        Ok(total.sqrt())
    }

    /// Scales those that are asked for, whose norm is `norm`, down to `most`.
    pub(crate) fn clip(&mut self, norm: f64, most: f64, is_meant: impl Fn(&str) -> bool) {
        let factor = most / (norm + NORM_EPSILON);
        if factor < 1.0 {
            let meant = self.0.iter_mut().filter(|(name, _)| is_meant(name));
            meant.for_each(|(_, gradient)| gradient.factor *= factor as f32);
        }
    }

    /// The gradients of all processes added up, bucket by bucket, in the order of names.
    pub(super) fn sum(
        mut self,
        variables: &BTreeMap<String, Var>,
        collective: &mut dyn Collective,
    ) -> Result<Self> {
        // A parameter may have a gradient in one process and none in another.
        let is_there = |name| f32::from(u8::from(self.0.contains_key(name)));
        let mut holders: Vec<f32> = variables.keys().map(is_there).collect();
        collective.sum(&mut holders)?;
        let held = variables.iter().zip(&holders);
        let held = held.filter(|(_, holders)| **holders > 0.0);
        let held: Vec<(&String, &Var)> = held.map(|(held, _)| held).collect();
        let mut sums = Self::default();
        let mut rest = held.as_slice();
        while !rest.is_empty() {
            let mut bucket: Vec<Tensor> = Vec::new();
            let mut numbers = 0;
            for (name, variable) in rest {
                let count = variable.elem_count();
                if !bucket.is_empty() && numbers + count > BUCKET {
                    break;
                }
                bucket.push(match self.0.remove(*name) {
                    Some(gradient) => gradient.slopes.flatten_all()?,
                    None => variable.zeros_like()?.detach().flatten_all()?,
                });
                numbers += count;
            }
            let (taken, others) = rest.split_at(bucket.len());
            let packed = Tensor::cat(&bucket, 0)?;
            drop(bucket);
            let summed = collective.sum_tensor(packed)?;
            let mut start = 0;
            for (name, variable) in taken {
                let own = summed.narrow(0, start, variable.elem_count())?;
                sums.insert(name, &own.reshape(variable.shape())?)?;
                start += variable.elem_count();
            }
            rest = others;
        }
        Ok(sums)
    }
}

/// Summed in eight lanes, so that no addition waits for another.
fn square_sum(values: &[f32]) -> f64 {
    let mut lanes = [0.0; 8];
    for values in values.chunks(lanes.len()) {
        for (lane, value) in lanes.iter_mut().zip(values) {
            *lane += f64::from(*value).powi(2);
        }
    }
    lanes.iter().sum()
}

/// Lets `work` see the numbers of a tensor that is f32 in one piece, in memory.
pub(crate) fn with_numbers<T>(tensor: &Tensor, work: impl FnOnce(&[f32]) -> T) -> Result<T> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => {
            Ok(work(&values[start..end]))
        }
        _ => Err(candle_core::Error::Msg("gradients are f32, in one piece".to_owned()).into()),
    }
}
