//! Judgements on a document's words: everything is measured, and kept; thresholds judge afterwards.
//!
//! [`measure`] writes each value into the document's scores, [`verdict`] compares scores with a
//! [`Config`] and sees nothing else, so the verdict of other thresholds can be told later from
//! what is stored. The values are those of Gopher ([`super::quality`], [`super::repetition`]),
//! FineWeb ([`super::line`]), OBELICS ([`super::obelics`]) and C4 ([`super::c4`]); the names of the
//! scores are in [`RULES`].

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::c4::C4;
use super::line::Lines;
use super::obelics::Obelics;
use super::quality::{Quality, STOP_WORDS};
use super::repetition::{FIRST_DUPLICATE, FIRST_TOP, Repetition};
use super::word_list::WordLists;
use super::words;
use crate::language;
use crate::{Document, Reason, Verdict};

/// Values by name.
pub type Scores = BTreeMap<String, f64>;

/// Thresholds for a document's text; where one is not set, its rule is not asked.
///
/// The default only drops pages that say nothing. Those of the field are in `configs/`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Languages that stay, as BCP 47 tags: `en` stands for `en-US` and all others of English.
    /// Empty: all, and those of no known language.
    pub languages: Vec<String>,
    /// Fewest words in all texts together.
    pub min_words: Option<f64>,
    /// Most words (MassiveText's upper bound: Rae et al. 2021, table A1).
    pub max_words: Option<f64>,
    /// Shortest mean length of words, in characters.
    pub min_mean_word_length: Option<f64>,
    /// Longest mean length of words, in characters.
    pub max_mean_word_length: Option<f64>,
    /// Most `#` to a word.
    pub max_hashes_per_word: Option<f64>,
    /// Most ellipses to a word.
    pub max_ellipses_per_word: Option<f64>,
    /// Largest share of lines that begin with a bullet.
    pub max_bullet_lines: Option<f64>,
    /// Largest share of lines that end with an ellipsis.
    pub max_ellipsis_lines: Option<f64>,
    /// Smallest share of words with a letter.
    pub min_alphabetic_words: Option<f64>,
    /// Fewest of the eight English stop words; not asked of other languages.
    pub min_stop_words: Option<f64>,
    /// Largest share of repeated lines.
    pub max_duplicate_lines: Option<f64>,
    /// Largest share of characters in repeated lines.
    pub max_duplicate_line_characters: Option<f64>,
    /// Largest share of repeated paragraphs.
    pub max_duplicate_paragraphs: Option<f64>,
    /// Largest share of characters in repeated paragraphs.
    pub max_duplicate_paragraph_characters: Option<f64>,
    /// Largest share of characters in the most frequent 2-gram.
    pub max_top_2_gram: Option<f64>,
    /// The same for 3-grams.
    pub max_top_3_gram: Option<f64>,
    /// The same for 4-grams.
    pub max_top_4_gram: Option<f64>,
    /// Largest share of characters in repeated 5-grams.
    pub max_duplicate_5_grams: Option<f64>,
    /// The same for 6-grams.
    pub max_duplicate_6_grams: Option<f64>,
    /// The same for 7-grams.
    pub max_duplicate_7_grams: Option<f64>,
    /// The same for 8-grams.
    pub max_duplicate_8_grams: Option<f64>,
    /// The same for 9-grams.
    pub max_duplicate_9_grams: Option<f64>,
    /// The same for 10-grams.
    pub max_duplicate_10_grams: Option<f64>,
    /// Smallest share of lines that end as a sentence does.
    pub min_sentence_ends: Option<f64>,
    /// Largest share of lines of at most 30 characters.
    pub max_short_lines: Option<f64>,
    /// Largest share of characters in repeated lines, line feeds left out.
    pub max_duplicate_characters: Option<f64>,
    /// Most line feeds to a word.
    pub max_breaks_per_word: Option<f64>,
    /// Fewest words with a letter, as OBELICS counts them.
    pub min_bare_words: Option<f64>,
    /// Most of those words.
    pub max_bare_words: Option<f64>,
    /// Largest share of frequent 10-grams of characters.
    pub max_character_repetition: Option<f64>,
    /// Largest share of 5-grams of words that occur more than once.
    pub max_word_repetition: Option<f64>,
    /// Largest share of characters that are no letters.
    pub max_special_characters: Option<f64>,
    /// Smallest share of English function words; not asked of other languages.
    pub min_stop_word_share: Option<f64>,
    /// Smallest share of marks among marks and words.
    pub min_punctuation: Option<f64>,
    /// Smallest share of lines that C4 would keep.
    pub min_c4_lines: Option<f64>,
    /// Fewest sentences in those lines.
    pub min_c4_sentences: Option<f64>,
    /// Most lines of "lorem ipsum".
    pub max_lorem_ipsum: Option<f64>,
    /// Most lines with a `{`.
    pub max_curly_brackets: Option<f64>,
    /// Files of flagged words, a word a line, by language.
    pub flagged_words: BTreeMap<String, PathBuf>,
    /// Largest share of words that they list; not asked of languages without a list.
    pub max_flagged_words: Option<f64>,
    /// Files of words of spam, in the same form.
    pub spam_words: BTreeMap<String, PathBuf>,
    /// Largest share of words that they list.
    pub max_spam_words: Option<f64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            min_words: Some(10.0),
            max_words: Some(100_000.0),
            ..Self::none()
        }
    }
}

impl Config {
    /// No rule at all.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            languages: Vec::new(),
            min_words: None,
            max_words: None,
            min_mean_word_length: None,
            max_mean_word_length: None,
            max_hashes_per_word: None,
            max_ellipses_per_word: None,
            max_bullet_lines: None,
            max_ellipsis_lines: None,
            min_alphabetic_words: None,
            min_stop_words: None,
            max_duplicate_lines: None,
            max_duplicate_line_characters: None,
            max_duplicate_paragraphs: None,
            max_duplicate_paragraph_characters: None,
            max_top_2_gram: None,
            max_top_3_gram: None,
            max_top_4_gram: None,
            max_duplicate_5_grams: None,
            max_duplicate_6_grams: None,
            max_duplicate_7_grams: None,
            max_duplicate_8_grams: None,
            max_duplicate_9_grams: None,
            max_duplicate_10_grams: None,
            min_sentence_ends: None,
            max_short_lines: None,
            max_duplicate_characters: None,
            max_breaks_per_word: None,
            min_bare_words: None,
            max_bare_words: None,
            max_character_repetition: None,
            max_word_repetition: None,
            max_special_characters: None,
            min_stop_word_share: None,
            min_punctuation: None,
            min_c4_lines: None,
            min_c4_sentences: None,
            max_lorem_ipsum: None,
            max_curly_brackets: None,
            flagged_words: BTreeMap::new(),
            max_flagged_words: None,
            spam_words: BTreeMap::new(),
            max_spam_words: None,
        }
    }
}

/// Compares one score with its threshold.
pub struct Rule {
    /// Name of the score.
    pub score: &'static str,
    /// The value may not be below, or not above, the threshold.
    pub bound: Bound,
    /// Name of the reason for which a document goes.
    pub reason: &'static str,
    threshold: fn(&Config) -> Option<f64>,
}

/// On which side of a threshold documents stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// At it and above.
    AtLeast,
    /// At it and below.
    AtMost,
}

macro_rules! rules {
    ($($bound:ident $threshold:ident $score:literal $reason:literal,)*) => {
        /// Every rule, in the order in which they are asked.
        pub const RULES: &[Rule] = &[$(Rule {
            score: $score,
            bound: Bound::$bound,
            reason: $reason,
            threshold: |config| config.$threshold,
        }),*];
    };
}

rules! {
    AtLeast min_words "words" "filter/too-few-words",
    AtMost max_words "words" "filter/too-many-words",
    AtLeast min_mean_word_length "mean_word_length" "filter/short-words",
    AtMost max_mean_word_length "mean_word_length" "filter/long-words",
    AtMost max_hashes_per_word "hashes_per_word" "filter/hashes",
    AtMost max_ellipses_per_word "ellipses_per_word" "filter/ellipses",
    AtMost max_bullet_lines "bullet_lines" "filter/bullet-lines",
    AtMost max_ellipsis_lines "ellipsis_lines" "filter/ellipsis-lines",
    AtLeast min_alphabetic_words "alphabetic_words" "filter/few-letters",
    AtLeast min_stop_words "stop_words" "filter/few-stop-words",
    AtMost max_duplicate_paragraphs "duplicate_paragraphs" "filter/duplicate-paragraphs",
    AtMost max_duplicate_paragraph_characters "duplicate_paragraph_characters"
        "filter/duplicate-paragraphs",
    AtMost max_duplicate_lines "duplicate_lines" "filter/duplicate-lines",
    AtMost max_duplicate_line_characters "duplicate_line_characters" "filter/duplicate-lines",
    AtMost max_top_2_gram "top_2_gram" "filter/top-2-gram",
    AtMost max_top_3_gram "top_3_gram" "filter/top-3-gram",
    AtMost max_top_4_gram "top_4_gram" "filter/top-4-gram",
    AtMost max_duplicate_5_grams "duplicate_5_grams" "filter/duplicate-5-grams",
    AtMost max_duplicate_6_grams "duplicate_6_grams" "filter/duplicate-6-grams",
    AtMost max_duplicate_7_grams "duplicate_7_grams" "filter/duplicate-7-grams",
    AtMost max_duplicate_8_grams "duplicate_8_grams" "filter/duplicate-8-grams",
    AtMost max_duplicate_9_grams "duplicate_9_grams" "filter/duplicate-9-grams",
    AtMost max_duplicate_10_grams "duplicate_10_grams" "filter/duplicate-10-grams",
    AtLeast min_sentence_ends "sentence_ends" "filter/few-sentences",
    AtMost max_short_lines "short_lines" "filter/short-lines",
    AtMost max_duplicate_characters "duplicate_characters" "filter/duplicate-characters",
    AtMost max_breaks_per_word "breaks_per_word" "filter/line-breaks",
    AtLeast min_bare_words "bare_words" "filter/too-few-words",
    AtMost max_bare_words "bare_words" "filter/too-many-words",
    AtMost max_character_repetition "character_repetition" "filter/character-repetition",
    AtMost max_word_repetition "word_repetition" "filter/word-repetition",
    AtMost max_special_characters "special_characters" "filter/special-characters",
    AtLeast min_stop_word_share "stop_word_share" "filter/few-stop-words",
    AtLeast min_punctuation "punctuation" "filter/few-marks",
    AtMost max_lorem_ipsum "lorem_ipsum" "filter/lorem-ipsum",
    AtMost max_curly_brackets "curly_brackets" "filter/curly-brackets",
    AtLeast min_c4_lines "c4_lines" "filter/c4-lines",
    AtLeast min_c4_sentences "c4_sentences" "filter/c4-sentences",
    AtMost max_flagged_words "flagged_words" "filter/flagged-words",
    AtMost max_spam_words "spam_words" "filter/spam-words",
}

/// Measures all texts of a document, parted by empty lines, into its scores, and tells its language
/// where the words say it more surely than what the page declares. Words of `lists` are counted where
/// there is one for that language.
pub fn measure<I>(document: &mut Document<I>, lists: &WordLists) {
    let mut text = String::new();
    for part in document.texts() {
        if !text.is_empty() {
            text.push_str("\n\n");
        }
        text.push_str(&part.content);
    }
    let words = words(&text);
    let quality = Quality::of(&text, &words, &STOP_WORDS);
    let repetition = Repetition::of(&text, &words);
    let lines = Lines::of(&text, words.len());
    let mut put = |name: &str, value: f64| document.scores.insert(name.to_owned(), value);
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let counts = [quality.words as f64, quality.stop_words as f64];
    put("words", counts[0]);
    put("stop_words", counts[1]);
    put("mean_word_length", quality.mean_word_length);
    put("hashes_per_word", quality.hashes_per_word);
    put("ellipses_per_word", quality.ellipses_per_word);
    put("bullet_lines", quality.bullet_lines);
    put("ellipsis_lines", quality.ellipsis_lines);
    put("alphabetic_words", quality.alphabetic_words);
    put("duplicate_lines", repetition.duplicate_lines);
    put(
        "duplicate_line_characters",
        repetition.duplicate_line_characters,
    );
    put("duplicate_paragraphs", repetition.duplicate_paragraphs);
    put(
        "duplicate_paragraph_characters",
        repetition.duplicate_paragraph_characters,
    );
    for (n, value) in (FIRST_TOP..).zip(repetition.top_ngrams) {
        put(&format!("top_{n}_gram"), value);
    }
    for (n, value) in (FIRST_DUPLICATE..).zip(repetition.duplicate_ngrams) {
        put(&format!("duplicate_{n}_grams"), value);
    }
    put("sentence_ends", lines.sentence_ends);
    put("short_lines", lines.short);
    put("duplicate_characters", lines.duplicate_characters);
    put("breaks_per_word", lines.breaks_per_word);
    let obelics = Obelics::of(&text);
    put("character_repetition", obelics.character_repetition);
    put("word_repetition", obelics.word_repetition);
    put("special_characters", obelics.special_characters);
    put("stop_word_share", obelics.stop_words);
    put("punctuation", obelics.punctuation);
    let c4 = C4::of(&text);
    put("c4_lines", c4.lines);
    for (name, count) in [
        ("bare_words", obelics.words),
        ("c4_sentences", c4.sentences),
        ("lorem_ipsum", c4.lorem_ipsum),
        ("curly_brackets", c4.curly_brackets),
    ] {
        #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
        put(name, count as f64);
    }
    if let Some(told) = language::identify(&text) {
        put("language_confidence", told.confidence);
        if told.is_reliable {
            document.language = Some(language::agreed(document.language.as_deref(), told.tag));
        }
    }
    for (name, value) in lists.scores(&text, document.language.as_deref()) {
        document.scores.insert(name.to_owned(), value);
    }
}

/// Whether a document stays, by what was measured alone; runs before any image is fetched.
///
/// A score that is not there breaks no rule: it was stored before the rule was known.
#[must_use]
pub fn verdict(scores: &Scores, language: Option<&str>, config: &Config) -> Verdict {
    let is_wanted =
        |wanted: &String| language.is_some_and(|language| language::is_within(language, wanted));
    if !config.languages.is_empty() && !config.languages.iter().any(is_wanted) {
        return Verdict::Drop(Reason::new("filter/language"));
    }
    let is_other = language.is_some_and(|language| !language::is_within(language, "en"));
    for rule in RULES {
        let threshold = (rule.threshold)(config);
        let (Some(threshold), Some(&value)) = (threshold, scores.get(rule.score)) else {
            continue;
        };
        if matches!(rule.score, "stop_words" | "stop_word_share") && is_other {
            continue;
        }
        let is_broken = match rule.bound {
            Bound::AtLeast => value < threshold,
            Bound::AtMost => value > threshold,
        };
        if is_broken {
            return Verdict::Drop(Reason::measured(rule.reason, value, threshold));
        }
    }
    Verdict::Keep
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;
    use crate::{Element, ImageRef, Text};

    fn document(texts: &[&str]) -> Document<ImageRef> {
        let mut document = Document::new(Url::parse("https://example.org/").unwrap());
        let texts = texts.iter().copied().map(Text::paragraph);
        document.elements = texts.map(Element::Text).collect();
        document
    }

    #[test]
    fn words_of_all_texts_count_together() {
        let mut document = document(&["one two\nthree", "four"]);
        measure(&mut document, &WordLists::default());
        let at_least = |min_words| Config {
            min_words: Some(min_words),
            ..Config::default()
        };
        let verdict = |config| verdict(&document.scores, None, &config);
        assert_eq!(verdict(at_least(4.0)), Verdict::Keep);
        assert_eq!(
            verdict(at_least(5.0)),
            Verdict::Drop(Reason::measured("filter/too-few-words", 4.0, 5.0))
        );
    }

    #[test]
    fn every_rule_has_a_score_that_is_measured_and_a_threshold_that_is_asked() {
        let mut document = document(&["a"]);
        document.language = Some("en".to_owned());
        let mut lists = WordLists::default();
        lists.flagged.add("en", ["a"]).unwrap();
        lists.spam.add("en", ["b"]).unwrap();
        measure(&mut document, &lists);
        for rule in RULES {
            assert!(document.scores.contains_key(rule.score), "{}", rule.score);
            let prefix = match rule.bound {
                Bound::AtLeast => "min",
                Bound::AtMost => "max",
            };
            let key = format!("{prefix}_{}", rule.score);
            let broken = match rule.bound {
                Bound::AtLeast => 1e9,
                Bound::AtMost => -1.0,
            };
            let config = serde_json::json!({ "min_words": null, "max_words": null, key: broken });
            let config: Config = serde_json::from_value(config).unwrap();
            let reason = verdict(&document.scores, None, &config).reason().unwrap();
            assert_eq!(reason.name, rule.reason);
            assert_eq!(reason.threshold, Some(broken));
        }
    }

    #[test]
    fn only_wanted_languages_stay() {
        let english = Config {
            languages: vec!["en".to_owned()],
            ..Config::none()
        };
        let judged = |language| verdict(&Scores::new(), language, &english);
        assert_eq!(judged(Some("en-US")), Verdict::Keep);
        assert_eq!(judged(Some("EN")), Verdict::Keep);
        for other in [None, Some("de"), Some("enm")] {
            assert_eq!(judged(other), Verdict::Drop(Reason::new("filter/language")));
        }
    }
}
