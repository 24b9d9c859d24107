//! Brings a damaged corpus back to what it was.
//!
//! The manifest knows the hash of every file, the lists of outcomes the digest of every document
//! ([`m3w_document::Document::digest`]) with the hashes of its pictures. What is damaged is made
//! again from the nearest thing that is left, in this order:
//!
//! - rows of documents: from the undamaged pages of the shard itself; pictures from the training
//!   rows that hold them too, then from the web; whole rows from the inputs, by the pipeline of a
//!   build. Nothing is taken that has not the digest that the list of outcomes names.
//! - lines of outcomes: as they stand, if they can be read; otherwise from the inputs.
//! - the tokenizer: from a copy, or trained again on the documents.
//! - training rows: from documents and tokenizer.
//!
//! So the bytes are those that were there, where the sources still give what they gave. What cannot
//! be had again is told row by row; the file stays as it is, unless it is asked for that such rows
//! are left out. How files get into their places, see `src/staging.rs`; how the work goes on after a
//! kill: by the journals there.
//!
//! Memory: for each part that is damaged the lines of its list and the words of rows whose pictures
//! are damaged, with these pictures once they are found.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use m3w_document::Reason;
use m3w_shards::{FileEntry, Manifest};
use tokio::runtime::Runtime;
use tokio::sync::watch;

use crate::build::shard_info;
use crate::config::BuildConfig;
use crate::corpus::{Corpus, Run};
use crate::outcomes::lines;
use crate::pipeline::Pipeline;
use crate::source::Source;
use crate::staging::{self, Staging};
use crate::verify::damaged;

mod lines;
mod packed;
mod part;
mod rewrite;
mod web;

use part::Part;

/// What a repair may use, and what it may do.
#[derive(Debug, Clone)]
pub struct RepairOptions {
    /// Directory of the corpus.
    pub corpus: PathBuf,
    /// The inputs it was built from. Without them pages are asked for by the URLs in the lists of
    /// outcomes; pairs, pages of archives and lines of those lists cannot be had then.
    pub source: Option<Source>,
    /// A copy of the tokenizer.
    pub tokenizer: Option<PathBuf>,
    /// WARC files to take everything from, see [`m3w_crawler::Archives::replay`].
    pub replay: Option<PathBuf>,
    /// Whether images may be fetched that the WARC files do not hold.
    pub fetch_missing_images: bool,
    /// Whether rows that cannot be had again are left out. Without it their files stay damaged.
    pub leave_out: bool,
    /// Processor threads.
    pub threads: usize,
    /// Whether to keep silent about progress.
    pub is_quiet: bool,
}

/// What a repair did.
#[derive(Debug, Default, PartialEq)]
pub struct Repaired {
    /// Files that are again as they were, byte for byte.
    pub restored: Vec<String>,
    /// Files with the rows that they had, or with those that could be had, in other bytes; the
    /// manifest lists these now.
    pub rewritten: Vec<String>,
    /// Rows that cannot be had again.
    pub lost: Vec<Lost>,
    /// Files that are still damaged, and why.
    pub left: BTreeMap<String, String>,
}

/// A row, or a line of a list of outcomes, that cannot be had again.
#[derive(Debug, Clone, PartialEq)]
pub struct Lost {
    /// The file that it is missing in, relative to the corpus.
    pub file: String,
    /// Number of its input.
    pub input: u64,
    /// The input, as far as it is known.
    pub url: String,
    /// Why: that of the fetch, `repair/changed` where the source gives something else now,
    /// `repair/no-input` where it takes the inputs, which were not given.
    pub reason: Reason,
    /// What it is about.
    pub detail: String,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            file,
            input,
            url,
            reason,
            detail,
        } = self;
        write!(f, "{file}\tinput {input}\t{url}\t{reason}: {detail}")
    }
}

/// The same without the place.
#[derive(Debug, Clone, PartialEq)]
struct LostReason {
    reason: Reason,
    detail: String,
}

/// The description of the run that built a corpus.
///
/// # Errors
///
/// If it was not built but packed, or by another version.
pub fn run_of(corpus: &Corpus) -> Result<Run> {
    let manifest = corpus.manifest()?;
    if manifest.documents.is_empty() {
        bail!(
            "{} holds training rows only: give the `m3w pack` command that made it again",
            corpus.root().display()
        );
    }
    serde_json::from_value(manifest.run).with_context(|| {
        format!(
            "{} was built by another version of m3w",
            corpus.root().display()
        )
    })
}

/// Repairs a corpus. Killed at any moment it is no worse than it was, and the same call goes on;
/// a corpus that is whole is left alone.
///
/// # Errors
///
/// [`crate::build::Stopped`]; if the manifest is missing or damaged, the inputs are not those that the corpus was
/// built from, or the disk refuses.
pub fn repair(options: &RepairOptions, stop: &watch::Receiver<bool>) -> Result<Repaired> {
    let corpus = Corpus::at(&options.corpus);
    let staging = Staging::open(&corpus, staging::REPAIR)?;
    staging.drop_undecided()?;
    let run = run_of(&corpus)?;
    let manifest = corpus.manifest()?;
    if let Some(source) = &options.source
        && source.digest()?.to_string() != run.input_sha256
    {
        bail!(
            "{} was built from another input: give the one that it was built from",
            corpus.root().display()
        );
    }
    anyhow::ensure!(
        manifest.outcomes.len() == manifest.documents.len(),
        "{} has no list of outcomes for each shard of documents: build it anew",
        corpus.root().display()
    );
    let damage: HashSet<String> = damaged(&corpus, &manifest)
        .into_iter()
        .map(|problem| problem.file)
        .collect();
    let mut repaired = Repaired::default();
    if damage.is_empty() {
        staging.remove()?;
        return Ok(repaired);
    }
    staging.prepare()?;
    let mut repair = Repair {
        options,
        corpus: &corpus,
        staging: &staging,
        config: Arc::new(run.config.clone()),
        run: &run,
        manifest: &manifest,
        damage: &damage,
        stop,
        next: manifest.clone(),
        web: None,
    };
    repair.documents(&mut repaired)?;
    repair.tokenizer(&mut repaired)?;
    repair.sequences(&mut repaired)?;
    let leaves_out = options.leave_out && !repaired.lost.is_empty();
    if leaves_out && !repaired.left.is_empty() {
        // Documents without some rows beside training rows with them would be no corpus.
        for name in std::mem::take(&mut repaired.rewritten) {
            let why = "it is left as it is until the others can be written".to_owned();
            repaired.left.insert(name, why);
        }
    } else if repair.next != manifest {
        if leaves_out {
            repair.count()?;
        }
        staging.commit(&repair.next)?;
    }
    if repaired.left.is_empty() {
        staging.remove()?;
    }
    Ok(repaired)
}

struct Repair<'a> {
    options: &'a RepairOptions,
    corpus: &'a Corpus,
    staging: &'a Staging,
    config: Arc<BuildConfig>,
    run: &'a Run,
    manifest: &'a Manifest,
    damage: &'a HashSet<String>,
    stop: &'a watch::Receiver<bool>,
    /// The manifest of what is there in the end.
    next: Manifest,
    web: Option<(Runtime, Pipeline)>,
}

impl<'a> Repair<'a> {
    fn is_whole(&self, name: &str) -> bool {
        !self.damage.contains(name)
    }

    /// Restores documents and lists of outcomes.
    fn documents(&mut self, repaired: &mut Repaired) -> Result<()> {
        let manifest = self.manifest;
        let mut parts = Vec::new();
        for (number, (documents, outcomes)) in manifest
            .documents
            .iter()
            .zip(&manifest.outcomes)
            .enumerate()
        {
            let are_whole = (
                self.is_whole(&documents.path),
                self.is_whole(&outcomes.path),
            );
            if are_whole == (true, true) {
                continue;
            }
            let mut part = Part::open(
                self.corpus.root(),
                self.staging,
                number,
                self.config.inputs_per_shard as u64,
                (documents, are_whole.0),
                (outcomes, are_whole.1),
            )?;
            if let Some(sequences) = manifest.sequences.get(number) {
                part.take_pictures_of(&self.corpus.root().join(&sequences.path))?;
            }
            self.fetch_pictures(&mut part)?;
            if part.misses_lines() {
                part.set_day(self.day_near(number)?);
            }
            parts.push(part);
        }
        self.work_again(&mut parts)?;
        let info = shard_info(&self.config);
        for part in &mut parts {
            if part.misses_lines() {
                let earlier = self.ids_before(part.number)?;
                part.drop_seen(&earlier, self.config.unit());
            }
            let leave_out = self.options.leave_out;
            let written = part.write(self.corpus.root(), self.staging, &info, leave_out)?;
            let is_proved = written.is_proved;
            repaired.lost.extend(part.lost());
            let kinds = [
                (part.documents, part.documents_are_whole, written.documents),
                (part.outcomes, part.outcomes_are_whole, written.outcomes),
            ];
            for (kind, (listed, is_whole, entry)) in kinds.into_iter().enumerate() {
                // Digests prove a document; of a line in a list nothing proves that it is what it
                // was but the hash of the list.
                let may_differ = leave_out || (kind == 0 && is_proved);
                match entry {
                    Some(entry) => self.place(listed, entry, may_differ, repaired)?,
                    None if is_whole => {}
                    None => {
                        let why = "some of it cannot be had again".to_owned();
                        repaired.left.insert(listed.path.clone(), why);
                    }
                }
            }
        }
        Ok(())
    }

    /// Gives a file that was written anew its place, at once or with the next manifest.
    fn place(
        &mut self,
        listed: &FileEntry,
        entry: FileEntry,
        may_differ: bool,
        repaired: &mut Repaired,
    ) -> Result<()> {
        let name = listed.path.clone();
        if entry == *listed {
            self.staging.restore(&name)?;
            repaired.restored.push(name);
            return Ok(());
        }
        if !may_differ {
            self.staging.discard(&name)?;
            let why = "it can be written, but whether its rows are those that it had cannot be \
                       proved: give --leave-out to take them"
                .to_owned();
            repaired.left.insert(name, why);
            return Ok(());
        }
        let files = [
            &mut self.next.documents,
            &mut self.next.outcomes,
            &mut self.next.sequences,
        ];
        for known in files.into_iter().flatten() {
            if known.path == name {
                *known = entry.clone();
            }
        }
        repaired.rewritten.push(name);
        Ok(())
    }

    /// The ids of the documents of all parts before one.
    fn ids_before(&self, part: usize) -> Result<HashSet<String>> {
        let mut ids = HashSet::new();
        for entry in &self.manifest.outcomes[..part] {
            if !self.is_whole(&entry.path) {
                continue;
            }
            for line in lines(&self.corpus.root().join(&entry.path))? {
                ids.extend(line?.document_id);
            }
        }
        Ok(ids)
    }

    /// The day on which documents of the nearest part were fetched of which that is known.
    fn day_near(&self, part: usize) -> Result<Option<i64>> {
        let mut others: Vec<(usize, &FileEntry)> =
            self.manifest.outcomes.iter().enumerate().collect();
        others.sort_by_key(|(number, _)| number.abs_diff(part));
        for (_, entry) in others {
            if !self.is_whole(&entry.path) {
                continue;
            }
            for line in lines(&self.corpus.root().join(&entry.path))? {
                if let Some(day) = line?.fetched_at {
                    return Ok(Some(day));
                }
            }
        }
        Ok(None)
    }
}
