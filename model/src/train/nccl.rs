//! Gradients added up from GPU to GPU.

use candle_core::cuda_backend::cudarc::nccl::result::NcclError;
use candle_core::cuda_backend::cudarc::nccl::{Comm, Id, ReduceOp};
use candle_core::{CpuStorage, CudaStorage, Device, InplaceOp1, Layout, Tensor};

use super::collective::{Collective, Star};
use crate::compute::Compute;
use crate::{Error, Result};

/// Processes of which each has an NVIDIA GPU: tensors go by NCCL, in place and without leaving the
/// GPUs; the few numbers that a process has in its own memory go by TCP.
///
/// Sums are in an order of NCCL's, the same in all processes. If a process dies while others wait for
/// its numbers, these wait on: a launcher ends them, as `torchrun` does.
#[derive(Debug)]
pub struct Nccl {
    star: Star,
    group: Comm,
}

impl Nccl {
    /// Joins the GPUs of processes that have met. Process 0 draws NCCL's name for the group and tells
    /// it to the others.
    ///
    /// # Errors
    /// The model does not compute on an NVIDIA GPU, a process is gone, or NCCL finds no way between
    /// the GPUs.
    pub fn join(mut star: Star, compute: &Compute) -> Result<Self> {
        let Device::Cuda(device) = compute.device() else {
            return Err(Error::Setting {
                setting: "device".to_owned(),
                found: "no NVIDIA GPU".to_owned(),
                must: "NCCL adds up what lies on one".to_owned(),
            });
        };
        let mut name = [0.0; NAME_BYTES];
        if star.rank() == 0 {
            let drawn = Id::new().map_err(failed)?;
            for (number, byte) in name.iter_mut().zip(drawn.internal()) {
                *number = f32::from(*byte);
            }
        }
        // The others give zeros: the sum is what process 0 said.
        star.sum(&mut name)?;
        let name = Id::uninit(name.map(|number| number as std::ffi::c_char));
        let stream = device.cuda_stream();
        let group = Comm::from_rank(stream, star.rank(), star.size(), name).map_err(failed)?;
        Ok(Self { star, group })
    }
}

/// Of what NCCL calls a unique id.
const NAME_BYTES: usize = 128;

impl Collective for Nccl {
    fn rank(&self) -> usize {
        self.star.rank()
    }

    fn size(&self) -> usize {
        self.star.size()
    }

    fn sum(&mut self, values: &mut [f32]) -> Result<()> {
        self.star.sum(values)
    }

    fn sum_tensor(&mut self, values: Tensor) -> Result<Tensor> {
        values.inplace_op1(&AllReduce(&self.group))?;
        Ok(values)
    }
}

/// Replaces the numbers of a tensor by their sums over a group.
struct AllReduce<'a>(&'a Comm);

impl InplaceOp1 for AllReduce<'_> {
    fn name(&self) -> &'static str {
        "all-reduce"
    }

    fn cpu_fwd(&self, _: &mut CpuStorage, _: &Layout) -> candle_core::Result<()> {
        candle_core::bail!("{} is between GPUs", self.name())
    }

    fn cuda_fwd(&self, storage: &mut CudaStorage, layout: &Layout) -> candle_core::Result<()> {
        let Some((start, end)) = layout.contiguous_offsets() else {
            candle_core::bail!("{} is of a tensor in one piece", self.name());
        };
        let mut numbers = storage.as_cuda_slice_mut::<f32>()?.slice_mut(start..end);
        let summed = self.0.all_reduce_in_place(&mut numbers, &ReduceOp::Sum);
        summed.map_err(|error| candle_core::Error::Msg(told(&error)))?;
        Ok(())
    }
}

fn failed(error: NcclError) -> Error {
    candle_core::Error::Msg(told(&error)).into()
}

/// NCCL's own account of it is in what it prints under `NCCL_DEBUG=WARN`.
fn told(error: &NcclError) -> String {
    format!(
        "NCCL failed ({:?}): NCCL_DEBUG=WARN in the environment tells why",
        error.0
    )
}
