//! The language of a text, told from its letters.
//!
//! The model of the `whatlang` crate: trigrams of 70 languages, compiled in, nothing to download.
//! Some thousand characters are looked at, taken from all over the text, so that an English foot
//! or head does not decide. Where they do not agree (a page half translated, or in two languages
//! that are close), each of several parts is asked, and the language of most of them is taken.

use std::collections::BTreeMap;

/// Characters that are looked at; more change nothing.
const LOOKED_AT: usize = 4096;
/// Parts of which each has a vote, where the whole says nothing sure.
const PARTS: usize = 8;
/// Fewest letters of which a language is told without the page's own word.
const FEWEST_LETTERS: usize = 40;

/// What a text's letters say of its language.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Identified {
    /// BCP 47 tag of the language alone, without region: `en`.
    pub tag: &'static str,
    /// How far it is ahead of the next, or its share of the votes of the text's parts; from 0 to 1.
    pub confidence: f64,
    /// Whether the text is long enough, and one language ahead.
    pub is_reliable: bool,
}

/// The language of `text`, if it has letters at all.
///
/// ```
/// use m3w_document::language::identify;
///
/// let text = "Das Rotkehlchen saß den ganzen Tag im Schnee und sang, als wäre es Mai.";
/// let told = identify(text).ok_or("no letters")?;
/// assert_eq!(told.tag, "de");
/// assert!(told.is_reliable);
/// # Ok::<(), &str>(())
/// ```
#[must_use]
pub fn identify(text: &str) -> Option<Identified> {
    let sample = sample(text);
    let whole = whatlang::detect(&sample)?;
    if whole.is_reliable() {
        return Some(Identified {
            tag: tag(whole.lang().code()),
            confidence: whole.confidence(),
            is_reliable: true,
        });
    }
    let characters: Vec<char> = sample.chars().collect();
    let letters = characters.iter().filter(|c| c.is_alphabetic()).count();
    let mut votes: BTreeMap<&'static str, f64> = BTreeMap::new();
    for part in characters.chunks(characters.len().div_ceil(PARTS).max(FEWEST_LETTERS)) {
        let part: String = part.iter().collect();
        if let Some(info) = whatlang::detect(&part) {
            *votes.entry(tag(info.lang().code())).or_default() += info.confidence();
        }
    }
    let all: f64 = votes.values().sum();
    let (tag, most) = votes
        .into_iter()
        .max_by(|a, b| a.1.total_cmp(&b.1))
        .unwrap_or((tag(whole.lang().code()), 0.0));
    let confidence = if all > 0.0 { most / all } else { 0.0 };
    Some(Identified {
        tag,
        confidence,
        is_reliable: letters >= FEWEST_LETTERS && confidence >= 0.5,
    })
}

/// Lines from all over the text, of [`LOOKED_AT`] characters or somewhat more together.
fn sample(text: &str) -> String {
    let every = text.len() / LOOKED_AT + 1;
    let mut sample = String::new();
    let mut due = 0;
    for (start, line) in text.split('\n').map(|line| (offset(text, line), line)) {
        // A line is taken where the sample lags behind its share of what has been passed.
        if start / every < due || line.trim().is_empty() {
            continue;
        }
        let taken = line.char_indices().nth(LOOKED_AT / PARTS);
        sample.push_str(&line[..taken.map_or(line.len(), |(at, _)| at)]);
        sample.push('\n');
        due = sample.len();
    }
    sample
}

/// Where `part` begins in `text`, in bytes.
fn offset(text: &str, part: &str) -> usize {
    part.as_ptr().addr() - text.as_ptr().addr()
}

/// Whether `tag` is `range`, or a variety of it: `en-US` is within `en` (RFC 4647, basic
/// filtering).
///
/// ```
/// use m3w_document::language::is_within;
///
/// assert!(is_within("pt-BR", "pt"));
/// assert!(!is_within("pt", "pt-BR"));
/// assert!(!is_within("enm", "en"));
/// ```
#[must_use]
pub fn is_within(tag: &str, range: &str) -> bool {
    let (Some(start), rest) = (tag.get(..range.len()), tag.get(range.len()..)) else {
        return false;
    };
    start.eq_ignore_ascii_case(range)
        && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

/// What the page declares, where its letters do not speak against it, and what they say otherwise:
/// `pt-BR` says more than `pt`.
pub(crate) fn agreed(declared: Option<&str>, told: &str) -> String {
    declared
        .filter(|declared| is_within(macro_language(declared), told))
        .unwrap_or(told)
        .to_owned()
}

/// `no` names both written forms of Norwegian, of which one is told from letters.
fn macro_language(declared: &str) -> &str {
    let primary = declared.split('-').next().unwrap_or(declared);
    if primary.eq_ignore_ascii_case("no") {
        "nb"
    } else {
        declared
    }
}

/// The shortest code of ISO 639, which BCP 47 asks for.
fn tag(code: &'static str) -> &'static str {
    let found = SHORTEST.binary_search_by_key(&code, |(long, _)| long);
    found.map_or(code, |index| SHORTEST[index].1)
}

/// ISO 639-3 and ISO 639-1, sorted.
#[rustfmt::skip]
const SHORTEST: &[(&str, &str)] = &[
    ("afr", "af"), ("aka", "ak"), ("amh", "am"), ("ara", "ar"), ("aze", "az"), ("bel", "be"),
    ("ben", "bn"), ("bul", "bg"), ("cat", "ca"), ("ces", "cs"), ("cmn", "zh"), ("cym", "cy"),
    ("dan", "da"), ("deu", "de"), ("ell", "el"), ("eng", "en"), ("epo", "eo"), ("est", "et"),
    ("fin", "fi"), ("fra", "fr"), ("guj", "gu"), ("heb", "he"), ("hin", "hi"), ("hrv", "hr"),
    ("hun", "hu"), ("hye", "hy"), ("ind", "id"), ("ita", "it"), ("jav", "jv"), ("jpn", "ja"),
    ("kan", "kn"), ("kat", "ka"), ("khm", "km"), ("kor", "ko"), ("lat", "la"), ("lav", "lv"),
    ("lit", "lt"), ("mal", "ml"), ("mar", "mr"), ("mkd", "mk"), ("mya", "my"), ("nep", "ne"),
    ("nld", "nl"), ("nob", "nb"), ("ori", "or"), ("pan", "pa"), ("pes", "fa"), ("pol", "pl"),
    ("por", "pt"), ("ron", "ro"), ("rus", "ru"), ("sin", "si"), ("slk", "sk"), ("slv", "sl"),
    ("sna", "sn"), ("spa", "es"), ("srp", "sr"), ("swe", "sv"), ("tam", "ta"), ("tel", "te"),
    ("tgl", "tl"), ("tha", "th"), ("tuk", "tk"), ("tur", "tr"), ("ukr", "uk"), ("urd", "ur"),
    ("uzb", "uz"), ("vie", "vi"), ("yid", "yi"), ("zul", "zu"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_that_is_told_has_its_shortest_code() {
        assert!(SHORTEST.is_sorted());
        for language in whatlang::Lang::all() {
            assert_eq!(tag(language.code()).len(), 2, "{}", language.code());
        }
    }

    #[test]
    fn a_declared_variety_stands_unless_the_letters_say_another_language() {
        assert_eq!(agreed(Some("pt-BR"), "pt"), "pt-BR");
        assert_eq!(agreed(Some("en"), "pt"), "pt");
        assert_eq!(agreed(Some("no"), "nb"), "no");
        assert_eq!(agreed(None, "pt"), "pt");
    }
}
