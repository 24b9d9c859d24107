//! Lists of URLs: text, CSV, TSV, JSON lines, Parquet.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::{Context, Result, bail};
use arrow::array::{Array, AsArray};
use arrow::datatypes::DataType;
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

/// Lines longer than this are cut: no URL that a server takes is that long, and the rest of such
/// a line must not fill the memory.
const MAX_LINE_BYTES: u64 = 64 << 10;

/// Reads a list of URLs in file order, one item for each line or row that is not blank.
///
/// The kind of file is told by its name: `.csv`, `.tsv`, `.jsonl` (or `.ndjson`) and `.parquet`
/// have a column `url_column`; anything else is text with one URL a line, `#` begins a comment. An
/// item is the raw text; whether it is a URL is for the crawler to say, so that a bad line is
/// counted and not fatal. Memory held is one line, or one batch of a Parquet column.
///
/// # Errors
///
/// If the file cannot be opened or is not what its name says, or has no such column.
pub fn urls(path: &Path, url_column: &str) -> Result<Box<dyn Iterator<Item = Result<String>>>> {
    let open = || File::open(path).with_context(|| format!("cannot read {}", path.display()));
    let extension = path.extension().and_then(|extension| extension.to_str());
    match extension.map(str::to_ascii_lowercase).as_deref() {
        Some("csv") => delimited(open()?, b',', path, url_column),
        Some("tsv") => delimited(open()?, b'\t', path, url_column),
        Some("jsonl" | "ndjson") => {
            let column = url_column.to_owned();
            Ok(Box::new(lines(open()?, path).map(move |line| {
                line.map(|line| json_field(&line, &column).unwrap_or(line))
            })))
        }
        Some("parquet") => parquet_column(open()?, path, url_column),
        _ => Ok(Box::new(lines(open()?, path))),
    }
}

/// Lines that are neither blank nor comments, trimmed; bytes that are not UTF-8 are replaced.
pub(crate) fn lines<R: Read>(
    source: R,
    path: &Path,
) -> impl Iterator<Item = Result<String>> + use<R> {
    let path = path.to_owned();
    let mut reader = BufReader::new(source);
    let mut is_first = true;
    std::iter::from_fn(move || {
        loop {
            let mut line = Vec::new();
            match reader
                .by_ref()
                .take(MAX_LINE_BYTES)
                .read_until(b'\n', &mut line)
            {
                Err(error) => {
                    let context = format!("cannot read {}", path.display());
                    return Some(Err(anyhow::Error::new(error).context(context)));
                }
                Ok(0) => return None,
                Ok(_) => {}
            }
            if line.len() as u64 == MAX_LINE_BYTES && line.last() != Some(&b'\n') {
                skip_line(&mut reader);
            }
            let text = String::from_utf8_lossy(&line);
            let text = if std::mem::take(&mut is_first) {
                text.trim_start_matches('\u{feff}')
            } else {
                &text
            };
            let text = text.trim();
            if !text.is_empty() && !text.starts_with('#') {
                return Some(Ok(text.to_owned()));
            }
        }
    })
}

fn skip_line(reader: &mut impl BufRead) {
    while let Ok(buffer) = reader.fill_buf() {
        let (used, is_done) = match buffer.iter().position(|&byte| byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(used);
        if is_done {
            return;
        }
    }
}

fn json_field(line: &str, column: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(line).ok()?;
    value.get(column)?.as_str().map(str::to_owned)
}

fn delimited(
    file: File,
    delimiter: u8,
    path: &Path,
    column: &str,
) -> Result<Box<dyn Iterator<Item = Result<String>>>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .from_reader(BufReader::new(file));
    let headers = reader
        .byte_headers()
        .with_context(|| format!("cannot read the header line of {}", path.display()))?;
    let names: Vec<String> = headers
        .iter()
        .map(|name| {
            let name = String::from_utf8_lossy(name);
            name.trim_start_matches('\u{feff}').trim().to_owned()
        })
        .collect();
    let Some(index) = names.iter().position(|name| name == column) else {
        return Err(no_column(path, column, &names));
    };
    let path = path.to_owned();
    Ok(Box::new(reader.into_byte_records().map(move |record| {
        let record = record.with_context(|| format!("cannot read {}", path.display()))?;
        let field = record.get(index).unwrap_or_default();
        Ok(String::from_utf8_lossy(field).trim().to_owned())
    })))
}

fn parquet_column(
    file: File,
    path: &Path,
    column: &str,
) -> Result<Box<dyn Iterator<Item = Result<String>>>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)
        .with_context(|| format!("{} is not a readable Parquet file", path.display()))?;
    let schema = builder.schema();
    let Some((index, field)) = schema.column_with_name(column) else {
        let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
        return Err(no_column(path, column, &names));
    };
    if !matches!(field.data_type(), DataType::Utf8 | DataType::LargeUtf8) {
        bail!(
            "column `{column}` of {} holds {}, not text",
            path.display(),
            field.data_type()
        );
    }
    let mask = ProjectionMask::roots(builder.parquet_schema(), [index]);
    let reader = builder
        .with_projection(mask)
        .build()
        .with_context(|| format!("cannot read {}", path.display()))?;
    let path = path.to_owned();
    Ok(Box::new(reader.flat_map(move |batch| match batch {
        Ok(batch) => strings(batch.column(0)).into_iter().map(Ok).collect(),
        Err(error) => {
            let context = format!("cannot read {}", path.display());
            vec![Err(anyhow::Error::new(error).context(context))]
        }
    })))
}

/// The texts of a column; a null is an empty text, which the crawler counts as no URL.
fn strings(column: &dyn Array) -> Vec<String> {
    if let Some(texts) = column.as_string_opt::<i32>() {
        return texts
            .iter()
            .map(|text| text.unwrap_or_default().to_owned())
            .collect();
    }
    column
        .as_string::<i64>()
        .iter()
        .map(|text| text.unwrap_or_default().to_owned())
        .collect()
}

fn no_column(path: &Path, column: &str, names: &[String]) -> anyhow::Error {
    anyhow::anyhow!(
        "{} has no column `{column}` (it has: {}): name the right one with --url-column",
        path.display(),
        names.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn read(name: &str, content: &[u8]) -> Result<Vec<String>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        urls(&path, "url")?.collect()
    }

    #[test]
    fn every_kind_of_list_yields_its_urls_in_order() {
        let expected = ["http://a.test/1", "http://a.test/2"];
        let text = "\u{feff}# two pages\nhttp://a.test/1\r\n\n  http://a.test/2";
        assert_eq!(read("list.txt", text.as_bytes()).unwrap(), expected);
        let csv = "id,url\n1,http://a.test/1\n2,\"http://a.test/2\"\n";
        assert_eq!(read("list.csv", csv.as_bytes()).unwrap(), expected);
        let tsv = "url\tid\nhttp://a.test/1\t1\nhttp://a.test/2\t2\n";
        assert_eq!(read("list.tsv", tsv.as_bytes()).unwrap(), expected);
        let json = "{\"url\": \"http://a.test/1\"}\n{\"url\": \"http://a.test/2\", \"x\": 1}\n";
        assert_eq!(read("list.jsonl", json.as_bytes()).unwrap(), expected);
        let column: ArrayRef = Arc::new(StringArray::from(expected.to_vec()));
        let batch = RecordBatch::try_from_iter([("url", column)]).unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        assert_eq!(
            read("list.parquet", &writer.into_inner().unwrap()).unwrap(),
            expected
        );
    }

    #[test]
    fn a_missing_column_is_named_with_those_there_are() {
        let message = read("list.csv", b"link,id\nx,1\n").unwrap_err().to_string();
        assert!(
            message.contains("no column `url` (it has: link, id)"),
            "{message}"
        );
        assert!(read("list.parquet", b"PAR1").is_err());
    }

    #[test]
    fn a_bad_line_is_an_item_and_the_next_is_read() {
        let mut text = vec![b'x'; 200_000];
        text.extend(b"\nhttp://a.test/\n\xff\xfe\n");
        let items = read("list.txt", &text).unwrap();
        assert_eq!(items.len(), 3);
        assert_eq!(items[1], "http://a.test/");
        let items = read("list.jsonl", b"not json\n{\"url\": \"http://a.test/\"}\n").unwrap();
        assert_eq!(items, ["not json", "http://a.test/"]);
    }
}
