//! Windows drawn anew each epoch, from documents.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError};

use arrow::array::RecordBatch;
use rand::Rng;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::columns::Problem;
use crate::document_view::{DocumentView, PATHS, PATHS_BUT_TEXTS};
use crate::guard::catch_panic;
use crate::randomness::generator;
use crate::sequence_rows::DrawnRow;
use crate::subsequence::Layout;
use crate::tokenize::{Piece, image_positions, pieces, token_ids};
use crate::{Config, Error, Tokenizer};

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
            cache_bytes: 1 << 30,
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
            config,
            tokenizer: Arc::clone(tokenizer),
            seed,
            cache: Mutex::default(),
            cache_bytes: windows.cache_bytes,
        })
    }

    /// The columns that the windows of the documents with these numbers are made of: not their
    /// texts, if all have been tokenized.
    pub(crate) fn columns(&self, mut documents: Range<u64>) -> &'static [&'static str] {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if documents.all(|number| cache.ids.contains_key(&number)) {
            PATHS_BUT_TEXTS
        } else {
            PATHS
        }
    }

    /// The windows of the documents of a batch, of which the first has the number `first`; `None`
    /// for each that a document is too short for. Documents are worked on in parallel on the
    /// current thread pool.
    ///
    /// # Errors
    ///
    /// The index of a document that breaks a promise or that the tokenizer fails on, and why.
    pub(crate) fn rows(
        &self,
        documents: &RecordBatch,
        first: u64,
        epoch: u64,
    ) -> Result<Vec<Option<DrawnRow>>, (usize, Problem)> {
        let made: Vec<Result<Vec<DrawnRow>, Problem>> = (0..documents.num_rows())
            .into_par_iter()
            .map(|index| {
                catch_panic(|| {
                    let document = DocumentView::of(documents, index)?;
                    self.windows(&document, first + index as u64, epoch)
                })
                .and_then(|windows| windows)
            })
            .collect();
        let mut rows = Vec::with_capacity(made.len() * self.config.windows_per_document);
        for (index, windows) in made.into_iter().enumerate() {
            rows.extend(
                windows
                    .map_err(|problem| (index, problem))?
                    .into_iter()
                    .map(Some),
            );
            rows.resize_with((index + 1) * self.config.windows_per_document, || None);
        }
        Ok(rows)
    }

    fn windows(
        &self,
        document: &DocumentView<'_>,
        number: u64,
        epoch: u64,
    ) -> Result<Vec<DrawnRow>, Problem> {
        let pieces = pieces(document.parts()?);
        let ids = match self.cached(number) {
            Some(ids) => ids,
            None => {
                let ids = token_ids(&pieces, &self.tokenizer);
                let ids: Arc<[u32]> = ids.map_err(|error| error.to_string())?.into();
                self.keep(number, &ids);
                ids
            }
        };
        let images = pieces.into_iter().filter_map(|piece| match piece {
            Piece::Image(frames) => Some(frames),
            Piece::Text(_) => None,
        });
        let images: Vec<Vec<usize>> = images.collect();
        let special = self.tokenizer.special_ids();
        let layout = Layout {
            document_id: document.id,
            ids: &ids,
            image_positions: &image_positions(&ids, &special),
            special: &special,
        };
        let seed = epoch_seed(self.seed, epoch);
        (0..self.config.windows_per_document)
            .map_while(|index| Some((index, layout.window(seed, index, &self.config)?)))
            .map(|(index, window)| {
                let images = &images[window.images];
                Ok(DrawnRow {
                    id: format!("{}-{index}", document.id),
                    tokens: window.tokens,
                    token_count: window.token_count,
                    // No clip has more frames than a byte counts.
                    frames_per_image: images.iter().map(|frames| frames.len() as u8).collect(),
                    pictures: images
                        .iter()
                        .flatten()
                        .map(|&frame| document.picture(frame))
                        .collect::<Result<_, Problem>>()?,
                })
            })
            .collect()
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
