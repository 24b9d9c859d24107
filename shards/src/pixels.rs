//! Encoded pictures to normalised floats.

use fast_image_resize::images::{Image as Pixels, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use m3w_document::image::{Decoded, Limits, decode};
use serde::{Deserialize, Serialize};

use crate::LoaderConfig;
use crate::colour::Recolour;

/// Mean of CLIP's training pictures, by channel (openai/CLIP `clip.py`).
pub const CLIP_MEAN: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// Standard deviation of CLIP's training pictures, by channel (openai/CLIP `clip.py`).
pub const CLIP_DEVIATION: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];

/// How a picture of any shape becomes a square.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Fit {
    /// The whole picture, centred, with the mean value around it (Flamingo).
    Pad,
    /// The largest square in the middle (CLIP).
    CenterCrop,
}

/// What is done to each pixel: a byte becomes `(byte / 255 - mean) / deviation`.
#[derive(Debug, Clone)]
pub(crate) struct Normalisation {
    /// By channel: 255 times the mean, and what the distance from it is multiplied with.
    channels: [(f32, f32); 3],
}

impl Normalisation {
    pub(crate) fn new(mean: [f32; 3], deviation: [f32; 3]) -> Self {
        let channel = |index: usize| (255.0 * mean[index], 1.0 / (255.0 * deviation[index]));
        Self {
            channels: [0, 1, 2].map(channel),
        }
    }

    /// Spreads a line of RGB pixels over a line of each plane. The same bits on every machine.
    fn spread(&self, line: &[u8], planes: [&mut [f32]; 3]) {
        #[cfg(target_arch = "x86_64")]
        if std::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has what the function was compiled for.
            return unsafe { self.spread_avx2(line, planes) };
        }
        self.spread_plain(line, planes);
    }

    /// The same, compiled for processors that can sort bytes of three channels eight at a time; it
    /// takes a third of the time.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn spread_avx2(&self, line: &[u8], planes: [&mut [f32]; 3]) {
        self.spread_plain(line, planes);
    }

    #[inline(always)]
    fn spread_plain(&self, line: &[u8], [red, green, blue]: [&mut [f32]; 3]) {
        let [reds, greens, blues] = self.channels;
        let value = |byte: u8, (middle, factor): (f32, f32)| (f32::from(byte) - middle) * factor;
        let planes = red.iter_mut().zip(green).zip(blue);
        for (pixel, ((red, green), blue)) in line.chunks_exact(3).zip(planes) {
            *red = value(pixel[0], reds);
            *green = value(pixel[1], greens);
            *blue = value(pixel[2], blues);
        }
    }
}

/// What a draw changes in a picture.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Change {
    /// Whether it is mirrored.
    pub(crate) is_flipped: bool,
    /// Its other colours.
    pub(crate) recolour: Option<Recolour>,
}

/// A square picture to be, and the buffers that making it needs again and again.
pub(crate) struct PixelReader {
    resizer: Resizer,
    side_px: u32,
    fit: Fit,
}

impl PixelReader {
    pub(crate) fn new(side_px: u32, fit: Fit) -> Self {
        Self {
            resizer: Resizer::new(),
            side_px,
            fit,
        }
    }

    /// Decodes a picture into `target`, `[3, H, W]` with H = W = `side_px`. What it does not cover
    /// becomes zero, which is the mean value after normalisation.
    pub(crate) fn read(
        &mut self,
        bytes: &[u8],
        change: Change,
        normalisation: &Normalisation,
        target: &mut [f32],
    ) -> Result<(), String> {
        let decoded = decode(bytes, &Limits::default()).map_err(|reason| reason.to_string())?;
        let (width, height) = match self.fit {
            Fit::CenterCrop => (self.side_px, self.side_px),
            Fit::Pad => inner_size(decoded.width_px, decoded.height_px, self.side_px),
        };
        let mut resized = self.resize(decoded, width, height)?;
        if let Some(recolour) = change.recolour {
            recolour.apply(&mut resized);
        }
        let side = self.side_px as usize;
        let (width, height) = (width as usize, height as usize);
        let (left, top) = ((side - width) / 2, (side - height) / 2);
        if (width, height) != (side, side) {
            target.fill(0.0);
        }
        let (red, rest) = target.split_at_mut(side * side);
        let (green, blue) = rest.split_at_mut(side * side);
        for (row, line) in resized.chunks_exact(3 * width).enumerate() {
            let start = (top + row) * side + left;
            let place = start..start + width;
            let planes = [
                &mut red[place.clone()],
                &mut green[place.clone()],
                &mut blue[place.clone()],
            ];
            normalisation.spread(line, planes);
            if change.is_flipped {
                for plane in [&mut *red, &mut *green, &mut *blue] {
                    plane[place.clone()].reverse();
                }
            }
        }
        Ok(())
    }

    /// The picture, or the middle of it that has the target's proportions, at another size.
    fn resize(&mut self, decoded: Decoded, width: u32, height: u32) -> Result<Vec<u8>, String> {
        if (decoded.width_px, decoded.height_px) == (width, height) {
            return Ok(decoded.pixels);
        }
        let source = ImageRef::new(
            decoded.width_px,
            decoded.height_px,
            &decoded.pixels,
            PixelType::U8x3,
        )
        .map_err(|error| error.to_string())?;
        let mut resized = Pixels::new(width, height, PixelType::U8x3);
        let mut options =
            ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
        if self.fit == Fit::CenterCrop {
            options = options.fit_into_destination(Some((0.5, 0.5)));
        }
        self.resizer
            .resize(&source, &mut resized, &options)
            .map_err(|error| error.to_string())?;
        Ok(resized.into_vec())
    }
}

/// One picture as a loader of this configuration makes it, for asking a model about a picture that
/// is in no shard: normalised, `[3, H, W]` with H = W = `image_side_px`, not mirrored.
///
/// # Errors
///
/// Why the bytes are no picture.
pub fn picture_pixels(bytes: &[u8], config: &LoaderConfig) -> Result<Vec<f32>, String> {
    let side = config.image_side_px as usize;
    let mut pixels = vec![0.0; 3 * side * side];
    let normalisation = Normalisation::new(config.mean, config.deviation);
    let mut reader = PixelReader::new(config.image_side_px, config.fit);
    reader.read(bytes, Change::default(), &normalisation, &mut pixels)?;
    Ok(pixels)
}

/// The largest size of these proportions within a square.
fn inner_size(width: u32, height: u32, side: u32) -> (u32, u32) {
    let scaled = |length: u32, longest: u32| {
        let scaled =
            (u64::from(length) * u64::from(side) + u64::from(longest) / 2) / u64::from(longest);
        u32::try_from(scaled).unwrap_or(side).clamp(1, side)
    };
    if width >= height {
        (side, scaled(height, width))
    } else {
        (scaled(width, height), side)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A PNG whose left half is one colour and whose right half another.
    pub(crate) fn two_coloured_png(
        width: u32,
        height: u32,
        left: [u8; 3],
        right: [u8; 3],
    ) -> Vec<u8> {
        let picture = image::RgbImage::from_fn(width, height, |x, _| {
            image::Rgb(if x < width / 2 { left } else { right })
        });
        let mut bytes = std::io::Cursor::new(Vec::new());
        picture
            .write_to(&mut bytes, image::ImageFormat::Png)
            .unwrap();
        bytes.into_inner()
    }

    fn plain() -> Normalisation {
        Normalisation::new([0.5; 3], [0.5; 3])
    }

    fn read(fit: Fit, is_flipped: bool, bytes: &[u8]) -> Vec<f32> {
        let mut target = vec![0.0; 3 * 8 * 8];
        let change = Change {
            is_flipped,
            ..Change::default()
        };
        PixelReader::new(8, fit)
            .read(bytes, change, &plain(), &mut target)
            .unwrap();
        target
    }

    #[test]
    fn a_wide_picture_is_padded_with_the_mean_above_and_below() {
        let bytes = two_coloured_png(16, 8, [255, 0, 255], [255, 0, 255]);
        let pixels = read(Fit::Pad, false, &bytes);
        let column: Vec<f32> = (0..8).map(|row| pixels[row * 8 + 3]).collect();
        assert_eq!(column, [0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0]);
        let green: Vec<f32> = (0..8).map(|row| pixels[64 + row * 8 + 3]).collect();
        assert_eq!(green, [0.0, 0.0, -1.0, -1.0, -1.0, -1.0, 0.0, 0.0]);
    }

    #[test]
    fn a_crop_keeps_the_middle_and_a_flip_mirrors_it() {
        let bytes = two_coloured_png(32, 8, [255, 0, 0], [0, 0, 0]);
        let pixels = read(Fit::CenterCrop, false, &bytes);
        assert_eq!((pixels[0], pixels[7]), (1.0, -1.0));
        let mirrored = read(Fit::CenterCrop, true, &bytes);
        assert_eq!((mirrored[0], mirrored[7]), (-1.0, 1.0));
    }

    #[test]
    fn extreme_proportions_leave_at_least_one_row() {
        assert_eq!(inner_size(10_000, 1, 224), (224, 1));
        assert_eq!(inner_size(1, 10_000, 224), (1, 224));
        assert_eq!(inner_size(341, 256, 320), (320, 240));
    }

    #[test]
    fn bytes_that_are_no_picture_are_told_apart_from_pictures() {
        let mut target = vec![0.0; 3 * 8 * 8];
        let problem = PixelReader::new(8, Fit::Pad)
            .read(b"no picture", Change::default(), &plain(), &mut target)
            .unwrap_err();
        assert_eq!(problem, "decode/not-an-image");
    }
}
