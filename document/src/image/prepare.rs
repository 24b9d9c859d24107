//! Fetched bytes to the picture that a shard stores.

use std::sync::Arc;

use fast_image_resize::{FilterType, ResizeAlg};
use image::ImageEncoder;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use moxcms::{ColorProfile, DataColorSpace, Layout as PixelLayout, TransformOptions};
use serde::{Deserialize, Serialize};

use super::animation::is_animated;
use super::data_mining::data_mining;
use super::layout::Layout;
use super::look::{look, qr_share};
use super::resize::{resize, resize_with};
use super::{Decoded, Format, Image, ImageRef, Limits, Media, decode_scaled};
use crate::filter::text::Scores;
use crate::{ConsentSignal, Reason, Sha256};

/// How pictures are stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PrepareConfig {
    /// What [`PrepareConfig::side_px`] speaks of. Nothing is ever scaled up.
    pub resize: Resize,
    /// The paper trains at 320 x 320 px.
    pub side_px: u32,
    /// Encoding of pictures that have to be encoded anew.
    pub encoding: Encoding,
    /// Quality of JPEG, 1 to 100.
    pub jpeg_quality: u8,
    /// Whether bytes that need no change are kept as they came, at no loss. If not, every picture
    /// is encoded anew.
    pub keep_original: bool,
    /// Longest side that is decoded; longer pictures are dropped.
    pub max_side_px: u32,
    /// Whether QR codes are looked for, which `filter.image.max_qr` needs: about 12 ns for each pixel
    /// of the stored picture.
    pub qr_codes: bool,
    /// Largest area that is decoded. Decoding takes about six bytes a pixel on each worker thread.
    pub max_pixels: u64,
}

/// How a picture is brought to its size.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resize {
    /// The shorter side at most `side_px`, the shape kept.
    KeepRatio,
    /// The longer side at most `side_px`, the shape kept.
    Fit,
    /// As `KeepRatio`, then the square in the middle.
    CenterCrop,
    /// As `Fit`, then white around it up to a square of `side_px`.
    Border,
    /// Every size stays.
    None,
}

/// Encoding of a picture that has to be encoded anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Encoding {
    /// JPEG, at `jpeg_quality`.
    Jpeg,
    /// PNG.
    Png,
    /// WebP without loss.
    WebP,
}

impl Default for PrepareConfig {
    fn default() -> Self {
        Self {
            resize: Resize::KeepRatio,
            side_px: 320,
            encoding: Encoding::Jpeg,
            jpeg_quality: 92,
            keep_original: true,
            qr_codes: false,
            max_side_px: 10_000,
            max_pixels: 50_000_000,
        }
    }
}

/// Makes the stored image of fetched bytes.
///
/// What the picture's own metadata say of training ([`data_mining`]) is added to `consent`.
///
/// Bytes that need no change (small enough, upright, opaque, in sRGB, not animated) are kept as
/// they came; all others are scaled and encoded anew, in sRGB. A JPEG is scaled while it is decoded.
///
/// # Errors
///
/// The [`Reason`] for which there is no picture, see [`decode_scaled`]; also
/// `filter/single-colour` for a picture without content.
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
    let layout = |width, height| Layout::new(config.resize, config.side_px, width, height);
    let decoded = decode_scaled(bytes, &limits, |width, height| layout(width, height).scaled)?;
    if is_single_colour(&decoded.pixels) {
        return Err(Reason::new("filter/single-colour"));
    }
    let layout = layout(decoded.full_width_px, decoded.full_height_px);
    let keeps_size = layout.stored == (decoded.full_width_px, decoded.full_height_px);
    let is_animation = is_animated(bytes, decoded.format);
    let is_web_format = !matches!(
        decoded.format,
        Format::Gif | Format::Tiff | Format::Bmp | Format::Ico
    );
    let keeps_bytes =
        config.keep_original && keeps_size && decoded.is_plain && is_web_format && !is_animation;
    let (scaled_width, scaled_height) = layout.scaled;
    let scaled = Decoded {
        pixels: resize(&decoded, scaled_width, scaled_height)?,
        width_px: scaled_width,
        height_px: scaled_height,
        profile: None,
        ..decoded
    };
    let mut scores = Scores::new();
    let mut put = |name: &str, value: f64| scores.insert(name.to_owned(), value);
    #[expect(clippy::cast_precision_loss, reason = "fewer bytes than 2^52")]
    put("bytes", bytes.len() as f64);
    let size = (scaled_width as usize, scaled_height as usize);
    for (name, value) in look(&scaled.pixels, size.0, size.1) {
        put(name, value);
    }
    if config.qr_codes {
        put("qr", qr_share(&scaled.pixels, size.0, size.1));
    }
    // The cells are so large that the scaled picture tells them as well as the whole one.
    let dhash = difference_hash(&scaled)?;
    let (stored, format): (Arc<[u8]>, Format) = if keeps_bytes {
        (Arc::from(bytes), decoded.format)
    } else {
        let pixels = to_srgb(scaled.pixels, decoded.profile.as_deref());
        let (encoded, format) = encode(&layout.place(pixels), layout.stored, config)?;
        (Arc::from(encoded), format)
    };
    let mut consent = consent;
    consent.extend(data_mining(bytes));
    let mut reference = reference;
    if is_animation && reference.media == Media::Image {
        reference.media = Media::Animation;
    }
    Ok(Image {
        reference,
        format,
        width_px: layout.stored.0,
        height_px: layout.stored.1,
        fetched_width_px: decoded.full_width_px,
        fetched_height_px: decoded.full_height_px,
        sha256_fetched: Sha256::of(bytes),
        sha256_stored: Sha256::of(&stored),
        bytes: stored,
        dhash,
        consent,
        fetched_format: Some(decoded.format),
        scores,
    })
}

/// Pixels of another colour space in sRGB. A profile that cannot be used says nothing.
fn to_srgb(pixels: Vec<u8>, profile: Option<&[u8]>) -> Vec<u8> {
    let transformed = profile.and_then(|profile| {
        let source = ColorProfile::new_from_slice(profile).ok()?;
        if source.color_space != DataColorSpace::Rgb {
            return None;
        }
        let transform = source
            .create_transform_8bit(
                PixelLayout::Rgb,
                &ColorProfile::new_srgb(),
                PixelLayout::Rgb,
                TransformOptions::default(),
            )
            .ok()?;
        let mut transformed = vec![0; pixels.len()];
        transform.transform(&pixels, &mut transformed).ok()?;
        Some(transformed)
    });
    transformed.unwrap_or(pixels)
}

fn encode(
    pixels: &[u8],
    (width, height): (u32, u32),
    config: &PrepareConfig,
) -> Result<(Vec<u8>, Format), Reason> {
    let damaged = |_| Reason::new("decode/damaged");
    let colour = image::ExtendedColorType::Rgb8;
    let mut bytes = Vec::new();
    match config.encoding {
        Encoding::Jpeg => {
            let jpeg = encode_jpeg(pixels, width, height, config.jpeg_quality)?;
            Ok((jpeg, Format::Jpeg))
        }
        Encoding::Png => {
            let encoder = image::codecs::png::PngEncoder::new(&mut bytes);
            encoder
                .write_image(pixels, width, height, colour)
                .map_err(damaged)?;
            Ok((bytes, Format::Png))
        }
        Encoding::WebP => {
            let encoder = image::codecs::webp::WebPEncoder::new_lossless(&mut bytes);
            encoder
                .write_image(pixels, width, height, colour)
                .map_err(damaged)?;
            Ok((bytes, Format::WebP))
        }
    }
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

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use image::{ImageFormat, RgbImage};
    use url::Url;

    use super::*;
    use crate::image::decode;

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
    fn pictures_are_encoded_as_configured() {
        let bytes = png(&gradient(900, 600));
        for (encoding, format) in [
            (Encoding::Jpeg, Format::Jpeg),
            (Encoding::Png, Format::Png),
            (Encoding::WebP, Format::WebP),
        ] {
            let config = PrepareConfig {
                encoding,
                ..PrepareConfig::default()
            };
            let reference = ImageRef::new(Url::parse("https://example.org/a.png").unwrap());
            let image = prepare(reference, &bytes, Vec::new(), &config).unwrap();
            assert_eq!(image.format, format);
            assert_eq!(crate::image::sniff(&image.bytes), Ok(format));
        }
    }

    #[test]
    fn a_moving_picture_is_told_from_a_still_one() {
        let gif = |frames: usize| {
            let mut bytes = Vec::new();
            let mut encoder = image::codecs::gif::GifEncoder::new(&mut bytes);
            for _ in 0..frames {
                let picture = image::DynamicImage::from(gradient(90, 80)).into_rgba8();
                encoder.encode_frame(image::Frame::new(picture)).unwrap();
            }
            drop(encoder);
            bytes
        };
        assert_eq!(prepared(&gif(1)).unwrap().reference.media, Media::Image);
        assert_eq!(prepared(&gif(3)).unwrap().reference.media, Media::Animation);
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
