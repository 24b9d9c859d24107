//! Changed colours, so that a model does not learn a picture by its tint.

use rand::{Rng, RngExt};
use serde::{Deserialize, Serialize};

/// Shares of red, green and blue in how bright a pixel is (ITU-R BT.601).
const LUMA: [f32; 3] = [0.299, 0.587, 0.114];

/// How far colours may be changed: each factor is drawn evenly from 1 - x to 1 + x, for each image
/// anew; 0 changes nothing. Flamingo names colour augmentation without its amounts (appendix
/// B.1.2); those of torchvision's `ColorJitter` mean the same as these.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ColourJitter {
    /// All values times a factor.
    pub brightness: f32,
    /// Distances from the picture's mean grey times a factor.
    pub contrast: f32,
    /// Distances from the pixel's own grey times a factor.
    pub saturation: f32,
}

impl ColourJitter {
    /// The first amount that is not 0 to 1.
    pub(crate) fn outside(&self) -> Option<(&'static str, f32)> {
        [
            ("colour_jitter.brightness", self.brightness),
            ("colour_jitter.contrast", self.contrast),
            ("colour_jitter.saturation", self.saturation),
        ]
        .into_iter()
        .find(|(_, amount)| !(0.0..=1.0).contains(amount))
    }

    /// The factors of one image; `None` where nothing may be changed.
    pub(crate) fn draw(&self, random: &mut impl Rng) -> Option<Recolour> {
        if *self == Self::default() {
            return None;
        }
        let mut factor = |amount: f32| 1.0 + amount * random.random_range(-1.0..=1.0_f32);
        Some(Recolour {
            brightness: factor(self.brightness),
            contrast: factor(self.contrast),
            saturation: factor(self.saturation),
        })
    }
}

/// Factors that change the colours of one image: brightness first, then contrast, then saturation.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Recolour {
    brightness: f32,
    contrast: f32,
    saturation: f32,
}

impl Recolour {
    /// Changes RGB pixels in place.
    pub(crate) fn apply(self, pixels: &mut [u8]) {
        let grey = |pixel: [f32; 3]| -> f32 {
            let parts = pixel.iter().zip(LUMA);
            parts.map(|(value, share)| value * share).sum()
        };
        let brightened = |pixel: &[u8]| {
            [pixel[0], pixel[1], pixel[2]]
                .map(|value| (f32::from(value) * self.brightness).min(255.0))
        };
        let total: f64 = pixels
            .chunks_exact(3)
            .map(|pixel| f64::from(grey(brightened(pixel))))
            .sum();
        #[expect(
            clippy::cast_precision_loss,
            reason = "a picture has less than 2^52 pixels"
        )]
        let mean = (total / (pixels.len() / 3).max(1) as f64) as f32;
        for pixel in pixels.chunks_exact_mut(3) {
            let values = brightened(pixel)
                .map(|value| ((value - mean) * self.contrast + mean).clamp(0.0, 255.0));
            let own = grey(values);
            for (byte, value) in pixel.iter_mut().zip(values) {
                // A float becomes the nearest value a byte has.
                *byte = ((value - own) * self.saturation + own).round() as u8;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(brightness: f32, contrast: f32, saturation: f32) -> Vec<u8> {
        let mut pixels = vec![200, 100, 50, 20, 20, 20];
        let recolour = Recolour {
            brightness,
            contrast,
            saturation,
        };
        recolour.apply(&mut pixels);
        pixels
    }

    #[test]
    fn factors_of_one_change_nothing() {
        assert_eq!(changed(1.0, 1.0, 1.0), [200, 100, 50, 20, 20, 20]);
    }

    #[test]
    fn each_factor_does_what_its_name_says() {
        assert_eq!(changed(0.5, 1.0, 1.0), [100, 50, 25, 10, 10, 10]);
        // The pixel's own grey is 0.299 * 200 + 0.587 * 100 + 0.114 * 50 = 124.2.
        assert_eq!(changed(1.0, 1.0, 0.0), [124, 124, 124, 20, 20, 20]);
        // The picture's mean grey is (124.2 + 20) / 2 = 72.1.
        assert_eq!(changed(1.0, 0.0, 1.0), [72; 6]);
    }

    #[test]
    fn no_amount_draws_nothing() {
        let mut random = crate::randomness::generator(1, "colours", &[]);
        assert!(ColourJitter::default().draw(&mut random).is_none());
        let some = ColourJitter {
            contrast: 0.5,
            ..ColourJitter::default()
        };
        let drawn = some.draw(&mut random).unwrap();
        assert!((drawn.brightness - 1.0).abs() < f32::EPSILON);
        assert!((0.5..=1.5).contains(&drawn.contrast));
    }
}
