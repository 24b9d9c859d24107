//! A build from beginning to end: inputs to document shards, documents to a tokenizer and to
//! training rows, and the manifest over all.
//!
//! Inputs are numbered in the order of the source and divided into parts of `inputs_per_shard`.
//! Pages finish in any order; each outcome goes to the journal of its part at once, and a part
//! whose inputs all have outcomes is written as a shard, in input order, after the parts before
//! it. So the bytes of a corpus depend on the source, the configuration and what the servers
//! answered, not on threads, timing, or how often the build was interrupted.
//!
//! Memory is bounded by the configuration: `pages_in_flight` pages, `images_in_flight` fetched
//! images, the image cache, one row group, and some 60 bytes for each input that was seen.

use std::collections::{BTreeMap, HashSet};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use m3w_document::{DocumentId, Sha256, Tally};
use m3w_shards::{DocumentWriter, Manifest, ShardInfo, Tokenizer, write_atomically};
use tokio::sync::{Semaphore, mpsc, watch};

use crate::archive::Archive;
use crate::config::BuildConfig;
use crate::corpus::{Corpus, Part, Run, Standing, document_ids, file_entry};
use crate::journal::{Journal, Outcome};
use crate::pack;
use crate::pipeline::Pipeline;
use crate::progress::Progress;
use crate::source::{Entry, Source};

/// Finished outcomes that wait for the disk.
const OUTCOMES_WAITING: usize = 64;
/// Inputs read ahead of the pages in flight.
const ENTRIES_WAITING: usize = 64;

/// What a build is asked to do.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Where pages come from.
    pub source: Source,
    /// Directory of the corpus.
    pub out: PathBuf,
    /// Everything that decides the result.
    pub config: BuildConfig,
    /// A Hugging Face `tokenizer.json`; without it one is trained on the documents.
    pub tokenizer: Option<PathBuf>,
    /// Whether images may be fetched that the WARC files do not hold.
    pub fetch_missing_images: bool,
    /// Processor threads; they do not change the result.
    pub threads: usize,
    /// Whether to keep silent about progress.
    pub is_quiet: bool,
}

/// The build was told to stop; what was done so far is on disk.
#[derive(Debug, thiserror::Error)]
#[error("stopped: the same command goes on from here")]
pub struct Stopped;

/// Builds a corpus, or finishes one that was begun. `stop` turning true ends it early.
///
/// # Errors
///
/// [`Stopped`]; otherwise if the input or the tokenizer cannot be read, the directory holds
/// something else, or the disk refuses. Pages and images that fail are counted, see
/// [`Manifest::tally`].
pub fn build(options: &BuildOptions, stop: &watch::Receiver<bool>) -> Result<Manifest> {
    options.config.check()?;
    options.config.shards.validate()?;
    // A tokenizer that cannot be read shall stop the build before the crawl, not after it.
    let given = options.tokenizer.as_deref().map(std::fs::read).transpose();
    let given = given.with_context(|| {
        let path = options.tokenizer.clone().unwrap_or_default();
        format!("cannot read the tokenizer {}", path.display())
    })?;
    if let (Some(bytes), Some(path)) = (&given, &options.tokenizer) {
        Tokenizer::from_bytes(bytes, &path.display().to_string())?;
    }
    let run = Run {
        input_sha256: options.source.digest()?.to_string(),
        tokenizer_sha256: given.as_deref().map(|bytes| Sha256::of(bytes).to_string()),
        config: options.config.clone(),
    };
    let total = count_entries(options)?;
    let corpus = Corpus::at(&options.out);
    if let Standing::Complete(manifest) = corpus.begin(&run)? {
        tracing::info!("{} is complete already", options.out.display());
        return Ok(*manifest);
    }

    let parts = collect_documents(options, &corpus, total, stop)?;
    let documents: Vec<_> = parts.iter().map(|part| part.documents.clone()).collect();
    let tokenizer = tokenizer(options, given, &corpus, &documents)?;
    let info = shard_info(&options.config);
    let packed = pack::pack_all(
        &corpus,
        &documents,
        &tokenizer,
        &info,
        options.threads,
        stop,
    )?;

    let config = toml::to_string(&options.config).context("cannot write the configuration")?;
    let mut manifest = Manifest::new(Sha256::of(config.as_bytes()), options.config.seed);
    manifest.tokenizer_sha256 = Some(tokenizer.sha256());
    manifest.run = serde_json::to_value(&run).context("cannot describe the run")?;
    for part in parts {
        manifest.documents.push(part.documents);
        manifest.outcomes.push(part.outcomes);
        manifest.tally.merge(&part.tally);
    }
    for part in packed {
        manifest.sequences.push(part.sequences);
        manifest.tally.merge(&part.tally);
    }
    corpus.complete(&manifest)?;
    Ok(manifest)
}

fn shard_info(config: &BuildConfig) -> ShardInfo {
    ShardInfo {
        config: config.shards.clone(),
        seed: config.seed,
    }
}

fn count_entries(options: &BuildOptions) -> Result<u64> {
    let mut total = 0;
    for entry in options.source.entries(&options.config.crawler)? {
        entry?;
        total += 1;
    }
    if total == 0 {
        return Err(match &options.source {
            Source::Urls { path, .. } => anyhow!(
                "{} names no URL: give a list with one URL a line, or a table with --url-column",
                path.display()
            ),
            Source::Warc(_) => anyhow!("the WARC files hold no page"),
        });
    }
    Ok(total)
}

/// The tokenizer of the corpus: the one given, the one there, or one trained on the documents.
fn tokenizer(
    options: &BuildOptions,
    given: Option<Vec<u8>>,
    corpus: &Corpus,
    documents: &[m3w_shards::FileEntry],
) -> Result<Tokenizer> {
    let path = corpus.tokenizer_path();
    if !path.exists() {
        let bytes = match given {
            Some(bytes) => bytes,
            None => pack::train_tokenizer(corpus, documents, options.config.vocabulary_size)?,
        };
        write_atomically(&path, &bytes)?;
    }
    Ok(Tokenizer::from_file(&path)?)
}

/// Works on all inputs that have no outcome yet, and writes all document shards.
fn collect_documents(
    options: &BuildOptions,
    corpus: &Corpus,
    total: u64,
    stop: &watch::Receiver<bool>,
) -> Result<Vec<Part>> {
    let mut assembler = Assembler::open(corpus, &options.config, total)?;
    let remaining = assembler.remaining();
    let progress = Progress::new("pages", total - remaining, total, options.is_quiet);
    if remaining > 0 {
        let archive = Archive::index(
            &options.source,
            &options.config.crawler,
            options.fetch_missing_images,
        )?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(options.threads)
            .enable_all()
            .build()
            .context("cannot start the runtime")?;
        let config = Arc::new(options.config.clone());
        let pipeline = {
            let _inside = runtime.enter();
            Pipeline::new(config, archive, options.threads)?
        };
        let (entries_in, entries) = mpsc::channel(ENTRIES_WAITING);
        let (outcomes_in, outcomes) = mpsc::channel(OUTCOMES_WAITING);
        let done = assembler.done();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| read_entries(options, &done, entries_in));
            let in_flight = options.config.pages_in_flight;
            runtime.spawn(dispatch(
                pipeline.clone(),
                entries,
                outcomes_in,
                in_flight,
                stop.clone(),
            ));
            // Owns the receiving end, so that a disk that refuses ends the crawl as well.
            let written = write_outcomes(outcomes, &mut assembler, |_| {
                progress.step(|| {
                    let stats = pipeline.crawler().stats();
                    #[expect(clippy::cast_precision_loss, reason = "a size for people")]
                    let megabytes = stats.bytes as f64 / 1e6;
                    format!("{} requests, {megabytes:.1} MB", stats.requests)
                });
            });
            let read = reader
                .join()
                .map_err(|_| anyhow!("the reader of the input panicked"))?;
            written.and(read)
        })?;
        runtime.shutdown_background();
    }
    progress.finish();
    if *stop.borrow() {
        return Err(Stopped.into());
    }
    assembler.finish()
}

/// Puts outcomes on disk as they come, until there are no more.
fn write_outcomes(
    mut outcomes: mpsc::Receiver<Outcome>,
    assembler: &mut Assembler<'_>,
    on_outcome: impl Fn(&Outcome),
) -> Result<()> {
    while let Some(outcome) = outcomes.blocking_recv() {
        assembler.add(&outcome)?;
        on_outcome(&outcome);
    }
    Ok(())
}

/// Sends the inputs that still need work, in order.
fn read_entries(options: &BuildOptions, done: &Done, entries: mpsc::Sender<Entry>) -> Result<()> {
    for entry in options.source.entries(&options.config.crawler)? {
        let entry = entry?;
        if !done.contains(entry.number) && entries.blocking_send(entry).is_err() {
            break;
        }
    }
    Ok(())
}

/// Runs the pipeline over the inputs, `in_flight` at a time, until they end, `stop` is set, or
/// nobody takes the outcomes any more.
async fn dispatch(
    pipeline: Pipeline,
    mut entries: mpsc::Receiver<Entry>,
    outcomes: mpsc::Sender<Outcome>,
    in_flight: usize,
    stop: watch::Receiver<bool>,
) {
    let slots = Arc::new(Semaphore::new(in_flight));
    let mut tasks = tokio::task::JoinSet::new();
    let feed = async {
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            let Some(entry) = entries.recv().await else {
                break;
            };
            let (pipeline, outcomes) = (pipeline.clone(), outcomes.clone());
            while tasks.try_join_next().is_some() {}
            tasks.spawn(async move {
                let outcome = pipeline.run(entry).await;
                // Nobody takes it when the disk refused one, which is reported there.
                let _ = outcomes.send(outcome).await;
                drop(slot);
            });
        }
        while tasks.join_next().await.is_some() {}
    };
    tokio::select! {
        () = feed => {}
        () = is_set(stop) => {}
        () = outcomes.closed() => {}
    }
}

/// Waits until `stop` is set; for ever, if nobody is left to set it.
async fn is_set(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|is_set| *is_set).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// The inputs that have an outcome.
struct Done {
    parts: u64,
    in_journals: HashSet<u64>,
    inputs_per_shard: u64,
}

impl Done {
    fn contains(&self, input: u64) -> bool {
        input / self.inputs_per_shard < self.parts || self.in_journals.contains(&input)
    }
}

/// Takes outcomes in any order and publishes parts in order.
struct Assembler<'a> {
    corpus: &'a Corpus,
    config: &'a BuildConfig,
    total: u64,
    finished: Vec<Part>,
    open: BTreeMap<u64, Journal>,
    seen: HashSet<DocumentId>,
}

impl<'a> Assembler<'a> {
    fn open(corpus: &'a Corpus, config: &'a BuildConfig, total: u64) -> Result<Self> {
        let finished = corpus.parts()?;
        let mut seen = HashSet::new();
        for part in &finished {
            seen.extend(document_ids(part)?);
        }
        let mut assembler = Self {
            corpus,
            config,
            total,
            open: BTreeMap::new(),
            seen,
            finished,
        };
        for number in 0..assembler.part_count() {
            let path = corpus.journal_path(usize::try_from(number)?);
            if !path.exists() {
                continue;
            }
            let journal = Journal::open(&path)?;
            if number < assembler.finished.len() as u64 {
                // The build was stopped between publishing the part and this.
                journal.remove()?;
            } else {
                assembler.open.insert(number, journal);
            }
        }
        assembler.publish_ready()?;
        Ok(assembler)
    }

    fn inputs_per_shard(&self) -> u64 {
        self.config.inputs_per_shard as u64
    }

    fn part_count(&self) -> u64 {
        self.total.div_ceil(self.inputs_per_shard())
    }

    fn inputs_of(&self, part: u64) -> u64 {
        self.inputs_per_shard()
            .min(self.total - part * self.inputs_per_shard())
    }

    /// How many inputs have no outcome.
    fn remaining(&self) -> u64 {
        let finished: u64 = (0..self.finished.len() as u64)
            .map(|part| self.inputs_of(part))
            .sum();
        let journaled: u64 = self.open.values().map(|journal| journal.len() as u64).sum();
        self.total - finished - journaled
    }

    fn done(&self) -> Done {
        Done {
            parts: self.finished.len() as u64,
            in_journals: self.open.values().flat_map(Journal::inputs).collect(),
            inputs_per_shard: self.inputs_per_shard(),
        }
    }

    fn add(&mut self, outcome: &Outcome) -> Result<()> {
        let part = outcome.input / self.inputs_per_shard();
        let journal = match self.open.entry(part) {
            std::collections::btree_map::Entry::Occupied(entry) => entry.into_mut(),
            std::collections::btree_map::Entry::Vacant(entry) => {
                let path = self.corpus.journal_path(usize::try_from(part)?);
                entry.insert(Journal::open(&path)?)
            }
        };
        journal.append(outcome)?;
        self.publish_ready()
    }

    /// Writes the shards of the parts that are next in order and whole.
    fn publish_ready(&mut self) -> Result<()> {
        loop {
            let number = self.finished.len() as u64;
            let is_whole = self
                .open
                .get(&number)
                .is_some_and(|journal| journal.len() as u64 == self.inputs_of(number));
            if !is_whole {
                return Ok(());
            }
            let Some(mut journal) = self.open.remove(&number) else {
                return Ok(());
            };
            let part = self.write_part(usize::try_from(number)?, &mut journal)?;
            self.corpus.publish(self.finished.len(), &part)?;
            self.finished.push(part);
            journal.remove()?;
        }
    }

    fn write_part(&mut self, number: usize, journal: &mut Journal) -> Result<Part> {
        let documents_name = Corpus::documents_name(number);
        let path = self.corpus.root().join(&documents_name);
        let mut writer = DocumentWriter::create(&path, &shard_info(self.config))?;
        let mut outcome_lines = Vec::new();
        let mut tally = Tally::default();
        let mut ids = Vec::new();
        for outcome in journal.outcomes() {
            let mut outcome = outcome?;
            if let Some(document) = &outcome.document {
                if self.seen.insert(document.id) {
                    writer.write(document)?;
                    ids.push(document.id.to_string());
                } else {
                    outcome.drop_as_seen();
                }
            }
            outcome.count(&mut tally);
            serde_json::to_writer(&mut outcome_lines, &outcome.line())
                .context("cannot describe an outcome")?;
            outcome_lines.write_all(b"\n")?;
        }
        let documents = writer.finish()?.in_folder("documents");
        let outcomes_name = Corpus::outcomes_name(number);
        write_atomically(&self.corpus.root().join(&outcomes_name), &outcome_lines)?;
        let rows = self.inputs_of(number as u64);
        Ok(Part {
            documents,
            outcomes: file_entry(self.corpus.root(), &outcomes_name, rows)?,
            tally,
            ids,
        })
    }

    fn finish(self) -> Result<Vec<Part>> {
        let missing = self.remaining();
        anyhow::ensure!(
            missing == 0,
            "{missing} inputs have no outcome: give the same command again"
        );
        Ok(self.finished)
    }
}
