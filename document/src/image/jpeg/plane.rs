//! One component of a picture: its frequencies, its samples.

use super::header::Frame;
use super::idct::{Side, ZIGZAG, samples};

/// A component at the size at which it is decoded.
pub(super) struct Plane {
    /// Samples on a side of each block.
    pub(super) side: Side,
    /// By frequency, in zigzag order: what it is multiplied with, once its table is known.
    pub(super) factors: [f32; 64],
    /// For pictures that come in several passes.
    pub(super) frequencies: Frequencies,
    /// Rows of [`Plane::stride`] samples; whole blocks.
    samples: Vec<u8>,
    stride: usize,
    /// Blocks in a row of [`Plane::samples`].
    blocks_across: usize,
    /// Samples before they were scaled.
    width: usize,
    height: usize,
    /// What the picture covers of them.
    covered: (f64, f64),
}

/// The frequencies of all blocks of a component, in zigzag order.
#[derive(Default)]
pub(super) struct Frequencies {
    numbers: Vec<i16>,
    /// By block: those behind the first that are not zero, a bit for each.
    non_zero: Vec<u64>,
}

impl Frequencies {
    #[inline(always)]
    pub(super) fn block(&mut self, at: usize) -> (&mut [i16; 64], &mut u64) {
        (
            &mut self.numbers.as_chunks_mut().0[at],
            &mut self.non_zero[at],
        )
    }

    pub(super) fn set(&mut self, at: usize, place: usize, number: i16) {
        self.numbers[64 * at + place] = number;
    }
}

/// A component's samples, without those beyond its edges.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::image) struct Samples {
    /// Rows of `columns`.
    pub(in crate::image) samples: Vec<u8>,
    pub(in crate::image) columns: u32,
    pub(in crate::image) rows: u32,
    /// What the picture covers of them: less than a sample of the last column and row may be
    /// beyond its edge.
    pub(in crate::image) width: f64,
    pub(in crate::image) height: f64,
}

impl Plane {
    /// Room for the component `index` of `frame`, its blocks decoded to `side`.
    pub(super) fn new(frame: &Frame, index: usize, side: Side) -> Self {
        let (blocks_across, blocks_down) = Self::blocks_with_unit(frame, index);
        let blocks = blocks_across * blocks_down;
        let kept = if frame.is_progressive { blocks } else { 0 };
        let (unit_across, unit_down) = frame.unit();
        let component = &frame.components[index];
        Self {
            side,
            factors: [0.0; 64],
            frequencies: Frequencies {
                numbers: vec![0; 64 * kept],
                non_zero: vec![0; kept],
            },
            samples: vec![0; blocks * side.samples() * side.samples()],
            stride: blocks_across * side.samples(),
            blocks_across,
            width: (frame.width * component.blocks_across).div_ceil(unit_across),
            height: (frame.height * component.blocks_down).div_ceil(unit_down),
            covered: (
                (frame.width * component.blocks_across) as f64 / unit_across as f64,
                (frame.height * component.blocks_down) as f64 / unit_down as f64,
            ),
        }
    }

    /// Memory that a component takes.
    pub(super) fn bytes(frame: &Frame, index: usize, side: Side) -> u64 {
        let (across, down) = Self::blocks_with_unit(frame, index);
        let kept = if frame.is_progressive { 64 * 2 + 8 } else { 0 };
        (across * down * (side.samples() * side.samples() + kept)) as u64
    }

    /// Blocks across and down, with those that fill the last units.
    fn blocks_with_unit(frame: &Frame, index: usize) -> (usize, usize) {
        let (across, down) = frame.units();
        let component = &frame.components[index];
        (
            across * component.blocks_across,
            down * component.blocks_down,
        )
    }

    /// Blocks across and down that hold anything of the picture.
    pub(super) fn blocks(&self) -> (usize, usize) {
        (self.width.div_ceil(8), self.height.div_ceil(8))
    }

    /// The place of a block.
    #[inline(always)]
    pub(super) fn place(&self, x: usize, y: usize) -> usize {
        y * self.blocks_across + x
    }

    /// Writes the samples of a block whose last frequency that is not zero is `last`, and clears
    /// it.
    #[inline(always)]
    pub(super) fn put(&mut self, at: usize, block: &mut [f32; 64], last: u32) {
        let (row, column) = (at / self.blocks_across, at % self.blocks_across);
        let n = self.side.samples();
        let first = row * n * self.stride + column * n;
        let out = &mut self.samples[first..];
        if last == 0 {
            let mean = super::idct::sample(block[0]);
            for row in out.chunks_mut(self.stride).take(n) {
                row[..n].fill(mean);
            }
            return;
        }
        samples(block, self.side, out, self.stride);
        *block = [0.0; 64];
    }

    /// Turns the frequencies of all passes into samples.
    pub(super) fn put_all(&mut self) {
        let frequencies = std::mem::take(&mut self.frequencies);
        let mut block = [0.0; 64];
        let seen = u64::MAX >> (63 - self.side.last_seen());
        let blocks = frequencies.numbers.as_chunks::<64>().0.iter();
        for (at, (numbers, non_zero)) in blocks.zip(&frequencies.non_zero).enumerate() {
            block[0] = f32::from(numbers[0]) * self.factors[0];
            let mut left = non_zero & seen;
            let last = 63 - (left | 1).leading_zeros();
            while left != 0 {
                let place = left.trailing_zeros() as usize & 63;
                block[usize::from(ZIGZAG[place] & 63)] =
                    f32::from(numbers[place]) * self.factors[place];
                left &= left - 1;
            }
            self.put(at, &mut block, last);
        }
    }

    /// The samples, without those beyond the edges.
    pub(super) fn finish(mut self) -> Samples {
        let scaled = |length: usize| (length * self.side.samples()).div_ceil(8);
        let (columns, rows) = (scaled(self.width), scaled(self.height));
        for row in 1..rows {
            let first = row * self.stride;
            self.samples
                .copy_within(first..first + columns, row * columns);
        }
        self.samples.truncate(columns * rows);
        let scale = self.side.samples() as f64 / 8.0;
        Samples {
            samples: self.samples,
            columns: u32::try_from(columns).unwrap_or(u32::MAX),
            rows: u32::try_from(rows).unwrap_or(u32::MAX),
            width: self.covered.0 * scale,
            height: self.covered.1 * scale,
        }
    }
}
