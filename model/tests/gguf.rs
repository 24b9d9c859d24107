//! Language models in GGUF files beside what `transformers` computes of the weights in them. The files
//! and recorded values come from `goldens/gguf.py`.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test may panic, in its helpers too"
)]

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use m3w_model::{Decoder, GgufLanguage, LanguageModel, ParameterStore, WeightType};

const NAMES: [&str; 7] = [
    "llama_f32",
    "llama_q8_0",
    "llama_k",
    "qwen2",
    "gpt2",
    "gptneox",
    "mpt",
];

fn path(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/gguf");
    folder.join(format!("{name}.gguf"))
}

fn recorded() -> HashMap<String, Tensor> {
    let bytes = include_bytes!("goldens/gguf.safetensors");
    candle_core::safetensors::load_buffer(bytes, &Device::Cpu).unwrap()
}

fn decoder(name: &str, weights: WeightType) -> Decoder {
    let language = GgufLanguage::open(&path(name)).unwrap();
    let config = language.config().clone();
    let store = ParameterStore::from_tensors(BTreeMap::new(), "nothing");
    let mut store = store.with_language(language).frozen_as(weights);
    Decoder::new(&config, &mut store, "lang_encoder.").unwrap()
}

/// Scores of tokens `[B, T]`, one list for all.
fn scores(model: &Decoder, tokens: &Tensor) -> Vec<f32> {
    let (_, count) = tokens.dims2().unwrap();
    let positions = model.positions(0, count, &[]).unwrap();
    let mut hidden = model.embed(tokens, &positions).unwrap();
    for layer in 0..model.layer_count() {
        hidden = model.layer(layer, &hidden, &positions, None).unwrap();
    }
    let logits = model.logits(&hidden).unwrap();
    logits.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_as_recorded(name: &str, weights: WeightType) {
    let recorded = recorded();
    let tokens = recorded[&format!("{name}.tokens")]
        .to_dtype(DType::U32)
        .unwrap();
    let expected = recorded[&format!("{name}.logits")].flatten_all().unwrap();
    let expected: Vec<f32> = expected.to_vec1().unwrap();
    let found = scores(&decoder(name, weights), &tokens);
    assert_eq!(found.len(), expected.len());
    for (at, (found, expected)) in found.iter().zip(expected).enumerate() {
        let error = (found - expected).abs();
        assert!(
            error <= 2e-5 || error <= 1e-4 * expected.abs(),
            "{name}, score {at}: {found}, expected {expected}"
        );
    }
}

#[test]
fn scores_are_those_of_transformers_with_the_weights_that_files_hold() {
    for name in NAMES {
        assert_as_recorded(name, WeightType::F32);
    }
}

#[test]
fn blocks_of_8_bits_are_held_as_they_are_and_give_the_same_scores() {
    // All maps and tables of these files are Q8_0.
    for name in ["llama_q8_0", "gptneox", "mpt"] {
        assert_as_recorded(name, WeightType::Int8);
    }
}
