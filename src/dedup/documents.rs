//! Documents that repeat others.
//!
//! Of documents that are the same, the first in the order stays. Of texts that are nearly the same
//! it is asked in that order: a document goes if one that stays is as similar as the threshold says.
//! So each that goes names one that stays, and no chain of little changes leads from a document to
//! one that it does not resemble.

use std::collections::VecDeque;
use std::path::Path;

use anyhow::Result;
use rayon::prelude::*;
use tokio::sync::watch;

use super::config::DedupConfig;
use super::drops::{DROP_BYTES, Drop, Names, Rule, What};
use super::scan::{BAND_BYTES, KEY_BYTES, SAME_IMAGES, SAME_PAGE, SAME_TEXT, part_file};
use super::sorted::{Reader, Sorted, Sorter, record, u64_at};
use super::stored::Stored;
use crate::bits::Bits;
use crate::build::Stopped;

/// Documents of a band that each is compared with: so many first ones, and so many right before it.
/// Bands that more share are looked at again once those that go are gone, until none goes.
const MAX_COMPARED: usize = 32;
/// Pairs that are compared at a time.
const PAIRS: usize = 1 << 13;

/// Finds documents that repeat others.
pub(super) struct Documents<'a> {
    pub(super) folder: &'a Path,
    pub(super) parts: usize,
    pub(super) config: &'a DedupConfig,
    pub(super) names: &'a Names<'a>,
    pub(super) stop: &'a watch::Receiver<bool>,
}

impl Documents<'_> {
    /// Adds those that repeat others to `dropped` and to `drops`. What was taken down of `changed`
    /// ones is that of the second reading.
    ///
    /// # Errors
    ///
    /// [`Stopped`], or if the disk fails.
    pub(super) fn find(
        &self,
        changed: &Bits,
        dropped: &mut Bits,
        drops: &mut Sorter<DROP_BYTES>,
    ) -> Result<()> {
        let keys: Sorted<KEY_BYTES> = self.collect("keys", KEY_BYTES - 8, changed)?;
        for (kind, rule) in [(SAME_PAGE, Rule::SamePage), (SAME_TEXT, Rule::SameText)] {
            self.same(&keys, kind, rule, dropped, drops)?;
        }
        let bands = self.collect("bands", BAND_BYTES - 8, changed)?;
        while self.near(&bands, changed, dropped, drops)? {}
        self.same(&keys, SAME_IMAGES, Rule::SameImages, dropped, drops)
    }

    /// The records of all parts, whose rank begins at `rank_at`.
    fn collect<const N: usize>(
        &self,
        what: &str,
        rank_at: usize,
        changed: &Bits,
    ) -> Result<Sorted<N>> {
        let path = self.folder.join(what);
        let mut sorter = Sorter::<N>::new(path, self.config.memory_bytes());
        for part in 0..self.parts {
            for again in [false, true] {
                let path = part_file(self.folder, part, what, again);
                if again && (changed.count() == 0 || !path.exists()) {
                    continue;
                }
                for record in Reader::<N>::open(&path)? {
                    let record = record?;
                    if changed.contains(u64_at(&record, rank_at)) == again {
                        sorter.push(record)?;
                    }
                }
            }
        }
        sorter.finish()
    }

    /// Drops all but the first of those that have a key of that kind in common.
    fn same(
        &self,
        keys: &Sorted<KEY_BYTES>,
        kind: u8,
        rule: Rule,
        dropped: &mut Bits,
        drops: &mut Sorter<DROP_BYTES>,
    ) -> Result<()> {
        let mut last: Option<([u8; KEY_BYTES - 8], u64)> = None;
        for record in keys.records()? {
            let record = record?;
            let rank = u64_at(&record, KEY_BYTES - 8);
            if record[0] != kind || dropped.contains(rank) {
                continue;
            }
            match last {
                Some((key, first)) if record.starts_with(&key) => {
                    self.drop(rank, rule, (1.0, 1.0), first, dropped, drops)?;
                }
                _ => last = record.first_chunk().map(|key| (*key, rank)),
            }
        }
        Ok(())
    }

    fn drop(
        &self,
        rank: u64,
        rule: Rule,
        (measured, threshold): (f64, f64),
        of: u64,
        dropped: &mut Bits,
        drops: &mut Sorter<DROP_BYTES>,
    ) -> Result<()> {
        dropped.insert(rank);
        let place = self.names.order.place(rank)?;
        let drop = Drop::new(place, What::Document, rule, measured, threshold);
        drops.push(drop.of(of).to_record())
    }

    /// Drops texts that are nearly as others; whether to look again.
    fn near(
        &self,
        bands: &Sorted<BAND_BYTES>,
        changed: &Bits,
        dropped: &mut Bits,
        drops: &mut Sorter<DROP_BYTES>,
    ) -> Result<bool> {
        let (pairs, are_all) = self.pairs(bands, dropped)?;
        let similar = self.similar(&pairs, changed)?;
        let before = dropped.count();
        let mut last = None;
        for record in similar.records()? {
            let record = record?;
            let [rank, difference, other] = [0, 8, 16].map(|at| u64_at(&record, at));
            // Of those that stay the most similar comes first. Whether an earlier one stays has been
            // decided by now.
            if last == Some(rank) || dropped.contains(other) {
                continue;
            }
            last = Some(rank);
            let measured = (
                1.0 - f64::from_bits(difference),
                self.config.text.similarity,
            );
            self.drop(rank, Rule::NearText, measured, other, dropped, drops)?;
        }
        Ok(!are_all && dropped.count() > before)
    }

    /// Pairs that share a band, the later first; whether all of them.
    fn pairs(&self, bands: &Sorted<BAND_BYTES>, dropped: &Bits) -> Result<(Sorted<16>, bool)> {
        let path = self.folder.join("pairs");
        let mut pairs = Sorter::<16>::new(path, self.config.memory_bytes());
        let mut are_all = true;
        let mut band = None;
        let mut first: Vec<u64> = Vec::new();
        let mut latest = VecDeque::new();
        for record in bands.records()? {
            let record = record?;
            let rank = u64_at(&record, 8);
            if dropped.contains(rank) {
                continue;
            }
            if band != record.first_chunk::<8>().copied() {
                band = record.first_chunk().copied();
                first.clear();
                latest.clear();
            }
            for other in first.iter().chain(&latest) {
                pairs.push(super::sorted::record(&[
                    &rank.to_be_bytes(),
                    &other.to_be_bytes(),
                ]))?;
            }
            if first.len() < MAX_COMPARED {
                first.push(rank);
                continue;
            }
            latest.push_back(rank);
            if latest.len() > MAX_COMPARED {
                latest.pop_front();
                are_all = false;
            }
        }
        Ok((pairs.finish()?, are_all))
    }

    /// Those of the pairs that are similar: rank, 1 minus the similarity, rank of the other.
    fn similar(&self, pairs: &Sorted<16>, changed: &Bits) -> Result<Sorted<24>> {
        let path = self.folder.join("similar");
        let mut similar = Sorter::<24>::new(path, self.config.memory_bytes());
        let stored = Stored::new(self.folder);
        let mut records = pairs.records()?;
        loop {
            if *self.stop.borrow() {
                return Err(Stopped.into());
            }
            let chunk: Vec<[u8; 16]> = records.by_ref().take(PAIRS).collect::<Result<_>>()?;
            if chunk.is_empty() {
                return similar.finish();
            }
            let order = self.names.order;
            let groups: Vec<&[[u8; 16]]> =
                chunk.chunk_by(|one, two| one[..8] == two[..8]).collect();
            let found: Vec<Vec<[u8; 24]>> = groups
                .par_iter()
                .map(|group| {
                    let rank = u64_at(&group[0], 0);
                    let sketch = stored.sketch(order, rank, changed)?;
                    let mut found = Vec::new();
                    for pair in *group {
                        let other = u64_at(pair, 8);
                        let similarity = sketch.similarity(&stored.sketch(order, other, changed)?);
                        if similarity >= self.config.text.similarity {
                            found.push(record(&[
                                &rank.to_be_bytes(),
                                &(1.0 - similarity).to_be_bytes(),
                                &other.to_be_bytes(),
                            ]));
                        }
                    }
                    Ok(found)
                })
                .collect::<Result<_>>()?;
            for record in found.into_iter().flatten() {
                similar.push(record)?;
            }
        }
    }
}
