//! `safetensors` and `checkpoint`: files of weights, sound, broken and of another kind.

use std::fs;
use std::path::Path;

use anyhow::Result;
use m3w::model::{Config, Error, Flamingo, ParameterStore, SpecialTokens};

use crate::cases::{Directory, FileCase, TIME_LIMIT};
use crate::report::{Mismatch, Outcome, SuiteResult, check as holds};

/// A model of the smallest size.
const SMALL_MODEL: &str = "\
    vision = { image_side_px = 8, patch_side_px = 4, width = 8, layers = 1, heads = 2 }
    resampler = { latents = 2, layers = 1, heads = 2, head_dim = 4 }
    cross_attention = { every = 1, heads = 2, head_dim = 4 }
    language = { width = 8, layers = 2, heads = 2 }";

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    Ok(directory.run_files("safetensors", TIME_LIMIT, check))
}

pub(crate) fn run_checkpoint(directory: &Directory) -> Result<SuiteResult> {
    Ok(directory.run_files("checkpoint", TIME_LIMIT, check_checkpoint))
}

fn check(case: &FileCase) -> Outcome {
    let loaded = if case.is_stored_compressed() {
        let folder = tempfile::tempdir().map_err(|error| failed(&error))?;
        let path = folder.path().join("model.safetensors");
        fs::write(&path, case.read()?).map_err(|error| failed(&error))?;
        ParameterStore::from_file(&path)
    } else {
        ParameterStore::from_file(&case.path)
    };
    let got = match &loaded {
        Ok(_) => "weights".to_owned(),
        Err(error) => error.to_string(),
    };
    match case.verdict.as_str() {
        "read_all" => holds(loaded.is_ok(), "weights", || got),
        "typed_error" => holds(
            matches!(loaded, Err(Error::Content { .. })),
            "a content error",
            || got,
        ),
        "wrong_model_error" => {
            let built = loaded.and_then(small_model);
            holds(built.is_err(), "an error", || "a model".to_owned())
        }
        // Loading a model makes this check of its weights.
        "load_then_flag" => {
            let checked = loaded.and_then(|weights| weights.check_finite());
            let is_named = matches!(checked, Err(Error::NotFinite { .. }));
            holds(is_named, "an error that names the tensor", || got)
        }
        _ => Err(case.unknown_verdict()),
    }
}

/// Whatever is not safetensors is refused, as weights and as a checkpoint.
fn check_checkpoint(case: &FileCase) -> Outcome {
    if case.verdict != "refuse" {
        return Err(case.unknown_verdict());
    }
    holds(
        ParameterStore::from_file(&case.path).is_err(),
        "an error",
        || "weights".to_owned(),
    )?;
    let as_checkpoint = |path: &Path| Flamingo::load(path).is_err();
    holds(as_checkpoint(&case.path), "an error", || {
        "a model".to_owned()
    })?;
    let folder = tempfile::tempdir().map_err(|error| failed(&error))?;
    fs::copy(&case.path, folder.path().join("model.safetensors"))
        .map_err(|error| failed(&error))?;
    holds(as_checkpoint(folder.path()), "an error", || {
        "a model".to_owned()
    })
}

fn small_model(parameters: ParameterStore) -> Result<Flamingo, Error> {
    let special = SpecialTokens {
        image: 4,
        end_of_chunk: 3,
        bos: 1,
        eos: 2,
        pad: 0,
        around_image: None,
    };
    let config: Config = toml::from_str(SMALL_MODEL).map_err(|error| Error::Content {
        path: "the model of this suite".into(),
        cause: error.to_string(),
    })?;
    Flamingo::new(&config.with_vocabulary(10), special, parameters)
}

fn failed(error: &std::io::Error) -> Mismatch {
    Mismatch::new("a temporary file", error.to_string())
}
