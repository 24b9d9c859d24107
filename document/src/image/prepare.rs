//! Fetched bytes to the picture that a shard stores.

use std::sync::Arc;

use fast_image_resize::images::{Image as ResizeBuffer, ImageRef as ResizeSource};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use serde::{Deserialize, Serialize};

use super::{Decoded, Format, Image, ImageRef, Limits, decode};
use crate::{ConsentSignal, Reason, Sha256};

/// How pictures are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrepareConfig {
    /// A picture whose shorter side is longer than this is scaled down to it, keeping its shape;
    /// none is ever scaled up. The paper trains at 320 x 320 px. 0 keeps every size.
    pub max_short_side_px: u32,
    /// Quality of pictures that have to be encoded anew, 1 to 100.
    pub jpeg_quality: u8,
    /// Longest side that is decoded; longer pictures are dropped.
    pub max_side_px: u32,
    /// Largest area that is decoded. Decoding takes about six bytes a pixel on each worker thread.
    pub max_pixels: u64,
}

impl Default for PrepareConfig {
    fn default() -> Self {
        Self {
            max_short_side_px: 320,
            jpeg_quality: 92,
            max_side_px: 10_000,
            max_pixels: 50_000_000,
        }
    }
}

/// Makes the stored image of fetched bytes.
///
/// Bytes that need no change (small enough, upright, opaque, not animated) are kept as they came,
/// at no loss; all others are scaled and encoded as JPEG.
///
/// # Errors
///
/// The [`Reason`] for which there is no picture, see [`decode`]; also `filter/single-colour` for a
/// picture without content.
pub fn prepare(
    reference: ImageRef,
    bytes: &[u8],
    consent: Vec<ConsentSignal>,
    config: &PrepareConfig,
) -> Result<Image, Reason> {
    let limits = Limits {
        max_side_px: config.max_side_px,
        max_pixels: config.max_pixels,
        ..Limits::default()
    };
    let decoded = decode(bytes, &limits)?;
    if is_single_colour(&decoded.pixels) {
        return Err(Reason::new("filter/single-colour"));
    }
    let dhash = difference_hash(&decoded)?;
    let (width_px, height_px) = stored_size(&decoded, config.max_short_side_px);
    let keeps_size = (width_px, height_px) == (decoded.width_px, decoded.height_px);
    let is_still = !matches!(
        decoded.format,
        Format::Gif | Format::Tiff | Format::Bmp | Format::Ico
    );
    let (stored, format): (Arc<[u8]>, Format) =
        if keeps_size && decoded.is_plain && is_still && !is_animated(bytes, decoded.format) {
            (Arc::from(bytes), decoded.format)
        } else {
            let pixels = resize(&decoded, width_px, height_px)?;
            let jpeg = encode_jpeg(&pixels, width_px, height_px, config.jpeg_quality)?;
            (Arc::from(jpeg), Format::Jpeg)
        };
    Ok(Image {
        reference,
        format,
        width_px,
        height_px,
        fetched_width_px: decoded.width_px,
        fetched_height_px: decoded.height_px,
        sha256_fetched: Sha256::of(bytes),
        sha256_stored: Sha256::of(&stored),
        bytes: stored,
        dhash,
        consent,
    })
}

/// Scales a picture to `width_px` x `height_px` with a bicubic (Catmull-Rom) filter that takes
/// every source pixel into account.
///
/// Returns RGB rows, `3 * width_px * height_px` bytes.
///
/// # Errors
///
/// `decode/damaged` where the picture's own sizes do not agree with its pixels.
pub fn resize(picture: &Decoded, width_px: u32, height_px: u32) -> Result<Vec<u8>, Reason> {
    if (width_px, height_px) == (picture.width_px, picture.height_px) {
        return Ok(picture.pixels.clone());
    }
    let filter = ResizeAlg::Convolution(FilterType::CatmullRom);
    resize_with(picture, width_px, height_px, filter)
}

fn resize_with(
    picture: &Decoded,
    width_px: u32,
    height_px: u32,
    filter: ResizeAlg,
) -> Result<Vec<u8>, Reason> {
    let damaged = |_| Reason::new("decode/damaged");
    let source = ResizeSource::new(
        picture.width_px,
        picture.height_px,
        &picture.pixels,
        PixelType::U8x3,
    )
    .map_err(|_| Reason::new("decode/damaged"))?;
    let mut target = ResizeBuffer::new(width_px, height_px, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(filter);
    Resizer::new()
        .resize(&source, &mut target, &options)
        .map_err(damaged)?;
    Ok(target.into_vec())
}

/// Size at which a picture is stored: the shorter side at most `max_short_side_px`.
fn stored_size(picture: &Decoded, max_short_side_px: u32) -> (u32, u32) {
    let (width, height) = (picture.width_px, picture.height_px);
    let short = width.min(height);
    if max_short_side_px == 0 || short <= max_short_side_px {
        return (width, height);
    }
    let scale = |side: u32| {
        let scaled = (u64::from(side) * u64::from(max_short_side_px) + u64::from(short) / 2)
            / u64::from(short);
        u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
    };
    (scale(width), scale(height))
}

fn encode_jpeg(pixels: &[u8], width: u32, height: u32, quality: u8) -> Result<Vec<u8>, Reason> {
    let too_large = || {
        Reason::measured(
            "decode/too-many-pixels",
            f64::from(width.max(height)),
            f64::from(u16::MAX),
        )
    };
    let (width_16, height_16) = (
        u16::try_from(width).map_err(|_| too_large())?,
        u16::try_from(height).map_err(|_| too_large())?,
    );
    let mut jpeg = Vec::new();
    let mut encoder = Encoder::new(&mut jpeg, quality.clamp(1, 100));
    // Half the colour resolution, as cameras store it: a quarter fewer bytes than full resolution
    // at the same quality.
    encoder.set_sampling_factor(SamplingFactor::R_4_2_0);
    encoder
        .encode(pixels, width_16, height_16, ColorType::Rgb)
        .map_err(|_| Reason::new("decode/damaged"))?;
    Ok(jpeg)
}

/// Whether all pixels are the same but for the last two bits, which lossy encoders move about.
fn is_single_colour(pixels: &[u8]) -> bool {
    let Some(first) = pixels.first_chunk::<3>() else {
        return true;
    };
    pixels
        .chunks_exact(3)
        .all(|pixel| pixel.iter().zip(first).all(|(a, b)| a.abs_diff(*b) < 4))
}

/// 64-bit difference hash (Krawetz 2013): one bit for each of 8 x 8 cells, set where brightness
/// grows to the right.
fn difference_hash(picture: &Decoded) -> Result<u64, Reason> {
    const COLUMNS: u32 = 9;
    const ROWS: u32 = 8;
    let cells = resize_with(
        picture,
        COLUMNS,
        ROWS,
        ResizeAlg::Convolution(FilterType::Box),
    )?;
    // Rec. 601 weights, in thousandths.
    let brightness: Vec<u32> = cells
        .chunks_exact(3)
        .map(|rgb| 299 * u32::from(rgb[0]) + 587 * u32::from(rgb[1]) + 114 * u32::from(rgb[2]))
        .collect();
    let mut hash = 0;
    for row in brightness.chunks_exact(COLUMNS as usize) {
        for pair in row.windows(2) {
            hash = hash << 1 | u64::from(pair[1] > pair[0]);
        }
    }
    Ok(hash)
}

/// Whether a PNG or WebP file holds an animation; JPEG never does, and GIF is always encoded anew.
fn is_animated(bytes: &[u8], format: Format) -> bool {
    match format {
        // The animation control chunk stands before the first image data (PNG, third edition).
        Format::Png => {
            let data = find(bytes, b"IDAT").unwrap_or(bytes.len());
            find(&bytes[..data], b"acTL").is_some()
        }
        // Bit 1 of the flags of an extended header (RFC 9649, section 2.7).
        Format::WebP => {
            bytes.get(12..16) == Some(b"VP8X") && bytes.get(20).is_some_and(|flags| flags & 2 != 0)
        }
        Format::Jpeg | Format::Gif | Format::Bmp | Format::Tiff | Format::Ico => false,
    }
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, RgbImage};
    use url::Url;

    use super::*;

    fn gradient(width: u32, height: u32) -> RgbImage {
        RgbImage::from_fn(width, height, |x, y| {
            image::Rgb([(x * 255 / width) as u8, (y * 255 / height) as u8, 128])
        })
    }

    fn png(picture: &RgbImage) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, ImageFormat::Png).unwrap();
        bytes.into_inner()
    }

    fn prepared(bytes: &[u8]) -> Result<Image, Reason> {
        let reference = ImageRef::new(Url::parse("https://example.org/a.png").unwrap());
        prepare(reference, bytes, Vec::new(), &PrepareConfig::default())
    }

    #[test]
    fn a_small_picture_keeps_its_bytes() {
        let bytes = png(&gradient(300, 200));
        let image = prepared(&bytes).unwrap();
        assert_eq!(&*image.bytes, &bytes[..]);
        assert_eq!(image.sha256_fetched, image.sha256_stored);
        assert_eq!((image.width_px, image.height_px), (300, 200));
    }

    #[test]
    fn a_large_picture_is_scaled_to_the_short_side_and_keeps_its_shape() {
        let image = prepared(&png(&gradient(1280, 640))).unwrap();
        assert_eq!((image.width_px, image.height_px), (640, 320));
        assert_eq!(
            (image.fetched_width_px, image.fetched_height_px),
            (1280, 640)
        );
        assert_eq!(image.format, Format::Jpeg);
        let stored = decode(&image.bytes, &Limits::default()).unwrap();
        assert_eq!((stored.width_px, stored.height_px), (640, 320));
        assert_ne!(image.sha256_fetched, image.sha256_stored);
    }

    #[test]
    fn a_picture_without_content_is_dropped() {
        let blank = RgbImage::from_pixel(100, 100, image::Rgb([250, 250, 250]));
        assert_eq!(
            prepared(&png(&blank)).unwrap_err().name,
            "filter/single-colour"
        );
    }

    #[test]
    fn the_hash_survives_scaling_and_tells_pictures_apart() {
        let large = prepared(&png(&gradient(900, 600))).unwrap();
        let small = prepared(&png(&gradient(90, 60))).unwrap();
        let other = prepared(&png(&image::imageops::rotate180(&gradient(90, 60)))).unwrap();
        assert!((large.dhash ^ small.dhash).count_ones() <= 4);
        assert!((large.dhash ^ other.dhash).count_ones() > 16);
    }
}
