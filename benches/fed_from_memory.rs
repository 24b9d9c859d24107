//! What the loader costs a training run:
//!
//! ```sh
//! cargo bench --bench fed_from_memory -- CONFIG DATA [STEPS]
//! ```
//!
//! Steps are taken in blocks of STEPS (default 10), by turns on batches as the loader brings them from
//! the shards of DATA, and on tensors made of the same batches before: the same tokens, and pixels
//! that are random. Both blocks compute the same; what the first takes longer is the loader's, its
//! threads' share of the processors included. CONFIG is one of `m3w train`; its model begins at random
//! numbers.

#![expect(clippy::print_stdout, reason = "its result is printed")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use m3w::trainer::{TrainFile, datasets, inputs, special_tokens, tokenizer_of};
use m3w_model::train::Trainer;
use m3w_model::{Flamingo, Inputs, ParameterStore};
use m3w_shards::{Mixture, WeightedBatch};

/// Pairs of blocks, the first of which is left out: it warms up.
const ROUNDS: usize = 10;

fn main() -> Result<()> {
    // SAFETY: no other thread runs yet.
    unsafe { m3w_model::leave_cores_to_layers() };
    m3w_model::keep_freed_memory();
    // `cargo bench` adds `--bench`.
    let given = std::env::args()
        .skip(1)
        .filter(|argument| argument != "--bench");
    let given: Vec<String> = given.collect();
    let (config, data, steps) = match given.as_slice() {
        [config, data] => (config, data, 10),
        [config, data, steps] => (config, data, steps.parse().context("STEPS is no number")?),
        _ => bail!("give CONFIG DATA [STEPS]"),
    };
    ensure!(steps > 0, "STEPS must be at least 1");
    let mut file: TrainFile = toml::from_str(&std::fs::read_to_string(config)?)?;
    // Read over and over where it is small.
    file.loader.epochs = None;
    let datasets = datasets(&file.loader, &file.datasets, Some(&PathBuf::from(data)))?;
    let (tokenizer, _) = tokenizer_of(&datasets)?;
    let special = special_tokens(&tokenizer.special_ids());
    let model = file.model.with_vocabulary(tokenizer.vocabulary_size());
    let store = ParameterStore::seeded(1).trainable(&file.train.trainable);
    let mut trainer = Trainer::new(Flamingo::new(&model, special, store)?, file.train)?;
    let mut mixture = Mixture::open(&datasets, file.run.schedule, &tokenizer, None)?;

    println!("| block | steps | from shards, s | of it waited, s | from memory, s | ratio |");
    println!("|---|---|---|---|---|---|");
    let mut ratios = Vec::new();
    for round in 0..ROUNDS {
        let mut waited = Duration::ZERO;
        let mut kept = Vec::new();
        let began = Instant::now();
        for _ in 0..steps {
            let asked = Instant::now();
            let batches = mixture.next_step()?.context("the data has no more rows")?;
            waited += asked.elapsed();
            let fed = fed(&batches)?;
            take(&mut trainer, &fed)?;
            kept.push(batches);
        }
        let from_shards = began.elapsed().as_secs_f64();
        let made = kept.iter().map(|batches| random(fed(batches)?));
        let made = made.collect::<Result<Vec<_>>>()?;
        drop(kept);
        let began = Instant::now();
        for batches in &made {
            take(&mut trainer, batches)?;
        }
        let from_memory = began.elapsed().as_secs_f64();
        if round == 0 {
            continue;
        }
        ratios.push(from_shards / from_memory);
        println!(
            "| {round} | {steps} | {from_shards:.3} | {:.3} | {from_memory:.3} | {:.4} |",
            waited.as_secs_f64(),
            from_shards / from_memory
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!(
        "median: a step from shards takes {:.4} times one from memory",
        ratios[ratios.len() / 2]
    );
    Ok(())
}

fn fed(batches: &[WeightedBatch]) -> Result<Vec<(Inputs, f64)>> {
    let fed = batches.iter();
    fed.map(|batch| Ok((inputs(&batch.batch)?, batch.weight)))
        .collect()
}

/// The same with other pictures.
fn random(batches: Vec<(Inputs, f64)>) -> Result<Vec<(Inputs, f64)>> {
    let drawn = batches.into_iter().map(|(mut inputs, weight)| {
        let pixels = &inputs.pixels;
        inputs.pixels = Tensor::randn(0_f32, 1.0, pixels.shape(), pixels.device())?;
        Ok((inputs, weight))
    });
    drawn.collect()
}

fn take(trainer: &mut Trainer, batches: &[(Inputs, f64)]) -> Result<()> {
    let batches: Vec<(&Inputs, f64)> = batches
        .iter()
        .map(|(inputs, weight)| (inputs, *weight))
        .collect();
    trainer.step(&batches)?;
    Ok(())
}
