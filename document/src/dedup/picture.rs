//! Prints of pictures.

use std::f32::consts::PI;
use std::sync::LazyLock;

use fast_image_resize::{FilterType, ResizeAlg};

use super::mixed;
use crate::Reason;
use crate::image::{Limits, decode_scaled, resize_with};

/// Side of the grey picture in a print.
const SIDE: usize = 64;
/// Bytes of a stored print: hashes and greys.
const PRINT_BYTES: usize = 8 * WINDOWS + SIDE * SIDE;
/// Windows of a picture that are hashed: all of it, and the middle without what a slight crop
/// takes away.
pub const WINDOWS: usize = 3;
/// Their sides, as a share of the whole.
const WINDOW_SIDES: [f32; WINDOWS] = [1.0, 0.95, 0.9];
/// Frequencies along each side.
const FREQUENCIES: usize = 8;
/// Keys by which prints are found.
const KEYS: usize = 32;
/// Bits of a hash in a key.
const KEY_BITS: u32 = 18;
/// Most bits in which hashes of like pictures differ; of unlike ones half of the 63 do.
const MAX_DISTANCE: u32 = 16;
/// Most that a crop takes from a side, as a share of the whole.
const MAX_TRIM: f32 = 0.12;
/// Squares along each side that are compared by themselves.
const BLOCKS: usize = 8;
/// Squares that may differ: a mark in a corner, a date.
const SQUARES_APART: usize = 3;
/// Variance that encoders make, in grey levels squared: what varies less is even.
const NOISE: f32 = 60.0;
/// Least correlation of pictures whose squares are worth a look.
const LEAST_CORRELATION: f32 = 0.5;

/// What is kept of a picture to tell it from others: a grey picture of 64 x 64, and for each of
/// [`WINDOWS`] the signs of its low frequencies (a DCT hash as pHash, Zauner 2010, section 3.2.1).
///
/// Hashes find pictures that may be alike, greys decide: see [`PicturePrint::likeness`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PicturePrint {
    hashes: [u64; WINDOWS],
    greys: Vec<u8>,
}

impl PicturePrint {
    /// Bytes of its stored form.
    pub const BYTES: usize = PRINT_BYTES;

    /// The print of an encoded picture.
    ///
    /// # Errors
    ///
    /// The reason for which it cannot be decoded.
    pub fn of(bytes: &[u8]) -> Result<Self, Reason> {
        let side = SIDE as u32;
        let least = |full: u32| full.clamp(1, 2 * side);
        let decoded = decode_scaled(bytes, &Limits::default(), |width, height| {
            (least(width), least(height))
        })?;
        let colours = resize_with(
            &decoded,
            side,
            side,
            ResizeAlg::Convolution(FilterType::Box),
        )?;
        // Rec. 601 weights, in thousandths.
        let greys = colours
            .chunks_exact(3)
            .map(|rgb| {
                let sum =
                    299 * u32::from(rgb[0]) + 587 * u32::from(rgb[1]) + 114 * u32::from(rgb[2]);
                (sum / 1000) as u8
            })
            .collect();
        Ok(Self::from_greys(greys))
    }

    fn from_greys(greys: Vec<u8>) -> Self {
        let hashes = std::array::from_fn(|window| hash(&greys, &WAVES[window]));
        Self { hashes, greys }
    }

    /// The form in which it is stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let hashes = self.hashes.iter().flat_map(|hash| hash.to_le_bytes());
        hashes.chain(self.greys.iter().copied()).collect()
    }

    /// The print with that form, if it is one.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (hashes, greys) = bytes.split_at_checked(8 * WINDOWS)?;
        let hashes = hashes.as_chunks::<8>().0;
        Some(Self {
            hashes: std::array::from_fn(|window| u64::from_le_bytes(hashes[window])),
            greys: (greys.len() == SIDE * SIDE).then(|| greys.to_vec())?,
        })
    }

    /// Keys and the hash behind each: like pictures share a key, and hashes that
    /// [`PicturePrint::may_be_alike`].
    pub fn keys(&self) -> impl Iterator<Item = (u32, u64)> {
        self.hashes.into_iter().flat_map(|hash| {
            MASKS.iter().zip(0_u32..).map(move |(bits, number)| {
                let key = bits
                    .iter()
                    .fold(number, |key, bit| key << 1 | (hash >> bit & 1) as u32);
                (key, hash)
            })
        })
    }

    /// Whether pictures with these hashes are worth a look at their greys.
    #[must_use]
    pub fn may_be_alike(one: u64, other: u64) -> bool {
        (one ^ other).count_ones() <= MAX_DISTANCE
    }

    /// How alike two pictures are, from 0 to 1: how much the structure of 8 x 8 squares agrees in the
    /// fourth worst of them. One picture may be a part of the other, up to 12 % less on each side.
    ///
    /// A bad square decides and not the mean: two screenshots that differ in one dialog are alike on
    /// the whole.
    #[must_use]
    pub fn likeness(&self, other: &Self) -> f64 {
        let is_near = |one: &u64| {
            let mut others = other.hashes.iter();
            others.any(|other| Self::may_be_alike(*one, *other))
        };
        if !self.hashes.iter().any(is_near) {
            return 0.0;
        }
        let forth = best_likeness(&self.greys, &other.greys);
        let back = best_likeness(&other.greys, &self.greys);
        f64::from(forth.max(back))
    }
}

/// Waves along a side of the picture within a window, weighted by how much of each sample is in it.
type Waves = [[f32; SIDE]; FREQUENCIES];

static WAVES: LazyLock<[Waves; WINDOWS]> = LazyLock::new(|| {
    WINDOW_SIDES.map(|share| {
        let side = SIDE as f32 * share;
        let start = (SIDE as f32 - side) / 2.0;
        std::array::from_fn(|frequency| {
            std::array::from_fn(|x| {
                let x = x as f32;
                let covered = (x + 1.0).min(start + side) - x.max(start);
                let phase = PI * frequency as f32 * (x + 0.5 - start) / side;
                covered.max(0.0) * phase.cos()
            })
        })
    })
});

/// The bits of a hash that make each key, drawn once for all.
static MASKS: LazyLock<[Vec<u32>; KEYS]> = LazyLock::new(|| {
    std::array::from_fn(|key| {
        // Bit 0 stands for the mean, and is never set.
        let mut bits: Vec<u32> = (1..64).collect();
        bits.sort_by_key(|bit| mixed(mixed(key as u64 + 1) ^ u64::from(*bit)));
        bits.truncate(KEY_BITS as usize);
        bits
    })
});

/// The signs of 63 frequencies within a window.
fn hash(greys: &[u8], waves: &Waves) -> u64 {
    let mut rows = [[0.0_f32; FREQUENCIES]; SIDE];
    for (row, sums) in greys.chunks_exact(SIDE).zip(&mut rows) {
        for (wave, sum) in waves.iter().zip(sums) {
            *sum = row
                .iter()
                .zip(wave)
                .map(|(grey, wave)| f32::from(*grey) * wave)
                .sum();
        }
    }
    let mut hash = 0;
    for (down, wave) in waves.iter().enumerate() {
        for across in 0..FREQUENCIES {
            let sum: f32 = rows
                .iter()
                .zip(wave)
                .map(|(row, wave)| row[across] * wave)
                .sum();
            if (down, across) != (0, 0) && sum > 0.0 {
                hash |= 1 << (down * FREQUENCIES + across);
            }
        }
    }
    hash
}

/// The likeness of one picture with the part of the other that it is most alike.
fn best_likeness(part: &[u8], whole: &[u8]) -> f32 {
    let [part, whole] = [part, whole]
        .map(|greys| -> Vec<f32> { greys.iter().map(|grey| f32::from(*grey)).collect() });
    let soft = |greys: &[f32]| (0..4).fold(greys.to_vec(), |greys, _| softened(&greys));
    let (soft_part, soft_whole) = (soft(&part), soft(&whole));
    // Left, right, top and bottom.
    let mut trims = [0.0_f32; 4];
    let mut best = 0.0;
    // Thin lines say where they belong only from near by: soft pictures lead there.
    for (step, is_soft) in [
        (0.06, true),
        (0.03, true),
        (0.015, true),
        (0.008, false),
        (0.004, false),
    ] {
        let (part, whole, stride) = if is_soft {
            (&soft_part, &soft_whole, 2)
        } else {
            (&part, &whole, 1)
        };
        best = correlation(part, whole, trims, stride);
        let mut has_moved = true;
        while has_moved {
            has_moved = false;
            for side in 0..4 {
                for sign in [1.0, -1.0] {
                    let mut tried = trims;
                    tried[side] = (tried[side] + sign * step).clamp(0.0, MAX_TRIM);
                    let found = correlation(part, whole, tried, stride);
                    if found > best + 1e-4 {
                        (best, trims, has_moved) = (found, tried, true);
                    }
                }
            }
        }
    }
    if best < LEAST_CORRELATION {
        return 0.0;
    }
    likeness_of_squares(&part, &sampled(&whole, trims, 1))
}

/// The whole picture within its trims, at every `step`th sample of a picture's sides.
fn sampled(greys: &[f32], [left, right, top, bottom]: [f32; 4], step: usize) -> Vec<f32> {
    let line = |before: f32, after: f32| -> Vec<(usize, f32)> {
        (step / 2..SIDE)
            .step_by(step)
            .map(|at| {
                let share = (at as f32 + 0.5) / SIDE as f32;
                let place = (before + share * (1.0 - before - after)) * SIDE as f32 - 0.5;
                let place = place.clamp(0.0, (SIDE - 1) as f32 - 1e-3);
                (place as usize, place.fract())
            })
            .collect()
    };
    let columns = line(left, right);
    let mut samples = Vec::with_capacity(columns.len() * columns.len());
    for (y, down) in line(top, bottom) {
        for (x, across) in &columns {
            let at = |x: usize, y: usize| greys[y * SIDE + x];
            let upper = at(*x, y) * (1.0 - across) + at(x + 1, y) * across;
            let lower = at(*x, y + 1) * (1.0 - across) + at(x + 1, y + 1) * across;
            samples.push(upper * (1.0 - down) + lower * down);
        }
    }
    samples
}

/// Correlation of a picture with the trimmed other one, over every `step`th sample each way.
fn correlation(part: &[f32], whole: &[f32], trims: [f32; 4], step: usize) -> f32 {
    let whole = sampled(whole, trims, step);
    let part = (step / 2..SIDE)
        .step_by(step)
        .flat_map(|y| (step / 2..SIDE).step_by(step).map(move |x| y * SIDE + x))
        .map(|at| part[at]);
    let mut sums = [0.0_f32; 5];
    for (one, two) in part.zip(&whole) {
        let terms = [one, *two, one * one, two * two, one * two];
        sums.iter_mut()
            .zip(terms)
            .for_each(|(sum, term)| *sum += term);
    }
    let count = whole.len() as f32;
    let [one, two, one_squared, two_squared, product] = sums.map(|sum| sum / count);
    let variances = (one_squared - one * one) * (two_squared - two * two);
    if variances <= 1e-3 {
        return 0.0;
    }
    (product - one * two) / variances.sqrt()
}

/// The structural similarity (Wang et al. 2004, without its term for brightness) of the fourth worst
/// of 8 x 8 squares.
///
/// Both are softened, and each square may lie a sample beside its place: edges that fell between two
/// samples in one picture and on one in the other are no difference.
fn likeness_of_squares(part: &[f32], whole: &[f32]) -> f32 {
    let (part, whole) = (softened(part), softened(whole));
    let side = SIDE / BLOCKS;
    let count = (side * side) as f32;
    let mut squares: Vec<f32> = (0..BLOCKS * BLOCKS)
        .map(|block| {
            let (top, left) = (block / BLOCKS * side, block % BLOCKS * side);
            let mut most = 0.0_f32;
            for shift in 0..9 {
                let (down, across) = (shift / 3, shift % 3);
                let mut sums = [0.0_f32; 5];
                for y in top..top + side {
                    let other = (y + down).saturating_sub(1).min(SIDE - 1) * SIDE;
                    for x in left..left + side {
                        let beside = (x + across).saturating_sub(1).min(SIDE - 1);
                        let (one, two) = (part[y * SIDE + x], whole[other + beside]);
                        let terms = [one, two, one * one, two * two, one * two];
                        sums.iter_mut()
                            .zip(terms)
                            .for_each(|(sum, term)| *sum += term);
                    }
                }
                let [one, two, one_squared, two_squared, product] = sums.map(|sum| sum / count);
                let variances = one_squared - one * one + two_squared - two * two;
                let covariance = product - one * two;
                most = most.max((2.0 * covariance + NOISE) / (variances + NOISE));
            }
            most
        })
        .collect();
    squares.sort_by(f32::total_cmp);
    squares[SQUARES_APART].clamp(0.0, 1.0)
}

/// Each sample with its neighbours, by the weights 1, 2, 1 each way.
fn softened(greys: &[f32]) -> Vec<f32> {
    let along = |greys: &[f32], stride: usize| -> Vec<f32> {
        let at = |place: usize| place / stride % SIDE;
        (0..greys.len())
            .map(|place| {
                let before = if at(place) > 0 { place - stride } else { place };
                let after = if at(place) + 1 < SIDE {
                    place + stride
                } else {
                    place
                };
                (greys[before] + 2.0 * greys[place] + greys[after]) / 4.0
            })
            .collect()
    };
    along(&along(greys, 1), SIDE)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Waves with a box at a place.
    fn greys(place: usize) -> Vec<u8> {
        (0..SIDE * SIDE)
            .map(|at| {
                let (x, y) = (at % SIDE, at / SIDE);
                let is_inside = (place..place + 16).contains(&x) && (20..36).contains(&y);
                let wave = (x as f32 / 9.0).sin() + (y as f32 / 6.0 + x as f32 / 20.0).cos();
                if is_inside {
                    250
                } else {
                    (120.0 + 50.0 * wave) as u8
                }
            })
            .collect()
    }

    fn shares_a_key(one: &PicturePrint, two: &PicturePrint) -> bool {
        let keys: Vec<(u32, u64)> = one.keys().collect();
        two.keys().any(|(key, hash)| {
            let mut keys = keys.iter();
            keys.any(|(other, of)| *other == key && PicturePrint::may_be_alike(hash, *of))
        })
    }

    #[test]
    fn a_slight_crop_in_other_light_is_alike_and_survives_storage() {
        let whole = PicturePrint::from_greys(greys(10));
        let pale: Vec<f32> = greys(10).into_iter().map(f32::from).collect();
        let cropped = sampled(&pale, [0.04, 0.01, 0.0, 0.05], 1);
        let dimmed = cropped.iter().map(|grey| (grey * 0.9 + 5.0) as u8);
        let part = PicturePrint::from_greys(dimmed.collect());
        assert!(shares_a_key(&whole, &part));
        let likeness = whole.likeness(&part);
        assert!(likeness > 0.9, "{likeness}");
        assert_eq!(part.likeness(&whole), likeness);
        assert_eq!(PicturePrint::from_bytes(&part.to_bytes()), Some(part));
        assert_eq!(PicturePrint::from_bytes(&[0; 100]), None);
    }

    #[test]
    fn a_picture_that_differs_in_one_place_is_another() {
        let (one, two) = (greys(10), greys(34));
        let [one, two] = [one, two].map(PicturePrint::from_greys);
        assert!(one.likeness(&two) < 0.5, "{}", one.likeness(&two));
        assert!(one.likeness(&one) > 0.99);
    }
}
