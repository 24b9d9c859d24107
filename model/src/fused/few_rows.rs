//! Products of a few rows with a large weight: decoding, one token of each beam at a time.
//!
//! Such a product is over as soon as its weight has been read from memory once. General products
//! copy their operands into tiles first, or take the rows one by one.

use half::bf16;
use rayon::prelude::*;

#[cfg(target_arch = "x86_64")]
use super::vectors::{Bits256, Bits512};
use super::vectors::{Vector, WIDTH};

/// Up to this many rows [`few_rows`] is the faster way.
pub(super) const MOST_ROWS: usize = 8;

/// Vectors of partial sums of a product, so that no addition waits for another and the weight is
/// still read in one stream.
const VECTORS: usize = 4;

/// Rows of the input taken side by side: their partial sums fill the registers.
const SIDE_BY_SIDE: usize = 3;

/// Numbers of the weight that one task reads: enough to outweigh handing it out.
const NUMBERS_PER_TASK: usize = 1 << 16;

/// `rows * weight^T`, for at most [`MOST_ROWS`] rows `[M, in]` and a weight `[out, in]`, to
/// `[M, out]`. Sums run in an order of their own, the same for any number of rows and threads.
pub(super) fn few_rows<W: Stored>(rows: &[f32], weight: &[W], inputs: usize) -> Vec<f32> {
    let values = inputs / W::NUMBERS;
    let (count, outputs) = (rows.len() / inputs, weight.len() / values);
    let per_task = (NUMBERS_PER_TASK / inputs).max(1);
    // [out, M], so that tasks fill pieces of it.
    let mut turned = vec![0.0; count * outputs];
    turned
        .par_chunks_mut(per_task * count)
        .zip(weight.par_chunks(per_task * values))
        .for_each(|(output, weight)| fill(output, rows, weight, inputs));
    if count == 1 {
        return turned;
    }
    let mut product = vec![0.0; count * outputs];
    for (row, product) in product.chunks_mut(outputs).enumerate() {
        for (output, sums) in product.iter_mut().zip(turned.chunks(count)) {
            *output = sums[row];
        }
    }
    product
}

/// `[out, M]` of rows `[M, in]` and a weight `[out, in]`.
fn fill<W: Stored>(output: &mut [f32], rows: &[f32], weight: &[W], inputs: usize) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,f16c")]
        fn on_512_bits<W: Stored>(output: &mut [f32], rows: &[f32], weight: &[W], inputs: usize) {
            fill_by::<Bits512, W>(output, rows, weight, inputs);
        }
        #[target_feature(enable = "avx2,fma,f16c")]
        fn on_256_bits<W: Stored>(output: &mut [f32], rows: &[f32], weight: &[W], inputs: usize) {
            fill_by::<Bits256, W>(output, rows, weight, inputs);
        }
        let widens_f16 = is_x86_feature_detected!("f16c");
        if is_x86_feature_detected!("avx512f") && widens_f16 {
            // SAFETY: the processor has what the function is compiled for. Worth it: several times
            // as fast.
            return unsafe { on_512_bits(output, rows, weight, inputs) };
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") && widens_f16 {
            // SAFETY: as above.
            return unsafe { on_256_bits(output, rows, weight, inputs) };
        }
    }
    fill_by::<[f32; WIDTH], W>(output, rows, weight, inputs);
}

#[inline(always)]
fn fill_by<V: Vector, W: Stored>(output: &mut [f32], rows: &[f32], weight: &[W], inputs: usize) {
    let count = rows.len() / inputs;
    let weights = weight.chunks(inputs / W::NUMBERS);
    for (output, weight) in output.chunks_mut(count).zip(weights) {
        let sets = output.chunks_mut(SIDE_BY_SIDE);
        for (output, rows) in sets.zip(rows.chunks(SIDE_BY_SIDE * inputs)) {
            match output.len() {
                1 => output.copy_from_slice(&W::sums::<V, 1>(rows, weight)),
                2 => output.copy_from_slice(&W::sums::<V, 2>(rows, weight)),
                _ => output.copy_from_slice(&W::sums::<V, SIDE_BY_SIDE>(rows, weight)),
            }
        }
    }
}

/// Sums of products of M rows with one row of the weight.
#[inline(always)]
fn sums<V: Vector, W: Number, const M: usize>(rows: &[f32], weight: &[W]) -> [f32; M] {
    let inputs = weight.len();
    let rows: [&[f32]; M] = std::array::from_fn(|m| &rows[m * inputs..(m + 1) * inputs]);
    let (weights, rest) = weight.as_chunks::<WIDTH>();
    let inputs: [&[[f32; WIDTH]]; M] =
        std::array::from_fn(|m| &rows[m].as_chunks::<WIDTH>().0[..weights.len()]);
    let mut sums = [[V::ZERO; VECTORS]; M];
    let mut at = 0;
    while at + VECTORS <= weights.len() {
        for vector in 0..VECTORS {
            let weight = W::load::<V>(&weights[at + vector]);
            for m in 0..M {
                let input = V::load(&inputs[m][at + vector]);
                sums[m][vector] = sums[m][vector].add_product(input, weight);
            }
        }
        at += VECTORS;
    }
    while at < weights.len() {
        for m in 0..M {
            let (input, weight) = (V::load(&inputs[m][at]), W::load::<V>(&weights[at]));
            sums[m][0] = sums[m][0].add_product(input, weight);
        }
        at += 1;
    }
    std::array::from_fn(|m| {
        let [a, b, c, d] = sums[m];
        let rest = rows[m][WIDTH * at..].iter().zip(rest);
        rest.fold(a.add(b).add(c.add(d)).sum(), |sum, (x, w)| {
            sum + x * w.number()
        })
    })
}

/// A value as it lies in memory, of one number or of several.
pub(super) trait Stored: Copy + Send + Sync {
    /// How many numbers it stands for.
    const NUMBERS: usize;

    /// Whether these are numbers of 32 bits.
    const IS_WIDE: bool;

    /// Sums of products of M rows with one row of the weight.
    fn sums<V: Vector, const M: usize>(rows: &[f32], weight: &[Self]) -> [f32; M];

    /// Writes the numbers of `values`.
    fn widen(wide: &mut [f32], values: &[Self]);

    /// The numbers of `values`, in `buffer` where they do not lie in memory as they are.
    fn wide<'a>(values: &'a [Self], buffer: &'a mut Vec<f32>) -> &'a [f32] {
        buffer.resize(values.len() * Self::NUMBERS, 0.0);
        Self::widen(buffer, values);
        buffer
    }
}

/// A number as it lies in memory.
pub(super) trait Number: Copy {
    /// As [`Stored::IS_WIDE`].
    const IS_WIDE: bool = false;

    /// These in one vector.
    fn load<V: Vector>(values: &[Self; WIDTH]) -> V;
    fn number(self) -> f32;
    /// As [`Stored::wide`].
    fn wide<'a>(values: &'a [Self], buffer: &'a mut Vec<f32>) -> &'a [f32] {
        buffer.clear();
        buffer.extend(values.iter().map(|value| value.number()));
        buffer
    }
}

impl<N: Number + Send + Sync> Stored for N {
    const NUMBERS: usize = 1;
    const IS_WIDE: bool = N::IS_WIDE;

    #[inline(always)]
    fn sums<V: Vector, const M: usize>(rows: &[f32], weight: &[Self]) -> [f32; M] {
        sums::<V, N, M>(rows, weight)
    }

    fn widen(wide: &mut [f32], values: &[Self]) {
        for (wide, value) in wide.iter_mut().zip(values) {
            *wide = value.number();
        }
    }

    fn wide<'a>(values: &'a [Self], buffer: &'a mut Vec<f32>) -> &'a [f32] {
        N::wide(values, buffer)
    }
}

impl Number for f32 {
    const IS_WIDE: bool = true;

    #[inline(always)]
    fn load<V: Vector>(values: &[Self; WIDTH]) -> V {
        V::load(values)
    }

    #[inline(always)]
    fn number(self) -> f32 {
        self
    }

    fn wide<'a>(values: &'a [Self], _: &'a mut Vec<f32>) -> &'a [f32] {
        values
    }
}

impl Number for bf16 {
    #[inline(always)]
    fn load<V: Vector>(values: &[Self; WIDTH]) -> V {
        V::load_bf16(values)
    }

    #[inline(always)]
    fn number(self) -> f32 {
        // Its bits are the upper half of the number's.
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_product_of_few_rows_is_exact_for_small_whole_numbers(
            count in 1_usize..=MOST_ROWS,
            inputs in 1_usize..70,
            outputs in 1_usize..20,
            seed in 0_usize..1000,
        ) {
            let numbers = |count: usize, seed: usize| -> Vec<f32> {
                (0..count).map(|at| ((at * 7 + seed) % 13) as f32 - 6.0).collect()
            };
            let (rows, weight) = (numbers(count * inputs, seed), numbers(outputs * inputs, 3 * seed));
            let found = few_rows(&rows, &weight, inputs);
            for (row, found) in rows.chunks(inputs).zip(found.chunks(outputs)) {
                for (weight, found) in weight.chunks(inputs).zip(found) {
                    let expected: f32 = row.iter().zip(weight).map(|(x, w)| x * w).sum();
                    prop_assert_eq!(*found, expected);
                }
            }
        }

        #[test]
        fn weights_of_16_bits_give_what_their_numbers_give(
            count in 1_usize..=MOST_ROWS,
            inputs in 1_usize..70,
            outputs in 1_usize..20,
        ) {
            let numbers = |count: usize, rate: f32| -> Vec<f32> {
                (0..count).map(|at| (at as f32 * rate).sin()).collect()
            };
            let rows = numbers(count * inputs, 0.7);
            let weight = numbers(outputs * inputs, 0.3);
            let half: Vec<bf16> = weight.iter().map(|value| bf16::from_f32(*value)).collect();
            let whole: Vec<f32> = half.iter().map(|value| value.to_f32()).collect();
            let (found, expected) = (few_rows(&rows, &half, inputs), few_rows(&rows, &whole, inputs));
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn a_row_comes_out_the_same_among_others(count in 2_usize..=MOST_ROWS) {
            let inputs = 50;
            let numbers = |count: usize, rate: f32| -> Vec<f32> {
                (0..count).map(|at| (at as f32 * rate).sin()).collect()
            };
            let (rows, weight) = (numbers(count * inputs, 0.7), numbers(9 * inputs, 0.3));
            let together = few_rows(&rows, &weight, inputs);
            for (row, together) in rows.chunks(inputs).zip(together.chunks(9)) {
                prop_assert_eq!(&few_rows(row, &weight, inputs)[..], together);
            }
        }
    }
}
