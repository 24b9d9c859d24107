//! Captions of pairs: cleaned, then judged.
//!
//! A caption that came with a picture in a list was written for something else: a search engine, a
//! shop, a news desk. [`clean`] takes out what cannot be seen in any picture, as far as a rule can
//! tell; [`verdict`] says whether enough is left. Which of it is done is a [`Config`]; white space
//! is always settled.
//!
//! What is **not** done: names of people, and places within a sentence. To find them takes a model
//! that recognises names; a list would take `Nice`, `Reading` and `Orange` out of captions that mean
//! none of the towns. Places at the ends are told by their form (`docs/decisions/0027`).

use serde::{Deserialize, Serialize};

use crate::{Reason, Verdict};

mod cues;
mod dates;
mod grams;
mod markup;
mod places;
mod signs;

pub use cues::{Cue, cues, time_ms};
pub use grams::{grams, hash};

/// Rounds of cleaning: what one uncovers (markup that was escaped twice), the next takes out.
const MAX_ROUNDS: usize = 4;

/// What is taken out of captions, and how long they may be then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Take HTML tags out and replace entities by what they stand for.
    pub strip_markup: bool,
    /// Take out URLs that begin with a scheme or `www.`.
    pub strip_urls: bool,
    /// Take out `#tags`, the word included; `#1` stays.
    pub strip_hashtags: bool,
    /// Take out dates: `2019-05-12`, `12/05/2019`, `12 May 2019`, `May 12th`, `mayo de 2019`; the
    /// weekday before and `on`, `in` or `dated` in front go with them. A year that stands alone
    /// stays: it may as well be a model or a title.
    pub strip_dates: bool,
    /// Take out places at the ends, as far as a country, a state or a news agency tells them:
    /// `PARIS, France (AP) - ` at the beginning, `in Marrakech, Morocco` or `(Turin, Italy)` at the
    /// end. A caption that is a place and nothing else stays.
    pub strip_places: bool,
    /// Fewest words; a word is what white space bounds.
    pub min_words: usize,
    /// Most words.
    pub max_words: usize,
}

impl Default for Config {
    /// Markup goes, for it is never meant to be read; any other caption stays.
    fn default() -> Self {
        Self {
            strip_markup: true,
            strip_urls: false,
            strip_hashtags: false,
            strip_dates: false,
            strip_places: false,
            min_words: 1,
            max_words: 1000,
        }
    }
}

/// The caption without what the configuration takes out; in one line, single spaces between words,
/// none at the ends. It may be empty.
///
/// ```
/// use m3w_document::caption::{Config, clean};
///
/// let config = Config { strip_dates: true, strip_hashtags: true, ..Config::default() };
/// let caption = "A robin&#39;s <b>nest</b>,\n taken on 12 May 2019 #birds";
/// assert_eq!(clean(caption, &config), "A robin's nest, taken");
/// ```
#[must_use]
pub fn clean(caption: &str, config: &Config) -> String {
    let mut text = settle(caption);
    for _ in 0..MAX_ROUNDS {
        let cleaned = clean_once(&text, config);
        if cleaned == text {
            break;
        }
        text = cleaned;
    }
    text
}

fn clean_once(text: &str, config: &Config) -> String {
    let mut text = if config.strip_markup {
        settle(&markup::strip(text))
    } else {
        text.to_owned()
    };
    let before = text.len();
    if config.strip_urls {
        text = signs::strip_urls(&text);
    }
    if config.strip_hashtags {
        text = signs::strip_hashtags(&text);
    }
    if config.strip_dates {
        text = dates::strip(&text);
    }
    if config.strip_places {
        text = places::strip(&settle(&text));
    }
    if text.len() == before {
        text
    } else {
        mend(&settle(&text))
    }
}

/// Words with one space between them; characters that control devices are no text.
fn settle(text: &str) -> String {
    let mut settled = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()) {
        if !word.is_empty() {
            if !settled.is_empty() {
                settled.push(' ');
            }
            settled.push_str(word);
        }
    }
    settled
}

/// Signs that are left over where something was taken out: empty brackets, separators at the ends,
/// spaces before a comma.
fn mend(text: &str) -> String {
    const SEPARATORS: [char; 9] = [',', ';', ':', '-', '–', '—', '|', '/', '·'];
    let text = [" ()", " (,)", " []"]
        .iter()
        .fold(text.to_owned(), |text, bracket| text.replace(bracket, ""));
    let mut words: Vec<&str> = Vec::new();
    for word in text.split(' ') {
        let is_separator = word.chars().all(|c| SEPARATORS.contains(&c));
        let follows_one = words
            .last()
            .is_none_or(|last| last.ends_with(|c: char| SEPARATORS.contains(&c)));
        if word.is_empty() || (is_separator && follows_one) {
            continue;
        }
        words.push(word);
    }
    let mut mended = String::with_capacity(text.len());
    for word in words {
        let sticks = word.starts_with([',', ';', '.', '!', '?']);
        if !mended.is_empty() && !sticks {
            mended.push(' ');
        }
        mended.push_str(word);
    }
    let ends = |c: char| c == ' ' || SEPARATORS.contains(&c);
    mended.trim_matches(ends).to_owned()
}

/// Whether a cleaned caption stays: by its number of words.
#[must_use]
pub fn verdict(caption: &str, config: &Config) -> Verdict {
    let words = caption.split(' ').filter(|word| !word.is_empty()).count();
    #[expect(
        clippy::cast_precision_loss,
        reason = "a measurement to be read by people"
    )]
    let measured = |name, threshold: usize| {
        Verdict::Drop(Reason::measured(name, words as f64, threshold as f64))
    };
    if words < config.min_words {
        return measured("caption/too-short", config.min_words);
    }
    if words > config.max_words {
        return measured("caption/too-long", config.max_words);
    }
    Verdict::Keep
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Config {
        Config {
            strip_markup: true,
            strip_urls: true,
            strip_hashtags: true,
            strip_dates: true,
            strip_places: true,
            ..Config::default()
        }
    }

    #[test]
    fn everything_that_is_asked_for_goes_and_the_rest_reads_on() {
        for (caption, expected) in [
            ("  A\tred\u{a0}kite\r\n", "A red kite"),
            ("Kite | Monday, 12 May 2019 | www.kites.test", "Kite"),
            ("A kite (12/05/2019).", "A kite."),
            ("See https://a.test/x?y=1, a kite", "See, a kite"),
            ("a&lt;br&gt;kite", "a kite"),
            ("#kite #sky", ""),
            (
                "LONDON, ENGLAND - JULY 12, 2019: A kite over the park in London, England",
                "A kite over the park",
            ),
            ("A kite, Lyon, France, 12 May 2019", "A kite"),
            ("Kite no. 7, 2019", "Kite no. 7, 2019"),
            (
                "well-known kite - over - the hill",
                "well-known kite - over - the hill",
            ),
        ] {
            assert_eq!(clean(caption, &all()), expected, "{caption}");
        }
    }

    #[test]
    fn only_white_space_changes_where_nothing_is_asked_for() {
        let config = Config {
            strip_markup: false,
            ..Config::default()
        };
        let caption = "on 12 May 2019 <b>see</b> http://a.test #tag ,";
        assert_eq!(clean(caption, &config), caption);
    }

    #[test]
    fn a_caption_stays_within_the_range_of_words_and_at_its_ends() {
        let config = Config {
            min_words: 2,
            max_words: 3,
            ..Config::default()
        };
        assert_eq!(verdict("a b", &config), Verdict::Keep);
        assert_eq!(verdict("a b c", &config), Verdict::Keep);
        assert_eq!(
            verdict("", &config),
            Verdict::Drop(Reason::measured("caption/too-short", 0.0, 2.0))
        );
        assert_eq!(
            verdict("a b c d", &config),
            Verdict::Drop(Reason::measured("caption/too-long", 4.0, 3.0))
        );
    }

    proptest::proptest! {
        #[test]
        fn any_text_becomes_one_settled_line(text in "\\PC{0,60}|[<>&#;/ a-z0-9.:-]{0,60}") {
            let cleaned = clean(&text, &all());
            proptest::prop_assert_eq!(&settle(&cleaned), &cleaned);
            proptest::prop_assert!(!cleaned.contains("http://"), "{}", cleaned);
        }
    }
}
