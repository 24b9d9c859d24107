//! Words, as the field's filters count them.
//!
//! Gopher's rules (Rae et al. 2021, table A1) speak of words and leave open what one is; figures
//! can only be compared between tools that split alike. The reading that most published corpora
//! share is that of `datatrove` (FineWeb and what follows it), which splits English by spaCy's
//! rules: white space first, then affixes off both ends ("(word)," is four), then infixes
//! ("well-known" is three), while contractions come apart ("do", "n't") and abbreviations,
//! emoticons and addresses stay whole. Those are the rules here, for every language: in scripts
//! that write no spaces a word is then a run between marks, and thresholds on the number or length
//! of words mean little.

mod affixes;
pub(super) mod classes;
mod specials;
mod url;

use affixes::{infix, prefix, suffix};

/// The words of `text`, in order; nothing but white space is left out.
///
/// ```
/// use m3w_document::filter::words;
///
/// let split = words("Don't split e.g. well-known words (or 10km).");
/// let parts = [
///     "Do", "n't", "split", "e.g.", "well", "-", "known", "words", "(", "or", "10", "km", ")", ".",
/// ];
/// assert_eq!(split, parts);
/// ```
#[must_use]
pub fn words(text: &str) -> Vec<&str> {
    let mut splitter = Splitter {
        words: Vec::with_capacity(text.len() / 5),
        suffixes: Vec::new(),
        lengths: Vec::new(),
    };
    for chunk in classes::chunks(text) {
        splitter.chunk(chunk);
    }
    splitter.words
}

struct Splitter<'t> {
    words: Vec<&'t str>,
    /// What was split off the end of the chunk at hand, outermost first.
    suffixes: Vec<&'t str>,
    /// Lengths of the parts of the chunk at hand, in bytes.
    lengths: Vec<usize>,
}

impl<'t> Splitter<'t> {
    fn chunk(&mut self, chunk: &'t str) {
        if self.special(chunk) || self.plain(chunk) {
            return;
        }
        let first = self.words.len();
        self.affixes(chunk, true);
        if self.words.len() > first + 1 {
            self.join_specials(chunk, first);
        }
    }

    /// Splits what most chunks are, and no rule but that of one suffix speaks of: letters, and behind
    /// them at most one mark.
    fn plain(&mut self, chunk: &'t str) -> bool {
        let bytes = chunk.as_bytes();
        let letters = bytes.iter().take_while(|byte| byte.is_ascii_alphabetic());
        let (word, mark) = chunk.split_at(letters.count());
        let is_split = match mark {
            "" => true,
            "," | ";" | ":" | "!" | "?" => !word.is_empty() && specials::parts(word).is_none(),
            "." => {
                word.ends_with(|c: char| c.is_ascii_lowercase()) && specials::parts(word).is_none()
            }
            _ => return false,
        };
        if is_split {
            self.words.push(word);
            self.words.extend((!mark.is_empty()).then_some(mark));
        }
        is_split
    }

    /// Splits a chunk into prefixes, what is between, and suffixes.
    fn affixes(&mut self, chunk: &'t str, with_specials: bool) {
        let middle = self.strip(chunk, with_specials);
        let is_whole =
            middle.is_empty() || (with_specials && self.special(middle)) || self.whole_url(middle);
        if !is_whole {
            self.infixes(middle);
        }
        while let Some(suffix) = self.suffixes.pop() {
            self.words.push(suffix);
        }
    }

    /// Takes affixes off until none is left, or what is left is a special word.
    fn strip(&mut self, mut rest: &'t str, with_specials: bool) -> &'t str {
        let is_special = |word: &str| with_specials && specials::parts(word).is_some();
        loop {
            if rest.is_empty() || is_special(rest) {
                return rest;
            }
            let before = prefix(rest);
            let (head, tail) = rest.split_at(before);
            if before > 0 && is_special(tail) {
                self.words.push(head);
                return tail;
            }
            let after = suffix(tail);
            let (kept, end) = rest.split_at(rest.len() - after);
            if after > 0 && is_special(kept) {
                self.suffixes.push(end);
                return kept;
            }
            if before > 0 {
                self.words.push(head);
            }
            if after > 0 {
                self.suffixes.push(end);
            }
            if before == 0 && after == 0 {
                return rest;
            }
            rest = &rest[before..rest.len() - after];
        }
    }

    fn special(&mut self, word: &'t str) -> bool {
        let Some(parts) = specials::parts(word) else {
            return false;
        };
        let mut rest = word;
        for &length in parts {
            let (part, after) = rest.split_at(usize::from(length));
            self.words.push(part);
            rest = after;
        }
        true
    }

    fn whole_url(&mut self, word: &'t str) -> bool {
        let is_url = url::is_url(word);
        if is_url {
            self.words.push(word);
        }
        is_url
    }

    fn infixes(&mut self, word: &'t str) {
        let mut start = 0;
        let mut from = 0;
        while let Some((at, end)) = infix(word, from) {
            // Nothing is in the middle of a word at its front.
            if at > 0 {
                if at > start {
                    self.words.push(&word[start..at]);
                }
                self.words.push(&word[at..end]);
                start = end;
            }
            from = end;
        }
        if start < word.len() {
            self.words.push(&word[start..]);
        }
    }

    /// Puts special words together again that have been taken apart inside a chunk: "text:)".
    fn join_specials(&mut self, chunk: &'t str, first: usize) {
        let mut lengths = std::mem::take(&mut self.lengths);
        lengths.clear();
        lengths.extend(self.words[first..].iter().map(|word| word.len()));
        self.join_of_lengths(chunk, first, &lengths);
        self.lengths = lengths;
    }

    fn join_of_lengths(&mut self, chunk: &'t str, first: usize, lengths: &[usize]) {
        let mut found: Vec<(usize, usize, usize)> = Vec::new();
        let mut offset = 0;
        for (at, _) in lengths.iter().enumerate() {
            let mut end = offset;
            for (count, length) in (1..).zip(&lengths[at..]) {
                end += length;
                if end - offset > specials::LONGEST {
                    break;
                }
                let whole = &chunk[offset..end];
                if specials::parts(whole).is_some() && self.splits_into(whole, first + at, count) {
                    found.push((at, count, offset));
                }
            }
            offset += lengths[at];
        }
        if found.is_empty() {
            return;
        }
        // Longer ones first, then earlier ones. What a longer one overlaps is not taken, and keeps
        // others from being taken all the same, as in the reference.
        found.sort_by_key(|&(at, count, _)| (usize::MAX - count, at));
        let mut chosen: Vec<(usize, usize, usize)> = Vec::new();
        let mut seen = vec![false; lengths.len()];
        for one in found {
            let (at, count, _) = one;
            if !seen[at] && !seen[at + count - 1] {
                chosen.push(one);
            }
            seen[at..at + count].fill(true);
        }
        chosen.sort_unstable();
        let parts = self.words.split_off(first);
        let mut at = 0;
        for (start, count, offset) in chosen {
            self.words.extend_from_slice(&parts[at..start]);
            let bytes: usize = lengths[start..start + count].iter().sum();
            self.special(&chunk[offset..offset + bytes]);
            at = start + count;
        }
        self.words.extend_from_slice(&parts[at..]);
    }

    /// Whether the affix rules alone make of a special word exactly the words from `at`, and are
    /// not idle on it.
    fn splits_into(&self, whole: &'t str, at: usize, count: usize) -> bool {
        if prefix(whole) == 0 && suffix(whole) == 0 && infix(whole, 0).is_none() {
            return false;
        }
        let mut alone = Splitter {
            words: Vec::new(),
            suffixes: Vec::new(),
            lengths: Vec::new(),
        };
        alone.affixes(whole, false);
        alone.words == self.words[at..at + count]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_are_split_as_by_the_reference() {
        let golden = include_str!("../../../tests/goldens/words.jsonl");
        for line in golden.lines() {
            let (text, expected): (String, Vec<String>) = serde_json::from_str(line).unwrap();
            assert_eq!(words(&text), expected, "of {text:?}");
        }
    }

    proptest! {
        #[test]
        fn nothing_but_space_is_lost(text in "\\PC{0,60}|[a-zA-Z0-9.'’:;()<>=+-_/ ]{0,60}") {
            let kept: String = text.chars().filter(|&c| !classes::is_space(c)).collect();
            prop_assert_eq!(words(&text).concat(), kept);
        }
    }
}
