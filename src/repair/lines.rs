//! Lines of a damaged list of outcomes, and what they say against what is found.

use std::path::Path;

use anyhow::{Context, Result};
use m3w_document::Reason;

use super::LostReason;
use crate::journal::Outcome;
use crate::outcomes::OutcomeLine;

/// A line of the list of outcomes that could be read, with its text as it stands.
pub(super) struct Known {
    pub(super) text: String,
    pub(super) line: OutcomeLine,
}

/// The lines of a list that can be read, by input. A list that is whole by its hash needs no
/// checksums; of any other only lines with a right one are taken.
pub(super) fn read_lines(
    path: &Path,
    first: u64,
    count: u64,
    is_whole: bool,
) -> Result<Vec<Option<Known>>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => {
            return Err(error).with_context(|| format!("cannot read {}", path.display()));
        }
    };
    let mut lines: Vec<Option<Known>> = Vec::new();
    lines.resize_with(usize::try_from(count)?, || None);
    for text in bytes.split(|byte| *byte == b'\n') {
        let Ok(text) = str::from_utf8(text) else {
            continue;
        };
        let line = if is_whole {
            serde_json::from_str(text).ok()
        } else {
            OutcomeLine::undamaged(text)
        };
        let Some(line) = line else {
            continue;
        };
        let index = line.input.checked_sub(first).map(usize::try_from);
        if let Some(Ok(index)) = index
            && let Some(slot) = lines.get_mut(index)
        {
            *slot = Some(Known {
                text: text.to_owned(),
                line,
            });
        }
    }
    Ok(lines)
}

/// Why an outcome is not what the line says that it was.
pub(super) fn difference(line: &OutcomeLine, outcome: &Outcome) -> LostReason {
    let new_drop = outcome
        .images_dropped
        .iter()
        .find(|drop| !line.images_dropped.contains(drop));
    if let Some(drop) = new_drop {
        return LostReason {
            reason: drop.reason.clone(),
            detail: format!("its picture {}", drop.url),
        };
    }
    let Some(document) = &outcome.document else {
        let gone = outcome.dropped.clone();
        return LostReason {
            reason: gone.unwrap_or(Reason::new("repair/changed")),
            detail: "the page itself".to_owned(),
        };
    };
    let hashes = line
        .images_sha256
        .iter()
        .map(Some)
        .chain(std::iter::repeat(None));
    let other = document
        .images()
        .zip(hashes)
        .find(|(image, hash)| Some(&image.sha256_fetched.to_string()) != *hash);
    let detail = match other {
        Some((image, _)) => format!(
            "its picture {} has other bytes (SHA-256 {})",
            image.reference.url, image.sha256_fetched
        ),
        None => "its words, or what is said of its pictures".to_owned(),
    };
    LostReason {
        reason: Reason::new("repair/changed"),
        detail,
    }
}
