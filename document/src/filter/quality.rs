//! Gopher's rules of quality: does this read like text that somebody wrote for readers?
//!
//! Source: Rae et al. 2021 (arXiv 2112.11446), appendix A.1.1, table A1. Where the paper leaves a
//! reading open, ours is that of `datatrove`, by which FineWeb was made, so that thresholds mean
//! the same here as there: words that are nothing but marks do not count towards the number and
//! the mean length of words, but are words where shares are taken.

use memchr::{memchr_iter, memmem};

use super::words::classes::is_symbol;

/// What was measured. All shares are between 0 and 1 unless said otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Quality {
    /// Words that are more than marks.
    pub words: usize,
    /// Mean length of those words, in characters.
    pub mean_word_length: f64,
    /// `#` signs to each word; may exceed 1.
    pub hashes_per_word: f64,
    /// Ellipses (`...` and `…`) to each word; may exceed 1.
    pub ellipses_per_word: f64,
    /// Share of lines that begin with a bullet (`•` or `-`).
    pub bullet_lines: f64,
    /// Share of lines that end with an ellipsis.
    pub ellipsis_lines: f64,
    /// Share of words with at least one letter.
    pub alphabetic_words: f64,
    /// How many of the stop words are there, each counted once.
    pub stop_words: usize,
}

/// The English words of which any text of some length has at least two.
pub const STOP_WORDS: [&str; 8] = ["the", "be", "to", "of", "and", "that", "have", "with"];

impl Quality {
    /// Measures `text`, whose words are `words`, against these stop words.
    ///
    /// ```
    /// use m3w_document::filter::{quality::{Quality, STOP_WORDS}, words};
    ///
    /// let text = "The list of birds:\n- a robin\n- a wren...";
    /// let quality = Quality::of(text, &words(text), &STOP_WORDS);
    /// assert_eq!(quality.words, 8);
    /// assert_eq!(quality.stop_words, 1);
    /// assert_eq!(quality.bullet_lines, 2.0 / 3.0);
    /// ```
    #[must_use]
    pub fn of(text: &str, words: &[&str], stop_words: &[&str]) -> Self {
        let mut counted = 0;
        let mut letters = 0;
        let mut alphabetic = 0;
        let mut stops = vec![false; stop_words.len()];
        let longest = stop_words.iter().map(|word| word.len()).max();
        for &word in words {
            let (characters, has_letter, is_counted) = kind(word);
            counted += usize::from(is_counted);
            letters += if is_counted { characters } else { 0 };
            alphabetic += usize::from(has_letter);
            if Some(word.len()) <= longest {
                let at = stop_words.iter().position(|stop| *stop == word);
                at.into_iter().for_each(|at| stops[at] = true);
            }
        }
        let (mut all_lines, mut bullets, mut ellipses) = (0, 0, 0);
        for line in lines(text) {
            all_lines += 1;
            bullets += usize::from(line.trim_start().starts_with(['•', '-']));
            let line = line.trim_end();
            ellipses += usize::from(line.ends_with("...") || line.ends_with('…'));
        }
        let count = |mark: &str| memmem::find_iter(text.as_bytes(), mark).count();
        Self {
            words: counted,
            mean_word_length: share(letters, counted),
            hashes_per_word: share(memchr_iter(b'#', text.as_bytes()).count(), words.len()),
            ellipses_per_word: share(count("...") + count("…"), words.len()),
            bullet_lines: share(bullets, all_lines),
            ellipsis_lines: share(ellipses, all_lines),
            alphabetic_words: share(alphabetic, words.len()),
            stop_words: stops.into_iter().filter(|stands| *stands).count(),
        }
    }
}

/// How many characters a word has, whether a letter is among them, and anything but marks.
fn kind(word: &str) -> (usize, bool, bool) {
    let bytes = word.as_bytes();
    if word.is_ascii() {
        let has_letter = bytes.iter().any(u8::is_ascii_alphabetic);
        let is_counted = has_letter || word.chars().any(|c| !is_symbol(c));
        return (bytes.len(), has_letter, is_counted);
    }
    (
        word.chars().count(),
        word.chars().any(is_letter),
        word.chars().any(|c| !is_symbol(c)),
    )
}

/// A letter of any script. Digits of other kinds and combining marks are none.
fn is_letter(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphabetic()
    } else {
        c.is_alphabetic()
    }
}

/// Lines as every kind of line end bounds them; one at the end of the text opens no further line.
pub(super) fn lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (at, length) = line_end(rest);
        let line = &rest[..at];
        rest = &rest[at + length..];
        Some(line)
    })
}

/// Where the first line of a text ends, and how many bytes its end has.
fn line_end(text: &str) -> (usize, usize) {
    /// Bytes with which a line end begins: in ASCII always, beyond it sometimes.
    const ENDS: [bool; 256] = {
        let mut ends = [false; 256];
        let begins = *b"\n\r\x0b\x0c\x1c\x1d\x1e\xc2\xe2";
        let mut at = 0;
        while at < begins.len() {
            ends[begins[at] as usize] = true;
            at += 1;
        }
        ends
    };
    let bytes = text.as_bytes();
    for (at, byte) in bytes.iter().enumerate() {
        if ENDS[usize::from(*byte)] {
            let length = match &bytes[at..] {
                [b'\r', b'\n', ..] | [0xc2, 0x85, ..] => 2,
                [0xe2, 0x80, 0xa8 | 0xa9, ..] => 3,
                [0xc2 | 0xe2, ..] => continue,
                _ => 1,
            };
            return (at, length);
        }
    }
    (bytes.len(), 0)
}

/// `part / whole`, and 0 of nothing.
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
pub(super) fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::filter::words;

    fn quality(text: &str) -> Quality {
        Quality::of(text, &words(text), &STOP_WORDS)
    }

    #[test]
    fn marks_are_words_only_where_shares_are_taken() {
        let measured = quality("Birds, birds # 12");
        assert_eq!(measured.words, 3);
        assert_eq!(measured.mean_word_length, 4.0);
        assert_eq!(measured.hashes_per_word, 0.2);
        assert_eq!(measured.alphabetic_words, 0.4);
    }

    #[test]
    fn each_stop_word_counts_once_and_by_its_case() {
        assert_eq!(quality("the The the of").stop_words, 2);
    }

    #[test]
    fn every_line_end_bounds_a_line() {
        let measured = quality("- a\r\n- b\u{2028}c…\u{85}d...\r\r e");
        assert_eq!(measured.bullet_lines, 2.0 / 6.0);
        assert_eq!(measured.ellipsis_lines, 2.0 / 6.0);
    }

    #[test]
    fn nothing_measures_nothing() {
        assert_eq!(quality(""), Quality::default());
        assert_eq!(quality(" \n "), Quality::default());
    }
}
