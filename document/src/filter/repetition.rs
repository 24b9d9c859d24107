//! Gopher's rules of repetition: how much of a text is said more than once?
//!
//! Source: Rae et al. 2021 (arXiv 2112.11446), appendix A.1.1, table A1. The readings are those of
//! `datatrove`, by which FineWeb was made: a repeated line or paragraph counts from its second
//! time on; the most frequent n-gram counts with all its occurrences, overlapping or not, even
//! where each occurs once; a repeated n-gram of five words or more counts from its second time on,
//! is told by its characters without the spaces, and the search goes on behind it. All shares are
//! of the characters of the whole text, white space included.

use std::collections::HashSet;
use std::hash::BuildHasherDefault;

use super::grams::{Grams, Hashed};
use super::quality::share;

/// What was measured; shares between 0 and 1, but that of a most frequent n-gram may exceed 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Repetition {
    /// Share of lines that stood there before.
    pub duplicate_lines: f64,
    /// The characters of those lines, as a share of all.
    pub duplicate_line_characters: f64,
    /// Share of paragraphs (parted by empty lines) that stood there before.
    pub duplicate_paragraphs: f64,
    /// The characters of those paragraphs, as a share of all.
    pub duplicate_paragraph_characters: f64,
    /// Characters of the most frequent 2-gram, 3-gram and 4-gram of words, as shares of all.
    pub top_ngrams: [f64; 3],
    /// Characters of repeated 5-grams to 10-grams, as shares of all.
    pub duplicate_ngrams: [f64; 6],
}

/// Words in the first of [`Repetition::top_ngrams`].
pub const FIRST_TOP: usize = 2;
/// Words in the first of [`Repetition::duplicate_ngrams`].
pub const FIRST_DUPLICATE: usize = 5;
const LONGEST: usize = 10;

impl Repetition {
    /// Measures `text`, whose words are `words`.
    ///
    /// ```
    /// use m3w_document::filter::{repetition::Repetition, words};
    ///
    /// let text = "Read more.\nA robin sat there.\nRead more.";
    /// let repetition = Repetition::of(text, &words(text));
    /// assert_eq!(repetition.duplicate_lines, 1.0 / 3.0);
    /// assert_eq!(repetition.duplicate_line_characters, 10.0 / 40.0);
    /// ```
    #[must_use]
    pub fn of(text: &str, words: &[&str]) -> Self {
        let characters = text.chars().count();
        if characters == 0 {
            return Self::default();
        }
        let mut grams = Grams::default();
        let words = Words::of(words);
        let (lines, line_characters, all_lines) = duplicates(split_at_breaks(text, 1));
        let paragraphs = split_at_breaks(text.trim(), 2);
        let (paragraphs, paragraph_characters, all_paragraphs) = duplicates(paragraphs);
        Self {
            duplicate_lines: share(lines, all_lines),
            duplicate_line_characters: share(line_characters, characters),
            duplicate_paragraphs: share(paragraphs, all_paragraphs),
            duplicate_paragraph_characters: share(paragraph_characters, characters),
            top_ngrams: words.top(&mut grams).map(|count| share(count, characters)),
            duplicate_ngrams: words
                .duplicates(&mut grams)
                .map(|count| share(count, characters)),
        }
    }
}

/// Pieces between runs of `least` line feeds or more.
fn split_at_breaks(text: &str, least: usize) -> impl Iterator<Item = &str> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let from = rest?;
        let mut at = 0;
        while let Some(found) = from[at..].find('\n') {
            let start = at + found;
            let run = from[start..]
                .bytes()
                .take_while(|&byte| byte == b'\n')
                .count();
            if run >= least {
                rest = Some(&from[start + run..]);
                return Some(&from[..start]);
            }
            at = start + run;
        }
        rest = None;
        Some(from)
    })
}

/// How many pieces stood there before, their characters, and how many there are.
pub(super) fn duplicates<'t>(pieces: impl Iterator<Item = &'t str>) -> (usize, usize, usize) {
    let mut seen = HashSet::<&str, BuildHasherDefault<Hashed>>::default();
    let (mut repeated, mut characters, mut all) = (0, 0, 0);
    for piece in pieces {
        all += 1;
        if !seen.insert(piece) {
            repeated += 1;
            characters += piece.chars().count();
        }
    }
    (repeated, characters, all)
}

/// A word as the value of a polynomial over its bytes, so that hashes of neighbours are joined
/// without looking at the bytes again.
struct Word {
    hash: u64,
    /// `BASE` to the power of the word's length in bytes.
    power: u64,
    characters: u32,
}

struct Words(Vec<Word>);

impl Words {
    fn of(words: &[&str]) -> Self {
        let hashed = words.iter().map(|word| {
            let mut hash = 0_u64;
            let mut characters = 0;
            for &byte in word.as_bytes() {
                hash = hash.wrapping_mul(BASE).wrapping_add(u64::from(byte) + 1);
                // All bytes but those that go on with a character.
                characters += u32::from(byte & 0xc0 != 0x80);
            }
            let power = POWERS.get(word.len()).copied();
            let exponent = || u32::try_from(word.len()).unwrap_or(u32::MAX);
            Word {
                hash,
                power: power.unwrap_or_else(|| BASE.wrapping_pow(exponent())),
                characters,
            }
        });
        Self(hashed.collect())
    }

    /// For 2, 3 and 4 words: characters of the most frequent n-gram, the spaces between its words
    /// included, times its occurrences; the first of those that are equally frequent.
    fn top(&self, grams: &mut Grams) -> [usize; 3] {
        let mut hashes: Vec<u64> = self.0.iter().map(|word| word.hash).collect();
        std::array::from_fn(|index| {
            let n = FIRST_TOP + index;
            self.lengthen(&mut hashes, n, |hash, word| {
                hash.wrapping_mul(WORD_BASE).wrapping_add(word.hash)
            });
            if hashes.is_empty() {
                return 0;
            }
            grams.look_at(&hashes);
            let (mut count, mut first) = (1, 0);
            for index in 0..grams.candidates() {
                let at = grams.candidate(index);
                let (stood, times) = grams.count(hashes[at], at);
                if times > count || (times == count && stood < first) {
                    (count, first) = (times, stood);
                }
            }
            (self.characters(first, n) + n - 1) * count
        })
    }

    /// For 5 to 10 words: characters of n-grams that stood there before.
    fn duplicates(&self, grams: &mut Grams) -> [usize; LONGEST - FIRST_DUPLICATE + 1] {
        let mut hashes: Vec<u64> = self.0.iter().map(|word| word.hash).collect();
        let joined = |hash: u64, word: &Word| hash.wrapping_mul(word.power).wrapping_add(word.hash);
        for n in 2..FIRST_DUPLICATE {
            self.lengthen(&mut hashes, n, joined);
        }
        std::array::from_fn(|index| {
            let n = FIRST_DUPLICATE + index;
            self.lengthen(&mut hashes, n, joined);
            grams.look_at(&hashes);
            let (mut repeated, mut behind) = (0, 0);
            for index in 0..grams.candidates() {
                let at = grams.candidate(index);
                // What overlaps one that was counted is not looked at.
                if at >= behind && grams.count(hashes[at], at).1 > 1 {
                    repeated += self.characters(at, n);
                    behind = at + n;
                }
            }
            repeated
        })
    }

    /// Makes of the hashes of all (n - 1)-grams those of all n-grams.
    fn lengthen(&self, hashes: &mut Vec<u64>, n: usize, join: impl Fn(u64, &Word) -> u64) {
        hashes.truncate((self.0.len() + 1).saturating_sub(n));
        for (hash, last) in hashes.iter_mut().zip(self.0.iter().skip(n - 1)) {
            *hash = join(*hash, last);
        }
    }

    fn characters(&self, at: usize, n: usize) -> usize {
        let words = &self.0[at..at + n];
        words.iter().map(|word| word.characters as usize).sum()
    }
}

/// Two random odd numbers, taken modulo 2^64: pages are not written against them.
const BASE: u64 = 0x0a5b_91c3_77e4_2d1f;
const WORD_BASE: u64 = 0x16d3_0b8f_e2c9_5a47;
/// Powers of `BASE` for words of usual lengths.
const POWERS: [u64; 32] = {
    let mut powers = [1; 32];
    let mut at = 1;
    while at < powers.len() {
        powers[at] = BASE.wrapping_mul(powers[at - 1]);
        at += 1;
    }
    powers
};

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::filter::words;

    #[test]
    fn lines_and_paragraphs_are_bounded_by_their_breaks() {
        let text = "a\n\nb\n\n\na\nb";
        let repetition = Repetition::of(text, &words(text));
        assert_eq!(repetition.duplicate_lines, 0.5);
        assert_eq!(repetition.duplicate_paragraphs, 0.0);
        let text = "\n\nab\n\nab\n";
        let repetition = Repetition::of(text, &words(text));
        // What is before the first break and after the last is a line too, and empty.
        assert_eq!(repetition.duplicate_lines, 0.5);
        assert_eq!(repetition.duplicate_line_characters, 2.0 / 9.0);
        assert_eq!(repetition.duplicate_paragraphs, 0.5);
    }

    #[test]
    fn the_first_of_equally_frequent_grams_is_the_top_one() {
        let text = "aaa b aaa b c d c d";
        let repetition = Repetition::of(text, &words(text));
        assert_eq!(repetition.top_ngrams[0], 10.0 / 19.0);
    }

    /// The rule as it is told, without hashes.
    fn duplicates_told(words: &[&str], n: usize) -> usize {
        let (mut at, mut count) = (0, 0);
        let mut seen = HashSet::new();
        while at + n <= words.len() {
            let gram = words[at..at + n].concat();
            if seen.contains(&gram) {
                count += gram.chars().count();
                at += n;
            } else {
                seen.insert(gram);
                at += 1;
            }
        }
        count
    }

    proptest! {
        #[test]
        fn repeated_grams_are_counted_as_told(
            parts in proptest::collection::vec("a|b|ab|é|c", 0..80),
        ) {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let counted = Words::of(&parts).duplicates(&mut Grams::default());
            for (index, count) in counted.into_iter().enumerate() {
                prop_assert_eq!(count, duplicates_told(&parts, FIRST_DUPLICATE + index));
            }
        }
    }
}
