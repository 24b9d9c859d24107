//! Continuing text for pictures, token by token.

use candle_core::{Device, Tensor};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::flamingo::Flamingo;
use crate::inputs::last_image_before;
use crate::language::LayerCache;
use crate::{Error, Result};

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
    /// Seed of the draws.
    pub seed: u64,
}

impl Default for GenerateOptions {
    fn default() -> Self {
        Self {
            max_new_tokens: 32,
            temperature: 0.0,
            top_k: 0,
            top_p: 1.0,
            seed: 0,
        }
    }
}

/// Continues `prompt`, whose `<image>` tokens stand for the pictures or clips in `pixels`
/// (`[N, F, 3, H, W]`; `None` for text alone), and gives the new tokens.
///
/// Each new token is handed to `on_token` as soon as it is chosen. Generation ends before `<EOC>`
/// or the end of the sequence, after [`GenerateOptions::max_new_tokens`], or where the language
/// model's positions end. Padding, begin-of-sequence and `<image>` are never chosen.
///
/// Pictures are encoded once, and so are their keys and values in each gated block. The memory
/// held grows by one key and one value per layer and token.
///
/// # Errors
/// The prompt is empty or too long, or names another number of images than `pixels` holds; an
/// option makes no sense.
pub fn generate(
    model: &Flamingo,
    prompt: &[u32],
    pixels: Option<&Tensor>,
    options: &GenerateOptions,
    mut on_token: impl FnMut(u32),
) -> Result<Vec<u32>> {
    let special = *model.special_tokens();
    let images = pixels.map_or(Ok(0), |pixels| pixels.dim(0))?;
    check_options(options)?;
    check_prompt(prompt, special.image, images)?;
    let media = pixels
        .map(|pixels| model.media(&model.encode_images(pixels)?.unsqueeze(0)?))
        .transpose()?;
    let image_index = last_image_before(prompt, special.image);
    let last_index = image_index.last().copied().unwrap_or_default();
    let mut caches: Vec<LayerCache> = (0..model.language().layer_count())
        .map(|_| LayerCache::default())
        .collect();
    let mut random = ChaCha8Rng::seed_from_u64(options.seed);
    let mut fed = prompt.to_vec();
    let mut fed_index = image_index;
    let mut seen = 0;
    let mut chosen = Vec::new();
    while chosen.len() < options.max_new_tokens {
        if !chosen.is_empty() && seen + fed.len() > model.language().max_positions() {
            break;
        }
        let positions = model.positions(seen, fed.len())?;
        let mask = media
            .as_ref()
            .map(|_| model.mask(std::slice::from_ref(&fed_index), images))
            .transpose()?;
        let tokens = Tensor::from_slice(&fed, (1, fed.len()), &Device::Cpu)?;
        let here = media.as_ref().zip(mask.as_ref());
        let hidden = model.run(&tokens, &positions, here, Some(&mut caches))?;
        let last = hidden.narrow(1, fed.len() - 1, 1)?;
        let mut scores: Vec<f32> = model.language().logits(&last)?.flatten_all()?.to_vec1()?;
        for never in [special.pad, special.bos, special.image] {
            // Where one id serves as several of these, ending must stay possible.
            if never != special.eos && never != special.end_of_chunk {
                scores[never as usize] = f32::NEG_INFINITY;
            }
        }
        let token = choose(&scores, options, &mut random);
        if token == special.end_of_chunk || token == special.eos {
            break;
        }
        on_token(token);
        chosen.push(token);
        seen += fed.len();
        fed = vec![token];
        fed_index = vec![last_index];
    }
    Ok(chosen)
}

fn check_options(options: &GenerateOptions) -> Result<()> {
    let (temperature, top_p) = (options.temperature, options.top_p);
    let (setting, found, must) = if !(temperature >= 0.0 && temperature.is_finite()) {
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

fn check_prompt(prompt: &[u32], image: u32, images: usize) -> Result<()> {
    if prompt.is_empty() {
        return Err(Error::Input {
            what: "prompt",
            expected: "at least one token".to_owned(),
            found: "none".to_owned(),
        });
    }
    let named = prompt.iter().filter(|token| **token == image).count();
    if named != images {
        return Err(Error::Input {
            what: "prompt",
            expected: format!("one `<image>` for each of {images} pictures"),
            found: named.to_string(),
        });
    }
    Ok(())
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
