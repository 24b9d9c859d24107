//! Weights of 8 bits: 32 numbers that lie side by side in a row share a scale of 16.
//!
//! These are GGML's `Q8_0`, so that such weights of a GGUF file are taken as they are. Where we make
//! them, the scale is rounded up, so that no number is cut off.

use candle_core::{CpuStorage, CustomOp1, Layout, Result, Shape, bail};
use half::f16;
use rayon::prelude::*;

use super::contiguous;
use super::few_rows::Stored;
use super::vectors::Vector;

/// Numbers that share a scale.
const NUMBERS: usize = 32;

/// The scale's two bytes, and one byte for each number.
const BYTES: usize = 2 + NUMBERS;

/// Blocks widened by one task: enough to outweigh handing it out.
const BLOCKS_PER_TASK: usize = 1024;

/// The largest number of a byte.
const LARGEST: f32 = 127.0;

/// Numbers that share a scale, as bytes.
pub(super) type Block = [u8; BYTES];

/// Bytes that a row of `inputs` numbers takes; `None` where blocks do not fill it.
pub(crate) fn row_bytes(inputs: usize) -> Option<usize> {
    let is_filled = inputs > 0 && inputs.is_multiple_of(NUMBERS);
    is_filled.then_some(inputs / NUMBERS * BYTES)
}

/// The scale of a block, and its numbers in units of it.
#[inline(always)]
fn parts(block: &Block) -> (f32, &[[u8; NUMBERS / 2]]) {
    let [low, high, numbers @ ..] = block;
    (
        wide(u16::from_le_bytes([*low, *high])),
        numbers.as_chunks().0,
    )
}

/// A finite f16 by its bits. In place of the conversion of `half`, which asks for the processor's
/// instruction each time.
#[inline(always)]
fn wide(bits: u16) -> f32 {
    // Exponents of an f16 stand 112 lower; small numbers without one come out right too.
    const TWO_TO_112: f32 = f32::from_bits((127 + 112) << 23);
    let size = f32::from_bits(u32::from(bits & 0x7fff) << 13) * TWO_TO_112;
    f32::from_bits(size.to_bits() | u32::from(bits & 0x8000) << 16)
}

#[inline(always)]
fn signed(bytes: &[u8; NUMBERS / 2]) -> [i8; NUMBERS / 2] {
    bytes.map(u8::cast_signed)
}

impl Stored for Block {
    const NUMBERS: usize = NUMBERS;
    const IS_WIDE: bool = false;

    #[inline(always)]
    fn sums<V: Vector, const M: usize>(rows: &[f32], weight: &[Self]) -> [f32; M] {
        let inputs = weight.len() * NUMBERS;
        let rows: [&[[f32; NUMBERS / 2]]; M] = std::array::from_fn(|m| {
            let row = &rows[m * inputs..(m + 1) * inputs];
            &row.as_chunks().0[..2 * weight.len()]
        });
        // Two blocks at a time, so that no addition waits for another.
        let mut sums = [[V::ZERO; 4]; M];
        let (pairs, rest) = weight.as_chunks::<2>();
        for (at, pair) in pairs.iter().enumerate() {
            for (which, block) in pair.iter().enumerate() {
                let (scale, halves) = parts(block);
                for (half, bytes) in halves.iter().enumerate() {
                    let weight = V::load_i8(&signed(bytes)).scaled(scale);
                    for m in 0..M {
                        let input = V::load(&rows[m][4 * at + 2 * which + half]);
                        let sum = &mut sums[m][2 * which + half];
                        *sum = sum.add_product(input, weight);
                    }
                }
            }
        }
        for block in rest {
            let (scale, halves) = parts(block);
            for (half, bytes) in halves.iter().enumerate() {
                let weight = V::load_i8(&signed(bytes)).scaled(scale);
                for m in 0..M {
                    let input = V::load(&rows[m][4 * pairs.len() + half]);
                    sums[m][half] = sums[m][half].add_product(input, weight);
                }
            }
        }
        std::array::from_fn(|m| {
            let [a, b, c, d] = sums[m];
            a.add(b).add(c.add(d)).sum()
        })
    }

    fn widen(wide: &mut [f32], values: &[Self]) {
        for (wide, block) in wide.as_chunks_mut::<NUMBERS>().0.iter_mut().zip(values) {
            let (scale, halves) = parts(block);
            for (wide, byte) in wide.iter_mut().zip(halves.as_flattened()) {
                *wide = f32::from(byte.cast_signed()) * scale;
            }
        }
    }
}

/// Rows `[out, in]` of f32 to blocks, `[out, bytes of a row]`.
pub(crate) struct Blocks;

impl CustomOp1 for Blocks {
    fn name(&self) -> &'static str {
        "blocks"
    }

    fn cpu_fwd(&self, weight: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let (outputs, inputs) = layout.shape().dims2()?;
        let Some(bytes) = row_bytes(inputs) else {
            bail!("rows of {inputs} numbers are not filled by blocks of {NUMBERS}");
        };
        let weight = contiguous(weight, layout, self.name())?;
        let mut packed = vec![0; outputs * bytes];
        packed
            .par_chunks_mut(BYTES)
            .zip(weight.par_chunks(NUMBERS))
            .try_for_each(|(block, numbers)| pack(block, numbers))?;
        Ok((CpuStorage::U8(packed), Shape::from((outputs, bytes))))
    }
}

fn pack(block: &mut [u8], numbers: &[f32]) -> Result<()> {
    let most = numbers.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
    let mut bits = f16::from_f32(most / LARGEST).to_bits();
    if wide(bits) < most / LARGEST {
        bits += 1;
    }
    if !f16::from_bits(bits).is_finite() {
        bail!("a weight of {most} is too large for 8 bits: hold weights as bf16 or f32");
    }
    let scale = wide(bits);
    let (head, places) = block.split_at_mut(2);
    head.copy_from_slice(&bits.to_le_bytes());
    let per_unit = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    for (place, number) in places.iter_mut().zip(numbers) {
        let units = (number * per_unit).round().clamp(-LARGEST, LARGEST);
        *place = (units as i8).cast_unsigned();
    }
    Ok(())
}

/// Rows in blocks, `[.., bytes of a row]`, to f32, `[.., in]`.
pub(crate) struct Widened;

impl CustomOp1 for Widened {
    fn name(&self) -> &'static str {
        "widened"
    }

    fn cpu_fwd(&self, rows: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let mut shape = layout.dims().to_vec();
        let Some(bytes) = shape.last_mut().filter(|bytes| bytes.is_multiple_of(BYTES)) else {
            bail!("rows of {:?} bytes are no blocks", layout.dims().last());
        };
        *bytes = *bytes / BYTES * NUMBERS;
        let Some((start, end)) = layout.contiguous_offsets() else {
            bail!("{} needs a contiguous tensor", self.name());
        };
        let blocks: &[Block] = rows.as_slice::<u8>()?[start..end].as_chunks().0;
        let mut numbers = vec![0.0; blocks.len() * NUMBERS];
        numbers
            .par_chunks_mut(BLOCKS_PER_TASK * NUMBERS)
            .zip(blocks.par_chunks(BLOCKS_PER_TASK))
            .for_each(|(numbers, blocks)| Block::widen(numbers, blocks));
        Ok((CpuStorage::F32(numbers), Shape::from(shape)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::few_rows::few_rows;
    use super::*;

    fn packed(numbers: &[f32]) -> Vec<Block> {
        let blocks = numbers.chunks(NUMBERS).map(|numbers| {
            let mut block = [0; BYTES];
            pack(&mut block, numbers).unwrap();
            block
        });
        blocks.collect()
    }

    fn widened(blocks: &[Block]) -> Vec<f32> {
        let mut wide = vec![0.0; blocks.len() * NUMBERS];
        Block::widen(&mut wide, blocks);
        wide
    }

    proptest! {
        #[test]
        fn a_number_is_off_by_at_most_a_250th_of_the_largest_beside_it(
            numbers in proptest::collection::vec(-1e3_f32..1e3, NUMBERS),
        ) {
            let most = numbers.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
            for (number, found) in numbers.iter().zip(widened(&packed(&numbers))) {
                prop_assert!((number - found).abs() <= most / 250.0, "{number} {found}");
            }
        }

        #[test]
        fn blocks_made_of_blocks_are_the_same(
            bits in 1_u16..0x7c00,
            mut units in proptest::collection::vec(-127_i8..=127, NUMBERS),
            largest in 0..NUMBERS,
        ) {
            // As every block that was made of numbers.
            units[largest] = 127;
            let mut block = [0; BYTES];
            block[..2].copy_from_slice(&bits.to_le_bytes());
            for (place, units) in block[2..].iter_mut().zip(units) {
                *place = units.cast_unsigned();
            }
            prop_assert_eq!(packed(&widened(&[block])), [block]);
        }

        #[test]
        fn products_are_those_of_the_widened_numbers(
            count in 1_usize..=8,
            blocks in 1_usize..6,
            outputs in 1_usize..9,
        ) {
            let inputs = blocks * NUMBERS;
            let numbers = |count: usize, rate: f32| -> Vec<f32> {
                (0..count).map(|at| (at as f32 * rate).sin()).collect()
            };
            let rows = numbers(count * inputs, 0.7);
            let weight = packed(&numbers(outputs * inputs, 0.3));
            let found = few_rows(&rows, &weight, inputs);
            let expected = few_rows(&rows, &widened(&weight), inputs);
            for (found, expected) in found.iter().zip(expected) {
                prop_assert!((found - expected).abs() < 1e-4, "{found} {expected}");
            }
        }
    }

    #[test]
    fn scales_are_those_of_their_bits() {
        for bits in (0..=u16::MAX).filter(|bits| f16::from_bits(*bits).is_finite()) {
            let expected = f16::from_bits(bits).to_f32();
            assert_eq!(wide(bits).to_bits(), expected.to_bits(), "{bits:#x}");
        }
    }

    #[test]
    fn weights_beyond_the_largest_scale_are_refused() {
        let mut numbers = [0.0; NUMBERS];
        numbers[3] = 1e7;
        let message = pack(&mut [0; BYTES], &numbers).unwrap_err().to_string();
        assert!(message.contains("10000000 is too large"), "{message}");
    }

    #[test]
    fn zeros_stay_zeros() {
        assert_eq!(widened(&packed(&[0.0; NUMBERS])), [0.0; NUMBERS]);
    }
}
