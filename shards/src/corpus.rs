//! The shards of a corpus as one numbered list of rows.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch::{Row, RowPlace};
use crate::fresh_windows::WindowMaker;
use crate::order::Group;
use crate::reader::{BATCH_ROWS, SequenceInfo, Shard, open_documents, open_sequences};
use crate::sequence_rows::ROW_PATHS;
use crate::{Error, FreshWindows, LoaderConfig, Manifest, Tokenizer};

/// The shards of a corpus, open.
///
/// Its rows are those of the shards of sequences, or the windows of documents. A document has as
/// many numbers as windows may be drawn from it, whether it is long enough for all of them or not:
/// how many there are is known only once it has been tokenized.
pub(crate) struct Corpus {
    shards: Vec<Shard>,
    /// All row groups, in order.
    pub(crate) groups: Vec<Group>,
    pub(crate) rows: u64,
    /// What all its rows were made with; the seed is the first shard's.
    pub(crate) info: SequenceInfo,
    maker: Option<WindowMaker>,
}

impl Corpus {
    /// Opens what the manifest of `directory` lists: its sequences, or the documents if windows
    /// are to be drawn from them.
    pub(crate) fn open(
        directory: &Path,
        config: &LoaderConfig,
        tokenizer: &Arc<Tokenizer>,
    ) -> Result<Self, Error> {
        match &config.fresh_windows {
            Some(windows) => Self::open_documents(directory, windows, config, tokenizer),
            None => Self::open_sequences(directory, config, tokenizer),
        }
    }

    fn open_sequences(
        directory: &Path,
        config: &LoaderConfig,
        tokenizer: &Tokenizer,
    ) -> Result<Self, Error> {
        let manifest = Manifest::load(directory)?;
        let mut first: Option<SequenceInfo> = None;
        let mut shards = Vec::new();
        let shelf = Arc::default();
        for entry in &manifest.sequences {
            let (shard, mut info) = open_sequences(&directory.join(&entry.path))?;
            let shard = shard.for_loading(&shelf, config.memory_map)?;
            if let Some(first) = &first {
                // Shards of several runs may be read together.
                info.seed = first.seed;
                if info != *first {
                    return mismatch(
                        shard.path,
                        "it was made with another tokenizer, length or number of images than the \
                         first shard: pack the documents again with one tokenizer",
                    );
                }
            } else {
                first = Some(info);
            }
            shards.push(shard);
        }
        let (groups, rows) = groups(&shards, 1)?;
        let Some(info) = first.filter(|_| rows > 0) else {
            return mismatch(
                directory.to_owned(),
                "there are no training rows: pack documents with images first",
            );
        };
        if info.tokenizer_sha256 != tokenizer.sha256() {
            return mismatch(
                directory.to_owned(),
                format!(
                    "they were made with another tokenizer than the one given, whose file has the \
                     SHA-256 {}: use the tokenizer whose file has the SHA-256 {}",
                    tokenizer.sha256(),
                    info.tokenizer_sha256
                ),
            );
        }
        Ok(Self {
            shards,
            groups,
            rows,
            info,
            maker: None,
        })
    }

    fn open_documents(
        directory: &Path,
        windows: &FreshWindows,
        config: &LoaderConfig,
        tokenizer: &Arc<Tokenizer>,
    ) -> Result<Self, Error> {
        let maker = WindowMaker::new(windows, tokenizer, config.seed)?;
        let manifest = Manifest::load(directory)?;
        let shelf = Arc::default();
        let shards = manifest.documents.iter();
        let shards: Vec<Shard> = shards
            .map(|entry| {
                let shard = open_documents(&directory.join(&entry.path))?;
                shard.for_loading(&shelf, config.memory_map)
            })
            .collect::<Result<_, Error>>()?;
        let (groups, rows) = groups(&shards, windows.windows_per_document)?;
        if rows == 0 {
            return mismatch(
                directory.to_owned(),
                "there are no documents to draw windows from: name a corpus with documents, or \
                 leave out `fresh_windows`",
            );
        }
        let info = SequenceInfo {
            tokenizer_sha256: tokenizer.sha256(),
            special: tokenizer.special_ids(),
            vocabulary_size: tokenizer.vocabulary_size(),
            sequence_length: windows.sequence_length,
            images_per_sequence: windows.images_per_sequence,
            seed: config.seed,
        };
        Ok(Self {
            shards,
            groups,
            rows,
            info,
            maker: Some(maker),
        })
    }

    /// The rows of some row groups, in order; `None` for a window that a document is too short for.
    pub(crate) fn read(
        &self,
        groups: &[Group],
        epoch: u64,
    ) -> Result<Vec<Option<RowPlace>>, Error> {
        let mut places = Vec::new();
        for group in groups {
            let before = places.len();
            match &self.maker {
                Some(maker) => self.draw(group, maker, epoch, &mut places)?,
                None => self.take(group, epoch, &mut places)?,
            }
            if places.len() - before != group.rows {
                return Err(Error::parquet(
                    &self.shards[group.shard].path,
                    format!(
                        "row group {} lacks rows that its footer counts",
                        group.index
                    ),
                ));
            }
        }
        Ok(places)
    }

    /// Adds the rows of a row group of sequences.
    fn take(
        &self,
        group: &Group,
        epoch: u64,
        places: &mut Vec<Option<RowPlace>>,
    ) -> Result<(), Error> {
        let shard = &self.shards[group.shard];
        let mut number = group.first_row;
        for records in shard.batches_of(ROW_PATHS, Some(vec![group.index]), group.rows.max(1))? {
            let records = Arc::new(records?);
            for row in 0..records.num_rows() {
                places.push(Some(RowPlace {
                    row: Row::Stored(Arc::clone(&records), row),
                    number,
                    epoch,
                }));
                number += 1;
            }
        }
        Ok(())
    }

    /// Adds the windows of a row group of documents.
    fn draw(
        &self,
        group: &Group,
        maker: &WindowMaker,
        epoch: u64,
        places: &mut Vec<Option<RowPlace>>,
    ) -> Result<(), Error> {
        let shard = &self.shards[group.shard];
        let windows = maker.config.windows_per_document as u64;
        let mut document = group.first_row / windows;
        let columns = maker.columns(document..document + group.rows as u64 / windows);
        for documents in shard.batches_of(columns, Some(vec![group.index]), BATCH_ROWS)? {
            let documents = documents?;
            let rows = maker
                .rows(&documents, document, epoch)
                .map_err(|(index, problem)| {
                    let (path, row) = self.locate((document + index as u64) * windows);
                    Error::row(path, row, problem)
                })?;
            let numbers = document * windows..;
            places.extend(rows.into_iter().zip(numbers).map(|(row, number)| {
                row.map(|row| RowPlace {
                    row: Row::Drawn(Arc::new(row)),
                    number,
                    epoch,
                })
            }));
            document += documents.num_rows() as u64;
        }
        Ok(())
    }

    /// The file of a row, and its number there, or that of its document.
    pub(crate) fn locate(&self, number: u64) -> (&Path, u64) {
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
        let windows = self
            .maker
            .as_ref()
            .map_or(1, |maker| maker.config.windows_per_document as u64);
        (&self.shards[shard].path, (number - first) / windows)
    }

    /// Why no row of it can be handed out, where all its documents turned out to have none.
    pub(crate) fn without_rows(&self) -> Error {
        Error::Mismatch {
            path: self.shards[0].path.clone(),
            problem:
                "no document here, nor in the other shards, has an image with text after it, or \
                      all that have are held out: there is nothing to train on"
                    .to_owned(),
        }
    }
}

/// The row groups of some shards, each of whose records makes that many rows, and the rows in all.
fn groups(shards: &[Shard], rows_per_record: usize) -> Result<(Vec<Group>, u64), Error> {
    let mut groups = Vec::new();
    let mut first_row = 0_u64;
    for (number, shard) in shards.iter().enumerate() {
        for (index, records) in shard.group_rows()?.into_iter().enumerate() {
            let rows = records.checked_mul(rows_per_record).ok_or(Error::Config {
                key: "windows_per_document",
                value: rows_per_record.to_string(),
                requirement: "the corpus would have more rows than can be counted",
            })?;
            groups.push(Group {
                shard: number,
                index,
                first_row,
                rows,
            });
            first_row += rows as u64;
        }
    }
    Ok((groups, first_row))
}

fn mismatch<T>(path: PathBuf, problem: impl Into<String>) -> Result<T, Error> {
    Err(Error::Mismatch {
        path,
        problem: problem.into(),
    })
}
