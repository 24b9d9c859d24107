//! Whether a corpus is as it was written, and says of itself what is true.

use std::collections::HashSet;
use std::path::Path;

use anyhow::Result;
use m3w_document::Sha256;
use m3w_shards::{DocumentReader, FileEntry, Manifest, SequenceReader};
use rayon::prelude::*;

use crate::corpus::Corpus;
use crate::forgotten::Forgotten;
use crate::outcomes::{OutcomeLine, lines};
use crate::unit::Unit;

/// Name of the tokenizer's file in a corpus.
pub(crate) const TOKENIZER_NAME: &str = "tokenizer.json";

/// Something that is wrong with a corpus.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, relative to the corpus.
    pub file: String,
    /// What is wrong with it, the file named.
    pub what: String,
}

/// What was found.
#[derive(Debug, Default)]
pub struct Findings {
    /// Files that the manifest names, and the tokenizer.
    pub files: usize,
    /// Rows that were read.
    pub rows: u64,
    /// What is wrong.
    pub problems: Vec<Problem>,
}

/// Compares every file with the manifest and, with `rows`, every row with what the manifest, the
/// lists of outcomes and the row itself say of it. Memory is a buffer for each thread, and for
/// each part the ids of its documents.
///
/// # Errors
///
/// If there is no manifest, or it is damaged itself.
pub fn verify(corpus: &Corpus, rows: bool) -> Result<Findings> {
    let manifest = corpus.manifest()?;
    let mut findings = Findings {
        files: entries(&manifest).count() + usize::from(manifest.tokenizer_sha256.is_some()),
        problems: damaged(corpus, &manifest),
        ..Findings::default()
    };
    strays(corpus, &manifest, &mut findings);
    counts(&manifest, &mut findings);
    if rows {
        let damaged: HashSet<String> = findings
            .problems
            .iter()
            .map(|problem| problem.file.clone())
            .collect();
        let is_whole = |entry: &&FileEntry| !damaged.contains(&entry.path);
        for (part, entry) in manifest.documents.iter().enumerate() {
            if is_whole(&entry) {
                let outcomes = manifest.outcomes.get(part).filter(is_whole);
                documents(corpus, entry, outcomes, &mut findings);
            }
        }
        for (part, entry) in manifest.sequences.iter().enumerate() {
            if is_whole(&entry) {
                let documents = manifest.documents.get(part).filter(is_whole);
                sequences(corpus, &manifest, entry, documents, &mut findings);
            }
        }
    }
    Ok(findings)
}

/// All files that a manifest lists.
pub(crate) fn entries(manifest: &Manifest) -> impl Iterator<Item = &FileEntry> {
    manifest
        .documents
        .iter()
        .chain(&manifest.sequences)
        .chain(&manifest.outcomes)
}

/// The files that are missing or have other bytes than those that were written.
pub(crate) fn damaged(corpus: &Corpus, manifest: &Manifest) -> Vec<Problem> {
    let files: Vec<&FileEntry> = entries(manifest).collect();
    let mut problems: Vec<Problem> = files
        .par_iter()
        .filter_map(|entry| {
            let error = entry.verify(corpus.root()).err()?;
            Some(Problem {
                file: entry.path.clone(),
                what: error.to_string(),
            })
        })
        .collect();
    if let Some(expected) = manifest.tokenizer_sha256 {
        let path = corpus.tokenizer_path();
        let what = match std::fs::read(&path) {
            Err(error) => Some(format!("{}: {error}", path.display())),
            Ok(bytes) => (Sha256::of(&bytes) != expected).then(|| {
                format!(
                    "{} differs from its manifest (its SHA-256 is another)",
                    path.display()
                )
            }),
        };
        problems.extend(what.map(|what| Problem {
            file: TOKENIZER_NAME.to_owned(),
            what,
        }));
    }
    problems
}

impl Findings {
    fn add(&mut self, file: &str, what: impl Into<String>) {
        self.problems.push(Problem {
            file: file.to_owned(),
            what: format!("{file}: {}", what.into()),
        });
    }
}

/// Shards that nobody listed: whoever reads `documents/*.parquet` reads them too.
fn strays(corpus: &Corpus, manifest: &Manifest, findings: &mut Findings) {
    let listed: HashSet<&str> = entries(manifest).map(|entry| entry.path.as_str()).collect();
    for folder in ["documents", "sequences", "outcomes"] {
        let mut names: Vec<String> = std::fs::read_dir(corpus.root().join(folder))
            .into_iter()
            .flatten()
            .filter_map(|file| file.ok()?.file_name().into_string().ok())
            .filter(|name| name.ends_with(".parquet") || name.ends_with(".jsonl"))
            .map(|name| format!("{folder}/{name}"))
            .filter(|name| !listed.contains(name.as_str()))
            .collect();
        names.sort();
        for name in names {
            findings.add(&name, "the manifest does not list it: delete it");
        }
    }
}

/// Whether the manifest counts what it lists.
fn counts(manifest: &Manifest, findings: &mut Findings) {
    let rows = |files: &[FileEntry]| files.iter().map(|entry| entry.rows).sum::<u64>();
    let tally = &manifest.tally;
    let kept = Unit::ALL
        .iter()
        .map(|unit| tally.get(&format!("{}/kept", unit.step())))
        .sum::<u64>();
    let mut compare = |what: &str, counted: u64, listed: u64| {
        if counted != listed {
            let what = format!("it counts {counted} {what} and lists files of {listed}");
            findings.add(m3w_shards::MANIFEST_NAME, what);
        }
    };
    if !manifest.outcomes.is_empty() {
        compare("documents", kept, rows(&manifest.documents));
    }
    let sequences = tally.get("sequence/kept");
    if sequences > 0 {
        compare("sequences", sequences, rows(&manifest.sequences));
    }
}

fn documents(
    corpus: &Corpus,
    entry: &FileEntry,
    outcomes: Option<&FileEntry>,
    findings: &mut Findings,
) {
    let check = |findings: &mut Findings| -> Result<()> {
        let mut kept: Option<Box<dyn Iterator<Item = Result<OutcomeLine>>>> = None;
        if let Some(outcomes) = outcomes {
            let has_document = |line: &Result<OutcomeLine>| {
                line.as_ref()
                    .map_or(true, |line| line.document_id.is_some())
            };
            let lines = lines(&corpus.root().join(&outcomes.path))?;
            kept = Some(Box::new(lines.filter(has_document)));
        }
        let mut rows = 0;
        let forgotten = Forgotten::load(corpus.root())?;
        let reader = DocumentReader::open(&corpus.root().join(&entry.path))?;
        for document in reader.with_damaged_pictures() {
            let document = document?;
            let id = document.id.to_string();
            if forgotten.touches("", &[], Some(&document)) {
                let what = "was to be forgotten: give the same `m3w forget` again";
                findings.add(&entry.path, format!("row {rows} ({id}) {what}"));
            }
            for image in document.images() {
                if Sha256::of(&image.bytes) != image.sha256_stored {
                    let url = &image.reference.url;
                    let what = format!("row {rows} ({id}): the bytes of {url} have another hash");
                    findings.add(&entry.path, what);
                }
            }
            if let Some(kept) = &mut kept {
                let line = kept.next().transpose()?;
                let is_named = line.as_ref().and_then(|line| line.document_id.as_ref());
                let digest = line.as_ref().and_then(|line| line.document_sha256.as_ref());
                if is_named != Some(&id) {
                    findings.add(
                        &entry.path,
                        format!("row {rows} ({id}) is not the one that its outcomes name"),
                    );
                    return Ok(());
                }
                if digest.is_some_and(|digest| *digest != document.digest().to_string()) {
                    findings.add(
                        &entry.path,
                        format!("row {rows} ({id}) is not as its outcomes describe it"),
                    );
                }
            }
            rows += 1;
        }
        findings.rows += rows;
        let left = kept.and_then(|mut kept| kept.next());
        if rows != entry.rows || left.is_some() {
            findings.add(
                &entry.path,
                format!("it has {rows} rows, fewer or more than are listed"),
            );
        }
        Ok(())
    };
    if let Err(error) = check(findings) {
        findings.add(&entry.path, format!("{error:#}"));
    }
}

fn sequences(
    corpus: &Corpus,
    manifest: &Manifest,
    entry: &FileEntry,
    documents: Option<&FileEntry>,
    findings: &mut Findings,
) {
    let check = |findings: &mut Findings| -> Result<()> {
        let ids = documents.map(|documents| ids(&corpus.root().join(&documents.path)));
        let ids = ids.transpose()?;
        let reader = SequenceReader::open(&corpus.root().join(&entry.path))?;
        let info = reader.info().clone();
        if manifest
            .tokenizer_sha256
            .is_some_and(|expected| expected != info.tokenizer_sha256)
        {
            findings.add(&entry.path, "it was made with another tokenizer");
        }
        let mut rows = 0;
        for row in reader {
            let row = row?;
            let is_beyond = |id: &&u32| **id as usize >= info.vocabulary_size;
            if let Some(id) = row.tokens.iter().find(is_beyond) {
                findings.add(
                    &entry.path,
                    format!("row {rows} ({}): its vocabulary has no token {id}", row.id),
                );
            }
            if let (Some(ids), Some(id)) = (&ids, row.document_id)
                && !ids.contains(&id)
            {
                findings.add(
                    &entry.path,
                    format!("row {rows} ({}) is of a document that is not there", row.id),
                );
            }
            rows += 1;
        }
        findings.rows += rows;
        if rows != entry.rows {
            findings.add(
                &entry.path,
                format!("it has {rows} rows, {} are listed", entry.rows),
            );
        }
        Ok(())
    };
    if let Err(error) = check(findings) {
        findings.add(&entry.path, format!("{error:#}"));
    }
}

fn ids(path: &Path) -> Result<HashSet<m3w_document::DocumentId>> {
    let reader = DocumentReader::open(path)?;
    Ok(reader
        .map(|document| document.map(|document| document.id))
        .collect::<Result<_, _>>()?)
}
