//! Lists of outcomes: what became of each input, a line of JSON each.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};
use m3w_document::Reason;
use serde::{Deserialize, Serialize};

use crate::journal::{ImageDrop, Measured, Outcome, TextDrop};

/// What the list says of one input: everything but the document's content, and what tells whether
/// that content is still the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutcomeLine {
    /// Number of the input, from 0.
    pub input: u64,
    /// The input as it was written.
    pub url: String,
    /// The document that was kept.
    pub document_id: Option<String>,
    /// Its digest, see [`m3w_document::Document::digest`].
    #[serde(default)]
    pub document_sha256: Option<String>,
    /// The day on which it was fetched, as [`m3w_document::Document::fetched_at`].
    #[serde(default)]
    pub fetched_at: Option<i64>,
    /// Why there is no document.
    pub dropped: Option<Reason>,
    /// What was measured of a page that was not kept.
    #[serde(default, skip_serializing_if = "Measured::is_empty")]
    pub measured: Measured,
    /// Number of its images.
    #[serde(default)]
    pub images_kept: usize,
    /// SHA-256 of each of them as it was fetched, in their order.
    #[serde(default)]
    pub images_sha256: Vec<String>,
    /// The images that were left out.
    pub images_dropped: Vec<ImageDrop>,
    /// The texts that were left out.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts_dropped: Vec<TextDrop>,
}

impl OutcomeLine {
    /// The line of an outcome.
    #[must_use]
    pub fn of(outcome: &Outcome) -> Self {
        let document = outcome.document.as_ref();
        let images_sha256: Vec<String> = document
            .iter()
            .flat_map(|document| document.images())
            .map(|image| image.sha256_fetched.to_string())
            .collect();
        Self {
            input: outcome.input,
            url: outcome.text.clone(),
            document_id: document.map(|document| document.id.to_string()),
            document_sha256: document.map(|document| document.digest().to_string()),
            fetched_at: document.and_then(|document| document.fetched_at),
            dropped: outcome.dropped.clone(),
            measured: outcome.measured.clone(),
            images_kept: images_sha256.len(),
            images_sha256,
            images_dropped: outcome.images_dropped.clone(),
            texts_dropped: outcome.texts_dropped.clone(),
        }
    }

    /// The line as it stands in the list: JSON whose last key, `crc32`, is the checksum of all
    /// before it, so that the lines of a damaged list can be told from each other.
    ///
    /// # Errors
    ///
    /// None that is known: all its values have a form in JSON.
    pub fn text(&self) -> Result<String> {
        let mut text = serde_json::to_string(self).context("cannot describe an outcome")?;
        text.pop();
        let checksum = checksum(&text);
        text.push_str(&checksum);
        Ok(text)
    }

    /// The line with that text, if it is as it was written.
    #[must_use]
    pub fn undamaged(text: &str) -> Option<Self> {
        let length = checksum("").len();
        let (body, end) = text.split_at_checked(text.len().checked_sub(length)?)?;
        if end != checksum(body) {
            return None;
        }
        serde_json::from_str(text).ok()
    }
}

fn checksum(body: &str) -> String {
    format!(",\"crc32\":\"{:08x}\"}}", crc32fast::hash(body.as_bytes()))
}

/// The lines of a list, one at a time.
///
/// # Errors
///
/// If the file cannot be opened; items are errors where it cannot be read.
pub fn lines(path: &Path) -> Result<impl Iterator<Item = Result<OutcomeLine>> + use<>> {
    let path = path.to_owned();
    let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(BufReader::new(file).lines().map(move |line| {
        let line = line.with_context(|| format!("cannot read {}", path.display()))?;
        serde_json::from_str(&line).with_context(|| {
            format!(
                "{} is damaged, or was written by another version of m3w",
                path.display()
            )
        })
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_flipped_bit_is_not_taken() {
        let mut outcome = Outcome::of(7, "https://a.test/ü".to_owned());
        outcome.images_dropped.push(ImageDrop {
            url: "https://a.test/a.png".to_owned(),
            reason: Reason::measured("filter/too-small", 1.5, 64.0),
        });
        let line = OutcomeLine::of(&outcome);
        let text = line.text().unwrap();
        assert_eq!(OutcomeLine::undamaged(&text), Some(line.clone()));
        assert_eq!(serde_json::from_str::<OutcomeLine>(&text).unwrap(), line);
        for bit in 0..8 * text.len() {
            let mut bytes = text.clone().into_bytes();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if let Ok(flipped) = String::from_utf8(bytes) {
                assert_eq!(OutcomeLine::undamaged(&flipped), None, "{flipped}");
            }
        }
    }
}
