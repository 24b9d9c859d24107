//! Reading shards.

use std::collections::HashMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use m3w_document::{Document, Image, Sha256};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReader,
    ParquetRecordBatchReaderBuilder, RowSelection, RowSelector,
};
use parquet::file::metadata::PageIndexPolicy;

use crate::document_rows::document;
use crate::guard::catch_panic;
use crate::rows::SequenceRow;
use crate::schema::{self, SCHEMA_VERSION};
use crate::sequence_rows::sequence;
use crate::{Error, SpecialIds};

mod rows;

use rows::Rows;

/// Rows decoded at a time; they bound the reader's memory, with one page of each column.
const BATCH_ROWS: usize = 16;

/// Reads a shard of documents, row by row.
///
/// It is an iterator; after an error it ends.
#[derive(Debug)]
pub struct DocumentReader {
    rows: Rows,
}

impl DocumentReader {
    /// Opens the shard at `path` and checks its schema.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], [`Error::Parquet`] if it is not Parquet, [`Error::SchemaVersion`],
    /// [`Error::WrongSchema`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        let shard = Shard::open(path, schema::DOCUMENTS)?;
        let expected = schema::documents_schema();
        shard.check_schema(&expected)?;
        Ok(Self {
            rows: Rows::new(shard, &expected)?,
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
        })
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
        self.rows.next_with(document)
    }
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
    file: File,
    footer: ArrowReaderMetadata,
    metadata: HashMap<String, String>,
}

impl Shard {
    fn open(path: &Path, kind: &'static str) -> Result<Self, Error> {
        Self::open_with(path, kind, ArrowReaderOptions::new())
    }

    pub(crate) fn open_with(
        path: &Path,
        kind: &'static str,
        options: ArrowReaderOptions,
    ) -> Result<Self, Error> {
        let file = File::open(path).map_err(Error::io(path))?;
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
        self.selected(expected, groups, None, batch_rows)
    }

    /// One row of a row group, with as little else as the page index allows.
    pub(crate) fn row(
        &self,
        expected: &Schema,
        group: usize,
        row: usize,
    ) -> Result<Batches, Error> {
        let one = RowSelection::from(vec![RowSelector::skip(row), RowSelector::select(1)]);
        self.selected(expected, Some(vec![group]), Some(one), 1)
    }

    fn selected(
        &self,
        expected: &Schema,
        groups: Option<Vec<usize>>,
        rows: Option<RowSelection>,
        batch_rows: usize,
    ) -> Result<Batches, Error> {
        let file = self.file.try_clone().map_err(Error::io(&self.path))?;
        let mut builder =
            ParquetRecordBatchReaderBuilder::new_with_metadata(file, self.footer.clone())
                .with_batch_size(batch_rows);
        let mask = ProjectionMask::columns(
            builder.parquet_schema(),
            expected.fields().iter().map(|field| field.name().as_str()),
        );
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
        Ok(Batches {
            path: self.path.clone(),
            columns: expected
                .fields()
                .iter()
                .map(|field| field.name().clone())
                .collect(),
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
