//! AdamW's averages of one parameter, and how they move it.

use std::cell::RefCell;

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Shape, Tensor, Var};
use rayon::prelude::*;

use super::gradients::{Gradient, NUMBERS_PER_TASK, with_numbers};
use crate::Result;

/// The averages of a parameter's gradient and of its square.
pub(super) enum Moments {
    /// Where our own operations compute: parameter, gradient and averages are walked over once.
    Ours([Vec<f32>; 2]),
    /// By candle's operations, on the parameter's device; in its shape, f32.
    Plain([Tensor; 2]),
}

/// One update of one parameter.
#[derive(Clone, Copy)]
pub(super) struct Move {
    /// What each average keeps of itself, and what it takes of the new number.
    pub(super) keep: [f32; 2],
    pub(super) take: [f32; 2],
    /// The learning rate, over how much of the first average is there yet.
    pub(super) step: f32,
    /// The root of how much of the second average is there yet.
    pub(super) root_correction: f32,
    pub(super) epsilon: f32,
    /// What weight decay leaves.
    pub(super) shrink: f32,
}

impl Moments {
    pub(super) fn zeros(variable: &Var, is_ours: bool) -> Result<Self> {
        Ok(if is_ours {
            let zeros = vec![0.0; variable.elem_count()];
            Self::Ours([zeros.clone(), zeros])
        } else {
            let zeros = variable.zeros_like()?.detach();
            Self::Plain([zeros.clone(), zeros])
        })
    }

    pub(super) fn from_tensors(
        averages: [Tensor; 2],
        device: &Device,
        is_ours: bool,
    ) -> Result<Self> {
        let [first, second] = averages;
        Ok(if is_ours {
            let numbers = |tensor: Tensor| tensor.flatten_all()?.to_vec1();
            Self::Ours([numbers(first)?, numbers(second)?])
        } else {
            Self::Plain([first.to_device(device)?, second.to_device(device)?])
        })
    }

    /// On the CPU.
    pub(super) fn tensors(&self, shape: &Shape) -> Result<[Tensor; 2]> {
        let [first, second] = match self {
            Self::Ours(averages) => averages
                .each_ref()
                .map(|numbers| Tensor::from_slice(numbers, shape, &Device::Cpu)),
            Self::Plain(averages) => averages
                .each_ref()
                .map(|tensor| tensor.to_device(&Device::Cpu)),
        };
        Ok([first?, second?])
    }

    /// Takes the gradient into the averages, and moves the variable by them.
    pub(super) fn apply(&mut self, how: Move, gradient: &Gradient, variable: &Var) -> Result<()> {
        match self {
            Self::Ours([first, second]) => with_numbers(&gradient.slopes, |slopes| {
                let work = |values: &mut [f32]| {
                    let tasks = (values.par_chunks_mut(NUMBERS_PER_TASK))
                        .zip(slopes.par_chunks(NUMBERS_PER_TASK))
                        .zip(first.par_chunks_mut(NUMBERS_PER_TASK))
                        .zip(second.par_chunks_mut(NUMBERS_PER_TASK));
                    tasks.for_each(|(((values, slopes), first), second)| {
                        how.walk(values, slopes, gradient.factor, first, second);
                    });
                };
                Ok(variable.inplace_op1(&InPlace(RefCell::new(work)))?)
            })?,
            Self::Plain(averages) => how.in_steps(averages, gradient, variable),
        }
    }
}

impl Move {
    fn walk(
        &self,
        values: &mut [f32],
        slopes: &[f32],
        factor: f32,
        first: &mut [f32],
        second: &mut [f32],
    ) {
        let Self {
            keep: [keep1, keep2],
            take: [take1, take2],
            step,
            root_correction,
            epsilon,
            shrink,
        } = *self;
        let averages = first.iter_mut().zip(second);
        for ((value, slope), (first, second)) in values.iter_mut().zip(slopes).zip(averages) {
            let slope = factor * slope;
            *first = keep1 * *first + take1 * slope;
            *second = keep2 * *second + take2 * slope * slope;
            let size = second.sqrt() / root_correction + epsilon;
            *value = *value * shrink - step * *first / size;
        }
    }

    /// As [`Self::walk`], one of candle's operations after another.
    fn in_steps(
        &self,
        averages: &mut [Tensor; 2],
        gradient: &Gradient,
        variable: &Var,
    ) -> Result<()> {
        let slopes = (&gradient.slopes * f64::from(gradient.factor))?;
        let [first, second] = averages;
        let [keep1, keep2] = self.keep.map(f64::from);
        let [take1, take2] = self.take.map(f64::from);
        *first = ((&*first * keep1)? + (&slopes * take1)?)?;
        *second = ((&*second * keep2)? + (slopes.sqr()? * take2)?)?;
        let size = (second.sqrt()? / f64::from(self.root_correction))?;
        let size = (size + f64::from(self.epsilon))?;
        let way = ((&*first / size)? * f64::from(self.step))?;
        let shrunk = (variable.as_detached_tensor() * f64::from(self.shrink))?;
        Ok(variable.set(&(shrunk - way)?)?)
    }
}

/// Changes the numbers of a variable where they lie.
struct InPlace<F>(RefCell<F>);

impl<F: FnMut(&mut [f32])> InplaceOp1 for InPlace<F> {
    fn name(&self) -> &'static str {
        "update"
    }

    fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
        let (CpuStorage::F32(values), Some((start, end))) = (storage, layout.contiguous_offsets())
        else {
            candle_core::bail!("{} is of f32 in one piece", self.name());
        };
        (self.0.borrow_mut())(&mut values[start..end]);
        Ok(())
    }
}
