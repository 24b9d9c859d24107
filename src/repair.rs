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
//! are left out. How files get into their places, see `staging.rs`; how the work goes on after a
//! kill: by the journals there.
//!
//! Memory: for each part that is damaged the lines of its list and the words of rows whose pictures
//! are damaged, with these pictures once they are found.

use std::collections::{BTreeMap, HashSet};
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use futures_util::future::join_all;
use m3w_crawler::{Archives, Crawler};
use m3w_document::{Document, Image, Reason, Sha256, Tally};
use m3w_shards::{FileEntry, Manifest, SequenceReader, Tokenizer, write_atomically};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, watch};

use crate::archive::Archive;
use crate::build::{Places, Stopped, dispatch, shard_info};
use crate::config::BuildConfig;
use crate::corpus::{Corpus, Run};
use crate::journal::Outcome;
use crate::outcomes::lines;
use crate::pack::{self, Packing, pack_shard};
use crate::pairs::Refusals;
use crate::pipeline::Pipeline;
use crate::progress::Progress;
use crate::retry::Stored;
use crate::source::{Entry, Item, Source, url_item};
use crate::verify::{TOKENIZER_NAME, damaged};

mod part;
mod staging;

use part::Part;
use staging::Staging;

/// Inputs and outcomes on their way.
const WAITING: usize = 64;

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
    /// WARC files to take everything from, see [`Archives::replay`].
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
/// [`Stopped`]; if the manifest is missing or damaged, the inputs are not those that the corpus was
/// built from, or the disk refuses.
pub fn repair(options: &RepairOptions, stop: &watch::Receiver<bool>) -> Result<Repaired> {
    let corpus = Corpus::at(&options.corpus);
    let staging = Staging::open(&corpus)?;
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

    /// Fetches the pictures of rows of which the rest is there.
    fn fetch_pictures(&mut self, part: &mut Part<'_>) -> Result<()> {
        for (input, document) in part.take_bare() {
            if *self.stop.borrow() {
                return Err(Stopped.into());
            }
            let is_on_the_web = document
                .images()
                .filter(|image| image.bytes.is_empty())
                .all(|image| matches!(image.reference.url.scheme(), "http" | "https" | "data"));
            if !is_on_the_web {
                // Out of an archive or a folder, which have to be read again.
                continue;
            }
            match self.with_pictures(document)? {
                Ok(document) => part.put(input, document)?,
                Err(reason) => part.lose(input, reason),
            }
        }
        Ok(())
    }

    fn with_pictures(
        &mut self,
        document: Document<Image>,
    ) -> Result<Result<Document<Image>, LostReason>> {
        let (runtime, pipeline) = self.web()?;
        let missing: Vec<&Image> = document
            .images()
            .filter(|image| image.bytes.is_empty())
            .collect();
        let pictures = missing.iter().map(|image| {
            pipeline
                .pictures()
                .fetch_again(&image.reference, image.sha256_fetched)
        });
        let pictures = runtime.block_on(join_all(pictures));
        let mut found = Vec::new();
        for (image, picture) in missing.into_iter().zip(pictures) {
            let picture = picture.and_then(|picture| {
                if picture.sha256_stored == image.sha256_stored {
                    Ok(picture.bytes)
                } else {
                    // Decoded or encoded otherwise than by the version that wrote it.
                    Err(Reason::new("repair/changed"))
                }
            });
            match picture {
                Ok(bytes) => found.push(bytes),
                Err(reason) => {
                    let detail = format!("its picture {}", image.reference.url);
                    return Ok(Err(LostReason { reason, detail }));
                }
            }
        }
        let mut found = found.into_iter();
        Ok(Ok(document.filter_map_images(|image| {
            let is_missing = image.bytes.is_empty();
            let bytes = is_missing.then(|| found.next()).flatten();
            let bytes = bytes.unwrap_or_else(|| image.bytes.clone());
            Some(Image { bytes, ..image })
        })))
    }

    /// What fetches, started when it is first needed.
    fn web(&mut self) -> Result<(&Runtime, &Pipeline)> {
        if self.web.is_none() {
            let options = self.options;
            let source = options.source.as_ref();
            let archive = source.map(|source| {
                let crawler = &self.config.crawler;
                Archive::index(source, crawler, options.fetch_missing_images)
            });
            let archive = archive.transpose()?.unwrap_or_default();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(options.threads)
                .enable_all()
                .build()
                .context("cannot start the runtime")?;
            let pipeline = {
                let _inside = runtime.enter();
                let archives = Archives {
                    replay: options.replay.clone(),
                    ..Archives::default()
                };
                let crawler = Crawler::with_archives(self.config.crawler.clone(), &archives)
                    .context("cannot start the crawler")?;
                Pipeline::new(Arc::clone(&self.config), crawler, archive, options.threads)
            };
            self.web = Some((runtime, pipeline));
        }
        let (runtime, pipeline) = self.web.as_ref().context("it was started above")?;
        Ok((runtime, pipeline))
    }

    /// Works on the inputs again whose rows or lines are gone.
    fn work_again(&mut self, parts: &mut [Part<'_>]) -> Result<()> {
        let mut wanted: BTreeMap<u64, (usize, Option<String>)> = BTreeMap::new();
        for (index, part) in parts.iter().enumerate() {
            let missing = part.missing();
            wanted.extend(
                missing
                    .into_iter()
                    .map(|(input, url)| (input, (index, url))),
            );
        }
        if self.options.source.is_none() {
            // Without the inputs: pages by their URLs, and nothing else.
            let is_pairs = self.config.pairs.is_some();
            wanted.retain(|input, (index, url)| {
                let can_be_asked_for = !is_pairs && url.is_some();
                if !can_be_asked_for {
                    let detail = "give the inputs that the corpus was built from".to_owned();
                    let reason = Reason::new("repair/no-input");
                    parts[*index].lose(*input, LostReason { reason, detail });
                }
                can_be_asked_for
            });
        }
        if wanted.is_empty() {
            return Ok(());
        }
        let (source, config) = (self.options.source.clone(), Arc::clone(&self.config));
        let urls: BTreeMap<u64, Option<String>> = wanted
            .iter()
            .map(|(input, (_, url))| (*input, url.clone()))
            .collect();
        let progress = Progress::new(
            config.unit().plural(),
            0,
            wanted.len() as u64,
            self.options.is_quiet,
        );
        let stop = self.stop.clone();
        let (runtime, pipeline) = self.web()?;
        let (entries_in, entries) = mpsc::channel(WAITING);
        let (outcomes_in, mut outcomes) = mpsc::channel::<Outcome>(WAITING);
        let places = Places::of(&config);
        runtime.spawn(dispatch(
            pipeline.clone(),
            entries,
            outcomes_in,
            places,
            stop.clone(),
        ));
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| send(source.as_ref(), &config, urls, entries_in));
            let mut accept = || -> Result<()> {
                while let Some(outcome) = outcomes.blocking_recv() {
                    if let Some((index, _)) = wanted.get(&outcome.input) {
                        parts[*index].accept(outcome)?;
                    }
                    progress.step(String::new);
                }
                Ok(())
            };
            let accepted = accept();
            drop(outcomes);
            let sent = reader
                .join()
                .map_err(|_| anyhow!("the reader of the input panicked"))?;
            accepted.and(sent)
        })?;
        progress.finish();
        if *self.stop.borrow() {
            return Err(Stopped.into());
        }
        Ok(())
    }

    /// Restores the tokenizer.
    fn tokenizer(&mut self, repaired: &mut Repaired) -> Result<()> {
        let Some(expected) = self.manifest.tokenizer_sha256 else {
            return Ok(());
        };
        if self.is_whole(TOKENIZER_NAME) {
            return Ok(());
        }
        let bytes = match &self.options.tokenizer {
            Some(path) => Some(
                std::fs::read(path)
                    .with_context(|| format!("cannot read the tokenizer {}", path.display()))?,
            ),
            // One that was trained is trained again, on the same words.
            None if self.run.tokenizer_sha256.is_none()
                && self.next.documents == self.manifest.documents
                && self.documents_are_there(repaired) =>
            {
                let documents = &self.manifest.documents;
                let size = self.config.vocabulary_size;
                Some(pack::train_tokenizer(self.corpus, documents, size)?)
            }
            None => None,
        };
        match bytes {
            Some(bytes) if Sha256::of(&bytes) == expected => {
                write_atomically(&self.corpus.tokenizer_path(), &bytes)?;
                repaired.restored.push(TOKENIZER_NAME.to_owned());
            }
            _ => {
                let why = format!(
                    "give a copy whose SHA-256 is {expected} with --tokenizer, or pack the \
                     documents again with another"
                );
                repaired.left.insert(TOKENIZER_NAME.to_owned(), why);
            }
        }
        Ok(())
    }

    fn documents_are_there(&self, repaired: &Repaired) -> bool {
        let mut documents = self.manifest.documents.iter();
        documents.all(|entry| !repaired.left.contains_key(&entry.path))
    }

    /// Packs anew the shards of training rows that are damaged, or whose documents have changed.
    fn sequences(&mut self, repaired: &mut Repaired) -> Result<()> {
        let manifest = self.manifest;
        let mut tokenizer: Option<Tokenizer> = None;
        for (number, listed) in manifest.sequences.iter().enumerate() {
            let documents = manifest.documents.get(number);
            let has_changed = documents != self.next.documents.get(number);
            if self.is_whole(&listed.path) && !has_changed {
                continue;
            }
            if *self.stop.borrow() {
                return Err(Stopped.into());
            }
            let needed = [TOKENIZER_NAME, documents.map_or("", |entry| &entry.path)];
            let missing = needed
                .iter()
                .find(|name| repaired.left.contains_key(**name));
            let (Some(documents), None) = (documents, missing) else {
                let why = format!("it is packed from {}, damaged too", missing.unwrap_or(&""));
                repaired.left.insert(listed.path.clone(), why);
                continue;
            };
            let tokenizer = match &mut tokenizer {
                Some(tokenizer) => tokenizer,
                none => none.insert(Tokenizer::from_file(&self.corpus.tokenizer_path())?),
            };
            let packed = pack_shard(
                &self.staging.current(&documents.path),
                &self.staging.path(&listed.path),
                tokenizer,
                &Packing::of(&self.config),
            )?;
            // Rows are a function of documents and tokenizer, which are proved.
            self.place(listed, packed.sequences, true, repaired)?;
        }
        Ok(())
    }

    /// Counts anew what the manifest counts: rows were left out.
    fn count(&mut self) -> Result<()> {
        let mut tally = Tally::default();
        for (number, (documents, outcomes)) in self
            .next
            .documents
            .iter()
            .zip(&self.next.outcomes)
            .enumerate()
        {
            let stored = Stored {
                documents: self.staging.current(&documents.path),
                outcomes: self.staging.current(&outcomes.path),
            };
            let (counted, ids) = stored.count(self.config.unit())?;
            tally.merge(&counted);
            if let Some(sequences) = self.next.sequences.get(number) {
                let path = self.staging.current(&sequences.path);
                let mut packed = HashSet::new();
                for row in SequenceReader::open(&path)? {
                    let row = row?;
                    tally.add("sequence/kept", 1);
                    tally.add("sequence-content/tokens", row.token_count as u64);
                    let images = row.frames_per_image.len() as u64;
                    tally.add("sequence-content/images", images);
                    packed.extend(row.document_id);
                }
                let without = (ids.len() - packed.len().min(ids.len())) as u64;
                if without > 0 {
                    tally.add("sequence/no-text-after-image", without);
                }
            }
        }
        self.next.tally = tally;
        Ok(())
    }
}

/// Sends the inputs that are wanted, in order: out of the source, or by their URLs.
fn send(
    source: Option<&Source>,
    config: &BuildConfig,
    wanted: BTreeMap<u64, Option<String>>,
    entries: mpsc::Sender<Entry>,
) -> Result<()> {
    let Some(source) = source else {
        for (number, url) in wanted {
            let text = url.unwrap_or_default();
            let item: Item = url_item(&text);
            if entries.blocking_send(Entry { number, text, item }).is_err() {
                break;
            }
        }
        return Ok(());
    };
    // What others hold matters only where it is not known what became of an input.
    let refusals = if wanted.values().any(Option::is_none) {
        source.survey(&config.crawler)?.refusals
    } else {
        Refusals::default()
    };
    for entry in source.entries(&config.crawler, &refusals)? {
        let entry = entry?;
        if wanted.contains_key(&entry.number) && entries.blocking_send(entry).is_err() {
            break;
        }
    }
    Ok(())
}
