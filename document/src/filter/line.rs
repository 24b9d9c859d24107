//! FineWeb's rules on lines: does the text run in sentences, or is it a list of links?
//!
//! Source: Penedo et al. 2024 (arXiv 2406.17557), section 3.5, with the readings of `datatrove`,
//! which made FineWeb: lines of nothing but white space do not count, and a repeated line counts
//! from its second time on.

use memchr::memchr_iter;

use super::quality::share;
use super::repetition::duplicates;
use super::words::classes::ends_a_sentence;

/// Longest line that counts as short, in characters.
pub const SHORT_LINE: usize = 30;

/// What was measured; shares between 0 and 1, [`Lines::breaks_per_word`] may exceed 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Lines {
    /// Share of lines that end as a sentence does, in any script.
    pub sentence_ends: f64,
    /// Share of lines of at most [`SHORT_LINE`] characters.
    pub short: f64,
    /// Characters of repeated lines, as a share of all but line feeds.
    pub duplicate_characters: f64,
    /// Line feeds to each word.
    pub breaks_per_word: f64,
}

impl Lines {
    /// Measures `text`, which has this many words.
    ///
    /// ```
    /// use m3w_document::filter::line::Lines;
    ///
    /// let lines = Lines::of("Home\n\nA robin sat there, in the snow, all day.\nHome", 14);
    /// assert_eq!(lines.sentence_ends, 1.0 / 3.0);
    /// assert_eq!(lines.short, 2.0 / 3.0);
    /// assert_eq!(lines.breaks_per_word, 3.0 / 14.0);
    /// ```
    #[must_use]
    pub fn of(text: &str, words: usize) -> Self {
        let lines = text
            .split('\n')
            .filter(|line| !line.chars().all(char::is_whitespace));
        let (mut ends, mut short) = (0, 0);
        let (_, repeated, all) = duplicates(lines.inspect(|line| {
            ends += usize::from(line.ends_with(ends_a_sentence));
            short += usize::from(is_short(line));
        }));
        if all == 0 {
            return Self::default();
        }
        let breaks = memchr_iter(b'\n', text.as_bytes()).count();
        Self {
            sentence_ends: share(ends, all),
            short: share(short, all),
            duplicate_characters: share(repeated, text.chars().count() - breaks),
            breaks_per_word: share(breaks, words),
        }
    }
}

fn is_short(line: &str) -> bool {
    // A character has one to four bytes.
    line.len() <= SHORT_LINE || (line.len() <= 4 * SHORT_LINE && line.chars().count() <= SHORT_LINE)
}
