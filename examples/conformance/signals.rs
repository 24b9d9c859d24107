//! `signals/answers`: statements on reuse in headers and pages. Those in files of their own (the
//! rows whose channel is `file ...`) are the suite `signals/files`.

use anyhow::Result;
use m3w::crawler::consent::{Decision, decide, from_headers, from_html};
use serde::Deserialize;

use crate::cases::Directory;
use crate::report::{Mismatch, Outcome, SuiteResult, same};

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
