//! `warc/records`: archives, sound and damaged, to pages. `warc/digests`: those whose records have
//! digests, right ones and wrong ones.

use std::collections::HashSet;

use anyhow::Result;
use m3w::crawler::warc::{DigestCheck, WarcItem, WarcReader, pages};
use m3w::crawler::{Config, Error, FailureKind};
use m3w::document::DocumentId;

use crate::cases::{Directory, FileCase, TIME_LIMIT, run_files};
use crate::report::{Mismatch, Outcome, SuiteResult, check as holds};

/// The verdict of the files that `warc/digests` is about.
const DIGESTS: &str = "read_all_check_digest";

/// Cap on a record's block where records are only counted.
const MAX_BLOCK_BYTES: usize = 1 << 20;

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    let mut cases = directory.files_in("warc");
    cases.retain(|case| case.verdict != DIGESTS);
    Ok(run_files(cases, TIME_LIMIT, check))
}

/// What came out of a file.
#[derive(Debug, Default)]
struct Found {
    /// Pages, each counted once, as a build does: by its document's id.
    pages: usize,
    truncated: usize,
    resources: usize,
    skipped: Vec<FailureKind>,
    errors: usize,
}

fn check(case: &FileCase) -> Outcome {
    let found = read(case)?;
    let records = records(case)?;
    let is_as_expected = match case.verdict.as_str() {
        "read_all" | "read_all_dedup" => found.errors == 0 && records > 0,
        "read_all_flag_truncated" => {
            found.truncated > 0 || found.skipped.contains(&FailureKind::Truncated)
        }
        "read_until_damage_then_typed_error" => found.errors == 1,
        "typed_error_or_resync" => found.errors > 0 || found.pages > 0,
        // One member that holds a whole file: all of its records, or a word about it.
        "typed_error_or_read_first" => found.errors > 0 || records > 1,
        "keep_raw_body_or_count" => found.pages + found.skipped.len() + found.errors > 0,
        "skip_oversize_count" => found.pages == 0 && found.skipped.contains(&FailureKind::TooLarge),
        "empty_ok" => found.pages == 0 && found.errors <= 1,
        _ => return Err(case.unknown_verdict()),
    };
    holds(is_as_expected, &case.verdict, || {
        format!("{records} records, {found:?}")
    })?;
    match case.pages {
        Some(expected) => holds(
            expected == found.pages,
            &format!("{expected} pages"),
            || format!("{found:?}"),
        ),
        None => Ok(()),
    }
}

fn read(case: &FileCase) -> Result<Found, Mismatch> {
    let mut found = Found::default();
    let mut ids = HashSet::new();
    let failed = |error: Error| Mismatch::new("a file that opens", error.to_string());
    for item in pages(&case.path, &Config::default()).map_err(failed)? {
        match item {
            Ok(WarcItem::Page(page)) => {
                found.pages += usize::from(ids.insert(DocumentId::of(&page.final_url)));
                found.truncated += usize::from(page.is_truncated);
            }
            Ok(WarcItem::Resource(_)) => found.resources += 1,
            Ok(WarcItem::Skipped(failure)) => found.skipped.push(failure.kind),
            Err(_) => found.errors += 1,
        }
    }
    Ok(found)
}

fn records(case: &FileCase) -> Result<usize, Mismatch> {
    let reader = WarcReader::open(&case.path, MAX_BLOCK_BYTES)
        .map_err(|error| Mismatch::new("a file that opens", error.to_string()))?;
    Ok(reader.filter(Result::is_ok).count())
}

pub(crate) fn run_digests(directory: &Directory) -> Result<SuiteResult> {
    let mut cases = directory.files_in("warc");
    cases.retain(|case| case.verdict == DIGESTS);
    Ok(run_files(cases, TIME_LIMIT, check_digests))
}

/// Every record is read, and wrong digests are told from right ones.
fn check_digests(case: &FileCase) -> Outcome {
    let reader = WarcReader::open(&case.path, MAX_BLOCK_BYTES)
        .map_err(|error| Mismatch::new("a file that opens", error.to_string()))?;
    let (mut fitting, mut wrong, mut errors) = (0, 0, 0);
    for record in reader {
        match record.map(|record| record.check_digests()) {
            Ok(DigestCheck::Fits) => fitting += 1,
            Ok(DigestCheck::Mismatch { .. }) => wrong += 1,
            Ok(DigestCheck::None) => {}
            Err(_) => errors += 1,
        }
    }
    holds(
        fitting > 0 && wrong > 0 && errors == 0,
        "right and wrong digests, no error",
        || format!("{fitting} right, {wrong} wrong, {errors} errors"),
    )
}
