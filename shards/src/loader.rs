//! Batches from a corpus, epoch after epoch.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread::JoinHandle;

use serde::{Deserialize, Serialize};

use crate::batch::BatchMaker;
use crate::corpus::Corpus;
use crate::pixels::Normalisation;
use crate::producer::Producer;
use crate::reader::SequenceInfo;
use crate::{
    Batch, BatchShape, CLIP_DEVIATION, CLIP_MEAN, ColourJitter, Error, Fit, FreshWindows, Tokenizer,
};

/// How rows become batches.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LoaderConfig {
    /// B: rows in a batch.
    pub batch_size: usize,
    /// H and W: side of the square pictures. 320 in Flamingo (arXiv 2204.14198, appendix B.1.1).
    pub image_side_px: u32,
    /// How a picture of any shape becomes a square.
    pub fit: Fit,
    /// Mean by channel, of values from 0 to 1.
    pub mean: [f32; 3],
    /// Standard deviation by channel.
    pub deviation: [f32; 3],
    /// F: most frames of an image; those beyond are left out.
    pub frames_per_image: usize,
    /// Whether half of the rows, drawn by the seed, have their pictures mirrored.
    pub horizontal_flip: bool,
    /// How far the colours of a picture may be changed.
    pub colour_jitter: ColourJitter,
    /// Probability that the text after a row's first image begins with a space, drawn anew each
    /// epoch: 1/2 for pairs in Flamingo (appendix B.1.2), as prompts come both ways. `None` leaves
    /// the rows as they were packed.
    pub space_prefix_probability: Option<f64>,
    /// Probability that the text of a row attends to the next image instead of the previous one;
    /// 1/2 in Flamingo (appendix A.3.2), drawn anew each epoch.
    pub next_image_probability: f64,
    /// Windows to draw from the corpus's documents, anew each epoch; `None` takes the windows that
    /// were packed.
    pub fresh_windows: Option<FreshWindows>,
    /// Rows held for shuffling, encoded; whole row groups, so it is a lower bound. 0 keeps the
    /// corpus's order.
    pub shuffle_buffer: usize,
    /// Seed of the order and of all draws.
    pub seed: u64,
    /// Threads that decode pictures; 0 takes one per core.
    pub threads: usize,
    /// Batches made ahead of time.
    pub prefetch_batches: usize,
    /// Times to go through the corpus; `None` never ends. Batches run on over the end of an epoch,
    /// only the very last may be smaller.
    pub epochs: Option<u64>,
    /// The part of each batch that this process takes. It belongs to a launch, not to a run, so
    /// it is in no file.
    #[serde(skip)]
    pub share: Share,
}

/// Which of several processes that train together this is.
///
/// Together they take the rows that one process with `of` times the batch size would take, in that
/// order: process 0 the first [`LoaderConfig::batch_size`] of each `of` times as many, and so on.
/// A state is of all of them, so a run may go on with another number of processes. All read the
/// encoded rows, each decodes its own. Where there are several, rows at the end of the last epoch
/// that do not fill a batch of each are left out, so that all end after the same step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Share {
    /// This process, from 0.
    pub rank: usize,
    /// All processes.
    pub of: usize,
}

impl Default for Share {
    fn default() -> Self {
        Self { rank: 0, of: 1 }
    }
}

impl Default for LoaderConfig {
    fn default() -> Self {
        Self {
            batch_size: 8,
            image_side_px: 320,
            fit: Fit::Pad,
            mean: CLIP_MEAN,
            deviation: CLIP_DEVIATION,
            frames_per_image: 1,
            horizontal_flip: false,
            colour_jitter: ColourJitter::default(),
            space_prefix_probability: None,
            next_image_probability: 0.5,
            fresh_windows: None,
            shuffle_buffer: 1000,
            seed: 0,
            threads: 0,
            prefetch_batches: 2,
            epochs: None,
            share: Share::default(),
        }
    }
}

impl LoaderConfig {
    fn validate(&self) -> Result<(), Error> {
        let refuse = |key, value: String, requirement| {
            Err(Error::Config {
                key,
                value,
                requirement,
            })
        };
        if self.batch_size == 0 {
            return refuse("batch_size", "0".to_owned(), "it must be at least 1");
        }
        if !(1..=4096).contains(&self.image_side_px) {
            return refuse(
                "image_side_px",
                self.image_side_px.to_string(),
                "it must be 1 to 4096",
            );
        }
        if !(1..=255).contains(&self.frames_per_image) {
            return refuse(
                "frames_per_image",
                self.frames_per_image.to_string(),
                "it must be 1 to 255",
            );
        }
        for (key, value) in [
            ("next_image_probability", self.next_image_probability),
            (
                "space_prefix_probability",
                self.space_prefix_probability.unwrap_or_default(),
            ),
        ] {
            if !(0.0..=1.0).contains(&value) {
                return refuse(key, value.to_string(), "it must be 0 to 1");
            }
        }
        if let Some((key, value)) = self.colour_jitter.outside() {
            return refuse(key, value.to_string(), "it must be 0 to 1");
        }
        if self.share.rank >= self.share.of {
            return refuse(
                "share.rank",
                self.share.rank.to_string(),
                "it must be below the number of processes",
            );
        }
        if self
            .deviation
            .iter()
            .any(|value| value.is_nan() || *value <= 0.0)
        {
            return refuse(
                "deviation",
                format!("{:?}", self.deviation),
                "each channel's must be above 0",
            );
        }
        Ok(())
    }
}

/// Where a loader stands: enough to go on with the very next row, without reading those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LoaderState {
    /// Times the corpus has been gone through.
    pub epoch: u64,
    /// Rows of the current epoch that have been handed out, to all processes.
    pub rows: u64,
    /// Rows in the corpus, to notice that it is another one.
    pub corpus_rows: u64,
    /// The loader's seed, for the same reason.
    pub seed: u64,
}

/// Reads the sequences of a corpus as shuffled batches.
///
/// The batches are a pure function of the shards, the configuration and the position: they do not
/// depend on the number of threads, nor on whether the loader was stopped and resumed. A thread of
/// its own prepares the next batches; memory is that of [`LoaderConfig::prefetch_batches`] + 2
/// batches, and of [`LoaderConfig::shuffle_buffer`] encoded rows and one row group.
pub struct Loader {
    info: SequenceInfo,
    shape: BatchShape,
    state: LoaderState,
    batches: Option<Receiver<Result<(Batch, LoaderState), Error>>>,
    thread: Option<JoinHandle<()>>,
    is_over: bool,
}

impl std::fmt::Debug for Loader {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Loader")
            .field("shape", &self.shape)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Loader {
    /// Opens the sequences listed in the manifest of `directory`, or with
    /// [`LoaderConfig::fresh_windows`] its documents, at their beginning.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], the errors of [`crate::Manifest::load`] and of
    /// [`crate::SequenceReader::open`], and [`Error::Mismatch`] if there are no rows, if they
    /// were made with another tokenizer, or if the shards differ in tokenizer, L or N.
    pub fn open(
        directory: &Path,
        config: &LoaderConfig,
        tokenizer: &Arc<Tokenizer>,
    ) -> Result<Self, Error> {
        Self::start(directory, config, tokenizer, None)
    }

    /// Opens the sequences at a saved position: the next batch is the one that would have followed.
    ///
    /// # Errors
    ///
    /// As [`Loader::open`], and [`Error::State`] if the state is of another corpus or seed.
    pub fn resume(
        directory: &Path,
        config: &LoaderConfig,
        tokenizer: &Arc<Tokenizer>,
        state: LoaderState,
    ) -> Result<Self, Error> {
        Self::start(directory, config, tokenizer, Some(state))
    }

    fn start(
        directory: &Path,
        config: &LoaderConfig,
        tokenizer: &Arc<Tokenizer>,
        state: Option<LoaderState>,
    ) -> Result<Self, Error> {
        config.validate()?;
        let corpus = match &config.fresh_windows {
            Some(windows) => Corpus::open_documents(directory, windows, tokenizer, config.seed)?,
            None => Corpus::open(directory, tokenizer)?,
        };
        let beginning = LoaderState {
            epoch: 0,
            rows: 0,
            corpus_rows: corpus.rows,
            seed: config.seed,
        };
        let state = state.unwrap_or(beginning);
        if (state.corpus_rows, state.seed) != (corpus.rows, config.seed)
            || state.rows >= corpus.rows
        {
            return Err(Error::State {
                problem: format!(
                    "it was saved at row {} of {} with seed {}, the corpus has {} rows and the \
                     seed is {}",
                    state.rows, state.corpus_rows, state.seed, corpus.rows, config.seed
                ),
            });
        }
        let info = corpus.info.clone();
        let side = config.image_side_px as usize;
        let shape = BatchShape {
            b: config.batch_size,
            l: info.sequence_length,
            n: info.images_per_sequence,
            f: config.frames_per_image,
            h: side,
            w: side,
        };
        let maker = BatchMaker {
            special: info.special,
            vocabulary_size: info.vocabulary_size,
            shape,
            normalisation: Normalisation::new(config.mean, config.deviation),
            tokenizer: Arc::clone(tokenizer),
            shelf: Arc::default(),
            config: config.clone(),
        };
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(config.threads)
            .build()
            .map_err(|error| Error::io(directory)(std::io::Error::other(error)))?;
        let (sender, receiver) = sync_channel(config.prefetch_batches);
        let thread = std::thread::Builder::new()
            .name("loader".to_owned())
            .spawn(move || {
                let mut producer = Producer::new(corpus, maker, pool, state);
                while let Some(result) = producer.next_batch().transpose() {
                    let has_failed = result.is_err();
                    // Nobody listens any more: the loader was dropped.
                    if sender.send(result).is_err() || has_failed {
                        return;
                    }
                }
            })
            .map_err(Error::io(directory))?;
        Ok(Self {
            info,
            shape,
            state,
            batches: Some(receiver),
            thread: Some(thread),
            is_over: false,
        })
    }

    /// The next batch; `None` after the last epoch. An error is final.
    ///
    /// # Errors
    ///
    /// [`Error::Row`] names the file and row that breaks a promise or whose picture does not
    /// decode; [`Error::Parquet`] and [`Error::Io`] if a shard cannot be read.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, Error> {
        if self.is_over {
            return Ok(None);
        }
        let received = self
            .batches
            .as_ref()
            .and_then(|batches| batches.recv().ok());
        match received {
            Some(Ok((batch, state))) => {
                self.state = state;
                Ok(Some(batch))
            }
            Some(Err(error)) => {
                self.is_over = true;
                Err(error)
            }
            None => {
                self.is_over = true;
                // The thread ends by itself only when all epochs are over.
                match self.thread.take().map(JoinHandle::join) {
                    Some(Err(_)) => Err(Error::Stopped),
                    _ => Ok(None),
                }
            }
        }
    }

    /// Where the loader stands, behind the last batch that was handed out.
    #[must_use]
    pub fn state(&self) -> LoaderState {
        self.state
    }

    /// The shape of a full batch.
    #[must_use]
    pub fn shape(&self) -> BatchShape {
        self.shape
    }

    /// What the rows were made with.
    #[must_use]
    pub fn info(&self) -> &SequenceInfo {
        &self.info
    }

    /// Rows in the corpus.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.state.corpus_rows
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

impl Drop for Loader {
    fn drop(&mut self) {
        // Without a receiver the thread's next send fails, and it ends.
        self.batches = None;
        if let Some(thread) = self.thread.take() {
            // A panic there has been reported, or nobody asked for another batch.
            let _ = thread.join();
        }
    }
}
