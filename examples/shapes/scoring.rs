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
    let scores = scores(trained, questions, words)?;
    let chosen = scores
        .iter()
        .map(|scores| likeliest(scores, 0..scores.len()));
    Ok(chosen.collect())
}

/// The number of the highest of some of these scores.
pub(crate) fn likeliest(scores: &[f32], among: impl IntoIterator<Item = usize>) -> usize {
    let among = among.into_iter();
    let best = among.max_by(|one, other| scores[*one].total_cmp(&scores[*other]));
    best.unwrap_or_default()
}

/// For each question how likely each of `words` is: the logarithm of its probability, the end of its
/// chunk included. All questions have as many pictures.
pub(crate) fn scores(
    trained: &TrainedModel,
    questions: &[Question],
    words: &[String],
) -> Result<Vec<Vec<f32>>> {
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
    let mut all = Vec::with_capacity(questions.len());
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
            all.push(scores.iter().map(|tokens| tokens.iter().sum()).collect());
        }
    }
    Ok(all)
}

/// As [`scores`], behind texts without pictures. No chunk ends there.
pub(crate) fn text_scores(
    trained: &TrainedModel,
    texts: &[String],
    words: &[String],
) -> Result<Vec<Vec<f32>>> {
    let tokenizer = &trained.tokenizer;
    let encode = |text: &String| tokenizer.encode_text(text);
    let candidates = words.iter().map(encode).collect::<Result<Vec<_>, _>>()?;
    let prompts = texts.iter().map(|text| {
        let mut tokens = vec![tokenizer.bos_id()];
        tokens.extend(encode(text)?);
        Ok(tokens)
    });
    let prompts = prompts.collect::<Result<Vec<_>>>()?;
    let mut all = Vec::with_capacity(texts.len());
    for prompts in prompts.chunks(AT_ONCE) {
        for scores in score_candidates(&trained.model, prompts, None, &candidates)? {
            all.push(scores.iter().map(|tokens| tokens.iter().sum()).collect());
        }
    }
    Ok(all)
}
