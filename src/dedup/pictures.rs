//! Pictures that stand in many documents, and pictures that are protected.
//!
//! Pictures of the same bytes are one picture, numbered by their hash. Two pictures are alike if
//! their prints say so; a picture stands in a document if one that is alike does. There are no
//! groups of alike pictures: a chain of them could join what nobody would take for one.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use m3w_document::dedup::PicturePrint;
use rayon::prelude::*;
use tokio::sync::watch;

use super::config::DedupConfig;
use super::drops::{DROP_BYTES, Drop, Names, Rule, What};
use super::scan::{NO_PRINT, PICTURE_BYTES, part_file};
use super::sorted::{Reader, Sorted, Sorter, Writer, record, u32_at, u64_at};
use super::stored::Stored;
use crate::bits::Bits;
use crate::build::Stopped;

/// The part that protected pictures have in place of one, and the rank in place of that of a
/// document.
const PROTECTED: u32 = u32::MAX;
const NO_RANK: u64 = u64::MAX;
/// Pictures of a key that each is compared with: those whose hashes come right before its own.
const MAX_COMPARED: usize = 256;
/// Pairs that are compared at a time.
const PAIRS: usize = 1 << 12;

/// Finds pictures that go for what is in other documents.
pub(super) struct Pictures<'a> {
    pub(super) folder: &'a Path,
    pub(super) parts: usize,
    pub(super) config: &'a DedupConfig,
    pub(super) names: &'a Names<'a>,
    pub(super) stop: &'a watch::Receiver<bool>,
}

/// Numbers of two pictures, each way round, and how alike they are.
type Alike = Sorted<24>;

/// A picture that stands in too many documents: their number and the first two of them.
type Frequent = Sorted<32>;

impl Pictures<'_> {
    /// Adds pictures of documents that stay and that are protected or in too many of them to
    /// `drops`.
    ///
    /// # Errors
    ///
    /// [`Stopped`], or if the disk fails.
    pub(super) fn find(&self, dropped: &Bits, drops: &mut Sorter<DROP_BYTES>) -> Result<()> {
        let pictures = self.pictures(dropped)?;
        let pairs = self.pairs(&pictures)?;
        let alike = self.alike(&pairs)?;
        let protected = self.protected(&pictures, &alike)?;
        let frequent = self.frequent(&pictures, &alike)?;
        self.drop(&pictures, &protected, &frequent, drops)
    }

    /// Where pictures stand, by their hash and then by document.
    fn pictures(&self, dropped: &Bits) -> Result<Sorted<PICTURE_BYTES>> {
        let path = self.folder.join("pictures");
        let mut pictures = Sorter::<PICTURE_BYTES>::new(path, self.config.memory_bytes());
        for part in 0..self.parts {
            for record in Reader::open(&part_file(self.folder, part, "pictures", false))? {
                let record = record?;
                if !dropped.contains(u64_at(&record, 32)) {
                    pictures.push(record)?;
                }
            }
        }
        for (slot, picture) in self.names.protected.pictures.iter().enumerate() {
            pictures.push(record(&[
                &picture.sha256.0,
                &NO_RANK.to_be_bytes(),
                &0_u32.to_be_bytes(),
                &PROTECTED.to_be_bytes(),
                &(slot as u32).to_be_bytes(),
            ]))?;
        }
        pictures.finish()
    }

    /// Numbers of pictures that may be alike, the lesser first.
    fn pairs(&self, pictures: &Sorted<PICTURE_BYTES>) -> Result<Sorted<16>> {
        let memory = self.config.memory_bytes();
        let mut keys = Sorter::<20>::new(self.folder.join("picture-keys"), memory);
        let mut places = Writer::create(&self.places())?;
        let stored = Stored::new(self.folder);
        let is_compared = self.config.images.likeness <= 1.0;
        for picture in Numbered::of(pictures)? {
            let (number, is_first, record) = picture?;
            if !is_first {
                continue;
            }
            places.write(&record[44..])?;
            let (part, slot) = (u32_at(&record, 44), u32_at(&record, 48));
            if !is_compared {
                continue;
            }
            if let Some(print) = self.print(&stored, part, slot)? {
                for (key, hash) in print.keys() {
                    keys.push(super::sorted::record(&[
                        &key.to_be_bytes(),
                        &hash.to_be_bytes(),
                        &number.to_be_bytes(),
                    ]))?;
                }
            }
        }
        places.finish()?;
        let keys = keys.finish()?;
        let mut pairs = Sorter::<16>::new(self.folder.join("picture-pairs"), memory);
        let mut key = None;
        let mut latest: Vec<(u64, u64)> = Vec::new();
        for found in keys.records()? {
            let found = found?;
            if key != Some(u32_at(&found, 0)) {
                key = Some(u32_at(&found, 0));
                latest.clear();
            }
            let (hash, number) = (u64_at(&found, 4), u64_at(&found, 12));
            let first = latest.len().saturating_sub(MAX_COMPARED);
            for (other_hash, other) in &latest[first..] {
                if *other != number && PicturePrint::may_be_alike(hash, *other_hash) {
                    let (one, two) = (number.min(*other), number.max(*other));
                    pairs.push(record(&[&one.to_be_bytes(), &two.to_be_bytes()]))?;
                }
            }
            if latest.len() > 16 * MAX_COMPARED {
                latest.drain(..first);
            }
            latest.push((hash, number));
        }
        pairs.finish()
    }

    /// The file of where the print of each picture stands.
    fn places(&self) -> std::path::PathBuf {
        self.folder.join("picture-places")
    }

    fn print(&self, stored: &Stored<'_>, part: u32, slot: u32) -> Result<Option<PicturePrint>> {
        if slot == NO_PRINT {
            return Ok(None);
        }
        if part == PROTECTED {
            let picture = self.names.protected.pictures.get(slot as usize);
            return Ok(picture.and_then(|picture| picture.print.clone()));
        }
        stored.print(part, slot).map(Some)
    }

    /// Those of the pairs that are alike.
    fn alike(&self, pairs: &Sorted<16>) -> Result<Alike> {
        let path = self.folder.join("picture-alike");
        let mut alike = Sorter::<24>::new(path, self.config.memory_bytes());
        let stored = Stored::new(self.folder);
        let places = super::places::Places::open(&self.places())?;
        let mut records = pairs.records()?;
        loop {
            if *self.stop.borrow() {
                return Err(Stopped.into());
            }
            let chunk: Vec<[u8; 16]> = records.by_ref().take(PAIRS).collect::<Result<_>>()?;
            if chunk.is_empty() {
                return alike.finish();
            }
            let likeness: Vec<f64> = chunk
                .par_iter()
                .map(|pair| {
                    let print = |at| {
                        let (part, slot) = places.get(u64_at(pair, at))?;
                        self.print(&stored, part, slot)
                    };
                    Ok(match (print(0)?, print(8)?) {
                        (Some(one), Some(two)) => one.likeness(&two),
                        _ => 0.0,
                    })
                })
                .collect::<Result<_>>()?;
            for (pair, likeness) in chunk.iter().zip(likeness) {
                if likeness >= self.config.images.likeness {
                    let likeness = likeness.to_be_bytes();
                    alike.push(record(&[&pair[..8], &pair[8..], &likeness]))?;
                    alike.push(record(&[&pair[8..], &pair[..8], &likeness]))?;
                }
            }
        }
    }

    /// The pictures that are protected or alike to one that is: how alike, and its name.
    fn protected(
        &self,
        pictures: &Sorted<PICTURE_BYTES>,
        alike: &Alike,
    ) -> Result<HashMap<u64, (f64, u32)>> {
        let mut found = HashMap::new();
        if self.names.protected.pictures.is_empty() {
            return Ok(found);
        }
        for picture in Numbered::of(pictures)? {
            let (number, _, record) = picture?;
            if u32_at(&record, 44) == PROTECTED {
                let slot = u32_at(&record, 48) as usize;
                let name = self.names.protected.pictures.get(slot);
                let name = name.context("a record of a picture is damaged")?.name;
                found.entry(number).or_insert((1.0, name));
            }
        }
        let themselves: HashMap<u64, (f64, u32)> = found.clone();
        for record in alike.records()? {
            let record = record?;
            let [one, two, likeness] = [0, 8, 16].map(|at| u64_at(&record, at));
            let likeness = f64::from_bits(likeness);
            if let Some((_, name)) = themselves.get(&one) {
                let known = found.entry(two).or_insert((likeness, *name));
                if likeness > known.0 {
                    *known = (likeness, *name);
                }
            }
        }
        Ok(found)
    }

    /// The pictures that stand in more documents than they may.
    fn frequent(&self, pictures: &Sorted<PICTURE_BYTES>, alike: &Alike) -> Result<Frequent> {
        let path = self.folder.join("picture-frequent");
        let most = self.config.images.max_documents;
        let totals_path = self.folder.join("picture-totals");
        if most == 0 {
            Writer::create(&path)?.finish()?;
            return Ok(Sorted { path });
        }
        // Of each picture no more documents are passed on than it takes to be frequent: one that
        // stands everywhere does not do so once more for each that is alike.
        let memory = self.config.memory_bytes();
        let mut places = Sorter::<16>::new(self.folder.join("picture-documents"), memory);
        let mut totals = Writer::create(&totals_path)?;
        let mut edges = alike.records()?.peekable();
        let mut pass_on = |number: u64, ranks: &[u64]| -> Result<()> {
            let mut pass = |to: u64| {
                ranks.iter().try_for_each(|rank| {
                    places.push(record(&[&to.to_be_bytes(), &rank.to_be_bytes()]))
                })
            };
            pass(number)?;
            while let Some(edge) =
                edges.next_if(|edge| edge.as_ref().map_or(true, |edge| u64_at(edge, 0) <= number))
            {
                pass(u64_at(&edge?, 8))?;
            }
            Ok(())
        };
        let mut current = None;
        let mut ranks: Vec<u64> = Vec::new();
        let mut total = 0_u64;
        let mut last = NO_RANK;
        for picture in Numbered::of(pictures)? {
            let (number, is_first, found) = picture?;
            if is_first {
                if let Some(number) = current {
                    pass_on(number, &ranks)?;
                    totals.write(&total.to_be_bytes())?;
                }
                current = Some(number);
                ranks.clear();
                (total, last) = (0, NO_RANK);
            }
            let rank = u64_at(&found, 32);
            if rank == last || rank == NO_RANK {
                continue;
            }
            last = rank;
            total += 1;
            if ranks.len() as u64 <= most {
                ranks.push(rank);
            }
        }
        if let Some(number) = current {
            pass_on(number, &ranks)?;
            totals.write(&total.to_be_bytes())?;
        }
        totals.finish()?;
        let places = places.finish()?;
        let totals = super::places::Totals::open(&totals_path)?;
        let mut frequent = Writer::create(&path)?;
        let mut current: Option<[u64; 4]> = None;
        let mut end = |group: Option<[u64; 4]>| -> Result<()> {
            let Some([number, count, first, second]) = group else {
                return Ok(());
            };
            let count = count.max(totals.get(number)?);
            if count > most {
                let fields = [number, count, first, second].map(u64::to_be_bytes);
                let [number, count, first, second] = &fields;
                frequent.write(&record::<32>(&[number, count, first, second]))?;
            }
            Ok(())
        };
        for place in places.records()? {
            let place = place?;
            let (number, rank) = (u64_at(&place, 0), u64_at(&place, 8));
            match &mut current {
                Some([same, count, _, second]) if *same == number => {
                    *count += 1;
                    *second = (*second).min(rank);
                }
                group => {
                    end(group.take())?;
                    *group = Some([number, 1, rank, NO_RANK]);
                }
            }
        }
        end(current)?;
        frequent.finish()?;
        Ok(Sorted { path })
    }

    fn drop(
        &self,
        pictures: &Sorted<PICTURE_BYTES>,
        protected: &HashMap<u64, (f64, u32)>,
        frequent: &Frequent,
        drops: &mut Sorter<DROP_BYTES>,
    ) -> Result<()> {
        let mut frequent = frequent.records()?.peekable();
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let most = self.config.images.max_documents as f64;
        let mut current: Option<[u64; 4]> = None;
        for picture in Numbered::of(pictures)? {
            let (number, is_first, record) = picture?;
            if is_first {
                let next = frequent
                    .next_if(|next| next.as_ref().map_or(true, |next| u64_at(next, 0) == number));
                current = next
                    .transpose()?
                    .map(|next| [0, 8, 16, 24].map(|at| u64_at(&next, at)));
            }
            let rank = u64_at(&record, 32);
            if rank == NO_RANK {
                continue;
            }
            let what = What::Image(u32_at(&record, 40));
            let is_protected = protected.get(&number);
            if current.is_none() && is_protected.is_none() {
                continue;
            }
            let place = self.names.order.place(rank)?;
            if let Some((likeness, name)) = is_protected {
                let threshold = self.config.images.likeness;
                let drop = Drop::new(place, what, Rule::ProtectedImage, *likeness, threshold);
                drops.push(drop.of(u64::from(*name)).to_record())?;
            }
            if let Some([_, count, first, second]) = current {
                #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
                let drop = Drop::new(place, what, Rule::FrequentImage, count as f64, most);
                let of = if rank == first { second } else { first };
                drops.push(drop.of(of).to_record())?;
            }
        }
        Ok(())
    }
}

/// Where pictures stand, each with the picture's number and whether it is its first.
struct Numbered {
    records: Reader<PICTURE_BYTES>,
    number: u64,
    last: Option<[u8; 32]>,
}

impl Numbered {
    fn of(pictures: &Sorted<PICTURE_BYTES>) -> Result<Self> {
        Ok(Self {
            records: pictures.records()?,
            number: 0,
            last: None,
        })
    }
}

impl Iterator for Numbered {
    type Item = Result<(u64, bool, [u8; PICTURE_BYTES])>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = match self.records.next()? {
            Ok(record) => record,
            Err(error) => return Some(Err(error)),
        };
        let hash = record.first_chunk().copied();
        let is_first = self.last != hash;
        if is_first {
            self.number += u64::from(self.last.is_some());
            self.last = hash;
        }
        Some(Ok((self.number, is_first, record)))
    }
}
