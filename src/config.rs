//! The configuration of a build: one TOML file, one section for each crate, `--set` on top.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use m3w_model::ImageClassifier;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::pairs::PairsConfig;
use crate::unit::Unit;

/// Everything that decides what a corpus built from given input looks like.
///
/// It is stored in the corpus, and a build that goes on with another configuration is refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BuildConfig {
    /// Seed of every random choice, together with the document's id.
    pub seed: u64,
    /// Inputs (URLs, or records of WARC files) in one document shard. A shard is published when
    /// all its inputs have an outcome.
    pub inputs_per_shard: usize,
    /// Pages fetched or waiting for their host at one time. Each may hold
    /// `crawler.max_page_bytes` while it is worked on.
    pub pages_in_flight: usize,
    /// URLs read ahead of those in flight, so that other hosts are found while one is waited for.
    /// Each takes about 300 bytes.
    pub pages_waiting: usize,
    /// Images held as fetched bytes at one time. Each may hold `crawler.max_image_bytes`.
    pub images_in_flight: usize,
    /// Prepared images kept for pages that use the same picture, in bytes.
    pub image_cache_bytes: u64,
    /// Size of the vocabulary that is trained where no tokenizer is given.
    pub vocabulary_size: usize,
    /// Fetching.
    pub crawler: m3w_crawler::Config,
    /// Text and images of a page in order.
    pub align: m3w_dom_align::Config,
    /// How pictures are stored.
    pub images: m3w_document::image::PrepareConfig,
    /// What stays.
    pub filter: FilterConfig,
    /// Windows of tokens.
    pub shards: m3w_shards::Config,
    /// What is done with pairs, where the inputs are pairs.
    pub pairs: Option<PairsConfig>,
}

impl Default for BuildConfig {
    fn default() -> Self {
        Self {
            seed: 0,
            inputs_per_shard: 1000,
            pages_in_flight: 1024,
            pages_waiting: 50_000,
            images_in_flight: 64,
            image_cache_bytes: 128 << 20,
            vocabulary_size: 32_000,
            crawler: m3w_crawler::Config::default(),
            align: m3w_dom_align::Config::default(),
            images: m3w_document::image::PrepareConfig::default(),
            filter: FilterConfig::default(),
            shards: m3w_shards::Config::default(),
            pairs: None,
        }
    }
}

/// Thresholds of the filters, in the order in which they run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FilterConfig {
    /// On a document's words, before any image is fetched.
    pub text: m3w_document::filter::text::Config,
    /// On single texts, before the document's are asked.
    pub paragraph: m3w_document::filter::paragraph::Config,
    /// On each fetched image.
    pub image: m3w_document::filter::image::Config,
    /// What is shut out, by lists.
    pub block: crate::block_list::BlockConfig,
    /// What is taken out of texts, before they are measured.
    pub pii: m3w_document::filter::pii::Config,
    /// Fewest images of a document that stays; the paper keeps only pages with images.
    pub min_images: usize,
    /// Most images of a document; the rest are left out from the end.
    pub max_images: usize,
    /// Most images of a document that are fetched to find those: a page of thousands of icons does
    /// not cost its host thousands of requests.
    pub max_images_fetched: usize,
}

impl Default for FilterConfig {
    fn default() -> Self {
        Self {
            text: m3w_document::filter::text::Config::default(),
            paragraph: m3w_document::filter::paragraph::Config::default(),
            image: m3w_document::filter::image::Config::default(),
            block: crate::block_list::BlockConfig::default(),
            pii: m3w_document::filter::pii::Config::default(),
            min_images: 1,
            max_images: 30,
            max_images_fetched: 200,
        }
    }
}

impl FilterConfig {
    /// The files that it names, in the order in which they are digested.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let words = [&self.text.flagged_words, &self.text.spam_words];
        let words = words.into_iter().flat_map(|files| files.values());
        let mut files: Vec<PathBuf> = self.block.lists.iter().chain(words).cloned().collect();
        if let Some(model) = &self.image.nsfw_model {
            files.extend(ImageClassifier::files(model));
        }
        files
    }
}

impl BuildConfig {
    /// Refuses values with which no build can work.
    ///
    /// # Errors
    ///
    /// Names the first such key and what it may be.
    pub fn check(&self) -> Result<()> {
        for (key, value) in [
            ("inputs_per_shard", self.inputs_per_shard),
            ("pages_in_flight", self.pages_in_flight),
            ("pages_waiting", self.pages_waiting),
            ("images_in_flight", self.images_in_flight),
        ] {
            if value == 0 {
                bail!("`{key}` is 0: set it to 1 or more");
            }
        }
        if self.filter.image.max_qr.is_some() && !self.images.qr_codes {
            bail!(
                "`filter.image.max_qr` asks for what is not measured: set `images.qr_codes` to true"
            );
        }
        if self.filter.image.max_nsfw.is_some() && self.filter.image.nsfw_model.is_none() {
            bail!(
                "`filter.image.max_nsfw` asks for what is not measured: name a classifier of pictures \
                 in `filter.image.nsfw_model`"
            );
        }
        self.pairs.as_ref().map_or(Ok(()), PairsConfig::check)
    }

    /// What the inputs are.
    #[must_use]
    pub fn unit(&self) -> Unit {
        if self.pairs.is_some() {
            Unit::Pair
        } else {
            Unit::Page
        }
    }
}

/// Reads a configuration: defaults, then the file, then each `key.path=value` in turn.
///
/// A value of `--set` is read as TOML and, where that fails, as a plain string.
///
/// # Errors
///
/// Names the file or the assignment, and the key that is unknown or of the wrong type.
pub fn load<C: DeserializeOwned>(file: Option<&Path>, assignments: &[String]) -> Result<C> {
    load_over(toml::Table::new(), file, assignments)
}

/// The same over other defaults than those of the type.
///
/// # Errors
///
/// As [`load`].
pub fn load_over<C: DeserializeOwned>(
    defaults: toml::Table,
    file: Option<&Path>,
    assignments: &[String],
) -> Result<C> {
    let mut table = defaults;
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        let settings = text.parse();
        let settings = settings.with_context(|| format!("{} is not TOML", path.display()))?;
        put_over(&mut table, settings);
    }
    for assignment in assignments {
        assign(&mut table, assignment)?;
    }
    let origin = file.map_or_else(
        || "in the settings given".to_owned(),
        |path| format!("in {}", path.display()),
    );
    C::deserialize(toml::Value::Table(table)).map_err(|error| anyhow!("{origin}: {error}"))
}

/// Puts settings over those that are there, section by section.
pub(crate) fn put_over(table: &mut toml::Table, settings: toml::Table) {
    for (key, value) in settings {
        match (table.get_mut(&key), value) {
            (Some(toml::Value::Table(section)), toml::Value::Table(settings)) => {
                put_over(section, settings);
            }
            (_, value) => {
                table.insert(key, value);
            }
        }
    }
}

pub(crate) fn assign(table: &mut toml::Table, assignment: &str) -> Result<()> {
    let (path, value) = assignment.split_once('=').with_context(|| {
        format!("`--set {assignment}` has no `=`: write `--set section.key=value`")
    })?;
    let value = format!("value = {value}")
        .parse::<toml::Table>()
        .ok()
        .and_then(|mut table| table.remove("value"))
        .unwrap_or_else(|| toml::Value::String(value.to_owned()));
    let mut keys: Vec<&str> = path.trim().split('.').collect();
    let last = keys.pop().unwrap_or_default();
    let mut section = table;
    for key in keys {
        section = section
            .entry(key)
            .or_insert_with(|| toml::Value::Table(toml::Table::new()))
            .as_table_mut()
            .with_context(|| format!("`--set {assignment}`: `{key}` is not a section"))?;
    }
    section.insert(last.to_owned(), value);
    Ok(())
}

/// The keys at which two configurations differ, with both values: `seed: 1 -> 2`.
#[must_use]
pub fn differences(old: &toml::Table, new: &toml::Table) -> Vec<String> {
    let mut differences = Vec::new();
    collect_differences("", old, new, &mut differences);
    differences
}

fn collect_differences(
    prefix: &str,
    old: &toml::Table,
    new: &toml::Table,
    differences: &mut Vec<String>,
) {
    let mut keys: Vec<&String> = old.keys().chain(new.keys()).collect();
    keys.sort();
    keys.dedup();
    for key in keys {
        let path = format!("{prefix}{key}");
        match (old.get(key), new.get(key)) {
            (Some(toml::Value::Table(old)), Some(toml::Value::Table(new))) => {
                collect_differences(&format!("{path}."), old, new, differences);
            }
            (old, new) if old == new => {}
            (old, new) => {
                let show = |value: Option<&toml::Value>| {
                    value.map_or_else(|| "unset".to_owned(), ToString::to_string)
                };
                differences.push(format!("{path}: {} -> {}", show(old), show(new)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(assignments: &[&str]) -> Result<BuildConfig> {
        let assignments: Vec<String> = assignments.iter().map(|&a| a.to_owned()).collect();
        load(None, &assignments)
    }

    #[test]
    fn settings_reach_into_sections() {
        let config = settings(&["seed=7", "filter.image.min_side_px=150"]).unwrap();
        assert_eq!(config.seed, 7);
        assert_eq!(config.filter.image.min_side_px, 150);
        let contact = "crawler.contact=https://example.org/bot";
        let config = settings(&[contact]).unwrap();
        assert_eq!(
            config.crawler.contact.as_deref(),
            Some("https://example.org/bot")
        );
    }

    #[test]
    fn an_unknown_key_is_named() {
        let message = settings(&["filter.image.min_sides=1"])
            .unwrap_err()
            .to_string();
        assert!(message.contains("min_sides"), "{message}");
        let message = settings(&["seed"]).unwrap_err().to_string();
        assert!(message.contains("section.key=value"), "{message}");
    }

    #[test]
    fn the_defaults_survive_their_file_form() {
        let text = toml::to_string(&BuildConfig::default()).unwrap();
        assert_eq!(
            toml::from_str::<BuildConfig>(&text).unwrap(),
            BuildConfig::default()
        );
    }

    #[test]
    fn the_file_of_defaults_says_what_the_defaults_are() {
        let text = include_str!("../configs/build.toml");
        let file: toml::Table = text.parse().unwrap();
        let defaults = toml::Table::try_from(BuildConfig::default()).unwrap();
        assert_eq!(differences(&file, &defaults), Vec::<String>::new());
    }

    #[test]
    fn every_preset_has_settings_that_exist() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs");
        for name in ["m3w", "fineweb", "obelics", "c4", "none"] {
            let path = folder.join(format!("{name}.toml"));
            let config: BuildConfig = load(Some(&path), &[]).unwrap();
            assert_ne!(config, BuildConfig::default(), "{name}");
        }
    }

    #[test]
    fn differences_name_the_key_and_both_values() {
        let table = |text: &str| text.parse::<toml::Table>().unwrap();
        let old = table("seed = 1\n[a]\nb = 2\nc = 3");
        let new = table("seed = 1\n[a]\nb = 4\nc = 3\nd = 5");
        assert_eq!(differences(&old, &new), ["a.b: 2 -> 4", "a.d: unset -> 5"]);
    }
}
