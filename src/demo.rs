//! The demonstration: a small site that ships with the program goes the whole road, offline.
//!
//! Everything is real: the site is served over HTTP on loopback, and crawled, built, trained on
//! and asked about by the same code that works on anybody's URLs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use m3w_crawler::Archives;
use m3w_document::{Image, TextRole};
use m3w_model::{DeviceName, GenerateOptions};
use m3w_shards::{DocumentReader, ExportFormat, Manifest, export};
use tokio::sync::watch;

use crate::answer::answer;
use crate::build::{BuildOptions, build};
use crate::config::{self, BuildConfig};
use crate::corpus::Corpus;
use crate::pairs::{Kind, PairSource, PairsConfig};
use crate::source::Source;
use crate::trained::TrainedModel;
use crate::trainer::{DatasetConfig, Launch, TrainFile, TrainOptions, TrainResult, train};
use crate::view::{ViewOptions, write_report};

mod site_server;

pub use site_server::SiteServer;

/// The configuration that the demonstration trains with; the file is part of the repository.
const TRAIN_CONFIG: &str = include_str!("../configs/train-tiny.toml");
/// Tokens of the demonstration's tokenizer: a dozen pages fill no more.
const VOCABULARY_SIZE: usize = 1_000;
/// Tokens in a row: a quarter of the paper's. The pages are short, and in a window that holds one
/// whole a model learns the page by heart instead of looking at its pictures.
const SEQUENCE_LENGTH: usize = 64;
/// Windows cut from each page, so that a dozen pages make batches enough.
const WINDOWS_PER_DOCUMENT: usize = 30;
/// Tokens in a row of a picture and its caption.
const PAIR_LENGTH: usize = 32;
/// More than there are: the pairs are one file.
const SAMPLES_PER_TAR: u64 = 1_000;

/// Crawls the demonstration's site and builds a corpus from it in `out`.
///
/// # Errors
///
/// As [`build`]; also if the loopback address cannot be listened on.
pub fn build_site(out: &Path, threads: usize, stop: &watch::Receiver<bool>) -> Result<Manifest> {
    let server = SiteServer::start()?;
    std::fs::create_dir_all(out).with_context(|| format!("cannot make {}", out.display()))?;
    let list = out.join("urls.txt");
    std::fs::write(&list, server.url_list())
        .with_context(|| format!("cannot write {}", list.display()))?;
    let mut config = BuildConfig {
        vocabulary_size: VOCABULARY_SIZE,
        ..BuildConfig::default()
    };
    config.shards.sequence_length = SEQUENCE_LENGTH;
    config.shards.windows_per_document = WINDOWS_PER_DOCUMENT;
    // The site is ours and on this machine: no delay is owed, and its address is a private one.
    config.crawler.delay_ms = 0;
    config.crawler.allow_private_addresses = true;
    let source = Source::Urls {
        path: list,
        column: "url".to_owned(),
    };
    build(&options(source, out.join("corpus"), config, threads), stop)
}

/// Makes rows of the corpus' pictures with their captions, as `m3w export` and `m3w pairs` make them:
/// pages teach how to speak of pictures, pairs what they show.
///
/// # Errors
///
/// If the corpus cannot be read, and as [`build`].
pub fn build_pairs(out: &Path, threads: usize, stop: &watch::Receiver<bool>) -> Result<Manifest> {
    let corpus = Corpus::at(&out.join("corpus"));
    let tars = out.join("pairs-webdataset");
    if tars.exists() {
        std::fs::remove_dir_all(&tars)
            .with_context(|| format!("cannot delete {}", tars.display()))?;
    }
    let written = export(
        corpus.root(),
        ExportFormat::Webdataset,
        &tars,
        SAMPLES_PER_TAR,
    )?;
    let tars: Vec<PathBuf> = written
        .files
        .iter()
        .map(|file| tars.join(&file.path))
        .collect();
    let pairs = PairsConfig::preset(Kind::Pairs);
    let source = PairSource::open(&tars, &pairs, 0)?;
    let mut config = BuildConfig {
        pairs: Some(pairs),
        ..BuildConfig::default()
    };
    config.shards.sequence_length = PAIR_LENGTH;
    let source = Source::Pairs(Box::new(source));
    let options = BuildOptions {
        tokenizer: Some(corpus.tokenizer_path()),
        ..options(source, out.join("pairs"), config, threads)
    };
    build(&options, stop)
}

fn options(source: Source, out: PathBuf, config: BuildConfig, threads: usize) -> BuildOptions {
    BuildOptions {
        source,
        out,
        config,
        tokenizer: None,
        fetch_missing_images: true,
        archives: Archives::default(),
        retry: None,
        metrics: None,
        prometheus: None,
        threads,
        is_quiet: true,
    }
}

/// Writes the report on the corpus in `out`, every page in it.
///
/// # Errors
///
/// If the corpus cannot be read.
pub fn report(out: &Path) -> Result<PathBuf> {
    let path = out.join("report.html");
    let options = ViewOptions {
        documents: 100,
        sequences: 10,
    };
    write_report(&Corpus::at(&out.join("corpus")), &path, &options)?;
    Ok(path)
}

/// Trains the tiny model on the pages and the pairs in `out`, `steps` steps, or as many as its
/// configuration says.
///
/// # Errors
///
/// As [`train`].
pub fn train_tiny(
    out: &Path,
    steps: Option<usize>,
    stop: &watch::Receiver<bool>,
) -> Result<TrainResult> {
    let config_path = out.join("train-tiny.toml");
    std::fs::write(&config_path, TRAIN_CONFIG)
        .with_context(|| format!("cannot write {}", config_path.display()))?;
    let mut file: TrainFile = config::load(Some(&config_path), &[])?;
    file.run.steps = steps.unwrap_or(file.run.steps);
    file.datasets = [("m3w", "corpus"), ("pairs", "pairs")]
        .map(|(name, folder)| DatasetConfig {
            name: name.to_owned(),
            path: out.join(folder),
            weight: 1.0,
            loader: toml::Table::new(),
        })
        .into();
    let options = TrainOptions {
        device: DeviceName::Cpu,
        file,
        data: None,
        out: out.join("run"),
        launch: Launch::default(),
        is_quiet: false,
    };
    train(&options, stop)
}

/// A picture, the words on its page, and those of the model.
#[derive(Debug)]
pub struct Caption {
    /// The picture, written beside the corpus.
    pub picture: PathBuf,
    /// What its page says of it.
    pub expected: String,
    /// What the model says.
    pub generated: String,
}

/// Asks the trained model about `count` captioned pictures, spread over the corpus.
///
/// # Errors
///
/// If the corpus or the model cannot be read, or no picture of the corpus has a caption.
pub fn captions(out: &Path, count: usize) -> Result<Vec<Caption>> {
    let corpus = Corpus::at(&out.join("corpus"));
    let captioned = captioned_pictures(&corpus)?;
    let trained = TrainedModel::load(&out.join("run"))?;
    let options = GenerateOptions::default();
    let step = captioned.len().div_ceil(count.max(1));
    captioned
        .into_iter()
        .step_by(step)
        .zip(1..)
        .map(|((image, expected), number)| {
            let picture = out.join(format!("picture-{number}.{}", image.format.as_str()));
            std::fs::write(&picture, &image.bytes)
                .with_context(|| format!("cannot write {}", picture.display()))?;
            let generated = answer(&trained, &[&picture], "", &options, |_| {})?;
            // The block after a picture is its caption; what follows is the page going on.
            let generated = generated.trim().lines().next().unwrap_or_default();
            Ok(Caption {
                picture,
                expected,
                generated: generated.to_owned(),
            })
        })
        .collect()
}

/// The pictures that have a caption, with it, in the order of the corpus.
fn captioned_pictures(corpus: &Corpus) -> Result<Vec<(Image, String)>> {
    let mut captioned = Vec::new();
    for entry in corpus.manifest()?.documents {
        for document in DocumentReader::open(&corpus.root().join(&entry.path))? {
            for pair in document?.elements.windows(2) {
                if let (Some(image), Some(text)) = (pair[0].as_image(), pair[1].as_text())
                    && text.role == TextRole::Caption
                {
                    captioned.push((image.clone(), text.content.clone()));
                }
            }
        }
    }
    if captioned.is_empty() {
        bail!("the demonstration's corpus has no captioned picture");
    }
    Ok(captioned)
}
