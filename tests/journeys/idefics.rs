//! An Idefics imported from its published files, and asked.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::{DType, Device, Tensor};
use m3w::evaluate::example::{Example, Question, Truth};
use m3w::evaluate::few_shot::{Style, prompt_tokens};
use m3w::prompt::{Piece, PromptTokens};
use m3w::trained::TrainedModel;
use serde_json::{Value, json};

use super::site::{complaint, m3w};

/// Tokens of the language model's own, as in `model/tests/goldens/idefics.py`.
const OWN: usize = 19;

/// Writes one of the recorded models as its files are published, its tables grown by these tokens.
fn write(folder: &Path, name: &str, added: &[&str]) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let golden = fs::read(root.join("model/tests/goldens/idefics.safetensors")).unwrap();
    let length = u64::from_le_bytes(golden[..8].try_into().unwrap()) as usize;
    let header: Value = serde_json::from_slice(&golden[8..8 + length]).unwrap();
    let config = header["__metadata__"][name].as_str().unwrap();
    fs::write(folder.join("config.json"), config).unwrap();
    let tensors = candle_core::safetensors::load_buffer(&golden, &Device::Cpu).unwrap();
    let prefix = format!("{name}.weight.");
    let weights: HashMap<String, Tensor> = tensors
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?.to_owned(), tensor)))
        .collect();
    candle_core::safetensors::save(&weights, folder.join("model.safetensors")).unwrap();

    let mut ids = serde_json::Map::new();
    for (id, word) in ["<unk>", "<s>", "</s>"].into_iter().enumerate() {
        ids.insert(word.to_owned(), json!(id));
    }
    for id in 3..OWN {
        ids.insert(format!("w{id}"), json!(id));
    }
    let added = added.iter().enumerate().map(|(at, content)| {
        json!({"id": OWN + at, "content": content, "special": true, "single_word": false,
               "lstrip": false, "rstrip": false, "normalized": false})
    });
    let tokenizer = json!({
        "version": "1.0", "truncation": null, "padding": null,
        "added_tokens": added.collect::<Vec<_>>(),
        "normalizer": null, "pre_tokenizer": {"type": "Whitespace"}, "post_processor": null,
        "decoder": null,
        "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": ids},
    });
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
}

const BASE: [&str; 2] = ["<fake_token_around_image>", "<image>"];
const TALKING: [&str; 3] = [BASE[0], BASE[1], "<end_of_utterance>"];

fn import(folder: &Path) -> (PathBuf, Vec<String>) {
    let out = folder.join("model");
    let arguments = [
        "import",
        "--checkpoint",
        &folder.display().to_string(),
        "--out",
    ];
    let mut arguments: Vec<String> = arguments.map(str::to_owned).to_vec();
    arguments.push(out.display().to_string());
    (out, arguments)
}

fn run(arguments: &[String]) -> String {
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let output = m3w(&arguments);
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{complaint}");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn an_idefics_is_imported_and_asked() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "published", &TALKING);
    let (model, arguments) = import(folder.path());
    let said = run(&arguments);
    assert!(
        said.contains("from checkpoint") && !said.contains("missing"),
        "{said}"
    );
    assert!(
        said.contains("not used: model.vision_model.post_layernorm.bias [12]"),
        "{said}"
    );
    let sizes = fs::read_to_string(model.join("checkpoint/config.toml")).unwrap();
    assert!(sizes.contains("around_image = 19"), "{sizes}");
    let pixels = fs::read_to_string(model.join("pixels.toml")).unwrap();
    assert!(pixels.contains("squeezed = true"), "{pixels}");

    let picture = folder.path().join("picture.png");
    image::RgbImage::from_fn(9, 5, |x, y| image::Rgb([x as u8 * 25, y as u8 * 40, 90]))
        .save(&picture)
        .unwrap();
    let picture = picture.display().to_string();
    let model = model.display().to_string();
    for more in [["--beams", "3"], ["--weights", "int8"]] {
        let words = [
            "generate",
            "--checkpoint",
            &model,
            "--text",
            "w5",
            "--image",
            &picture,
            "--image",
            &picture,
            "--text",
            "w6",
            "--max-new-tokens",
            "4",
        ];
        let words = words.into_iter().chain(more).map(str::to_owned);
        run(&words.collect::<Vec<_>>());
    }
}

#[test]
fn prompts_have_the_marks_an_idefics_was_shown() {
    for (name, added, expected) in [
        (
            "published",
            &TALKING[..],
            vec![1, 5, 6, 19, 20, 19, 20, 19, 7, 21, 8, 21, 9],
        ),
        (
            "vectors",
            &BASE[..],
            vec![1, 5, 6, 19, 20, 19, 20, 19, 7, 8, 9],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), name, added);
        let (model, arguments) = import(folder.path());
        run(&arguments);
        let trained = TrainedModel::load(&model).unwrap();
        let mut tokens = PromptTokens::begin(&trained);
        tokens.text("w5 w6").unwrap();
        tokens.image().unwrap();
        tokens.image().unwrap();
        tokens.text(" w7").unwrap();
        tokens.text(" w8<end_of_utterance>").unwrap();
        tokens.text("w9 ").unwrap();
        // Without the token its spelling is words, of which this tokenizer knows none.
        let found = tokens.finish().unwrap();
        assert_eq!(found, expected, "{name}");
    }
}

/// Gives the files of a folder this tokenizer, of 330 words and what is added to them, and tables of as
/// many rows.
fn exchange_tokenizer(folder: &Path, tokenizer: &Value) {
    fs::write(folder.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    let added = tokenizer["added_tokens"].as_array().unwrap();
    let more = added
        .iter()
        .filter(|token| token["id"].as_u64() >= Some(330));
    let more = more.count();
    let path = folder.join("config.json");
    let mut config: Value = serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    config["vocab_size"] = json!(330);
    config["additional_vocab_size"] = json!(more);
    fs::write(&path, config.to_string()).unwrap();
    let path = folder.join("model.safetensors");
    let mut tensors = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    for (name, rows) in [
        ("model.embed_tokens.weight", 330),
        ("model.embed_tokens.additional_embedding.weight", more),
        ("lm_head.weight", 330),
        ("lm_head.additional_fc.weight", more),
    ] {
        let table = Tensor::zeros((rows, 16), DType::F32, &Device::Cpu).unwrap();
        tensors.insert(name.to_owned(), table);
    }
    candle_core::safetensors::save(&tensors, &path).unwrap();
}

/// Recorded by `goldens/idefics_prompts.py`.
#[test]
fn prompts_are_encoded_as_its_processor_encodes_them() {
    let goldens: Value =
        serde_json::from_str(include_str!("../goldens/idefics_prompts.json")).unwrap();
    for kind in ["base", "talking"] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), "published", &TALKING);
        exchange_tokenizer(folder.path(), &goldens[kind]["tokenizer"]);
        let (model, arguments) = import(folder.path());
        run(&arguments);
        let trained = TrainedModel::load(&model).unwrap();
        for prompt in goldens[kind]["prompts"].as_array().unwrap() {
            let mut tokens = PromptTokens::begin(&trained);
            for piece in prompt["pieces"].as_array().unwrap() {
                match piece.as_str() {
                    Some(text) => tokens.text(text).unwrap(),
                    None => tokens.image().unwrap(),
                }
            }
            let found = json!(tokens.finish().unwrap());
            assert_eq!(found, prompt["ids"], "{kind}: {}", prompt["pieces"]);
        }
    }
}

#[test]
fn examples_end_as_utterances_or_lines_do() {
    let example = |answer: &str| Example {
        id: answer.to_owned(),
        medium: Piece::Picture("picture.png".into()),
        question: Question::Describe,
        answer: answer.to_owned(),
        choices: Vec::new(),
        truth: Truth::Texts(Vec::new()),
    };
    let [first, second, query] = ["w5 w6", "w7", ""].map(example);
    for (name, added, end) in [
        ("published", &TALKING[..], &[21][..]),
        ("vectors", &BASE[..], &[]),
    ] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), name, added);
        let (model, arguments) = import(folder.path());
        run(&arguments);
        let trained = TrainedModel::load(&model).unwrap();
        let supports = [&first, &second];
        let found = prompt_tokens(&trained, Style::Paper, &supports, &query, false).unwrap();
        let picture = &[19, 20, 19][..];
        let expected = [&[1][..], picture, &[5, 6], end, picture, &[7], end, picture];
        assert_eq!(found, expected.concat(), "{name}");
        assert_eq!(PromptTokens::behind(&trained, " w8").unwrap(), [8]);
    }
}

#[test]
fn what_is_no_whole_idefics_is_told() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "published", &TALKING);
    let (model, arguments) = import(folder.path());
    let complain = |more: &[&str]| {
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        complaint(&[&arguments, more].concat())
    };
    let said = complain(&["--language", "llama"]);
    assert!(said.contains("leave out --language"), "{said}");
    let config = folder.path().join("config.json");
    let whole = fs::read_to_string(&config).unwrap();
    let mut changed: Value = serde_json::from_str(&whole).unwrap();
    changed["use_resampler"] = json!(false);
    fs::write(&config, changed.to_string()).unwrap();
    let said = complain(&[]);
    assert!(
        said.contains("config.json") && said.contains("use_resampler"),
        "{said}"
    );
    fs::write(&config, r#"{"model_type": "llama"}"#).unwrap();
    let said = complain(&[]);
    assert!(
        said.contains("\"llama\"") && said.contains("OpenFlamingo"),
        "{said}"
    );
    fs::write(
        &config,
        whole.replace("\"hidden_size\": 16", "\"hidden_size\": 32"),
    )
    .unwrap();
    let said = complain(&[]);
    for part in ["model.safetensors", "has shape", "asks for"] {
        assert!(said.contains(part), "{said}");
    }
    fs::write(&config, whole).unwrap();
    write(folder.path(), "published", &["<image>"]);
    let said = complain(&[]);
    assert!(said.contains("<fake_token_around_image>"), "{said}");
    write(
        folder.path(),
        "published",
        &[TALKING[0], TALKING[1], TALKING[2], "<more>", "<image2>"],
    );
    fs::remove_file(folder.path().join("model.safetensors")).unwrap();
    let said = complain(&[]);
    assert!(said.contains("no weights in it"), "{said}");
    assert!(!model.exists());
    let file = folder.path().join("config.json").display().to_string();
    let said = complaint(&[
        "import",
        "--checkpoint",
        &file,
        "--out",
        &model.display().to_string(),
    ]);
    assert!(said.contains("--language and --vision"), "{said}");
}
