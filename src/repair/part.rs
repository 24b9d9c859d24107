//! One part of a corpus that is damaged: what is left of it, and what is missing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::Path;

use anyhow::{Result, ensure};
use m3w_document::{Document, DocumentId, Image, Reason, Sha256};
use m3w_shards::{FileEntry, Salvaged, SequenceReader, salvage_documents};

use super::lines::{Known, difference, read_lines};
use super::{Lost, LostReason};
use crate::journal::{Journal, Outcome};
use crate::outcomes::OutcomeLine;
use crate::staging::Staging;
use crate::unit::Unit;

/// A part whose documents or outcomes are damaged.
pub(super) struct Part<'a> {
    pub(super) number: usize,
    pub(super) documents: &'a FileEntry,
    pub(super) outcomes: &'a FileEntry,
    pub(super) documents_are_whole: bool,
    pub(super) outcomes_are_whole: bool,
    pub(super) first: u64,
    /// For each input, its line if it could be read.
    pub(super) lines: Vec<Option<Known>>,
    /// Lines of inputs that were worked on again because theirs was lost.
    pub(super) new_lines: BTreeMap<u64, OutcomeLine>,
    /// The documents that are there, by input.
    pub(super) journal: Journal,
    /// Inputs whose document is proved to be in a shard that is whole.
    in_shard: HashSet<u64>,
    /// Documents of which no line tells which input they are of.
    orphans: Journal,
    orphan_rows: HashMap<DocumentId, u64>,
    /// Rows of which all is there but some pictures' bytes.
    bare: BTreeMap<u64, Document<Image>>,
    /// What could not be had again.
    pub(super) lost: BTreeMap<u64, LostReason>,
    /// The day of documents of which nothing else tells it.
    day: Option<i64>,
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
        let lines = read_lines(
            &root.join(&outcomes.path),
            first,
            outcomes.rows,
            outcomes_are_whole,
        )?;
        let has_digest = |known: &Known| {
            known.line.document_id.is_none() || known.line.document_sha256.is_some()
        };
        ensure!(
            lines.iter().flatten().all(has_digest),
            "{} has no digests of its documents, so nothing proves what they were: the corpus was \
             built by an older version of m3w; build it anew",
            outcomes.path
        );
        let orphans = staging.beside(number, "orphans");
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
            journal: Journal::open(&staging.beside(number, "journal"))?,
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
            ensure!(is_damage, error);
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

    pub(super) fn line(&self, input: u64) -> Option<&OutcomeLine> {
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
}
