//! A model taken apart as published files are, and put together again.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test may panic, in its helpers too"
)]

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use m3w_model::train::Trainer;
use m3w_model::{
    Assembled, Compute, Config, Error, Flamingo, GgufLanguage, Inputs, LanguageConfig,
    ParameterStore, Published, SpecialTokens, WeightType, assemble,
};

const SPECIAL: SpecialTokens = SpecialTokens {
    image: 11,
    end_of_chunk: 10,
    bos: 1,
    eos: 2,
    pad: 0,
    around_image: None,
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
        language_file: None,
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

/// A language model of `goldens/gguf.py`.
fn file() -> GgufLanguage {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/gguf");
    GgufLanguage::open(&folder.join("mpt.gguf")).unwrap()
}

/// A model around the language model of a file, whose table has grown by two rows in training.
fn model_of_file() -> (Flamingo, Published) {
    let mut config = config();
    config.language = file().config().clone();
    let rows = config.language.vocabulary;
    let config = config.with_vocabulary(rows + 2);
    let drawn = Flamingo::new(&config, SPECIAL, ParameterStore::seeded(3)).unwrap();
    let mut published = published(&drawn);
    published.language_config = file().config().clone();
    published.language.clear();
    published.language_file = Some(file());
    let in_file = |name: &str| name.contains(".decoder_layer.") || name.ends_with(".norm_f.weight");
    let mut tensors = drawn.parameters().clone();
    tensors.retain(|name, _| !in_file(name));
    let store = ParameterStore::from_tensors(tensors, "parts").with_language(file());
    let model = Flamingo::new(&config, SPECIAL, store).unwrap();
    (model, published)
}

fn inputs() -> Inputs {
    let tokens = Tensor::new(&[[1_u32, 11, 4, 5, 30, 7, 10]], &Device::Cpu).unwrap();
    let pixels = Tensor::ones((1, 1, 1, 3, 8, 8), DType::F32, &Device::Cpu).unwrap();
    Inputs::new(tokens, None, pixels, None).unwrap()
}

fn scores(model: &Flamingo) -> Vec<f32> {
    let scores = model.forward(&inputs()).unwrap();
    scores.flatten_all().unwrap().to_vec1().unwrap()
}

#[test]
fn a_language_model_in_a_file_stays_there() {
    let (model, published) = model_of_file();
    let assembled = assemble(published, unchanged).unwrap();
    assert_eq!(&assembled.config, model.config());
    assert_eq!(assembled.summary.missing, []);
    // All but the table, which the checkpoint has.
    let found = &assembled.summary.found;
    let count = found.iter().find(|((_, from), _)| *from == "language file");
    assert_eq!(count.unwrap().1.0, 13);
    assert!(
        assembled
            .tensors
            .keys()
            .all(|name| !name.contains(".decoder_layer."))
    );
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("model");
    assembled.save(SPECIAL, &place).unwrap();
    let read = |path: &Path| std::fs::read(path).unwrap();
    assert_eq!(read(&place.join("language.gguf")), read(file().path()));
    let loaded = Flamingo::load(&place).unwrap();
    assert_eq!(scores(&loaded), scores(&model));
    // Its maps are Q8_0, and stay so.
    let eight = Flamingo::load_as(&place, WeightType::Int8, &Compute::default()).unwrap();
    let name = "lang_encoder.transformer.blocks.1.decoder_layer.ffn.up_proj.weight";
    assert_eq!(eight.parameters()[name].dtype(), DType::U8);
    assert_eq!(eight.parameters()[name].dims(), [128, 34]);
    // What is trained and saved is whole in one file.
    let mut trainer = Trainer::new(loaded, Default::default()).unwrap();
    assert!(!trainer.step(&[(&inputs(), 1.0)]).unwrap().skipped);
    let trained = folder.path().join("trained");
    trainer.save(&trained).unwrap();
    assert!(!trained.join("language.gguf").exists());
    assert!(
        Flamingo::load(&trained)
            .unwrap()
            .parameters()
            .contains_key(name)
    );
}
