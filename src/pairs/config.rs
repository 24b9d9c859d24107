//! What is done with pairs, and the presets of the kinds.

use anyhow::{Context, Result, bail};
use m3w_document::caption;
use serde::{Deserialize, Serialize};

use crate::video::VideoConfig;

/// What a list of pairs is like; its name is the `source` of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Pictures with their alternative texts, many and noisy (Jia et al. 2021).
    Align,
    /// Pictures with long descriptions (Alayrac et al. 2022).
    Ltip,
    /// Short videos (Alayrac et al. 2022).
    Vtp,
    /// Any other pictures.
    Pairs,
}

impl Kind {
    /// Its name in rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Align => "align",
            Self::Ltip => "ltip",
            Self::Vtp => "vtp",
            Self::Pairs => "pairs",
        }
    }
}

/// Everything that decides what becomes of a pair before its picture is fetched. Unknown keys are
/// refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PairsConfig {
    /// What the list is like.
    pub kind: Kind,
    /// Where the parts of a pair stand in a row.
    pub columns: Columns,
    /// What is taken out of captions, and how long they may be.
    pub caption: caption::Config,
    /// Most pictures that one caption may have, by URL; pairs of a caption with more are dropped.
    /// 0: any number.
    pub max_images_per_caption: u64,
    /// Most captions that one picture may have, by URL; 0: any number.
    pub max_captions_per_image: u64,
    /// Words and pairs of words that are not rare: so many of the most frequent, and those as
    /// frequent as the last of them. A caption with a rarer one is dropped. 0: none is rare.
    pub most_frequent_grams: u64,
    /// How often a space stands before the caption of a row.
    pub space_probability: f64,
    /// How clips are cut, where the kind is `vtp`.
    pub video: VideoConfig,
}

/// Names of columns; of a list without a header their numbers, from 1.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Columns {
    /// The picture's URL; without a name `url`, `image_url` or `video_url`, in any case.
    pub url: Option<String>,
    /// The caption; without a name `caption`, `text` or `alt_text`, in any case.
    pub caption: Option<String>,
    /// The SHA-256 of the picture's bytes, in hex: other bytes are refused.
    pub sha256: Option<String>,
    /// The same for MD5.
    pub md5: Option<String>,
    /// Where in its video a clip begins: seconds, or `h:mm:ss`.
    pub start: Option<String>,
    /// Where it ends.
    pub end: Option<String>,
    /// Whether the first line of .csv and .tsv names the columns.
    pub has_header: bool,
}

impl Default for Columns {
    fn default() -> Self {
        Self {
            url: None,
            caption: None,
            sha256: None,
            md5: None,
            start: None,
            end: None,
            has_header: true,
        }
    }
}

impl Default for PairsConfig {
    fn default() -> Self {
        Self {
            kind: Kind::Pairs,
            columns: Columns::default(),
            caption: caption::Config::default(),
            max_images_per_caption: 0,
            max_captions_per_image: 0,
            most_frequent_grams: 0,
            // Flamingo, appendix A.3.
            space_probability: 0.5,
            video: VideoConfig::default(),
        }
    }
}

impl PairsConfig {
    /// The settings that a kind begins with; the user's come over them.
    #[must_use]
    pub fn preset(kind: Kind) -> Self {
        let any = Self {
            kind,
            ..Self::default()
        };
        match kind {
            Kind::Pairs => any,
            // Jia et al. 2021, section 3.
            Kind::Align => Self {
                caption: caption::Config {
                    min_words: 3,
                    max_words: 20,
                    ..caption::Config::default()
                },
                max_images_per_caption: 10,
                max_captions_per_image: 1000,
                most_frequent_grams: 100_000_000,
                ..any
            },
            // What is stripped is Flamingo's, as far as rules can tell places; the bounds are ours,
            // LTIP's captions have 20.5 tokens on average.
            Kind::Ltip | Kind::Vtp => Self {
                caption: caption::Config {
                    strip_markup: true,
                    strip_urls: true,
                    strip_hashtags: true,
                    strip_dates: true,
                    strip_places: true,
                    min_words: if kind == Kind::Ltip { 5 } else { 3 },
                    max_words: 200,
                },
                ..any
            },
        }
    }

    /// The preset as the start of a whole configuration, with what the kind asks of pictures.
    ///
    /// # Errors
    ///
    /// None that a preset can cause.
    pub fn defaults(kind: Kind) -> Result<toml::Table> {
        let pairs = toml::Table::try_from(Self::preset(kind)).context("cannot write a preset")?;
        let mut table = toml::Table::new();
        table.insert("pairs".to_owned(), pairs.into());
        if kind == Kind::Align {
            // "Larger than 200 pixels"; the aspect ratio of 3 is every build's.
            let filter = toml::toml! { image = { min_side_px = 200 } };
            table.insert("filter".to_owned(), filter.into());
        }
        if kind == Kind::Vtp {
            // Videos are larger and slower to come than pictures; fewer at a time keep the bounds
            // of memory: `concurrency` times `max_image_bytes`.
            let crawler = toml::toml! {
                max_image_bytes = 134217728
                total_timeout_s = 300
                concurrency = 16
            };
            table.insert("crawler".to_owned(), crawler.into());
            table.insert("images_in_flight".to_owned(), 8.into());
        }
        Ok(table)
    }

    /// Refuses values that cannot work.
    ///
    /// # Errors
    ///
    /// Names the first such key and what it may be.
    pub fn check(&self) -> Result<()> {
        if !(0.0..=1.0).contains(&self.space_probability) {
            bail!(
                "`pairs.space_probability` is {}: set it to 0 to 1",
                self.space_probability
            );
        }
        for (key, value) in [
            ("frames", u64::from(self.video.frames)),
            ("interval_ms", self.video.interval_ms),
            ("timeout_s", self.video.timeout_s),
            ("memory_mb", self.video.memory_mb),
        ] {
            if value == 0 {
                bail!("`pairs.video.{key}` is 0: set it to 1 or more");
            }
        }
        if self.caption.max_words < self.caption.min_words {
            bail!(
                "`pairs.caption.max_words` is {}: set it to `min_words` ({}) or more",
                self.caption.max_words,
                self.caption.min_words
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BuildConfig, differences, load_over};

    #[test]
    fn the_file_of_pair_settings_says_what_the_defaults_are() {
        let file: toml::Table = include_str!("../../configs/pairs.toml").parse().unwrap();
        let defaults = PairsConfig::defaults(Kind::Pairs).unwrap();
        assert_eq!(differences(&file, &defaults), Vec::<String>::new());
    }

    #[test]
    fn what_the_user_says_goes_over_the_preset() {
        let said = ["pairs.caption.max_words=30".to_owned()];
        let defaults = PairsConfig::defaults(Kind::Align).unwrap();
        let config: BuildConfig = load_over(defaults, None, &said).unwrap();
        assert_eq!(config.filter.image.min_side_px, 200);
        let pairs = config.pairs.unwrap();
        assert_eq!((pairs.caption.min_words, pairs.caption.max_words), (3, 30));
        assert_eq!(pairs.max_images_per_caption, 10);
    }
}
