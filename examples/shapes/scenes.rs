//! Drawings in which colour, shape, number and place are to be told, and the words for them.

use std::io::Cursor;

use anyhow::Result;
use image::{ImageFormat, Rgb, RgbImage};
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// Side of a drawing.
pub(crate) const SIDE_PX: u32 = 48;

const COLOURS: [(&str, [u8; 3]); 5] = [
    ("red", [215, 40, 40]),
    ("green", [40, 160, 60]),
    ("blue", [45, 75, 215]),
    ("yellow", [225, 200, 30]),
    ("black", [30, 30, 30]),
];
const SHAPES: [&str; 4] = ["square", "disc", "triangle", "cross"];
const NUMBERS: [&str; 3] = ["one", "two", "three"];
const PLACES: [&str; 3] = ["left", "middle", "right"];

/// How many colours there are.
pub(crate) const COLOUR_COUNT: usize = COLOURS.len();

/// The word for a colour.
pub(crate) fn colour_word(colour: usize) -> &'static str {
    COLOURS[colour].0
}

/// What a drawing shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Scene {
    colour: usize,
    shape: usize,
    number: usize,
    place: usize,
}

impl Scene {
    /// Every scene there is, in a fixed order.
    pub(crate) fn all() -> Vec<Self> {
        let mut scenes = Vec::new();
        for colour in 0..COLOURS.len() {
            for shape in 0..SHAPES.len() {
                for number in 0..NUMBERS.len() {
                    scenes.extend((0..PLACES.len()).map(|place| Self {
                        colour,
                        shape,
                        number,
                        place,
                    }));
                }
            }
        }
        scenes
    }

    /// Scenes to be shown, and one in `every` that is held back, drawn by the seed.
    pub(crate) fn split(seed: u64, every: usize) -> (Vec<Self>, Vec<Self>) {
        let mut scenes = Self::all();
        scenes.shuffle(&mut ChaCha8Rng::seed_from_u64(seed));
        let shown = scenes.split_off(scenes.len() / every);
        (shown, scenes)
    }

    /// The words for it: `two red discs on the left`.
    pub(crate) fn words(&self) -> String {
        let ending = if self.number == 0 {
            ""
        } else if SHAPES[self.shape] == "cross" {
            "es"
        } else {
            "s"
        };
        let side = if PLACES[self.place] == "middle" {
            "in"
        } else {
            "on"
        };
        format!(
            "{} {} {}{ending} {side} the {}",
            NUMBERS[self.number], COLOURS[self.colour].0, SHAPES[self.shape], PLACES[self.place]
        )
    }

    /// Which of the colours it has.
    pub(crate) fn colour(&self) -> usize {
        self.colour
    }

    /// A drawing of it as PNG; no two are alike.
    pub(crate) fn draw(&self, random: &mut ChaCha8Rng) -> Result<Vec<u8>> {
        let mut picture = paper(random);
        let cell = SIDE_PX as i32 / 3;
        let colour = COLOURS[self.colour]
            .1
            .map(|value| shaken(value, 22, random));
        // One stands in the middle of its column, two above and below it.
        let rows: &[i32] = [&[1][..], &[0, 2], &[0, 1, 2]][self.number];
        for row in rows {
            let centre = [self.place as i32, *row]
                .map(|at| cell * at + cell / 2 + random.random_range(-1..=1));
            fill(
                &mut picture,
                self.shape,
                centre,
                random.random_range(5..=6),
                colour,
            );
        }
        png(&picture)
    }
}

/// Bright paper with grain.
fn paper(random: &mut ChaCha8Rng) -> RgbImage {
    let tone = random.random_range(215..=245);
    RgbImage::from_fn(SIDE_PX, SIDE_PX, |_, _| {
        Rgb([0; 3].map(|_: u8| shaken(tone, 8, random)))
    })
}

fn shaken(value: u8, most: i16, random: &mut ChaCha8Rng) -> u8 {
    let value = i16::from(value) + random.random_range(-most..=most);
    value.clamp(0, 255) as u8
}

/// Fills the pixels of a shape that reaches `reach` pixels from its centre.
fn fill(picture: &mut RgbImage, shape: usize, centre: [i32; 2], reach: i32, colour: [u8; 3]) {
    for y in -reach..=reach {
        for x in -reach..=reach {
            let is_inside = match SHAPES[shape] {
                "square" => true,
                "disc" => x * x + y * y <= reach * reach,
                "triangle" => 2 * x.abs() <= y + reach,
                _ => x.abs() <= reach / 3 || y.abs() <= reach / 3,
            };
            let (x, y) = ((centre[0] + x) as u32, (centre[1] + y) as u32);
            if is_inside && x < SIDE_PX && y < SIDE_PX {
                picture.put_pixel(x, y, Rgb(colour));
            }
        }
    }
}

fn png(picture: &RgbImage) -> Result<Vec<u8>> {
    let mut bytes = Cursor::new(Vec::new());
    picture.write_to(&mut bytes, ImageFormat::Png)?;
    Ok(bytes.into_inner())
}
