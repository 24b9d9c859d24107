//! What is a function of the documents: the tokenizer, training rows, and what is counted.

use anyhow::{Context, Result};
use m3w_document::{Sha256, Tally};
use m3w_shards::{Tokenizer, write_atomically};

use super::{Repair, Repaired};
use crate::build::Stopped;
use crate::pack::{self, Packing, count_packed, pack_shard};
use crate::retry::Stored;
use crate::verify::TOKENIZER_NAME;

impl Repair<'_> {
    /// Restores the tokenizer.
    pub(super) fn tokenizer(&mut self, repaired: &mut Repaired) -> Result<()> {
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
    pub(super) fn sequences(&mut self, repaired: &mut Repaired) -> Result<()> {
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
    pub(super) fn count(&mut self) -> Result<()> {
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
                tally.merge(&count_packed(&path, ids.len())?);
            }
        }
        self.next.tally = tally;
        Ok(())
    }
}
