//! What is left of a damaged shard of documents.

use std::path::Path;

use arrow::datatypes::Schema;
use m3w_document::{Document, Image, Sha256};
use parquet::arrow::arrow_reader::ArrowReaderOptions;
use parquet::file::metadata::PageIndexPolicy;

use crate::document_rows::{document, with_empty_pictures};
use crate::guard::catch_panic;
use crate::reader::Shard;
use crate::{Error, schema};

/// Rows decoded at a time where nothing is damaged.
const BATCH_ROWS: usize = 16;
/// A row of a damaged shard.
#[derive(Debug, Clone, PartialEq)]
pub enum Salvaged {
    /// A row with all its pictures, whose bytes have the hashes that the row names. Its words are
    /// as they were read: [`Document::digest`] tells whether they are as they were written.
    Whole(Document<Image>),
    /// The same, but some of its pictures have no bytes (their [`Image::bytes`] is empty), because
    /// these cannot be read or have another hash than the row names.
    WithoutPictures(Document<Image>),
}

/// Calls `keep` with each row of the shard at `path` that can still be read.
///
/// A row group without damage is read as always. In one that has any, each row is read by itself
/// with as few pages as the page index allows; a row whose pictures stand in a damaged page is
/// read without them. Memory is one batch of rows.
///
/// # Errors
///
/// Those of [`crate::DocumentReader::open`], in which case no row can be read, and those of `keep`.
pub fn salvage_documents<E: From<Error>>(
    path: &Path,
    mut keep: impl FnMut(Salvaged) -> Result<(), E>,
) -> Result<(), E> {
    let with_index = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let shard = Shard::open_with(path, schema::DOCUMENTS, with_index)
        // The index may be what is damaged.
        .or_else(|_| Shard::open_with(path, schema::DOCUMENTS, ArrowReaderOptions::new()))?;
    let whole = schema::documents_schema();
    shard.check_schema(&whole)?;
    let wordy = schema::documents_schema_without_pictures();
    for (group, rows) in shard.group_rows()?.into_iter().enumerate() {
        let mut read = 0;
        let batches = shard.batches(&whole, Some(vec![group]), BATCH_ROWS);
        'group: for batch in batches.into_iter().flatten() {
            let Ok(batch) = batch else {
                break;
            };
            for row in 0..batch.num_rows() {
                let Ok(Ok(document)) = catch_panic(|| document(&batch, row)) else {
                    break 'group;
                };
                keep(checked(document))?;
                read += 1;
            }
        }
        for row in read..rows {
            if let Some(salvaged) = salvaged_row(&shard, &whole, &wordy, group, row) {
                keep(salvaged)?;
            }
        }
    }
    Ok(())
}

fn salvaged_row(
    shard: &Shard,
    whole: &Schema,
    wordy: &Schema,
    group: usize,
    row: usize,
) -> Option<Salvaged> {
    let batch = |schema| shard.row(schema, group, row).ok()?.next()?.ok();
    let read = |batch| catch_panic(|| document(&batch, 0)).and_then(|read| read);
    if let Some(batch) = batch(whole)
        && let Ok(document) = read(batch)
    {
        return Some(checked(document));
    }
    let batch = catch_panic(|| with_empty_pictures(&batch(wordy)?).ok()).ok()??;
    Some(checked(read(batch).ok()?))
}

/// The row, without the pictures whose bytes are not those that it names.
fn checked(document: Document<Image>) -> Salvaged {
    let is_right = |image: &Image| Sha256::of(&image.bytes) == image.sha256_stored;
    if document.images().all(is_right) {
        return Salvaged::Whole(document);
    }
    Salvaged::WithoutPictures(document.filter_map_images(|image| {
        Some(if is_right(&image) {
            image
        } else {
            Image {
                bytes: [].into(),
                ..image
            }
        })
    }))
}
