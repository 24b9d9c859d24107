//! The core of products with many rows: a tile of sums that stays in registers.
//!
//! A step takes the vectors of one input from a panel and the numbers that a few outputs weigh it
//! with: 3 vectors of 16 rows times 8 outputs are 24 sums for 11 reads, so that arithmetic never
//! waits for memory. The weight is read as it lies, so nothing of it is copied.

use super::lines::Line;
use super::matrix::Matrix;
use super::panels::Panel;
#[cfg(target_arch = "x86_64")]
use super::vectors::{Bits256, Bits512};
use super::vectors::{Vector, WIDTH};

/// Outputs of a tile on 512 bits, and on 256.
pub(super) const WIDE_COLUMNS: usize = 8;
pub(super) const COLUMNS: usize = 6;

/// Inputs taken before a tile's sums go back to memory: what lies between the reads of a panel's numbers
/// by two tiles must fit into a cache.
const MOST_INPUTS: usize = 2048;

/// Whether [`sums`] has vectors of 256 or 512 bits on this processor: without them other products are
/// faster.
pub(super) fn has_tiles() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512f")
            || (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma"))
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Whether tiles have [`WIDE_COLUMNS`] outputs.
pub(super) fn is_wide() -> bool {
    #[cfg(target_arch = "x86_64")]
    {
        is_x86_feature_detected!("avx512f")
    }
    #[cfg(not(target_arch = "x86_64"))]
    false
}

/// Writes the products of a panel's rows with the rows of `weight` `[out, in]`: `[out, lines]`, in which
/// the lines of one output hold the panel's rows. Each sum runs over the inputs in their order.
///
/// # Panics
/// Shapes do not fit together.
pub(super) fn sums(sums: &mut [Line], panel: Panel<'_>, weight: Matrix<'_>) {
    let per_input = panel.lines_per_input;
    assert_eq!(panel.lines.len(), weight.columns * per_input, "inputs");
    assert_eq!(sums.len(), weight.rows * per_input, "sums");
    if weight.columns == 0 {
        sums.fill(Line::ZERO);
        return;
    }
    for start in (0..weight.columns).step_by(MOST_INPUTS) {
        let inputs = start..weight.columns.min(start + MOST_INPUTS);
        let lines = &panel.lines[inputs.start * per_input..inputs.end * per_input];
        let weight = weight.turned().rows(inputs).turned();
        add_sums(sums, lines, per_input, weight, start > 0);
    }
}

/// As [`sums`], of the `lines` of some inputs of a panel, added to what is there where others came before.
///
/// # Panics
/// As [`sums`].
pub(super) fn add_sums(
    sums: &mut [Line],
    lines: &[Line],
    per_input: usize,
    weight: Matrix<'_>,
    is_added: bool,
) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f")]
        fn on_512_bits(
            sums: &mut [Line],
            lines: &[Line],
            per_input: usize,
            weight: Matrix<'_>,
            is_added: bool,
        ) {
            let work = (sums, lines, 0, weight, is_added);
            match per_input {
                1 => tiles::<Bits512, 1, 1, WIDE_COLUMNS>(work),
                2 => tiles::<Bits512, 2, 2, WIDE_COLUMNS>(work),
                _ => tiles::<Bits512, 3, 3, WIDE_COLUMNS>(work),
            }
        }
        #[target_feature(enable = "avx2,fma")]
        fn on_256_bits(
            sums: &mut [Line],
            lines: &[Line],
            per_input: usize,
            weight: Matrix<'_>,
            is_added: bool,
        ) {
            by_line::<Bits256>(sums, lines, per_input, weight, is_added);
        }
        if is_x86_feature_detected!("avx512f") {
            // SAFETY: the processor has what the function is compiled for. Worth it: general
            // products reach 3/4 of this.
            return unsafe { on_512_bits(sums, lines, per_input, weight, is_added) };
        }
        if has_tiles() {
            // SAFETY: as above.
            return unsafe { on_256_bits(sums, lines, per_input, weight, is_added) };
        }
    }
    by_line::<[f32; WIDTH]>(sums, lines, per_input, weight, is_added);
}

/// One line of each input at a time, for fewer or narrower registers.
#[inline(always)]
fn by_line<V: Vector>(
    sums: &mut [Line],
    lines: &[Line],
    per_input: usize,
    weight: Matrix<'_>,
    is_added: bool,
) {
    for first in 0..per_input {
        let work = (&mut *sums, lines, first, weight, is_added);
        match per_input {
            1 => tiles::<V, 1, 1, COLUMNS>(work),
            2 => tiles::<V, 2, 1, COLUMNS>(work),
            _ => tiles::<V, 3, 1, COLUMNS>(work),
        }
    }
}

/// Sums, lines, the first line of each input to take, weight, and whether to add to what is there.
type Work<'a> = (&'a mut [Line], &'a [Line], usize, Matrix<'a>, bool);

/// All outputs for `L` of the `P` lines of each input, `C` outputs at a time.
#[inline(always)]
fn tiles<V: Vector, const P: usize, const L: usize, const C: usize>(work: Work<'_>) {
    let (sums, lines, first, weight, is_added) = work;
    let (lines, _) = lines.as_chunks::<P>();
    let (sums, _) = sums.as_chunks_mut::<P>();
    assert!(sums.len() == weight.rows && lines.len() == weight.columns && first + L <= P);
    assert!(weight.rows == 0 || weight.columns == 0 || weight.span() <= weight.values.len());
    let mut sets = sums.chunks_exact_mut(C);
    let mut output = 0;
    for sums in &mut sets {
        // SAFETY: the weight's numbers lie within its memory by the assertion above, and there are
        // so many outputs from this one on.
        unsafe { tile::<V, P, L, C>(sums, lines, first, weight, output, is_added) };
        output += C;
    }
    for sums in sets.into_remainder().chunks_mut(1) {
        // SAFETY: as above.
        unsafe { tile::<V, P, L, 1>(sums, lines, first, weight, output, is_added) };
        output += 1;
    }
}

/// One tile.
///
/// # Safety
/// `weight` has `lines.len()` columns and rows up to `output + C`, all within its memory.
#[inline(always)]
unsafe fn tile<V: Vector, const P: usize, const L: usize, const C: usize>(
    sums: &mut [[Line; P]],
    lines: &[[Line; P]],
    first: usize,
    weight: Matrix<'_>,
    output: usize,
    is_added: bool,
) {
    let mut tile = [[V::ZERO; L]; C];
    if is_added {
        for (tile, sums) in tile.iter_mut().zip(&*sums) {
            for line in 0..L {
                tile[line] = V::load(&sums[first + line].0);
            }
        }
    }
    let start = &raw const weight.values[output * weight.row_stride];
    for (input, lines) in lines.iter().enumerate() {
        let of_rows: [V; L] = std::array::from_fn(|line| V::load(&lines[first + line].0));
        for (column, tile) in tile.iter_mut().enumerate() {
            // SAFETY: by the caller's promise.
            let factor =
                unsafe { *start.add(column * weight.row_stride + input * weight.column_stride) };
            let factor = V::all(factor);
            for line in 0..L {
                tile[line] = tile[line].add_product(of_rows[line], factor);
            }
        }
    }
    for (tile, sums) in tile.iter().zip(sums) {
        for line in 0..L {
            tile[line].store(&mut sums[first + line].0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::panels::Panels;
    use super::*;

    /// Whole numbers so small that sums of them are exact.
    fn numbers(count: usize, seed: usize) -> Vec<f32> {
        (0..count)
            .map(|at| ((at * 7 + seed) % 13) as f32 - 6.0)
            .collect()
    }

    fn assert_exact(rows: usize, inputs: usize, outputs: usize, is_turned: bool, is_narrow: bool) {
        let (left, right) = (numbers(rows * inputs, 3), numbers(outputs * inputs, 5));
        let weight = if is_turned {
            Matrix::packed(&right, outputs).turned()
        } else {
            Matrix::packed(&right, inputs)
        };
        let panels = Panels::of(&left, inputs, None);
        for index in 0..panels.count() {
            let panel = panels.panel(index);
            let per_input = panel.lines_per_input;
            let mut found = vec![Line::ZERO; outputs * per_input];
            if is_narrow {
                by_line::<[f32; WIDTH]>(&mut found, panel.lines, per_input, weight, false);
            } else {
                sums(&mut found, panel, weight);
            }
            for output in 0..outputs {
                for row in 0..panel.rows {
                    let expected: f32 = (0..inputs)
                        .map(|input| {
                            let at = output * weight.row_stride + input * weight.column_stride;
                            left[(panel.start + row) * inputs + input] * right[at]
                        })
                        .sum();
                    let line = found[output * per_input + row / WIDTH];
                    assert_eq!(line.0[row % WIDTH], expected, "row {row}, output {output}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn sums_of_small_whole_numbers_are_exact(
            rows in 1_usize..110,
            inputs in 1_usize..40,
            outputs in 1_usize..30,
            is_turned: bool,
            is_narrow: bool,
        ) {
            assert_exact(rows, inputs, outputs, is_turned, is_narrow);
        }
    }

    #[test]
    fn inputs_beyond_what_a_tile_takes_at_once_are_added() {
        assert_exact(17, 2 * MOST_INPUTS + 5, 9, false, false);
    }
}
