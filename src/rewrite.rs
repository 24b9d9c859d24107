//! Shards of a finished corpus written anew, with rows changed or without some.
//!
//! Only parts that change are touched: their documents, their list of outcomes and their training
//! rows, which are a function of the documents. What is counted changes with them. The files wait
//! beside the corpus (see `src/staging.rs`) until the manifest that lists them is written; a part
//! that was written before a kill is not written again.
//!
//! Memory is a row group of documents and one of training rows for each thread.

use anyhow::{Context, Result, ensure};
use m3w_document::Tally;
use m3w_shards::{DocumentWriter, FileEntry, Manifest, Tokenizer, write_atomically};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::build::{Stopped, shard_info};
use crate::corpus::{Corpus, Run, file_entry};
use crate::journal::Outcome;
use crate::outcomes::OutcomeLine;
use crate::pack::{Packing, count_packed, pack_shard};
use crate::retry::Stored;
use crate::staging::Staging;

/// A finished corpus whose parts are to be written anew.
pub(crate) struct Rewrite<'a> {
    pub(crate) corpus: &'a Corpus,
    pub(crate) run: &'a Run,
    pub(crate) manifest: &'a Manifest,
    /// Where the new files wait. What it holds of parts has to come from the same changes.
    pub(crate) staging: &'a Staging,
    pub(crate) stop: &'a watch::Receiver<bool>,
}

/// A part that was written anew.
#[derive(Debug, Serialize, Deserialize)]
struct Rewritten {
    documents: FileEntry,
    outcomes: FileEntry,
    sequences: Option<FileEntry>,
    /// What the manifest counts of the part as it was.
    before: Tally,
    after: Tally,
}

impl Rewrite<'_> {
    /// Writes the parts for which `changes` has a change; the manifest of what is there once
    /// [`Staging::commit`] has been called with it. A change gets every row of its part in turn, in
    /// input order, and says whether it changed it. Runs in the rayon pool it is called in.
    ///
    /// # Errors
    ///
    /// [`Stopped`], or if a shard cannot be read, or the disk refuses.
    pub(crate) fn write<C>(
        &self,
        changes: impl Fn(usize) -> Result<Option<C>> + Sync,
    ) -> Result<Manifest>
    where
        C: FnMut(&mut Outcome) -> Result<bool>,
    {
        self.staging.prepare()?;
        let path = self.corpus.tokenizer_path();
        let tokenizer = match self.manifest.tokenizer_sha256 {
            Some(expected) => {
                let tokenizer = Tokenizer::from_file(&path)?;
                ensure!(
                    tokenizer.sha256() == expected,
                    "{} is not the one that the rows were packed with: `m3w repair` it first",
                    path.display()
                );
                Some(tokenizer)
            }
            None => None,
        };
        let rewritten: Vec<Option<Rewritten>> = (0..self.manifest.documents.len())
            .into_par_iter()
            .map(|number| {
                let Some(change) = changes(number)? else {
                    return Ok(None);
                };
                let record = self.staging.beside(number, "rewritten");
                if let Ok(text) = std::fs::read_to_string(&record) {
                    let known = serde_json::from_str(&text).with_context(|| {
                        format!("{} is broken: delete its folder", record.display())
                    });
                    return known.map(Some);
                }
                let part = self.part(number, change, tokenizer.as_ref())?;
                let text = serde_json::to_vec(&part).context("cannot write a part's record")?;
                write_atomically(&record, &text)?;
                Ok(Some(part))
            })
            .collect::<Result<_>>()?;
        let mut next = self.manifest.clone();
        for (number, part) in rewritten.into_iter().enumerate() {
            let Some(part) = part else { continue };
            next.tally.subtract(&part.before);
            next.tally.merge(&part.after);
            next.documents[number] = part.documents;
            next.outcomes[number] = part.outcomes;
            if let Some(sequences) = part.sequences {
                next.sequences[number] = sequences;
            }
        }
        Ok(next)
    }

    fn part(
        &self,
        number: usize,
        mut change: impl FnMut(&mut Outcome) -> Result<bool>,
        tokenizer: Option<&Tokenizer>,
    ) -> Result<Rewritten> {
        let unit = self.run.config.unit();
        let root = self.corpus.root();
        let (documents, outcomes) = (
            &self.manifest.documents[number],
            &self.manifest.outcomes[number],
        );
        for entry in [
            Some(documents),
            Some(outcomes),
            self.manifest.sequences.get(number),
        ] {
            let Some(entry) = entry else { continue };
            entry.verify(root).with_context(|| {
                let path = &entry.path;
                format!("{path} has to be written anew: `m3w repair` it first")
            })?;
        }
        let stored = Stored {
            documents: root.join(&documents.path),
            outcomes: root.join(&outcomes.path),
        };
        let new_documents = self.staging.path(&documents.path);
        let mut writer = DocumentWriter::create(&new_documents, &shard_info(&self.run.config))?;
        let mut lines = Vec::new();
        let (mut before, mut after) = (Tally::default(), Tally::default());
        let mut documents_before = 0;
        for outcome in stored.outcomes()? {
            if *self.stop.borrow() {
                return Err(Stopped.into());
            }
            let (mut outcome, line) = outcome?;
            outcome.count(unit, &mut before);
            documents_before += usize::from(outcome.document.is_some());
            let line = if change(&mut outcome)? {
                OutcomeLine::of(&outcome)
            } else {
                line
            };
            outcome.count(unit, &mut after);
            if let Some(document) = &outcome.document {
                writer.write(document)?;
            }
            lines.extend(line.text()?.into_bytes());
            lines.push(b'\n');
        }
        let written = FileEntry {
            path: documents.path.clone(),
            ..writer.finish()?
        };
        write_atomically(&self.staging.path(&outcomes.path), &lines)?;
        let sequences = match (self.manifest.sequences.get(number), tokenizer) {
            (Some(sequences), Some(tokenizer)) => {
                before.merge(&count_packed(
                    &root.join(&sequences.path),
                    documents_before,
                )?);
                let packed = pack_shard(
                    &new_documents,
                    &self.staging.path(&sequences.path),
                    tokenizer,
                    &Packing::of(&self.run.config),
                )?;
                after.merge(&packed.tally);
                Some(packed.sequences)
            }
            _ => None,
        };
        Ok(Rewritten {
            documents: written,
            outcomes: file_entry(&self.staging.path(""), &outcomes.path, outcomes.rows)?,
            sequences,
            before,
            after,
        })
    }
}
