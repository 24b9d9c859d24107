//! A classifier of pictures beside what `transformers` computed. The recorded values come from
//! `goldens/classifier.py`.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test may panic, in its helpers too"
)]

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use m3w_model::{ImageClassifier, Picture};

const GOLDEN: &[u8] = include_bytes!("goldens/classifier.safetensors");

fn golden() -> HashMap<String, Tensor> {
    candle_core::safetensors::load_buffer(GOLDEN, &Device::Cpu).unwrap()
}

fn config() -> serde_json::Value {
    let length = u64::from_le_bytes(GOLDEN[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&GOLDEN[8..8 + length]).unwrap();
    serde_json::from_str(header["__metadata__"]["config"].as_str().unwrap()).unwrap()
}

/// The published files, in a folder.
fn write(folder: &Path, config: &serde_json::Value) {
    let weights: HashMap<String, Tensor> = golden()
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("weight.")?.to_owned(), tensor)))
        .collect();
    candle_core::safetensors::save(&weights, folder.join("model.safetensors")).unwrap();
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
}

#[test]
fn logits_are_those_of_transformers() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), &config());
    let classifier = ImageClassifier::load(folder.path()).unwrap();
    assert_eq!(classifier.labels(), ["normal", "nsfw", "drawing"]);
    let golden = golden();
    let found = classifier.logits(&golden["pixels"]).unwrap();
    let found = found.to_vec2::<f32>().unwrap().concat();
    let expected = golden["logits"].to_vec2::<f32>().unwrap().concat();
    for (found, expected) in found.iter().zip(&expected) {
        assert!((found - expected).abs() <= 2e-5, "{found} {expected}");
    }
    let values = [7_u8; 3 * 20 * 10];
    let picture = Picture {
        values: &values,
        width: 20,
        height: 10,
        channels: 3,
    };
    let [alone] = &classifier.probabilities(&[picture]).unwrap()[..] else {
        panic!("one picture has one answer");
    };
    assert!((alone.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{alone:?}");
    // A picture's answer does not depend on those beside it.
    let two = classifier.probabilities(&[picture, picture]).unwrap();
    for (first, second) in two[1].iter().zip(alone) {
        assert!((first - second).abs() < 1e-5, "{two:?} {alone:?}");
    }
}

#[test]
fn another_model_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let said = |config: &serde_json::Value| {
        write(folder.path(), config);
        let error = ImageClassifier::load(folder.path()).err().unwrap();
        error.to_string()
    };
    let mut other = config();
    other["model_type"] = "swin".into();
    assert!(said(&other).contains("model_type"), "{}", said(&other));
    let mut nameless = config();
    nameless["id2label"] = serde_json::json!({ "1": "nsfw" });
    assert!(said(&nameless).contains("id2label"), "{}", said(&nameless));
    let mut deep = config();
    deep["num_hidden_layers"] = 3.into();
    assert!(said(&deep).contains("resblocks.2"), "{}", said(&deep));
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    let error = ImageClassifier::load(folder.path()).err().unwrap();
    assert!(error.to_string().contains("config.json"), "{error}");
}
