//! Closed questions to a model: which of these words are the likeliest?

use anyhow::{Result, bail};
use candle_core::{Device, Tensor};
use m3w::model::score_candidates;
use m3w::shards::picture_pixels;
use m3w::trained::{Pictures, TrainedModel};

/// Questions that are put at once.
const AT_ONCE: usize = 32;

/// Pictures, each but the last with its words, and the last one's words to be told.
pub(crate) struct Question {
    shown: Vec<(Vec<u8>, String)>,
    asked: Vec<u8>,
}

impl Question {
    /// What does this drawing show, behind examples?
    pub(crate) fn behind(shown: Vec<(Vec<u8>, String)>, asked: Vec<u8>) -> Self {
        Self { shown, asked }
    }
}

/// For each question the number of the likeliest of `words`. All questions have as many pictures.
pub(crate) fn choices(
    trained: &TrainedModel,
    questions: &[Question],
    words: &[String],
) -> Result<Vec<usize>> {
    let Pictures::Loaded(loader) = &trained.pictures else {
        bail!("the model was not trained here");
    };
    let tokenizer = &trained.tokenizer;
    let (chunk, image) = (tokenizer.eoc_id(), tokenizer.image_id());
    // The end of the chunk counts too: `square` must not win where `squares` is shown.
    let candidates = words.iter().map(|words| {
        let mut tokens = tokenizer.encode_text(words)?;
        tokens.push(chunk);
        Ok(tokens)
    });
    let candidates = candidates.collect::<Result<Vec<Vec<u32>>>>()?;
    let mut chosen = Vec::with_capacity(questions.len());
    for questions in questions.chunks(AT_ONCE) {
        let mut prompts = Vec::new();
        let mut pixels = Vec::new();
        let mut pictures = 0;
        for question in questions {
            // As rows begin.
            let mut tokens = vec![tokenizer.bos_id()];
            for (picture, words) in &question.shown {
                tokens.extend([chunk, image]);
                tokens.extend(tokenizer.encode_text(words)?);
                pixels.extend(picture_pixels(picture, loader).map_err(anyhow::Error::msg)?);
            }
            tokens.extend([chunk, image]);
            pixels.extend(picture_pixels(&question.asked, loader).map_err(anyhow::Error::msg)?);
            pictures = question.shown.len() + 1;
            prompts.push(tokens);
        }
        let side = loader.image_side_px as usize;
        let shape = [questions.len(), pictures, 1, 3, side, side];
        let pixels = Tensor::from_vec(pixels, &shape, &Device::Cpu)?;
        for scores in score_candidates(&trained.model, &prompts, Some(&pixels), &candidates)? {
            let sums = scores.iter().map(|tokens| tokens.iter().sum::<f32>());
            let best = sums
                .enumerate()
                .max_by(|one, other| one.1.total_cmp(&other.1));
            chosen.push(best.map_or(0, |(index, _)| index));
        }
    }
    Ok(chosen)
}
