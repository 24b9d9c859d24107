//! Windows drawn anew each epoch, from documents.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use rand::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::document_rows::document;
use crate::guard::catch_panic;
use crate::randomness::generator;
use crate::rows::SequenceRow;
use crate::sequence_rows::SequenceColumns;
use crate::tokenize::{token_ids, with_ids};
use crate::{Config, Error, Tokenizer, schema, subsequence};

/// Windows that a loader draws from documents, others in each epoch, as the paper trains
/// (arXiv 2204.14198, section 2.4).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FreshWindows {
    /// L: tokens in a row.
    pub sequence_length: usize,
    /// N: most images in a row; 1 to 255.
    pub images_per_sequence: usize,
    /// Windows drawn from one document in an epoch, all different; a short document yields fewer.
    pub windows_per_document: usize,
    /// Most bytes of token ids that are kept for later epochs. What does not fit is tokenized each
    /// time it is read: the batches are the same.
    pub cache_bytes: usize,
}

impl Default for FreshWindows {
    fn default() -> Self {
        let packing = Config::default();
        Self {
            sequence_length: packing.sequence_length,
            images_per_sequence: packing.images_per_sequence,
            windows_per_document: packing.windows_per_document,
            cache_bytes: 256 << 20,
        }
    }
}

/// The seed of the windows of an epoch: that of the run in epoch 0, so that the first epoch shows
/// the windows which packing with that seed makes; another in each later one.
fn epoch_seed(seed: u64, epoch: u64) -> u64 {
    match epoch {
        0 => seed,
        _ => generator(seed, "windows of an epoch", &[&epoch.to_le_bytes()]).next_u64(),
    }
}

/// Makes rows of documents.
pub(crate) struct WindowMaker {
    pub(crate) config: Config,
    tokenizer: Arc<Tokenizer>,
    seed: u64,
    schema: SchemaRef,
    cache: Mutex<Cache>,
    cache_bytes: usize,
}

/// Token ids by the number of their document. What came first stays: an epoch goes through all, so
/// to make room for the latest would lose what the next epoch asks for first.
#[derive(Default)]
struct Cache {
    ids: HashMap<u64, Arc<[u32]>>,
    bytes: usize,
}

impl WindowMaker {
    /// # Errors
    ///
    /// [`Error::Config`].
    pub(crate) fn new(
        windows: &FreshWindows,
        tokenizer: &Arc<Tokenizer>,
        seed: u64,
    ) -> Result<Self, Error> {
        let config = Config {
            sequence_length: windows.sequence_length,
            images_per_sequence: windows.images_per_sequence,
            windows_per_document: windows.windows_per_document,
            ..Config::default()
        };
        config.validate()?;
        Ok(Self {
            schema: Arc::new(schema::sequences_schema(config.sequence_length)),
            config,
            tokenizer: Arc::clone(tokenizer),
            seed,
            cache: Mutex::default(),
            cache_bytes: windows.cache_bytes,
        })
    }

    /// The windows of these documents, of which the first has the number `first`: as rows of the
    /// `sequences` form, and for each document and window in order the index of its row, if the
    /// document has that window. Documents are worked on in parallel on the current thread pool.
    ///
    /// # Errors
    ///
    /// The index of a document that breaks a promise or that the tokenizer fails on, and why.
    pub(crate) fn rows(
        &self,
        documents: &RecordBatch,
        first: u64,
        epoch: u64,
    ) -> Result<(RecordBatch, Vec<Option<usize>>), (usize, String)> {
        let made: Vec<Result<Vec<SequenceRow>, String>> = (0..documents.num_rows())
            .into_par_iter()
            .map(|index| {
                catch_panic(|| self.windows(documents, index, first + index as u64, epoch))
                    .and_then(|windows| windows)
            })
            .collect();
        let mut columns = SequenceColumns::default();
        let mut places = Vec::with_capacity(made.len() * self.config.windows_per_document);
        let mut count = 0;
        for (index, windows) in made.into_iter().enumerate() {
            let windows = windows.map_err(|problem| (index, problem))?;
            for row in &windows {
                columns.push(row).map_err(|problem| (index, problem))?;
                places.push(Some(count));
                count += 1;
            }
            let absent = self.config.windows_per_document - windows.len();
            places.extend(std::iter::repeat_n(None, absent));
        }
        let rows = columns
            .finish(&self.schema)
            .map_err(|error| (0, error.to_string()))?;
        Ok((rows, places))
    }

    fn windows(
        &self,
        documents: &RecordBatch,
        index: usize,
        number: u64,
        epoch: u64,
    ) -> Result<Vec<SequenceRow>, String> {
        let document = document(documents, index)?;
        let ids = match self.cached(number) {
            Some(ids) => ids,
            None => {
                let ids = token_ids(&document, &self.tokenizer);
                let ids: Arc<[u32]> = ids.map_err(|error| error.to_string())?.into();
                self.keep(number, &ids);
                ids
            }
        };
        let tokenized = with_ids(&document, ids.to_vec(), self.tokenizer.special_ids());
        let seed = epoch_seed(self.seed, epoch);
        Ok((0..self.config.windows_per_document)
            .map_while(|index| subsequence(&tokenized, seed, index, &self.config))
            // Nobody reads what a row in memory spells, nor where it is from.
            .map(|window| window.row(String::new(), String::new()))
            .collect())
    }

    fn cached(&self, number: u64) -> Option<Arc<[u32]>> {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.ids.get(&number).map(Arc::clone)
    }

    fn keep(&self, number: u64, ids: &Arc<[u32]>) {
        let bytes = size_of_val(&**ids);
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if cache.bytes + bytes <= self.cache_bytes {
            cache.bytes += bytes;
            cache.ids.insert(number, Arc::clone(ids));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_epoch_has_the_seed_of_the_run_and_each_later_one_its_own() {
        assert_eq!(epoch_seed(7, 0), 7);
        let mut seeds: Vec<u64> = (0..100).map(|epoch| epoch_seed(7, epoch)).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), 100);
    }
}
