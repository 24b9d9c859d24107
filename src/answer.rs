//! Asking a trained model to go on from pictures and words.

use std::path::Path;

use anyhow::{Context, Result, bail};
use candle_core::{Device, Tensor};
use m3w_model::{GenerateOptions, generate};
use m3w_shards::picture_pixels;

use crate::trainer::TrainedModel;

/// What stands for a picture in a prompt.
const IMAGE_MARK: &str = "<image>";

/// Continues a prompt with pictures.
///
/// Each `<image>` in `prompt` is the next of `pictures`; a prompt without any begins with all of
/// them. Pictures are scaled and normalised as in training. `on_text` receives the words so far
/// each time one is added.
///
/// # Errors
///
/// If a picture cannot be decoded, or the prompt names another number of pictures.
pub fn answer(
    trained: &TrainedModel,
    pictures: &[impl AsRef<Path>],
    prompt: &str,
    options: &GenerateOptions,
    mut on_text: impl FnMut(&str),
) -> Result<String> {
    let tokenizer = &trained.tokenizer;
    let tokens = prompt_tokens(trained, pictures.len(), prompt)?;
    let mut pixels = Vec::new();
    for path in pictures {
        let path = path.as_ref();
        let bytes = std::fs::read(path)
            .with_context(|| format!("cannot read the picture {}", path.display()))?;
        let picture = picture_pixels(&bytes, &trained.loader)
            .map_err(|reason| anyhow::anyhow!("{} cannot be used: {reason}", path.display()))?;
        pixels.extend(picture);
    }
    let side = trained.loader.image_side_px as usize;
    let shape = [pictures.len(), 1, 3, side, side];
    let pixels = (!pictures.is_empty())
        .then(|| Tensor::from_vec(pixels, &shape[..], &Device::Cpu))
        .transpose()?;
    let mut generated = Vec::new();
    generate(&trained.model, &tokens, pixels.as_ref(), options, |token| {
        generated.push(token);
        if let Ok(text) = tokenizer.decode(&generated) {
            on_text(&text);
        }
    })?;
    Ok(tokenizer.decode(&generated)?)
}

/// The prompt as ids, `<EOC>` before each picture as in training.
fn prompt_tokens(trained: &TrainedModel, pictures: usize, prompt: &str) -> Result<Vec<u32>> {
    let tokenizer = &trained.tokenizer;
    let picture = [tokenizer.eoc_id(), tokenizer.image_id()];
    let pieces: Vec<&str> = prompt.split(IMAGE_MARK).collect();
    let marks = pieces.len() - 1;
    if marks > 0 && marks != pictures {
        bail!("the prompt has {marks} `{IMAGE_MARK}`, and {pictures} pictures were given");
    }
    let mut tokens = Vec::new();
    if marks == 0 {
        tokens.extend(picture.repeat(pictures));
    }
    for (index, piece) in pieces.into_iter().enumerate() {
        if index > 0 {
            tokens.extend(picture);
        }
        tokens.extend(tokenizer.encode_text(piece)?);
    }
    if tokens.is_empty() {
        bail!("there is nothing to go on from: give --prompt or --image");
    }
    Ok(tokens)
}
