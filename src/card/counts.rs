//! What is counted over the documents of a corpus.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::Result;
use m3w_document::{Document, Image, Media, TextRole};
use m3w_shards::{DocumentReader, Manifest};

/// Names listed in a table; the rest is counted together.
const MOST_LISTED: usize = 20;
/// Different names that are told apart: some 100 MB of hosts. Those met later are counted together.
const MOST_TOLD_APART: usize = 1_000_000;
/// Channel of a licence among the statements on reuse.
const LICENSE_CHANNEL: &str = "license";
const SECONDS_PER_DAY: i64 = 86_400;

/// How often each name was met.
#[derive(Debug, Default)]
pub(super) struct Frequencies {
    counts: BTreeMap<String, u64>,
    others: u64,
}

impl Frequencies {
    fn add(&mut self, name: &str) {
        if let Some(count) = self.counts.get_mut(name) {
            *count += 1;
        } else if self.counts.len() < MOST_TOLD_APART {
            self.counts.insert(name.to_owned(), 1);
        } else {
            self.others += 1;
        }
    }

    /// All that were told apart, in order.
    pub(super) fn names(&self) -> impl Iterator<Item = &str> {
        self.counts.keys().map(String::as_str)
    }

    /// How many different names there are, as far as they were told apart.
    pub(super) fn distinct(&self) -> u64 {
        self.counts.len() as u64
    }

    /// How many were counted.
    pub(super) fn total(&self) -> u64 {
        self.counts.values().sum::<u64>() + self.others
    }

    /// The most frequent as a table in Markdown, with their share of all.
    pub(super) fn table(&self, what: &str) -> String {
        let mut sorted: Vec<(&String, u64)> = self
            .counts
            .iter()
            .map(|(name, count)| (name, *count))
            .collect();
        sorted.sort_by_key(|(name, count)| (Reverse(*count), *name));
        let mut text = format!("| | {what} | |\n|---|---|---|\n");
        let total = self.total();
        for (name, count) in sorted.iter().take(MOST_LISTED) {
            row(&mut text, &cell(name), *count, total);
        }
        let rest = sorted.iter().skip(MOST_LISTED);
        let rest = rest.map(|(_, count)| count).sum::<u64>() + self.others;
        if rest > 0 {
            let names = sorted.len().saturating_sub(MOST_LISTED);
            row(&mut text, &format!("{names} others"), rest, total);
        }
        text
    }
}

/// Counts in classes of rising size.
#[derive(Debug)]
pub(super) struct Classes {
    /// Upper ends of all classes but the last, not in them.
    ends: &'static [u64],
    counts: Vec<u64>,
}

impl Classes {
    fn new(ends: &'static [u64]) -> Self {
        Self {
            ends,
            counts: vec![0; ends.len() + 1],
        }
    }

    fn add(&mut self, value: u64) {
        let class = self.ends.partition_point(|end| *end <= value);
        self.counts[class] += 1;
    }

    /// The classes as a table in Markdown.
    pub(super) fn table(&self, what: &str) -> String {
        let mut text = format!("| {what} | | |\n|---|---|---|\n");
        let total = self.counts.iter().sum();
        for (class, count) in self.counts.iter().enumerate() {
            let start = class.checked_sub(1).map_or(0, |before| self.ends[before]);
            let name = match self.ends.get(class) {
                Some(end) if *end == start + 1 => start.to_string(),
                Some(end) => format!("{start} to {}", end - 1),
                None => format!("{start} or more"),
            };
            row(&mut text, &name, *count, total);
        }
        text
    }
}

fn row(text: &mut String, name: &str, count: u64, total: u64) {
    #[expect(clippy::cast_precision_loss, reason = "a share to be read by people")]
    let share = 100.0 * count as f64 / total.max(1) as f64;
    // Writing to a string does not fail.
    let _ = writeln!(text, "| {name} | {count} | {share:.1} % |");
}

/// Words from outside as a cell of a table: no markup, one line, of a length to be read.
pub(super) fn cell(words: &str) -> String {
    const MOST: usize = 120;
    let mut text = String::new();
    for character in words.chars().take(MOST) {
        match character {
            '<' => text.push_str("&lt;"),
            '&' => text.push_str("&amp;"),
            '|' | '`' | '[' | ']' | '*' | '_' | '\\' | '!' | '#' => {
                text.push('\\');
                text.push(character);
            }
            other if other.is_control() => text.push(' '),
            other => text.push(other),
        }
    }
    if words.chars().nth(MOST).is_some() {
        text.push_str("...");
    }
    text
}

/// What is counted over the documents.
#[derive(Debug)]
pub(super) struct Counts {
    pub(super) languages: Frequencies,
    pub(super) hosts: Frequencies,
    /// Channels of statements on reuse.
    pub(super) channels: Frequencies,
    /// The statements themselves, of pages and of images, but for licences.
    pub(super) statements: Frequencies,
    pub(super) licences: Frequencies,
    /// Documents that name no licence.
    pub(super) without_licence: u64,
    pub(super) documents: u64,
    pub(super) words: u64,
    pub(super) document_words: Classes,
    pub(super) document_images: Classes,
    /// Of images.
    pub(super) formats: Frequencies,
    pub(super) media: Frequencies,
    pub(super) short_sides: Classes,
    pub(super) stored_short_sides: Classes,
    pub(super) with_alt: u64,
    pub(super) with_caption: u64,
    /// Texts by role.
    pub(super) roles: Frequencies,
    /// Files of archives that documents came from.
    pub(super) archives: Frequencies,
    pub(super) first_day: Option<i64>,
    pub(super) last_day: Option<i64>,
}

const SIDES: &[u64] = &[64, 128, 256, 320, 512, 1024, 2048];

impl Counts {
    /// Reads every document of a corpus once.
    pub(super) fn of(root: &Path, manifest: &Manifest) -> Result<Self> {
        let mut counts = Self {
            languages: Frequencies::default(),
            hosts: Frequencies::default(),
            channels: Frequencies::default(),
            statements: Frequencies::default(),
            licences: Frequencies::default(),
            without_licence: 0,
            documents: 0,
            words: 0,
            document_words: Classes::new(&[50, 100, 200, 500, 1000, 2000, 5000]),
            document_images: Classes::new(&[1, 2, 3, 5, 10, 20]),
            formats: Frequencies::default(),
            media: Frequencies::default(),
            short_sides: Classes::new(SIDES),
            stored_short_sides: Classes::new(SIDES),
            with_alt: 0,
            with_caption: 0,
            roles: Frequencies::default(),
            archives: Frequencies::default(),
            first_day: None,
            last_day: None,
        };
        for entry in &manifest.documents {
            for document in DocumentReader::open(&root.join(&entry.path))? {
                counts.add(&document?);
            }
        }
        Ok(counts)
    }

    fn add(&mut self, document: &Document<Image>) {
        self.documents += 1;
        let language = document.language.as_deref().unwrap_or("unknown");
        // A page may say `en-GB`; the card asks for the language.
        let language = language.split(['-', '_']).next().unwrap_or(language);
        self.languages.add(&language.to_ascii_lowercase());
        self.hosts
            .add(document.final_url.host_str().unwrap_or_default());
        let words = document.word_count() as u64;
        self.words += words;
        self.document_words.add(words);
        self.document_images.add(document.images().count() as u64);
        for text in document.texts() {
            self.roles.add(text.role.as_str());
        }
        for image in document.images() {
            self.add_image(image);
        }
        let mut has_licence = false;
        for signal in &document.consent {
            self.channels.add(&signal.channel);
            if signal.channel == LICENSE_CHANNEL {
                has_licence = true;
                self.licences.add(&licence_name(&signal.value));
            } else {
                let statement = format!("{}: {}", signal.channel, signal.value);
                self.statements.add(&statement);
            }
        }
        self.without_licence += u64::from(!has_licence);
        if let Some(warc) = &document.warc {
            self.archives.add(&warc.file);
        }
        if let Some(time) = document.fetched_at {
            let day = time.div_euclid(SECONDS_PER_DAY);
            self.first_day = Some(self.first_day.map_or(day, |first| first.min(day)));
            self.last_day = Some(self.last_day.map_or(day, |last| last.max(day)));
        }
    }

    fn add_image(&mut self, image: &Image) {
        let reference = &image.reference;
        self.formats.add(image.format.as_str());
        self.media.add(match reference.media {
            Media::Image => "picture",
            Media::Animation => "first frame of an animation",
            Media::Video { .. } => "poster of a video",
            Media::Frame { .. } => "frame of a clip",
        });
        self.short_sides
            .add(image.fetched_width_px.min(image.fetched_height_px).into());
        self.stored_short_sides
            .add(image.width_px.min(image.height_px).into());
        self.with_alt += u64::from(reference.alt.is_some());
        self.with_caption += u64::from(reference.caption.is_some());
        for signal in &image.consent {
            let statement = format!("{} (of an image): {}", signal.channel, signal.value);
            self.statements.add(&statement);
        }
    }

    /// Texts that are captions.
    pub(super) fn captions(&self) -> u64 {
        let captions = self.roles.counts.get(TextRole::Caption.as_str());
        captions.copied().unwrap_or_default()
    }
}

/// A licence's short name, where its address is one of Creative Commons'; otherwise the address.
fn licence_name(address: &str) -> String {
    let Some((_, path)) = address.split_once("creativecommons.org/") else {
        return address.to_owned();
    };
    let mut parts = path.split('/');
    match (parts.next(), parts.next(), parts.next()) {
        (Some("licenses"), Some(kind), Some(version)) if !kind.is_empty() => {
            format!("CC {} {version}", kind.to_ascii_uppercase())
                .trim_end()
                .to_owned()
        }
        (Some("publicdomain"), Some("zero"), _) => "CC0".to_owned(),
        (Some("publicdomain"), Some("mark"), _) => "public domain mark".to_owned(),
        _ => address.to_owned(),
    }
}

/// A day as `2026-11-25`.
pub(super) fn day(days: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(days * SECONDS_PER_DAY)
        .map_or_else(|_| "?".to_owned(), |time| time.date().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_named_by_their_bounds() {
        let mut classes = Classes::new(&[1, 3]);
        for value in [0, 1, 2, 3, 900] {
            classes.add(value);
        }
        let table = "| images | | |\n|---|---|---|\n| 0 | 1 | 20.0 % |\n| 1 to 2 | 2 | 40.0 % |\n\
                     | 3 or more | 2 | 40.0 % |\n";
        assert_eq!(classes.table("images"), table);
    }

    #[test]
    fn licences_of_creative_commons_have_their_short_names() {
        for (address, expected) in [
            (
                "https://creativecommons.org/licenses/by-sa/4.0/",
                "CC BY-SA 4.0",
            ),
            (
                "//creativecommons.org/licenses/by/3.0/de/deed.de",
                "CC BY 3.0",
            ),
            ("http://creativecommons.org/publicdomain/zero/1.0/", "CC0"),
            ("https://a.test/terms", "https://a.test/terms"),
        ] {
            assert_eq!(licence_name(address), expected);
        }
    }

    #[test]
    fn words_from_outside_are_no_markup_in_a_cell() {
        let words = cell("<img src=x>|[a](b)\n# c `d`");
        assert_eq!(words, "&lt;img src=x>\\|\\[a\\](b) \\# c \\`d\\`");
        assert!(cell(&"x".repeat(500)).len() < 130);
    }
}
