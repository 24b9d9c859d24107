//! What a picture looks like, in numbers: whether there is anything on it, whether it is sharp, and
//! how much of it is a QR code.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Levels of a channel in the table in which the most frequent colour is looked for.
const LEVELS: usize = 16;
/// Pixels whose colours are counted, about: of larger pictures only every second, third, … row.
const LOOKED_AT: usize = 1 << 14;
/// How far a channel may be from the most frequent colour's to count as it.
const NEAR: u8 = 12;

/// Values of a picture of `width_px * height_px` pixels in RGB, row by row, by their names:
///
/// - `main_colour`: share of pixels of nearly the most frequent colour, 12 levels of 255 to each side;
/// - `entropy`: of the greys, in bits from 0 to 8;
/// - `sharpness`: variance of the Laplacian of the greys (Pech-Pacheco et al. 2000), 0 where the
///   picture is blank or out of focus.
///
/// Colour and entropy of pictures with many pixels are taken of rows at even distances, some 16,000
/// pixels together. Memory is one byte a pixel.
#[must_use]
pub(super) fn look(pixels: &[u8], width_px: usize, height_px: usize) -> [(&'static str, f64); 3] {
    let greys: Vec<u8> = pixels.as_chunks::<3>().0.iter().map(grey).collect();
    let step = (greys.len() / LOOKED_AT).max(1);
    let sampled: Vec<[u8; 3]> = rows(pixels.as_chunks::<3>().0, width_px, step).collect();
    let sampled_greys: Vec<u8> = sampled.iter().map(grey).collect();
    [
        ("main_colour", main_colour(&sampled)),
        ("entropy", entropy(&sampled_greys)),
        ("sharpness", sharpness(&greys, width_px, height_px)),
    ]
}

/// The pixels of every `step`-th row.
fn rows(pixels: &[[u8; 3]], width: usize, step: usize) -> impl Iterator<Item = [u8; 3]> {
    let rows = pixels.chunks(width.max(1)).step_by(step);
    rows.flatten().copied()
}

/// Luma of ITU-R BT.601, in 256ths.
fn grey(&[red, green, blue]: &[u8; 3]) -> u8 {
    let sum = 77 * u16::from(red) + 150 * u16::from(green) + 29 * u16::from(blue);
    u8::try_from(sum >> 8).unwrap_or(u8::MAX)
}

fn main_colour(pixels: &[[u8; 3]]) -> f64 {
    let mut counts = vec![0_u32; LEVELS.pow(3)];
    let place = |colour: &[u8; 3]| {
        let level = |channel: u8| usize::from(channel) * LEVELS / 256;
        (level(colour[0]) * LEVELS + level(colour[1])) * LEVELS + level(colour[2])
    };
    for colour in pixels {
        counts[place(colour)] += 1;
    }
    let most = (0..counts.len()).max_by_key(|place| counts[*place]);
    let (Some(most), false) = (most, pixels.is_empty()) else {
        return 0.0;
    };
    let mut sums = [0_u64; 3];
    for colour in pixels.iter().filter(|colour| place(colour) == most) {
        for (sum, channel) in sums.iter_mut().zip(colour) {
            *sum += u64::from(*channel);
        }
    }
    let mean =
        sums.map(|sum| u8::try_from(sum / u64::from(counts[most].max(1))).unwrap_or(u8::MAX));
    let is_near = |colour: &&[u8; 3]| {
        let distances = colour.iter().zip(&mean).map(|(a, b)| a.abs_diff(*b));
        distances.fold(0, u8::max) <= NEAR
    };
    ratio(pixels.iter().filter(is_near).count(), pixels.len())
}

fn entropy(greys: &[u8]) -> f64 {
    let mut counts = [0_usize; 256];
    for grey in greys {
        counts[usize::from(*grey)] += 1;
    }
    let present = counts.iter().filter(|count| **count > 0);
    let shares = present.map(|count| ratio(*count, greys.len()));
    // Not -0 where one grey is all.
    shares
        .map(|share| -share * share.log2())
        .fold(0.0, |sum, part| sum + part)
}

fn sharpness(greys: &[u8], width: usize, height: usize) -> f64 {
    if width < 3 || height < 3 {
        return 0.0;
    }
    let (mut sum, mut squares) = (0_i64, 0_i64);
    for y in 1..height - 1 {
        let row = |y: usize| &greys[y * width..(y + 1) * width];
        let (above, here, below) = (row(y - 1), row(y), row(y + 1));
        // A row of 65,535 pixels adds less than 2^31.
        let (mut row_sum, mut row_squares) = (0_i32, 0_i64);
        for x in 1..width - 1 {
            let around = i32::from(above[x]) + i32::from(below[x]);
            let around = around + i32::from(here[x - 1]) + i32::from(here[x + 1]);
            let value = around - 4 * i32::from(here[x]);
            row_sum += value;
            row_squares += i64::from(value * value);
        }
        sum += i64::from(row_sum);
        squares += row_squares;
    }
    #[expect(clippy::cast_precision_loss, reason = "sums of pixels are below 2^52")]
    let (sum, squares, count) = (
        sum as f64,
        squares as f64,
        ((width - 2) * (height - 2)) as f64,
    );
    let mean = sum / count;
    (squares / count - mean * mean).max(0.0)
}

/// The share of a picture that QR codes cover which can be read, between 0 and 1.
///
/// Time is about 12 ns a pixel; memory some bytes a pixel. A reader that panics found none.
#[must_use]
pub(super) fn qr_share(pixels: &[u8], width_px: usize, height_px: usize) -> f64 {
    let (pixels, _) = pixels.as_chunks::<3>();
    let read = || {
        let at = |x: usize, y: usize| pixels.get(y * width_px + x).map_or(u8::MAX, grey);
        let mut picture = rqrr::PreparedImage::prepare_from_greyscale(width_px, height_px, at);
        let mut covered = 0.0;
        for code in picture.detect_grids() {
            if code.decode().is_ok() {
                let corners = code
                    .bounds
                    .map(|corner| (f64::from(corner.x), f64::from(corner.y)));
                covered += area(&corners);
            }
        }
        covered
    };
    let covered = catch_unwind(AssertUnwindSafe(read)).unwrap_or(0.0);
    #[expect(
        clippy::cast_precision_loss,
        reason = "a picture has fewer pixels than 2^52"
    )]
    let all = (width_px * height_px).max(1) as f64;
    (covered / all).min(1.0)
}

/// Area of a polygon, by its corners in order.
fn area(corners: &[(f64, f64)]) -> f64 {
    let next = corners.iter().cycle().skip(1);
    let twice: f64 = corners
        .iter()
        .zip(next)
        .map(|(a, b)| a.0 * b.1 - b.0 * a.1)
        .sum();
    twice.abs() / 2.0
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a picture has fewer pixels than 2^52"
)]
fn ratio(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(colours: impl Fn(usize, usize) -> [u8; 3]) -> [f64; 3] {
        let pixels: Vec<u8> = (0..64 * 64)
            .flat_map(|at| colours(at % 64, at / 64))
            .collect();
        look(&pixels, 64, 64).map(|(_, value)| value)
    }

    #[test]
    fn a_blank_picture_has_one_colour_and_nothing_sharp() {
        assert_eq!(values(|_, _| [250, 250, 250]), [1.0, 0.0, 0.0]);
        // Noise as of a JPEG, and a line of another colour.
        let noisy = values(|x, y| match (x * 7 + y * 13) % 5 {
            _ if y == 0 => [255, 0, 0],
            noise => [120 + noise as u8; 3],
        });
        assert_eq!(noisy[0], 63.0 / 64.0);
        assert!(noisy[1] > 2.0 && noisy[1] < 3.0, "{noisy:?}");
    }

    #[test]
    fn of_a_large_picture_a_part_of_its_rows_tells_the_same() {
        let colours = |x: usize, y: usize| {
            let is_line = (x / 16 + y / 16).is_multiple_of(5);
            [if is_line { 20 } else { 235 }, 235, (x % 8) as u8]
        };
        let of = |side: usize| {
            let pixels: Vec<u8> = (0..side * side)
                .flat_map(|at| colours(at % side, at / side))
                .collect();
            look(&pixels, side, side).map(|(_, value)| value)
        };
        let (all, some) = (of(80), of(800));
        assert!((all[0] - some[0]).abs() < 0.02, "{all:?} {some:?}");
        assert!((all[1] - some[1]).abs() < 0.1, "{all:?} {some:?}");
    }

    #[test]
    fn edges_are_sharper_than_slopes() {
        let edges = values(|x, y| [if (x / 4 + y / 4) % 2 == 0 { 255 } else { 0 }; 3]);
        let slopes = values(|x, y| [(2 * x + 2 * y) as u8; 3]);
        assert!(edges[2] > 1000.0, "{edges:?}");
        assert!(slopes[2] < 1.0, "{slopes:?}");
        assert!(slopes[1] > edges[1]);
    }

    /// `segno.make("m3w", error="l", micro=False, mask=0)` of the Python package.
    const CODE: [&str; 21] = [
        "#######.##.#..#######",
        "#.....#.......#.....#",
        "#.###.#.....#.#.###.#",
        "#.###.#.#..##.#.###.#",
        "#.###.#..#.#..#.###.#",
        "#.....#...#...#.....#",
        "#######.#.#.#.#######",
        ".........##.#........",
        "..#.###.###.##...#..#",
        "#####.....##...#.#..#",
        ".###..#.#......#.#..#",
        "#..##..###...#.##....",
        "....#.#.......##.#.#.",
        "........#...#......##",
        "#######..#..#.#.##.##",
        "#.....#.#..##....#..#",
        "#.###.#.#...###.#.#.#",
        "#.###.#..#######.#.#.",
        "#.###.#.##.#.###..#.#",
        "#.....#...##.#.###.#.",
        "#######..#..####..###",
    ];

    #[test]
    fn a_code_covers_its_part_of_a_picture() {
        let side = 6 * 29;
        let is_dark = |x: usize, y: usize| {
            let row = (y / 6).checked_sub(4).and_then(|row| CODE.get(row));
            let module = (x / 6).checked_sub(4);
            let cell = row
                .zip(module)
                .and_then(|(row, module)| row.as_bytes().get(module));
            cell == Some(&b'#')
        };
        let greys = (0..side * side).map(|at| {
            if is_dark(at % side, at / side) {
                20
            } else {
                240
            }
        });
        let pixels: Vec<u8> = greys.flat_map(|grey| [grey; 3]).collect();
        let covered = qr_share(&pixels, side, side);
        let expected = (21.0 / 29.0_f64).powi(2);
        // Corners are told to a module or so.
        assert!((covered - expected).abs() < 0.06, "{covered} of {expected}");
    }

    #[test]
    fn a_picture_without_a_code_has_none() {
        let pixels: Vec<u8> = (0..3 * 100 * 80)
            .map(|at| (at * at / 7 % 251) as u8)
            .collect();
        assert_eq!(qr_share(&pixels, 100, 80), 0.0);
        assert_eq!(qr_share(&[], 0, 0), 0.0);
    }
}
