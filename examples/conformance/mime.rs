//! `mime`: `Content-Type` headers, and types told by the first bytes.

use anyhow::Result;
use data_url::mime::Mime;
use m3w::crawler::charset;
use m3w::document::Format;
use m3w::document::image::sniff;
use serde::Deserialize;

use crate::cases::Directory;
use crate::report::{Mismatch, Outcome, SuiteResult, check, same};

#[derive(Deserialize)]
struct ContentType {
    input: String,
    output: Option<String>,
    encoding: Option<String>,
}

#[derive(Deserialize)]
struct Sniff {
    bytes_hex: String,
    expect: String,
}

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    let mut result = directory.run_table("mime/content_type.jsonl", check_content_type)?;
    result.merge(directory.run_table("mime/sniff.jsonl", check_sniff)?);
    Ok(result)
}

/// The encoding, as the crawler reads it off a header; the type, as it is read off `data:` URLs.
fn check_content_type(row: ContentType) -> Outcome {
    let encoding =
        charset::from_content_type(&row.input).map(|encoding| encoding.name().to_ascii_lowercase());
    let expected = row.encoding.map(|name| name.to_ascii_lowercase());
    same("encoding", &expected, &encoding)?;
    let serialised = row.input.parse::<Mime>().ok().map(|mime| mime.to_string());
    same("type", &row.output, &serialised)
}

/// Only pictures are told by their bytes here: a picture has to be taken for the one it is, and
/// anything else for none. Formats that the standard does not sniff may be known all the same.
fn check_sniff(row: Sniff) -> Outcome {
    let bytes = from_hex(&row.bytes_hex)
        .ok_or_else(|| Mismatch::new("hexadecimal digits", row.bytes_hex.clone()))?;
    let expected = match row.expect.as_str() {
        "image/jpeg" => Some(Format::Jpeg),
        "image/png" => Some(Format::Png),
        "image/gif" => Some(Format::Gif),
        "image/webp" => Some(Format::WebP),
        "image/bmp" => Some(Format::Bmp),
        _ => None,
    };
    let got = sniff(&bytes);
    let is_as_expected = match (&expected, &got) {
        (Some(format), got) => got.as_ref() == Ok(format),
        (None, Ok(format)) => *format == Format::Tiff,
        (None, Err(_)) => true,
    };
    check(is_as_expected, &row.expect, || format!("{got:?}"))
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    digits
        .map(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}
