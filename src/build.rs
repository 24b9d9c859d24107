//! A build from beginning to end: inputs to document shards, documents to a tokenizer and to
//! training rows, and the manifest over all.
//!
//! Inputs are numbered in the order of the source and divided into parts of `inputs_per_shard`.
//! Pages finish in any order; each outcome goes to the journal of its part at once, and a part
//! whose inputs all have outcomes is written as a shard, in input order, after the parts before
//! it. So the bytes of a corpus depend on the source, the configuration and what the servers
//! answered, not on threads, timing, or how often the build was interrupted.
//!
//! Memory is bounded by the configuration: `pages_in_flight` pages, `pages_waiting` URLs,
//! `images_in_flight` fetched images, the image cache, one row group, a bit or two for each input,
//! and some 30 bytes for each document that was kept.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use m3w_crawler::{Archives, Crawler, Frontier};
use m3w_document::{DocumentId, Sha256, Tally};
use m3w_shards::{DocumentWriter, Manifest, ShardInfo, Tokenizer, write_atomically};
use tokio::sync::{mpsc, watch};
use url::Url;

use crate::archive::Archive;
use crate::bits::Bits;
use crate::config::BuildConfig;
use crate::corpus::{Corpus, Part, Run, Standing, document_ids, file_entry};
use crate::index::{Archived, WarcFile};
use crate::journal::{Journal, Outcome};
use crate::metrics::Metrics;
use crate::pack::{self, Packing};
use crate::pairs::Kind;
use crate::pipeline::Pipeline;
use crate::progress::Progress;
use crate::retry::{self, Failures};
use crate::source::{Entry, Item, Source, Survey};
use crate::video::check_programs;

/// Finished outcomes that wait for the disk.
const OUTCOMES_WAITING: usize = 64;
/// Inputs on their way from the list to the frontier.
const ENTRIES_WAITING: usize = 64;
/// Pages of one host that are worked on for each connection that it may have: while one waits for
/// its images, the next can ask.
const PAGES_PER_CONNECTION: usize = 4;

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
    /// WARC files that are written, that stand in for the web, or that spare it what it sent
    /// before; they do not change the result.
    pub archives: Archives,
    /// Whether to open a finished corpus again for inputs that failed, and which.
    pub retry: Option<Failures>,
    /// Processor threads; they do not change the result.
    pub threads: usize,
    /// A file for [`crate::metrics::Snapshot`]s as JSON, written every few seconds.
    pub metrics: Option<PathBuf>,
    /// An address (`127.0.0.1:9100`) at which the same is served for Prometheus.
    pub prometheus: Option<String>,
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
    anyhow::ensure!(
        options.config.pairs.is_some() == matches!(options.source, Source::Pairs(_)),
        "the settings `pairs` are for lists of pairs: give them to `m3w pairs`"
    );
    if options
        .config
        .pairs
        .as_ref()
        .is_some_and(|pairs| pairs.kind == Kind::Vtp)
    {
        check_programs()?;
    }
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
    let survey = survey(options)?;
    let corpus = Corpus::at(&options.out);
    if let Some(failures) = &options.retry {
        let again = retry::reopen(&corpus, &run, failures)?;
        tracing::info!("{again} inputs failed in a way that is worth another try");
    }
    if let Standing::Complete(manifest) = corpus.begin(&run)? {
        tracing::info!("{} is complete already", options.out.display());
        return Ok(*manifest);
    }

    let parts = collect_documents(options, &corpus, &survey, stop)?;
    let documents: Vec<_> = parts.iter().map(|part| part.documents.clone()).collect();
    let tokenizer = tokenizer(options, given, &corpus, &documents)?;
    let packed = pack::pack_all(
        &corpus,
        &documents,
        &tokenizer,
        &Packing::of(&options.config),
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

pub(crate) fn shard_info(config: &BuildConfig) -> ShardInfo {
    ShardInfo {
        config: config.shards.clone(),
        seed: config.seed,
    }
}

fn survey(options: &BuildOptions) -> Result<Survey> {
    let survey = options.source.survey(&options.config.crawler)?;
    if survey.total == 0 {
        return Err(match &options.source {
            Source::Urls { path, .. } => anyhow!(
                "{} names no URL: give a list with one URL a line, or a table with --url-column",
                path.display()
            ),
            Source::Warc(_) => anyhow!("the WARC files hold no page"),
            Source::Index { path, .. } => anyhow!("the index {} names no record", path.display()),
            Source::Pairs(_) => anyhow!("the inputs hold no pair"),
            Source::Interleaved(_) => anyhow!("the files hold no document"),
        });
    }
    Ok(survey)
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
    survey: &Survey,
    stop: &watch::Receiver<bool>,
) -> Result<Vec<Part>> {
    let total = survey.total;
    let mut assembler = Assembler::open(corpus, &options.config, total)?;
    let remaining = assembler.remaining();
    let progress = Progress::new(
        options.config.unit().plural(),
        total - remaining,
        total,
        options.is_quiet,
    );
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
            let settings = options.config.crawler.clone();
            let crawler = Crawler::with_archives(settings, &options.archives)
                .context("cannot start the crawler")?;
            Pipeline::new(config, crawler, archive, options.threads)
        };
        let file = options.metrics.clone();
        let metrics = Metrics::new(pipeline.crawler().clone(), total - remaining, total, file);
        if let Some(address) = &options.prometheus {
            metrics.serve(address)?;
        }
        let (entries_in, entries) = mpsc::channel(ENTRIES_WAITING);
        let (outcomes_in, outcomes) = mpsc::channel(OUTCOMES_WAITING);
        let done = assembler.done();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| read_entries(options, survey, &done, entries_in));
            runtime.spawn(dispatch(
                pipeline.clone(),
                entries,
                outcomes_in,
                Places::of(&options.config),
                stop.clone(),
            ));
            // Owns the receiving end, so that a disk that refuses ends the crawl as well.
            let written = write_outcomes(outcomes, &mut assembler, |outcome| {
                // An outcome that counts has to be in the archive as well.
                pipeline.crawler().check_archive()?;
                metrics.add(options.config.unit(), outcome)?;
                progress.step(|| metrics.line());
                Ok(())
            });
            let read = reader
                .join()
                .map_err(|_| anyhow!("the reader of the input panicked"))?;
            written.and(read)
        })?;
        metrics.write()?;
        let unchanged = metrics.snapshot().unchanged;
        if unchanged > 0 {
            tracing::info!("{unchanged} answers have not changed since an earlier crawl");
        }
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
    on_outcome: impl Fn(&Outcome) -> Result<()>,
) -> Result<()> {
    while let Some(outcome) = outcomes.blocking_recv() {
        on_outcome(&outcome)?;
        assembler.add(&outcome)?;
    }
    Ok(())
}

/// Sends the inputs that still need work, in order.
fn read_entries(
    options: &BuildOptions,
    survey: &Survey,
    done: &Bits,
    entries: mpsc::Sender<Entry>,
) -> Result<()> {
    let config = &options.config.crawler;
    for entry in options.source.entries(config, &survey.refusals)? {
        let entry = entry?;
        if !done.contains(entry.number) && entries.blocking_send(entry).is_err() {
            break;
        }
    }
    Ok(())
}

/// How many pages may be worked on or wait.
#[derive(Debug, Clone, Copy)]
struct Places {
    in_flight: usize,
    per_host: usize,
    waiting: usize,
}

impl Places {
    fn of(config: &BuildConfig) -> Self {
        Self {
            in_flight: config.pages_in_flight,
            per_host: config.crawler.connections_per_host * PAGES_PER_CONNECTION,
            waiting: config.pages_waiting,
        }
    }
}

/// Runs the pipeline over the inputs until they end, `stop` is set, or nobody takes the outcomes
/// any more. URLs wait by host, so that a slow one holds up none of the others.
async fn dispatch(
    pipeline: Pipeline,
    mut entries: mpsc::Receiver<Entry>,
    outcomes: mpsc::Sender<Outcome>,
    places: Places,
    stop: watch::Receiver<bool>,
) {
    let mut frontier = Frontier::new(places.per_host);
    let mut tasks = tokio::task::JoinSet::new();
    // A page at hand, which has no host to wait for.
    let mut at_hand: Option<Entry> = None;
    let mut is_open = true;
    let run = |host: Option<String>, entry: Entry| {
        let (pipeline, outcomes) = (pipeline.clone(), outcomes.clone());
        async move {
            let outcome = pipeline.run(entry).await;
            // Nobody takes it when the disk refused one, which is reported there.
            let _ = outcomes.send(outcome).await;
            host
        }
    };
    let work = async {
        loop {
            while tasks.len() < places.in_flight {
                if let Some(entry) = at_hand.take() {
                    tasks.spawn(run(None, entry));
                } else if let Some((host, entry)) = frontier.take() {
                    tasks.spawn(run(Some(host), entry));
                } else {
                    break;
                }
            }
            let has_room = is_open && at_hand.is_none() && frontier.waiting() < places.waiting;
            tokio::select! {
                entry = entries.recv(), if has_room => match entry {
                    Some(entry) => match host(&entry.item) {
                        Some(host) => frontier.push(&host, entry),
                        None => at_hand = Some(entry),
                    },
                    None => is_open = false,
                },
                Some(finished) = tasks.join_next() => {
                    // A task that panicked has no outcome, which is reported at the end.
                    if let Ok(Some(host)) = finished {
                        frontier.finished(&host);
                    }
                },
                else => break,
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = is_set(stop) => {}
        () = outcomes.closed() => {}
    }
}

/// The host that an input has to be fetched from.
fn host(item: &Item) -> Option<String> {
    match item {
        Item::Url(url) => url.host_str().map(str::to_owned),
        Item::Archived(Archived {
            file: WarcFile::Remote(url),
            ..
        }) => url.host_str().map(str::to_owned),
        Item::Pair(pair) => pair.url().and_then(Url::host_str).map(str::to_owned),
        Item::Archived(_) | Item::Page(_) | Item::Document(_) | Item::Refused(_) => None,
    }
}

/// Waits until `stop` is set; for ever, if nobody is left to set it.
async fn is_set(mut stop: watch::Receiver<bool>) {
    if stop.wait_for(|is_set| *is_set).await.is_err() {
        std::future::pending::<()>().await;
    }
}

/// Takes outcomes in any order and publishes parts in order.
struct Assembler<'a> {
    corpus: &'a Corpus,
    config: &'a BuildConfig,
    total: u64,
    finished: Vec<Part>,
    /// Parts that miss outcomes.
    open: BTreeMap<u64, Journal>,
    /// Parts that miss none, and wait for those before them.
    whole: BTreeSet<u64>,
    /// Parts whose shards are there, but not those of all before them: the corpus was opened again
    /// for what had failed.
    published: BTreeSet<u64>,
    seen: HashSet<DocumentId>,
}

impl<'a> Assembler<'a> {
    fn open(corpus: &'a Corpus, config: &'a BuildConfig, total: u64) -> Result<Self> {
        let mut finished = Vec::new();
        let mut published = BTreeSet::new();
        let mut seen = HashSet::new();
        let parts = total.div_ceil(config.inputs_per_shard as u64);
        for number in 0..parts {
            let Some(mut part) = corpus.part(usize::try_from(number)?)? else {
                continue;
            };
            seen.extend(document_ids(&part)?);
            part.ids = Vec::new();
            if finished.len() as u64 == number {
                finished.push(part);
            } else {
                published.insert(number);
            }
        }
        let mut assembler = Self {
            corpus,
            config,
            total,
            open: BTreeMap::new(),
            whole: BTreeSet::new(),
            published,
            seen,
            finished,
        };
        for number in 0..assembler.part_count() {
            let path = corpus.journal_path(usize::try_from(number)?);
            if !path.exists() {
                continue;
            }
            let journal = Journal::open(&path)?;
            let is_published = assembler.published.contains(&number);
            if is_published || number < assembler.finished.len() as u64 {
                // The build was stopped between publishing the part and this.
                journal.remove()?;
            } else {
                assembler.keep(number, journal);
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
        let finished = 0..self.finished.len() as u64;
        let parts = finished.chain(self.whole.iter().chain(&self.published).copied());
        let in_parts: u64 = parts.map(|part| self.inputs_of(part)).sum();
        let journaled: u64 = self.open.values().map(|journal| journal.len() as u64).sum();
        self.total - in_parts - journaled
    }

    /// The inputs that have an outcome.
    fn done(&self) -> Bits {
        let mut done = Bits::default();
        let finished = 0..self.finished.len() as u64;
        for part in finished.chain(self.whole.iter().chain(&self.published).copied()) {
            let first = part * self.inputs_per_shard();
            (first..first + self.inputs_of(part)).for_each(|input| done.insert(input));
        }
        let journaled = self.open.values().flat_map(Journal::inputs);
        journaled.for_each(|input| done.insert(input));
        done
    }

    fn add(&mut self, outcome: &Outcome) -> Result<()> {
        let part = outcome.input / self.inputs_per_shard();
        let mut journal = match self.open.remove(&part) {
            Some(journal) => journal,
            None => Journal::open(&self.corpus.journal_path(usize::try_from(part)?))?,
        };
        journal.append(outcome)?;
        self.keep(part, journal);
        self.publish_ready()
    }

    /// Remembers a journal: what is in it while outcomes are missing, only that it is whole then.
    fn keep(&mut self, part: u64, journal: Journal) {
        if journal.len() as u64 == self.inputs_of(part) {
            self.whole.insert(part);
        } else {
            self.open.insert(part, journal);
        }
    }

    /// Writes the shards of the parts that are next in order and whole.
    fn publish_ready(&mut self) -> Result<()> {
        loop {
            let number = self.finished.len();
            if self.published.remove(&(number as u64))
                && let Some(mut part) = self.corpus.part(number)?
            {
                part.ids = Vec::new();
                self.finished.push(part);
                continue;
            }
            if !self.whole.remove(&(number as u64)) {
                return Ok(());
            }
            let journal = Journal::open(&self.corpus.journal_path(number))?;
            let mut part = self.write_part(number, &journal)?;
            self.corpus.publish(number, &part)?;
            // They are in the set of those seen, and on disk.
            part.ids = Vec::new();
            self.finished.push(part);
            journal.remove()?;
        }
    }

    fn write_part(&mut self, number: usize, journal: &Journal) -> Result<Part> {
        let documents_name = Corpus::documents_name(number);
        let path = self.corpus.root().join(&documents_name);
        let mut writer = DocumentWriter::create(&path, &shard_info(self.config))?;
        let mut outcome_lines = Vec::new();
        let mut tally = Tally::default();
        let mut ids = Vec::new();
        for outcome in journal.outcomes()? {
            let mut outcome = outcome?;
            if let Some(document) = &outcome.document {
                if self.seen.insert(document.id) {
                    writer.write(document)?;
                    ids.push(document.id.to_string());
                } else {
                    outcome.drop_as_seen(self.config.unit());
                }
            }
            outcome.count(self.config.unit(), &mut tally);
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
