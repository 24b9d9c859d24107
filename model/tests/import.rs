//! A model taken apart as published files are, and put together again.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test may panic, in its helpers too"
)]

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use m3w_model::{
    Assembled, Config, Error, Flamingo, LanguageConfig, ParameterStore, Published, SpecialTokens,
    assemble,
};

const SPECIAL: SpecialTokens = SpecialTokens {
    image: 11,
    end_of_chunk: 10,
    bos: 1,
    eos: 2,
    pad: 0,
};

const LANGUAGE: &str = r#"{
    "model_type": "mpt", "d_model": 64, "n_heads": 2, "n_layers": 4, "vocab_size": 10,
    "max_seq_len": 32
}"#;

fn config() -> Config {
    let text = r#"
        vision = { image_side_px = 8, patch_side_px = 4, width = 64, layers = 2, heads = 1,
                   feed_forward_multiple = 2, activation = "quick_gelu" }
        resampler = { latents = 3, layers = 2, heads = 2, head_dim = 64 }
        cross_attention = { every = 2, heads = 1, head_dim = 64 }
        language = { width = 64, layers = 4, heads = 2 }
    "#;
    let mut config: Config = toml::from_str(text).unwrap();
    config.language = LANGUAGE.parse().unwrap();
    config.with_vocabulary(12)
}

fn published(model: &Flamingo) -> Published {
    let language_config: LanguageConfig = LANGUAGE.parse().unwrap();
    let mut published = Published {
        checkpoint: BTreeMap::new(),
        language_config,
        language: BTreeMap::new(),
        vision_config: None,
        vision: BTreeMap::new(),
    };
    for (name, tensor) in model.parameters() {
        let tensor = tensor.clone();
        if let Some(name) = name.strip_prefix("vision_encoder.") {
            published.vision.insert(format!("visual.{name}"), tensor);
        } else if name.starts_with("perceiver.") || name.contains(".gated_cross_attn_layer.") {
            // As the first version names them.
            let path = "lang_encoder.transformer.blocks.";
            let list = "lang_encoder.gated_cross_attn_layers.";
            let name = name
                .replace(path, list)
                .replace(".gated_cross_attn_layer.", ".");
            published.checkpoint.insert(name, tensor);
        } else {
            let own = name.strip_prefix("lang_encoder.").unwrap();
            if own == "transformer.wte.weight" {
                // The table has grown in training; the base model's is shorter.
                let base = tensor.narrow(0, 0, 10).unwrap();
                published.language.insert(own.to_owned(), base);
                published.checkpoint.insert(name.clone(), tensor);
            } else {
                published
                    .language
                    .insert(own.replace(".decoder_layer.", "."), tensor);
            }
        }
    }
    let other = Tensor::zeros(3, DType::F32, &Device::Cpu).unwrap();
    published
        .vision
        .insert("transformer.text".to_owned(), other.clone());
    published
        .checkpoint
        .insert("perceiver.extra".to_owned(), other);
    published
}

fn unchanged(config: Config) -> Result<Config, Error> {
    Ok(config)
}

#[test]
fn sizes_and_tensors_are_found_again() {
    let model = Flamingo::new(&config(), SPECIAL, ParameterStore::seeded(3)).unwrap();
    let assembled = assemble(published(&model), unchanged).unwrap();
    assert_eq!(assembled.config, config());
    assert_eq!(assembled.summary.missing, []);
    assert_eq!(
        assembled.summary.unused,
        [("perceiver.extra".to_owned(), vec![3])]
    );
    let numbers = assembled.summary.found.values().map(|(_, numbers)| numbers);
    let expected: usize = model.parameters().values().map(Tensor::elem_count).sum();
    assert_eq!(numbers.sum::<usize>(), expected);
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("model");
    assembled.save(SPECIAL, &place).unwrap();
    let loaded = Flamingo::load(&place).unwrap();
    for (name, tensor) in model.parameters() {
        let values = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<f32>().unwrap();
        assert_eq!(values(&loaded.parameters()[name]), values(tensor), "{name}");
    }
}

#[test]
fn what_no_file_has_is_listed_with_its_shape_and_nothing_is_written() {
    let model = Flamingo::new(&config(), SPECIAL, ParameterStore::seeded(3)).unwrap();
    let mut published = published(&model);
    let gone = "transformer.blocks.3.ffn.up_proj.weight";
    published.language.remove(gone).unwrap();
    let assembled: Assembled = assemble(published, unchanged).unwrap();
    let name = "lang_encoder.transformer.blocks.3.decoder_layer.ffn.up_proj.weight";
    assert_eq!(
        assembled.summary.missing,
        [(name.to_owned(), vec![256, 64])]
    );
    let folder = tempfile::tempdir().unwrap();
    let error = assembled
        .save(SPECIAL, &folder.path().join("model"))
        .unwrap_err();
    assert!(error.to_string().contains(name), "{error}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_tensor_of_another_shape_is_named_with_both() {
    let model = Flamingo::new(&config(), SPECIAL, ParameterStore::seeded(3)).unwrap();
    let mut published = published(&model);
    let other = Tensor::zeros((2, 2), DType::F32, &Device::Cpu).unwrap();
    published
        .language
        .insert("transformer.norm_f.weight".to_owned(), other);
    let Err(error) = assemble(published, unchanged) else {
        panic!("a wrong shape was taken");
    };
    let message = error.to_string();
    assert!(
        message.contains("[2, 2]") && message.contains("[64]") && message.contains("norm_f"),
        "{message}"
    );
}
