//! Judgements on a fetched image.

use serde::{Deserialize, Serialize};

use crate::{Image, Media, Reason, Verdict};

/// Thresholds for images; the defaults are Flamingo's (Alayrac et al. 2022, appendix A.3.2).
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
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_side_px: 64,
            max_side_px: None,
            max_aspect_ratio: 3.0,
            animated: true,
        }
    }
}

/// Whether an image stays: neither too small nor too large, no strip, and still if that is asked for.
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
    Verdict::Keep
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use url::Url;

    use super::*;
    use crate::{Format, ImageRef, Sha256};

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
}
