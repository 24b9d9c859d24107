//! Each family of language models beside what `transformers` computed. The recorded values come from
//! `goldens/language_models.py`.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test may panic, in its helpers too"
)]

use std::collections::{BTreeMap, HashMap};

use candle_core::{DType, Device, Tensor};
use m3w_model::{
    Decoder, LanguageConfig, LanguageModel, LayerCache, ParameterStore, language_name,
};

const GOLDEN: &[u8] = include_bytes!("goldens/language_models.safetensors");

struct Case {
    name: String,
    config: LanguageConfig,
    model: Decoder,
    tokens: Tensor,
    logits: Vec<Vec<Vec<f32>>>,
    padding: Vec<usize>,
}

fn cases() -> Vec<Case> {
    let (_, metadata) = safetensors_metadata();
    let tensors = candle_core::safetensors::load_buffer(GOLDEN, &Device::Cpu).unwrap();
    let padding: Vec<i64> = tensors["padding"].to_vec1().unwrap();
    let mut names: Vec<&String> = metadata.keys().collect();
    names.sort();
    names
        .into_iter()
        .map(|name| {
            let config: LanguageConfig = metadata[name].parse().unwrap();
            let prefix = format!("{name}.weight.");
            let weights: BTreeMap<String, Tensor> = tensors
                .iter()
                .filter_map(|(name, tensor)| {
                    let name = language_name(name.strip_prefix(&prefix)?, config.family);
                    Some((name, tensor.clone()))
                })
                .collect();
            let mut store = ParameterStore::from_tensors(weights, name.as_str());
            let tokens = &tensors[&format!("{name}.tokens")];
            Case {
                model: Decoder::new(&config, &mut store, "lang_encoder.").unwrap(),
                name: name.clone(),
                config,
                tokens: tokens.to_dtype(DType::U32).unwrap(),
                logits: tensors[&format!("{name}.logits")].to_vec3().unwrap(),
                padding: padding.iter().map(|count| *count as usize).collect(),
            }
        })
        .collect()
}

fn safetensors_metadata() -> (usize, HashMap<String, String>) {
    let length = u64::from_le_bytes(GOLDEN[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&GOLDEN[8..8 + length]).unwrap();
    let metadata = serde_json::from_value(header["__metadata__"].clone()).unwrap();
    (length, metadata)
}

/// Scores of tokens `start .. start + count`, of all layers' caches if there are any.
fn run(case: &Case, start: usize, count: usize, caches: Option<&mut [LayerCache]>) -> Tensor {
    let tokens = case.tokens.narrow(1, start, count).unwrap();
    let positions = case.model.positions(start, count, &case.padding).unwrap();
    let mut hidden = case.model.embed(&tokens, &positions).unwrap();
    let mut caches = caches;
    for layer in 0..case.model.layer_count() {
        let cache = caches.as_deref_mut().map(|caches| &mut caches[layer]);
        hidden = case.model.layer(layer, &hidden, &positions, cache).unwrap();
    }
    case.model.logits(&hidden).unwrap()
}

fn assert_as_recorded(case: &Case, start: usize, found: &Tensor) {
    let found: Vec<Vec<Vec<f32>>> = found.to_vec3().unwrap();
    for (row, (found, expected)) in found.iter().zip(&case.logits).enumerate() {
        for (at, found) in found.iter().enumerate() {
            let at = start + at;
            if at < case.padding[row] {
                continue;
            }
            for (found, expected) in found.iter().zip(&expected[at]) {
                let error = (found - expected).abs();
                assert!(
                    error <= 2e-5 || error <= 1e-4 * expected.abs(),
                    "{}, row {row}, token {at}: {found}, expected {expected}",
                    case.name
                );
            }
        }
    }
}

#[test]
fn scores_are_those_of_transformers_in_every_family() {
    let cases = cases();
    assert_eq!(cases.len(), 8);
    for case in &cases {
        let length = case.tokens.dim(1).unwrap();
        assert_as_recorded(case, 0, &run(case, 0, length, None));
    }
}

#[test]
fn scores_behind_a_cache_are_the_same() {
    for case in &cases() {
        let length = case.tokens.dim(1).unwrap();
        let mut caches: Vec<LayerCache> = Vec::new();
        caches.resize_with(case.model.layer_count(), LayerCache::default);
        let mut start = 0;
        for count in [4, 1, 1, 2] {
            let found = run(case, start, count, Some(&mut caches));
            assert_as_recorded(case, start, &found);
            start += count;
        }
        assert_eq!(start, length);
    }
}

#[test]
fn a_configuration_survives_its_own_file() {
    for case in &cases() {
        let text = toml::to_string(&case.config).unwrap();
        let read: LanguageConfig = toml::from_str(&text).unwrap();
        assert_eq!(read, case.config, "{text}");
    }
}
