//! `images`: bytes to pixels, within the limits that the fetcher of pictures keeps.

use anyhow::Result;
use m3w::document::image::{Limits, decode, sniff};

use crate::cases::{Directory, FileCase, SHORT_TIME_LIMIT};
use crate::report::{Outcome, SuiteResult, check as holds, same};

/// EXIF orientations from this on lay the picture on its side.
const FIRST_TURNED: u8 = 5;

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    Ok(directory.run_files("images", SHORT_TIME_LIMIT, check))
}

fn check(case: &FileCase) -> Outcome {
    let bytes = case.read()?;
    let limits = Limits::default();
    let decoded = decode(&bytes, &limits);
    let size = decoded
        .as_ref()
        .map(|picture| (picture.width_px, picture.height_px));
    match case.verdict.as_str() {
        "decode" => same("size", &Ok(upright_size(case)), &size),
        "reject" => holds(size.is_err(), "a reason to drop it", || format!("{size:?}")),
        // Refused for its format, not for damage, unless it can be read.
        "unsupported" => holds(size.is_ok() || sniff(&bytes).is_err(), "its format", || {
            format!("{size:?}")
        }),
        "either" => {
            let again = decode(&bytes, &limits);
            holds(again == decoded, "the same result twice", || {
                "another".to_owned()
            })
        }
        _ => Err(case.unknown_verdict()),
    }
}

fn upright_size(case: &FileCase) -> (u32, u32) {
    let stored = (case.w.unwrap_or_default(), case.h.unwrap_or_default());
    match (case.shown_w, case.shown_h) {
        (Some(width), Some(height)) => (width, height),
        _ if case.exif_orientation.is_some_and(|tag| tag >= FIRST_TURNED) => (stored.1, stored.0),
        _ => stored,
    }
}
