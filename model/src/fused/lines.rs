//! Vectors of numbers in memory, where the widest instructions read them in one go.

use super::vectors::WIDTH;

/// [`WIDTH`] numbers in one line of the cache.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Line(pub(super) [f32; WIDTH]);

impl Line {
    pub(super) const ZERO: Self = Self([0.0; WIDTH]);
}

/// The numbers of lines, one after the other.
pub(super) fn numbers(lines: &mut [Line]) -> &mut [f32] {
    // SAFETY: a line is WIDTH numbers without anything between or behind them, and these are lent to
    // nobody else.
    unsafe { std::slice::from_raw_parts_mut(lines.as_mut_ptr().cast(), lines.len() * WIDTH) }
}

/// As many lines as a line has numbers.
pub(super) type Square = [Line; WIDTH];

/// Exchanges rows and columns.
pub(super) fn turn(square: &mut Square) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        // SAFETY: the processor has what the function is compiled for. Worth it: taken number by
        // number, laying out a product's rows costs a tenth of the product.
        return unsafe { x86::turn(square) };
    }
    for row in 1..WIDTH {
        for column in 0..row {
            let number = square[row].0[column];
            square[row].0[column] = square[column].0[row];
            square[column].0[row] = number;
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::{
        __m512, _mm512_castpd_ps, _mm512_castps_pd, _mm512_loadu_ps, _mm512_shuffle_f32x4,
        _mm512_storeu_ps, _mm512_unpackhi_pd, _mm512_unpackhi_ps, _mm512_unpacklo_pd,
        _mm512_unpacklo_ps,
    };

    use super::{Square, WIDTH};

    /// The squares of four numbers that a vector holds one of each row of are turned first, then the
    /// square that those form.
    #[target_feature(enable = "avx512f")]
    pub(super) fn turn(square: &mut Square) {
        // SAFETY: reads the 16 numbers of a line.
        let load = |row: usize| unsafe { _mm512_loadu_ps(square[row].0.as_ptr()) };
        let rows: [__m512; WIDTH] = std::array::from_fn(load);
        let mut quarters = rows;
        for at in (0..WIDTH).step_by(4) {
            let [a, b, c, d] = [rows[at], rows[at + 1], rows[at + 2], rows[at + 3]];
            let pair = |low: bool, a: __m512, b: __m512| {
                _mm512_castps_pd(if low {
                    _mm512_unpacklo_ps(a, b)
                } else {
                    _mm512_unpackhi_ps(a, b)
                })
            };
            for (half, low) in [(0, true), (2, false)] {
                let (ab, cd) = (pair(low, a, b), pair(low, c, d));
                quarters[at + half] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab, cd));
                quarters[at + half + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab, cd));
            }
        }
        // `quarters[4 i + j]` holds, in its quarter q, column 4 q + j of rows 4 i .. 4 i + 4.
        for column in 0..4 {
            let [a, b, c, d] = [
                quarters[column],
                quarters[column + 4],
                quarters[column + 8],
                quarters[column + 12],
            ];
            let (even_ab, odd_ab) = (
                _mm512_shuffle_f32x4::<0x88>(a, b),
                _mm512_shuffle_f32x4::<0xdd>(a, b),
            );
            let (even_cd, odd_cd) = (
                _mm512_shuffle_f32x4::<0x88>(c, d),
                _mm512_shuffle_f32x4::<0xdd>(c, d),
            );
            let turned = [
                _mm512_shuffle_f32x4::<0x88>(even_ab, even_cd),
                _mm512_shuffle_f32x4::<0x88>(odd_ab, odd_cd),
                _mm512_shuffle_f32x4::<0xdd>(even_ab, even_cd),
                _mm512_shuffle_f32x4::<0xdd>(odd_ab, odd_cd),
            ];
            for (quarter, line) in turned.into_iter().enumerate() {
                let line_of = &mut square[4 * quarter + column].0;
                // SAFETY: writes the 16 numbers of a line.
                unsafe { _mm512_storeu_ps(line_of.as_mut_ptr(), line) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns() {
        let mut square: Square = std::array::from_fn(|row| {
            Line(std::array::from_fn(|column| (100 * row + column) as f32))
        });
        turn(&mut square);
        for (row, line) in square.iter().enumerate() {
            for (column, number) in line.0.iter().enumerate() {
                assert_eq!(*number, (100 * column + row) as f32);
            }
        }
    }
}
