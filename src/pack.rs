//! Documents to training rows.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, Result};
use m3w_document::{Document, Image, Sha256, Tally};
use m3w_shards::{
    DocumentReader, FileEntry, Manifest, SequenceReader, SequenceWriter, ShardInfo, Tokenizer,
    space_before_caption, subsequence, tokenize, write_atomically,
};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::build::Stopped;
use crate::config::BuildConfig;
use crate::corpus::{Corpus, Run};

/// Most text a tokenizer is trained on: byte-pair merges settle long before, and the table of
/// words is held in memory.
const MAX_TRAINING_BYTES: u64 = 256 << 20;
/// Name of the dataset in rows made from pages.
const SOURCE: &str = "m3w";

/// How documents become rows.
#[derive(Debug, Clone, PartialEq)]
pub struct Packing {
    /// Windows and shards.
    pub info: ShardInfo,
    /// Name of the dataset in the rows.
    pub source: String,
    /// How often a space stands before a caption; 0 for pages.
    pub space_probability: f64,
}

impl Packing {
    /// The packing of a corpus built with that configuration.
    #[must_use]
    pub fn of(config: &BuildConfig) -> Self {
        let pairs = config.pairs.as_ref();
        Self {
            info: ShardInfo {
                config: config.shards.clone(),
                seed: config.seed,
            },
            source: pairs.map_or(SOURCE, |pairs| pairs.kind.as_str()).to_owned(),
            space_probability: pairs.map_or(0.0, |pairs| pairs.space_probability),
        }
    }
}

/// A finished shard of sequences.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Packed {
    /// The shard.
    pub sequences: FileEntry,
    /// What was counted.
    pub tally: Tally,
}

/// Packs every shard of documents in `corpus` into a shard of sequences beside it; those that the
/// corpus's state records as packed are left as they are.
///
/// # Errors
///
/// [`Stopped`], or if a shard cannot be read or written.
pub fn pack_all(
    corpus: &Corpus,
    documents: &[FileEntry],
    tokenizer: &Tokenizer,
    packing: &Packing,
    threads: usize,
    stop: &watch::Receiver<bool>,
) -> Result<Vec<Packed>> {
    thread_pool(threads)?.install(|| {
        documents
            .par_iter()
            .enumerate()
            .map(|(number, entry)| {
                if let Some(packed) = corpus.packed(number)? {
                    return Ok(packed);
                }
                if *stop.borrow() {
                    return Err(Stopped.into());
                }
                let path = corpus.root().join(&entry.path);
                let out = corpus.root().join(Corpus::sequences_name(number));
                let packed = pack_shard(&path, &out, tokenizer, packing)?;
                corpus.publish_packed(number, &packed)?;
                Ok(packed)
            })
            .collect()
    })
}

/// Packs the documents of one corpus into a directory of its own, with another tokenizer or other
/// windows.
///
/// # Errors
///
/// [`Stopped`], or if a shard or the tokenizer cannot be read, or the disk refuses.
pub fn repack(
    from: &Corpus,
    out: &Path,
    tokenizer: &Path,
    info: &ShardInfo,
    threads: usize,
    stop: &watch::Receiver<bool>,
) -> Result<Manifest> {
    info.config.validate()?;
    let manifest = from.manifest()?;
    // A corpus that was not built from a list says nothing of pairs.
    let run: Option<Run> = serde_json::from_value(manifest.run).ok();
    let packing = Packing {
        info: info.clone(),
        ..Packing::of(&run.map(|run| run.config).unwrap_or_default())
    };
    let documents = manifest.documents;
    let tokenizer_bytes = std::fs::read(tokenizer)
        .with_context(|| format!("cannot read the tokenizer {}", tokenizer.display()))?;
    let tokenizer = Tokenizer::from_bytes(&tokenizer_bytes, &tokenizer.display().to_string())?;
    let corpus = Corpus::at(out);
    std::fs::create_dir_all(out.join("sequences"))
        .with_context(|| format!("cannot make {}", out.display()))?;
    write_atomically(&corpus.tokenizer_path(), &tokenizer_bytes)?;
    let pool = thread_pool(threads)?;
    let packed: Vec<Packed> = pool.install(|| {
        documents
            .par_iter()
            .enumerate()
            .map(|(number, entry)| {
                if *stop.borrow() {
                    return Err(Stopped.into());
                }
                let path = from.root().join(&entry.path);
                let out = out.join(Corpus::sequences_name(number));
                pack_shard(&path, &out, &tokenizer, &packing)
            })
            .collect::<Result<_>>()
    })?;
    let config = toml::to_string(&info.config).context("cannot write the configuration")?;
    let mut manifest = Manifest::new(Sha256::of(config.as_bytes()), info.seed);
    manifest.tokenizer_sha256 = Some(tokenizer.sha256());
    for part in packed {
        manifest.sequences.push(part.sequences);
        manifest.tally.merge(&part.tally);
    }
    manifest.save(out)?;
    Ok(manifest)
}

fn thread_pool(threads: usize) -> Result<rayon::ThreadPool> {
    rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .context("cannot start the packing threads")
}

/// Packs one shard of documents into one shard of sequences.
///
/// # Errors
///
/// If either cannot be read or written.
pub fn pack_shard(
    documents: &Path,
    out: &Path,
    tokenizer: &Tokenizer,
    packing: &Packing,
) -> Result<Packed> {
    let info = &packing.info;
    let mut writer = SequenceWriter::create(out, info, tokenizer)?;
    let mut tally = Tally::default();
    for document in DocumentReader::open(documents)? {
        let mut document = document?;
        // Every window holds an image: of these there is none, and their text need not be read.
        if document.images().next().is_none() {
            tally.add("sequence/no-text-after-image", 1);
            continue;
        }
        space_before_caption(&mut document, info.seed, packing.space_probability);
        let tokenized = tokenize(&document, tokenizer)?;
        let windows = (0..info.config.windows_per_document)
            .map_while(|index| subsequence(&tokenized, info.seed, index, &info.config));
        let mut is_packed = false;
        for window in windows {
            is_packed = true;
            tally.add("sequence/kept", 1);
            tally.add("sequence-content/tokens", window.token_count as u64);
            tally.add("sequence-content/images", window.images.len() as u64);
            writer.write(&window.into_row(&packing.source, tokenizer)?)?;
        }
        if !is_packed {
            tally.add("sequence/no-text-after-image", 1);
        }
    }
    Ok(Packed {
        sequences: writer.finish()?.in_folder("sequences"),
        tally,
    })
}

/// What was counted when `documents` documents were packed into the shard of sequences at `path`.
///
/// # Errors
///
/// If it cannot be read.
pub(crate) fn count_packed(path: &Path, documents: usize) -> Result<Tally> {
    let mut tally = Tally::default();
    let mut packed = HashSet::new();
    for row in SequenceReader::open(path)? {
        let row = row?;
        tally.add("sequence/kept", 1);
        tally.add("sequence-content/tokens", row.token_count as u64);
        let images = row.frames_per_image.len() as u64;
        tally.add("sequence-content/images", images);
        packed.extend(row.document_id);
    }
    let without = documents.saturating_sub(packed.len()) as u64;
    if without > 0 {
        tally.add("sequence/no-text-after-image", without);
    }
    Ok(tally)
}

/// Trains a tokenizer on the texts of the corpus's documents, in their order, up to
/// 256 MiB of them.
///
/// # Errors
///
/// If a shard cannot be read, or the vocabulary is too small for the bytes.
pub fn train_tokenizer(
    corpus: &Corpus,
    documents: &[FileEntry],
    vocabulary_size: usize,
) -> Result<Vec<u8>> {
    let paths: Vec<PathBuf> = documents
        .iter()
        .map(|entry| corpus.root().join(&entry.path))
        .collect();
    let mut failure = None;
    let used = AtomicU64::new(0);
    let texts = paths
        .iter()
        .flat_map(|path| match DocumentReader::open(path) {
            Ok(reader) => Box::new(reader) as Box<dyn Iterator<Item = _> + Send>,
            Err(error) => Box::new(std::iter::once(Err(error))),
        })
        .map_while(|document| match document {
            Ok(document) => Some(document),
            Err(error) => {
                failure = Some(error);
                None
            }
        })
        .flat_map(|document: Document<Image>| {
            let texts: Vec<String> = document.texts().map(|text| text.content.clone()).collect();
            texts
        })
        .take_while(|text| {
            used.fetch_add(text.len() as u64, Ordering::Relaxed) < MAX_TRAINING_BYTES
        });
    let bytes = m3w_shards::train_tokenizer(texts, vocabulary_size)?;
    failure.map_or(Ok(bytes), |error| Err(error.into()))
}
