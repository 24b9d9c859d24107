//! What other thresholds would leave of a corpus, told from what is stored: nothing is fetched or
//! read again.
//!
//! Every page that was read has its scores, with its document or with its outcome, so the rules on
//! text are asked again as a build asks them. Kept images have their sizes. Three things are not
//! known, and are counted by themselves instead of guessed: the images of a page whose text was not
//! good enough were never fetched, those of a page with too few were not kept, and an image that was
//! dropped by one rule was not asked the next. Under other thresholds on single texts, kept documents are
//! measured anew without those that go; of a page that was dropped the texts that stood were not kept,
//! and of a text that went, where it stood.

use std::path::Path;

use anyhow::{Context, Result, bail};
use m3w_document::filter::{self, text::Scores, word_list::WordLists};
use m3w_document::{Document, Image, Reason, Tally, Verdict};
use m3w_shards::{DocumentReader, Manifest};
use serde::Serialize;

use crate::config::{BuildConfig, FilterConfig, assign, put_over};
use crate::corpus::Run;
use crate::outcomes::{OutcomeLine, lines};
use crate::unit::Unit;

/// A page that other thresholds would keep, if it has images: they were not fetched.
pub const NOT_FETCHED: &str = "unknown/images-not-fetched";
/// A page that had too few images and may have enough under other thresholds: its images were not
/// kept.
pub const NOT_STORED: &str = "unknown/images-not-stored";
/// An image that passes the rule by which it was dropped; the rules after that were not asked.
pub const NOT_ASKED: &str = "unknown/rules-not-asked";

/// A page that was dropped, under other thresholds on single texts: its texts were not kept.
pub const NO_TEXTS: &str = "unknown/texts-not-stored";
/// A text that went and would stay: where it stood was not kept, and its document is judged without it.
pub const NO_PLACE: &str = "unknown/place-not-stored";

/// The counts of a corpus under its own thresholds and under others.
#[derive(Debug, Serialize)]
pub struct WhatIf {
    /// As it was built.
    pub before: Tally,
    /// Under the other thresholds.
    pub after: Tally,
}

/// The corpus' configuration with other filters: those of a file, then single settings.
///
/// # Errors
///
/// If a setting is not one of `filter`, or not of its type.
pub fn with_filters(
    config: &BuildConfig,
    file: Option<&Path>,
    assignments: &[String],
) -> Result<FilterConfig> {
    let mut settings = toml::Table::new();
    if let Some(path) = file {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("cannot read the configuration {}", path.display()))?;
        let table = text
            .parse()
            .with_context(|| format!("{} is not TOML", path.display()))?;
        put_over(&mut settings, table);
    }
    for assignment in assignments {
        assign(&mut settings, assignment)?;
    }
    let section = settings.get("filter").and_then(toml::Value::as_table);
    let decides = |key: &&str| section.is_some_and(|section| section.contains_key(*key));
    if let Some(key) = ["pii", "block"].iter().find(|key| decides(key)) {
        bail!(
            "`filter.{key}` decides what is fetched and how it is stored, and needs another build"
        );
    }
    let text = section.and_then(|section| section.get("text"));
    let text = text.and_then(toml::Value::as_table);
    let lists = |key: &&str| text.is_some_and(|text| text.contains_key(*key));
    if let Some(key) = ["flagged_words", "spam_words"]
        .iter()
        .find(|key| lists(key))
    {
        bail!("`filter.text.{key}` decides what is measured, and needs another build");
    }
    let image = section.and_then(|section| section.get("image"));
    let image = image.and_then(toml::Value::as_table);
    let names = |key: &&str| image.is_some_and(|image| image.contains_key(*key));
    if let Some(key) = ["nsfw_model", "nsfw_label"].iter().find(|key| names(key)) {
        bail!("`filter.image.{key}` decides what is measured, and needs another build");
    }
    if let Some(key) = settings.keys().find(|key| *key != "filter") {
        bail!(
            "`{key}` decides what is fetched or how it is read, and needs another build: only \
             `filter.*` can be tried on what is stored"
        );
    }
    let mut table = toml::Table::try_from(config).context("cannot write the configuration")?;
    put_over(&mut table, settings);
    let changed: BuildConfig = table.try_into()?;
    Ok(changed.filter)
}

/// Counts the corpus in `root` anew. Memory is one document without its pictures.
///
/// # Errors
///
/// If a shard or a list of outcomes cannot be read.
pub fn what_if(
    root: &Path,
    manifest: &Manifest,
    run: &Run,
    filter: &FilterConfig,
) -> Result<WhatIf> {
    let unit = run.config.unit();
    let mut judge = Judge {
        unit,
        filter,
        before: &run.config.filter,
        counts: WhatIf {
            before: Tally::default(),
            after: Tally::default(),
        },
    };
    for (documents, outcomes) in manifest.documents.iter().zip(&manifest.outcomes) {
        let path = root.join(&documents.path);
        let mut documents = DocumentReader::open_without_pictures(&path)?;
        for line in lines(&root.join(&outcomes.path))? {
            let line = line?;
            let document = match line.document_id {
                Some(_) => Some(documents.next().with_context(|| {
                    format!("{} has fewer rows than outcomes", path.display())
                })??),
                None => None,
            };
            let document = document.map(|mut document| {
                // A corpus of an earlier version.
                if unit == Unit::Page && document.scores.is_empty() {
                    filter::text::measure(&mut document, &WordLists::default());
                }
                document
            });
            judge.judge(&line, document);
        }
    }
    Ok(judge.counts)
}

struct Judge<'a> {
    unit: Unit,
    filter: &'a FilterConfig,
    before: &'a FilterConfig,
    counts: WhatIf,
}

impl Judge<'_> {
    fn judge(&mut self, line: &OutcomeLine, document: Option<Document<Image>>) {
        let step = self.unit.step();
        let before = line
            .dropped
            .as_ref()
            .map_or("kept".to_owned(), |reason| reason.name.to_string());
        self.counts.before.add(format!("{step}/{before}"), 1);
        for drop in &line.images_dropped {
            self.counts
                .before
                .add(format!("image/{}", drop.reason.name), 1);
        }
        for drop in &line.texts_dropped {
            let name = format!("text/{}", drop.reason.name);
            self.counts.before.add(name, 1);
        }
        let after = match document {
            Some(document) => {
                let images = document.images().count() as u64;
                self.counts.before.add("image/kept", images);
                self.kept(line, document)
            }
            None => {
                for drop in &line.texts_dropped {
                    self.counts
                        .after
                        .add(format!("text/{}", drop.reason.name), 1);
                }
                self.dropped(line, before)
            }
        };
        self.counts.after.add(format!("{step}/{after}"), 1);
        self.images(line, after == "kept");
    }

    /// Takes single texts out of a document that was kept, by their thresholds, and counts them.
    fn texts(&mut self, line: &OutcomeLine, document: &mut Document<Image>) {
        let config = &self.filter.paragraph;
        let has_changed = self.changes_texts();
        // Lists of words need not be at hand: the rule on them is not asked again.
        let lists = WordLists::default();
        for drop in &line.texts_dropped {
            let language = document.language.as_deref();
            let judged = || filter::paragraph::verdict(&drop.text, language, &lists, config);
            let is_asked = has_changed
                && drop.reason.name.starts_with("filter/")
                && drop.reason.name != "filter/flagged-words";
            let name = match is_asked.then(judged) {
                Some(Verdict::Keep) => NO_PLACE.to_owned(),
                Some(Verdict::Drop(reason)) => reason.name.into_owned(),
                None => drop.reason.name.to_string(),
            };
            self.counts.after.add(format!("text/{name}"), 1);
        }
        if !has_changed {
            return;
        }
        let gone = filter::paragraph::apply(document, &lists, config);
        for (_, reason) in &gone {
            self.counts.after.add(format!("text/{}", reason.name), 1);
        }
        if !gone.is_empty() {
            filter::text::measure(document, &lists);
        }
    }

    fn changes_texts(&self) -> bool {
        self.filter.paragraph != self.before.paragraph
    }

    /// What becomes of a document that was kept.
    fn kept(&mut self, line: &OutcomeLine, mut document: Document<Image>) -> String {
        self.texts(line, &mut document);
        if self.unit == Unit::Page {
            let language = document.language.as_deref();
            if let Some(reason) = self.text(&document.scores, language, self.filter) {
                return reason.name.into_owned();
            }
        }
        let mut kept = 0;
        let mut dropped = Tally::default();
        for image in document.images() {
            match filter::image::verdict(image, &self.filter.image) {
                Verdict::Keep if kept < self.filter.max_images => kept += 1,
                Verdict::Keep => dropped.add("image/filter/too-many-images", 1),
                Verdict::Drop(reason) => dropped.add(format!("image/{}", reason.name), 1),
            }
        }
        self.counts.after.merge(&dropped);
        if kept < self.filter.min_images {
            return "filter/too-few-images".to_owned();
        }
        self.counts.after.add("image/kept", kept as u64);
        "kept".to_owned()
    }

    /// What becomes of one that was dropped.
    fn dropped(&self, line: &OutcomeLine, before: String) -> String {
        if line.measured.is_empty() {
            return before;
        }
        if self.changes_texts() && !self.has_too_few_images(line) {
            return NO_TEXTS.to_owned();
        }
        let measured = &line.measured;
        let language = measured.language.as_deref();
        match self.text(&measured.scores, language, self.filter) {
            Some(reason) => reason.name.into_owned(),
            // It went for its text, which now passes.
            None if self.text(&measured.scores, language, self.before).is_some() => {
                NOT_FETCHED.to_owned()
            }
            None if before == "filter/too-few-images" && self.may_have_enough(line) => {
                NOT_STORED.to_owned()
            }
            None => before,
        }
    }

    /// Whether a page goes for its images, whatever its texts.
    fn has_too_few_images(&self, line: &OutcomeLine) -> bool {
        let reason = line.dropped.as_ref();
        reason.is_some_and(|reason| reason.name == "filter/too-few-images")
            && !self.may_have_enough(line)
    }

    /// Whether a page that had too few images may have enough: with those that it had, and those
    /// that pass the rule by which they went.
    fn may_have_enough(&self, line: &OutcomeLine) -> bool {
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        let least = self.filter.min_images as f64;
        let had = line.dropped.as_ref().and_then(|reason| reason.measured);
        let passing = line.images_dropped.iter();
        let passing = passing.filter(|drop| self.passes(&drop.reason)).count();
        #[expect(clippy::cast_precision_loss, reason = "counts are small")]
        let most = had.unwrap_or(0.0) + passing as f64;
        most >= least
    }

    /// Whether an image passes the rule by which it was dropped.
    fn passes(&self, reason: &Reason) -> bool {
        match (reason.name.as_ref(), reason.measured) {
            ("filter/too-small", Some(side)) => side >= f64::from(self.filter.image.min_side_px),
            ("filter/too-large", Some(side)) => {
                let most = self.filter.image.max_side_px;
                most.is_none_or(|most| side <= f64::from(most))
            }
            ("filter/animated", _) => self.filter.image.animated,
            ("filter/too-narrow", Some(ratio)) => ratio <= self.filter.image.max_aspect_ratio,
            ("filter/format", _) => self.filter.image.formats.is_empty(),
            (name, Some(value)) if image_rule(name).is_some() => {
                image_rule(name).is_some_and(|rule| rule.passes(value, &self.filter.image))
            }
            ("filter/too-many-images", _) => self.filter.max_images > self.before.max_images,
            _ => false,
        }
    }

    fn text(
        &self,
        scores: &Scores,
        language: Option<&str>,
        filter: &FilterConfig,
    ) -> Option<Reason> {
        filter::text::verdict(scores, language, &filter.text).reason()
    }

    /// The images that were dropped, of a page that is read.
    fn images(&mut self, line: &OutcomeLine, is_kept: bool) {
        for drop in &line.images_dropped {
            let reason = &drop.reason;
            let passes = self.passes(reason);
            let name = if passes && is_kept {
                NOT_ASKED
            } else {
                &reason.name
            };
            self.counts.after.add(format!("image/{name}"), 1);
        }
    }
}

/// The rule on a score of images that gives this reason.
fn image_rule(reason: &str) -> Option<&'static filter::image::Rule> {
    filter::image::RULES
        .iter()
        .find(|rule| rule.reason == reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_filters_can_be_tried() {
        let config = BuildConfig::default();
        let set = |assignment: &str| with_filters(&config, None, &[assignment.to_owned()]);
        let filter = set("filter.text.min_words=30").unwrap();
        assert_eq!(filter.text.min_words, Some(30.0));
        assert_eq!(filter.text.max_words, config.filter.text.max_words);
        let refused = set("crawler.delay_ms=0").unwrap_err().to_string();
        assert!(refused.contains("`crawler`"), "{refused}");
        assert!(set("filter.text.min_wrods=30").is_err());
        assert!(set("filter.pii.emails=true").is_err());
        assert!(set("filter.text.flagged_words={en='a.txt'}").is_err());
        assert!(set("filter.paragraph.min_words=4").is_ok());
    }
}
