//! Outcomes on disk as they come, so that a build killed at any moment goes on where it was.
//!
//! A journal belongs to one document shard in the making. Each record is one input's outcome:
//! its number in the input, what was counted on the way, and the document if it was kept. Records
//! come in the order in which pages finish; the shard is written from them in input order once all
//! are there. A record that was being written at the moment of a kill is recognised by its length
//! or its checksum, and cut off: that input is worked on again.
//!
//! Record on disk: length of the body (u32, little endian), CRC-32 of the body (u32, little
//! endian), body (postcard).

use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::io::{BufReader, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use m3w_document::{Document, Image, Reason, Tally, TextRole};
use serde::{Deserialize, Serialize};

use crate::unit::Unit;

/// What became of one input.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Number of the input, from 0, in the order of the list.
    pub input: u64,
    /// The input as it was written: a URL, or what stood in its place.
    pub text: String,
    /// Why there is no document.
    pub dropped: Option<Reason>,
    /// What was measured of a document that was not kept.
    pub measured: Measured,
    /// The images that were left out.
    pub images_dropped: Vec<ImageDrop>,
    /// The texts that were left out.
    pub texts_dropped: Vec<TextDrop>,
    /// The document, if it was kept.
    pub document: Option<Document<Image>>,
}

impl Outcome {
    /// The outcome of an input on which no work was done yet.
    #[must_use]
    pub fn of(input: u64, text: String) -> Self {
        Self {
            input,
            text,
            dropped: None,
            measured: Measured::default(),
            images_dropped: Vec::new(),
            texts_dropped: Vec::new(),
            document: None,
        }
    }
}

impl Outcome {
    /// Drops the document because an earlier input led to the same one, under another URL.
    pub fn drop_as_seen(&mut self, unit: Unit) {
        self.document = None;
        self.dropped = Some(Reason::new(unit.seen_before()));
    }

    /// Counts what became of the input and its images: `page/kept` or `page/` and the reason, and
    /// the same for each image; under `content/` what the kept document holds.
    pub fn count(&self, unit: Unit, tally: &mut Tally) {
        let step = unit.step();
        for image in &self.images_dropped {
            tally.add(format!("image/{}", image.reason.name), 1);
        }
        for text in &self.texts_dropped {
            tally.add(format!("text/{}", text.reason.name), 1);
        }
        if let Some(reason) = &self.dropped {
            tally.add(format!("{step}/{}", reason.name), 1);
        }
        if let Some(document) = &self.document {
            let images = document.images().count() as u64;
            tally.add(format!("{step}/kept"), 1);
            tally.add("image/kept", images);
            tally.add("content/words", document.word_count() as u64);
            tally.add(
                "content/captions",
                document
                    .texts()
                    .filter(|text| text.role == TextRole::Caption)
                    .count() as u64,
            );
            tally.add(
                "content/image-bytes",
                document
                    .images()
                    .map(|image| image.bytes.len() as u64)
                    .sum(),
            );
        }
    }
}

/// What was measured of a page, from which other thresholds can be tried without it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Measured {
    /// BCP 47 language tag.
    pub language: Option<String>,
    /// Values by name.
    pub scores: BTreeMap<String, f64>,
}

impl Measured {
    /// What was measured of a document.
    #[must_use]
    pub fn of<I>(document: &Document<I>) -> Self {
        Self {
            language: document.language.clone(),
            scores: document.scores.clone(),
        }
    }

    /// Whether nothing was measured.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.language.is_none() && self.scores.is_empty()
    }
}

/// An image that was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ImageDrop {
    /// Its URL, as written on the page where it could not be resolved.
    pub url: String,
    /// Why.
    pub reason: Reason,
}

/// A text that was left out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TextDrop {
    /// Its words.
    pub text: String,
    /// Why.
    pub reason: Reason,
}

/// The outcomes of one shard's inputs. Memory held is 24 bytes or so for each record, and one
/// record while reading or writing. The file is open only while it is read or written: one slow
/// host can hold more shards unfinished than a process may have files.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    end: u64,
    /// Offset and length of each record's body, by input.
    records: BTreeMap<u64, (u64, u32)>,
}

const HEADER_BYTES: u64 = 8;

impl Journal {
    /// Opens the journal at `path`, or begins it; a torn last record is cut off.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written.
    pub fn open(path: &Path) -> Result<Self> {
        let context = || format!("cannot open the journal {}", path.display());
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .with_context(context)?;
        let mut reader = BufReader::with_capacity(1 << 20, &file);
        let mut records = BTreeMap::new();
        let mut end = 0;
        let length = file.metadata().with_context(context)?.len();
        while let Some(body) = read_whole_record(&mut reader, length - end).with_context(context)? {
            let Ok((input, _)) = postcard::take_from_bytes::<u64>(&body) else {
                break;
            };
            let body_length = u32::try_from(body.len()).context("a record over 4 GiB")?;
            records.insert(input, (end + HEADER_BYTES, body_length));
            end += HEADER_BYTES + u64::from(body_length);
        }
        file.set_len(end).with_context(context)?;
        Ok(Self {
            path: path.to_owned(),
            end,
            records,
        })
    }

    /// Whether the input has an outcome.
    #[must_use]
    pub fn contains(&self, input: u64) -> bool {
        self.records.contains_key(&input)
    }

    /// The inputs that have an outcome, in order.
    pub fn inputs(&self) -> impl Iterator<Item = u64> {
        self.records.keys().copied()
    }

    /// How many inputs have an outcome.
    #[must_use]
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// Whether no input has an outcome.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Adds an outcome.
    ///
    /// # Errors
    ///
    /// If the disk refuses it.
    pub fn append(&mut self, outcome: &Outcome) -> Result<()> {
        let body = postcard::to_allocvec(outcome).context("cannot encode an outcome")?;
        let length = u32::try_from(body.len()).context("a document over 4 GiB")?;
        let mut record = Vec::with_capacity(body.len() + 8);
        record.extend(length.to_le_bytes());
        record.extend(crc32fast::hash(&body).to_le_bytes());
        record.extend(&body);
        let write = || {
            let mut file = OpenOptions::new().write(true).open(&self.path)?;
            file.seek(SeekFrom::Start(self.end))?;
            file.write_all(&record)
        };
        write().with_context(|| {
            format!("cannot write to {}: is the disk full?", self.path.display())
        })?;
        self.records
            .insert(outcome.input, (self.end + HEADER_BYTES, length));
        self.end += record.len() as u64;
        Ok(())
    }

    /// The outcomes in the order of the inputs.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened; items are errors where it cannot be read.
    pub fn outcomes(&self) -> Result<impl Iterator<Item = Result<Outcome>>> {
        let path = &self.path;
        let context = || format!("cannot read {}", path.display());
        let mut file = File::open(path).with_context(context)?;
        Ok(self.records.values().map(move |&(offset, length)| {
            let mut body = vec![0; length as usize];
            file.seek(SeekFrom::Start(offset))
                .and_then(|_| file.read_exact(&mut body))
                .with_context(context)?;
            postcard::from_bytes(&body).with_context(|| {
                format!("{} was written by another version of m3w", path.display())
            })
        }))
    }

    /// The outcome of one input, if it has one.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub fn get(&self, input: u64) -> Result<Option<Outcome>> {
        let Some(&(offset, length)) = self.records.get(&input) else {
            return Ok(None);
        };
        let context = || format!("cannot read {}", self.path.display());
        let mut file = File::open(&self.path).with_context(context)?;
        let mut body = vec![0; length as usize];
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut body))
            .with_context(context)?;
        postcard::from_bytes(&body).map(Some).with_context(|| {
            format!(
                "{} was written by another version of m3w",
                self.path.display()
            )
        })
    }

    /// Deletes the file.
    ///
    /// # Errors
    ///
    /// If the disk refuses it.
    pub fn remove(self) -> Result<()> {
        std::fs::remove_file(&self.path)
            .with_context(|| format!("cannot delete {}", self.path.display()))
    }
}

/// The next record's body, or `None` at the end or where a record is torn.
fn read_whole_record(reader: &mut impl Read, remaining: u64) -> Result<Option<Vec<u8>>> {
    let mut header = [0; HEADER_BYTES as usize];
    match reader.read_exact(&mut header) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error.into()),
    }
    let [a, b, c, d, e, f, g, h] = header;
    let length = u32::from_le_bytes([a, b, c, d]);
    let checksum = u32::from_le_bytes([e, f, g, h]);
    if u64::from(length) > remaining.saturating_sub(HEADER_BYTES) {
        return Ok(None);
    }
    let mut body = vec![0; length as usize];
    reader.read_exact(&mut body)?;
    let is_whole = crc32fast::hash(&body) == checksum;
    Ok(is_whole.then_some(body))
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    fn outcome(input: u64) -> Outcome {
        let url = Url::parse(&format!("https://example.org/{input}")).unwrap();
        let mut outcome = Outcome::of(input, url.to_string());
        outcome.images_dropped.push(ImageDrop {
            url: "a.png".to_owned(),
            reason: Reason::measured("filter/too-small", 1.0, 64.0),
        });
        outcome.document = Some(Document::new(url));
        outcome
    }

    #[test]
    fn outcomes_come_back_in_input_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.journal");
        let mut journal = Journal::open(&path).unwrap();
        for input in [2, 0, 1] {
            journal.append(&outcome(input)).unwrap();
        }
        drop(journal);
        let journal = Journal::open(&path).unwrap();
        let inputs: Vec<Outcome> = journal.outcomes().unwrap().collect::<Result<_>>().unwrap();
        assert_eq!(inputs, [outcome(0), outcome(1), outcome(2)]);
    }

    #[test]
    fn a_record_torn_at_any_byte_is_cut_off_and_those_before_it_stay() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.journal");
        let mut journal = Journal::open(&path).unwrap();
        journal.append(&outcome(0)).unwrap();
        let first = journal.end;
        journal.append(&outcome(1)).unwrap();
        drop(journal);
        let whole = std::fs::read(&path).unwrap();
        for length in first as usize..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            let mut journal = Journal::open(&path).unwrap();
            assert_eq!(
                (journal.len(), journal.contains(1)),
                (1, false),
                "cut at {length}"
            );
            journal.append(&outcome(1)).unwrap();
            assert_eq!(std::fs::read(&path).unwrap(), whole, "cut at {length}");
        }
        let mut damaged = whole.clone();
        *damaged.last_mut().unwrap() ^= 1;
        std::fs::write(&path, &damaged).unwrap();
        assert_eq!(Journal::open(&path).unwrap().len(), 1);
    }
}
