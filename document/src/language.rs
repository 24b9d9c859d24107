//! The language of a text, told from its letters.
//!
//! The model of the `whatlang` crate: trigrams of 70 languages, compiled in, nothing to download.
//! Some thousand characters are looked at, taken from all over the text, so that an English foot
//! or head does not decide. Several parts of them are asked. Where they do not agree (a page half
//! translated, or in two languages that are close), every paragraph is asked which of those
//! languages it is in, and the one with most letters is taken.

use std::collections::BTreeMap;

use whatlang::{Detector, Lang};

/// Characters that are looked at first; where one language is in them, more change nothing.
const LOOKED_AT: usize = 4096;
/// Parts of these, each of which has a vote.
const PARTS: usize = 4;
/// Share of the votes from which the others are taken for errors.
const AGREED: f64 = 0.9;
/// Characters that are looked at where the parts do not agree.
const LOOKED_AT_THEN: usize = 1 << 16;
/// Bytes of which a line has a vote of its own; shorter ones belong to the next.
const LINE: usize = 48;
/// Characters of a line that are looked at, so that a long one does not stand for all.
const LONGEST: usize = 512;
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
    let first = sample(text, LOOKED_AT);
    let size = first.len().div_ceil(PARTS).max(FEWEST_LETTERS);
    let mut votes = Votes::of(&first, size, &Detector::new());
    if votes.share() < AGREED {
        // A part in two languages may look like a third: only lines say which there are.
        let among = Votes::of(&first, LINE, &Detector::new()).not_rare();
        let all = sample(text, LOOKED_AT_THEN);
        votes = Votes::of(&all, LINE, &Detector::with_allowlist(among));
    }
    let confidence = votes.share();
    Some(Identified {
        tag: tag(votes.ahead()?.code()),
        confidence,
        is_reliable: votes.asked >= FEWEST_LETTERS && confidence >= 0.5,
    })
}

/// What parts of a text say of its language.
struct Votes {
    /// Letters of the parts in each language, times how sure each was.
    letters: BTreeMap<&'static str, (Lang, f64)>,
    /// Letters of all parts.
    asked: usize,
}

impl Votes {
    /// Asks parts of whole lines, each of `size` bytes or somewhat more.
    fn of(text: &str, size: usize, detector: &Detector) -> Self {
        let mut votes = Self {
            letters: BTreeMap::new(),
            asked: 0,
        };
        let mut rest = text;
        while !rest.is_empty() {
            let ends = rest.match_indices('\n').map(|(at, _)| at + 1);
            let end = ends.into_iter().find(|end| *end >= size);
            let (part, behind) = rest.split_at(end.unwrap_or(rest.len()));
            rest = behind;
            let letters = part.chars().filter(|c| c.is_alphabetic()).count();
            votes.asked += letters;
            if let Some(info) = detector.detect(part) {
                let code = info.lang().code();
                let (_, sum) = votes.letters.entry(code).or_insert((info.lang(), 0.0));
                *sum += letters as f64 * info.confidence();
            }
        }
        votes
    }

    /// The language of most letters.
    fn ahead(&self) -> Option<Lang> {
        let most = self.letters.values().max_by(|a, b| a.1.total_cmp(&b.1));
        most.map(|(lang, _)| *lang)
    }

    /// All languages that are more than errors.
    fn not_rare(&self) -> Vec<Lang> {
        let all: f64 = self.letters.values().map(|(_, sum)| sum).sum();
        let found = self.letters.values();
        let found = found.filter(|(_, sum)| *sum >= all * (1.0 - AGREED));
        found.map(|(lang, _)| *lang).collect()
    }

    /// Its share.
    fn share(&self) -> f64 {
        let sums = self.letters.values().map(|(_, sum)| *sum);
        let (all, most): (f64, f64) = (sums.clone().sum(), sums.fold(0.0, f64::max));
        if all > 0.0 { most / all } else { 0.0 }
    }
}

/// Lines from all over the text, of `count` characters or somewhat more together.
fn sample(text: &str, count: usize) -> String {
    let every = text.len() / count + 1;
    let mut sample = String::new();
    let mut due = 0;
    for (start, line) in text.split('\n').map(|line| (offset(text, line), line)) {
        // A line is taken where the sample lags behind its share of what has been passed.
        if start / every < due || line.trim().is_empty() {
            continue;
        }
        let taken = line.char_indices().nth(LONGEST);
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

    const ENGLISH: &str =
        "The window is open and the rain comes in, so that the papers on the desk are wet.";
    const SPANISH: &str =
        "La ventana está abierta y entra la lluvia, de modo que los papeles se han mojado.";
    const CHINESE: &str =
        "窗户开着，雨下了进来，桌子上的纸都湿了，我们只好把它们放在火炉旁边晾干。";

    /// So many paragraphs of each, in turns as far as they go.
    fn mixed(counts: [(&str, usize); 2]) -> String {
        let most = counts.iter().map(|(_, count)| *count).max().unwrap_or(0);
        let turns =
            (0..most).flat_map(|turn| counts.map(|(text, count)| (turn < count).then_some(text)));
        turns.flatten().collect::<Vec<&str>>().join("\n\n")
    }

    #[test]
    fn a_page_in_two_languages_is_in_that_of_most_paragraphs() {
        for (more, less) in [(ENGLISH, SPANISH), (SPANISH, ENGLISH), (CHINESE, SPANISH)] {
            let told = identify(&mixed([(more, 40), (less, 15)])).unwrap();
            assert_eq!(told.tag, identify(more).unwrap().tag);
            assert!(told.is_reliable, "{told:?}");
        }
    }

    #[test]
    fn a_page_of_one_language_is_sure_of_it() {
        for (text, tag) in [(ENGLISH, "en"), (SPANISH, "es"), (CHINESE, "zh")] {
            let told = identify(&mixed([(text, 30), ("", 0)])).unwrap();
            assert_eq!(
                (told.tag, told.confidence, told.is_reliable),
                (tag, 1.0, true)
            );
        }
        assert!(identify("").is_none() && identify("12 + 30").is_none());
    }

    #[test]
    fn a_declared_variety_stands_unless_the_letters_say_another_language() {
        assert_eq!(agreed(Some("pt-BR"), "pt"), "pt-BR");
        assert_eq!(agreed(Some("en"), "pt"), "pt");
        assert_eq!(agreed(Some("no"), "nb"), "no");
        assert_eq!(agreed(None, "pt"), "pt");
    }
}
