//! `tokenizer`: tokenizer files, sound and broken.

use anyhow::Result;
use m3w::shards::{END_OF_CHUNK_TOKEN, Error, IMAGE_TOKEN, Tokenizer};

use crate::cases::{Directory, FileCase, TIME_LIMIT};
use crate::report::{Mismatch, Outcome, SuiteResult, check as holds};

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    Ok(directory.run_files("tokenizer", TIME_LIMIT, check))
}

fn check(case: &FileCase) -> Outcome {
    let loaded = Tokenizer::from_file(&case.path);
    match (case.verdict.as_str(), loaded) {
        ("read_all", Ok(tokenizer)) => check_sound(&tokenizer, case.bytes),
        ("read_all", Err(error)) => Err(Mismatch::new("a tokenizer", error.to_string())),
        ("typed_error", Err(Error::Tokenizer { .. })) => Ok(()),
        ("typed_error", result) => Err(Mismatch::new("a tokenizer error", format!("{result:?}"))),
        // What is missing may be added; what cannot be used has to be refused.
        ("wrong_model_error", Ok(tokenizer)) => check_sound(&tokenizer, case.bytes),
        ("wrong_model_error", Err(Error::Tokenizer { .. })) => Ok(()),
        ("wrong_model_error", Err(error)) => {
            Err(Mismatch::new("a tokenizer error", error.to_string()))
        }
        _ => Err(case.unknown_verdict()),
    }
}

/// The special tokens are there, each for itself, and text that spells them does not make them;
/// an embedding table for all ids is no larger than the file can account for.
fn check_sound(tokenizer: &Tokenizer, file_bytes: u64) -> Outcome {
    let special = tokenizer.special_ids();
    holds(special.image != special.eoc, "two tokens", || {
        format!("{special:?}")
    })?;
    let rows = tokenizer.vocabulary_size() as u64;
    let most = rows.min(file_bytes) as u32;
    let ids = [
        special.image,
        special.eoc,
        special.bos,
        special.eos,
        special.pad,
    ];
    holds(
        ids.iter().all(|id| *id < most),
        "ids within the vocabulary",
        || format!("{special:?} of {rows} in a file of {file_bytes} bytes"),
    )?;
    for token in [IMAGE_TOKEN, END_OF_CHUNK_TOKEN] {
        let ids = tokenizer
            .encode_text(token)
            .map_err(|error| Mismatch::new("tokens", error.to_string()))?;
        let is_text = !ids.contains(&special.image) && !ids.contains(&special.eoc);
        holds(is_text, "text", || format!("`{token}` became {ids:?}"))?;
    }
    Ok(())
}
