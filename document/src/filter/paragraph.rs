//! Judgements on single texts of a document, as OBELICS asks them of its paragraphs.
//!
//! Source: Laurençon et al. 2023 (arXiv 2306.16527, appendix A) and the program that made the corpus
//! (huggingface/OBELICS, the checks on "node level"). It asks them of every text of a page, headings
//! and captions too, and so is it here. What is measured are [`Obelics`]' values of that text alone.
//! Marks are asked only where a text has [`FEWEST_TOKENS`] marks and words. The document is measured
//! again without what went, before its own thresholds are asked.

use serde::{Deserialize, Serialize};

use super::obelics::Obelics;
use super::word_list::WordLists;
use crate::language;
use crate::{Document, Element, Reason, Text, Verdict};

/// Fewest marks and runs of letters and digits in a text of which [`Config::min_punctuation`] is asked.
pub const FEWEST_TOKENS: usize = 12;

/// Thresholds for single texts; where one is not set, its rule is not asked. None is by default.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Fewest words with a letter.
    pub min_words: Option<f64>,
    /// Most words with a letter.
    pub max_words: Option<f64>,
    /// Largest share of frequent 10-grams of characters.
    pub max_character_repetition: Option<f64>,
    /// Largest share of 5-grams of words that occur more than once.
    pub max_word_repetition: Option<f64>,
    /// Largest share of characters that are no letters.
    pub max_special_characters: Option<f64>,
    /// Smallest share of English function words; not asked of other languages.
    pub min_stop_word_share: Option<f64>,
    /// Largest share of words that `filter.text.flagged_words` lists.
    pub max_flagged_words: Option<f64>,
    /// Smallest share of marks among marks and words.
    pub min_punctuation: Option<f64>,
}

/// Whether a text of a document in this language stays.
///
/// ```
/// use m3w_document::filter::paragraph::{Config, verdict};
/// use m3w_document::filter::word_list::WordLists;
/// use m3w_document::{Reason, Verdict};
///
/// let config = Config { min_words: Some(4.0), ..Config::default() };
/// let judged = verdict("Read more", Some("en"), &WordLists::default(), &config);
/// assert_eq!(judged, Verdict::Drop(Reason::measured("filter/too-few-words", 2.0, 4.0)));
/// ```
#[must_use]
pub fn verdict(text: &str, language: Option<&str>, lists: &WordLists, config: &Config) -> Verdict {
    let measured = Obelics::of(text);
    let is_other = language.is_some_and(|language| !language::is_within(language, "en"));
    let flagged = config.max_flagged_words;
    let flagged = flagged.and_then(|_| lists.flagged.share(text, language));
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let words = measured.words as f64;
    let least = [
        ("filter/too-few-words", Some(words), config.min_words),
        (
            "filter/few-stop-words",
            (!is_other).then_some(measured.stop_words),
            config.min_stop_word_share,
        ),
        (
            "filter/few-marks",
            (measured.tokens >= FEWEST_TOKENS).then_some(measured.punctuation),
            config.min_punctuation,
        ),
    ];
    let most = [
        ("filter/too-many-words", Some(words), config.max_words),
        (
            "filter/character-repetition",
            Some(measured.character_repetition),
            config.max_character_repetition,
        ),
        (
            "filter/word-repetition",
            Some(measured.word_repetition),
            config.max_word_repetition,
        ),
        (
            "filter/special-characters",
            Some(measured.special_characters),
            config.max_special_characters,
        ),
        ("filter/flagged-words", flagged, config.max_flagged_words),
    ];
    let broken = |is_most: bool| {
        move |(name, value, threshold): &(&'static str, Option<f64>, Option<f64>)| {
            let (value, threshold) = ((*value)?, (*threshold)?);
            let is_broken = if is_most {
                value > threshold
            } else {
                value < threshold
            };
            is_broken.then(|| Reason::measured(name, value, threshold))
        }
    };
    let reason = least.iter().find_map(broken(false));
    let reason = reason.or_else(|| most.iter().find_map(broken(true)));
    reason.map_or(Verdict::Keep, Verdict::Drop)
}

/// Takes the texts that do not stay out of a document: those, and why. Nothing is measured where no
/// threshold is set.
pub fn apply<I>(
    document: &mut Document<I>,
    lists: &WordLists,
    config: &Config,
) -> Vec<(Text, Reason)> {
    if *config == Config::default() {
        return Vec::new();
    }
    let language = document.language.clone();
    let mut gone = Vec::new();
    let elements = std::mem::take(&mut document.elements);
    for element in elements {
        if let Element::Text(text) = &element
            && let Some(reason) =
                verdict(&text.content, language.as_deref(), lists, config).reason()
        {
            gone.push((text.clone(), reason));
        } else {
            document.elements.push(element);
        }
    }
    gone
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    const SENTENCE: &str = "A robin sat in the snow, and it sang to us all day long.";

    fn reason(text: &str, language: &str, config: &Config) -> Option<String> {
        let mut lists = WordLists::default();
        lists.flagged.add("en", ["heck"]).unwrap();
        let judged = verdict(text, Some(language), &lists, config);
        judged.reason().map(|reason| reason.name.into_owned())
    }

    #[test]
    fn every_threshold_is_asked() {
        let text = SENTENCE;
        for (key, threshold, name) in [
            ("min_words", 15.0, "filter/too-few-words"),
            ("max_words", 13.0, "filter/too-many-words"),
            (
                "max_character_repetition",
                -1.0,
                "filter/character-repetition",
            ),
            ("max_word_repetition", -1.0, "filter/word-repetition"),
            ("max_special_characters", 0.1, "filter/special-characters"),
            ("min_stop_word_share", 0.9, "filter/few-stop-words"),
            ("max_flagged_words", -1.0, "filter/flagged-words"),
            ("min_punctuation", 0.5, "filter/few-marks"),
        ] {
            let config = serde_json::from_value(serde_json::json!({ key: threshold })).unwrap();
            assert_eq!(reason(text, "en", &config).as_deref(), Some(name), "{key}");
        }
        assert_eq!(reason(text, "en", &Config::default()), None);
    }

    #[test]
    fn short_texts_need_no_marks_and_other_languages_no_english_words() {
        let config = Config {
            min_punctuation: Some(0.1),
            min_stop_word_share: Some(0.3),
            ..Config::default()
        };
        assert_eq!(reason("The robin and the wren", "en", &config), None);
        assert_eq!(reason("Der Zaunkönig im Schnee", "de", &config), None);
        let long = "the robin and the wren ".repeat(4);
        assert_eq!(
            reason(&long, "en", &config).as_deref(),
            Some("filter/few-marks")
        );
    }

    #[test]
    fn what_goes_leaves_the_others_in_their_order() {
        let mut document = Document::<u32>::new(Url::parse("https://example.org/").unwrap());
        document.elements = vec![
            Element::Text(Text::paragraph("Read more")),
            Element::Image(1),
            Element::Text(Text::paragraph(SENTENCE)),
        ];
        let config = Config {
            min_words: Some(4.0),
            ..Config::default()
        };
        let gone = apply(&mut document, &WordLists::default(), &config);
        assert_eq!(gone.len(), 1);
        assert_eq!(gone[0].0.content, "Read more");
        assert_eq!(
            gone[0].1,
            Reason::measured("filter/too-few-words", 2.0, 4.0)
        );
        let left = [Element::Image(1), Element::Text(Text::paragraph(SENTENCE))];
        assert_eq!(document.elements, left);
    }
}
