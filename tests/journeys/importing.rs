//! A model put together from published files, and asked.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use m3w::model::{Config, Flamingo, GgufLanguage, ParameterStore, SpecialTokens};
use serde_json::json;

use super::site::{complaint, m3w};

/// A LLaMA of `model/tests/goldens/gguf.py`: 29 tokens, 2 layers.
fn language() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    root.join("model/tests/goldens/gguf/llama_q8_0.gguf")
}

/// Writes what OpenFlamingo publishes beside a language model of two layers, and the tokenizer.
fn write_parts(folder: &Path, words: usize) {
    let text = r#"
        vision = { image_side_px = 28, patch_side_px = 14, width = 64, layers = 1, heads = 1,
                   feed_forward_multiple = 2, activation = "quick_gelu" }
        resampler = { latents = 2, layers = 1, heads = 1, head_dim = 64, feed_forward_multiple = 2 }
        cross_attention = { every = 2, heads = 1, head_dim = 64, initial_gate = 0.5 }
        language = { width = 32, layers = 2, heads = 4 }
    "#;
    let mut config: Config = toml::from_str(text).unwrap();
    let file = GgufLanguage::open(&language()).unwrap();
    config.language = file.config().clone();
    let special = SpecialTokens {
        image: 30,
        end_of_chunk: 29,
        bos: 1,
        eos: 2,
        pad: 0,
        around_image: None,
    };
    let config = config.with_vocabulary(31);
    let model = Flamingo::new(&config, special, ParameterStore::seeded(6)).unwrap();
    let (mut vision, mut checkpoint) = (HashMap::new(), HashMap::new());
    for (name, tensor) in model.parameters() {
        if let Some(name) = name.strip_prefix("vision_encoder.") {
            vision.insert(format!("visual.{name}"), tensor.clone());
        } else if !name.contains(".decoder_layer.") && !name.ends_with("model.norm.weight") {
            checkpoint.insert(name.clone(), tensor.clone());
        }
    }
    let save = |tensors: &HashMap<String, Tensor>, name: &str| {
        candle_core::safetensors::save(tensors, folder.join(name)).unwrap();
    };
    save(&vision, "vision.safetensors");
    save(&checkpoint, "checkpoint.safetensors");
    let mut ids = serde_json::Map::new();
    for (id, word) in ["<pad>", "<s>", "</s>"].into_iter().enumerate() {
        ids.insert(word.to_owned(), json!(id));
    }
    for id in 3..words {
        ids.insert(format!("w{id}"), json!(id));
    }
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "w3", "vocab": ids},
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    fs::copy(language(), folder.join("llama.gguf")).unwrap();
}

/// The arguments of an import of those parts.
fn arguments(folder: &Path) -> Vec<String> {
    let place = |name: &str| folder.join(name).display().to_string();
    let mut arguments = vec!["import".to_owned()];
    for (flag, name) in [
        ("--checkpoint", "checkpoint.safetensors"),
        ("--language", "llama.gguf"),
        ("--vision", "vision.safetensors"),
        ("--out", "model"),
    ] {
        arguments.extend([flag.to_owned(), place(name)]);
    }
    arguments
}

#[test]
fn a_language_model_in_a_file_is_imported_and_asked() {
    let folder = tempfile::tempdir().unwrap();
    write_parts(folder.path(), 29);
    let arguments = arguments(folder.path());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = m3w(&arguments);
    let said = String::from_utf8(output.stdout).unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{complaint}");
    assert!(said.contains("from language file"), "{said}");
    let model = folder.path().join("model");
    assert!(model.join("checkpoint/language.gguf").is_file());
    // The original may go.
    fs::remove_file(folder.path().join("llama.gguf")).unwrap();
    for weights in ["f32", "bf16", "int8"] {
        let model = model.display().to_string();
        let output = m3w(&[
            "generate",
            "--checkpoint",
            &model,
            "--text",
            "w4 w5",
            "--max-new-tokens",
            "4",
            "--weights",
            weights,
        ]);
        let complaint = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{weights}: {complaint}");
    }
}

#[test]
fn a_tokenizer_of_another_model_or_none_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write_parts(folder.path(), 40);
    let arguments = arguments(folder.path());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said = complaint(&arguments);
    assert!(
        said.contains("has 40 tokens") && said.contains("of 29"),
        "{said}"
    );
    fs::remove_file(folder.path().join("tokenizer.json")).unwrap();
    let said = complaint(&arguments);
    assert!(
        said.contains("--tokenizer") && said.contains("GGUF"),
        "{said}"
    );
    let cut = folder.path().join("llama.gguf");
    let bytes = fs::read(&cut).unwrap();
    fs::write(&cut, &bytes[..bytes.len() / 2]).unwrap();
    let said = complaint(&arguments);
    assert!(
        said.contains("llama.gguf") && said.contains("is the file whole?"),
        "{said}"
    );
    assert!(!folder.path().join("model").exists());
}
