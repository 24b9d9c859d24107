//! What is taken down of each document, part by part: all that later steps look at.
//!
//! | file | record |
//! |---|---|
//! | `keys` | kind, hash of what is equal, rank |
//! | `bands` | band of a text, rank |
//! | `sketches` | [`Sketch`] of each row |
//! | `paragraphs` | hash of the host, hash of the paragraph, rank, number of the text |
//! | `pictures` | SHA-256 as stored, rank, number of the image, part and place of its print |
//! | `prints` | [`PicturePrint`] of each picture of the part |
//! | `images` | number of images of each row |
//! | `found` | what goes whatever else there is |
//!
//! Memory for each thread: a document with its pictures, and 50 bytes for each picture of the part.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use m3w_document::dedup::{PicturePrint, SKETCH_BYTES, Sketch, bands, words};
use m3w_document::{Document, Image, Sha256, TextRole};
use m3w_shards::{DocumentReader, Manifest};
use sha2::Digest;
use tokio::sync::watch;

use super::config::DedupConfig;
use super::drops::{Drop, Names, Rule, What};
use super::order::Place;
use super::sorted::{Writer, record};
use crate::bits::Bits;
use crate::build::Stopped;
use crate::journal::Outcome;
use crate::unit::Unit;

/// Kinds of keys: what documents of the same hash have in common.
pub(super) const SAME_PAGE: u8 = 0;
pub(super) const SAME_TEXT: u8 = 1;
pub(super) const SAME_IMAGES: u8 = 2;

pub(super) const KEY_BYTES: usize = 24;
pub(super) const BAND_BYTES: usize = 16;
pub(super) const PARAGRAPH_BYTES: usize = 28;
pub(super) const PICTURE_BYTES: usize = 52;
/// Place of the print of a picture that cannot be decoded.
pub(super) const NO_PRINT: u32 = u32::MAX;

/// Reads the parts of a corpus.
pub(super) struct Scan<'a> {
    pub(super) root: &'a Path,
    pub(super) manifest: &'a Manifest,
    pub(super) names: &'a Names<'a>,
    pub(super) config: &'a DedupConfig,
    /// Folder of the files.
    pub(super) folder: &'a Path,
    pub(super) stop: &'a watch::Receiver<bool>,
}

/// The file of a part: `again` for that of documents which were changed meanwhile.
pub(super) fn part_file(folder: &Path, part: usize, what: &str, again: bool) -> PathBuf {
    let again = if again { ".again" } else { "" };
    folder.join(format!("part-{part:05}{again}.{what}"))
}

/// A picture of a document that those after it are compared with.
struct Earlier {
    number: u32,
    sha256: Sha256,
    print: Option<PicturePrint>,
}

/// What is written of texts and sets of pictures.
struct TextFiles {
    keys: Writer,
    bands: Writer,
    sketches: Writer,
}

impl Scan<'_> {
    /// Whether a part has been read already.
    pub(super) fn has_read(&self, part: usize) -> bool {
        part_file(self.folder, part, "done", false).exists()
    }

    /// Reads a part.
    ///
    /// # Errors
    ///
    /// [`Stopped`], or if the shard cannot be read or the disk refuses.
    pub(super) fn read(&self, part: usize) -> Result<()> {
        let create = |what| Writer::create(&part_file(self.folder, part, what, false));
        let mut files = self.text_files(part, false)?;
        let mut paragraphs = create("paragraphs")?;
        let mut pictures = create("pictures")?;
        let mut prints = create("prints")?;
        let mut images = create("images")?;
        let mut found = create("found")?;
        // Where the print of a picture stands, for pages that share it.
        let mut slots: HashMap<Sha256, u32> = HashMap::new();
        let mut next_slot = 0;
        let ranks = self.names.order.ranks(part)?;
        let path = self.root.join(&self.manifest.documents[part].path);
        for (row, document) in DocumentReader::open(&path)?.enumerate() {
            if *self.stop.borrow() {
                return Err(Stopped.into());
            }
            let document = document?;
            let rank = ranks
                .get(row)
                .copied()
                .context("a shard has too many rows")?;
            let place = Place {
                id: document.id,
                part: part as u32,
                row: row as u32,
            };
            if let Some((count, name)) = self.texts(&document, rank, &mut files)? {
                #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
                let drop = Drop::new(
                    place,
                    What::Document,
                    Rule::ProtectedText,
                    count as f64,
                    0.0,
                );
                found.write(&drop.of(name.into()).to_record())?;
            }
            self.paragraphs(&document, rank, &mut paragraphs)?;
            images.write(&(document.images().count() as u32).to_be_bytes())?;
            let mut earlier: Vec<Earlier> = Vec::new();
            for (number, image) in (0_u32..).zip(document.images()) {
                let print = PicturePrint::of(&image.bytes).ok();
                let slot = match (slots.get(&image.sha256_stored), &print) {
                    (Some(slot), _) => *slot,
                    (None, None) => NO_PRINT,
                    (None, Some(print)) => {
                        prints.write(&print.to_bytes())?;
                        next_slot += 1;
                        next_slot - 1
                    }
                };
                slots.insert(image.sha256_stored, slot);
                pictures.write(&record::<PICTURE_BYTES>(&[
                    &image.sha256_stored.0,
                    &rank.to_be_bytes(),
                    &number.to_be_bytes(),
                    &(part as u32).to_be_bytes(),
                    &slot.to_be_bytes(),
                ]))?;
                if let Some((likeness, of)) = self.repeated(image, print.as_ref(), &earlier) {
                    let threshold = self.config.images.likeness;
                    let what = What::Image(number);
                    let drop = Drop::new(place, what, Rule::SameImage, likeness, threshold);
                    found.write(&drop.of(of.into()).to_record())?;
                } else {
                    earlier.push(Earlier {
                        number,
                        sha256: image.sha256_stored,
                        print,
                    });
                }
            }
        }
        files.finish()?;
        for file in [paragraphs, pictures, prints, images, found] {
            file.finish()?;
        }
        Writer::create(&part_file(self.folder, part, "done", false))?.finish()
    }

    /// Reads those documents of a part again that lose some of what they had, as they are without it.
    ///
    /// # Errors
    ///
    /// As [`Scan::read`].
    pub(super) fn read_again(&self, part: usize, changed: &Bits, drops: &[Drop]) -> Result<()> {
        let ranks = self.names.order.ranks(part)?;
        let mut files = self.text_files(part, true)?;
        let path = self.root.join(&self.manifest.documents[part].path);
        for (row, document) in DocumentReader::open_without_pictures(&path)?.enumerate() {
            if *self.stop.borrow() {
                return Err(Stopped.into());
            }
            let document = document?;
            let rank = ranks
                .get(row)
                .copied()
                .context("a shard has too many rows")?;
            if !changed.contains(rank) {
                files.sketches.write(&[0; SKETCH_BYTES])?;
                continue;
            }
            let first = drops.partition_point(|drop| drop.row < row as u32);
            let end = drops.partition_point(|drop| drop.row <= row as u32);
            let mut outcome = Outcome {
                document: Some(document),
                ..Outcome::of(0, String::new())
            };
            self.names.apply(&mut outcome, &drops[first..end])?;
            match &outcome.document {
                Some(document) => {
                    self.texts(document, rank, &mut files)?;
                }
                None => files.sketches.write(&[0; SKETCH_BYTES])?,
            }
        }
        files.finish()
    }

    fn text_files(&self, part: usize, again: bool) -> Result<TextFiles> {
        let create = |what| Writer::create(&part_file(self.folder, part, what, again));
        Ok(TextFiles {
            keys: create("keys")?,
            bands: create("bands")?,
            sketches: create("sketches")?,
        })
    }

    /// Takes down what documents are compared by; how many protected sequences of words the texts
    /// have, and the name of one.
    fn texts(
        &self,
        document: &Document<Image>,
        rank: u64,
        files: &mut TextFiles,
    ) -> Result<Option<(u64, u32)>> {
        let mut key = |kind: u8, hash: &[u8]| {
            let fields = [&[kind], &hash[..15], &rank.to_be_bytes()];
            files.keys.write(&record::<KEY_BYTES>(&fields))
        };
        key(SAME_PAGE, &document.id.0)?;
        let is_page = self.names.unit == Unit::Page;
        let mut hashes = Vec::new();
        let mut protected: Option<(u64, u32)> = None;
        for text in document.texts() {
            let words = words(&text.content);
            if let Some((count, name)) = self.names.protected.found_in(&words) {
                let (known, first) = protected.unwrap_or((0, name));
                protected = Some((known + count, first));
            }
            hashes.extend(words);
        }
        if is_page && self.config.images.same_sets {
            let mut images: Vec<Sha256> = document
                .images()
                .map(|image| image.sha256_fetched)
                .collect();
            images.sort_unstable();
            images.dedup();
            if !images.is_empty() {
                let mut digest = sha2::Sha256::new();
                digest.update(host(document));
                digest.update([0]);
                let language = document.language.as_deref().unwrap_or_default();
                digest.update(language.split('-').next().unwrap_or_default());
                images.iter().for_each(|image| digest.update(image.0));
                key(SAME_IMAGES, &digest.finalize())?;
            }
        }
        // Captions of pairs are alike without being of one picture.
        let is_compared = is_page && hashes.len() >= self.config.text.min_words;
        if is_compared {
            let mut digest = sha2::Sha256::new();
            for word in document
                .texts()
                .flat_map(|text| text.content.split_whitespace())
            {
                digest.update(word);
                digest.update(b" ");
            }
            key(SAME_TEXT, &digest.finalize())?;
        }
        let is_compared = is_compared && self.config.text.similarity <= 1.0;
        if let Some(bands) = bands(&hashes).filter(|_| is_compared) {
            for band in bands {
                let fields = [&band.to_be_bytes()[..], &rank.to_be_bytes()];
                files.bands.write(&record::<BAND_BYTES>(&fields))?;
            }
        }
        files.sketches.write(&Sketch::of(&hashes).to_bytes())?;
        Ok(protected)
    }

    fn paragraphs(
        &self,
        document: &Document<Image>,
        rank: u64,
        paragraphs: &mut Writer,
    ) -> Result<()> {
        if self.names.unit != Unit::Page || self.config.paragraphs.min_documents == 0 {
            return Ok(());
        }
        let host = Sha256::of(host(document).as_bytes());
        for (number, text) in (0_u32..).zip(document.texts()) {
            // Headings and items of lists are the same on many pages because they name the same.
            if text.role != TextRole::Paragraph {
                continue;
            }
            let words: Vec<&str> = text.content.split_whitespace().collect();
            let paragraph = Sha256::of(words.join(" ").as_bytes());
            paragraphs.write(&record::<PARAGRAPH_BYTES>(&[
                &host.0[..8],
                &paragraph.0[..8],
                &rank.to_be_bytes(),
                &number.to_be_bytes(),
            ]))?;
        }
        Ok(())
    }

    /// How like the most like of the earlier pictures of the document is, and its number, if the two
    /// are the same.
    fn repeated(
        &self,
        image: &Image,
        print: Option<&PicturePrint>,
        earlier: &[Earlier],
    ) -> Option<(f64, u32)> {
        let config = &self.config.images;
        // The frames of a clip are meant to be alike.
        if !config.within_document || image.reference.frame_time_ms().is_some() {
            return None;
        }
        let mut same = earlier.iter();
        if let Some(same) = same.find(|earlier| earlier.sha256 == image.sha256_stored) {
            return Some((1.0, same.number));
        }
        let print = print.filter(|_| config.likeness <= 1.0)?;
        let mut best: Option<(f64, u32)> = None;
        for other in earlier {
            let likeness = other
                .print
                .as_ref()
                .map_or(0.0, |other| print.likeness(other));
            if likeness >= config.likeness && best.is_none_or(|(most, _)| likeness > most) {
                best = Some((likeness, other.number));
            }
        }
        best
    }
}

impl TextFiles {
    fn finish(self) -> Result<()> {
        for file in [self.keys, self.bands, self.sketches] {
            file.finish()?;
        }
        Ok(())
    }
}

fn host(document: &Document<Image>) -> &str {
    document.final_url.host_str().unwrap_or_default()
}
