//! Measures the medium configuration, for a comparison with other implementations of the same work.
//!
//! `cargo run --release -p m3w-model --example medium -- forward|vision|perceiver|generate|beam|train|
//! train-recomputing [REPETITIONS [int8|bf16|f32]]`: CLIP ViT-B/32, a resampler of 6 layers and 64 latents, a decoder of GPT-2's shape
//! and size, gated blocks before layers 4, 8 and 12; all weights random, only their sizes matter.
//! `train-recomputing` is `train` with gradient checkpointing. `forward` and `train` take 4 rows x 256 tokens x 5 pictures, `generate` and `beam` (3 beams) one
//! row with 5 pictures and 64 tokens, and add 32. Weights are held as f32 unless asked otherwise. Prints the median of the repetitions, work done a
//! second, and the most memory held.
#![expect(
    clippy::print_stdout,
    reason = "a command-line program prints its report"
)]

use std::error::Error;
use std::time::Instant;

use candle_core::{Device, Tensor};
use m3w_model::train::{TrainConfig, Trainer};
use m3w_model::{
    Config, Flamingo, GenerateOptions, Group, Inputs, LanguageConfig, ParameterStore, Resampler,
    SpecialTokens, VisionEncoder, WeightType, generate,
};

const ROWS: usize = 4;
const LENGTH: usize = 256;
const IMAGES: usize = 5;
const PROMPT: usize = 64;
const NEW_TOKENS: usize = 32;
const SPECIAL: SpecialTokens = SpecialTokens {
    image: 50_258,
    end_of_chunk: 50_257,
    bos: 50_256,
    eos: 50_256,
    pad: 50_259,
    around_image: None,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn config() -> Outcome<Config> {
    let text = r#"
        vision = { image_side_px = 224, patch_side_px = 32, width = 768, layers = 12, heads = 12,
                   activation = "quick_gelu" }
        resampler = { latents = 64, layers = 6, heads = 8, head_dim = 64 }
        cross_attention = { every = 4, heads = 8, head_dim = 64, initial_gate = 0.5 }
        language = { width = 768, layers = 12, heads = 12 }
    "#;
    let mut config: Config = toml::from_str(text)?;
    let gpt2 = r#"{"model_type": "gpt2", "vocab_size": 50260, "n_embd": 768, "n_layer": 12,
                   "n_head": 12, "n_positions": 1024}"#;
    config.language = gpt2.parse::<LanguageConfig>()?;
    Ok(config)
}

/// Tokens of a row: pictures at even distances, an end of chunk before each but the first.
fn tokens(row: usize, length: usize, distance: usize) -> Vec<u32> {
    let at_picture = |at: usize| at.is_multiple_of(distance) && at / distance < IMAGES;
    (0..length)
        .map(|at| {
            if at_picture(at) {
                SPECIAL.image
            } else if at_picture(at + 1) {
                SPECIAL.end_of_chunk
            } else {
                // Spread over the vocabulary by a multiplicative hash (Knuth, volume 3, 6.4).
                ((row * length + at) as u32).wrapping_mul(2_654_435_761) % 50_256
            }
        })
        .collect()
}

fn pictures(count: usize) -> Outcome<Tensor> {
    let pixels = 3 * 224 * 224;
    let values: Vec<f32> = (0..count * pixels)
        .map(|at| (at as f32 * 0.37).sin())
        .collect();
    Ok(Tensor::from_vec(
        values,
        (count, 1, 3, 224, 224),
        &Device::Cpu,
    )?)
}

fn batch() -> Outcome<Inputs> {
    let rows = (0..ROWS).flat_map(|row| tokens(row, LENGTH, LENGTH / IMAGES));
    let rows = Tensor::from_vec(rows.collect::<Vec<u32>>(), (ROWS, LENGTH), &Device::Cpu)?;
    let pixels = pictures(ROWS * IMAGES)?;
    let pixels = pixels.reshape(vec![ROWS, IMAGES, 1, 3, 224, 224])?;
    Ok(Inputs::new(rows, None, pixels, None)?)
}

fn main() -> Outcome<()> {
    // SAFETY: no other thread runs yet.
    unsafe { m3w_model::leave_cores_to_layers() };
    m3w_model::keep_freed_memory();
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().ok_or("name what to measure")?;
    let repetitions: usize = arguments.next().map_or(Ok(3), |count| count.parse())?;
    let weights = match arguments.next().as_deref() {
        None | Some("f32") => WeightType::F32,
        Some("bf16") => WeightType::Bf16,
        Some("int8") => WeightType::Int8,
        Some(other) => return Err(format!("weights are no {other}: give int8, bf16 or f32").into()),
    };
    let config = config()?;
    let mut store = ParameterStore::seeded(1).frozen_as(weights);
    let model = || {
        Flamingo::new(
            &config,
            SPECIAL,
            ParameterStore::seeded(1).frozen_as(weights),
        )
    };
    let (unit, work): (f64, Box<dyn FnMut() -> Outcome<()>>) = match what.as_str() {
        "forward" => {
            let (model, inputs) = (model()?, batch()?);
            let work = move || model.forward(&inputs).map(drop).map_err(Into::into);
            ((ROWS * LENGTH) as f64, Box::new(work))
        }
        "vision" => {
            let encoder = VisionEncoder::new(&config.vision, &mut store, "vision_encoder")?;
            let pixels = pictures(ROWS * IMAGES)?.squeeze(1)?;
            let work = move || encoder.forward(&pixels).map(drop).map_err(Into::into);
            ((ROWS * IMAGES) as f64, Box::new(work))
        }
        "perceiver" => {
            let resampler = Resampler::new(&config.resampler, 768, &mut store, "perceiver.")?;
            let count = ROWS * IMAGES * 49 * 768;
            let values = (0..count).map(|at| (at as f32 * 0.37).sin());
            let shape = (ROWS, IMAGES, 1, 49, 768);
            let patches = Tensor::from_vec(values.collect::<Vec<f32>>(), shape, &Device::Cpu)?;
            let work = move || resampler.forward(&patches).map(drop).map_err(Into::into);
            ((ROWS * IMAGES) as f64, Box::new(work))
        }
        "generate" | "beam" => {
            let (model, pixels) = (model()?, pictures(IMAGES)?);
            let prompt = tokens(0, PROMPT, PROMPT / IMAGES);
            let options = GenerateOptions {
                max_new_tokens: NEW_TOKENS,
                beams: if what == "beam" { 3 } else { 1 },
                stop_tokens: Some(vec![]),
                ..GenerateOptions::default()
            };
            let work = move || {
                let found = generate(&model, &prompt, Some(&pixels), &options, |_| {})?;
                assert_eq!(found.len(), NEW_TOKENS);
                Ok(())
            };
            (NEW_TOKENS as f64, Box::new(work))
        }
        "train" | "train-recomputing" => {
            let options = TrainConfig {
                trainable: vec![Group::Resampler, Group::GatedXattn, Group::Embeddings],
                gradient_checkpointing: what == "train-recomputing",
                ..TrainConfig::default()
            };
            let (mut trainer, inputs) = (Trainer::new(model()?, options)?, batch()?);
            let work = move || {
                trainer
                    .step(&[(&inputs, 1.0)])
                    .map(drop)
                    .map_err(Into::into)
            };
            ((ROWS * LENGTH) as f64, Box::new(work))
        }
        other => return Err(format!("`{other}` is not measured here").into()),
    };
    measure(&what, unit, repetitions, work)
}

/// Time of all processors for this program, which other programs disturb less than the clock.
fn processor_seconds() -> f64 {
    /// The kernel's unit of such times, on every Linux.
    const TICKS_PER_SECOND: f64 = 100.0;
    let status = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is a name in parentheses, which may hold spaces; times are numbers 14 and 15.
    let fields = status.rsplit(')').next().unwrap_or_default();
    let times = fields.split_whitespace().skip(11).take(2);
    times
        .filter_map(|ticks| ticks.parse::<f64>().ok())
        .sum::<f64>()
        / TICKS_PER_SECOND
}

fn measure(
    what: &str,
    unit: f64,
    repetitions: usize,
    mut work: impl FnMut() -> Outcome<()>,
) -> Outcome<()> {
    // The first one also touches memory for the first time.
    work()?;
    let processor = processor_seconds();
    let mut seconds = Vec::with_capacity(repetitions);
    for _ in 0..repetitions.max(1) {
        let start = Instant::now();
        work()?;
        seconds.push(start.elapsed().as_secs_f64());
    }
    seconds.sort_by(f64::total_cmp);
    let processor = (processor_seconds() - processor) / seconds.len() as f64;
    let median = seconds[seconds.len() / 2];
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let memory = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    println!(
        "{what}: median {median:.3} s, {:.2} units a second, processors {processor:.2} s each, most \
         memory {}",
        unit / median,
        memory.unwrap_or("unknown").trim()
    );
    Ok(())
}
