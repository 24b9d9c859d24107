//! Judgements on a fetched image.
//!
//! Sizes and format are fields of the [`Image`]; all else is measured when it is stored, kept with
//! it as a score, and compared here, so that other thresholds can be tried later on what is stored.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::text::Bound;
use crate::{Format, Image, Media, Reason, Verdict};

/// Thresholds for images; the defaults are Flamingo's (Alayrac et al. 2022, appendix A.3.2). Where one
/// is not set, its rule is not asked.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Shortest width or height, in pixels as fetched.
    pub min_side_px: u32,
    /// Longest width or height, in pixels as fetched. What is larger than `images.max_side_px` is not
    /// even decoded.
    pub max_side_px: Option<u32>,
    /// Largest ratio of the longer side to the shorter.
    pub max_aspect_ratio: f64,
    /// Whether the first frame of a moving picture stays.
    pub animated: bool,
    /// Encodings that stay, as fetched; empty: all.
    pub formats: Vec<Format>,
    /// Fewest bytes, as fetched.
    pub min_bytes: Option<f64>,
    /// Most bytes, as fetched.
    pub max_bytes: Option<f64>,
    /// Largest share of pixels that have nearly the most frequent colour.
    pub max_main_colour: Option<f64>,
    /// Smallest entropy of the greys, in bits from 0 to 8.
    pub min_entropy: Option<f64>,
    /// Smallest variance of the Laplacian of the stored picture's greys.
    pub min_sharpness: Option<f64>,
    /// Largest share of the picture that QR codes cover; `images.qr_codes` has them looked for.
    pub max_qr: Option<f64>,
    /// Folder of a classifier of pictures, a `ViTForImageClassification` as it is published.
    pub nsfw_model: Option<PathBuf>,
    /// The class of it that is asked about.
    pub nsfw_label: String,
    /// Largest probability of that class.
    pub max_nsfw: Option<f64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_side_px: 64,
            max_side_px: None,
            max_aspect_ratio: 3.0,
            animated: true,
            formats: Vec::new(),
            min_bytes: None,
            max_bytes: None,
            max_main_colour: None,
            min_entropy: None,
            min_sharpness: None,
            max_qr: None,
            nsfw_model: None,
            nsfw_label: "nsfw".to_owned(),
            max_nsfw: None,
        }
    }
}

/// Compares one score with its threshold.
pub struct Rule {
    /// Name of the score.
    pub score: &'static str,
    /// The value may not be below, or not above, the threshold.
    pub bound: Bound,
    /// Name of the reason for which an image goes.
    pub reason: &'static str,
    threshold: fn(&Config) -> Option<f64>,
}

impl Rule {
    const fn new(
        score: &'static str,
        bound: Bound,
        reason: &'static str,
        threshold: fn(&Config) -> Option<f64>,
    ) -> Self {
        Self {
            score,
            bound,
            reason,
            threshold,
        }
    }

    /// Whether a value that was measured stays.
    #[must_use]
    pub fn passes(&self, value: f64, config: &Config) -> bool {
        (self.threshold)(config).is_none_or(|threshold| match self.bound {
            Bound::AtLeast => value >= threshold,
            Bound::AtMost => value <= threshold,
        })
    }
}

/// Every rule on a score, in the order in which they are asked.
pub const RULES: &[Rule] = &[
    Rule::new("bytes", Bound::AtLeast, "filter/too-few-bytes", |config| {
        config.min_bytes
    }),
    Rule::new("bytes", Bound::AtMost, "filter/too-many-bytes", |config| {
        config.max_bytes
    }),
    Rule::new(
        "main_colour",
        Bound::AtMost,
        "filter/near-blank",
        |config| config.max_main_colour,
    ),
    Rule::new("entropy", Bound::AtLeast, "filter/low-entropy", |config| {
        config.min_entropy
    }),
    Rule::new("sharpness", Bound::AtLeast, "filter/blurred", |config| {
        config.min_sharpness
    }),
    Rule::new("qr", Bound::AtMost, "filter/qr-code", |config| {
        config.max_qr
    }),
    Rule::new("nsfw", Bound::AtMost, "filter/nsfw", |config| {
        config.max_nsfw
    }),
];

/// Whether an image stays: neither too small nor too large, no strip, still if that is asked for, and
/// within each threshold on what was measured of it.
///
/// A score that is not there breaks no rule: it was stored before the rule was known.
#[must_use]
pub fn verdict(image: &Image, config: &Config) -> Verdict {
    let short = image.fetched_width_px.min(image.fetched_height_px);
    let long = image.fetched_width_px.max(image.fetched_height_px);
    if short < config.min_side_px {
        return Verdict::Drop(Reason::measured(
            "filter/too-small",
            f64::from(short),
            f64::from(config.min_side_px),
        ));
    }
    if let Some(most) = config.max_side_px.filter(|most| long > *most) {
        return Verdict::Drop(Reason::measured(
            "filter/too-large",
            f64::from(long),
            f64::from(most),
        ));
    }
    let aspect_ratio = f64::from(long) / f64::from(short);
    if aspect_ratio > config.max_aspect_ratio {
        return Verdict::Drop(Reason::measured(
            "filter/too-narrow",
            aspect_ratio,
            config.max_aspect_ratio,
        ));
    }
    if !config.animated && image.reference.media == Media::Animation {
        return Verdict::Drop(Reason::new("filter/animated"));
    }
    let is_other = |format: &Format| !config.formats.is_empty() && !config.formats.contains(format);
    if image.fetched_format.as_ref().is_some_and(is_other) {
        return Verdict::Drop(Reason::new("filter/format"));
    }
    for rule in RULES {
        let (Some(threshold), Some(&value)) =
            ((rule.threshold)(config), image.scores.get(rule.score))
        else {
            continue;
        };
        if !rule.passes(value, config) {
            return Verdict::Drop(Reason::measured(rule.reason, value, threshold));
        }
    }
    Verdict::Keep
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use url::Url;

    use super::*;
    use crate::{ImageRef, Sha256};

    fn image(width: u32, height: u32) -> Image {
        Image {
            reference: ImageRef::new(Url::parse("https://example.org/a.png").unwrap()),
            bytes: Arc::from([]),
            format: Format::Png,
            width_px: width,
            height_px: height,
            fetched_width_px: width,
            fetched_height_px: height,
            sha256_fetched: Sha256::of(b""),
            sha256_stored: Sha256::of(b""),
            dhash: 0,
            consent: Vec::new(),
            fetched_format: None,
            scores: Default::default(),
        }
    }

    #[test]
    fn the_thresholds_themselves_are_kept() {
        let config = Config::default();
        assert_eq!(verdict(&image(64, 64), &config), Verdict::Keep);
        assert_eq!(verdict(&image(64, 192), &config), Verdict::Keep);
        assert_eq!(
            verdict(&image(300, 63), &config),
            Verdict::Drop(Reason::measured("filter/too-small", 63.0, 64.0))
        );
        let reason = verdict(&image(193, 64), &config).reason().unwrap();
        assert_eq!(reason.name, "filter/too-narrow");
    }

    #[test]
    fn large_and_moving_pictures_go_where_that_is_asked_for() {
        let config = Config {
            max_side_px: Some(200),
            animated: false,
            ..Config::default()
        };
        assert_eq!(verdict(&image(200, 200), &config), Verdict::Keep);
        assert_eq!(
            verdict(&image(100, 201), &config),
            Verdict::Drop(Reason::measured("filter/too-large", 201.0, 200.0))
        );
        let mut moving = image(100, 100);
        moving.reference.media = Media::Animation;
        assert_eq!(
            verdict(&moving, &config),
            Verdict::Drop(Reason::new("filter/animated"))
        );
        assert_eq!(verdict(&moving, &Config::default()), Verdict::Keep);
    }

    #[test]
    fn every_score_has_a_threshold_that_is_asked() {
        let mut image = image(100, 100);
        for rule in RULES {
            let (prefix, broken) = match rule.bound {
                Bound::AtLeast => ("min", 0.5),
                Bound::AtMost => ("max", 0.1),
            };
            image.scores = [(rule.score.to_owned(), 0.25)].into();
            let config = serde_json::json!({ format!("{prefix}_{}", rule.score): broken });
            let config: Config = serde_json::from_value(config).unwrap();
            let reason = Reason::measured(rule.reason, 0.25, broken);
            assert_eq!(verdict(&image, &config), Verdict::Drop(reason));
            image.scores.clear();
            assert_eq!(verdict(&image, &config), Verdict::Keep, "{}", rule.score);
        }
    }

    #[test]
    fn formats_are_those_that_were_fetched() {
        let config = Config {
            formats: vec![Format::Jpeg, Format::WebP],
            ..Config::default()
        };
        let mut image = image(100, 100);
        assert_eq!(verdict(&image, &config), Verdict::Keep);
        image.fetched_format = Some(Format::Jpeg);
        assert_eq!(verdict(&image, &config), Verdict::Keep);
        image.fetched_format = Some(Format::Gif);
        assert_eq!(
            verdict(&image, &config),
            Verdict::Drop(Reason::new("filter/format"))
        );
    }
}
