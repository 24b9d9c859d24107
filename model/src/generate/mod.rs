//! Continuing text for pictures, token by token.

mod beam;
mod continuation;

use candle_core::Tensor;
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::flamingo::Flamingo;
use crate::special_tokens::SpecialTokens;
use crate::{Error, Result};

pub use continuation::{Continuation, log_probabilities};

/// Most beams: each holds the keys and values of a prompt of its own.
pub const MAX_BEAMS: usize = 1024;

/// How to choose tokens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GenerateOptions {
    /// Stop after this many tokens.
    pub max_new_tokens: usize,
    /// 0 takes the likeliest token each time; above 0, tokens are drawn from the distribution
    /// with its scores divided by this.
    pub temperature: f64,
    /// Draw only among the k likeliest tokens; 0 for all.
    pub top_k: usize,
    /// Draw only among the likeliest tokens that together have this probability; 1 for all
    /// (Holtzman et al. 2020).
    pub top_p: f64,
    /// Seed of the draws; each row of a batch draws from its own stream.
    pub seed: u64,
    /// Above 1, this many continuations are followed side by side and the best one is given
    /// (beam search; 3 in the paper), at most [`MAX_BEAMS`]. Nothing is drawn then.
    pub beams: usize,
    /// Beams are compared by the sum of their log-probabilities over their length to this power,
    /// the length that of prompt and continuation together. 0 compares sums.
    pub length_penalty: f64,
    /// Tokens that end a continuation; `None` for `<EOC>` and the end of the sequence.
    pub stop_tokens: Option<Vec<u32>>,
    /// Tokens that are never chosen; `None` for padding, begin of the sequence, `<image>` and what
    /// stands around it.
    pub banned_tokens: Option<Vec<u32>>,
}

/// A continuation.
#[derive(Debug, Clone, PartialEq)]
pub struct Generated {
    /// The new tokens, without the one that ended them.
    pub tokens: Vec<u32>,
    /// The token that ended them; `None` where there was no room for more.
    pub stop: Option<u32>,
    /// The sum of log-probabilities in nats, the ending token's included; under beam search over
    /// the length to the power of [`GenerateOptions::length_penalty`].
    pub score: f64,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_new_tokens: 32,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
            beams: 1,
            length_penalty: 0.0,
            stop_tokens: None,
            banned_tokens: None,
        }
    }
}

/// Continues `prompt`, whose `<image>` tokens stand for the pictures or clips in `pixels`
/// (`[N, F, 3, H, W]`; `None` for text alone), and gives the new tokens.
///
/// Each new token is handed to `on_token`, on another thread, as soon as it is chosen; under beam
/// search, which may change its mind, at the end. Memory and errors are those of
/// [`generate_batch`].
///
/// # Errors
/// As [`generate_batch`]; the prompt names another number of images than `pixels` holds.
pub fn generate(
    model: &Flamingo,
    prompt: &[u32],
    pixels: Option<&Tensor>,
    options: &GenerateOptions,
    mut on_token: impl FnMut(u32) + Send,
) -> Result<Vec<u32>> {
    let images = pixels.map_or(Ok(0), |pixels| pixels.dim(0))?;
    let image = model.special_tokens().image;
    let named = prompt.iter().filter(|token| **token == image).count();
    if named != images {
        return Err(Error::Input {
            what: "prompt",
            expected: format!("one `<image>` for each of {images} pictures"),
            found: named.to_string(),
        });
    }
    let pixels = pixels.map(|pixels| pixels.unsqueeze(0)).transpose()?;
    let prompts = [prompt.to_vec()];
    let generated = generate_batch(model, &prompts, pixels.as_ref(), options, |_, token| {
        on_token(token);
    })?;
    let tokens = generated.into_iter().next();
    Ok(tokens.map(|generated| generated.tokens).unwrap_or_default())
}

/// Continues each of `prompts`, which may differ in length. Their `<image>` tokens stand for the
/// pictures or clips of the same row in `pixels` (`[B, N, F, 3, H, W]`; `None` for text alone), of
/// which there may be more. Each continuation is what the prompt alone would give.
///
/// Each new token is handed to `on_token` with its row as soon as it is chosen; under beam search at
/// the end. A continuation ends before a stop token, after [`GenerateOptions::max_new_tokens`], or
/// where the language model's positions end.
///
/// Pictures are encoded once, and so are their keys and values in each gated block. The memory
/// held grows by one key and one value per layer and token of each row, times the beams.
///
/// # Errors
/// A prompt is empty or too long, or names more images than `pixels` holds; an option makes no
/// sense.
pub fn generate_batch(
    model: &Flamingo,
    prompts: &[Vec<u32>],
    pixels: Option<&Tensor>,
    options: &GenerateOptions,
    on_token: impl FnMut(usize, u32) + Send,
) -> Result<Vec<Generated>> {
    check_options(options)?;
    // On a thread of the pool: there a product is begun at once and others help where they can. From
    // outside, each of some hundred small products for a token would wait for a thread to wake up.
    rayon::scope(|_| continue_batch(model, prompts, pixels, options, on_token))
}

/// [`generate_batch`] on this thread, by options that are checked.
fn continue_batch(
    model: &Flamingo,
    prompts: &[Vec<u32>],
    pixels: Option<&Tensor>,
    options: &GenerateOptions,
    mut on_token: impl FnMut(usize, u32),
) -> Result<Vec<Generated>> {
    if prompts.is_empty() {
        return Ok(Vec::new());
    }
    if options.beams > 1 {
        let generated = beam::beam_search(model, prompts, pixels, options)?;
        for (row, generated) in generated.iter().enumerate() {
            generated
                .tokens
                .iter()
                .for_each(|token| on_token(row, *token));
        }
        return Ok(generated);
    }
    let tokens = Tokens::new(model.special_tokens(), options);
    let mut results: Vec<Generated> = prompts.iter().map(|_| Generated::default()).collect();
    let mut random: Vec<ChaCha8Rng> = (0..prompts.len())
        .map(|row| {
            let mut random = ChaCha8Rng::seed_from_u64(options.seed);
            random.set_stream(row as u64);
            random
        })
        .collect();
    let (mut continuation, scores) = Continuation::start(model, prompts, pixels)?;
    let limit = options.max_new_tokens.min(continuation.room() + 1);
    let mut scores: Vec<Vec<f32>> = scores.to_vec2()?;
    let mut going_on: Vec<usize> = (0..prompts.len()).collect();
    for step in 0..limit {
        let mut kept = Vec::new();
        let mut fed = Vec::new();
        for (place, (row, scores)) in going_on.iter().zip(&mut scores).enumerate() {
            let result = &mut results[*row];
            let total = log_sum(scores);
            tokens.ban(scores);
            let token = choose(scores, options, &mut random[*row]);
            result.score += f64::from(scores[token as usize]) - total;
            if tokens.stops.contains(&token) {
                result.stop = Some(token);
                continue;
            }
            on_token(*row, token);
            result.tokens.push(token);
            kept.push(place);
            fed.push(vec![token]);
        }
        if kept.is_empty() || step + 1 == limit {
            break;
        }
        if kept.len() < going_on.len() {
            continuation.keep(&kept)?;
            going_on = kept.iter().map(|place| going_on[*place]).collect();
        }
        scores = continuation.advance(&fed)?.squeeze(1)?.to_vec2()?;
    }
    Ok(results)
}

impl Default for Generated {
    fn default() -> Self {
        Self {
            tokens: Vec::new(),
            stop: None,
            score: 0.0,
        }
    }
}

/// The tokens that end a continuation, and those that are never chosen.
struct Tokens {
    stops: Vec<u32>,
    banned: Vec<u32>,
}

impl Tokens {
    fn new(special: &SpecialTokens, options: &GenerateOptions) -> Self {
        let SpecialTokens {
            image,
            end_of_chunk,
            bos,
            eos,
            pad,
            around_image,
        } = *special;
        let stops = options
            .stop_tokens
            .clone()
            .unwrap_or(vec![end_of_chunk, eos]);
        let mut banned = options.banned_tokens.clone().unwrap_or_else(|| {
            let around = around_image.into_iter();
            around.chain([pad, bos, image]).collect()
        });
        // Where one id serves as several of these, ending must stay possible.
        banned.retain(|token| !stops.contains(token));
        Self { stops, banned }
    }

    fn ban(&self, scores: &mut [f32]) {
        for token in &self.banned {
            if let Some(score) = scores.get_mut(*token as usize) {
                *score = f32::NEG_INFINITY;
            }
        }
    }
}

/// The logarithm of the sum of exponentials.
fn log_sum(scores: &[f32]) -> f64 {
    let most = scores.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let sum: f64 = scores
        .iter()
        .map(|score| f64::from(score - most).exp())
        .sum();
    f64::from(most) + sum.ln()
}

fn check_options(options: &GenerateOptions) -> Result<()> {
    let (temperature, top_p) = (options.temperature, options.top_p);
    let penalty = options.length_penalty;
    let (setting, found, must) = if options.beams == 0 {
        ("beams", 0.0, "it must be at least 1")
    } else if options.beams > MAX_BEAMS {
        ("beams", options.beams as f64, "it must be at most 1024")
    } else if options.beams > 1 && temperature > 0.0 {
        ("temperature", temperature, "it must be 0 under beam search")
    } else if !penalty.is_finite() {
        ("length_penalty", penalty, "it must be a number")
    } else if !(temperature >= 0.0 && temperature.is_finite()) {
        ("temperature", temperature, "it must be 0 or above")
    } else if !(top_p > 0.0 && top_p <= 1.0) {
        ("top_p", top_p, "it must lie above 0 and at most at 1")
    } else {
        return Ok(());
    };
    Err(Error::Setting {
        setting: setting.to_owned(),
        found: found.to_string(),
        must: must.to_owned(),
    })
}

/// The next token by the options; ties go to the smaller id.
fn choose(scores: &[f32], options: &GenerateOptions, random: &mut ChaCha8Rng) -> u32 {
    let mut order: Vec<usize> = (0..scores.len()).collect();
    let likelier = |a: &usize, b: &usize| scores[*b].total_cmp(&scores[*a]).then(a.cmp(b));
    if options.temperature <= 0.0 {
        return order.into_iter().min_by(likelier).unwrap_or_default() as u32;
    }
    order.sort_by(likelier);
    if options.top_k > 0 {
        order.truncate(options.top_k);
    }
    let best = f64::from(scores[order[0]]);
    let weights: Vec<f64> = order
        .iter()
        .map(|id| ((f64::from(scores[*id]) - best) / options.temperature).exp())
        .collect();
    let total: f64 = weights.iter().sum();
    let mut kept = 0.0;
    let mut count = 0;
    // The token that crosses the bound is kept, so one is always left.
    while count < weights.len() && (count == 0 || kept < options.top_p * total) {
        kept += weights[count];
        count += 1;
    }
    let mut left = random.random::<f64>() * kept;
    for (id, weight) in order[..count].iter().zip(&weights) {
        left -= weight;
        if left < 0.0 {
            return *id as u32;
        }
    }
    order[count - 1] as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(options: &GenerateOptions) -> Vec<u32> {
        let mut random = ChaCha8Rng::seed_from_u64(options.seed);
        (0..200)
            .map(|_| choose(&[1.0, 3.0, 2.0, f32::NEG_INFINITY], options, &mut random))
            .collect()
    }

    #[test]
    fn more_beams_than_memory_can_hold_are_refused() {
        for (beams, is_fine) in [
            (1, true),
            (MAX_BEAMS, true),
            (MAX_BEAMS + 1, false),
            (usize::MAX, false),
        ] {
            let options = GenerateOptions {
                beams,
                ..GenerateOptions::default()
            };
            assert_eq!(check_options(&options).is_ok(), is_fine, "{beams}");
        }
    }

    #[test]
    fn without_temperature_the_likeliest_is_taken() {
        let options = GenerateOptions::default();
        assert!(draws(&options).iter().all(|token| *token == 1));
    }

    #[test]
    fn top_k_and_top_p_bound_what_is_drawn() {
        let free = GenerateOptions {
            temperature: 1.0,
            ..GenerateOptions::default()
        };
        let ids = |options: &GenerateOptions| {
            let mut ids = draws(options);
            ids.sort_unstable();
            ids.dedup();
            ids
        };
        assert_eq!(ids(&free), [0, 1, 2]);
        let two = GenerateOptions {
            top_k: 2,
            ..free.clone()
        };
        assert_eq!(ids(&two), [1, 2]);
        // The likeliest alone has 0.67.
        let nucleus = GenerateOptions { top_p: 0.6, ..free };
        assert_eq!(ids(&nucleus), [1]);
    }

    #[test]
    fn the_same_seed_draws_the_same() {
        let options = |seed| GenerateOptions {
            temperature: 1.0,
            seed,
            ..GenerateOptions::default()
        };
        assert_eq!(draws(&options(3)), draws(&options(3)));
        assert_ne!(draws(&options(3)), draws(&options(4)));
    }
}
