//! Training runs: killed and gone on with, started from others, in several processes, looked at.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;
use std::time::Duration;

use m3w::shards::{Manifest, SequenceReader};
use serde_json::Value;
use tempfile::TempDir;

use super::site::{complaint, copy_shared_corpus, m3w, shared_corpus};

/// A model that takes a few milliseconds a step.
const SETTINGS: [&str; 7] = [
    "loader.batch_size=2",
    "loader.image_side_px=32",
    "loader.shuffle_buffer=8",
    "model.vision.image_side_px=32",
    "model.vision.layers=1",
    "model.language.layers=2",
    "train.warmup_steps=2",
];

/// Arguments of a training on the shared corpus into `out`, with more settings.
fn arguments(out: &Path, settings: &[&str]) -> Vec<String> {
    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/train-tiny.toml");
    let (data, out) = (shared_corpus().display(), out.display());
    let mut arguments: Vec<String> = ["train", "--quiet", "--config", config]
        .map(str::to_owned)
        .to_vec();
    for (name, path) in [("--data", data), ("--out", out)] {
        arguments.extend([name.to_owned(), path.to_string()]);
    }
    for setting in SETTINGS.iter().chain(settings) {
        arguments.extend(["--set".to_owned(), (*setting).to_owned()]);
    }
    arguments
}

fn train(out: &Path, settings: &[&str]) {
    let output = command(&arguments(out, settings)).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn refused(out: &Path, settings: &[&str]) -> String {
    let output = command(&arguments(out, settings)).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// On one thread: products this small are done before a second one has woken up.
fn command(arguments: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_m3w"));
    command
        .args(arguments)
        .env("RAYON_NUM_THREADS", "1")
        .stdin(Stdio::null());
    command
}

fn start(arguments: &[String], variables: &[(&str, String)]) -> Child {
    command(arguments)
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn lines(path: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text
        .split_inclusive('\n')
        .filter(|line| line.ends_with('\n'));
    lines
        .map(|line| serde_json::from_str(line).unwrap())
        .collect()
}

/// The checkpoints of a run, and the one that its link names.
fn checkpoints(run: &Path) -> (Vec<String>, String) {
    let entries = std::fs::read_dir(run.join("checkpoints")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = names.collect();
    names.sort();
    let target = std::fs::read_link(run.join("checkpoint")).unwrap();
    (
        names,
        target.file_name().unwrap().to_str().unwrap().to_owned(),
    )
}

fn assert_same_run(expected: &Path, found: &Path) {
    for name in [
        "metrics.jsonl",
        "checkpoint/model.safetensors",
        "checkpoint/optimizer.safetensors",
        "checkpoint/loader.json",
    ] {
        let read = |run: &Path| std::fs::read(run.join(name)).unwrap();
        assert!(read(expected) == read(found), "{name} differs");
    }
}

/// A run of two steps that tests may start from.
fn first_run() -> &'static Path {
    static RUN: OnceLock<TempDir> = OnceLock::new();
    let run = RUN.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        train(&folder.path().join("run"), &["run.steps=2"]);
        folder
    });
    Box::leak(run.path().join("run").into_boxed_path())
}

#[test]
fn twenty_steps_are_ten_a_kill_and_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let (whole, killed) = (folder.path().join("whole"), folder.path().join("killed"));
    let settings = ["run.steps=20", "run.checkpoint_every=5"];
    train(&whole, &settings);
    let mut child = start(&arguments(&killed, &settings), &[]);
    while child.try_wait().unwrap().is_none() {
        if lines(&killed.join("metrics.jsonl")).len() >= 10 {
            child.kill().unwrap();
            break;
        }
        thread::sleep(Duration::from_millis(1));
    }
    child.wait().unwrap();
    train(&killed, &settings);
    assert_same_run(&whole, &killed);
}

#[test]
fn the_last_checkpoints_and_those_of_round_steps_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let keep = ["run.checkpoint_every=1", "run.keep_every=3"];
    train(
        &run,
        &[&keep[..], &["run.steps=7", "run.keep_last=1"]].concat(),
    );
    let kept = ["step-3", "step-6", "step-7"].map(str::to_owned).to_vec();
    assert_eq!(checkpoints(&run), (kept, "step-7".to_owned()));
    // What is kept, and for how long a run goes on, may change on the way.
    train(
        &run,
        &[&keep[..], &["run.steps=8", "run.keep_last=2"]].concat(),
    );
    let kept = ["step-3", "step-6", "step-7", "step-8"];
    assert_eq!(
        checkpoints(&run),
        (kept.map(str::to_owned).to_vec(), "step-8".to_owned())
    );
    let message = refused(
        &run,
        &[
            "run.steps=9",
            "train.clip_norm=2.0",
            "model.language.heads=2",
        ],
    );
    assert!(message.contains("train.clip_norm: 1.0 -> 2.0"), "{message}");
    assert!(
        message.contains("model.language.heads: 4 -> 2"),
        "{message}"
    );
}

#[test]
fn a_run_starts_from_the_weights_of_another_and_trains_only_what_it_names() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let start = format!("initial.model={}", first_run().display());
    let trainable = "train.trainable=['resampler', 'gated_xattn']";
    // A gated block more than the model had: it is drawn from the seed.
    let every = "model.cross_attention.every=1";
    train(&run, &["run.steps=3", &start, trainable, every]);
    let weights = |run: &Path| {
        let path = run.join("checkpoint/model.safetensors");
        m3w::model::read_weights(&path).unwrap()
    };
    let (before, after) = (weights(first_run()), weights(&run));
    assert!(after.len() > before.len());
    for (name, tensor) in &before {
        let change = (tensor - &after[name]).unwrap().abs().unwrap();
        let change = change.flatten_all().unwrap().max(0).unwrap();
        let is_trained = name.starts_with("perceiver.") || name.contains("gated_cross_attn");
        let is_same = change.to_scalar::<f32>().unwrap() == 0.0;
        assert_eq!(is_same, !is_trained, "{name}");
    }
}

#[test]
fn updates_of_low_rank_are_trained_beside_weights_that_stay() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let start = format!("initial.model={}", first_run().display());
    let lora = "model.language.lora={ rank = 2, alpha = 4 }";
    train(
        &run,
        &["run.steps=3", &start, lora, "train.trainable=['lora']"],
    );
    let weights = |run: &Path| {
        let path = run.join("checkpoint/model.safetensors");
        m3w::model::read_weights(&path).unwrap()
    };
    let (before, after) = (weights(first_run()), weights(&run));
    for (name, tensor) in &after {
        let values = |tensor: &candle_core::Tensor| {
            let tensor = tensor.flatten_all().unwrap();
            tensor.to_vec1::<f32>().unwrap()
        };
        match before.get(name) {
            Some(old) => assert_eq!(values(tensor), values(old), "{name}"),
            None => assert!(values(tensor).iter().any(|value| *value != 0.0), "{name}"),
        }
    }
    let program = std::fs::read(run.join("checkpoint/program.json")).unwrap();
    let program: Value = serde_json::from_slice(&program).unwrap();
    let version = program["version"].as_str().unwrap();
    assert!(version.starts_with(env!("CARGO_PKG_VERSION")), "{version}");
    // Queries, keys and values of two layers, two factors each.
    assert_eq!(after.len() - before.len(), 2 * 3 * 2);
    let message = refused(&folder.path().join("other"), &["train.trainable=['lora']"]);
    assert!(message.contains("[model.language.lora]"), "{message}");
}

#[test]
fn a_model_that_does_not_fit_is_not_started_from() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let start = format!("initial.model={}", first_run().display());
    let message = refused(&run, &[&start, "model.resampler.layers=1"]);
    assert!(message.contains("have no place in [model]"), "{message}");
    let message = refused(&run, &["initial.model=nowhere"]);
    assert!(message.contains("cannot start from nowhere"), "{message}");
    let other = folder.path().join("other");
    std::fs::create_dir_all(&other).unwrap();
    let tokenizer = std::fs::read_to_string(first_run().join("tokenizer.json")).unwrap();
    std::fs::write(other.join("tokenizer.json"), tokenizer + " ").unwrap();
    let target = first_run().join("checkpoint").canonicalize().unwrap();
    std::os::unix::fs::symlink(target, other.join("checkpoint")).unwrap();
    let message = refused(&run, &[&format!("initial.model={}", other.display())]);
    assert!(message.contains("another tokenizer"), "{message}");
}

#[test]
fn steps_that_go_nowhere_end_the_run_with_their_batch_saved() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let settings = ["train.learning_rate=1e30", "run.stop_after_skipped=3"];
    let message = refused(&run, &settings);
    assert!(
        message.contains("3 steps in a row had no finite loss"),
        "{message}"
    );
    let metrics = lines(&run.join("metrics.jsonl"));
    let skipped: Vec<&Value> = metrics
        .iter()
        .filter(|line| line["is_skipped"] == true)
        .collect();
    assert_eq!(skipped.len(), 3);
    let last = &skipped[2]["step"];
    let path = run.join(format!("skipped-step-{last}.safetensors"));
    let tensors = m3w::model::read_weights(&path).unwrap();
    assert_eq!(tensors["data.tokens"].dims(), [2, 256]);
    let ids: Vec<String> = serde_json::from_value(skipped[2]["skipped_rows"].clone()).unwrap();
    let manifest = Manifest::load(shared_corpus()).unwrap();
    let rows = manifest.sequences.iter().flat_map(|entry| {
        let reader = SequenceReader::open(&shared_corpus().join(&entry.path)).unwrap();
        reader.map(|row| row.unwrap().id)
    });
    let known: Vec<String> = rows.collect();
    assert!(
        ids.len() == 2 && ids.iter().all(|id| known.contains(id)),
        "{ids:?}"
    );
    let output = m3w(&["report", &run.display().to_string()]);
    assert!(output.status.success(), "{output:?}");
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    assert!(page.contains("Steps without a finite loss"), "{page}");
}

/// The largest difference of two runs' losses and weights, in parts of the largest weight.
fn differences(one: &Path, other: &Path) -> (f64, f64) {
    let loss = |run: &Path| -> Vec<f64> {
        let lines = lines(&run.join("metrics.jsonl"));
        lines
            .iter()
            .map(|line| line["loss"].as_f64().unwrap())
            .collect()
    };
    let (losses, others) = (loss(one), loss(other));
    assert_eq!(losses.len(), others.len());
    let losses = losses
        .iter()
        .zip(others)
        .map(|(one, other)| (one - other).abs());
    let weights = |run: &Path| -> BTreeMap<String, Vec<f32>> {
        let tensors = m3w::model::read_weights(&run.join("checkpoint/model.safetensors")).unwrap();
        let values = tensors
            .into_iter()
            .map(|(name, tensor)| (name, tensor.flatten_all().unwrap().to_vec1().unwrap()));
        values.collect()
    };
    let (weights, others) = (weights(one), weights(other));
    let apart = weights.iter().flat_map(|(name, values)| {
        values
            .iter()
            .zip(&others[name])
            .map(|(one, other)| f64::from((one - other).abs()))
    });
    (losses.fold(0.0, f64::max), apart.fold(0.0, f64::max))
}

#[test]
fn two_processes_are_one_with_twice_the_batch() {
    let folder = tempfile::tempdir().unwrap();
    let (one, two) = (folder.path().join("one"), folder.path().join("two"));
    // With a larger epsilon, an update is a smooth function of the gradient: where a gradient is
    // nothing but rounding, Adam's own would move by its sign.
    let settings = [
        "run.steps=6",
        "train.epsilon=1e-3",
        "run.checkpoint_every=3",
    ];
    train(&one, &[&settings[..], &["loader.batch_size=4"]].concat());
    let together = |steps: &str| {
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let settings = [&settings[..], &["loader.batch_size=2", steps]].concat();
        let processes = ["0", "1"].map(|rank| {
            let variables = [
                ("RANK", rank.to_owned()),
                ("WORLD_SIZE", "2".to_owned()),
                ("MASTER_PORT", port.to_string()),
            ];
            start(&arguments(&two, &settings), &variables)
        });
        for mut process in processes {
            assert!(process.wait().unwrap().success());
        }
    };
    // Gone on with from a checkpoint, as one would.
    together("run.steps=4");
    together("run.steps=6");
    let (losses, weights) = differences(&one, &two);
    assert!(
        losses < 1e-5 && weights < 1e-5,
        "losses {losses:e}, weights {weights:e}"
    );
}

#[test]
fn processes_of_different_corpora_do_not_train_together() {
    let folder = tempfile::tempdir().unwrap();
    let other = folder.path().join("corpus");
    copy_shared_corpus(&other);
    // Changed on purpose.
    let path = other.join("manifest.json");
    let manifest = std::fs::read_to_string(&path).unwrap();
    let mut manifest: Value = serde_json::from_str(&manifest).unwrap();
    manifest.as_object_mut().unwrap().remove("sha256").unwrap();
    std::fs::write(&path, manifest.to_string()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let corpora = [shared_corpus().to_owned(), other];
    let processes = ["0", "1"].map(|rank| {
        let mut arguments = arguments(&folder.path().join("run"), &["run.steps=2"]);
        let data = arguments.iter().position(|each| each == "--data").unwrap();
        let corpus = &corpora[usize::from(rank == "1")];
        arguments[data + 1] = corpus.display().to_string();
        command(&arguments)
            .env("RANK", rank)
            .env("WORLD_SIZE", "2")
            .env("MASTER_PORT", port.to_string())
            .stderr(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .unwrap()
    });
    for process in processes {
        let output = process.wait_with_output().unwrap();
        let told = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{told}");
        assert!(told.contains("another corpus"), "{told}");
    }
}

#[test]
fn a_share_of_the_documents_is_evaluated_on_and_not_trained_on() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let share = ["run.evaluate_share=0.5", "run.evaluate_every=1"];
    let rows = [
        "loader.batch_size=1",
        "loader.epochs=1",
        "run.steps=1000",
        "run.evaluate_batches=1000",
    ];
    train(&run, &[&share[..], &rows].concat());
    let evaluations = lines(&run.join("evaluation.jsonl"));
    assert!(evaluations[0]["losses"]["data"].as_f64().unwrap() > 0.0);
    let steps = lines(&run.join("metrics.jsonl")).len();
    let corpus = Manifest::load(shared_corpus()).unwrap();
    let all: u64 = corpus.sequences.iter().map(|entry| entry.rows).sum();
    assert!(steps > 0 && (steps as u64) < all, "{steps} of {all}");
    let other = folder.path().join("other");
    let message = refused(&other, &["run.evaluate_share=0.5"]);
    assert!(message.contains("run.evaluate_every"), "{message}");
    let nothing = ["run.evaluate_every=1", "run.evaluate_batches=0"];
    let message = refused(&other, &[&share[..1], &nothing].concat());
    assert!(message.contains("run.evaluate_batches is 0"), "{message}");
    let message = refused(&other, &["run.evaluate_share=0.9", "run.evaluate_every=1"]);
    assert!(message.contains("0 to 0.5"), "{message}");
    let corpus = shared_corpus().display().to_string();
    let evaluation = format!("evaluation=[{{name='data', path='{corpus}'}}]");
    let message = refused(&other, &[&share[..], &[&evaluation]].concat());
    assert!(message.contains("give it another"), "{message}");
}

#[test]
fn a_report_shows_losses_gates_speed_and_what_was_said() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let corpus = shared_corpus().display().to_string();
    let evaluation = format!("evaluation=[{{name='held', path='{corpus}'}}]");
    let often = [
        "run.evaluate_every=2",
        "run.sample_every=2",
        "run.samples=2",
    ];
    train(
        &run,
        &[
            &["run.steps=3", "run.evaluate_batches=1", &evaluation],
            &often[..],
        ]
        .concat(),
    );
    let evaluations = lines(&run.join("evaluation.jsonl"));
    let steps: Vec<_> = evaluations
        .iter()
        .map(|line| line["step"].as_u64())
        .collect();
    assert_eq!(steps, [Some(2), Some(3)]);
    assert!(evaluations[1]["losses"]["held"].as_f64().unwrap() > 0.0);
    assert_eq!(lines(&run.join("samples.jsonl")).len(), 4);
    assert_eq!(lines(&run.join("times.jsonl")).len(), 3);
    let output = m3w(&["report", &run.display().to_string()]);
    assert!(output.status.success(), "{output:?}");
    let page = std::fs::read_to_string(run.join("report.html")).unwrap();
    for part in [
        "<svg",
        "held out: held",
        "layer 1, attention",
        "data:image/",
        "[model.vision]",
    ] {
        assert!(page.contains(part), "{part}");
    }
    assert!(!page.contains("<script") && !page.contains("src='http"));
    let message = complaint(&["report", &corpus]);
    assert!(message.contains("holds no steps of a run"), "{message}");
}
