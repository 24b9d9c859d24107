//! What a corpus holds and where the rest went, for people.

use std::fmt;
use std::io::Write;
use std::path::Path;

use anyhow::Result;
use m3w_document::Tally;
use m3w_shards::Manifest;

use crate::unit::Unit;

/// Counts of a corpus by kind and reason; `Display` is a table in plain text.
pub struct Summary<'a> {
    root: &'a Path,
    manifest: &'a Manifest,
}

/// One kind of thing that was counted.
pub(crate) struct Funnel<'a> {
    /// Its name, plural.
    pub(crate) what: &'static str,
    /// First part of the names under which it is counted.
    pub(crate) step: &'static str,
    /// How many were seen.
    pub(crate) total: u64,
    /// Kept first, then reasons for drops, most frequent first.
    pub(crate) rows: Vec<(&'a str, u64)>,
}

impl<'a> Summary<'a> {
    /// A summary of the corpus in `root`.
    #[must_use]
    pub fn new(root: &'a Path, manifest: &'a Manifest) -> Self {
        Self { root, manifest }
    }

    /// Prints the table on standard output.
    ///
    /// # Errors
    ///
    /// If standard output is closed.
    pub fn print(&self) -> Result<()> {
        write!(std::io::stdout(), "{self}")?;
        Ok(())
    }
}

/// The funnels of a corpus: of its inputs, its images and its training rows.
pub(crate) fn funnels(tally: &Tally) -> Vec<Funnel<'_>> {
    let units = Unit::ALL.map(|unit| (unit.plural(), unit.step()));
    let parts = [
        ("images", "image"),
        ("texts left out", "text"),
        ("sequences", "sequence"),
    ];
    units
        .into_iter()
        .chain(parts)
        .filter_map(|(what, step)| {
            let mut rows: Vec<(&str, u64)> = tally
                .step(step)
                .into_iter()
                .filter_map(|(name, count)| Some((name.split_once('/')?.1, count)))
                .collect();
            rows.sort_by_key(|(name, _)| *name != "kept");
            let total = rows.iter().map(|(_, count)| count).sum();
            (total > 0).then_some(Funnel {
                what,
                step,
                total,
                rows,
            })
        })
        .collect()
}

impl fmt::Display for Summary<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let tally = &self.manifest.tally;
        for funnel in funnels(tally) {
            writeln!(f, "{:<42} {:>12}", funnel.what, funnel.total)?;
            for (name, count) in &funnel.rows {
                #[expect(clippy::cast_precision_loss, reason = "a share to be read by people")]
                let share = 100.0 * *count as f64 / funnel.total as f64;
                writeln!(f, "  {name:<40} {count:>12} {share:>6.1} %")?;
            }
        }
        let rows = |files: &[m3w_shards::FileEntry]| {
            let rows: u64 = files.iter().map(|file| file.rows).sum();
            let bytes: u64 = files.iter().map(|file| file.bytes).sum();
            #[expect(clippy::cast_precision_loss, reason = "a size to be read by people")]
            let megabytes = bytes as f64 / 1e6;
            format!("{rows} rows in {} files, {megabytes:.1} MB", files.len())
        };
        let root = self.root.display();
        if !self.manifest.documents.is_empty() {
            writeln!(
                f,
                "words {}, captions {}",
                tally.get("content/words"),
                tally.get("content/captions")
            )?;
            writeln!(f, "{root}/documents: {}", rows(&self.manifest.documents))?;
        }
        writeln!(f, "{root}/sequences: {}", rows(&self.manifest.sequences))?;
        if !self.manifest.outcomes.is_empty() {
            writeln!(
                f,
                "{root}/outcomes: each input and image that was dropped, and why"
            )?;
        }
        Ok(())
    }
}
