//! Batches from a corpus, epoch after epoch.

use std::path::Path;
use std::sync::Arc;

use crate::batch::BatchMaker;
use crate::corpus::Corpus;
use crate::pixels::Normalisation;
use crate::producer::{Make, Producer};
use crate::reader::SequenceInfo;
use crate::stream::Stream;
use crate::{Batch, BatchShape, EncodedBatch, Error, LoaderConfig, LoaderState, Tokenizer};

/// Reads the sequences of a corpus as shuffled batches.
///
/// The batches are a pure function of the shards, the configuration and the position: they do not
/// depend on the number of threads, nor on whether the loader was stopped and resumed. A thread of
/// its own prepares the next batches; memory is that of [`LoaderConfig::prefetch_batches`] + 2
/// batches, and of [`LoaderConfig::shuffle_buffer`] encoded rows and one row group.
#[derive(Debug)]
pub struct Loader {
    info: SequenceInfo,
    shape: BatchShape,
    stream: Stream<Batch>,
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

    /// Opens them at a saved position: the next batch is the one that would have followed.
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
        let parts = Parts::open(directory, config, tokenizer, state)?;
        Ok(Self {
            info: parts.corpus.info.clone(),
            shape: parts.maker.shape,
            stream: parts.stream(directory, BatchMaker::make)?,
        })
    }

    /// The next batch; `None` after the last epoch. An error is final.
    ///
    /// # Errors
    ///
    /// [`Error::Row`] names the file and row that breaks a promise or whose picture does not
    /// decode; [`Error::Parquet`] and [`Error::Io`] if a shard cannot be read;
    /// [`Error::Mismatch`] if no document has a window to draw.
    pub fn next_batch(&mut self) -> Result<Option<Batch>, Error> {
        self.stream.next()
    }

    /// Where the loader stands, behind the last batch that was handed out.
    #[must_use]
    pub fn state(&self) -> LoaderState {
        self.stream.state()
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
        self.stream.state().corpus_rows
    }
}

impl Iterator for Loader {
    type Item = Result<Batch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

/// A [`Loader`] that leaves pictures as they are stored, for trainers that decode elsewhere.
///
/// The rows, their order and what is drawn of them are those of a [`Loader`] with the same
/// configuration, and a state of one is a state of the other. Pictures are not copied.
#[derive(Debug)]
pub struct EncodedLoader {
    stream: Stream<EncodedBatch>,
}

impl EncodedLoader {
    /// As [`Loader::open`].
    ///
    /// # Errors
    ///
    /// As [`Loader::open`].
    pub fn open(
        directory: &Path,
        config: &LoaderConfig,
        tokenizer: &Arc<Tokenizer>,
    ) -> Result<Self, Error> {
        let parts = Parts::open(directory, config, tokenizer, None)?;
        let stream = parts.stream(directory, BatchMaker::encoded)?;
        Ok(Self { stream })
    }

    /// As [`Loader::resume`].
    ///
    /// # Errors
    ///
    /// As [`Loader::resume`].
    pub fn resume(
        directory: &Path,
        config: &LoaderConfig,
        tokenizer: &Arc<Tokenizer>,
        state: LoaderState,
    ) -> Result<Self, Error> {
        let parts = Parts::open(directory, config, tokenizer, Some(state))?;
        let stream = parts.stream(directory, BatchMaker::encoded)?;
        Ok(Self { stream })
    }

    /// The next batch; `None` after the last epoch. An error is final.
    ///
    /// # Errors
    ///
    /// As [`Loader::next_batch`], but that no picture is decoded.
    pub fn next_batch(&mut self) -> Result<Option<EncodedBatch>, Error> {
        self.stream.next()
    }

    /// Where the loader stands, behind the last batch that was handed out.
    #[must_use]
    pub fn state(&self) -> LoaderState {
        self.stream.state()
    }
}

impl Iterator for EncodedLoader {
    type Item = Result<EncodedBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.next_batch().transpose()
    }
}

/// What a loader of either kind is made of.
struct Parts {
    corpus: Corpus,
    maker: BatchMaker,
    state: LoaderState,
}

impl Parts {
    fn open(
        directory: &Path,
        config: &LoaderConfig,
        tokenizer: &Arc<Tokenizer>,
        state: Option<LoaderState>,
    ) -> Result<Self, Error> {
        config.validate()?;
        let corpus = Corpus::open(directory, config, tokenizer)?;
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
        let info = &corpus.info;
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
        Ok(Self {
            corpus,
            maker,
            state,
        })
    }

    /// Starts the thread that makes batches with `make`.
    fn stream<T: Send + 'static>(
        self,
        directory: &Path,
        make: Make<T>,
    ) -> Result<Stream<T>, Error> {
        let (threads, ahead) = (
            self.maker.config.threads,
            self.maker.config.prefetch_batches,
        );
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .map_err(|error| Error::io(directory)(std::io::Error::other(error)))?;
        let state = self.state;
        let mut producer = Producer::new(self.corpus, self.maker, pool, state, make);
        Stream::start(state, ahead, move || producer.next_batch().transpose())
            .map_err(Error::io(directory))
    }
}
