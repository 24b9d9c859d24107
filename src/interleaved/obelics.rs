//! Parquet in the form of OBELICS.

use std::fs::File;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::DataType;
use m3w_crawler::normalise;
use m3w_document::{Element, ImageRef, Reason, Text, WarcLocation};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use serde_json::Value;

use super::held::{Budget, Held};
use super::{Interleaved, Row, Wanted, document, file_url};
use crate::journal::ImageDrop;
use crate::pairs::{Checksums, Media};

/// Rows that are held at a time.
const BATCH_ROWS: usize = 16;
/// The columns, in the order in which a row takes them.
const COLUMNS: [&str; 4] = ["images", "texts", "metadata", "general_metadata"];

/// The documents of a file in order.
///
/// # Errors
///
/// If the file cannot be read or has no such columns.
pub(super) fn rows(
    path: &Path,
    budget: &Arc<Budget>,
) -> Result<Box<dyn Iterator<Item = Result<Row>>>> {
    let mut reader = guarded(path, || reader(path))??;
    let (path, budget) = (path.to_owned(), Arc::clone(budget));
    let mut batch: Option<(RecordBatch, usize)> = None;
    let mut number = 0;
    let mut has_failed = false;
    Ok(Box::new(std::iter::from_fn(move || {
        loop {
            if let Some((records, row)) = &mut batch
                && *row < records.num_rows()
            {
                let read = guarded(&path, || read(records, *row, &path, number, &budget));
                *row += 1;
                number += 1;
                return Some(read);
            }
            if has_failed {
                return None;
            }
            let next = guarded(&path, || reader.next());
            let problem = match next {
                Ok(None) => return None,
                Ok(Some(Ok(records))) => {
                    batch = Some((records, 0));
                    continue;
                }
                Ok(Some(Err(error))) => {
                    anyhow::Error::new(error).context(format!("cannot read {}", path.display()))
                }
                Err(error) => error,
            };
            (has_failed, batch) = (true, None);
            return Some(Err(problem));
        }
    })))
}

/// How many documents a file has.
pub(super) fn count(path: &Path) -> Result<u64> {
    let rows = guarded(path, || builder(path))??
        .metadata()
        .file_metadata()
        .num_rows();
    u64::try_from(rows).map_err(|_| anyhow!("{} counts {rows} rows", path.display()))
}

/// What `work` returns; the Parquet library panics on some damaged files.
fn guarded<T>(path: &Path, work: impl FnOnce() -> T) -> Result<T> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| {
        let path = path.display();
        anyhow!("{path} is not a readable Parquet file: it is damaged")
    })
}

fn builder(path: &Path) -> Result<ParquetRecordBatchReaderBuilder<File>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    ParquetRecordBatchReaderBuilder::try_new(file)
        .with_context(|| format!("{} is not a readable Parquet file", path.display()))
}

fn reader(path: &Path) -> Result<ParquetRecordBatchReader> {
    let builder = builder(path)?;
    let schema = builder.schema();
    for (name, expected) in COLUMNS.iter().zip([
        is_list_of_pictures as fn(&DataType) -> bool,
        |found| is_list_of(found, is_text),
        is_text,
        is_text,
    ]) {
        let Some((_, field)) = schema.column_with_name(name) else {
            // The first two make the document; the others say where it is from.
            if COLUMNS[..2].contains(name) {
                let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
                bail!(
                    "{} has no column `{name}` (it has: {}): it is not in the form of OBELICS",
                    path.display(),
                    names.join(", ")
                );
            }
            continue;
        };
        if !expected(field.data_type()) {
            bail!(
                "column `{name}` of {} holds {}, which OBELICS does not",
                path.display(),
                field.data_type()
            );
        }
    }
    let mask = ProjectionMask::columns(builder.parquet_schema(), COLUMNS);
    builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .with_context(|| format!("{} is not a readable Parquet file", path.display()))
}

fn is_text(found: &DataType) -> bool {
    matches!(
        found,
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View
    )
}

fn is_bytes(found: &DataType) -> bool {
    matches!(
        found,
        DataType::Binary | DataType::LargeBinary | DataType::BinaryView
    )
}

fn is_list_of(found: &DataType, is_item: impl Fn(&DataType) -> bool) -> bool {
    match found {
        DataType::List(item) | DataType::LargeList(item) => is_item(item.data_type()),
        _ => false,
    }
}

/// URLs, or what `datasets` makes of pictures: structs with `bytes`.
fn is_list_of_pictures(found: &DataType) -> bool {
    is_list_of(found, |item| match item {
        DataType::Struct(fields) => fields
            .iter()
            .any(|field| field.name() == "bytes" && is_bytes(field.data_type())),
        item => is_text(item),
    })
}

fn text(column: &ArrayRef, row: usize) -> Option<&str> {
    if column.is_null(row) {
        return None;
    }
    if let Some(column) = column.as_string_opt::<i32>() {
        Some(column.value(row))
    } else if let Some(column) = column.as_string_opt::<i64>() {
        Some(column.value(row))
    } else {
        Some(column.as_string_view_opt()?.value(row))
    }
}

fn bytes(column: &ArrayRef, row: usize) -> Option<&[u8]> {
    if column.is_null(row) {
        return None;
    }
    if let Some(column) = column.as_binary_opt::<i32>() {
        Some(column.value(row))
    } else if let Some(column) = column.as_binary_opt::<i64>() {
        Some(column.value(row))
    } else {
        Some(column.as_binary_view_opt()?.value(row))
    }
}

/// The items of a list in a row: all items, and which of them.
fn items(column: &ArrayRef, row: usize) -> Option<(&ArrayRef, Range<usize>)> {
    if column.is_null(row) {
        return None;
    }
    let usize_of = |offset: i64| usize::try_from(offset).unwrap_or(0);
    if let Some(list) = column.as_list_opt::<i32>() {
        let offsets = list.value_offsets();
        let range = usize_of(offsets[row].into())..usize_of(offsets[row + 1].into());
        return Some((list.values(), range));
    }
    let list = column.as_list_opt::<i64>()?;
    let offsets = list.value_offsets();
    Some((
        list.values(),
        usize_of(offsets[row])..usize_of(offsets[row + 1]),
    ))
}

/// One document; `number` is its number in the file.
fn read(records: &RecordBatch, row: usize, path: &Path, number: u64, budget: &Arc<Budget>) -> Row {
    let column = |name| records.column_by_name(name);
    let json = |name| {
        let text = column(name).and_then(|column| text(column, row));
        text.and_then(|text| serde_json::from_str::<Value>(text).ok())
    };
    let general = json("general_metadata").unwrap_or_default();
    let metadata = json("metadata").unwrap_or_default();
    // Of the page; each image says it too.
    let url = general["url"].as_str().or_else(|| {
        let images = metadata.as_array()?;
        images
            .iter()
            .find_map(|image| image["document_url"].as_str())
    });
    let mut document = document(url, path, number);
    document.warc = warc(&general);
    let shown = document.url.to_string();
    let lists = ["images", "texts"].map(|name| column(name).and_then(|list| items(list, row)));
    let [Some((images, image_range)), Some((texts, text_range))] = lists else {
        return (shown, Err(Reason::new("input/no-lists")));
    };
    if image_range.len() != text_range.len() {
        return (shown, Err(Reason::new("input/uneven-lists")));
    }
    let mut dropped = Vec::new();
    // Pictures wait for their place in the budget together.
    let mut held = Vec::new();
    for (index, (image, text_row)) in image_range.zip(text_range).enumerate() {
        let words = text(texts, text_row);
        let picture = picture(images, image);
        match (words, picture) {
            (Some(_), Some(_)) => {
                return (shown, Err(Reason::new("input/text-and-image-at-once")));
            }
            (None, None) => {}
            (Some(words), None) if words.trim().is_empty() => {}
            (Some(words), None) => {
                let text = Text::paragraph(words);
                document.elements.push(Element::Text(text));
            }
            (None, Some(picture)) => {
                let known = &metadata[index];
                let url = match picture {
                    Picture::Url(url) => Some(url),
                    Picture::Bytes(_) => known["src"].as_str(),
                };
                let parsed = url.and_then(|url| normalise(url).ok());
                let (url, held_bytes) = match (picture, parsed) {
                    (Picture::Url(url), None) => {
                        let reason = Reason::new("fetch/bad-url");
                        let url = url.to_owned();
                        dropped.push(ImageDrop { url, reason });
                        continue;
                    }
                    (Picture::Url(_), Some(url)) => (url, None),
                    (Picture::Bytes(bytes), parsed) => {
                        let name = format!("{number}/{index}");
                        (
                            parsed.unwrap_or_else(|| file_url(path, &name)),
                            Some(bytes.to_vec()),
                        )
                    }
                };
                let mut reference = ImageRef::new(url);
                reference.alt = known["alt_text"]
                    .as_str()
                    .map(str::trim)
                    .filter(|alt| !alt.is_empty())
                    .map(str::to_owned);
                let mut wanted = Wanted::from(reference);
                if let Some(bytes) = held_bytes {
                    held.push((document.elements.len(), bytes));
                } else {
                    // What was fetched then; a page may have put another picture in its place.
                    wanted.checksums = Checksums {
                        sha256: known["sha256"].as_str().and_then(|text| text.parse().ok()),
                        md5: None,
                    };
                }
                document.elements.push(Element::Image(wanted));
            }
        }
    }
    let (places, pictures): (Vec<usize>, Vec<Vec<u8>>) = held.into_iter().unzip();
    for (place, bytes) in places.into_iter().zip(budget.take(pictures)) {
        if let Element::Image(wanted) = &mut document.elements[place] {
            let url = wanted.reference.url.clone();
            wanted.media = Media::Held(Held { url, bytes });
        }
    }
    (shown, Ok(Interleaved { document, dropped }))
}

enum Picture<'a> {
    Url(&'a str),
    Bytes(&'a [u8]),
}

fn picture(images: &ArrayRef, row: usize) -> Option<Picture<'_>> {
    match images.as_struct_opt() {
        Some(pictures) if pictures.is_valid(row) => {
            bytes(pictures.column_by_name("bytes")?, row).map(Picture::Bytes)
        }
        Some(_) => None,
        None => text(images, row).map(Picture::Url),
    }
}

fn warc(general: &Value) -> Option<WarcLocation> {
    Some(WarcLocation {
        file: general["warc_filename"].as_str()?.to_owned(),
        offset: general["warc_record_offset"].as_u64()?,
        length: general["warc_record_length"].as_u64()?,
    })
}

#[cfg(test)]
mod tests {
    use arrow::array::{GenericListBuilder, GenericStringBuilder, OffsetSizeTrait, StringArray};
    use parquet::arrow::ArrowWriter;

    use super::*;

    type List<'a> = Option<&'a [Option<&'a str>]>;

    /// Lists of texts, as pyarrow (`i32`) or polars (`i64`) write them.
    fn lists<O: OffsetSizeTrait>(rows: &[List<'_>]) -> ArrayRef {
        let mut lists = GenericListBuilder::<O, _>::new(GenericStringBuilder::<O>::new());
        for row in rows {
            for item in row.unwrap_or_default() {
                lists.values().append_option(*item);
            }
            lists.append(row.is_some());
        }
        Arc::new(lists.finish())
    }

    /// What is read of a file of these columns: the elements, or the reason why not.
    fn read_back(columns: Vec<(&str, ArrayRef)>) -> Vec<Result<Vec<String>, String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("part.parquet");
        let batch = RecordBatch::try_from_iter_with_nullable(
            columns
                .into_iter()
                .map(|(name, column)| (name, column, true)),
        )
        .unwrap();
        let file = File::create(&path).unwrap();
        let mut writer = ArrowWriter::try_new(file, batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        writer.close().unwrap();
        assert_eq!(count(&path).unwrap(), batch.num_rows() as u64);
        let rows = rows(&path, &Arc::new(Budget::of(1 << 20))).unwrap();
        rows.map(|row| {
            let (shown, read) = row.unwrap();
            let read = read.map_err(|reason| reason.name.into_owned())?;
            let elements = read.document.elements.iter().map(|element| match element {
                Element::Text(text) => text.content.clone(),
                Element::Image(image) => {
                    let alt = image.reference.alt.as_deref().unwrap_or_default();
                    let is_checked = if image.checksums.is_empty() {
                        ""
                    } else {
                        ", checked"
                    };
                    format!("<{} {alt}{is_checked}>", image.reference.url)
                }
            });
            let dropped = read.dropped.iter().map(|image| format!("-{}", image.url));
            Ok(std::iter::once(shown)
                .chain(elements)
                .chain(dropped)
                .collect())
        })
        .collect()
    }

    fn texts(rows: &[Option<&str>]) -> ArrayRef {
        Arc::new(StringArray::from(rows.to_vec()))
    }

    const IMAGES: List<'static> = Some(&[None, Some("https://a.test/x.jpg"), Some("no URL"), None]);
    const TEXTS: List<'static> = Some(&[Some("one\n\ntwo"), None, None, Some(" \n")]);

    #[test]
    fn texts_and_urls_stand_in_the_order_of_the_lists_whoever_wrote_them() {
        let hash = m3w_document::Sha256::of(b"x");
        let metadata =
            format!(r#"[null, {{"alt_text": " a kite ", "sha256": "{hash}"}}, {{}}, null]"#);
        let general = r#"{"url": "https://a.test/page"}"#;
        let expected = [
            "https://a.test/page",
            "one\n\ntwo",
            "<https://a.test/x.jpg a kite, checked>",
            "-no URL",
        ];
        for (images, words) in [
            (lists::<i32>(&[IMAGES]), lists::<i32>(&[TEXTS])),
            (lists::<i64>(&[IMAGES]), lists::<i64>(&[TEXTS])),
        ] {
            let found = read_back(vec![
                ("texts", words),
                ("general_metadata", texts(&[Some(general)])),
                ("images", images),
                ("metadata", texts(&[Some(&metadata)])),
            ]);
            assert_eq!(found, [Ok(expected.map(str::to_owned).to_vec())]);
        }
    }

    #[test]
    fn rows_that_are_no_documents_say_why_and_cost_no_other() {
        let images = lists::<i32>(&[
            None,
            Some(&[None]),
            Some(&[Some("https://a.test/x.jpg")]),
            IMAGES,
        ]);
        let words = lists::<i32>(&[TEXTS, TEXTS, Some(&[Some("both")]), TEXTS]);
        let found = read_back(vec![("images", images), ("texts", words)]);
        let reasons: Vec<_> = found[..3]
            .iter()
            .map(|row| row.as_ref().unwrap_err())
            .collect();
        assert_eq!(
            reasons,
            [
                "input/no-lists",
                "input/uneven-lists",
                "input/text-and-image-at-once"
            ]
        );
        // Without a page's URL, it is called after its place.
        let last = found[3].as_ref().unwrap();
        assert_eq!(last[0], "file:///part.parquet/3");
        assert_eq!(last.len(), 4);
    }
}
