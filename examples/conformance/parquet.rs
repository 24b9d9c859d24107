//! `parquet`: files of other makes, damaged and wrong ones, to the readers of shards and to that of
//! URL lists, which reads any Parquet file with the column it is told.

use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use m3w::input;
use m3w::shards::{DocumentReader, Error, SequenceReader};

use crate::cases::{Directory, FileCase, SHORT_TIME_LIMIT};
use crate::report::{Outcome, SuiteResult, check as holds, same};

/// The column that is read as a list of URLs.
const COLUMN: &str = "url";

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    let cases = Arc::new(directory.files_in("parquet"));
    let check = move |case: &FileCase| check(case, &cases);
    Ok(directory.run_files("parquet", SHORT_TIME_LIMIT, check))
}

fn check(case: &FileCase, cases: &[FileCase]) -> Outcome {
    let documents = DocumentReader::open(&case.path).and_then(count);
    let sequences = SequenceReader::open(&case.path).and_then(count);
    let list = list(&case.path);
    let shards_refuse = || {
        holds(
            documents.is_err() && sequences.is_err(),
            "an error of the shard readers",
            || format!("{documents:?} documents, {sequences:?} sequences"),
        )
    };
    match case.verdict.as_str() {
        "read_all" => holds(list.is_ok(), "rows", || format!("{list:?}")),
        "wrong_schema_error" => shards_refuse(),
        "typed_error_no_panic" => {
            shards_refuse()?;
            holds(list.is_err(), "an error of the list reader", || {
                format!("{list:?}")
            })
        }
        "error_or_same_rows" => {
            shards_refuse()?;
            match (list, undamaged(case, cases)) {
                (Ok(rows), Some(undamaged)) => same("rows", &undamaged, &rows),
                _ => Ok(()),
            }
        }
        "typed_error_no_panic_or_rows" | "error_or_rows_no_panic" | "either_no_panic" => Ok(()),
        _ => Err(case.unknown_verdict()),
    }
}

/// Reads all rows, one at a time.
fn count<T>(reader: impl Iterator<Item = Result<T, Error>>) -> Result<usize, Error> {
    reader
        .map(|row| row.map(drop))
        .try_fold(0, |rows, row| row.map(|()| rows + 1))
}

fn list(path: &Path) -> Result<Vec<String>, String> {
    let rows = input::urls(path, COLUMN).and_then(Iterator::collect::<Result<Vec<String>>>);
    rows.map_err(|error| format!("{error:#}"))
}

/// The rows of the sound file that a damaged one was made of, which is as long.
fn undamaged(case: &FileCase, cases: &[FileCase]) -> Option<Vec<String>> {
    let is_source = |other: &&FileCase| other.verdict == "read_all" && other.bytes == case.bytes;
    list(&cases.iter().find(is_source)?.path).ok()
}
