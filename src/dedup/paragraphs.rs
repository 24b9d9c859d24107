//! Paragraphs that stand in many documents of a host.

use std::path::Path;

use anyhow::{Context, Result};

use super::config::DedupConfig;
use super::drops::{DROP_BYTES, Drop, Names, Rule, What};
use super::scan::{PARAGRAPH_BYTES, part_file};
use super::sorted::{Reader, Sorted, Sorter, Writer, record, u32_at, u64_at};
use crate::bits::Bits;

/// Documents with a paragraph, and the first two of them.
const GROUP_BYTES: usize = 24;

/// Drops paragraphs that stand in so many documents of their host that stay; all of them, since none
/// is the one that it was written for.
///
/// # Errors
///
/// If the disk fails.
pub(super) fn find(
    folder: &Path,
    parts: usize,
    config: &DedupConfig,
    names: &Names<'_>,
    dropped: &Bits,
    drops: &mut Sorter<DROP_BYTES>,
) -> Result<()> {
    let path = folder.join("paragraphs");
    let mut sorter = Sorter::<PARAGRAPH_BYTES>::new(path, config.memory_bytes());
    for part in 0..parts {
        for record in Reader::open(&part_file(folder, part, "paragraphs", false))? {
            let record = record?;
            if !dropped.contains(u64_at(&record, 16)) {
                sorter.push(record)?;
            }
        }
    }
    let paragraphs = sorter.finish()?;
    let groups = count(&paragraphs, folder)?;
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let threshold = config.paragraphs.min_documents as f64;
    let mut groups = groups.records()?;
    let mut last: Option<([u8; 16], [u64; 3])> = None;
    for record in paragraphs.records()? {
        let record = record?;
        let group = match last {
            Some((key, group)) if record.starts_with(&key) => group,
            _ => {
                let group = groups.next().context("a file of paragraphs is cut off")??;
                let group = [0, 8, 16].map(|at| u64_at(&group, at));
                last = record.first_chunk().map(|key| (*key, group));
                group
            }
        };
        let [documents, first, second] = group;
        if documents < config.paragraphs.min_documents {
            continue;
        }
        let rank = u64_at(&record, 16);
        let what = What::Text(u32_at(&record, 24));
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        let measured = documents as f64;
        let place = names.order.place(rank)?;
        let drop = Drop::new(place, what, Rule::FrequentParagraph, measured, threshold);
        let of = if rank == first { second } else { first };
        drops.push(drop.of(of).to_record())?;
    }
    Ok(())
}

/// For each paragraph in turn, in how many documents it stands.
fn count(paragraphs: &Sorted<PARAGRAPH_BYTES>, folder: &Path) -> Result<Sorted<GROUP_BYTES>> {
    let path = folder.join("paragraph-counts");
    let mut groups = Writer::create(&path)?;
    let mut key: Option<[u8; 16]> = None;
    let (mut count, mut first, mut second, mut last) = (0_u64, u64::MAX, u64::MAX, u64::MAX);
    let mut end = |count: u64, first: u64, second: u64| {
        let fields = [count, first, second].map(u64::to_be_bytes);
        let [count, first, second] = &fields;
        groups.write(&record::<GROUP_BYTES>(&[count, first, second]))
    };
    for record in paragraphs.records()? {
        let record = record?;
        let rank = u64_at(&record, 16);
        if key != record.first_chunk::<16>().copied() {
            if key.is_some() {
                end(count, first, second)?;
            }
            key = record.first_chunk().copied();
            (count, first, second, last) = (0, rank, u64::MAX, u64::MAX);
        }
        if rank != last {
            count += 1;
            last = rank;
            if count == 2 {
                second = rank;
            }
        }
    }
    if key.is_some() {
        end(count, first, second)?;
    }
    groups.finish()?;
    Ok(Sorted { path })
}
