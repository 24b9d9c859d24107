//! Bytes from outside to pixels, within stated limits.

use std::io::Cursor;
use std::panic::{AssertUnwindSafe, catch_unwind};

use image::error::{ImageError, LimitErrorKind};
use image::metadata::Orientation;
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader};

use super::Format;
use super::shrink::shrink_jpeg;
use crate::Reason;

/// What decoding one picture may cost.
///
/// Memory held while decoding is at most [`Limits::max_bytes`], the decoded picture included.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest side in pixels.
    pub max_side_px: u32,
    /// Largest area in pixels.
    pub max_pixels: u64,
    /// Most memory a decoder may ask for.
    pub max_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_side_px: 10_000,
            max_pixels: 100_000_000,
            max_bytes: 512 << 20,
        }
    }
}

/// A decoded picture: upright, opaque, 8 bits a channel.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// RGB, row by row, `3 * width_px * height_px` bytes.
    pub pixels: Vec<u8>,
    /// Width of [`Decoded::pixels`], upright.
    pub width_px: u32,
    /// Height of [`Decoded::pixels`], upright.
    pub height_px: u32,
    /// Width of the whole picture, upright: larger than [`Decoded::width_px`] if it was decoded
    /// at a smaller scale.
    pub full_width_px: u32,
    /// Height of the whole picture, upright.
    pub full_height_px: u32,
    /// Its ICC profile, if that is another one than sRGB's.
    pub profile: Option<Vec<u8>>,
    /// Encoding it came in.
    pub format: Format,
    /// Whether the bytes can be stored as they are: they already are upright, opaque and in sRGB.
    pub is_plain: bool,
}

/// The encoding that the first bytes declare, or why it is not one we read.
///
/// Content decides, never a name or a header: servers lie about both.
///
/// # Errors
///
/// `decode/not-an-image` where no picture format is recognised, `decode/unsupported-format` where
/// one is that this build does not decode.
pub fn sniff(bytes: &[u8]) -> Result<Format, Reason> {
    match image::guess_format(bytes) {
        Ok(ImageFormat::Jpeg) => Ok(Format::Jpeg),
        Ok(ImageFormat::Png) => Ok(Format::Png),
        // The library takes any RIFF file of that name; its first chunk has to be one of WebP's
        // (MIME Sniffing standard, 6.1).
        Ok(ImageFormat::WebP) if bytes.get(12..14) == Some(b"VP") => Ok(Format::WebP),
        Ok(ImageFormat::WebP) => Err(Reason::new("decode/not-an-image")),
        Ok(ImageFormat::Gif) => Ok(Format::Gif),
        Ok(ImageFormat::Bmp) => Ok(Format::Bmp),
        Ok(ImageFormat::Tiff) => Ok(Format::Tiff),
        Ok(ImageFormat::Ico) => Ok(Format::Ico),
        Ok(_) => Err(Reason::new("decode/unsupported-format")),
        Err(_) if is_known_elsewhere(bytes) => Err(Reason::new("decode/unsupported-format")),
        Err(_) => Err(Reason::new("decode/not-an-image")),
    }
}

/// Whether the bytes are a picture of a format that the decoder library does not name: SVG, JPEG
/// XL, JPEG 2000, HEIF, Photoshop.
fn is_known_elsewhere(bytes: &[u8]) -> bool {
    const SIGNATURES: [&[u8]; 6] = [
        b"\xff\x0a",
        b"\x00\x00\x00\x0cJXL ",
        b"\x00\x00\x00\x0cjP  ",
        b"\xff\x4f\xff\x51",
        b"8BPS",
        b"gimp xcf",
    ];
    if SIGNATURES
        .iter()
        .any(|signature| bytes.starts_with(signature))
    {
        return true;
    }
    if bytes.get(4..8) == Some(b"ftyp") {
        return true;
    }
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(1024)]);
    let head = head.trim_start_matches('\u{feff}').trim_start();
    head.starts_with("<svg")
        || (head.starts_with("<?xml") || head.starts_with("<!")) && head.contains("<svg")
}

/// Decodes a picture to upright, opaque RGB.
///
/// The size is checked in the header, before memory is taken for pixels. EXIF orientation is
/// applied; transparency is laid over white, which is what a page shows most often; of an animated
/// picture the first frame is taken, of an icon the largest.
///
/// # Errors
///
/// The [`Reason`] for which there is no picture: the format, a limit, or damage. A decoder that
/// panics counts as damage.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Decoded, Reason> {
    let format = sniff(bytes)?;
    catch_unwind(AssertUnwindSafe(|| decode_as(bytes, format, limits)))
        .unwrap_or(Err(Reason::new("decode/damaged")))
}

fn decode_as(bytes: &[u8], format: Format, limits: &Limits) -> Result<Decoded, Reason> {
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format.into());
    let mut decoder_limits = image::Limits::no_limits();
    decoder_limits.max_image_width = Some(limits.max_side_px);
    decoder_limits.max_image_height = Some(limits.max_side_px);
    decoder_limits.max_alloc = Some(limits.max_bytes);
    reader.limits(decoder_limits.clone());

    let mut decoder = reader.into_decoder().map_err(|error| reason(&error))?;
    let (width, height) = decoder.dimensions();
    if width == 0 || height == 0 {
        return Err(Reason::new("decode/damaged"));
    }
    let longest = width.max(height);
    if longest > limits.max_side_px {
        return Err(Reason::measured(
            "decode/too-many-pixels",
            f64::from(longest),
            f64::from(limits.max_side_px),
        ));
    }
    let area = u64::from(width) * u64::from(height);
    if area > limits.max_pixels {
        #[expect(
            clippy::cast_precision_loss,
            reason = "a measurement to be read by people"
        )]
        return Err(Reason::measured(
            "decode/too-many-pixels",
            area as f64,
            limits.max_pixels as f64,
        ));
    }
    decoder_limits
        .reserve(decoder.total_bytes())
        .and_then(|()| decoder.set_limits(decoder_limits))
        .map_err(|error| reason(&error))?;
    let orientation = decoder.orientation().unwrap_or(Orientation::NoTransforms);
    let profile = decoder
        .icc_profile()
        .ok()
        .flatten()
        .filter(|profile| is_foreign(profile));
    let has_alpha = decoder.color_type().has_alpha();
    let mut picture = DynamicImage::from_decoder(decoder).map_err(|error| reason(&error))?;
    picture.apply_orientation(orientation);
    let is_opaque = !has_alpha || is_opaque(&picture);
    let rgb = if is_opaque {
        picture.into_rgb8()
    } else {
        over_white(&picture)
    };
    Ok(Decoded {
        width_px: rgb.width(),
        height_px: rgb.height(),
        full_width_px: rgb.width(),
        full_height_px: rgb.height(),
        pixels: rgb.into_raw(),
        format,
        is_plain: is_opaque && orientation == Orientation::NoTransforms && profile.is_none(),
        profile,
    })
}

/// As [`decode`], but where that is cheaper at the size that `target` says, given the picture's
/// whole width and height, upright: a JPEG is scaled while it is decoded (see
/// `docs/decisions/0019`).
///
/// # Errors
///
/// As [`decode`].
pub fn decode_scaled(
    bytes: &[u8],
    limits: &Limits,
    target: impl Fn(u32, u32) -> (u32, u32),
) -> Result<Decoded, Reason> {
    if sniff(bytes) == Ok(Format::Jpeg) {
        let scaled = AssertUnwindSafe(|| shrink_jpeg(bytes, limits, target));
        if let Ok(Some(decoded)) = catch_unwind(scaled) {
            return Ok(decoded);
        }
    }
    decode(bytes, limits)
}

/// Whether an orientation exchanges width and height.
pub(super) fn is_turned(orientation: Orientation) -> bool {
    matches!(
        orientation,
        Orientation::Rotate90
            | Orientation::Rotate270
            | Orientation::Rotate90FlipH
            | Orientation::Rotate270FlipH
    )
}

/// Largest profile that is read: those of printers have two megabytes.
const MAX_PROFILE_BYTES: usize = 4 << 20;

/// Whether a profile is another one than sRGB's many, which say so in their description, in bytes
/// or in UTF-16. One that is too large to be one counts as none.
pub(super) fn is_foreign(profile: &[u8]) -> bool {
    let holds = |name: &[u8]| profile.windows(name.len()).any(|window| window == name);
    profile.len() <= MAX_PROFILE_BYTES && !holds(b"sRGB") && !holds(b"s\0R\0G\0B")
}

fn is_opaque(picture: &DynamicImage) -> bool {
    match picture {
        DynamicImage::ImageRgba8(pixels) => pixels.pixels().all(|pixel| pixel.0[3] == u8::MAX),
        DynamicImage::ImageLumaA8(pixels) => pixels.pixels().all(|pixel| pixel.0[1] == u8::MAX),
        other => other.to_rgba8().pixels().all(|pixel| pixel.0[3] == u8::MAX),
    }
}

fn over_white(picture: &DynamicImage) -> image::RgbImage {
    let rgba = picture.to_rgba8();
    let mut rgb = image::RgbImage::new(rgba.width(), rgba.height());
    for (to, from) in rgb.pixels_mut().zip(rgba.pixels()) {
        let alpha = u32::from(from.0[3]);
        for (to, &from) in to.0.iter_mut().zip(&from.0[..3]) {
            let mixed = (u32::from(from) * alpha + 255 * (255 - alpha) + 127) / 255;
            *to = u8::try_from(mixed).unwrap_or(u8::MAX);
        }
    }
    rgb
}

fn reason(error: &ImageError) -> Reason {
    match error {
        ImageError::Limits(limit) if limit.kind() == LimitErrorKind::DimensionError => {
            Reason::new("decode/too-many-pixels")
        }
        ImageError::Limits(_) => Reason::new("decode/too-much-memory"),
        ImageError::Unsupported(_) => Reason::new("decode/unsupported-format"),
        _ => Reason::new("decode/damaged"),
    }
}

impl From<Format> for ImageFormat {
    fn from(format: Format) -> Self {
        match format {
            Format::Jpeg => Self::Jpeg,
            Format::Png => Self::Png,
            Format::WebP => Self::WebP,
            Format::Gif => Self::Gif,
            Format::Bmp => Self::Bmp,
            Format::Tiff => Self::Tiff,
            Format::Ico => Self::Ico,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encode(picture: &DynamicImage, format: ImageFormat) -> Vec<u8> {
        let mut bytes = Cursor::new(Vec::new());
        picture.write_to(&mut bytes, format).unwrap();
        bytes.into_inner()
    }

    #[test]
    fn transparency_shows_white_and_keeps_opaque_colours() {
        let mut rgba = image::RgbaImage::from_pixel(2, 1, image::Rgba([10, 20, 30, 255]));
        rgba.put_pixel(1, 0, image::Rgba([10, 20, 30, 0]));
        let bytes = encode(&rgba.into(), ImageFormat::Png);
        let decoded = decode(&bytes, &Limits::default()).unwrap();
        assert_eq!(decoded.pixels, [10, 20, 30, 255, 255, 255]);
        assert!(!decoded.is_plain);
    }

    #[test]
    fn a_picture_over_the_limit_is_refused_by_its_header() {
        let bytes = encode(&DynamicImage::new_rgb8(64, 3), ImageFormat::Png);
        let limits = Limits {
            max_side_px: 63,
            ..Limits::default()
        };
        let reason = decode(&bytes, &limits).unwrap_err();
        assert_eq!(reason.name, "decode/too-many-pixels");
        let limits = Limits {
            max_pixels: 191,
            ..Limits::default()
        };
        let reason = decode(&bytes, &limits).unwrap_err();
        assert_eq!(
            (reason.measured, reason.threshold),
            (Some(192.0), Some(191.0))
        );
    }

    #[test]
    fn what_is_not_a_picture_says_so() {
        let name = |bytes: &[u8]| decode(bytes, &Limits::default()).unwrap_err().name;
        assert_eq!(name(b"<html><body>not found"), "decode/not-an-image");
        assert_eq!(name(b""), "decode/not-an-image");
        assert_eq!(
            name(b"<?xml version='1.0'?><svg xmlns=''/>"),
            "decode/unsupported-format"
        );
        let png = encode(&DynamicImage::new_rgb8(8, 8), ImageFormat::Png);
        assert_eq!(name(&png[..png.len() / 2]), "decode/damaged");
        assert_eq!(name(b"RIFF\0\0\0\0WEBPjunk"), "decode/not-an-image");
    }

    #[test]
    fn an_icon_is_read() {
        let bytes = encode(&DynamicImage::new_rgba8(16, 16), ImageFormat::Ico);
        let decoded = decode(&bytes, &Limits::default()).unwrap();
        assert_eq!((decoded.width_px, decoded.height_px), (16, 16));
        assert_eq!(decoded.format, Format::Ico);
    }
}
