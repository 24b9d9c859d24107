//! Asking a trained model to go on from pictures and words.

use std::path::Path;

use anyhow::{Result, bail};
use m3w_model::{GenerateOptions, generate_batch};

use crate::prompt::{Piece, PromptTokens, check_media};
use crate::trained::TrainedModel;

/// What stands for a picture in a prompt.
const IMAGE_MARK: &str = "<image>";

/// Continues a prompt with pictures.
///
/// Each `<image>` in `prompt` is the next of `pictures`; a prompt without any begins with all of
/// them. Otherwise as [`answer_pieces`].
///
/// # Errors
///
/// If a picture cannot be decoded, or the prompt names another number of pictures.
pub fn answer(
    trained: &TrainedModel,
    pictures: &[impl AsRef<Path>],
    prompt: &str,
    options: &GenerateOptions,
    on_text: impl FnMut(&str) + Send,
) -> Result<String> {
    answer_pieces(trained, &pieces(pictures, prompt)?, options, on_text)
}

/// Continues pictures, clips and words in the order they are given.
///
/// Pictures and frames are scaled and normalised as in training. `on_text` receives the words so far each
/// time one is added.
///
/// # Errors
///
/// If a picture or video cannot be decoded, there are more of them than [`MAX_MEDIA`], or there is
/// nothing to go on from.
///
/// [`MAX_MEDIA`]: crate::prompt::MAX_MEDIA
pub fn answer_pieces(
    trained: &TrainedModel,
    pieces: &[Piece],
    options: &GenerateOptions,
    on_text: impl FnMut(&str) + Send,
) -> Result<String> {
    Ok(answer_told(trained, pieces, options, on_text)?.text)
}

/// An answer, and how it came to its end.
pub(crate) struct Answer {
    /// Its words.
    pub(crate) text: String,
    /// Tokens of the prompt.
    pub(crate) prompt_tokens: usize,
    /// Its tokens, without the one that ended it.
    pub(crate) tokens: usize,
    /// Whether there was no room for more, rather than nothing more to say.
    pub(crate) is_cut: bool,
}

/// As [`answer_pieces`], with what a client of a server wants to know.
pub(crate) fn answer_told(
    trained: &TrainedModel,
    pieces: &[Piece],
    options: &GenerateOptions,
    mut on_text: impl FnMut(&str) + Send,
) -> Result<Answer> {
    let tokenizer = &trained.tokenizer;
    check_media(pieces)?;
    let prompts = [prompt_tokens(trained, pieces)?];
    let pixels = trained.pixels(pieces)?;
    let pixels = pixels.map(|pixels| pixels.unsqueeze(0)).transpose()?;
    let mut said = Vec::new();
    let generated = generate_batch(
        &trained.model,
        &prompts,
        pixels.as_ref(),
        options,
        |_, token| {
            said.push(token);
            if let Ok(text) = tokenizer.decode(&said) {
                on_text(&text);
            }
        },
    )?;
    let [prompt] = prompts;
    Ok(Answer {
        text: tokenizer.decode(&said)?,
        prompt_tokens: prompt.len(),
        tokens: said.len(),
        is_cut: generated.iter().any(|generated| generated.stop.is_none()),
    })
}

/// A prompt with marks as pictures and words in their order.
fn pieces(pictures: &[impl AsRef<Path>], prompt: &str) -> Result<Vec<Piece>> {
    let texts: Vec<&str> = prompt.split(IMAGE_MARK).collect();
    let marks = texts.len() - 1;
    if marks > 0 && marks != pictures.len() {
        bail!(
            "the prompt has {marks} `{IMAGE_MARK}`, and {} pictures were given",
            pictures.len()
        );
    }
    let mut pictures = pictures
        .iter()
        .map(|path| Piece::Picture(path.as_ref().to_owned()));
    let mut pieces = Vec::new();
    if marks == 0 {
        pieces.extend(pictures.by_ref());
    }
    for (index, text) in texts.into_iter().enumerate() {
        if index > 0 {
            pieces.extend(pictures.next());
        }
        if !text.is_empty() {
            pieces.push(Piece::Text(text.to_owned()));
        }
    }
    Ok(pieces)
}

/// The prompt as ids, as rows are in training: `<BOS>` first, `<EOC>` before each picture. An imported
/// model has neither before its first picture; for Idefics see [`PromptTokens`].
pub(crate) fn prompt_tokens(trained: &TrainedModel, pieces: &[Piece]) -> Result<Vec<u32>> {
    let mut tokens = PromptTokens::begin(trained);
    for piece in pieces {
        match piece {
            Piece::Picture(_) | Piece::Sent(_) | Piece::Video(_) | Piece::Frames(_) => {
                if tokens.has_chunks() && !tokens.is_empty() {
                    tokens.end_chunk()?;
                }
                tokens.image()?;
            }
            Piece::Text(text) => tokens.text(text)?,
        }
    }
    let empty = PromptTokens::begin(trained).finish()?;
    let tokens = tokens.finish()?;
    if tokens == empty {
        bail!(
            "there is nothing to go on from: give --prompt, --prompt-file, --text, --image or --video"
        );
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(name: &str) -> Piece {
        Piece::Picture(name.into())
    }

    fn text(words: &str) -> Piece {
        Piece::Text(words.to_owned())
    }

    #[test]
    fn marks_stand_for_pictures_in_their_order() {
        let found = pieces(&["a", "b"], "<image>one<image>two").unwrap();
        assert_eq!(
            found,
            [picture("a"), text("one"), picture("b"), text("two")]
        );
        let found = pieces(&["a", "b"], "both").unwrap();
        assert_eq!(found, [picture("a"), picture("b"), text("both")]);
        let message = pieces(&["a"], "<image><image>").unwrap_err().to_string();
        assert!(
            message.contains("has 2 `<image>`, and 1 pictures"),
            "{message}"
        );
    }
}
