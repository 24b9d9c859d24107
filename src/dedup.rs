//! Takes repetitions out of a finished corpus, and what evaluations will ask.
//!
//! What repeats what can be told only of all documents together, so this is no step of a build: it
//! works on a corpus that is there, and writes anew the parts that lose something
//! (`docs/decisions/0034`). What stays depends on the documents and the settings, not on their
//! order, on threads or memory; and of what has been deduplicated a second call takes nothing.
//!
//! 1. Each part is read once, and what can be compared of its documents goes to files: see `scan`.
//! 2. Documents that repeat others go: those of one URL, of equal texts, of nearly equal texts, of
//!    the same pictures.
//! 3. Of those that stay, pictures in too many documents go, pictures that are protected, those
//!    that a document has twice, and paragraphs of many documents of a host.
//! 4. Documents that lost something are compared once more as they are now.
//!
//! All comparing is done by sorting files of small records. Memory is [`DedupConfig::memory_mib`], a
//! quarter more and 16 MiB for sorting, a batch of documents with their pictures for each thread, two
//! bits for each document, and what is protected (4 KB for a picture, 24 bytes for a word). On disk the files take about
//! 2 KB for each document and 6 KB for each picture while the work lasts.
//!
//! Killed at any moment, the corpus is as it was or as it is to be, and the same call goes on: parts
//! that were read or written are not read or written again.

use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use m3w_document::{Sha256, Tally};
use m3w_shards::{Manifest, write_atomically};
use rayon::prelude::*;
use serde::Serialize;
use tokio::sync::watch;

use crate::bits::Bits;
use crate::build::Stopped;
use crate::corpus::{Corpus, Run};
use crate::progress::Progress;
use crate::repair::run_of;
use crate::rewrite::Rewrite;
use crate::staging::{self, Staging};

mod config;
mod documents;
mod drops;
mod order;
mod paragraphs;
mod pictures;
mod places;
mod protect;
mod scan;
mod sorted;
mod stored;

pub use config::{DedupConfig, ImageConfig, ParagraphConfig, ProtectConfig, TextConfig};

use documents::Documents;
use drops::{DROP_BYTES, Drop, Names, Rule, What};
use order::Order;
use pictures::Pictures;
use protect::Protected;
use scan::{Scan, part_file};
use sorted::{Reader, Sorted, Sorter};

/// What a deduplication is asked to do.
#[derive(Debug, Clone)]
pub struct DedupOptions {
    /// Directory of the corpus.
    pub corpus: PathBuf,
    /// What counts as a repetition.
    pub config: DedupConfig,
    /// Files and folders of pictures and texts that must not be in the corpus.
    pub protect: Vec<PathBuf>,
    /// A file for all that goes, a line of JSON each.
    pub list: Option<PathBuf>,
    /// Whether the corpus stays as it is.
    pub dry_run: bool,
    /// Processor threads; they do not change the result.
    pub threads: usize,
    /// Whether to keep silent about progress.
    pub is_quiet: bool,
}

/// What goes, or went.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Deduplicated {
    /// Documents that there were.
    pub documents: u64,
    /// What goes of them: by kind and reason, as the manifest counts.
    pub dropped: Tally,
    /// Protected texts that were too short to be looked for.
    pub too_short: u64,
}

/// Something that goes, in the list.
#[derive(Serialize)]
struct Listed<'a> {
    document_id: String,
    /// `document`, or `image` or `text` with its number among the document's.
    what: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u32>,
    reason: m3w_document::Reason,
}

/// Takes repetitions out of a corpus.
///
/// # Errors
///
/// [`Stopped`]; if the corpus is not finished or cannot be read, what is to be protected cannot be
/// read, or the disk refuses.
pub fn dedup(options: &DedupOptions, stop: &watch::Receiver<bool>) -> Result<Deduplicated> {
    options.config.check()?;
    let corpus = Corpus::at(&options.corpus);
    let staging = Staging::open(&corpus, staging::DEDUP)?;
    let run = run_of(&corpus)?;
    let manifest = corpus.manifest()?;
    ensure!(
        manifest.outcomes.len() == manifest.documents.len(),
        "{} has no list of outcomes for each shard of documents: build it anew",
        corpus.root().display()
    );
    let protected = Protected::read(&options.protect, &options.config.protect)?;
    let folder = staging.path("");
    begin(&folder, &corpus, &options.config, &protected)?;
    let order = Order::of(
        corpus.root(),
        &manifest,
        &folder,
        options.config.memory_bytes(),
    )?;
    let work = Work {
        options,
        corpus: &corpus,
        run: &run,
        manifest: &manifest,
        folder: &folder,
        names: &Names {
            order: &order,
            protected: &protected,
            unit: run.config.unit(),
        },
        stop,
    };
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(options.threads)
        .build()
        .context("cannot start the threads")?;
    pool.install(|| {
        work.scan()?;
        let drops = work.find()?;
        let mut found = work.report(&drops)?;
        found.too_short = protected.too_short;
        if !options.dry_run && !found.dropped.is_empty() {
            work.rewrite(&staging, &drops)?;
        }
        Ok(found)
    })
    .and_then(|found| staging.remove().map(|()| found))
}

/// Makes the folder of the work, or goes on with what is there if it is of the same work.
fn begin(
    folder: &Path,
    corpus: &Corpus,
    config: &DedupConfig,
    protected: &Protected,
) -> Result<()> {
    let manifest = std::fs::read(corpus.root().join(m3w_shards::MANIFEST_NAME));
    let manifest = Sha256::of(&manifest.context("cannot read the manifest")?);
    // Memory decides how, not what.
    let config = DedupConfig {
        memory_mib: 0,
        ..config.clone()
    };
    let description = serde_json::json!({
        "program": env!("CARGO_PKG_VERSION"),
        "manifest": manifest.to_string(),
        "config": config,
        "protected": protected.digest().to_string(),
    });
    let path = folder.join("work.json");
    let description = serde_json::to_vec(&description).context("cannot describe the work")?;
    if std::fs::read(&path).is_ok_and(|found| found == description) {
        return Ok(());
    }
    let context = || format!("cannot make {}", folder.display());
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(error).with_context(context);
        }
        _ => {}
    }
    std::fs::create_dir_all(folder).with_context(context)?;
    Ok(write_atomically(&path, &description)?)
}

struct Work<'a> {
    options: &'a DedupOptions,
    corpus: &'a Corpus,
    run: &'a Run,
    manifest: &'a Manifest,
    folder: &'a Path,
    names: &'a Names<'a>,
    stop: &'a watch::Receiver<bool>,
}

impl Work<'_> {
    fn parts(&self) -> usize {
        self.manifest.documents.len()
    }

    fn scanner(&self) -> Scan<'_> {
        Scan {
            root: self.corpus.root(),
            manifest: self.manifest,
            names: self.names,
            config: &self.options.config,
            folder: self.folder,
            stop: self.stop,
        }
    }

    /// A sorter that is held while others work: its share of the memory is small.
    fn sorter<const N: usize>(&self, name: &str) -> Sorter<N> {
        let memory = self.options.config.memory_bytes() / 8;
        Sorter::new(self.folder.join(name), memory)
    }

    fn scan(&self) -> Result<()> {
        let scan = self.scanner();
        let waiting: Vec<usize> = (0..self.parts())
            .filter(|part| !scan.has_read(*part))
            .collect();
        let total = self.parts() as u64;
        let done = total - waiting.len() as u64;
        let progress = Progress::new("shards read", done, total, self.options.is_quiet);
        waiting.par_iter().try_for_each(|part| {
            scan.read(*part)?;
            progress.step(String::new);
            anyhow::Ok(())
        })?;
        progress.finish();
        Ok(())
    }

    /// All that goes.
    fn find(&self) -> Result<Sorted<DROP_BYTES>> {
        let mut dropped = Bits::default();
        let mut drops = self.sorter("document-drops");
        for part in 0..self.parts() {
            let ranks = self.names.order.ranks(part)?;
            for drop in self.found(part)? {
                let drop = drop?;
                if drop.what == What::Document {
                    dropped.insert(ranks[drop.row as usize]);
                    drops.push(drop.to_record())?;
                }
            }
        }
        let documents = Documents {
            folder: self.folder,
            parts: self.parts(),
            config: &self.options.config,
            names: self.names,
            stop: self.stop,
        };
        documents.find(&Bits::default(), &mut dropped, &mut drops)?;
        let edits = self.edits(&dropped)?;
        let changed = self.changed(&edits, &mut dropped, &mut drops)?;
        if changed.count() > 0 {
            self.scan_again(&changed, &edits)?;
            documents.find(&changed, &mut dropped, &mut drops)?;
        }
        let mut all = self.sorter("drops");
        for sorted in [drops.finish()?, edits] {
            for record in sorted.records()? {
                all.push(record?)?;
            }
        }
        all.finish()
    }

    /// What goes of a part whatever else there is.
    fn found(&self, part: usize) -> Result<impl Iterator<Item = Result<Drop>> + use<>> {
        let path = part_file(self.folder, part, "found", false);
        let records = Reader::<DROP_BYTES>::open(&path)?;
        Ok(records.map(|record| Drop::from_record(&record?)))
    }

    /// What goes of documents that stay.
    fn edits(&self, dropped: &Bits) -> Result<Sorted<DROP_BYTES>> {
        let mut edits = self.sorter("edits");
        for part in 0..self.parts() {
            let ranks = self.names.order.ranks(part)?;
            for drop in self.found(part)? {
                let drop = drop?;
                if drop.what != What::Document && !dropped.contains(ranks[drop.row as usize]) {
                    edits.push(drop.to_record())?;
                }
            }
        }
        Pictures {
            folder: self.folder,
            parts: self.parts(),
            config: &self.options.config,
            names: self.names,
            stop: self.stop,
        }
        .find(dropped, &mut edits)?;
        let config = &self.options.config;
        paragraphs::find(
            self.folder,
            self.parts(),
            config,
            self.names,
            dropped,
            &mut edits,
        )?;
        edits.finish()
    }

    /// The documents that stay with less than they had; those that have too few images then go.
    fn changed(
        &self,
        edits: &Sorted<DROP_BYTES>,
        dropped: &mut Bits,
        drops: &mut Sorter<DROP_BYTES>,
    ) -> Result<Bits> {
        let least = self.run.config.filter.min_images as u64;
        let mut changed = Bits::default();
        let mut part: Option<(u32, Vec<u64>, Vec<[u8; 4]>)> = None;
        edits.for_each_group(8, |group| {
            let first = Drop::from_record(&group[0])?;
            if part.as_ref().is_none_or(|(part, ..)| *part != first.part) {
                let number = first.part as usize;
                let images = part_file(self.folder, number, "images", false);
                let images = Reader::<4>::open(&images)?.collect::<Result<_>>()?;
                part = Some((first.part, self.names.order.ranks(number)?, images));
            }
            let Some((_, ranks, images)) = &part else {
                return Ok(());
            };
            let rank = ranks[first.row as usize];
            let mut gone = 0;
            let mut last = None;
            for record in group {
                let drop = Drop::from_record(record)?;
                let is_image = matches!(drop.what, What::Image(_));
                gone += u64::from(is_image && last != Some(drop.what));
                last = Some(drop.what);
            }
            let left = u64::from(u32::from_be_bytes(images[first.row as usize])) - gone;
            if gone == 0 || left >= least {
                changed.insert(rank);
                return Ok(());
            }
            dropped.insert(rank);
            #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
            let (measured, threshold) = (left as f64, least as f64);
            let place = self.names.order.place(rank)?;
            let rule = Rule::TooFewImages;
            drops.push(Drop::new(place, What::Document, rule, measured, threshold).to_record())
        })?;
        Ok(changed)
    }

    fn scan_again(&self, changed: &Bits, edits: &Sorted<DROP_BYTES>) -> Result<()> {
        let scan = self.scanner();
        (0..self.parts()).into_par_iter().try_for_each(|part| {
            let drops = drops_of(edits, part)?;
            if drops.is_empty() {
                return Ok(());
            }
            scan.read_again(part, changed, &drops)
        })
    }

    /// Counts what goes, and lists it if that is asked for.
    fn report(&self, drops: &Sorted<DROP_BYTES>) -> Result<Deduplicated> {
        let mut found = Deduplicated {
            documents: self.names.order.count,
            ..Deduplicated::default()
        };
        let mut list = match &self.options.list {
            None => None,
            Some(path) => {
                let context = || format!("cannot write {}", path.display());
                let file = std::fs::File::create(path).with_context(context)?;
                Some(std::io::BufWriter::new(file))
            }
        };
        let mut last = None;
        for part in 0..self.parts() {
            let ranks = self.names.order.ranks(part)?;
            for drop in drops_of(drops, part)? {
                if last == Some((drop.part, drop.row, drop.what)) {
                    continue;
                }
                last = Some((drop.part, drop.row, drop.what));
                let reason = self.names.reason(&drop)?;
                let (kind, what, number) = match drop.what {
                    What::Document => (self.names.unit.step(), "document", None),
                    What::Image(number) => ("image", "image", Some(number)),
                    What::Text(number) => ("text", "text", Some(number)),
                };
                found.dropped.add(format!("{kind}/{}", reason.name), 1);
                if let Some(list) = &mut list {
                    let place = self.names.order.place(ranks[drop.row as usize])?;
                    let listed = Listed {
                        document_id: place.id.to_string(),
                        what,
                        number,
                        reason,
                    };
                    serde_json::to_writer(&mut *list, &listed).context("cannot write the list")?;
                    list.write_all(b"\n").context("cannot write the list")?;
                }
            }
        }
        if let Some(mut list) = list {
            list.flush().context("cannot write the list")?;
        }
        Ok(found)
    }

    fn rewrite(&self, staging: &Staging, drops: &Sorted<DROP_BYTES>) -> Result<()> {
        let mut total = 0;
        for part in 0..self.parts() {
            total += u64::from(!drops_of(drops, part)?.is_empty());
        }
        let is_quiet = self.options.is_quiet;
        let progress = Progress::new("shards written", 0, total, is_quiet);
        let rewrite = Rewrite {
            corpus: self.corpus,
            run: self.run,
            manifest: self.manifest,
            staging,
            stop: self.stop,
        };
        let mut next = rewrite.write(|part| {
            let drops = drops_of(drops, part)?;
            if drops.is_empty() {
                return Ok(None);
            }
            progress.step(String::new);
            let mut row = 0;
            Ok(Some(move |outcome: &mut crate::journal::Outcome| {
                if outcome.document.is_none() {
                    return Ok(false);
                }
                let first = drops.partition_point(|drop| drop.row < row);
                row += 1;
                let end = drops.partition_point(|drop| drop.row < row);
                self.names.apply(outcome, &drops[first..end])?;
                Ok(first < end)
            }))
        })?;
        progress.finish();
        if *self.stop.borrow() {
            return Err(Stopped.into());
        }
        if let Some(run) = next.run.as_object_mut() {
            let config = serde_json::to_value(&self.options.config);
            let config = config.context("cannot describe the settings")?;
            let runs = run.entry("dedup").or_insert_with(|| serde_json::json!([]));
            if let Some(runs) = runs.as_array_mut() {
                runs.push(config);
            }
        }
        staging.commit(&next)
    }
}

/// What goes of a part, by row.
fn drops_of(drops: &Sorted<DROP_BYTES>, part: usize) -> Result<Vec<Drop>> {
    let prefix = (part as u32).to_be_bytes();
    let records = drops.starting_with(&prefix)?;
    records.iter().map(Drop::from_record).collect()
}
