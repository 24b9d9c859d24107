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

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::{Context, Result, bail, ensure};
use m3w_document::{Document, Image, Sha256, Tally};
use m3w_shards::{
    DocumentReader, DocumentWriter, FileEntry, MANIFEST_NAME, Manifest, Tokenizer, write_atomically,
};
use tokio::sync::watch;

use crate::build::{Stopped, shard_info};
use crate::config::BuildConfig;
use crate::corpus::{Corpus, file_entry};
use crate::forgotten::Forgotten;
use crate::named::Key;
use crate::outcomes::{OutcomeLine, lines};
use crate::pack::{Packing, count_shard, pack_shard};
use crate::progress::Progress;
use crate::repair::run_of;
use crate::retry::Stored;
use crate::staging::Staging;
use crate::verify::TOKENIZER_NAME;

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
    let staging = Staging::open(&corpus)?;
    let manifest = corpus.manifest()?;
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
    let config = run_of(&corpus)?.config;
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
    let mut work = Forget {
        corpus: &corpus,
        staging: &staging,
        config: &config,
        forgotten: &forgotten,
        proof: Proof {
            matched: matched.collect(),
            before: Counts::of(&manifest),
            ..Proof::default()
        },
        next: manifest,
        tokenizer: None,
    };
    let parts = work.next.documents.len();
    let parts_each = parts.div_ceil(MOST_COMMITS);
    let progress = Progress::new("shards", 0, parts as u64, options.is_quiet);
    let mut waiting = 0;
    for number in 0..parts {
        if *stop.borrow() {
            return Err(Stopped.into());
        }
        if work.look_through(number)? {
            if waiting == 0 {
                staging.prepare()?;
            }
            work.write(number)?;
            waiting += 1;
        }
        if waiting > 0 && (waiting >= parts_each || number + 1 == parts) {
            staging.commit(&work.next)?;
            waiting = 0;
        }
        progress.step(String::new);
    }
    if waiting > 0 {
        staging.commit(&work.next)?;
    }
    progress.finish();
    let mut proof = work.proof;
    proof.after = Counts::of(&work.next);
    proof.manifest_sha256 = Some((digest_before, digest()?));
    // With the journals of a repair that was stopped: they may hold what is to be forgotten.
    staging.remove()?;
    Ok(proof)
}

struct Forget<'a> {
    corpus: &'a Corpus,
    staging: &'a Staging,
    config: &'a BuildConfig,
    forgotten: &'a Forgotten,
    proof: Proof,
    /// The manifest of what is there in the end.
    next: Manifest,
    tokenizer: Option<Tokenizer>,
}

impl Forget<'_> {
    /// Whether a part holds something to be forgotten.
    fn look_through(&mut self, number: usize) -> Result<bool> {
        let root = self.corpus.root();
        let path = root.join(&self.next.documents[number].path);
        let mut documents = DocumentReader::open_without_pictures(&path)?;
        let mut is_touched = false;
        for line in lines(&root.join(&self.next.outcomes[number].path))? {
            let line = line?;
            let document = match line.document_id {
                Some(_) => Some(documents.next().with_context(|| {
                    format!("{} has fewer rows than outcomes: repair it", path.display())
                })??),
                None => None,
            };
            let document = document.as_ref();
            if self
                .forgotten
                .touches(&line.url, &line.images_dropped, document)
            {
                is_touched = true;
                self.count(&line, document);
            }
        }
        Ok(is_touched)
    }

    fn count(&mut self, line: &OutcomeLine, document: Option<&Document<Image>>) {
        let matches = self.forgotten.named.matches(&line.url, document);
        for key in &matches.page {
            if let Some(matched) = self.proof.matched.get_mut(key) {
                matched.documents += 1;
            }
        }
        for key in matches.pictures.iter().flatten() {
            if let Some(matched) = self.proof.matched.get_mut(key) {
                matched.pictures += 1;
            }
        }
    }

    /// Writes a part anew, beside the corpus.
    fn write(&mut self, number: usize) -> Result<()> {
        let root = self.corpus.root();
        let listed = [
            Some(self.next.documents[number].clone()),
            Some(self.next.outcomes[number].clone()),
            self.next.sequences.get(number).cloned(),
        ];
        for entry in listed.iter().flatten() {
            entry.verify(root).with_context(|| {
                format!(
                    "{} has to be written anew: `m3w repair` it first",
                    entry.path
                )
            })?;
        }
        let [Some(documents), Some(outcomes), sequences] = listed else {
            bail!("part {number} has no documents");
        };
        let stored = Stored {
            documents: root.join(&documents.path),
            outcomes: root.join(&outcomes.path),
        };
        let (unit, least) = (self.config.unit(), self.config.filter.min_images);
        let info = shard_info(self.config);
        let mut writer = DocumentWriter::create(&self.staging.path(&documents.path), &info)?;
        let mut text = Vec::new();
        let (mut old, mut new) = (Tally::default(), Tally::default());
        let mut documents_before = 0;
        let mut rewritten = Vec::new();
        for outcome in stored.outcomes()? {
            let (mut outcome, mut line) = outcome?;
            outcome.count(unit, &mut old);
            documents_before += usize::from(outcome.document.is_some());
            let dropped = &outcome.images_dropped;
            if self
                .forgotten
                .touches(&outcome.text, dropped, outcome.document.as_ref())
            {
                self.forgotten.apply(&mut outcome, unit, least);
                line = OutcomeLine::of(&outcome);
            }
            if let Some(document) = &outcome.document {
                writer.write(document)?;
            }
            outcome.count(unit, &mut new);
            text.extend(line.text()?.into_bytes());
            text.push(b'\n');
        }
        let written = FileEntry {
            path: documents.path.clone(),
            ..writer.finish()?
        };
        write_atomically(&self.staging.path(&outcomes.path), &text)?;
        let listing = file_entry(&self.staging.path(""), &outcomes.path, outcomes.rows)?;
        if let Some(sequences) = sequences {
            old.merge(&count_shard(&root.join(&sequences.path), documents_before)?);
            let packing = Packing::of(self.config);
            let from = self.staging.path(&documents.path);
            let to = self.staging.path(&sequences.path);
            let packed = pack_shard(&from, &to, self.tokenizer()?, &packing)?;
            new.merge(&packed.tally);
            self.next.sequences[number] = packed.sequences.clone();
            rewritten.push((sequences, packed.sequences));
        }
        self.next.tally.take_away(&old);
        self.next.tally.merge(&new);
        self.next.documents[number] = written.clone();
        self.next.outcomes[number] = listing.clone();
        rewritten.extend([(documents, written), (outcomes, listing)]);
        rewritten.retain(|(before, after)| before != after);
        self.proof.rewritten.extend(rewritten);
        Ok(())
    }

    /// The corpus's tokenizer, as the manifest lists it.
    fn tokenizer(&mut self) -> Result<&Tokenizer> {
        if self.tokenizer.is_none() {
            let tokenizer = Tokenizer::from_file(&self.corpus.tokenizer_path())?;
            ensure!(
                self.next.tokenizer_sha256 == Some(tokenizer.sha256()),
                "{TOKENIZER_NAME} is not the one that the rows were packed with: `m3w repair` it \
                 first"
            );
            self.tokenizer = Some(tokenizer);
        }
        self.tokenizer.as_ref().context("it was read above")
    }
}
