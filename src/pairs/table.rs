//! Lists of pairs: CSV, TSV, JSON lines (all three also with gzip), Parquet.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use flate2::bufread::MultiGzDecoder;
use m3w_document::Reason;
use serde_json::{Map, Value};

use super::columnar;
use super::config::Columns;
use super::delimited::{Line, Lines, Record, Records};
use super::row::{Cell, Cells, Row, refused};

/// Names under which lists have URLs, in lower case.
const URL_NAMES: [&str; 3] = ["url", "image_url", "video_url"];
/// Names under which lists have captions, in lower case.
const CAPTION_NAMES: [&str; 3] = ["caption", "text", "alt_text"];

/// The kinds of tables, by the end of their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Delimited(u8),
    JsonLines,
    Parquet,
}

fn format(path: &Path) -> Option<Format> {
    let name = path.file_name()?.to_str()?.to_ascii_lowercase();
    let plain = name.strip_suffix(".gz");
    match plain.unwrap_or(&name).rsplit_once('.')?.1 {
        "csv" => Some(Format::Delimited(b',')),
        "tsv" => Some(Format::Delimited(b'\t')),
        "jsonl" | "ndjson" => Some(Format::JsonLines),
        "parquet" if plain.is_none() => Some(Format::Parquet),
        _ => None,
    }
}

/// Whether the file's name is that of a table.
pub(super) fn is_table(path: &Path) -> bool {
    format(path).is_some()
}

pub(super) type Rows<T> = Box<dyn Iterator<Item = Result<T>>>;

/// The pairs of a table in its order, one item for each row.
///
/// # Errors
///
/// If the file cannot be read, is not what its name says, or has no such columns. What is wrong
/// with one row is its reason.
pub(super) fn rows(path: &Path, columns: &Columns) -> Result<Rows<Row>> {
    let rows = cells(path, columns)?;
    Ok(Box::new(rows.map(|row| {
        Ok(match row? {
            Ok(cells) => cells.into_row(),
            Err((shown, reason)) => (shown, Err(reason)),
        })
    })))
}

/// A row's cells, or what there is of the row and why it has none.
pub(super) type CellsOrRow = std::result::Result<Cells, (String, Reason)>;

/// The same before the cells are looked at.
pub(super) fn cells(path: &Path, columns: &Columns) -> Result<Rows<CellsOrRow>> {
    match format(path) {
        Some(Format::Delimited(delimiter)) => delimited(path, delimiter, columns),
        Some(Format::JsonLines) => json_lines(path, columns),
        Some(Format::Parquet) => columnar::rows(path, columns),
        None => bail!(
            "cannot tell what {} is: lists end in .csv, .tsv, .jsonl (or with .gz after it) or \
             .parquet, archives in .tar",
            path.display()
        ),
    }
}

fn open(path: &Path) -> Result<Box<dyn BufRead>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = BufReader::with_capacity(1 << 18, file);
    let is_compressed = path
        .extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("gz"));
    if is_compressed {
        let unpacked = MultiGzDecoder::new(file);
        return Ok(Box::new(BufReader::with_capacity(1 << 18, unpacked)));
    }
    Ok(Box::new(file))
}

/// Where the columns stand.
#[derive(Debug, Clone, Copy)]
pub(super) struct Places {
    pub(super) url: usize,
    pub(super) caption: usize,
    pub(super) sha256: Option<usize>,
    pub(super) md5: Option<usize>,
    pub(super) start: Option<usize>,
    pub(super) end: Option<usize>,
}

impl Places {
    pub(super) fn of(columns: &Columns, names: &[String], path: &Path) -> Result<Self> {
        let named = |name: &str, option: &str| {
            names.iter().position(|found| found == name).ok_or_else(|| {
                anyhow!(
                    "{} has no column `{name}` (it has: {}): name the right one with {option}",
                    path.display(),
                    names.join(", ")
                )
            })
        };
        let place = |name: &Option<String>, known: &[&str], option: &str| match name {
            Some(name) => named(name, option),
            None => known
                .iter()
                .find_map(|known| {
                    names
                        .iter()
                        .position(|name| name.eq_ignore_ascii_case(known))
                })
                .ok_or_else(|| {
                    anyhow!(
                        "{} has no column `{}` (it has: {}): name the right one with {option}",
                        path.display(),
                        known.join("` or `"),
                        names.join(", ")
                    )
                }),
        };
        let further = |name: &Option<String>, option: &str| {
            name.as_deref().map(|name| named(name, option)).transpose()
        };
        Ok(Self {
            url: place(&columns.url, &URL_NAMES, "--url-col")?,
            caption: place(&columns.caption, &CAPTION_NAMES, "--caption-col")?,
            sha256: further(&columns.sha256, "--sha256-col")?,
            md5: further(&columns.md5, "--md5-col")?,
            start: further(&columns.start, "--start-col")?,
            end: further(&columns.end, "--end-col")?,
        })
    }

    /// The cells, taken from wherever they stand.
    pub(super) fn cells(&self, mut cell: impl FnMut(usize) -> Cell, is_short: bool) -> Cells {
        Cells {
            url: cell(self.url),
            caption: cell(self.caption),
            sha256: self.sha256.and_then(&mut cell),
            md5: self.md5.and_then(&mut cell),
            start: self.start.and_then(&mut cell),
            end: self.end.and_then(&mut cell),
            is_short,
        }
    }

    fn last(&self) -> usize {
        let further = [self.sha256, self.md5, self.start, self.end];
        let last = further.into_iter().flatten().max();
        self.url.max(self.caption).max(last.unwrap_or(0))
    }
}

fn delimited(path: &Path, delimiter: u8, columns: &Columns) -> Result<Rows<CellsOrRow>> {
    let context = |path: &Path| format!("cannot read {}", path.display());
    let mut records = Records::of(open(path)?, delimiter);
    let places = if columns.has_header {
        let header = records.next_record().with_context(|| context(path))?;
        let Some(Record::Fields(names)) = header else {
            bail!(
                "{} does not begin with a line of column names: give --no-header if it has none",
                path.display()
            );
        };
        let names: Vec<String> = names
            .iter()
            .map(|name| {
                let name = String::from_utf8_lossy(name);
                name.trim_start_matches('\u{feff}').trim().to_owned()
            })
            .collect();
        Places::of(columns, &names, path)?
    } else {
        numbered(columns)?
    };
    let path = path.to_owned();
    Ok(Box::new(std::iter::from_fn(move || {
        let record = match records.next_record() {
            Ok(record) => record?,
            Err(error) => return Some(Err(anyhow::Error::new(error).context(context(&path)))),
        };
        Some(Ok(match record {
            Record::Fields(mut fields) => {
                let is_short = fields.len() <= places.last();
                let take = |index: usize| fields.get_mut(index).map(std::mem::take);
                Ok(places.cells(take, is_short))
            }
            Record::Unclosed(line) => Err(refused(&line, "input/unclosed-quote")),
            Record::TooLong(head) => Err(refused(&head, "input/too-long")),
        }))
    })))
}

/// The columns of a list without a header.
fn numbered(columns: &Columns) -> Result<Places> {
    let number = |name: &Option<String>, option: &str| {
        let number = name.as_deref().and_then(|name| name.parse::<usize>().ok());
        number
            .and_then(|number| number.checked_sub(1))
            .ok_or_else(|| {
                anyhow!("without a header, columns have numbers from 1: give {option} one")
            })
    };
    let optional = |name: &Option<String>, option: &str| {
        name.is_some().then(|| number(name, option)).transpose()
    };
    Ok(Places {
        url: number(&columns.url, "--url-col")?,
        caption: number(&columns.caption, "--caption-col")?,
        sha256: optional(&columns.sha256, "--sha256-col")?,
        md5: optional(&columns.md5, "--md5-col")?,
        start: optional(&columns.start, "--start-col")?,
        end: optional(&columns.end, "--end-col")?,
    })
}

fn json_lines(path: &Path, columns: &Columns) -> Result<Rows<CellsOrRow>> {
    let mut lines = Lines::of(open(path)?);
    let columns = columns.clone();
    let path = path.to_owned();
    Ok(Box::new(std::iter::from_fn(move || {
        loop {
            let line = match lines.next_line() {
                Ok(line) => line?,
                Err(error) => {
                    let context = format!("cannot read {}", path.display());
                    return Some(Err(anyhow::Error::new(error).context(context)));
                }
            };
            return Some(Ok(match line {
                Line::Whole(line) if line.trim_ascii().is_empty() => continue,
                Line::Whole(line) => json_cells(&line, &columns),
                Line::TooLong(head) => Err(refused(&head, "input/too-long")),
            }));
        }
    })))
}

fn json_cells(line: &[u8], columns: &Columns) -> CellsOrRow {
    let line = line.strip_prefix(b"\xef\xbb\xbf").unwrap_or(line);
    if std::str::from_utf8(line).is_err() {
        return Err(refused(line, "input/broken-utf8"));
    }
    let object: Map<String, Value> =
        serde_json::from_slice(line).map_err(|_| refused(line, "input/not-json"))?;
    let url = json_field(&object, &columns.url, &URL_NAMES);
    let caption = json_field(&object, &columns.caption, &CAPTION_NAMES);
    let further = |name: &Option<String>| match object.get(name.as_deref()?)? {
        Value::Number(number) => Some(number.to_string().into_bytes()),
        value => json_cell(value),
    };
    Ok(Cells {
        is_short: url.is_none() || caption.is_none(),
        url: url.and_then(json_cell),
        caption: caption.and_then(json_cell),
        sha256: further(&columns.sha256),
        md5: further(&columns.md5),
        start: further(&columns.start),
        end: further(&columns.end),
    })
}

fn json_field<'a>(
    object: &'a Map<String, Value>,
    name: &Option<String>,
    known: &[&str],
) -> Option<&'a Value> {
    match name {
        Some(name) => object.get(name),
        None => known.iter().find_map(|known| {
            let mut fields = object.iter();
            fields.find_map(|(name, value)| name.eq_ignore_ascii_case(known).then_some(value))
        }),
    }
}

fn json_cell(value: &Value) -> Cell {
    value.as_str().map(|text| text.as_bytes().to_vec())
}

/// URL and caption of the JSON beside a picture, each where there is one.
pub(super) fn json_parts(bytes: &[u8], columns: &Columns) -> Option<(Cell, Cell)> {
    let object: Map<String, Value> = serde_json::from_slice(bytes).ok()?;
    let url = json_field(&object, &columns.url, &URL_NAMES);
    let caption = json_field(&object, &columns.caption, &CAPTION_NAMES);
    Some((url.and_then(json_cell), caption.and_then(json_cell)))
}

#[cfg(test)]
mod tests;
