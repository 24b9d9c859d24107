//! `signals/answers`: statements on reuse in headers and pages. `signals/files`: those in files of
//! their own, the rows whose channel is `file ...`.

use anyhow::Result;
use m3w::crawler::Reservations;
use m3w::crawler::consent::{Decision, decide, from_headers, from_html};
use serde::Deserialize;
use url::Url;

use crate::cases::Directory;
use crate::report::{Mismatch, Outcome, SuiteResult, check as holds, same};

#[derive(Deserialize)]
struct Row {
    channel: String,
    value: String,
    agent: String,
    expect: String,
}

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    let is_answer = |row: &Row| !row.channel.starts_with("file ");
    directory.run_rows("signals/optout.jsonl", is_answer, check)
}

fn check(row: Row) -> Outcome {
    let signals = match row.channel.split_once(' ') {
        Some(("header", name)) => from_headers([(name, row.value.as_str())]),
        None if row.channel == "html" => from_html(&row.value),
        _ => return Err(Mismatch::new("a channel known here", row.channel)),
    };
    let (page_allowed, images_allowed) = match row.expect.as_str() {
        "keep" => (true, true),
        "drop_page" => (false, true),
        "drop_images" => (true, false),
        "drop_page_and_images" => (false, false),
        _ => return Err(Mismatch::new("an expectation known here", row.expect)),
    };
    let expected = Decision {
        page_allowed,
        images_allowed,
    };
    same("decision", &expected, &decide(&signals, &row.agent))
}

pub(crate) fn run_files(directory: &Directory) -> Result<SuiteResult> {
    let is_file = |row: &Row| row.channel.starts_with("file ");
    directory.run_rows("signals/optout.jsonl", is_file, check_file)
}

/// Expectations read `drop /photos/a.jpg, keep /text.html`; a path may be a pattern such as
/// `*.jpg`, which stands for a file of that name.
fn check_file(row: Row) -> Outcome {
    let bytes = Some(row.value.as_bytes());
    let reservations = match row.channel.strip_prefix("file ") {
        Some("/.well-known/tdmrep.json") => Reservations::parse(bytes, None),
        Some("/ai.txt") => Reservations::parse(None, bytes),
        _ => return Err(Mismatch::new("a channel known here", row.channel)),
    };
    for clause in row.expect.split(',') {
        let Some((word, path)) = clause.trim().split_once(' ') else {
            return Err(Mismatch::new("an expectation known here", row.expect));
        };
        let path = path.replace('*', "name");
        let url = Url::parse("http://h.test/")
            .and_then(|base| base.join(&path))
            .map_err(|error| Mismatch::new("a path", error.to_string()))?;
        let is_kept = decide(&reservations.signals(&url), &row.agent).page_allowed;
        let is_as_expected = match word {
            "keep" => is_kept,
            "drop" => !is_kept,
            _ => return Err(Mismatch::new("an expectation known here", row.expect)),
        };
        holds(is_as_expected, clause, || format!("kept: {is_kept}"))?;
    }
    Ok(())
}
