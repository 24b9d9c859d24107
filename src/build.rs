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

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use m3w_crawler::{Archives, Crawler};
use m3w_document::Sha256;
use m3w_shards::{Manifest, ShardInfo, Tokenizer, write_atomically};
use tokio::sync::{mpsc, watch};

use crate::archive::Archive;
use crate::bits::Bits;
use crate::block_list::{self, BlockList};
use crate::classifier::Classifier;
use crate::config::BuildConfig;
use crate::corpus::{Corpus, Part, Run, Standing};
use crate::forgotten::Forgotten;
use crate::journal::Outcome;
use crate::metrics::Metrics;
use crate::pack::{self, Packing};
use crate::pairs::Kind;
use crate::pipeline::Pipeline;
use crate::progress::Progress;
use crate::retry::{self, Failures};
use crate::source::{Entry, Source, Survey};
use crate::video::check_programs;
use crate::word_lists;

mod assembler;
mod dispatch;

pub(crate) use dispatch::{Places, dispatch};

use assembler::Assembler;

/// Finished outcomes that wait for the disk.
const OUTCOMES_WAITING: usize = 64;
/// Inputs on their way from the list to the frontier.
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
        lists_sha256: block_list::digest(&options.config.filter.files())?
            .map(|hash| hash.to_string()),
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
            let blocked = BlockList::open(&config.filter.block)?;
            let forgotten = Forgotten::load(corpus.root())?;
            let words = word_lists::open(&config.filter.text)?;
            let classifier = Classifier::open(&config.filter.image)?;
            Pipeline::new(config, crawler, archive, options.threads)
                .without(forgotten)
                .blocking(blocked)
                .counting(words)
                .classifying(classifier)
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
