//! Asking a trained model to go on from pictures and words.

use std::path::Path;

use anyhow::{Result, bail};
use m3w_model::{GenerateOptions, generate};

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
    mut on_text: impl FnMut(&str) + Send,
) -> Result<String> {
    let tokenizer = &trained.tokenizer;
    check_media(pieces)?;
    let tokens = prompt_tokens(trained, pieces)?;
    let pixels = trained.pixels(pieces)?;
    let mut generated = Vec::new();
    generate(&trained.model, &tokens, pixels.as_ref(), options, |token| {
        generated.push(token);
        if let Ok(text) = tokenizer.decode(&generated) {
            on_text(&text);
        }
    })?;
    Ok(tokenizer.decode(&generated)?)
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
