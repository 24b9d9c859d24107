//! Measures what ranking many candidates behind one prompt costs, beside reading the prompt once and
//! the candidates' tokens once.
//!
//! `cargo run --release -p m3w-model --example ranking_cost -- [CANDIDATES]`: a decoder of GPT-2's shape
//! and size with gated blocks before layers 4, 8 and 12, a CLIP ViT-B/32 and a resampler of 6 layers,
//! all weights random; a prompt of 64 tokens with 5 pictures, and 1,000 candidates of 1 to 4 tokens.
//! Prints processor seconds.
#![expect(
    clippy::print_stdout,
    reason = "a command-line program prints its report"
)]

use std::error::Error;

use candle_core::{DType, Device, Tensor};
use m3w_model::{
    Config, Continuation, Flamingo, Inputs, LanguageConfig, ParameterStore, SpecialTokens,
    score_candidates,
};

const PROMPT: usize = 64;
const IMAGES: usize = 5;
const SPECIAL: SpecialTokens = SpecialTokens {
    image: 50_258,
    end_of_chunk: 50_257,
    bos: 50_256,
    eos: 50_256,
    pad: 50_259,
    around_image: None,
};

type Outcome<T> = Result<T, Box<dyn Error>>;

fn model() -> Outcome<Flamingo> {
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
    Ok(Flamingo::new(&config, SPECIAL, ParameterStore::seeded(1))?)
}

/// Tokens spread over the vocabulary by a multiplicative hash (Knuth, volume 3, 6.4).
fn token(number: usize) -> u32 {
    (number as u32).wrapping_mul(2_654_435_761) % 50_256
}

fn main() -> Outcome<()> {
    m3w_model::keep_freed_memory();
    let count: usize = match std::env::args().nth(1) {
        Some(count) => count.parse()?,
        None => 1000,
    };
    let model = model()?;
    let mut prompt: Vec<u32> = (0..PROMPT).map(token).collect();
    for image in 0..IMAGES {
        prompt[image * PROMPT / IMAGES] = SPECIAL.image;
    }
    let pixels = 3 * 224 * 224 * IMAGES;
    let pixels: Vec<f32> = (0..pixels).map(|at| (at as f32 * 0.37).sin()).collect();
    let pixels = Tensor::from_vec(pixels, vec![1, IMAGES, 1, 3, 224, 224], &Device::Cpu)?;
    let candidates: Vec<Vec<u32>> = (0..count)
        .map(|number| (0..=number % 4).map(|at| token(number * 7 + at)).collect())
        .collect();
    let prompts = [prompt];
    // The first one also touches memory for the first time.
    Continuation::start(&model, &prompts, Some(&pixels))?;
    let context = seconds_of(|| Continuation::start(&model, &prompts, Some(&pixels)).map(drop))?;
    let tokens = seconds_of(|| read(&model, &candidates))?;
    let ranking =
        seconds_of(|| score_candidates(&model, &prompts, Some(&pixels), &candidates).map(drop))?;
    println!(
        "prompt {context:.2} s, tokens of {count} candidates {tokens:.2} s, ranking {ranking:.2} s: \
         {:.2} times both",
        ranking / (context + tokens)
    );
    Ok(())
}

/// Reads the candidates as texts of their own, 64 of one length at a time, with scores of all tokens.
fn read(model: &Flamingo, candidates: &[Vec<u32>]) -> m3w_model::Result<()> {
    let longest = candidates.iter().map(Vec::len).max().unwrap_or_default();
    for length in 1..=longest {
        let same: Vec<&Vec<u32>> = candidates
            .iter()
            .filter(|row| row.len() == length)
            .collect();
        for rows in same.chunks(64) {
            let tokens: Vec<u32> = rows.iter().flat_map(|row| row.iter().copied()).collect();
            let tokens = Tensor::from_vec(tokens, (rows.len(), length), &Device::Cpu)?;
            let shape = (rows.len(), 1, 1, 3 * 224 * 224);
            let nothing = Tensor::zeros(shape, DType::F32, &Device::Cpu)?;
            let nothing = nothing.reshape(vec![rows.len(), 1, 1, 3, 224, 224])?;
            model.forward(&Inputs::new(tokens, None, nothing, None)?)?;
        }
    }
    Ok(())
}

/// Time of all processors for a piece of work, which other programs disturb less than the clock.
fn seconds_of(work: impl FnOnce() -> m3w_model::Result<()>) -> Outcome<f64> {
    let before = processor_seconds();
    work()?;
    Ok(processor_seconds() - before)
}

fn processor_seconds() -> f64 {
    /// The kernel's unit of such times, on every Linux.
    const TICKS_PER_SECOND: f64 = 100.0;
    let status = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field is a name in parentheses, which may hold spaces; times are numbers 14 and 15.
    let fields = status.rsplit(')').next().unwrap_or_default();
    let times = fields.split_whitespace().skip(11).take(2);
    let ticks = times.filter_map(|ticks| ticks.parse::<f64>().ok());
    ticks.sum::<f64>() / TICKS_PER_SECOND
}
