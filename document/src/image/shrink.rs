//! JPEGs scaled down while they are decoded.

use image::DynamicImage;
use image::metadata::Orientation;

use super::decode::{is_foreign, is_turned};
use super::jpeg::{self, Samples};
use super::resize::scale_plane;
use super::{Decoded, Format, Limits};

/// How many samples of luma and chroma there are, at least, to each pixel that is made of them,
/// across and down, before the last filter. With two of luma the result cannot be told from that of
/// a whole decode; chroma comes at half of luma's size in most files and is stored so.
const OVERSAMPLING: [u32; 2] = [2, 1];

/// Decodes a JPEG to the size that `target` says, given its whole width and height, upright.
///
/// `None` for what has to be decoded whole: because it would not become smaller, is of a rare kind,
/// beyond a limit or damaged.
pub(super) fn shrink_jpeg(
    bytes: &[u8],
    limits: &Limits,
    target: impl Fn(u32, u32) -> (u32, u32),
) -> Option<Decoded> {
    let mut orientation = Orientation::NoTransforms;
    let mut full = (0, 0);
    let mut scaled = (0, 0);
    let picture = jpeg::read(bytes, limits.max_bytes, |about| {
        let area = u64::from(about.width) * u64::from(about.height);
        if about.width.max(about.height) > limits.max_side_px || area > limits.max_pixels {
            return None;
        }
        orientation = about
            .exif
            .and_then(Orientation::from_exif_chunk)
            .unwrap_or(Orientation::NoTransforms);
        let turn = |(width, height)| match is_turned(orientation) {
            true => (height, width),
            false => (width, height),
        };
        full = turn((about.width, about.height));
        scaled = turn(target(full.0, full.1));
        let becomes_smaller = scaled.0 < about.width && scaled.1 < about.height;
        let wanted = OVERSAMPLING.map(|factor| {
            (
                scaled.0.saturating_mul(factor),
                scaled.1.saturating_mul(factor),
            )
        });
        becomes_smaller.then_some(wanted)
    })?;
    let (width, height) = scaled;
    let scale = |plane: &Samples| scale_plane(plane, width, height).ok();
    let mut rgb = match &picture.planes[..] {
        [grey] => scale(grey)?.iter().flat_map(|grey| [*grey; 3]).collect(),
        [luma, blue, red] => to_rgb(&scale(luma)?, &scale(blue)?, &scale(red)?),
        _ => return None,
    };
    let (mut width_px, mut height_px) = scaled;
    if orientation != Orientation::NoTransforms {
        let mut picture: DynamicImage = image::RgbImage::from_raw(width, height, rgb)?.into();
        picture.apply_orientation(orientation);
        (width_px, height_px) = (picture.width(), picture.height());
        rgb = picture.into_rgb8().into_raw();
    }
    let profile = picture.profile.filter(|profile| is_foreign(profile));
    Some(Decoded {
        pixels: rgb,
        width_px,
        height_px,
        full_width_px: full.0,
        full_height_px: full.1,
        format: Format::Jpeg,
        is_plain: orientation == Orientation::NoTransforms && profile.is_none(),
        profile,
    })
}

/// Luma and chroma as red, green and blue (JFIF 1.02; ITU-R BT.601 at full range).
fn to_rgb(luma: &[u8], blue: &[u8], red: &[u8]) -> Vec<u8> {
    let mut rgb = vec![0; 3 * luma.len()];
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has what the function was compiled for.
        unsafe { to_rgb_avx2(luma, blue, red, &mut rgb) };
        return rgb;
    }
    to_rgb_plain(luma, blue, red, &mut rgb);
    rgb
}

/// The same, compiled for processors that work on eight numbers at a time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn to_rgb_avx2(luma: &[u8], blue: &[u8], red: &[u8], rgb: &mut [u8]) {
    to_rgb_plain(luma, blue, red, rgb);
}

#[inline(always)]
fn to_rgb_plain(luma: &[u8], blue: &[u8], red: &[u8], rgb: &mut [u8]) {
    let samples = luma.iter().zip(blue).zip(red);
    for (pixel, ((luma, blue), red)) in rgb.as_chunks_mut::<3>().0.iter_mut().zip(samples) {
        let luma = (i32::from(*luma) << 16) + (1 << 15);
        let (blue, red) = (i32::from(*blue) - 128, i32::from(*red) - 128);
        // The weights times 65,536.
        let channels = [
            luma + 91_881 * red,
            luma - 22_554 * blue - 46_802 * red,
            luma + 116_130 * blue,
        ];
        #[expect(clippy::cast_sign_loss, reason = "clamped")]
        let bytes = channels.map(|channel| (channel >> 16).clamp(0, 255) as u8);
        *pixel = bytes;
    }
}

#[cfg(test)]
mod tests {
    use jpeg_encoder::{ColorType, Encoder, SamplingFactor};
    use proptest::prelude::*;

    use super::*;
    use crate::image::{decode, resize};

    /// Waves, as a photograph has them: without edges that scaling would show.
    fn waves(width: u32, height: u32) -> Vec<u8> {
        let wave = |t: f32| ((t.sin() + 1.0) * 127.0) as u8;
        let pixel = |x: f32, y: f32| [wave(x / 9.0), wave(y / 13.0), wave((x + y) / 31.0)];
        (0..height)
            .flat_map(|y| (0..width).flat_map(move |x| pixel(x as f32, y as f32)))
            .collect()
    }

    #[derive(Debug, Clone, Copy)]
    struct Kind {
        sampling: SamplingFactor,
        is_progressive: bool,
        is_optimized: bool,
        restart_interval: u16,
    }

    const PLAIN: Kind = Kind {
        sampling: SamplingFactor::R_4_2_0,
        is_progressive: false,
        is_optimized: false,
        restart_interval: 0,
    };

    fn jpeg(width: u32, height: u32, kind: Kind) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = Encoder::new(&mut bytes, 90);
        encoder.set_sampling_factor(kind.sampling);
        encoder.set_progressive(kind.is_progressive);
        encoder.set_optimized_huffman_tables(kind.is_optimized);
        encoder.set_restart_interval(kind.restart_interval);
        let size = (
            u16::try_from(width).unwrap(),
            u16::try_from(height).unwrap(),
        );
        let pixels = waves(width, height);
        encoder
            .encode(&pixels, size.0, size.1, ColorType::Rgb)
            .unwrap();
        bytes
    }

    /// How far the shrunk picture is from the whole one, scaled, in dB.
    fn psnr(bytes: &[u8], whole: &Decoded, (width, height): (u32, u32)) -> f64 {
        let shrunk = shrink_jpeg(bytes, &Limits::default(), |_, _| (width, height)).unwrap();
        assert_eq!((shrunk.width_px, shrunk.height_px), (width, height));
        let whole = resize(whole, width, height).unwrap();
        let squares = whole.iter().zip(&shrunk.pixels);
        let squares = squares.map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2));
        let mean = squares.sum::<f64>() / whole.len() as f64;
        10.0 * (255.0 * 255.0 / mean.max(1e-9)).log10()
    }

    #[test]
    fn a_picture_scaled_by_any_factor_is_the_whole_one_scaled() {
        let bytes = jpeg(800, 600, PLAIN);
        let whole = decode(&bytes, &Limits::default()).unwrap();
        for width in [700, 620, 400, 350, 300, 250, 200, 150] {
            let distance = psnr(&bytes, &whole, (width, width * 3 / 4));
            assert!(distance > 42.0, "{distance} dB at {width} px");
        }
    }

    #[test]
    fn a_picture_in_passes_that_refine_each_other_is_read() {
        let bytes = include_bytes!("../../testdata/progressive.jpg");
        let whole = decode(bytes, &Limits::default()).unwrap();
        for (width, height) in [(120, 80), (90, 60), (60, 40), (30, 20)] {
            let distance = psnr(bytes, &whole, (width, height));
            assert!(distance > 34.0, "{distance} dB at {width} px");
        }
    }

    #[test]
    fn sizes_are_those_of_the_upright_picture() {
        let mut bytes = jpeg(80, 48, PLAIN);
        // An EXIF segment that says: turned by 90 degrees.
        let exif = b"\xff\xe1\0\x22Exif\0\0II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0";
        bytes.splice(2..2, *exif);
        let shrunk = shrink_jpeg(&bytes, &Limits::default(), |width, height| {
            assert_eq!((width, height), (48, 80));
            (24, 40)
        });
        let shrunk = shrunk.unwrap();
        assert_eq!((shrunk.width_px, shrunk.height_px), (24, 40));
        assert_eq!((shrunk.full_width_px, shrunk.full_height_px), (48, 80));
        assert!(!shrunk.is_plain);
        let whole = decode(&bytes, &Limits::default()).unwrap();
        assert!(psnr(&bytes, &whole, (24, 40)) > 38.0);
    }

    #[test]
    fn what_would_not_become_smaller_or_is_too_large_is_left_alone() {
        let bytes = jpeg(80, 48, PLAIN);
        let limits = Limits::default();
        assert!(shrink_jpeg(&bytes, &limits, |width, height| (width, height)).is_none());
        let small = |limits: Limits| shrink_jpeg(&bytes, &limits, |_, _| (10, 6)).is_none();
        assert!(small(Limits {
            max_side_px: 79,
            ..limits
        }));
        assert!(small(Limits {
            max_pixels: 80 * 47,
            ..limits
        }));
        assert!(small(Limits {
            max_bytes: 100,
            ..limits
        }));
        assert!(!small(limits));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_kind_of_file_is_read(
            width in 9_u32..130,
            height in 9_u32..130,
            divisor in 2_u32..8,
            sampling in prop::sample::select(vec![
                SamplingFactor::R_4_2_0,
                SamplingFactor::R_4_2_2,
                SamplingFactor::R_4_4_0,
                SamplingFactor::R_4_4_4,
                SamplingFactor::R_4_1_1,
            ]),
            is_progressive: bool,
            (is_optimized, restart_interval) in prop::sample::select(vec![
                // Together the encoder counts codes that it does not write.
                (true, 0), (false, 0), (false, 1), (false, 3), (false, 7),
            ]),
        ) {
            let kind = Kind {
                sampling,
                is_progressive,
                is_optimized,
                restart_interval,
            };
            let bytes = jpeg(width, height, kind);
            // What was encoded; the decoder of all kinds shows other colours for some of these.
            let whole = Decoded {
                pixels: waves(width, height),
                ..decode(&jpeg(width, height, PLAIN), &Limits::default()).unwrap()
            };
            let distance = psnr(&bytes, &whole, (width.div_ceil(divisor), height.div_ceil(divisor)));
            prop_assert!(distance > 28.0, "{distance} dB");
        }

        #[test]
        fn damage_is_refused_or_read_and_never_more(
            is_progressive: bool,
            changes in prop::collection::vec((0_usize..8_000, any::<u8>()), 1..4),
            length in 0_usize..20_000,
        ) {
            let kind = Kind { is_progressive, ..PLAIN };
            let mut bytes = if length % 2 == 0 {
                jpeg(160, 120, kind)
            } else {
                include_bytes!("../../testdata/progressive.jpg").to_vec()
            };
            let size = bytes.len();
            for (at, byte) in changes {
                bytes[at % size] = byte;
            }
            bytes.truncate(length);
            let _ = shrink_jpeg(&bytes, &Limits::default(), |width, height| {
                (width / 4 + 1, height / 4 + 1)
            });
        }
    }
}
