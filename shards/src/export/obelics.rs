//! Documents as OBELICS publishes them.

use std::path::Path;
use std::sync::Arc;

use arrow::array::{Array, ArrayRef, RecordBatch, StringBuilder};
use arrow::datatypes::{DataType, Field, Schema, SchemaRef};
use m3w_document::{Document, Element, Image};
use parquet::arrow::ArrowWriter;
use serde_json::{Value, json};

use super::{ExportReport, Target};
use crate::columns::{ImageColumn, Offsets};
use crate::manifest::PendingFile;
use crate::tokenize::image_name;
use crate::writer::{entry, properties};
use crate::{Config, Error, FileEntry, schema};

pub(super) struct ObelicsFile {
    path: std::path::PathBuf,
    writer: ArrowWriter<PendingFile>,
    schema: SchemaRef,
    columns: Columns,
    has_pictures: bool,
    samples: u64,
}

/// Rows under construction. In each, exactly one of `images[i]`, `texts[i]` is set.
#[derive(Default)]
struct Columns {
    pictures: ImageColumn,
    urls: StringBuilder,
    metadata: StringBuilder,
    general_metadata: StringBuilder,
    texts: StringBuilder,
    offsets: Offsets,
    rows: usize,
    bytes: usize,
}

impl ObelicsFile {
    pub(super) fn create(path: &Path, has_pictures: bool) -> Result<Self, Error> {
        let text = |name| Field::new(name, DataType::Utf8, true);
        let list = |name, item| Field::new(name, DataType::List(schema::element(item)), true);
        let images = if has_pictures {
            DataType::Struct(schema::image_fields())
        } else {
            DataType::Utf8
        };
        let schema = Arc::new(Schema::new(vec![
            list("images", images),
            text("metadata"),
            text("general_metadata"),
            list("texts", DataType::Utf8),
        ]));
        let features = schema::features_json(&schema);
        let properties = properties(vec![entry(schema::FEATURES_KEY, features.clone())]);
        // pyarrow, and `datasets` through it, look here.
        let metadata = [(schema::FEATURES_KEY.to_owned(), features)];
        let schema = Arc::new(
            Schema::clone(&schema).with_metadata(std::collections::HashMap::from(metadata)),
        );
        let file = PendingFile::create(path)?;
        let writer = ArrowWriter::try_new(file, Arc::clone(&schema), Some(properties))
            .map_err(|error| Error::parquet(path, error))?;
        Ok(Self {
            path: path.to_owned(),
            writer,
            schema,
            columns: Columns::default(),
            has_pictures,
            samples: 0,
        })
    }

    fn flush(&mut self) -> Result<(), Error> {
        let batch = self.columns.finish(&self.schema, self.has_pictures);
        batch
            .map_err(parquet::errors::ParquetError::from)
            .and_then(|batch| {
                self.writer.write(&batch)?;
                self.writer.flush()
            })
            .map_err(|error| Error::parquet(&self.path, error))
    }
}

impl Target for ObelicsFile {
    fn write(
        &mut self,
        document: &Document<Image>,
        report: &mut ExportReport,
    ) -> Result<(), Error> {
        self.columns.push(document, self.has_pictures);
        self.samples += 1;
        report.samples += 1;
        let limits = Config::default();
        if self.columns.rows >= limits.row_group_rows
            || self.columns.bytes >= limits.row_group_bytes
        {
            self.flush()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<FileEntry, Error> {
        if self.columns.rows > 0 {
            self.flush()?;
        }
        let path = self.path;
        let file = self
            .writer
            .into_inner()
            .map_err(|error| Error::parquet(&path, error))?;
        let (bytes, sha256) = file.commit()?;
        let name = path.file_name().unwrap_or_default();
        Ok(FileEntry {
            path: name.to_string_lossy().into_owned(),
            rows: self.samples,
            bytes,
            sha256,
        })
    }
}

impl Columns {
    fn push(&mut self, document: &Document<Image>, has_pictures: bool) {
        for element in &document.elements {
            match element {
                Element::Text(text) => {
                    self.texts.append_value(&text.content);
                    self.bytes += text.content.len();
                    if has_pictures {
                        self.pictures.push_null();
                    } else {
                        self.urls.append_null();
                    }
                }
                Element::Image(image) => {
                    self.texts.append_null();
                    if has_pictures {
                        self.pictures.push(&image_name(image), &image.bytes);
                        self.bytes += image.bytes.len();
                    } else {
                        self.urls.append_value(image.reference.url.as_str());
                    }
                }
            }
        }
        self.pictures.close_row();
        self.offsets.close_after(document.elements.len());
        self.metadata.append_value(metadata(document).to_string());
        self.general_metadata
            .append_value(general_metadata(document).to_string());
        self.rows += 1;
    }

    fn finish(
        &mut self,
        schema: &SchemaRef,
        has_pictures: bool,
    ) -> Result<RecordBatch, arrow::error::ArrowError> {
        (self.rows, self.bytes) = (0, 0);
        let offsets = std::mem::take(&mut self.offsets);
        let texts: ArrayRef = Arc::new(offsets.share(Arc::new(self.texts.finish()))?);
        let urls = self.urls.finish();
        let pictures = std::mem::take(&mut self.pictures);
        let images: ArrayRef = if has_pictures {
            debug_assert!(urls.is_empty(), "a file holds pictures or URLs");
            let mut pictures = pictures;
            pictures.finish()?
        } else {
            Arc::new(offsets.share(Arc::new(urls))?)
        };
        RecordBatch::try_new(
            Arc::clone(schema),
            vec![
                images,
                Arc::new(self.metadata.finish()),
                Arc::new(self.general_metadata.finish()),
                texts,
            ],
        )
    }
}

/// One entry an element: what is known of an image, null for a text.
fn metadata(document: &Document<Image>) -> Value {
    let entries = document.elements.iter().map(|element| match element {
        Element::Text(_) => Value::Null,
        Element::Image(image) => json!({
            "document_url": document.final_url.as_str(),
            "src": image.reference.url.as_str(),
            "alt_text": image.reference.alt,
            "original_width": image.fetched_width_px,
            "original_height": image.fetched_height_px,
            "format": image.format.as_str(),
            "sha256": image.sha256_fetched.to_string(),
        }),
    });
    entries.collect()
}

fn general_metadata(document: &Document<Image>) -> Value {
    let warc = document.warc.as_ref();
    json!({
        "url": document.final_url.as_str(),
        "warc_filename": warc.map(|warc| &warc.file),
        "warc_record_offset": warc.map(|warc| warc.offset),
        "warc_record_length": warc.map(|warc| warc.length),
    })
}
