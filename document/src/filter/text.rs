//! Judgements on a document's words.

use serde::{Deserialize, Serialize};

use crate::{Document, Reason, Verdict};

/// Thresholds for a document's text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Fewest words in all texts together. The default only drops pages that say nothing.
    pub min_words: usize,
    /// Most words (MassiveText's upper bound: Rae et al. 2021, table A1).
    pub max_words: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_words: 10,
            max_words: 100_000,
        }
    }
}

/// Whether a document stays, by its words alone; runs before any image is fetched.
#[must_use]
pub fn verdict<I>(document: &Document<I>, config: &Config) -> Verdict {
    let words = document.word_count();
    #[expect(
        clippy::cast_precision_loss,
        reason = "a measurement to be read by people"
    )]
    let measured = |name, threshold: usize| {
        Verdict::Drop(Reason::measured(name, words as f64, threshold as f64))
    };
    if words < config.min_words {
        return measured("filter/too-few-words", config.min_words);
    }
    if words > config.max_words {
        return measured("filter/too-many-words", config.max_words);
    }
    Verdict::Keep
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::{Element, ImageRef, Text};

    #[test]
    fn words_of_all_texts_count_together() {
        let mut document = Document::<ImageRef>::new(Url::parse("https://example.org/").unwrap());
        document.elements = vec![
            Element::Text(Text::paragraph("one two\nthree")),
            Element::Text(Text::caption("four")),
        ];
        let at_least = |min_words| Config {
            min_words,
            ..Config::default()
        };
        assert_eq!(verdict(&document, &at_least(4)), Verdict::Keep);
        assert_eq!(
            verdict(&document, &at_least(5)),
            Verdict::Drop(Reason::measured("filter/too-few-words", 4.0, 5.0))
        );
    }
}
