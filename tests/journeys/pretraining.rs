//! Pairs to a pretrained vision encoder, and a model that begins with it.

use std::path::{Path, PathBuf};

use m3w::model::read_vision;
use serde_json::Value;

use super::picture_server::bitmap;
use super::site::{complaint, m3w};

/// Colours that a caption names.
const COLOURS: [(&str, [u8; 3]); 6] = [
    ("red", [210, 30, 30]),
    ("green", [30, 170, 50]),
    ("blue", [40, 60, 210]),
    ("yellow", [230, 210, 40]),
    ("black", [20, 20, 20]),
    ("white", [240, 240, 240]),
];

/// Where the square of a picture may be.
const PLACES: [(&str, [u32; 2]); 4] = [
    ("top left", [6, 6]),
    ("top right", [36, 6]),
    ("bottom left", [6, 36]),
    ("bottom right", [36, 36]),
];

/// Writes `rounds` pictures of each kind, a square of one colour on another, each a little different,
/// with captions that say so: the words are decided by the picture alone.
fn squares(folder: &Path, rounds: u32) {
    std::fs::create_dir_all(folder).unwrap();
    for round in 0..rounds {
        for (ground, &(ground_name, ground_colour)) in COLOURS.iter().enumerate() {
            for (square, &(square_name, square_colour)) in COLOURS.iter().enumerate() {
                if ground == square {
                    continue;
                }
                let seed = round * 36 + (ground * 6 + square) as u32;
                let (place, [left, top]) = PLACES[seed.wrapping_mul(2_654_435_761) as usize >> 30];
                let (left, top) = (left + seed % 5, top + seed / 5 % 5);
                let noise = |x: u32, y: u32| {
                    let mixed = (x * 71 + y * 113 + seed * 997).wrapping_mul(2_654_435_761);
                    (mixed >> 28) as u8
                };
                let bytes = bitmap(64, |x, y| {
                    let is_square = (left..left + 20).contains(&x) && (top..top + 20).contains(&y);
                    let colour = if is_square {
                        square_colour
                    } else {
                        ground_colour
                    };
                    colour.map(|value| value.saturating_sub(8).saturating_add(noise(x, y)))
                });
                let caption = format!("a {square_name} square at the {place} on {ground_name}");
                let name = format!("{seed:05}");
                std::fs::write(folder.join(format!("{name}.bmp")), bytes).unwrap();
                std::fs::write(folder.join(format!("{name}.txt")), caption).unwrap();
            }
        }
    }
}

/// A corpus of such pairs.
fn corpus(folder: &Path, rounds: u32) -> PathBuf {
    let (pictures, out) = (folder.join("pictures"), folder.join("corpus"));
    squares(&pictures, rounds);
    let (input, output) = (pictures.display().to_string(), out.display().to_string());
    let told = m3w(&[
        &[
            "pairs", "--quiet", "--kind", "pairs", "--input", &input, "--out", &output,
        ],
        &[
            "--set",
            "vocabulary_size=300",
            "--set",
            "shards.sequence_length=32",
        ][..],
    ]
    .concat());
    assert!(told.status.success(), "{told:?}");
    out
}

/// Pretrains and gives the lines of the metrics.
fn pretrain(corpus: &Path, out: &Path, steps: usize, further: &[&str]) -> Vec<Value> {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/pretrain-tiny.toml");
    let (data, out_path) = (corpus.display().to_string(), out.display().to_string());
    let steps = format!("run.steps={steps}");
    let told = m3w(&[
        &[
            "pretrain", "--quiet", "--config", config, "--data", &data, "--out", &out_path,
        ],
        &["--set", &steps][..],
        further,
    ]
    .concat());
    assert!(told.status.success(), "{told:?}");
    let metrics = std::fs::read_to_string(out.join("metrics.jsonl")).unwrap();
    let lines = metrics.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

#[test]
fn held_out_pairs_are_found_far_above_chance_and_a_model_begins_with_the_encoder() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path(), 8);
    let out = folder.path().join("encoders");
    // Captions name sides, so no picture is mirrored.
    let metrics = pretrain(
        &corpus,
        &out,
        50,
        &[
            "--set",
            "loader.horizontal_flip=false",
            "--set",
            "loader.batch_size=16",
            "--set",
            "train.schedule_steps=50",
            "--set",
            "train.learning_rate=2e-3",
        ],
    );
    assert_eq!(metrics.len(), 50);
    let told = std::fs::read(out.join("retrieval.json")).unwrap();
    let told: Value = serde_json::from_slice(&told).unwrap();
    let found = &told["retrieval"];
    let pairs = found["pairs"].as_f64().unwrap();
    assert!(pairs > 15.0, "{told}");
    for direction in ["caption_of_picture", "picture_of_caption"] {
        let [first, five] = [0, 1].map(|at| found[direction][at].as_f64().unwrap());
        // By chance one of all is first, and five of all are among five.
        assert!(first > 5.0 / pairs && five > 12.0 / pairs, "{told}");
    }
    a_model_begins_with(&out, &corpus, folder.path());
}

/// A vision encoder that is frozen stays as it was pretrained.
fn a_model_begins_with(encoders: &Path, corpus: &Path, folder: &Path) {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/train-tiny.toml");
    let (data, model) = (corpus.display().to_string(), folder.join("model"));
    let vision = format!("initial.vision={}", encoders.display());
    let out = model.display().to_string();
    let arguments = [
        &[
            "train", "--quiet", "--config", config, "--data", &data, "--out", &out,
        ],
        &["--set", "run.steps=2", "--set", &vision][..],
        &[
            "--set",
            "train.trainable=['resampler','gated_xattn','embeddings','language']",
        ],
    ]
    .concat();
    let told = m3w(&arguments);
    assert!(told.status.success(), "{told:?}");
    let text = std::fs::read_to_string(config).unwrap();
    let file: m3w::trainer::TrainFile = toml::from_str(&text).unwrap();
    let weights = |run: &Path| {
        let read = read_vision(&run.join("checkpoint"), &file.model.vision).unwrap();
        let read = read.into_iter().map(|(name, tensor)| {
            let numbers: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
            (name, numbers)
        });
        read.collect::<Vec<_>>()
    };
    assert!(weights(encoders) == weights(&model));
    // One of another size is refused by name and shapes.
    let other = folder.join("other").display().to_string();
    let mut arguments = arguments;
    arguments[7] = &other;
    arguments.extend(["--set", "model.vision.width=64"]);
    let said = complaint(&arguments);
    assert!(
        said.contains("initial.vision") && said.contains("vision_encoder.conv1"),
        "{said}"
    );
}

#[test]
fn pretraining_goes_on_as_if_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = corpus(folder.path(), 2);
    let nfnet = "encoders.vision={image_side_px=32,width=32,nfnet={depths=[1,1],widths=[16,32],\
                 stem_width=8,group_width=8}}";
    let further = ["--set", nfnet, "--set", "loader.image_side_px=32"];
    let further = [&further[..], &["--set", "loader.batch_size=8"]].concat();
    let whole = pretrain(&corpus, &folder.path().join("whole"), 6, &further);
    pretrain(&corpus, &folder.path().join("parts"), 3, &further);
    let parts = pretrain(&corpus, &folder.path().join("parts"), 6, &further);
    assert_eq!(whole, parts);
    let [whole, parts] = ["whole", "parts"].map(|name| {
        let path = folder
            .path()
            .join(name)
            .join("checkpoint/model.safetensors");
        std::fs::read(path).unwrap()
    });
    assert!(whole == parts);
}
