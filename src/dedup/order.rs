//! The order of documents by which it is decided which of equal ones stays.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use m3w_document::DocumentId;
use m3w_shards::Manifest;

use super::sorted::{Sorter, record, u32_at, u64_at};
use crate::outcomes::lines;

/// Where a document stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: DocumentId,
    pub(super) part: u32,
    pub(super) row: u32,
}

const PLACE_BYTES: u64 = 32;
const RANK_BYTES: u64 = 16;

/// The documents of a corpus from 0 up: the one that was fetched first before those of later days,
/// and the least id before others of its day. So what stays depends neither on the order of the
/// inputs nor on their division into shards.
pub(super) struct Order {
    /// Day, id, part and row, by rank.
    places: File,
    /// Part, row and rank, by part and row.
    ranks: PathBuf,
    /// Documents before each part.
    first: Vec<u64>,
    pub(super) count: u64,
}

impl Order {
    /// Orders the documents that the lists of outcomes name; files go into `folder`.
    ///
    /// # Errors
    ///
    /// If a list cannot be read or names other documents than its shard holds, or the disk refuses.
    pub(super) fn of(
        root: &Path,
        manifest: &Manifest,
        folder: &Path,
        memory_bytes: usize,
    ) -> Result<Self> {
        let mut places =
            Sorter::<{ PLACE_BYTES as usize }>::new(folder.join("places"), memory_bytes);
        let mut first = vec![0];
        for (part, (documents, outcomes)) in manifest
            .documents
            .iter()
            .zip(&manifest.outcomes)
            .enumerate()
        {
            let mut row = 0_u32;
            for line in lines(&root.join(&outcomes.path))? {
                let line = line?;
                let Some(id) = line.document_id else { continue };
                let id: DocumentId = id.parse()?;
                // Days before 1970 sort before others; those that are not known come last.
                let day = line
                    .fetched_at
                    .map_or(u64::MAX, |day| day.cast_unsigned() ^ (1 << 63));
                places.push(record(&[
                    &day.to_be_bytes(),
                    &id.0,
                    &(part as u32).to_be_bytes(),
                    &row.to_be_bytes(),
                ]))?;
                row += 1;
            }
            ensure!(
                u64::from(row) == documents.rows,
                "{} names {row} documents, {} holds {}: see `m3w verify` and `m3w repair`",
                outcomes.path,
                documents.path,
                documents.rows
            );
            first.push(first[part] + documents.rows);
        }
        let places = places.finish()?;
        let mut ranks = Sorter::<{ RANK_BYTES as usize }>::new(folder.join("ranks"), memory_bytes);
        for (rank, place) in (0_u64..).zip(places.records()?) {
            ranks.push(record(&[&place?[24..], &rank.to_be_bytes()]))?;
        }
        let ranks = ranks.finish()?;
        let context = || format!("cannot read {}", places.path.display());
        Ok(Self {
            places: File::open(&places.path).with_context(context)?,
            ranks: ranks.path,
            count: first.last().copied().unwrap_or(0),
            first,
        })
    }

    /// The document of that rank.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(super) fn place(&self, rank: u64) -> Result<Place> {
        let mut place = [0; PLACE_BYTES as usize];
        self.places
            .read_exact_at(&mut place, rank * PLACE_BYTES)
            .context("cannot read back the order of documents")?;
        let mut id = [0; 16];
        id.copy_from_slice(&place[8..24]);
        Ok(Place {
            id: DocumentId(id),
            part: u32_at(&place, 24),
            row: u32_at(&place, 28),
        })
    }

    /// The ranks of a part's documents, by row.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(super) fn ranks(&self, part: usize) -> Result<Vec<u64>> {
        let context = || format!("cannot read {}", self.ranks.display());
        let (first, end) = (self.first[part], self.first[part + 1]);
        let mut bytes = vec![0; usize::try_from((end - first) * RANK_BYTES)?];
        File::open(&self.ranks)
            .and_then(|file| file.read_exact_at(&mut bytes, first * RANK_BYTES))
            .with_context(context)?;
        let ranks = bytes.chunks_exact(RANK_BYTES as usize);
        Ok(ranks.map(|record| u64_at(record, 8)).collect())
    }
}
