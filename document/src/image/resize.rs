//! Pixels to fewer pixels.

use std::sync::LazyLock;

use fast_image_resize::images::{Image as ResizeBuffer, ImageRef as ResizeSource};
use fast_image_resize::{Filter, FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};

use super::Decoded;
use super::jpeg::Samples;
use crate::Reason;

/// Half the width of the Lanczos filter, in pixels of the result.
const LOBES: usize = 3;
/// Places at which the filter is tabulated, for each pixel.
const STEPS: usize = 1024;

/// The Lanczos filter at each step. Between two of them a line is within a millionth of it; the
/// sines of one picture take longer than its pixels.
static LANCZOS: LazyLock<Vec<f64>> = LazyLock::new(|| {
    let sinc = |x: f64| {
        let angle = x * std::f64::consts::PI;
        if angle == 0.0 {
            1.0
        } else {
            angle.sin() / angle
        }
    };
    (0..=LOBES * STEPS + 1)
        .map(|step| step as f64 / STEPS as f64)
        .map(|x| sinc(x) * sinc(x / LOBES as f64))
        .collect()
});

fn lanczos(x: f64) -> f64 {
    let place = x.abs() * STEPS as f64;
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "the whole steps before it"
    )]
    let step = place as usize;
    match LANCZOS.get(step..) {
        Some([before, after, ..]) => before + (after - before) * (place - step as f64),
        _ => 0.0,
    }
}

fn lanczos_filter() -> ResizeAlg {
    let filter = Filter::new("Lanczos", lanczos, LOBES as f64);
    ResizeAlg::Convolution(filter.map_or(FilterType::Lanczos3, FilterType::Custom))
}

/// Scales a picture to `width_px` x `height_px` with a Lanczos filter that takes every source pixel
/// into account.
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
    resize_with(picture, width_px, height_px, lanczos_filter())
}

pub(crate) fn resize_with(
    picture: &Decoded,
    width_px: u32,
    height_px: u32,
    filter: ResizeAlg,
) -> Result<Vec<u8>, Reason> {
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
        .map_err(|_| Reason::new("decode/damaged"))?;
    Ok(target.into_vec())
}

/// As [`resize`], for one plane of a picture.
pub(super) fn scale_plane(
    plane: &Samples,
    width_px: u32,
    height_px: u32,
) -> Result<Vec<u8>, Reason> {
    // The filter goes down the columns many at a time, which it cannot along a row; so the picture
    // is turned for that, and turned back.
    let rows = (plane.rows, plane.height, height_px);
    let scaled = scale_down(&plane.samples, plane.columns, rows)?;
    let turned = transposed(&scaled, plane.columns as usize);
    let columns = (plane.columns, plane.width, width_px);
    let scaled = scale_down(&turned, height_px, columns)?;
    Ok(transposed(&scaled, height_px as usize))
}

/// Scales the `covered` part of `rows` rows to `to_rows`.
fn scale_down(
    samples: &[u8],
    columns: u32,
    (rows, covered, to_rows): (u32, f64, u32),
) -> Result<Vec<u8>, Reason> {
    let damaged = || Reason::new("decode/damaged");
    let source = ResizeSource::new(columns, rows, samples, PixelType::U8).map_err(|_| damaged())?;
    let mut target = ResizeBuffer::new(columns, to_rows, PixelType::U8);
    let options = ResizeOptions::new().resize_alg(lanczos_filter()).crop(
        0.0,
        0.0,
        f64::from(columns),
        covered,
    );
    Resizer::new()
        .resize(&source, &mut target, &options)
        .map_err(|_| damaged())?;
    Ok(target.into_vec())
}

/// Rows of `columns` samples as columns.
fn transposed(samples: &[u8], columns: usize) -> Vec<u8> {
    /// Samples on a side of the squares that are turned at once.
    const SIDE: usize = 8;
    let rows = samples.len() / columns.max(1);
    let mut out = vec![0; samples.len()];
    let (whole_rows, whole_columns) = (rows - rows % SIDE, columns - columns % SIDE);
    for y in (0..whole_rows).step_by(SIDE) {
        for x in (0..whole_columns).step_by(SIDE) {
            let mut square = [0; SIDE];
            for (row, word) in square.iter_mut().enumerate() {
                let from = &samples[(y + row) * columns + x..];
                *word = from.first_chunk().map_or(0, |row| u64::from_le_bytes(*row));
            }
            for (column, word) in turned(square).iter().enumerate() {
                let to = (x + column) * rows + y;
                out[to..to + SIDE].copy_from_slice(&word.to_le_bytes());
            }
        }
    }
    for y in 0..rows {
        let rest = if y < whole_rows { whole_columns } else { 0 };
        for x in rest..columns {
            out[x * rows + y] = samples[y * columns + x];
        }
    }
    out
}

/// Eight rows of eight bytes, the first the lowest, as columns: the halves of each square change
/// places, then those of its quarters, then those of theirs.
#[inline(always)]
fn turned(mut square: [u64; 8]) -> [u64; 8] {
    const MASKS: [(usize, u64); 3] = [
        (4, 0x0000_0000_ffff_ffff),
        (2, 0x0000_ffff_0000_ffff),
        (1, 0x00ff_00ff_00ff_00ff),
    ];
    for (distance, mask) in MASKS {
        for row in 0..8 {
            if row & distance == 0 {
                let (upper, lower) = (square[row], square[row + distance]);
                let bits = 8 * distance;
                square[row] = (upper & mask) | ((lower & mask) << bits);
                square[row + distance] = ((upper >> bits) & mask) | (lower & !mask);
            }
        }
    }
    square
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_become_columns_at_any_size() {
        for (columns, rows) in [(1, 1), (8, 8), (16, 9), (7, 24), (19, 21)] {
            let samples: Vec<u8> = (0..columns * rows).map(|at| (at * 7 % 251) as u8).collect();
            let turned = transposed(&samples, columns);
            for (at, sample) in samples.iter().enumerate() {
                let (x, y) = (at % columns, at / columns);
                assert_eq!(
                    turned[x * rows + y],
                    *sample,
                    "{columns} x {rows}: {x}, {y}"
                );
            }
        }
    }

    #[test]
    fn the_tabulated_filter_is_the_filter() {
        let exact = |x: f64| {
            let sinc = |x: f64| (x * std::f64::consts::PI).sin() / (x * std::f64::consts::PI);
            sinc(x) * sinc(x / 3.0)
        };
        for step in 1..3_000 {
            let x = f64::from(step) / 1000.0 + 0.000_4;
            assert!((lanczos(-x) - exact(x)).abs() < 2e-6, "at {x}");
        }
        assert_eq!((lanczos(0.0), lanczos(3.1)), (1.0, 0.0));
    }
}
