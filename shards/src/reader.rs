//! Reading shards.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use m3w_document::{Document, Image, Sha256};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::file::metadata::PageIndexPolicy;

use crate::columns::Problem;
use crate::document_rows::{document, with_empty_pictures};
use crate::guard::catch_panic;
use crate::rows::SequenceRow;
use crate::schema::{self, SCHEMA_VERSION};
use crate::sequence_rows::sequence;
use crate::shard_file::{ShardFile, Shelf};
use crate::{Error, SpecialIds};

mod rows;

use rows::Rows;

/// Rows decoded at a time; they bound the reader's memory, with one page of each column.
pub(crate) const BATCH_ROWS: usize = 16;

/// Reads a shard of documents, row by row.
///
/// It is an iterator; after an error it ends.
#[derive(Debug)]
pub struct DocumentReader {
    rows: Rows,
    pictures: Pictures,
}

/// What is done with the pictures of a row.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Pictures {
    /// They must have the hashes that the row names.
    Checked,
    /// They come as they are.
    Unchecked,
    /// They are not read.
    LeftOut,
}

impl DocumentReader {
    /// Opens the shard at `path` and checks its schema.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Parquet`] if it is not Parquet, [`Error::SchemaVersion`],
    /// [`Error::WrongSchema`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let shard = open_documents(path)?;
        Ok(Self {
            rows: Rows::new(shard, &schema::documents_schema())?,
            pictures: Pictures::Checked,
        })
    }

    /// Opens the shard for everything but the bytes of pictures, which are most of it: those of
    /// each image come as none.
    ///
    /// # Errors
    ///
    /// As [`DocumentReader::open`].
    pub fn open_without_pictures(path: &Path) -> Result<Self, Error> {
        let shard = open_documents(path)?;
        Ok(Self {
            rows: Rows::new(shard, &schema::documents_schema_without_pictures())?,
            pictures: Pictures::LeftOut,
        })
    }

    /// Opens the shard for some of its rows: `rows` are their numbers from 0, rising. Pages of others
    /// are passed over where the page index tells them.
    ///
    /// # Errors
    ///
    /// As [`DocumentReader::open`].
    pub fn open_rows(path: &Path, rows: &[u64]) -> Result<Self, Error> {
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
        let shard = Shard::open_with(path, schema::DOCUMENTS, options)?;
        let expected = schema::documents_schema();
        shard.check_schema(&expected)?;
        Ok(Self {
            rows: Rows::selected(shard, &expected, rows)?,
            pictures: Pictures::Checked,
        })
    }

    /// Hands pictures out even where their bytes are not those that the row names, for who tells
    /// which they are. Otherwise such a row is an error: columns of pictures have no checksum that
    /// Parquet would look at.
    #[must_use]
    pub fn with_damaged_pictures(self) -> Self {
        Self {
            pictures: match self.pictures {
                Pictures::Checked => Pictures::Unchecked,
                other => other,
            },
            ..self
        }
    }

    /// Number of rows in the shard.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.rows.row_count
    }
}

impl Iterator for DocumentReader {
    type Item = Result<Document<Image>, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        match self.pictures {
            Pictures::Unchecked => self.rows.next_with(document),
            Pictures::Checked => self
                .rows
                .next_with(|batch, row| with_right_pictures(document(batch, row)?)),
            Pictures::LeftOut => self.rows.next_with(|batch, row| {
                let row = batch.slice(row, 1);
                document(&with_empty_pictures(&row)?, 0)
            }),
        }
    }
}

fn with_right_pictures(document: Document<Image>) -> Result<Document<Image>, Problem> {
    let is_damaged = |image: &&Image| Sha256::of(&image.bytes) != image.sha256_stored;
    if let Some(image) = document.images().find(is_damaged) {
        return Err(format!(
            "the bytes of {} have another hash than the row names: `m3w repair` makes them again",
            image.reference.url
        ));
    }
    Ok(document)
}

/// Reads a shard of training rows, row by row.
///
/// It is an iterator; after an error it ends.
#[derive(Debug)]
pub struct SequenceReader {
    rows: Rows,
    info: SequenceInfo,
}

impl SequenceReader {
    /// Opens the shard at `path` and checks its schema.
    ///
    /// # Errors
    ///
    /// As [`DocumentReader::open`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let (shard, info) = open_sequences(path)?;
        let expected = schema::sequences_schema(info.sequence_length);
        Ok(Self {
            rows: Rows::new(shard, &expected)?,
            info,
        })
    }

    /// What the shard's rows were made with.
    #[must_use]
    pub fn info(&self) -> &SequenceInfo {
        &self.info
    }

    /// Number of rows in the shard.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.rows.row_count
    }
}

impl Iterator for SequenceReader {
    type Item = Result<SequenceRow, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let image_id = self.info.special.image;
        self.rows
            .next_with(|batch, row| sequence(batch, row, image_id))
    }
}

/// What the rows of a shard of sequences were made with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SequenceInfo {
    /// Hash of the tokenizer's file.
    pub tokenizer_sha256: Sha256,
    /// Ids of the special tokens.
    pub special: SpecialIds,
    /// Rows that an embedding table needs.
    pub vocabulary_size: usize,
    /// L: tokens in a row.
    pub sequence_length: usize,
    /// N: most images in a row.
    pub images_per_sequence: usize,
    /// Seed of the run.
    pub seed: u64,
}

/// Opens a shard of documents and checks its schema.
pub(crate) fn open_documents(path: &Path) -> Result<Shard, Error> {
    let shard = Shard::open(path, schema::DOCUMENTS)?;
    shard.check_schema(&schema::documents_schema())?;
    Ok(shard)
}

/// Opens a shard of sequences and checks its schema.
pub(crate) fn open_sequences(path: &Path) -> Result<(Shard, SequenceInfo), Error> {
    let shard = Shard::open(path, schema::SEQUENCES)?;
    let special = shard.value(schema::SPECIAL_IDS_KEY)?;
    let info = SequenceInfo {
        tokenizer_sha256: shard.parse(schema::TOKENIZER_KEY)?,
        special: serde_json::from_str(special)
            .map_err(|error| shard.wrong_schema(format!("`m3w.special_ids`: {error}")))?,
        vocabulary_size: shard.parse(schema::VOCABULARY_SIZE_KEY)?,
        sequence_length: shard.parse(schema::SEQUENCE_LENGTH_KEY)?,
        images_per_sequence: shard.parse(schema::IMAGES_PER_SEQUENCE_KEY)?,
        seed: shard.parse(schema::SEED_KEY)?,
    };
    shard.check_schema(&schema::sequences_schema(info.sequence_length))?;
    Ok((shard, info))
}

/// An open shard: its footer, read and checked.
#[derive(Debug)]
pub(crate) struct Shard {
    pub(crate) path: PathBuf,
    kind: &'static str,
    file: ShardFile,
    footer: ArrowReaderMetadata,
    metadata: HashMap<String, String>,
}

impl Shard {
    fn open(path: &Path, kind: &'static str) -> Result<Self, Error> {
        // Where each page stands: a page is then read with its header, at once.
        let options = ArrowReaderOptions::new().with_offset_index_policy(PageIndexPolicy::Optional);
        Self::open_with(path, kind, options)
    }

    pub(crate) fn open_with(
        path: &Path,
        kind: &'static str,
        options: ArrowReaderOptions,
    ) -> Result<Self, Error> {
        let file = ShardFile::open(path).map_err(Error::io(path))?;
        let footer = catch_panic(|| ArrowReaderMetadata::load(&file, options))
            .map_err(|problem| Error::parquet(path, problem))?
            .map_err(|error| Error::parquet(path, error))?;
        let metadata = footer
            .metadata()
            .file_metadata()
            .key_value_metadata()
            .into_iter()
            .flatten()
            .filter_map(|entry| Some((entry.key.clone(), entry.value.clone()?)))
            .collect();
        let shard = Self {
            path: path.to_owned(),
            kind,
            file,
            footer,
            metadata,
        };
        shard.check_version()?;
        let found = shard.value(schema::KIND_KEY)?;
        if found != kind {
            return Err(shard.wrong_schema(format!("it holds {found}")));
        }
        Ok(shard)
    }

    /// The same for a loader: with pictures as parts of the pages they stand in instead of copied
    /// out, and with pages in memory that it shares with other shards, or mapped.
    pub(crate) fn for_loading(self, shelf: &Arc<Shelf>, is_mapped: bool) -> Result<Self, Error> {
        let file = if is_mapped {
            self.file.mapped().map_err(Error::io(&self.path))?
        } else {
            self.file.with_memory(shelf)
        };
        let schema = schema::with_picture_views(self.footer.schema());
        let options = ArrowReaderOptions::new().with_schema(Arc::new(schema));
        let footer = ArrowReaderMetadata::try_new(Arc::clone(self.footer.metadata()), options)
            .map_err(|error| Error::parquet(&self.path, error))?;
        Ok(Self {
            file,
            footer,
            ..self
        })
    }

    fn check_version(&self) -> Result<(), Error> {
        let found = self.value(schema::SCHEMA_VERSION_KEY)?;
        match found.parse::<u32>() {
            Ok(version) if (1..=SCHEMA_VERSION).contains(&version) => Ok(()),
            _ => Err(Error::SchemaVersion {
                path: self.path.clone(),
                found: found.to_owned(),
                supported: SCHEMA_VERSION,
            }),
        }
    }

    pub(crate) fn check_schema(&self, expected: &Schema) -> Result<(), Error> {
        match schema::difference(expected, self.footer.schema()) {
            Some(problem) => Err(self.wrong_schema(problem)),
            None => Ok(()),
        }
    }

    fn wrong_schema(&self, problem: String) -> Error {
        Error::WrongSchema {
            path: self.path.clone(),
            kind: self.kind,
            problem,
        }
    }

    fn value(&self, key: &str) -> Result<&str, Error> {
        self.metadata
            .get(key)
            .map(String::as_str)
            .ok_or_else(|| self.wrong_schema(format!("its metadata lacks `{key}`")))
    }

    fn parse<T: FromStr<Err: std::fmt::Display>>(&self, key: &str) -> Result<T, Error> {
        let text = self.value(key)?;
        text.parse()
            .map_err(|error| self.wrong_schema(format!("`{key}` is `{text}`: {error}")))
    }

    /// Rows in each row group.
    pub(crate) fn group_rows(&self) -> Result<Vec<usize>, Error> {
        self.footer
            .metadata()
            .row_groups()
            .iter()
            .map(|group| {
                usize::try_from(group.num_rows())
                    .map_err(|_| Error::parquet(&self.path, "a row group has negative rows"))
            })
            .collect()
    }

    /// The batches of some row groups, or of all, with the columns of `expected` in its order.
    pub(crate) fn batches(
        &self,
        expected: &Schema,
        groups: Option<Vec<usize>>,
        batch_rows: usize,
    ) -> Result<Batches, Error> {
        let names = expected.fields().iter().map(|field| field.name().as_str());
        self.batches_of(&names.collect::<Vec<_>>(), groups, batch_rows)
    }

    /// One row of a row group, with as little else as the page index allows.
    pub(crate) fn row(
        &self,
        expected: &Schema,
        group: usize,
        row: usize,
    ) -> Result<Batches, Error> {
        let one = RowSelection::from(vec![RowSelector::skip(row), RowSelector::select(1)]);
        let names = expected.fields().iter().map(|field| field.name().as_str());
        self.selected(&names.collect::<Vec<_>>(), Some(vec![group]), Some(one), 1)
    }

    /// The batches with these columns in this order; `column.list.element.part` names a part of
    /// one.
    pub(crate) fn batches_of(
        &self,
        paths: &[&str],
        groups: Option<Vec<usize>>,
        batch_rows: usize,
    ) -> Result<Batches, Error> {
        self.selected(paths, groups, None, batch_rows)
    }

    fn selected(
        &self,
        paths: &[&str],
        groups: Option<Vec<usize>>,
        rows: Option<RowSelection>,
        batch_rows: usize,
    ) -> Result<Batches, Error> {
        let mut builder = ParquetRecordBatchReaderBuilder::new_with_metadata(
            self.file.clone(),
            self.footer.clone(),
        )
        .with_batch_size(batch_rows);
        let mask = ProjectionMask::columns(builder.parquet_schema(), paths.iter().copied());
        builder = builder.with_projection(mask);
        if let Some(groups) = groups {
            builder = builder.with_row_groups(groups);
        }
        if let Some(rows) = rows {
            builder = builder.with_row_selection(rows);
        }
        let reader = catch_panic(|| builder.build())
            .map_err(|problem| Error::parquet(&self.path, problem))?
            .map_err(|error| Error::parquet(&self.path, error))?;
        let names = paths.iter().filter_map(|path| path.split('.').next());
        let mut columns: Vec<String> = names.map(str::to_owned).collect();
        columns.dedup();
        Ok(Batches {
            path: self.path.clone(),
            columns,
            reader,
        })
    }
}

/// Batches of a shard, with the columns in a given order.
pub(crate) struct Batches {
    path: PathBuf,
    columns: Vec<String>,
    reader: ParquetRecordBatchReader,
}

impl Iterator for Batches {
    type Item = Result<RecordBatch, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        let refuse = |problem: String| Some(Err(Error::parquet(&self.path, problem)));
        let batch = match catch_panic(|| self.reader.next()) {
            Err(problem) => return refuse(problem),
            Ok(None) => return None,
            Ok(Some(Err(error))) => return refuse(error.to_string()),
            Ok(Some(Ok(batch))) => batch,
        };
        let indices: Result<Vec<usize>, _> = self
            .columns
            .iter()
            .map(|name| batch.schema_ref().index_of(name))
            .collect();
        match indices.and_then(|indices| batch.project(&indices)) {
            Ok(batch) => Some(Ok(batch)),
            Err(error) => refuse(error.to_string()),
        }
    }
}
