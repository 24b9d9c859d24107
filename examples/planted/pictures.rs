//! Pictures out of a formula: waves whose strength falls with their frequency, as in photographs,
//! and a few boxes, as in drawings.

use anyhow::{Result, anyhow};
use m3w::document::image::{PrepareConfig, Resize, prepare};
use m3w::document::{Image, ImageRef};
use rayon::prelude::*;
use url::Url;

/// What is done to a picture that was there before.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Change {
    /// Nothing.
    None,
    /// Encoded at a lower quality.
    Encoded,
    /// Drawn at another size.
    Resized,
    /// Up to 5 % less on each side.
    Cropped,
}

/// A generator of numbers from a seed: splitmix64.
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let value = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        value ^ (value >> 31)
    }

    pub(crate) fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap_or(0)
    }

    /// From 0 to 1.
    pub(crate) fn share(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1 << 24) as f32
    }
}

struct Wave {
    across: f32,
    down: f32,
    phase: f32,
    strengths: [f32; 3],
}

/// The picture of that seed, changed.
pub(crate) fn picture(seed: u64, change: Change, draw: u64, url: &Url) -> Result<Image> {
    let mut numbers = Numbers(seed);
    let waves: Vec<Wave> = (0..16)
        .map(|_| {
            let (across, down) = (numbers.share() * 12.0 - 6.0, numbers.share() * 12.0 - 6.0);
            let strength = 70.0 / (1.0 + across.hypot(down));
            Wave {
                across: across * std::f32::consts::TAU,
                down: down * std::f32::consts::TAU,
                phase: numbers.share() * std::f32::consts::TAU,
                strengths: std::array::from_fn(|_| strength * (0.5 + numbers.share())),
            }
        })
        .collect();
    let boxes: Vec<[f32; 7]> = (0..numbers.below(6))
        .map(|_| std::array::from_fn(|_| numbers.share()))
        .collect();
    let (full_width, full_height) = (64 + numbers.below(40), 64 + numbers.below(40));
    let mut draws = Numbers(draw);
    let mut side = || match change {
        Change::Cropped => draws.share() * 0.05,
        _ => 0.0,
    };
    let (left, right, top, bottom) = (side(), side(), side(), side());
    let scale = match change {
        Change::Resized => 0.6 + draws.share(),
        _ => 1.0,
    };
    let quality = match change {
        Change::Encoded => 45 + draws.below(30) as u8,
        _ => 92,
    };
    let width = (full_width as f32 * scale * (1.0 - left - right)) as usize;
    let height = (full_height as f32 * scale * (1.0 - top - bottom)) as usize;
    let mut bmp = header(width, height);
    // A wave is a product of one across and one down, each drawn once.
    let across: Vec<Vec<(f32, f32)>> = (0..width)
        .map(|x| {
            let u = left + (1.0 - left - right) * (x as f32 + 0.5) / width as f32;
            waves
                .iter()
                .map(|wave| (wave.across * u).sin_cos())
                .collect()
        })
        .collect();
    for y in 0..height {
        let v = top + (1.0 - top - bottom) * (y as f32 + 0.5) / height as f32;
        let down: Vec<(f32, f32)> = waves
            .iter()
            .map(|wave| (wave.down * v + wave.phase).sin_cos())
            .collect();
        for (x, across) in across.iter().enumerate() {
            let u = left + (1.0 - left - right) * (x as f32 + 0.5) / width as f32;
            let mut colour = [128.0_f32; 3];
            for ((wave, (sin, cos)), (other_sin, other_cos)) in waves.iter().zip(across).zip(&down)
            {
                let height = sin * other_cos + cos * other_sin;
                for (channel, strength) in colour.iter_mut().zip(&wave.strengths) {
                    *channel += height * strength;
                }
            }
            for [x0, y0, wide, high, paint @ ..] in &boxes {
                if (*x0..x0 + wide * 0.4).contains(&u) && (*y0..y0 + high * 0.4).contains(&v) {
                    colour = paint.map(|share| share * 255.0);
                }
            }
            bmp.extend(colour.map(|channel| channel.clamp(0.0, 255.0) as u8));
        }
        let row = (3 * width).next_multiple_of(4);
        bmp.resize(54 + (y + 1) * row, 0);
    }
    let config = PrepareConfig {
        resize: Resize::None,
        keep_original: false,
        jpeg_quality: quality,
        ..PrepareConfig::default()
    };
    prepare(ImageRef::new(url.clone()), &bmp, Vec::new(), &config)
        .map_err(|reason| anyhow!("a picture could not be made: {reason}"))
}

/// The pictures of many seeds, on all cores.
pub(crate) fn pictures(wanted: &[(u64, Change, u64, Url)]) -> Result<Vec<Image>> {
    wanted
        .par_iter()
        .map(|(seed, change, draw, url)| picture(*seed, *change, *draw, url))
        .collect()
}

/// The head of a bitmap of 24 bits a pixel.
fn header(width: usize, height: usize) -> Vec<u8> {
    let bytes = height * (3 * width).next_multiple_of(4);
    let mut head = b"BM".to_vec();
    for number in [54 + bytes as u32, 0, 54, 40, width as u32] {
        head.extend(number.to_le_bytes());
    }
    // Rows from the top.
    head.extend((height as i32).wrapping_neg().to_le_bytes());
    head.extend([1, 0, 24, 0]);
    for number in [0, bytes as u32, 2835, 2835, 0, 0] {
        head.extend(number.to_le_bytes());
    }
    head
}
