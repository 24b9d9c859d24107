//! A prompt's token ids, with what a model wants around pictures and between texts.

use anyhow::Result;
use m3w_model::SpecialTokens;
use m3w_shards::Tokenizer;

use crate::trained::TrainedModel;

/// A prompt's token ids, written piece by piece.
///
/// What was trained here begins with `<BOS>`. Idefics does too, has `<fake_token_around_image>` before and
/// behind each picture, once between two of them, and reads texts that follow each other as one, or, where
/// it was taught to talk, with `<end_of_utterance>` between (`processing_idefics.py` of `transformers`).
pub struct PromptTokens<'a> {
    tokenizer: &'a Tokenizer,
    special: SpecialTokens,
    tokens: Vec<u32>,
    /// Words of an Idefics that more words may follow.
    pending: String,
}

impl<'a> PromptTokens<'a> {
    /// The beginning of a prompt for this model.
    #[must_use]
    pub fn begin(trained: &'a TrainedModel) -> Self {
        let special = *trained.model.special_tokens();
        let begins = trained.begins_as_rows() || special.around_image.is_some();
        Self {
            tokenizer: &trained.tokenizer,
            special,
            tokens: begins.then_some(special.bos).into_iter().collect(),
            pending: String::new(),
        }
    }

    /// Whether nothing stands there yet.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.pending.is_empty()
    }

    /// Whether chunks end with a token of their own: `<EOC>`, but for Idefics.
    #[must_use]
    pub fn has_chunks(&self) -> bool {
        self.special.around_image.is_none()
    }

    /// A picture or clip.
    ///
    /// # Errors
    ///
    /// If the tokenizer fails on the words before it.
    pub fn image(&mut self) -> Result<()> {
        self.settle()?;
        let Some(around) = self.special.around_image else {
            self.tokens.push(self.special.image);
            return Ok(());
        };
        if self.tokens.last() != Some(&around) {
            self.tokens.push(around);
        }
        self.tokens.extend([self.special.image, around]);
        Ok(())
    }

    /// Words.
    ///
    /// # Errors
    ///
    /// If the tokenizer fails.
    pub fn text(&mut self, text: &str) -> Result<()> {
        if self.has_chunks() || text.is_empty() {
            self.tokens.extend(self.tokenizer.encode_text(text)?);
            return Ok(());
        }
        if let Some(mark) = self.utterance_mark()? {
            // Words behind words are another utterance, said or not.
            if !self.pending.is_empty() && !text.starts_with(&mark) {
                self.end_utterance()?;
            }
            let mut parts = text.split(&mark);
            self.pending.push_str(parts.next().unwrap_or_default());
            for part in parts {
                self.end_utterance()?;
                self.pending.push_str(part);
            }
            return Ok(());
        }
        self.pending.push_str(text);
        Ok(())
    }

    /// The end of an example, behind which another follows: `<EOC>`; for Idefics the end of an utterance or
    /// of a line.
    ///
    /// # Errors
    ///
    /// If the tokenizer fails.
    pub fn end_chunk(&mut self) -> Result<()> {
        if self.has_chunks() {
            self.tokens.push(self.special.end_of_chunk);
        } else if self.utterance_mark()?.is_some() {
            self.end_utterance()?;
        } else {
            self.pending.push('\n');
        }
        Ok(())
    }

    /// The ids.
    ///
    /// # Errors
    ///
    /// If the tokenizer fails on the last words.
    pub fn finish(mut self) -> Result<Vec<u32>> {
        self.settle()?;
        Ok(self.tokens)
    }

    /// The ids of words behind a prompt. Idefics' tokenizer puts a space before words by itself.
    ///
    /// # Errors
    ///
    /// If the tokenizer fails.
    pub fn behind(trained: &TrainedModel, text: &str) -> Result<Vec<u32>> {
        let text = match trained.model.special_tokens().around_image {
            Some(_) => text.trim_matches(' '),
            None => text,
        };
        Ok(trained.tokenizer.encode_text(text)?)
    }

    /// How `<end_of_utterance>` is spelt, where a model has it.
    fn utterance_mark(&self) -> Result<Option<String>> {
        let end = self.special.end_of_chunk;
        if end == self.special.eos {
            return Ok(None);
        }
        Ok(Some(self.tokenizer.decode(&[end])?))
    }

    fn end_utterance(&mut self) -> Result<()> {
        self.settle()?;
        self.tokens.push(self.special.end_of_chunk);
        Ok(())
    }

    /// Encodes words that are whole. Spaces around them are none of them, as in the reference.
    fn settle(&mut self) -> Result<()> {
        let text = std::mem::take(&mut self.pending);
        let text = text.trim_matches(' ');
        if !text.is_empty() {
            self.tokens.extend(self.tokenizer.encode_text(text)?);
        }
        Ok(())
    }
}
