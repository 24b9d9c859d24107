//! Reading the official files: JSON, lines of JSON, CSV, with errors that name file and entry.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use serde::de::DeserializeOwned;

use crate::evaluate::keyed::read_text;
use crate::prompt::{Piece, VideoPart};

/// A JSON file.
pub(super) fn json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = read_text(path)?;
    serde_json::from_str(&text)
        .with_context(|| format!("{} has not the official layout", path.display()))
}

/// A file with an object of JSON on each line.
pub(super) fn json_lines<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let text = read_text(path)?;
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(number, line)| {
            serde_json::from_str(line).with_context(|| {
                format!(
                    "{}, line {} has not the official layout",
                    path.display(),
                    number + 1
                )
            })
        })
        .collect()
}

/// A CSV file with a head.
pub(super) fn csv<T: DeserializeOwned>(path: &Path) -> Result<Vec<T>> {
    let name = path.display();
    let mut reader = csv::Reader::from_path(path).with_context(|| format!("cannot read {name}"))?;
    let rows = reader.deserialize().enumerate();
    rows.map(|(number, row)| {
        row.with_context(|| format!("{name}, row {} has not the official layout", number + 1))
    })
    .collect()
}

/// A picture in a file.
pub(super) fn picture(path: PathBuf) -> Piece {
    Piece::Picture(path)
}

/// A whole video, or the part of it from one second to another.
pub(super) fn video(path: PathBuf, part: Option<(f64, f64)>) -> Piece {
    let whole = VideoPart::from_start(path);
    Piece::Video(match part {
        Some((start_s, end_s)) => VideoPart {
            start_s,
            end_s: Some(end_s),
            ..whole
        },
        None => whole,
    })
}

/// The name COCO gives a picture of a split.
pub(super) fn coco_name(split: &str, image: u64) -> String {
    format!("{split}/COCO_{split}_{image:012}.jpg")
}
