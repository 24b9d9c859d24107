//! Frequencies back to samples, at whole size or a smaller one.
//!
//! A block's 8 x 8 frequencies are orthonormal, so the lowest `n` x `n` of them are those of the
//! same block at `n` x `n` samples, times `8 / n`. Numbers are `f32`: their operations are exact to
//! the last bit on every machine, with and without vectors.

use std::sync::LazyLock;

/// Samples on a side that a block of 8 x 8 can become.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    One = 1,
    Two = 2,
    Three = 3,
    Four = 4,
    Five = 5,
    Six = 6,
    Seven = 7,
    Eight = 8,
}

impl Side {
    /// All of them, the smallest first.
    pub(super) const ALL: [Self; 8] = [
        Self::One,
        Self::Two,
        Self::Three,
        Self::Four,
        Self::Five,
        Self::Six,
        Self::Seven,
        Self::Eight,
    ];

    pub(super) const fn samples(self) -> usize {
        self as usize
    }

    /// The last frequency, in zigzag order, of which anything is seen.
    pub(super) const fn last_seen(self) -> u32 {
        match self {
            Self::One => 0,
            Self::Two => 4,
            Self::Three => 12,
            Self::Four => 24,
            Self::Five => 40,
            Self::Six => 51,
            Self::Seven => 59,
            Self::Eight => 63,
        }
    }

    /// What a frequency of row or column `index` is multiplied with before [`Idct::block`].
    fn scale(self, index: usize) -> f64 {
        match self {
            _ if index == 0 => 0.125_f64.sqrt(),
            Self::One | Self::Two => 0.125_f64.sqrt(),
            Self::Three | Self::Four | Self::Five | Self::Six | Self::Seven => 0.5,
            // Arai, Agui and Nakajima's transform leaves a factor to each row and column.
            Self::Eight => 0.5 * (std::f64::consts::PI / 16.0 * index as f64).cos(),
        }
    }
}

/// Where the frequencies stand in a block, row by row, in the order in which they are written
/// (T.81, figure A.6).
pub(super) const ZIGZAG: [u8; 64] = [
    0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20,
    13, 6, 7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59,
    52, 45, 38, 31, 39, 46, 53, 60, 61, 54, 47, 55, 62, 63,
];

/// What each frequency, in zigzag order, is multiplied with on its way into a block.
pub(super) fn factors(quantization: &[u16; 64], side: Side) -> [f32; 64] {
    let mut factors = [0.0; 64];
    for ((factor, step), place) in factors.iter_mut().zip(quantization).zip(ZIGZAG) {
        let (row, column) = (usize::from(place / 8), usize::from(place % 8));
        #[expect(
            clippy::cast_possible_truncation,
            reason = "rounded to what is computed with"
        )]
        let scaled = (f64::from(*step) * side.scale(row) * side.scale(column)) as f32;
        *factor = scaled;
    }
    factors
}

/// Writes the samples of a block of frequencies, `side` to a row, `stride` from row to row.
///
/// The block holds frequencies row by row, times their [`factors`].
pub(super) fn samples(block: &[f32; 64], side: Side, out: &mut [u8], stride: usize) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function was compiled for.
        return unsafe { samples_avx2(block, side, out, stride) };
    }
    samples_plain(block, side, out, stride);
}

/// The same, compiled for processors that work on eight numbers at a time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn samples_avx2(block: &[f32; 64], side: Side, out: &mut [u8], stride: usize) {
    samples_plain(block, side, out, stride);
}

#[inline(always)]
fn samples_plain(block: &[f32; 64], side: Side, out: &mut [u8], stride: usize) {
    match side {
        Side::One => out[0] = sample(block[0]),
        Side::Two => {
            let [a, b, c, d] = [block[0], block[1], block[8], block[9]];
            let rows = [
                [a + c + (b + d), a + c - (b + d)],
                [a - c + (b - d), a - c - (b - d)],
            ];
            for (row, out) in rows.iter().zip(out.chunks_mut(stride)) {
                out[..2].copy_from_slice(&row.map(sample));
            }
        }
        Side::Four => {
            let mut rows: [[f32; 4]; 4] = [0, 8, 16, 24].map(|at| *four(&block[at..]));
            rows = transposed(transform_4(rows));
            rows = transposed(transform_4(rows));
            for (row, out) in rows.iter().zip(out.chunks_mut(stride)) {
                out[..4].copy_from_slice(&row.map(sample));
            }
        }
        Side::Three => odd_size(block, &COSINES_3, out, stride),
        Side::Five => odd_size(block, &COSINES_5, out, stride),
        Side::Six => odd_size(block, &COSINES_6, out, stride),
        Side::Seven => odd_size(block, &COSINES_7, out, stride),
        Side::Eight => {
            let mut rows = [[0.0; 8]; 8];
            for (row, from) in rows.iter_mut().zip(block.as_chunks::<8>().0) {
                *row = *from;
            }
            rows = transposed(transform_8(rows));
            rows = transposed(transform_8(rows));
            for (row, out) in rows.iter().zip(out.chunks_mut(stride)) {
                out[..8].copy_from_slice(&row.map(sample));
            }
        }
    }
}

static COSINES_3: LazyLock<[[f32; 8]; 3]> = LazyLock::new(cosines);
static COSINES_5: LazyLock<[[f32; 8]; 5]> = LazyLock::new(cosines);
static COSINES_6: LazyLock<[[f32; 8]; 6]> = LazyLock::new(cosines);
static COSINES_7: LazyLock<[[f32; 8]; 7]> = LazyLock::new(cosines);

/// By sample and frequency: the cosines of the transform of `N` samples.
fn cosines<const N: usize>() -> [[f32; 8]; N] {
    let mut cosines = [[0.0; 8]; N];
    for (sample, row) in cosines.iter_mut().enumerate() {
        for (frequency, cosine) in row.iter_mut().take(N).enumerate() {
            let angle = std::f64::consts::PI * (frequency * (2 * sample + 1)) as f64;
            #[expect(
                clippy::cast_possible_truncation,
                reason = "rounded to what is computed with"
            )]
            let rounded = (angle / (2 * N) as f64).cos() as f32;
            *cosine = rounded;
        }
    }
    cosines
}

/// The sizes for which there is no short way: by the definition, each half of the samples with the
/// even and the odd frequencies of the other.
#[inline(always)]
fn odd_size<const N: usize>(
    block: &[f32; 64],
    cosines: &[[f32; 8]; N],
    out: &mut [u8],
    stride: usize,
) {
    let mut rows = [[0.0; 8]; 8];
    for (row, from) in rows.iter_mut().zip(block.as_chunks::<8>().0).take(N) {
        *row = *from;
    }
    rows = transposed(transform_n(rows, cosines));
    rows = transposed(transform_n(rows, cosines));
    for (row, out) in rows.iter().zip(out.chunks_mut(stride)).take(N) {
        out[..N].copy_from_slice(&row.map(sample)[..N]);
    }
}

/// The transform of each column of `N`.
#[inline(always)]
fn transform_n<const N: usize>(rows: [[f32; 8]; 8], cosines: &[[f32; 8]; N]) -> [[f32; 8]; 8] {
    let mut out = [[0.0; 8]; 8];
    for (sample, cosines) in cosines.iter().enumerate().take(N.div_ceil(2)) {
        let (mut even, mut odd) = (rows[0], [0.0; 8]);
        for frequency in 1..N {
            let sum = if frequency % 2 == 0 {
                &mut even
            } else {
                &mut odd
            };
            for (sum, number) in sum.iter_mut().zip(rows[frequency]) {
                *sum += cosines[frequency] * number;
            }
        }
        for x in 0..8 {
            out[sample][x] = even[x] + odd[x];
            out[N - 1 - sample][x] = even[x] - odd[x];
        }
    }
    out
}

#[inline(always)]
fn four(numbers: &[f32]) -> &[f32; 4] {
    numbers.first_chunk().unwrap_or(&[0.0; 4])
}

/// The nearest byte to a number around 0.
#[inline(always)]
pub(super) fn sample(number: f32) -> u8 {
    /// The smallest number whose last bit is worth one: what is added to it is rounded.
    const ROUNDING: f32 = 8_388_608.0;
    let bits = ((number + 128.0).clamp(0.0, 255.0) + ROUNDING).to_bits();
    (bits & 0xff) as u8
}

#[inline(always)]
fn transposed<const N: usize>(rows: [[f32; N]; N]) -> [[f32; N]; N] {
    let mut columns = [[0.0; N]; N];
    for (y, row) in rows.iter().enumerate() {
        for (x, number) in row.iter().enumerate() {
            columns[x][y] = *number;
        }
    }
    columns
}

/// The transform of each column of four.
#[inline(always)]
fn transform_4(rows: [[f32; 4]; 4]) -> [[f32; 4]; 4] {
    // Cosines of 1, 2 and 3 eighths of a right angle times two.
    const C1: f32 = 0.923_879_5;
    const C2: f32 = 0.707_106_77;
    const C3: f32 = 0.382_683_43;
    let mut out = [[0.0; 4]; 4];
    for x in 0..4 {
        let [f0, f1, f2, f3] = [rows[0][x], rows[1][x], rows[2][x], rows[3][x]];
        let f2 = C2 * f2;
        let (even, odd) = (f0 + f2, f0 - f2);
        let (first, second) = (C1 * f1 + C3 * f3, C3 * f1 - C1 * f3);
        out[0][x] = even + first;
        out[1][x] = odd + second;
        out[2][x] = odd - second;
        out[3][x] = even - first;
    }
    out
}

/// The transform of each column of eight, after Arai, Agui and Nakajima (1988): five
/// multiplications.
#[inline(always)]
fn transform_8(rows: [[f32; 8]; 8]) -> [[f32; 8]; 8] {
    const ROOT_2: f32 = std::f32::consts::SQRT_2;
    // 2 cos(pi / 8), 2 (cos(pi / 8) - cos(3 pi / 8)), 2 (cos(pi / 8) + cos(3 pi / 8)).
    const A: f32 = 1.847_759_1;
    const B: f32 = 1.082_392_2;
    const C: f32 = 2.613_126;
    let mut out = [[0.0; 8]; 8];
    for x in 0..8 {
        let [f0, f1, f2, f3] = [rows[0][x], rows[1][x], rows[2][x], rows[3][x]];
        let [f4, f5, f6, f7] = [rows[4][x], rows[5][x], rows[6][x], rows[7][x]];
        let (e0, e1) = (f0 + f4, f0 - f4);
        let e3 = f2 + f6;
        let e2 = (f2 - f6) * ROOT_2 - e3;
        let [e0, e3, e1, e2] = [e0 + e3, e0 - e3, e1 + e2, e1 - e2];

        let (z13, z10) = (f5 + f3, f5 - f3);
        let (z11, z12) = (f1 + f7, f1 - f7);
        let o7 = z11 + z13;
        let o11 = (z11 - z13) * ROOT_2;
        let z5 = (z10 + z12) * A;
        let o10 = z5 - z12 * B;
        let o12 = z5 - z10 * C;
        let o6 = o12 - o7;
        let o5 = o11 - o6;
        let o4 = o10 - o5;

        out[0][x] = e0 + o7;
        out[7][x] = e0 - o7;
        out[1][x] = e1 + o6;
        out[6][x] = e1 - o6;
        out[2][x] = e2 + o5;
        out[5][x] = e2 - o5;
        out[3][x] = e3 + o4;
        out[4][x] = e3 - o4;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, in f64 (T.81, A.3.3, for `n` samples).
    fn defined(block: &[f64; 64], n: usize, x: usize, y: usize) -> f64 {
        let basis = |frequency: usize, place: usize| {
            let scale = if frequency == 0 { 1.0 } else { 2.0 };
            let angle = std::f64::consts::PI * frequency as f64 * (2 * place + 1) as f64;
            (scale / n as f64).sqrt() * (angle / (2 * n) as f64).cos()
        };
        let mut sum = 0.0;
        for v in 0..n {
            for u in 0..n {
                sum += block[8 * v + u] * basis(u, x) * basis(v, y);
            }
        }
        sum * n as f64 / 8.0 + 128.0
    }

    #[test]
    fn every_size_agrees_with_the_definition() {
        let mut state = 1_u32;
        let mut random = move || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 16) as i32 % 40 - 20
        };
        for side in Side::ALL {
            for _ in 0..50 {
                let quantization = [3; 64];
                let factors = factors(&quantization, side);
                let (mut block, mut exact) = ([0.0; 64], [0.0; 64]);
                for (place, factor) in ZIGZAG.into_iter().zip(factors) {
                    let number = random();
                    block[usize::from(place)] = number as f32 * factor;
                    exact[usize::from(place)] = f64::from(number * 3);
                }
                let n = side.samples();
                let mut out = [0; 64];
                samples(&block, side, &mut out, n);
                for y in 0..n {
                    for x in 0..n {
                        let expected = defined(&exact, n, x, y).clamp(0.0, 255.0);
                        let got = f64::from(out[y * n + x]);
                        assert!(
                            (expected - got).abs() < 0.51,
                            "{side:?}: {got} for {expected}"
                        );
                    }
                }
            }
        }
    }
}
