//! Fetched bytes to the picture that a shard stores.

use std::sync::Arc;

use fast_image_resize::{FilterType, ResizeAlg};
use image::ImageEncoder;
use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
use moxcms::{ColorProfile, DataColorSpace, Layout as PixelLayout, TransformOptions};
use serde::{Deserialize, Serialize};

use super::resize::{resize, resize_with};
use super::{Decoded, Format, Image, ImageRef, Limits, Media, decode_scaled};
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
            max_side_px: 10_000,
            max_pixels: 50_000_000,
        }
    }
}

/// Makes the stored image of fetched bytes.
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
    // The cells are so large that the scaled picture tells them as well as the whole one.
    let dhash = difference_hash(&scaled)?;
    let (stored, format): (Arc<[u8]>, Format) = if keeps_bytes {
        (Arc::from(bytes), decoded.format)
    } else {
        let pixels = to_srgb(scaled.pixels, decoded.profile.as_deref());
        let (encoded, format) = encode(&layout.place(pixels), layout.stored, config)?;
        (Arc::from(encoded), format)
    };
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
    })
}

/// The sizes of a picture on its way: scaled to one, stored at the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Layout {
    scaled: (u32, u32),
    stored: (u32, u32),
}

impl Layout {
    fn new(resize: Resize, side_px: u32, width: u32, height: u32) -> Self {
        let (short, long) = (width.min(height), width.max(height));
        let limiting = match resize {
            Resize::None => 0,
            Resize::KeepRatio | Resize::CenterCrop => short,
            Resize::Fit | Resize::Border => long,
        };
        let scaled = if side_px == 0 || limiting <= side_px {
            (width, height)
        } else {
            let scale = |side: u32| {
                let scaled = (u64::from(side) * u64::from(side_px) + u64::from(limiting) / 2)
                    / u64::from(limiting);
                u32::try_from(scaled).unwrap_or(u32::MAX).max(1)
            };
            (scale(width), scale(height))
        };
        let stored = match resize {
            Resize::CenterCrop => {
                let side = scaled.0.min(scaled.1);
                (side, side)
            }
            Resize::Border if side_px > 0 => (side_px, side_px),
            _ => scaled,
        };
        Self { scaled, stored }
    }

    /// Cuts or surrounds scaled pixels so that they have the stored size.
    fn place(self, pixels: Vec<u8>) -> Vec<u8> {
        if self.scaled == self.stored {
            return pixels;
        }
        let sides = |(width, height): (u32, u32)| (width as usize, height as usize);
        let (from_width, from_height) = sides(self.scaled);
        let (to_width, to_height) = sides(self.stored);
        let mut placed = vec![u8::MAX; 3 * to_width * to_height];
        let (columns, rows) = (from_width.min(to_width), from_height.min(to_height));
        for row in 0..rows {
            let from_row = (from_height - rows) / 2 + row;
            let to_row = (to_height - rows) / 2 + row;
            let from = 3 * (from_row * from_width + (from_width - columns) / 2);
            let to = 3 * (to_row * to_width + (to_width - columns) / 2);
            placed[to..to + 3 * columns].copy_from_slice(&pixels[from..from + 3 * columns]);
        }
        placed
    }
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

/// Whether a GIF, PNG or WebP file holds an animation; the other formats have none.
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
        Format::Gif => gif_frames(bytes) > 1,
        Format::Jpeg | Format::Bmp | Format::Tiff | Format::Ico => false,
    }
}

/// Frames of a GIF, counted up to two: it is walked from block to block (GIF89a, appendix B).
fn gif_frames(bytes: &[u8]) -> usize {
    const TABLE: u8 = 0x80;
    let table_bytes = |flags: u8| match flags & TABLE {
        0 => 0,
        _ => 3 << ((flags & 7) + 1),
    };
    let mut frames = 0;
    let mut position = 13 + bytes.get(10).map_or(0, |flags| table_bytes(*flags));
    while frames < 2 {
        match bytes.get(position) {
            Some(0x21) => position += 2,
            Some(0x2c) => {
                frames += 1;
                let flags = bytes.get(position + 9).copied().unwrap_or_default();
                position += 11 + table_bytes(flags);
            }
            _ => break,
        }
        // Sub-blocks, each with its length before it, up to one of length 0.
        while let Some(length) = bytes.get(position) {
            position += 1 + usize::from(*length);
            if *length == 0 {
                break;
            }
        }
    }
    frames
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
    fn each_way_to_resize_has_its_sizes() {
        let sizes = |resize, side_px, width, height| {
            let layout = Layout::new(resize, side_px, width, height);
            (layout.scaled, layout.stored)
        };
        let same = |size| (size, size);
        assert_eq!(sizes(Resize::KeepRatio, 50, 200, 100), same((100, 50)));
        assert_eq!(sizes(Resize::Fit, 50, 200, 100), same((50, 25)));
        let cropped = ((100, 50), (50, 50));
        assert_eq!(sizes(Resize::CenterCrop, 50, 200, 100), cropped);
        let bordered = ((50, 25), (50, 50));
        assert_eq!(sizes(Resize::Border, 50, 200, 100), bordered);
        assert_eq!(sizes(Resize::None, 50, 200, 100), same((200, 100)));
        // Nothing is scaled up.
        assert_eq!(sizes(Resize::KeepRatio, 300, 200, 100), same((200, 100)));
        let small = ((200, 100), (100, 100));
        assert_eq!(sizes(Resize::CenterCrop, 300, 200, 100), small);
    }

    #[test]
    fn a_border_is_white_and_a_crop_takes_the_middle() {
        let layout = |scaled, stored| Layout { scaled, stored };
        let row = [1, 1, 1, 2, 2, 2, 3, 3, 3].to_vec();
        let cut = layout((3, 1), (1, 1)).place(row.clone());
        assert_eq!(cut, [2, 2, 2]);
        let surrounded = layout((3, 1), (3, 3)).place(row.clone());
        assert_eq!(surrounded[..9], [255; 9]);
        assert_eq!(surrounded[9..18], row);
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
