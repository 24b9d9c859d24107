//! Measures training steps on random tokens and pictures, without a loader.
//!
//! `cargo run --release -p m3w-model --example step_time -- configs/train-tiny.toml [STEPS]` takes
//! `model` and `train` from the file, and a batch of 4 rows x 256 tokens x 2 images over
//! a vocabulary of 4096. Prints the parameters of each group, then the wall time of each step.
#![expect(
    clippy::print_stdout,
    reason = "a command-line program prints its report"
)]

use std::error::Error;
use std::time::Instant;

use candle_core::{Device, Tensor};
use m3w_model::train::{TrainConfig, Trainer};
use m3w_model::{Config, Flamingo, Inputs, ParameterStore, SpecialTokens, parameter_counts};

const ROWS: usize = 4;
const LENGTH: usize = 256;
const IMAGES: usize = 2;
const VOCABULARY: u32 = 4096;

fn main() -> Result<(), Box<dyn Error>> {
    // SAFETY: no other thread runs yet.
    unsafe { m3w_model::leave_cores_to_layers() };
    m3w_model::keep_freed_memory();
    let mut arguments = std::env::args().skip(1);
    let path = arguments.next().ok_or("usage: step_time CONFIG [STEPS]")?;
    let steps: usize = arguments.next().map_or(Ok(10), |steps| steps.parse())?;
    let table: toml::Table = std::fs::read_to_string(path)?.parse()?;
    let config: Config = table["model"].clone().try_into()?;
    let config = config.with_vocabulary(VOCABULARY as usize);
    let train: TrainConfig = table["train"].clone().try_into()?;
    for (group, count) in parameter_counts(&config)? {
        println!("{group}: {count} parameters");
    }
    let special = SpecialTokens {
        image: 4,
        end_of_chunk: 3,
        bos: 1,
        eos: 2,
        pad: 0,
        around_image: None,
    };
    let side = config.vision.image_side_px;
    let model = Flamingo::new(&config, special, ParameterStore::seeded(1))?;
    let mut trainer = Trainer::new(model, train)?;
    let tokens: Vec<u32> = (0..(ROWS * LENGTH) as u32)
        .map(|at| match at % (LENGTH as u32) {
            20 | 120 => special.image,
            // Spread over the vocabulary by a multiplicative hash (Knuth, volume 3, 6.4).
            _ => 5 + at.wrapping_mul(2_654_435_761) % (VOCABULARY - 5),
        })
        .collect();
    let count = ROWS * IMAGES * 3 * side * side;
    let pixels: Vec<f32> = (0..count).map(|at| (at as f32 * 0.37).sin()).collect();
    let inputs = Inputs::new(
        Tensor::from_vec(tokens, (ROWS, LENGTH), &Device::Cpu)?,
        None,
        Tensor::from_vec(pixels, vec![ROWS, IMAGES, 1, 3, side, side], &Device::Cpu)?,
        None,
    )?;
    for _ in 0..steps {
        let start = Instant::now();
        let report = trainer.step(&[(&inputs, 1.0)])?;
        let milliseconds = start.elapsed().as_millis();
        println!(
            "step {}: {milliseconds} ms, loss {:.3}",
            report.step, report.losses[0]
        );
    }
    Ok(())
}
