//! Writing shards.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::{Schema, SchemaRef};
use m3w_document::{Document, Image};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::{EnabledStatistics, WriterProperties};
use parquet::schema::types::ColumnPath;

use crate::document_rows::DocumentColumns;
use crate::manifest::PendingFile;
use crate::rows::SequenceRow;
use crate::sequence_rows::SequenceColumns;
use crate::{Config, Error, FileEntry, Tokenizer, schema};

/// Rows handed to the Parquet writer at a time: few, so that pictures are copied soon into the
/// pages they are written from.
const BATCH_ROWS: usize = 16;
/// A batch is also handed on when its rows reach this size.
const BATCH_BYTES: usize = 4 << 20;
/// Most bytes of one row: readers address a column's bytes with 31 bits.
const MAX_ROW_BYTES: usize = 1 << 30;
/// Values between checks of a page's size. The default of 1024 would let a page of pictures grow
/// to 1024 of them.
const PAGE_CHECK_VALUES: usize = 16;

/// What a shard records of the run that makes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ShardInfo {
    /// Limits of row groups, L and N.
    pub config: Config,
    /// Seed of the run.
    pub seed: u64,
}

/// Writes documents as rows of one shard.
///
/// Holds at most one row group and one row in memory. The file appears under its name when
/// [`DocumentWriter::finish`] has returned; a writer that is dropped leaves none. The bytes depend
/// on nothing but the rows and the [`ShardInfo`].
#[derive(Debug)]
pub struct DocumentWriter {
    columns: DocumentColumns,
    shard: ShardWriter,
}

impl DocumentWriter {
    /// Starts a shard at `path`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], or [`Error::Io`] if the file cannot be created.
    pub fn create(path: &Path, info: &ShardInfo) -> Result<Self, Error> {
        Ok(Self {
            columns: DocumentColumns::default(),
            shard: ShardWriter::create(
                path,
                info,
                schema::documents_schema(),
                schema::DOCUMENTS,
                Vec::new(),
            )?,
        })
    }

    /// Adds a document.
    ///
    /// # Errors
    ///
    /// [`Error::Row`] if the document does not fit a row, [`Error::Parquet`] if the disk fails.
    pub fn write(&mut self, document: &Document<Image>) -> Result<(), Error> {
        let bytes = document_bytes(document);
        self.shard.check_row(bytes)?;
        self.columns
            .push(document)
            .map_err(|problem| self.shard.refuse_row(problem))?;
        if self.shard.count_row(bytes) {
            let batch = self.columns.finish(&self.shard.schema);
            self.shard.write(batch)?;
        }
        Ok(())
    }

    /// Completes the shard. [`FileEntry::path`] is the file's name without folders.
    ///
    /// # Errors
    ///
    /// [`Error::Parquet`] or [`Error::Io`] if the disk fails; no file is left then.
    pub fn finish(mut self) -> Result<FileEntry, Error> {
        let batch = self.columns.finish(&self.shard.schema);
        self.shard.write(batch)?;
        self.shard.finish()
    }
}

/// Writes training rows as one shard; memory and files as [`DocumentWriter`].
#[derive(Debug)]
pub struct SequenceWriter {
    columns: SequenceColumns,
    image_id: u32,
    shard: ShardWriter,
}

impl SequenceWriter {
    /// Starts a shard at `path` for rows made with `tokenizer`.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], or [`Error::Io`] if the file cannot be created.
    pub fn create(path: &Path, info: &ShardInfo, tokenizer: &Tokenizer) -> Result<Self, Error> {
        let special = tokenizer.special_ids();
        let special_ids =
            serde_json::to_string(&special).map_err(|error| Error::parquet(path, error))?;
        let metadata = vec![
            entry(schema::TOKENIZER_KEY, tokenizer.sha256().to_string()),
            entry(schema::SPECIAL_IDS_KEY, special_ids),
            entry(
                schema::VOCABULARY_SIZE_KEY,
                tokenizer.vocabulary_size().to_string(),
            ),
            entry(
                schema::SEQUENCE_LENGTH_KEY,
                info.config.sequence_length.to_string(),
            ),
            entry(
                schema::IMAGES_PER_SEQUENCE_KEY,
                info.config.images_per_sequence.to_string(),
            ),
        ];
        Ok(Self {
            columns: SequenceColumns::default(),
            image_id: special.image,
            shard: ShardWriter::create(
                path,
                info,
                schema::sequences_schema(info.config.sequence_length),
                schema::SEQUENCES,
                metadata,
            )?,
        })
    }

    /// Adds a row.
    ///
    /// # Errors
    ///
    /// [`Error::Row`] if the row breaks a promise of [`SequenceRow`], [`Error::Parquet`] if the
    /// disk fails.
    pub fn write(&mut self, row: &SequenceRow) -> Result<(), Error> {
        let config = &self.shard.config;
        if row.frames_per_image.len() > config.images_per_sequence {
            return Err(self.shard.refuse_row(format!(
                "it has {} images, the shard's rows have up to {}",
                row.frames_per_image.len(),
                config.images_per_sequence
            )));
        }
        if let Some(problem) = row.problem(config.sequence_length, self.image_id) {
            return Err(self.shard.refuse_row(problem));
        }
        let images: usize = row.images.iter().map(|image| image.bytes.len()).sum();
        let bytes = images + row.text.len() + size_of_val(row.tokens.as_slice());
        self.shard.check_row(bytes)?;
        self.columns
            .push(row)
            .map_err(|problem| self.shard.refuse_row(problem))?;
        if self.shard.count_row(bytes) {
            let batch = self.columns.finish(&self.shard.schema);
            self.shard.write(batch)?;
        }
        Ok(())
    }

    /// Completes the shard, as [`DocumentWriter::finish`].
    ///
    /// # Errors
    ///
    /// [`Error::Parquet`] or [`Error::Io`] if the disk fails; no file is left then.
    pub fn finish(mut self) -> Result<FileEntry, Error> {
        let batch = self.columns.finish(&self.shard.schema);
        self.shard.write(batch)?;
        self.shard.finish()
    }
}

/// What both writers share: the file, and when a batch and a row group are full.
struct ShardWriter {
    path: PathBuf,
    schema: SchemaRef,
    config: Config,
    writer: ArrowWriter<PendingFile>,
    rows: u64,
    batch_rows: usize,
    batch_bytes: usize,
    group_rows: usize,
    group_bytes: usize,
}

impl std::fmt::Debug for ShardWriter {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ShardWriter")
            .field("path", &self.path)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

impl ShardWriter {
    fn create(
        path: &Path,
        info: &ShardInfo,
        schema: Schema,
        kind: &str,
        further_metadata: Vec<KeyValue>,
    ) -> Result<Self, Error> {
        info.config.validate()?;
        let features = schema::features_json(&schema);
        let mut metadata = vec![
            entry(
                schema::SCHEMA_VERSION_KEY,
                schema::SCHEMA_VERSION.to_string(),
            ),
            entry(schema::KIND_KEY, kind.to_owned()),
            entry(schema::SEED_KEY, info.seed.to_string()),
            entry(schema::FEATURES_KEY, features.clone()),
        ];
        metadata.extend(further_metadata);
        // pyarrow, and `datasets` through it, look into the stored Arrow schema and nowhere else;
        // other readers look into the file's own list.
        let schema = Arc::new(schema.with_metadata([(schema::FEATURES_KEY.to_owned(), features)]));
        let file = PendingFile::create(path)?;
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties(metadata)))
            .map_err(|error| Error::parquet(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            schema,
            config: info.config.clone(),
            writer,
            rows: 0,
            batch_rows: 0,
            batch_bytes: 0,
            group_rows: 0,
            group_bytes: 0,
        })
    }

    fn refuse_row(&self, problem: String) -> Error {
        Error::row(&self.path, self.rows, problem)
    }

    fn check_row(&self, bytes: usize) -> Result<(), Error> {
        if bytes > MAX_ROW_BYTES {
            return Err(self.refuse_row(format!(
                "it has {bytes} bytes, more than the {MAX_ROW_BYTES} that readers take"
            )));
        }
        Ok(())
    }

    /// Counts a row of about that many bytes; whether a batch is due.
    fn count_row(&mut self, bytes: usize) -> bool {
        self.rows += 1;
        self.batch_rows += 1;
        self.batch_bytes += bytes;
        self.batch_rows >= BATCH_ROWS || self.batch_bytes >= BATCH_BYTES || self.group_is_full()
    }

    fn group_is_full(&self) -> bool {
        self.group_rows + self.batch_rows >= self.config.row_group_rows
            || self.group_bytes + self.batch_bytes >= self.config.row_group_bytes
    }

    /// Hands the rows counted so far to the file.
    fn write(&mut self, batch: Result<RecordBatch, arrow::error::ArrowError>) -> Result<(), Error> {
        let batch = batch.map_err(|error| Error::parquet(&self.path, error))?;
        let group_ends = self.group_is_full();
        self.group_rows += std::mem::take(&mut self.batch_rows);
        self.group_bytes += std::mem::take(&mut self.batch_bytes);
        let mut written = self.writer.write(&batch);
        if group_ends {
            written = written.and_then(|()| self.writer.flush());
            self.group_rows = 0;
            self.group_bytes = 0;
        }
        written.map_err(|error| Error::parquet(&self.path, error))
    }

    fn finish(self) -> Result<FileEntry, Error> {
        let file = self
            .writer
            .into_inner()
            .map_err(|error| Error::parquet(&self.path, error))?;
        let (bytes, sha256) = file.commit()?;
        let name = self.path.file_name().unwrap_or_default();
        Ok(FileEntry {
            path: name.to_string_lossy().into_owned(),
            rows: self.rows,
            bytes,
            sha256,
        })
    }
}

pub(crate) fn entry(key: &str, value: String) -> KeyValue {
    KeyValue::new(key.to_owned(), value)
}

/// How columns are stored.
///
/// Pictures are compressed already: zstd saves 2 % of them and costs a quarter of the reading
/// speed. A dictionary of pictures would hold each twice, and their least and greatest bytes, as
/// statistics, would land in the footer.
pub(crate) fn properties(metadata: Vec<KeyValue>) -> WriterProperties {
    let pictures = || {
        ColumnPath::new(
            ["images", "list", "element", "bytes"]
                .map(str::to_owned)
                .to_vec(),
        )
    };
    let tokens = ColumnPath::new(["tokens", "list", "element"].map(str::to_owned).to_vec());
    let mut properties = WriterProperties::builder()
        .set_created_by(format!("m3w version {}", env!("CARGO_PKG_VERSION")))
        .set_key_value_metadata(Some(metadata))
        // Row groups are closed by `ShardWriter`.
        .set_max_row_group_row_count(None)
        .set_write_batch_size(PAGE_CHECK_VALUES)
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_statistics_enabled(EnabledStatistics::None)
        .set_column_compression(pictures(), Compression::UNCOMPRESSED)
        .set_column_dictionary_enabled(pictures(), false)
        // Token ids hardly repeat within a page; plain ones are quicker to read.
        .set_column_dictionary_enabled(tokens, false);
    // What rows are looked up by.
    for name in ["id", "url", "document_id"] {
        properties = properties
            .set_column_statistics_enabled(ColumnPath::from(name), EnabledStatistics::Page);
    }
    properties.build()
}

fn document_bytes(document: &Document<Image>) -> usize {
    let images: usize = document.images().map(|image| image.bytes.len()).sum();
    let texts: usize = document.texts().map(|text| text.content.len()).sum();
    images + texts
}
