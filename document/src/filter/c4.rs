//! C4's rules: which lines would it keep, and what makes it drop a page whole?
//!
//! Source: Raffel et al. 2020 (JMLR 21, section 2.2), with the readings of `datatrove`, by which
//! FineWeb applied them: at least three words to a line, of a page at least five sentences in the
//! lines that stay (the paper's last version has five words and three sentences); citations as `[3]` are taken out before the end of a line is looked at; of lines
//! that go for their end or their length nothing more is asked. C4 rewrites texts to the lines that
//! stay; here they are counted, and the text stays as it is.
//!
//! Sentences are told by their marks, not by a trained model: a run of `.`, `!` or `?` before white
//! space or the line's end, and whatever is left behind the last. An abbreviation counts as an end.

use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::quality::{lines, share};
use super::words::classes::{chunks, is_space};

/// Fewest words of a line that stays.
const MIN_WORDS: usize = 3;
/// Longest word of a line that stays, in characters.
const MAX_WORD: usize = 1000;
/// Words of a text that is none.
const LOREM_IPSUM: &str = "lorem ipsum";
/// What a page says that asks for a script.
const JAVASCRIPT: &str = "javascript";
/// Phrases of notices that stand on every page of a site.
const NOTICES: [&str; 6] = [
    "terms of use",
    "privacy policy",
    "cookie policy",
    "uses cookies",
    "use of cookies",
    "use cookies",
];

/// What was measured.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct C4 {
    /// Share of lines that stay.
    pub lines: f64,
    /// Sentences in them.
    pub sentences: usize,
    /// Lines with the words "lorem ipsum", of those that are asked.
    pub lorem_ipsum: usize,
    /// Lines with a `{`, of those that are asked.
    pub curly_brackets: usize,
}

impl C4 {
    /// Measures `text`.
    ///
    /// ```
    /// use m3w_document::filter::c4::C4;
    ///
    /// let measured = C4::of("Home\nA robin sat there. It sang all day.\nThis site uses cookies, as all do.");
    /// assert_eq!(measured.lines, 1.0 / 3.0);
    /// assert_eq!(measured.sentences, 2);
    /// ```
    #[must_use]
    pub fn of(text: &str) -> Self {
        let (mut all, mut kept) = (0, 0);
        let mut measured = Self::default();
        let may_go = may_have_phrases(text);
        for line in lines(text) {
            all += 1;
            let line = line.trim_matches(is_space);
            let is_long = |word: &str| word.len() > MAX_WORD && word.chars().count() > MAX_WORD;
            if line.len() > MAX_WORD && chunks(line).any(is_long) {
                continue;
            }
            let stays = without_citations(line);
            let ends = stays.ends_with(['.', '?', '!', '"', '\'']) && !stays.ends_with("...");
            if !ends || chunks(line).take(MIN_WORDS).count() < MIN_WORDS {
                continue;
            }
            let lower = if may_go {
                stays.to_lowercase()
            } else {
                String::new()
            };
            if lower.contains(LOREM_IPSUM) {
                measured.lorem_ipsum += 1;
                continue;
            }
            if lower.contains(JAVASCRIPT) {
                continue;
            }
            if stays.contains('{') {
                measured.curly_brackets += 1;
                continue;
            }
            if NOTICES.iter().any(|notice| lower.contains(notice)) {
                continue;
            }
            kept += 1;
            measured.sentences += sentences(&stays);
        }
        measured.lines = share(kept, all);
        measured
    }
}

/// Whether any line of the text may have one of the phrases for which lines go: most texts have none,
/// and their lines need not be looked at one by one.
fn may_have_phrases(text: &str) -> bool {
    /// Together with [`NOTICES`], of which four have the first.
    const PARTS: [&str; 5] = [
        "cookie",
        "terms of use",
        "privacy policy",
        LOREM_IPSUM,
        JAVASCRIPT,
    ];
    let has = |text: &str, phrase: &str| memmem::find(text.as_bytes(), phrase.as_bytes()).is_some();
    let lower = text.to_ascii_lowercase();
    // The sign of Kelvin is the one character beyond ASCII that is a letter of these in lower case.
    PARTS.iter().any(|part| has(&lower, part)) || has(text, "\u{212a}")
}

/// The line without `[12]`, `[]`, `[edit]` and `[citation needed]`.
fn without_citations(line: &str) -> Cow<'_, str> {
    if memchr(b'[', line.as_bytes()).is_none() {
        return Cow::Borrowed(line);
    }
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some(at) = rest.find('[') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let inside = rest[1..].split(']').next().unwrap_or_default();
        let is_closed = rest[1..].len() > inside.len();
        let is_citation =
            inside.chars().all(char::is_numeric) || matches!(inside, "edit" | "citation needed");
        let end = if is_closed && is_citation {
            inside.len() + 2
        } else {
            out.push('[');
            1
        };
        rest = &rest[end..];
    }
    out.push_str(rest);
    Cow::Owned(out)
}

/// How many sentences a line has that is not empty.
fn sentences(line: &str) -> usize {
    let mut count = 0;
    // Whether there are words since the last end, and whether the last character was a mark.
    let (mut has_words, mut is_mark) = (false, false);
    for c in line.chars() {
        if is_space(c) {
            if is_mark && has_words {
                count += 1;
                has_words = false;
            }
            is_mark = false;
        } else {
            let is_closing = is_mark && matches!(c, '"' | '\'' | ')' | '”' | '’');
            is_mark = is_closing || matches!(c, '.' | '!' | '?');
            has_words |= c.is_alphanumeric();
        }
    }
    count + usize::from(has_words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(line: &str) -> bool {
        C4::of(line).lines == 1.0
    }

    #[test]
    fn lines_go_for_their_end_their_length_and_their_words() {
        assert!(kept("  A robin sat there. "));
        assert!(kept("He said: \"It sat there\""));
        assert!(kept("A robin sat there.[12][citation needed]"));
        assert!(!kept("A robin sat there"));
        assert!(!kept("A robin sat there..."));
        assert!(!kept("A robin."));
        assert!(!kept("A robin sat there. [12]"));
        assert!(!kept("Please turn JavaScript on."));
        assert!(!kept("Read our Privacy Policy first."));
        assert!(!kept(&format!("A robin {} sat there.", "a".repeat(1001))));
    }

    #[test]
    fn only_lines_that_are_asked_can_drop_the_page() {
        let measured =
            C4::of("fn main() {\nThat is {curly} and odd.\nLorem ipsum dolor sit.\nLorem ipsum");
        assert_eq!((measured.curly_brackets, measured.lorem_ipsum), (1, 1));
        assert_eq!(measured.sentences, 0);
    }

    #[test]
    fn a_phrase_is_found_in_any_case_of_its_letters() {
        assert!(!kept("Uses COO\u{212a}IES, as all do."));
        for notice in NOTICES.iter().chain(&[JAVASCRIPT, LOREM_IPSUM]) {
            assert!(
                !kept(&format!("Here is {}.", notice.to_uppercase())),
                "{notice}"
            );
        }
    }

    #[test]
    fn a_sentence_is_what_a_mark_ends() {
        for (line, expected) in [
            ("One. Two! Three?", 3),
            ("It cost 3.50 in all.", 1),
            ("\"Go!\" he said. He went.", 3),
            ("Well ... yes.", 2),
        ] {
            assert_eq!(sentences(line), expected, "{line}");
        }
    }
}
