//! Pictures to pixels, as CLIP was shown them: the shorter side scaled by an antialiased bicubic
//! filter in u8, the centre cut out, values normalised. SigLIP and Idefics were shown whole pictures,
//! squeezed.
//!
//! Weights of these encoders are used to the very filter: this is Pillow's, whose 8-bit arithmetic
//! is followed to the last bit (`src/libImaging/Resample.c`), with sizes and crop as in
//! torchvision's `Resize` and `CenterCrop`.

use candle_core::{Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// How pictures become pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Preprocess {
    /// Side of the square that is left, in pixels.
    pub side_px: usize,
    /// Taken off each channel of values in [0, 1].
    pub mean: [f32; 3],
    /// Divides each channel after that.
    pub deviation: [f32; 3],
    /// Whether the whole picture is squeezed into the square, as SigLIP and Idefics were shown it, instead
    /// of its centre cut out.
    #[serde(default, skip_serializing_if = "is_false")]
    pub squeezed: bool,
}

fn is_false(value: &bool) -> bool {
    !value
}

/// A picture of 8 bits a channel.
#[derive(Debug, Clone, Copy)]
pub struct Picture<'a> {
    /// Rows from the top, channels of a pixel together.
    pub values: &'a [u8],
    /// Width in pixels.
    pub width: usize,
    /// Height in pixels.
    pub height: usize,
    /// 1 (grey), 2 (grey, alpha), 3 (red, green, blue) or 4 (the same, alpha). Alpha is dropped.
    pub channels: usize,
}

impl Preprocess {
    /// OpenAI's values, which open_clip uses too unless a model says otherwise.
    #[must_use]
    pub fn clip(side_px: usize) -> Self {
        Self {
            side_px,
            mean: [0.481_454_66, 0.457_827_5, 0.408_210_73],
            deviation: [0.268_629_54, 0.261_302_6, 0.275_777_1],
            squeezed: false,
        }
    }

    /// CLIP's values, of whole pictures, as Idefics was shown them.
    #[must_use]
    pub fn idefics(side_px: usize) -> Self {
        Self {
            squeezed: true,
            ..Self::clip(side_px)
        }
    }

    /// SigLIP's values.
    #[must_use]
    pub fn siglip(side_px: usize) -> Self {
        Self {
            side_px,
            mean: [0.5; 3],
            deviation: [0.5; 3],
            squeezed: true,
        }
    }

    /// `[3, side, side]` f32. Holds two scaled copies of the picture while it runs.
    ///
    /// # Errors
    /// [`Error::Input`]: the picture is empty, or has another number of values than it says.
    pub fn pixels(&self, picture: Picture<'_>) -> Result<Tensor> {
        let colours = colours(picture)?;
        let (width, height) = if self.squeezed {
            (self.side_px, self.side_px)
        } else {
            scaled_size(picture.width, picture.height, self.side_px)
        };
        let scaled = if (width, height) == (picture.width, picture.height) {
            colours
        } else {
            let narrow = scale_rows(&colours, picture.width, width);
            scale_columns(&narrow, width, picture.height, height)
        };
        let side = self.side_px;
        let (left, top) = (crop_start(width, side), crop_start(height, side));
        let mut pixels = vec![0.0; 3 * side * side];
        for (channel, plane) in pixels.chunks_mut(side * side).enumerate() {
            let (mean, deviation) = (self.mean[channel], self.deviation[channel]);
            for (at, pixel) in plane.iter_mut().enumerate() {
                let (x, y) = (left + at % side, top + at / side);
                let value = f32::from(scaled[(y * width + x) * 3 + channel]);
                *pixel = (value / 255.0 - mean) / deviation;
            }
        }
        Ok(Tensor::from_vec(pixels, (3, side, side), &Device::Cpu)?)
    }
}

/// Red, green and blue of each pixel.
fn colours(picture: Picture<'_>) -> Result<Vec<u8>> {
    let Picture {
        values,
        width,
        height,
        channels,
    } = picture;
    let count = width
        .checked_mul(height)
        .and_then(|count| count.checked_mul(channels));
    if values.is_empty() || count != Some(values.len()) || !(1..=4).contains(&channels) {
        return Err(Error::Input {
            what: "picture",
            expected: format!("{width} x {height} pixels of 1 to 4 channels"),
            found: format!("{} values in {channels} channels", values.len()),
        });
    }
    Ok(match channels {
        1 | 2 => values
            .chunks(channels)
            .flat_map(|pixel| [pixel[0]; 3])
            .collect(),
        _ => {
            let pixels = values.chunks(channels);
            pixels
                .flat_map(|pixel| [pixel[0], pixel[1], pixel[2]])
                .collect()
        }
    })
}

/// The size whose shorter side is `side`, in the proportions of the picture, rounded down.
fn scaled_size(width: usize, height: usize, side: usize) -> (usize, usize) {
    if width <= height {
        (side, (side * height / width).max(side))
    } else {
        ((side * width / height).max(side), side)
    }
}

/// Half of what is over, to the even side where it is odd (Python's `round`).
fn crop_start(length: usize, side: usize) -> usize {
    let over = length - side;
    let half = over / 2;
    half + usize::from(over % 2 == 1 && half % 2 == 1)
}

/// Bits behind the point of a filter's weights.
const WEIGHT_BITS: u32 = 22;

/// The weights that make one value of some in a row: the first one's place, and the weights.
struct Taps {
    start: usize,
    weights: Vec<i32>,
}

/// Keys' cubic filter with a = -1/2.
fn cubic(x: f64) -> f64 {
    const A: f64 = -0.5;
    let x = x.abs();
    if x < 1.0 {
        ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * A
    } else {
        0.0
    }
}

/// The weights of each of `to` values made of `from`. Where there are fewer, the filter is
/// widened, so that nothing is skipped.
fn taps(from: usize, to: usize) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let widening = scale.max(1.0);
    let reach = 2.0 * widening;
    (0..to)
        .map(|at| {
            let centre = (at as f64 + 0.5) * scale;
            let start = (centre - reach + 0.5).max(0.0) as usize;
            let end = ((centre + reach + 0.5) as usize).min(from);
            let weights: Vec<f64> = (start..end)
                .map(|place| cubic((place as f64 - centre + 0.5) / widening))
                .collect();
            let sum: f64 = weights.iter().sum();
            let one = f64::from(1_u32 << WEIGHT_BITS);
            let weights = weights.iter().map(|weight| {
                let weight = if sum == 0.0 { *weight } else { weight / sum };
                (weight * one + 0.5_f64.copysign(weight)) as i32
            });
            Taps {
                start,
                weights: weights.collect(),
            }
        })
        .collect()
}

fn blend(taps: &Taps, value: impl Fn(usize) -> u8) -> u8 {
    let half = 1_i32 << (WEIGHT_BITS - 1);
    let weights = taps.weights.iter().enumerate();
    let sum = weights.fold(half, |sum, (at, weight)| {
        sum + i32::from(value(taps.start + at)) * weight
    });
    (sum >> WEIGHT_BITS).clamp(0, 255) as u8
}

/// Every row of `from` pixels to one of `to`.
fn scale_rows(values: &[u8], from: usize, to: usize) -> Vec<u8> {
    if from == to {
        return values.to_vec();
    }
    let taps = taps(from, to);
    let mut scaled = vec![0; values.len() / from * to];
    let rows = scaled
        .par_chunks_mut(to * 3)
        .zip(values.par_chunks(from * 3));
    rows.for_each(|(scaled, row)| {
        for (pixel, taps) in scaled.chunks_mut(3).zip(&taps) {
            for (channel, value) in pixel.iter_mut().enumerate() {
                *value = blend(taps, |place| row[place * 3 + channel]);
            }
        }
    });
    scaled
}

/// `from` rows of `width` pixels to `to` rows.
fn scale_columns(values: &[u8], width: usize, from: usize, to: usize) -> Vec<u8> {
    if from == to {
        return values.to_vec();
    }
    let taps = taps(from, to);
    let row = width * 3;
    let mut scaled = vec![0; row * to];
    let rows = scaled.par_chunks_mut(row).zip(&taps);
    rows.for_each(|(scaled, taps)| {
        for (at, value) in scaled.iter_mut().enumerate() {
            *value = blend(taps, |place| values[place * row + at]);
        }
    });
    scaled
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn sizes_and_crops_round_as_python_does() {
        assert_eq!(scaled_size(133, 180, 112), (112, 151));
        assert_eq!(scaled_size(200, 60, 112), (373, 112));
        let starts: Vec<usize> = (10..17).map(|length| crop_start(length, 10)).collect();
        // 0, 0.5, 1, 1.5, 2, 2.5, 3 to the even one.
        assert_eq!(starts, [0, 0, 1, 2, 2, 2, 3]);
    }

    #[test]
    fn a_picture_of_another_size_than_it_says_is_refused() {
        let picture = Picture {
            values: &[0; 11],
            width: 2,
            height: 2,
            channels: 3,
        };
        let message = Preprocess::clip(4).pixels(picture).unwrap_err().to_string();
        assert!(
            message.contains("2 x 2") && message.contains("11"),
            "{message}"
        );
    }

    proptest! {
        #[test]
        fn an_even_picture_stays_even(
            width in 1_usize..40,
            height in 1_usize..40,
            side in 1_usize..24,
            value in proptest::num::u8::ANY,
            channels in 1_usize..5,
        ) {
            let values = vec![value; width * height * channels];
            let picture = Picture { values: &values, width, height, channels };
            let preprocess = Preprocess::clip(side);
            let pixels = preprocess.pixels(picture).unwrap();
            prop_assert_eq!(pixels.dims(), [3, side, side]);
            let pixels: Vec<Vec<f32>> = pixels.flatten_from(1).unwrap().to_vec2().unwrap();
            for (channel, pixels) in pixels.iter().enumerate() {
                let mean = preprocess.mean[channel];
                let expected = (f32::from(value) / 255.0 - mean) / preprocess.deviation[channel];
                prop_assert!(pixels.iter().all(|pixel| *pixel == expected));
            }
        }
    }
}
