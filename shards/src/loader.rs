//! Batches from a corpus, epoch after epoch.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use arrow::datatypes::Schema;
use serde::{Deserialize, Serialize};

use crate::batch::{BatchMaker, RowPlace};
use crate::guard::catch_panic;
use crate::order::{EpochOrder, Group};
use crate::pixels::Normalisation;
use crate::reader::{SequenceInfo, Shard, open_sequences};
use crate::{
    Batch, BatchShape, CLIP_DEVIATION, CLIP_MEAN, Error, Fit, Manifest, SpecialIds, schema,
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
    /// Probability that the text of a row attends to the next image instead of the previous one;
    /// 1/2 in Flamingo (appendix A.3.2), drawn anew each epoch.
    pub next_image_probability: f64,
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
            next_image_probability: 0.5,
            shuffle_buffer: 1000,
            seed: 0,
            threads: 0,
            prefetch_batches: 2,
            epochs: None,
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
        if !(0.0..=1.0).contains(&self.next_image_probability) {
            return refuse(
                "next_image_probability",
                self.next_image_probability.to_string(),
                "it must be 0 to 1",
            );
        }
        if self.deviation.iter().any(|value| !(*value > 0.0)) {
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
    /// Rows of the current epoch that have been handed out.
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
/// batches and twice [`LoaderConfig::shuffle_buffer`] encoded rows.
pub struct Loader {
    info: SequenceInfo,
    shape: BatchShape,
    state: LoaderState,
    batches: Option<Mutex<Receiver<Result<(Batch, LoaderState), Error>>>>,
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
    /// Opens the sequences listed in the manifest of `directory`, at their beginning.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], the errors of [`Manifest::load`] and of
    /// [`crate::SequenceReader::open`], and [`Error::Mismatch`] if there are no rows, if `special`
    /// are not the ids that the rows were made with, or if the shards differ in tokenizer, L or N.
    pub fn open(
        directory: &Path,
        config: &LoaderConfig,
        special: &SpecialIds,
    ) -> Result<Self, Error> {
        Self::start(directory, config, special, None)
    }

    /// Opens the sequences at a saved position: the next batch is the one that would have followed.
    ///
    /// # Errors
    ///
    /// As [`Loader::open`], and [`Error::State`] if the state is of another corpus or seed.
    pub fn resume(
        directory: &Path,
        config: &LoaderConfig,
        special: &SpecialIds,
        state: LoaderState,
    ) -> Result<Self, Error> {
        Self::start(directory, config, special, Some(state))
    }

    fn start(
        directory: &Path,
        config: &LoaderConfig,
        special: &SpecialIds,
        state: Option<LoaderState>,
    ) -> Result<Self, Error> {
        config.validate()?;
        let corpus = Corpus::open(directory, special)?;
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
                let mut producer = Producer {
                    corpus,
                    maker,
                    pool,
                    state,
                    order: None,
                    block: None,
                };
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
            batches: Some(Mutex::new(receiver)),
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
        let received = self.batches.as_ref().and_then(|batches| {
            let batches = batches.lock().unwrap_or_else(PoisonError::into_inner);
            batches.recv().ok()
        });
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

/// The shards of a corpus, open.
struct Corpus {
    shards: Vec<Shard>,
    /// All row groups, in order.
    groups: Vec<Group>,
    rows: u64,
    info: SequenceInfo,
    schema: Schema,
}

impl Corpus {
    fn open(directory: &Path, special: &SpecialIds) -> Result<Self, Error> {
        let mismatch = |path: PathBuf, problem: String| Err(Error::Mismatch { path, problem });
        let manifest = Manifest::load(directory)?;
        let mut shards = Vec::new();
        let mut groups = Vec::new();
        let mut rows = 0;
        let mut first: Option<SequenceInfo> = None;
        for entry in &manifest.sequences {
            let (shard, mut info) = open_sequences(&directory.join(&entry.path))?;
            for (index, count) in shard.group_rows()?.into_iter().enumerate() {
                groups.push(Group {
                    shard: shards.len(),
                    index,
                    first_row: rows,
                    rows: count,
                });
                rows += count as u64;
            }
            if let Some(first) = &first {
                // Shards of several runs may be read together.
                info.seed = first.seed;
                if info != *first {
                    return mismatch(
                        shard.path,
                        "it was made with another tokenizer, length or number of images than the \
                         first shard: pack the documents again with one tokenizer"
                            .to_owned(),
                    );
                }
            } else {
                first = Some(info);
            }
            shards.push(shard);
        }
        let Some(info) = first.filter(|_| rows > 0) else {
            return mismatch(
                directory.to_owned(),
                "there are no training rows: pack documents with images first".to_owned(),
            );
        };
        if info.special != *special {
            return mismatch(
                directory.to_owned(),
                format!(
                    "they were made with the special ids {:?}, not {special:?}: use the tokenizer \
                     whose file has the SHA-256 {}",
                    info.special, info.tokenizer_sha256
                ),
            );
        }
        let schema = schema::sequences_schema(info.sequence_length);
        Ok(Self {
            shards,
            groups,
            rows,
            info,
            schema,
        })
    }

    /// The rows of some row groups, in order.
    fn read(&self, groups: &[Group], epoch: u64) -> Result<Vec<RowPlace>, Error> {
        let mut places = Vec::new();
        for group in groups {
            let shard = &self.shards[group.shard];
            let mut number = group.first_row;
            for records in
                shard.batches(&self.schema, Some(vec![group.index]), group.rows.max(1))?
            {
                let records = records?;
                for row in 0..records.num_rows() {
                    places.push(RowPlace {
                        records: records.clone(),
                        row,
                        number,
                        epoch,
                    });
                    number += 1;
                }
            }
            if number != group.first_row + group.rows as u64 {
                return Err(Error::parquet(
                    &shard.path,
                    format!("row group {} lacks rows that its footer counts", group.index),
                ));
            }
        }
        Ok(places)
    }

    /// The file of a row, and its number there.
    fn locate(&self, number: u64) -> (&Path, u64) {
        let index = self
            .groups
            .partition_point(|group| group.first_row <= number)
            .saturating_sub(1);
        let shard = self.groups[index].shard;
        let first = self
            .groups
            .iter()
            .find(|group| group.shard == shard)
            .map_or(0, |group| group.first_row);
        (&self.shards[shard].path, number - first)
    }
}

/// Rows shuffled together: a run of positions of an epoch.
struct Block {
    number: usize,
    first: u64,
    rows: Vec<RowPlace>,
}

/// Makes batches, on the loader's thread.
struct Producer {
    corpus: Corpus,
    maker: BatchMaker,
    pool: rayon::ThreadPool,
    state: LoaderState,
    order: Option<EpochOrder>,
    block: Option<Block>,
}

impl Producer {
    fn next_batch(&mut self) -> Result<Option<(Batch, LoaderState)>, Error> {
        let mut rows = Vec::with_capacity(self.maker.config.batch_size);
        while rows.len() < self.maker.config.batch_size {
            match self.next_row()? {
                Some(row) => rows.push(row),
                None => break,
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let made = catch_panic(|| self.pool.install(|| self.maker.make(&rows)))
            .unwrap_or_else(|problem| Err((0, problem)));
        match made {
            Ok(batch) => Ok(Some((batch, self.state))),
            Err((index, problem)) => {
                let (path, row) = self.corpus.locate(rows[index].number);
                Err(Error::row(path, row, problem))
            }
        }
    }

    fn next_row(&mut self) -> Result<Option<RowPlace>, Error> {
        let config = &self.maker.config;
        if config.epochs.is_some_and(|epochs| self.state.epoch >= epochs) {
            return Ok(None);
        }
        let epoch = self.state.epoch;
        let order = self.order.get_or_insert_with(|| {
            EpochOrder::new(
                &self.corpus.groups,
                config.shuffle_buffer,
                config.seed,
                epoch,
            )
        });
        let (number, first) = order.block_at(self.state.rows);
        if self.block.as_ref().is_none_or(|block| block.number != number) {
            // Dropped first: two blocks at once would double the memory.
            self.block = None;
            let mut rows = self.corpus.read(order.groups(number), epoch)?;
            order.shuffle(number, &mut rows);
            self.block = Some(Block {
                number,
                first,
                rows,
            });
        }
        let row = self.block.as_ref().and_then(|block| {
            let index = usize::try_from(self.state.rows - block.first).ok()?;
            block.rows.get(index).cloned()
        });
        self.state.rows += 1;
        if self.state.rows == self.corpus.rows {
            self.state.rows = 0;
            self.state.epoch += 1;
            self.order = None;
            self.block = None;
        }
        Ok(row)
    }
}

// The loader is handed between threads by trainers.
const _: fn() = || {
    fn is_send<T: Send + Sync>() {}
    is_send::<Arc<Loader>>();
};
