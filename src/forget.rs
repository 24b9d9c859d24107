//! Takes pages, pictures and whole domains out of a finished corpus, for good.
//!
//! What is asked for is written into the corpus's list first ([`crate::forgotten`]); from then on
//! nothing brings it back. Then each part that holds some of it is written anew beside the corpus:
//! its documents, its list of outcomes, its training rows, packed as they were. Files that are not
//! touched stay, byte for byte. New files take their places together with the manifest that lists
//! them (`src/staging.rs`), some parts at a time: killed at any moment the corpus is whole as far as
//! it got, and the same call goes on.
//!
//! Memory: one document with its pictures, a row group of each form, and 50 bytes for each thing
//! asked for.

use std::collections::{BTreeMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use m3w_document::{Document, Image, Sha256};
use m3w_shards::{DocumentReader, FileEntry, MANIFEST_NAME, Manifest};
use tokio::sync::watch;

use crate::build::Stopped;
use crate::corpus::Corpus;
use crate::forgotten::Forgotten;
use crate::journal::Outcome;
use crate::named::Key;
use crate::outcomes::{OutcomeLine, lines};
use crate::progress::Progress;
use crate::repair::run_of;
use crate::rewrite::Rewrite;
use crate::staging::{self, Staging};
use crate::verify::entries;

/// New manifests that one call writes at most: each lists all files of the corpus.
const MOST_COMMITS: usize = 64;

/// What is to be forgotten, and where.
#[derive(Debug, Clone)]
pub struct ForgetOptions {
    /// Directory of the corpus.
    pub corpus: PathBuf,
    /// What is asked for.
    pub keys: Vec<Key>,
    /// Whether to keep silent about progress.
    pub is_quiet: bool,
}

/// What was there and what is there now.
#[derive(Debug, Default)]
pub struct Proof {
    /// For each thing asked for the documents and pictures that it named.
    pub matched: BTreeMap<Key, Matched>,
    /// Files that were written anew: as they were, and as they are.
    pub rewritten: Vec<(FileEntry, FileEntry)>,
    /// Counts of the corpus before: documents, pictures, training rows.
    pub before: Counts,
    /// Counts of the corpus after.
    pub after: Counts,
    /// Hash of the manifest's file before and after.
    pub manifest_sha256: Option<(Sha256, Sha256)>,
}

/// What one of the things asked for named.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Matched {
    /// Inputs that went whole.
    pub documents: u64,
    /// Pictures that went out of documents.
    pub pictures: u64,
}

/// What a corpus holds.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Counts {
    /// Rows of documents.
    pub documents: u64,
    /// Pictures in them.
    pub pictures: u64,
    /// Training rows.
    pub sequences: u64,
}

impl Counts {
    fn of(manifest: &Manifest) -> Self {
        let rows = |files: &[FileEntry]| files.iter().map(|entry| entry.rows).sum();
        Self {
            documents: rows(&manifest.documents),
            pictures: manifest.tally.get("image/kept"),
            sequences: rows(&manifest.sequences),
        }
    }
}

/// Takes out of a corpus what is asked for, and what was asked for before and is still there.
///
/// # Errors
///
/// [`Stopped`]; if the build is not finished, a file that has to be read is damaged, or the disk
/// refuses.
pub fn forget(options: &ForgetOptions, stop: &watch::Receiver<bool>) -> Result<Proof> {
    let corpus = Corpus::at(&options.corpus);
    let root = corpus.root();
    if !root.join(MANIFEST_NAME).exists() {
        corpus.manifest()?;
    }
    // What is left of other work may hold what is to be forgotten.
    for folder in [staging::FORGET, staging::REPAIR, staging::DEDUP] {
        Staging::open(&corpus, folder)?.remove()?;
    }
    let mut manifest = corpus.manifest()?;
    if manifest.documents.is_empty() && !manifest.sequences.is_empty() {
        bail!(
            "{} holds training rows only: forget in the corpus that they were packed from, and \
             pack again",
            root.display()
        );
    }
    ensure!(
        manifest.outcomes.len() == manifest.documents.len(),
        "{} has no list of outcomes for each shard of documents: build it anew",
        root.display()
    );
    let run = run_of(&corpus)?;
    let mut forgotten = Forgotten::load(root)?;
    options
        .keys
        .iter()
        .for_each(|key| forgotten.named.insert(*key));
    // The order is important: what is on the list cannot come back, whenever this is stopped.
    forgotten.save(root)?;

    let manifest_path = root.join(MANIFEST_NAME);
    let digest = || -> Result<Sha256> {
        let bytes = std::fs::read(&manifest_path);
        let context = || format!("cannot read {}", manifest_path.display());
        Ok(Sha256::of(&bytes.with_context(context)?))
    };
    let digest_before = digest()?;
    let matched = options.keys.iter().map(|key| (*key, Matched::default()));
    let mut search = Search {
        forgotten: &forgotten,
        matched: matched.collect(),
    };
    let before = Counts::of(&manifest);
    let (unit, least) = (run.config.unit(), run.config.filter.min_images);
    let parts = manifest.documents.len();
    let progress = Progress::new("shards", 0, parts as u64, options.is_quiet);
    let mut rewritten = Vec::new();
    let mut touched = HashSet::new();
    for number in 0..parts {
        if *stop.borrow() {
            return Err(Stopped.into());
        }
        let documents = root.join(&manifest.documents[number].path);
        let outcomes = root.join(&manifest.outcomes[number].path);
        if search.finds(&documents, &outcomes)? {
            touched.insert(number);
        }
        progress.step(String::new);
        let is_due = touched.len() >= parts.div_ceil(MOST_COMMITS) || number + 1 == parts;
        if touched.is_empty() || !is_due {
            continue;
        }
        let staging = Staging::open(&corpus, staging::FORGET)?;
        let rewrite = Rewrite {
            corpus: &corpus,
            run: &run,
            manifest: &manifest,
            staging: &staging,
            stop,
        };
        let next = rewrite.write(|number| {
            let change = |outcome: &mut Outcome| {
                let (dropped, document) = (&outcome.images_dropped, outcome.document.as_ref());
                let is_touched = forgotten.touches(&outcome.text, dropped, document);
                if is_touched {
                    forgotten.apply(outcome, unit, least);
                }
                Ok(is_touched)
            };
            Ok(touched.contains(&number).then_some(change))
        })?;
        staging.commit(&next)?;
        staging.remove()?;
        let pairs = entries(&manifest).cloned().zip(entries(&next).cloned());
        rewritten.extend(pairs.filter(|(before, after)| before != after));
        manifest = next;
        touched.clear();
    }
    progress.finish();
    Ok(Proof {
        matched: search.matched,
        rewritten,
        before,
        after: Counts::of(&manifest),
        manifest_sha256: Some((digest_before, digest()?)),
    })
}

/// Goes through a corpus for what is to be forgotten.
struct Search<'a> {
    forgotten: &'a Forgotten,
    matched: BTreeMap<Key, Matched>,
}

impl Search<'_> {
    /// Whether a part holds something to be forgotten.
    fn finds(&mut self, documents: &Path, outcomes: &Path) -> Result<bool> {
        let mut rows = DocumentReader::open_without_pictures(documents)?;
        let mut is_found = false;
        for line in lines(outcomes)? {
            let line = line?;
            let document = match line.document_id {
                Some(_) => Some(rows.next().with_context(|| {
                    let path = documents.display();
                    format!("{path} has fewer rows than outcomes: repair it")
                })??),
                None => None,
            };
            let document = document.as_ref();
            let dropped = &line.images_dropped;
            if self.forgotten.touches(&line.url, dropped, document) {
                is_found = true;
                self.count(&line, document);
            }
        }
        Ok(is_found)
    }

    fn count(&mut self, line: &OutcomeLine, document: Option<&Document<Image>>) {
        let matches = self.forgotten.named.matches(&line.url, document);
        for key in &matches.page {
            if let Some(matched) = self.matched.get_mut(key) {
                matched.documents += 1;
            }
        }
        for key in matches.pictures.iter().flatten() {
            if let Some(matched) = self.matched.get_mut(key) {
                matched.pictures += 1;
            }
        }
    }
}
