//! `encoding`: which encoding a page is in, and its text.

use anyhow::Result;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use m3w::crawler::charset;
use serde::Deserialize;

use crate::cases::Directory;
use crate::report::{Mismatch, Outcome, SuiteResult, check, same};

#[derive(Deserialize)]
struct Sniff {
    data_b64: String,
    encoding: String,
    default: String,
}

#[derive(Deserialize)]
struct Decode {
    content_type: Option<String>,
    body_b64: String,
    encoding: String,
    text: String,
}

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    let mut result = directory.run_table("encoding/sniff.jsonl", check_sniff)?;
    result.merge(directory.run_table("encoding/decode.jsonl", check_decode)?);
    Ok(result)
}

fn check_sniff(row: Sniff) -> Outcome {
    let bytes = from_base64(&row.data_b64)?;
    let name = charset::sniff(&bytes).map_or(row.default.as_str(), |encoding| encoding.name());
    same(
        "encoding",
        &row.encoding.to_ascii_lowercase(),
        &name.to_ascii_lowercase(),
    )
}

fn check_decode(row: Decode) -> Outcome {
    let bytes = from_base64(&row.body_b64)?;
    let decoded = charset::decode(&bytes, row.content_type.as_deref());
    // `windows-1252 or detected`: the choice is the project's.
    let is_free = row.encoding.ends_with(" or detected");
    check(
        is_free || row.encoding.eq_ignore_ascii_case(decoded.encoding),
        &row.encoding,
        || decoded.encoding.to_owned(),
    )?;
    check(decoded.text.contains(&row.text), &row.text, || {
        decoded.text.clone()
    })
}

fn from_base64(text: &str) -> Result<Vec<u8>, Mismatch> {
    BASE64_STANDARD
        .decode(text)
        .map_err(|error| Mismatch::new("base64", error.to_string()))
}
