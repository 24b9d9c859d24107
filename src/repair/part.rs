//! One part of a corpus that is damaged: what is left of it, what is missing, and how it is written
//! anew.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::{Context, Result};
use m3w_document::{Document, DocumentId, Image, Reason, Sha256};
use m3w_shards::{
    DocumentWriter, FileEntry, Salvaged, SequenceReader, ShardInfo, salvage_documents,
    write_atomically,
};

use super::staging::Staging;
use super::{Lost, LostReason};
use crate::corpus::file_entry;
use crate::journal::{Journal, Outcome};
use crate::outcomes::OutcomeLine;
use crate::unit::Unit;

/// A line of the list of outcomes that could be read, with its text as it stands.
struct Known {
    text: String,
    line: OutcomeLine,
}

/// A part whose documents or outcomes are damaged.
pub(super) struct Part<'a> {
    pub(super) number: usize,
    pub(super) documents: &'a FileEntry,
    pub(super) outcomes: &'a FileEntry,
    pub(super) documents_are_whole: bool,
    pub(super) outcomes_are_whole: bool,
    first: u64,
    /// For each input, its line if it could be read.
    lines: Vec<Option<Known>>,
    /// Lines of inputs that were worked on again because theirs was lost.
    new_lines: BTreeMap<u64, OutcomeLine>,
    /// The documents that are there, by input.
    journal: Journal,
    /// Inputs whose document is proved to be in a shard that is whole.
    in_shard: HashSet<u64>,
    /// Documents of which no line tells which input they are of.
    orphans: Journal,
    orphan_rows: HashMap<DocumentId, u64>,
    /// Rows of which all is there but some pictures' bytes.
    bare: BTreeMap<u64, Document<Image>>,
    /// What could not be had again.
    lost: BTreeMap<u64, LostReason>,
    /// The day of documents of which nothing else tells it.
    day: Option<i64>,
}

/// Files of a part that were written anew.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) documents: Option<FileEntry>,
    pub(super) outcomes: Option<FileEntry>,
    /// Whether every row is proved to be what it was.
    pub(super) is_proved: bool,
}

impl<'a> Part<'a> {
    /// Reads what is left of a part.
    pub(super) fn open(
        root: &Path,
        staging: &Staging,
        number: usize,
        inputs_per_shard: u64,
        (documents, documents_are_whole): (&'a FileEntry, bool),
        (outcomes, outcomes_are_whole): (&'a FileEntry, bool),
    ) -> Result<Self> {
        let first = number as u64 * inputs_per_shard;
        let lines = read_lines(&root.join(&outcomes.path), first, outcomes.rows)?;
        let orphans = staging.journal(number, "orphans");
        let _ = std::fs::remove_file(&orphans);
        let mut part = Self {
            number,
            documents,
            outcomes,
            documents_are_whole,
            outcomes_are_whole,
            first,
            lines,
            new_lines: BTreeMap::new(),
            journal: Journal::open(&staging.journal(number, "journal"))?,
            in_shard: HashSet::new(),
            orphans: Journal::open(&orphans)?,
            orphan_rows: HashMap::new(),
            bare: BTreeMap::new(),
            lost: BTreeMap::new(),
            day: None,
        };
        part.salvage(root)?;
        Ok(part)
    }

    /// Sorts the rows that can be read to their lines.
    fn salvage(&mut self, root: &Path) -> Result<()> {
        let inputs: HashMap<String, u64> = self
            .known()
            .filter_map(|known| Some((known.line.document_id.clone()?, known.line.input)))
            .collect();
        let path = root.join(&self.documents.path);
        let salvaged = salvage_documents(&path, |row| {
            let (document, is_whole) = match row {
                Salvaged::Whole(document) => (document, true),
                Salvaged::WithoutPictures(document) => (document, false),
            };
            let input = inputs.get(&document.id.to_string()).copied();
            let input = input.filter(|input| self.is_as_listed(*input, &document));
            match input {
                Some(input) if self.journal.contains(input) => {}
                Some(input) if self.documents_are_whole => {
                    self.in_shard.insert(input);
                }
                Some(input) if is_whole => self.add(input, document)?,
                Some(input) => {
                    self.bare.insert(input, document);
                }
                None if is_whole => {
                    let row = self.orphan_rows.len() as u64;
                    self.orphan_rows.insert(document.id, row);
                    self.orphans.append(&Outcome {
                        document: Some(document),
                        ..Outcome::of(row, String::new())
                    })?;
                }
                None => {}
            }
            Ok::<(), anyhow::Error>(())
        });
        if let Err(error) = salvaged {
            // Nothing can be read where the footer is damaged; a full disk is another matter.
            let is_damage = error.downcast_ref::<m3w_shards::Error>().is_some();
            anyhow::ensure!(is_damage, error);
        }
        if self.documents_are_whole {
            // A line that names another document than the shard holds is what is damaged.
            for index in 0..self.lines.len() {
                let input = self.first + index as u64;
                let names_none = self.lines[index].as_ref().is_some_and(|known| {
                    known.line.document_id.is_some() && !self.in_shard.contains(&input)
                });
                if names_none {
                    self.lines[index] = None;
                }
            }
        }
        Ok(())
    }

    fn known(&self) -> impl Iterator<Item = &Known> {
        self.lines.iter().flatten()
    }

    fn line(&self, input: u64) -> Option<&OutcomeLine> {
        let index = usize::try_from(input.checked_sub(self.first)?).ok()?;
        self.lines.get(index)?.as_ref().map(|known| &known.line)
    }

    fn is_as_listed(&self, input: u64, document: &Document<Image>) -> bool {
        let listed = self.line(input);
        listed.and_then(|line| line.document_sha256.as_ref())
            == Some(&document.digest().to_string())
    }

    fn has_document(&self, input: u64) -> bool {
        self.journal.contains(input) || self.in_shard.contains(&input)
    }

    fn add(&mut self, input: u64, document: Document<Image>) -> Result<()> {
        let text = self.line(input).map_or("", |line| &line.url).to_owned();
        self.journal.append(&Outcome {
            document: Some(document),
            ..Outcome::of(input, text)
        })
    }

    /// The hashes of the pictures, as stored, that are missing in rows of which the rest is there.
    pub(super) fn missing_pictures(&self) -> HashSet<Sha256> {
        let images = self.bare.values().flat_map(Document::images);
        images
            .filter(|image| image.bytes.is_empty())
            .map(|image| image.sha256_stored)
            .collect()
    }

    /// Takes missing pictures out of the training rows that hold them too. Memory is a picture for
    /// each that is missing.
    pub(super) fn take_pictures_of(&mut self, sequences: &Path) -> Result<()> {
        let missing = self.missing_pictures();
        if missing.is_empty() {
            return Ok(());
        }
        let mut found = HashMap::new();
        // A shard that is damaged too may hold some of them before its damage.
        let rows = SequenceReader::open(sequences).into_iter().flatten();
        for row in rows.map_while(Result::ok) {
            for image in row.images {
                let hash = Sha256::of(&image.bytes);
                if missing.contains(&hash) {
                    found.entry(hash).or_insert(image.bytes);
                }
            }
        }
        for (input, document) in std::mem::take(&mut self.bare) {
            let document = document.filter_map_images(|image| {
                let bytes = if image.bytes.is_empty() {
                    found.get(&image.sha256_stored).cloned()
                } else {
                    None
                };
                let bytes = bytes.unwrap_or_else(|| image.bytes.clone());
                Some(Image { bytes, ..image })
            });
            self.put(input, document)?;
        }
        Ok(())
    }

    /// Rows that miss nothing but pictures, to be filled and [`Part::put`] back.
    pub(super) fn take_bare(&mut self) -> BTreeMap<u64, Document<Image>> {
        std::mem::take(&mut self.bare)
    }

    /// Takes a row back: done, if all its pictures are there.
    pub(super) fn put(&mut self, input: u64, document: Document<Image>) -> Result<()> {
        if document.images().all(|image| !image.bytes.is_empty()) {
            self.add(input, document)
        } else {
            self.bare.insert(input, document);
            Ok(())
        }
    }

    /// Remembers why an input cannot be had again, unless that is known.
    pub(super) fn lose(&mut self, input: u64, reason: LostReason) {
        self.lost.entry(input).or_insert(reason);
    }

    /// The inputs that have to be worked on again, with their text where it is known.
    pub(super) fn missing(&self) -> Vec<(u64, Option<String>)> {
        (self.first..self.first + self.lines.len() as u64)
            .filter_map(|input| match self.line(input) {
                None => (!self.new_lines.contains_key(&input)).then_some((input, None)),
                Some(line) => (line.document_id.is_some()
                    && !self.has_document(input)
                    && !self.lost.contains_key(&input))
                .then(|| (input, Some(line.url.clone()))),
            })
            .collect()
    }

    /// Whether a line is missing, so that it takes the inputs themselves to know what it said.
    pub(super) fn misses_lines(&self) -> bool {
        self.lines.iter().any(Option::is_none)
    }

    /// Takes what came of an input that was worked on again, if it is what it was.
    pub(super) fn accept(&mut self, mut outcome: Outcome) -> Result<()> {
        let input = outcome.input;
        let Some(line) = self.line(input) else {
            return self.accept_unlisted(outcome);
        };
        if let Some(document) = &mut outcome.document {
            // The page is from today; what it says has to be what it said on that day.
            document.fetched_at = line.fetched_at;
        }
        let is_same = outcome.document.as_ref();
        if is_same.is_some_and(|document| self.is_as_listed(input, document)) {
            return self.journal.append(&outcome);
        }
        let reason = difference(line, &outcome);
        self.lose(input, reason);
        Ok(())
    }

    /// The same for an input whose line is lost: a document that is there says what it was.
    fn accept_unlisted(&mut self, mut outcome: Outcome) -> Result<()> {
        if let Some(document) = &mut outcome.document {
            let orphan = self.orphan_rows.remove(&document.id);
            let orphan = orphan.map(|row| self.orphans.get(row)).transpose()?;
            match orphan.flatten().and_then(|orphan| orphan.document) {
                Some(orphan) => *document = orphan,
                None => document.fetched_at = self.day_near(outcome.input),
            }
        }
        self.new_lines
            .insert(outcome.input, OutcomeLine::of(&outcome));
        self.journal.append(&outcome)
    }

    /// The day on which the inputs around this one were fetched.
    fn day_near(&self, input: u64) -> Option<i64> {
        self.known()
            .filter(|known| known.line.fetched_at.is_some())
            .min_by_key(|known| known.line.input.abs_diff(input))
            .and_then(|known| known.line.fetched_at)
            .or(self.day)
    }

    /// Says on which day documents were fetched of which nothing in the part tells it.
    pub(super) fn set_day(&mut self, day: Option<i64>) {
        self.day = day;
    }

    /// Says of inputs worked on again that an earlier part has their document.
    pub(super) fn drop_seen(&mut self, earlier: &HashSet<String>, unit: Unit) {
        let mut seen: HashSet<String> = HashSet::new();
        for input in self.first..self.first + self.lines.len() as u64 {
            if let Some(line) = self.new_lines.get_mut(&input)
                && let Some(id) = &line.document_id
                && (earlier.contains(id) || seen.contains(id))
            {
                let outcome = Outcome {
                    dropped: Some(Reason::new(unit.seen_before())),
                    images_dropped: line.images_dropped.clone(),
                    ..Outcome::of(input, line.url.clone())
                };
                *line = OutcomeLine::of(&outcome);
            }
            let line = self.new_lines.get(&input).or(self.line(input));
            seen.extend(line.and_then(|line| line.document_id.clone()));
        }
    }

    /// What of the part cannot be had again.
    pub(super) fn lost(&self) -> Vec<Lost> {
        let describe = |(input, reason): (&u64, &LostReason)| Lost {
            file: match self.line(*input) {
                Some(_) => self.documents.path.clone(),
                None => self.outcomes.path.clone(),
            },
            input: *input,
            url: self
                .line(*input)
                .map_or_else(String::new, |line| line.url.clone()),
            reason: reason.reason.clone(),
            detail: reason.detail.clone(),
        };
        self.lost.iter().map(describe).collect()
    }

    /// Writes anew what is damaged and can be written, without what is lost if `leave_out` says so.
    pub(super) fn write(
        &self,
        root: &Path,
        staging: &Staging,
        info: &ShardInfo,
        leave_out: bool,
    ) -> Result<Written> {
        let has_lines = !self.misses_lines()
            || (self.first..self.first + self.lines.len() as u64)
                .all(|input| self.line(input).is_some() || self.new_lines.contains_key(&input));
        let is_complete = self.lost.is_empty() && has_lines;
        let mut written = Written {
            is_proved: is_complete && self.new_lines.is_empty(),
            ..Written::default()
        };
        if !is_complete && !leave_out {
            return Ok(written);
        }
        // A shard that is whole holds documents whose inputs are not known: nothing may be left
        // out of it for the sake of a list.
        if self.documents_are_whole && !has_lines {
            return Ok(written);
        }
        let inputs = self.first..self.first + self.lines.len() as u64;
        let mut lines = Vec::new();
        for input in inputs.clone() {
            match (self.left_out(input), self.new_lines.get(&input)) {
                (Some(line), _) => lines.extend(line.text()?.into_bytes()),
                (None, Some(line)) => lines.extend(line.text()?.into_bytes()),
                (None, None) => {
                    let index = usize::try_from(input - self.first)?;
                    let known = self.lines[index].as_ref();
                    lines.extend(known.map_or("", |known| &known.text).as_bytes());
                }
            }
            lines.push(b'\n');
        }
        if !self.outcomes_are_whole || !self.lost.is_empty() {
            write_atomically(&staging.path(&self.outcomes.path), &lines)?;
            let entry = file_entry(
                &staging.path(""),
                &self.outcomes.path,
                self.lines.len() as u64,
            )?;
            written.outcomes = Some(entry);
        }
        if self.documents_are_whole {
            return Ok(written);
        }
        let mut writer = DocumentWriter::create(&staging.path(&self.documents.path), info)?;
        for input in inputs {
            let line = self.new_lines.get(&input).or(self.line(input));
            let is_kept = line.is_some_and(|line| line.document_id.is_some());
            if !is_kept || self.lost.contains_key(&input) {
                continue;
            }
            let outcome = self.journal.get(input)?;
            let document = outcome.and_then(|outcome| outcome.document);
            let document = document
                .with_context(|| format!("the journal in {} lacks a row", root.display()))?;
            writer.write(&document)?;
        }
        written.documents = Some(FileEntry {
            path: self.documents.path.clone(),
            ..writer.finish()?
        });
        Ok(written)
    }

    /// The line of an input that is left out.
    fn left_out(&self, input: u64) -> Option<OutcomeLine> {
        let lost = self.lost.get(&input)?;
        let line = self.line(input);
        let outcome = Outcome {
            dropped: Some(lost.reason.clone()),
            images_dropped: line.map_or_else(Vec::new, |line| line.images_dropped.clone()),
            ..Outcome::of(
                input,
                line.map_or_else(String::new, |line| line.url.clone()),
            )
        };
        Some(OutcomeLine::of(&outcome))
    }
}

/// The lines of a list that can be read, by input.
fn read_lines(path: &Path, first: u64, count: u64) -> Result<Vec<Option<Known>>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    let mut lines: Vec<Option<Known>> = Vec::new();
    lines.resize_with(usize::try_from(count)?, || None);
    for text in bytes.split(|byte| *byte == b'\n') {
        let Ok(text) = str::from_utf8(text) else {
            continue;
        };
        let Some(line) = OutcomeLine::undamaged(text) else {
            continue;
        };
        let index = line.input.checked_sub(first).map(usize::try_from);
        if let Some(Ok(index)) = index
            && let Some(slot) = lines.get_mut(index)
        {
            *slot = Some(Known {
                text: text.to_owned(),
                line,
            });
        }
    }
    Ok(lines)
}

/// Why an outcome is not what the line says that it was.
fn difference(line: &OutcomeLine, outcome: &Outcome) -> LostReason {
    let new_drop = outcome
        .images_dropped
        .iter()
        .find(|drop| !line.images_dropped.contains(drop));
    if let Some(drop) = new_drop {
        return LostReason {
            reason: drop.reason.clone(),
            detail: format!("its picture {}", drop.url),
        };
    }
    let Some(document) = &outcome.document else {
        let gone = outcome.dropped.clone();
        return LostReason {
            reason: gone.unwrap_or(Reason::new("repair/changed")),
            detail: "the page itself".to_owned(),
        };
    };
    let hashes = line
        .images_sha256
        .iter()
        .map(Some)
        .chain(std::iter::repeat(None));
    let other = document
        .images()
        .zip(hashes)
        .find(|(image, hash)| Some(&image.sha256_fetched.to_string()) != *hash);
    let detail = match other {
        Some((image, _)) => format!(
            "its picture {} has other bytes (SHA-256 {})",
            image.reference.url, image.sha256_fetched
        ),
        None => "its words, or what is said of its pictures".to_owned(),
    };
    LostReason {
        reason: Reason::new("repair/changed"),
        detail,
    }
}
