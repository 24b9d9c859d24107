//! Faults of training, and of what uses a trained model.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use candle_core::{Device, Tensor};
use m3w::model::train::Trainer;
use m3w::model::{Flamingo, Inputs, ParameterStore, SpecialTokens};
use m3w::shards::{Batch, Dataset, Mixture, Tokenizer};
use m3w::trainer::{TrainFile, inputs};

use crate::faults::{World, contents, draws, refused, start, succeed};

/// A model that takes a fraction of a second.
const CONFIG: &str = include_str!("../../configs/train-tiny.toml");
/// Settings over it.
const SETTINGS: [&str; 4] = [
    "loader.batch_size=2",
    "loader.image_side_px=32",
    "model.vision.image_side_px=32",
    "model.language.layers=2",
];

/// Arguments of a training of some steps, with a checkpoint every third.
fn training(world: &World, corpus: &Path, out: &Path, steps: usize) -> Result<Vec<String>> {
    let config = world.place("training")?.with_extension("toml");
    fs::write(&config, CONFIG)?;
    let mut arguments: Vec<String> = ["train", "--quiet", "--config"].map(str::to_owned).to_vec();
    arguments.push(config.display().to_string());
    for (name, path) in [("--data", corpus), ("--out", out)] {
        arguments.extend([name.to_owned(), path.display().to_string()]);
    }
    let run = [
        format!("run.steps={steps}"),
        "run.checkpoint_every=3".to_owned(),
    ];
    for setting in run.into_iter().chain(SETTINGS.map(str::to_owned)) {
        arguments.extend(["--set".to_owned(), setting]);
    }
    Ok(arguments)
}

/// The losses and the weights of two runs.
fn same_run(expected: &Path, found: &Path) -> Result<()> {
    for name in ["metrics.jsonl", "checkpoint/model.safetensors"] {
        let (expected, found) = (fs::read(expected.join(name))?, fs::read(found.join(name))?);
        ensure!(expected == found, "{name} differs");
    }
    Ok(())
}

/// Twenty runs, each killed at some moment and gone on with.
pub(crate) fn killed(world: &World) -> Result<()> {
    let corpus = world.corpus()?;
    let undisturbed = world.place("undisturbed-run")?;
    let begun = Instant::now();
    succeed(&mut world.m3w(&training(world, &corpus, &undisturbed, 12)?))?;
    let whole = begun.elapsed();
    for draw in draws(9).take(20) {
        let out = world.place("killed-run")?;
        let arguments = training(world, &corpus, &out, 12)?;
        let mut child = start(&mut world.m3w(&arguments))?;
        thread::sleep(whole.mul_f64(draw));
        child.kill()?;
        child.wait()?;
        let after = || format!("killed after {draw:.2} of a run");
        succeed(&mut world.m3w(&arguments)).with_context(after)?;
        same_run(&undisturbed, &out).with_context(after)?;
    }
    Ok(())
}

/// The seventh step is given pixels that are no numbers: it is left out, and told.
pub(crate) fn not_a_number(world: &World) -> Result<()> {
    let corpus = world.corpus()?;
    let path = world.place("training")?.with_extension("toml");
    fs::write(&path, CONFIG)?;
    let file: TrainFile = m3w::config::load(Some(&path), &SETTINGS.map(str::to_owned))?;
    let tokenizer = Tokenizer::from_file(&corpus.join("tokenizer.json"))?;
    let ids = tokenizer.special_ids();
    let special = SpecialTokens {
        image: ids.image,
        end_of_chunk: ids.eoc,
        bos: ids.bos,
        eos: ids.eos,
        pad: ids.pad,
        around_image: None,
    };
    let config = file.model.with_vocabulary(tokenizer.vocabulary_size());
    let model = Flamingo::new(&config, special, ParameterStore::seeded(1))?;
    let mut trainer = Trainer::new(model, file.train)?;
    let dataset = Dataset {
        name: "data".to_owned(),
        directory: corpus,
        weight: 1.0,
        config: file.loader,
    };
    let mut mixture = Mixture::open(&[dataset], file.run.schedule, &Arc::new(tokenizer), None)?;
    let weights = |trainer: &Trainer| -> Result<Vec<u8>> {
        let folder = world.place("weights")?;
        trainer.save(&folder)?;
        Ok(fs::read(folder.join("model.safetensors"))?)
    };
    let mut before = Vec::new();
    for step in 1..=8 {
        let batches = mixture.next_step()?.context("too few rows")?;
        let inputs = match step {
            7 => without_numbers(&batches[0].batch)?,
            _ => inputs(&batches[0].batch)?,
        };
        if step == 7 {
            before = weights(&trainer)?;
        }
        let report = trainer.step(&[(&inputs, 1.0)])?;
        ensure!(report.skipped == (step == 7), "step {step}: {report:?}");
        if step == 7 {
            ensure!(weights(&trainer)? == before, "the weights have changed");
        }
    }
    Ok(())
}

fn without_numbers(batch: &Batch) -> Result<Inputs> {
    let m3w::shards::BatchShape { b, l, n, f, h, w } = batch.shape;
    let device = Device::Cpu;
    Ok(Inputs::new(
        Tensor::from_slice(&batch.tokens, (b, l), &device)?,
        Some(Tensor::from_slice(&batch.image_index, (b, l), &device)?),
        Tensor::full(f32::NAN, &[b, n, f, 3, h, w], &device)?,
        Some(Tensor::from_slice(&batch.loss_mask, (b, l), &device)?),
    )?)
}

/// The newest checkpoint cut in half: the one before is gone on with.
pub(crate) fn truncated_checkpoint(world: &World) -> Result<()> {
    let corpus = world.corpus()?;
    let (undisturbed, out) = (world.place("undisturbed-run")?, world.place("cut-run")?);
    succeed(&mut world.m3w(&training(world, &corpus, &undisturbed, 9)?))?;
    succeed(&mut world.m3w(&training(world, &corpus, &out, 6)?))?;
    let newest = out.join("checkpoint/model.safetensors");
    let bytes = fs::read(&newest)?;
    fs::write(&newest, &bytes[..bytes.len() / 2])?;
    let told = succeed(&mut world.m3w(&training(world, &corpus, &out, 9)?))?;
    ensure!(told.contains("checkpoint"), "nothing is said of it: {told}");
    same_run(&undisturbed, &out)
}

/// A copy of a corpus whose training is at its second epoch when a shard goes.
pub(crate) fn missing_shard(world: &World) -> Result<()> {
    let (corpus, whole) = (world.place("shrinking")?, world.corpus()?);
    for (name, bytes) in contents(&whole)? {
        let path = corpus.join(name);
        fs::create_dir_all(path.parent().context("no folder")?)?;
        fs::write(path, bytes)?;
    }
    let out = world.place("short-run")?;
    succeed(&mut world.m3w(&training(world, &corpus, &out, 3)?))?;
    let shards = contents(&corpus)?;
    let shard = shards.keys().find(|name| name.starts_with("sequences"));
    let shard: &PathBuf = shard.context("no shard")?;
    fs::remove_file(corpus.join(shard))?;
    let told = refused(&mut world.m3w(&training(world, &corpus, &out, 600)?))?;
    let name = shard.file_name().unwrap_or_default().to_string_lossy();
    ensure!(told.contains(&*name), "the shard is not named: {told}");
    Ok(())
}

/// A run goes on with a corpus of another vocabulary, and is asked with another's tokenizer.
pub(crate) fn wrong_tokenizer(world: &World) -> Result<()> {
    let corpus = world.corpus()?;
    let out = world.place("run-of-another")?;
    succeed(&mut world.m3w(&training(world, &corpus, &out, 1)?))?;
    let other = world.place("other-vocabulary")?;
    let mut arguments = world.crawl(&other);
    arguments.extend(["--set".to_owned(), "vocabulary_size=700".to_owned()]);
    succeed(&mut world.m3w(&arguments))?;
    refused(&mut world.m3w(&training(world, &other, &out, 2)?))?;
    fs::copy(other.join("tokenizer.json"), out.join("tokenizer.json"))?;
    let asked = m3w::trained::TrainedModel::load(&out);
    ensure!(asked.is_err(), "a model is loaded with the other tokenizer");
    Ok(())
}
