//! The tokens that mean something to the model.

use serde::{Deserialize, Serialize};

use crate::{Error, Result};

/// The ids of the tokens that mean something to the model; the tokenizer decides them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SpecialTokens {
    /// `<image>`: an image stands here.
    pub image: u32,
    /// `<EOC>`: end of chunk. In Idefics `<end_of_utterance>`, or, before it was taught to talk, `</s>`.
    pub end_of_chunk: u32,
    /// Begin of a sequence.
    pub bos: u32,
    /// End of a sequence.
    pub eos: u32,
    /// Fills a row behind its text.
    pub pad: u32,
    /// What stands before and behind `<image>`, once between two of them: `<fake_token_around_image>`
    /// of Idefics.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub around_image: Option<u32>,
}

impl SpecialTokens {
    /// The tokens whose embeddings are trained while the language model is frozen: those it did not
    /// have by itself.
    pub(crate) fn trained_rows(&self) -> Vec<u32> {
        let mut rows = vec![self.image];
        // Idefics' may be the language model's own.
        if self.around_image.is_none() || self.end_of_chunk != self.eos {
            rows.push(self.end_of_chunk);
        }
        rows.extend(self.around_image);
        rows.dedup();
        rows
    }

    /// Refuses ids that a table of `vocabulary` rows does not have.
    pub(crate) fn check(&self, vocabulary: usize) -> Result<()> {
        let Self {
            image,
            end_of_chunk,
            bos,
            eos,
            pad,
            around_image,
        } = *self;
        let ids = [image, end_of_chunk, bos, eos, pad].into_iter();
        match ids.chain(around_image).max() {
            Some(id) if id as usize >= vocabulary => Err(Error::Setting {
                setting: "language.vocabulary".to_owned(),
                found: vocabulary.to_string(),
                must: format!("it must be above the special token id {id}"),
            }),
            _ => Ok(()),
        }
    }
}
