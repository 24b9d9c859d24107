//! Frozen weights as they lie in memory.

use candle_core::{CpuStorage, Layout, Result, bail};
use half::bf16;

use super::block::{Block, row_bytes};
use super::finish::Finish;
use super::lines::Line;
use super::panels::Panels;
use super::product::{panels_product, panels_to_panels};

/// A weight `[out, in]`.
#[derive(Clone, Copy)]
pub(super) enum Weight<'a> {
    F32(&'a [f32]),
    Bf16(&'a [bf16]),
    Blocks(&'a [Block]),
}

impl<'a> Weight<'a> {
    /// Of a tensor `[out, in]`, or `[out, bytes of a row]`; `name` is whose weight it is.
    pub(super) fn new(
        (storage, layout): (&'a CpuStorage, &Layout),
        inputs: usize,
        name: &str,
    ) -> Result<Self> {
        let (outputs, _) = layout.shape().dims2()?;
        let Some((first, last)) = layout.contiguous_offsets() else {
            bail!("{name} needs a contiguous weight");
        };
        let count = last - first;
        Ok(match storage {
            CpuStorage::F32(values) if count == inputs * outputs => Self::F32(&values[first..last]),
            CpuStorage::BF16(values) if count == inputs * outputs => {
                Self::Bf16(&values[first..last])
            }
            CpuStorage::U8(bytes) if row_bytes(inputs) == Some(count / outputs.max(1)) => {
                Self::Blocks(bytes[first..last].as_chunks().0)
            }
            _ => bail!("{name}: the weight does not fit {inputs} inputs"),
        })
    }

    /// As [`panels_product`].
    pub(super) fn product(self, panels: &Panels, finish: Finish<'_>) -> Vec<f32> {
        match self {
            Self::F32(weight) => panels_product(panels, weight, finish),
            Self::Bf16(weight) => panels_product(panels, weight, finish),
            Self::Blocks(weight) => panels_product(panels, weight, finish),
        }
    }

    /// As [`panels_to_panels`], in memory of their own.
    pub(super) fn panels(self, panels: &Panels, finish: Finish<'_>) -> Panels {
        self.panels_in(Vec::new(), panels, finish)
    }

    /// As [`panels_to_panels`].
    pub(super) fn panels_in(self, space: Vec<Line>, panels: &Panels, finish: Finish<'_>) -> Panels {
        match self {
            Self::F32(weight) => panels_to_panels(space, panels, weight, finish),
            Self::Bf16(weight) => panels_to_panels(space, panels, weight, finish),
            Self::Blocks(weight) => panels_to_panels(space, panels, weight, finish),
        }
    }
}
