//! `psl`: which part of a name somebody can own.

use anyhow::Result;
use m3w::crawler::registrable_domain;
use serde::Deserialize;

use crate::cases::Directory;
use crate::report::{Outcome, SuiteResult, same};

#[derive(Deserialize)]
struct Row {
    input: String,
    /// Null for a public suffix, and for what is no name.
    registrable: Option<String>,
}

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    directory.run_table("psl/registrable.jsonl", check)
}

fn check(row: Row) -> Outcome {
    same(
        "registrable domain",
        &row.registrable,
        &registrable_domain(&row.input),
    )
}
