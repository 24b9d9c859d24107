//! OBELICS' measures of a text: does it say things, or repeat and list them?
//!
//! Source: Laurençon et al. 2023 (arXiv 2306.16527), appendix A, and the program that made the
//! corpus (huggingface/OBELICS, `web_document_filtering.py`), whose readings these are: a word is
//! what white space bounds, in lower case, stripped of all that is not a letter at both ends;
//! repetition of characters is the share of the most frequent 10-grams, as many as the square root of
//! how many there are and occur more than once; that of words the share of 5-grams that occur more
//! than once. Where it lists special characters, ours are all but letters and marks on them.
//!
//! Its lists of flagged, common and spam words, and its perplexity, are no part of this: they are
//! made from other corpora.

use std::ops::Range;
use std::sync::LazyLock;

use super::quality::share;

/// Characters in the n-grams of [`Obelics::character_repetition`].
const CHARACTERS: usize = 10;
/// Words in the n-grams of [`Obelics::word_repetition`].
const WORDS: usize = 5;

/// What was measured; shares between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Obelics {
    /// Words with at least one letter.
    pub words: usize,
    /// Share of frequent 10-grams of characters.
    pub character_repetition: f64,
    /// Share of 5-grams of words that occur more than once.
    pub word_repetition: f64,
    /// Share of characters that are no letters.
    pub special_characters: f64,
    /// Share of words that are on the list of English function words.
    pub stop_words: f64,
    /// Share of the marks `, ; : ? ! .` among marks and runs of letters and digits.
    pub punctuation: f64,
}

impl Obelics {
    /// Measures `text`.
    ///
    /// ```
    /// use m3w_document::filter::obelics::Obelics;
    ///
    /// let measured = Obelics::of("A robin sat there, in the snow.");
    /// assert_eq!(measured.words, 7);
    /// assert_eq!(measured.stop_words, 4.0 / 7.0);
    /// assert_eq!(measured.punctuation, 2.0 / 9.0);
    /// ```
    #[must_use]
    pub fn of(text: &str) -> Self {
        let (mut characters, mut special, mut marks, mut tokens) = (0, 0, 0, 0);
        let mut is_within = false;
        for c in text.chars() {
            characters += 1;
            let is_letter = is_letter(c);
            special += usize::from(!is_letter);
            let is_mark = matches!(c, ',' | ';' | ':' | '?' | '!' | '.');
            let is_word = is_letter || c.is_numeric() || matches!(c, '_' | '\'');
            marks += usize::from(is_mark);
            tokens += usize::from(is_mark || (is_word && !is_within));
            is_within = is_word;
        }
        let mut stops = 0;
        let mut hashes = Vec::with_capacity(text.len() / 5);
        let mut lower = String::new();
        for word in text.split_whitespace() {
            let word = word.trim_matches(|c| !is_letter(c));
            if word.is_empty() {
                continue;
            }
            lower.clear();
            if word.is_ascii() {
                lower.extend(word.chars().map(|c| c.to_ascii_lowercase()));
            } else {
                lower.push_str(&word.to_lowercase());
            }
            stops += usize::from(is_stop_word(&lower));
            hashes.push(hash(lower.bytes().map(u64::from)));
        }
        let grams = hashes.windows(WORDS);
        let grams: Vec<u64> = grams.map(|gram| hash(gram.iter().copied())).collect();
        let counts = counts(&grams);
        let repeated = counts.iter().filter(|count| **count > 1).sum();
        Self {
            words: hashes.len(),
            character_repetition: character_repetition(text),
            word_repetition: share(repeated, counts.iter().sum()),
            special_characters: share(special, characters),
            stop_words: share(stops, hashes.len()),
            punctuation: share(marks, tokens),
        }
    }
}

fn character_repetition(text: &str) -> f64 {
    /// Odd, so that multiplying loses nothing.
    const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
    let highest = (1..CHARACTERS).fold(1_u64, |power, _| power.wrapping_mul(BASE));
    let characters: Vec<u64> = text.chars().map(|c| u64::from(u32::from(c)) + 1).collect();
    let mut rolling = 0_u64;
    let mut hashes = Vec::with_capacity(characters.len());
    for (index, c) in characters.iter().enumerate() {
        if index >= CHARACTERS {
            let gone = characters[index - CHARACTERS].wrapping_mul(highest);
            rolling = rolling.wrapping_sub(gone);
        }
        rolling = rolling.wrapping_mul(BASE).wrapping_add(*c);
        if index + 1 >= CHARACTERS {
            hashes.push(rolling);
        }
    }
    let mut counts = counts(&hashes);
    let all = counts.iter().sum();
    let distinct = counts.len();
    counts.retain(|count| *count > 1);
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let frequent = counts.iter().take(distinct.isqrt()).sum();
    share(frequent, all)
}

/// Whether a word in lower case is on the list.
fn is_stop_word(word: &str) -> bool {
    /// Where the words with each first letter begin and end.
    static PLACES: LazyLock<[Range<usize>; 26]> = LazyLock::new(|| {
        std::array::from_fn(|letter| {
            let first = |word: &&str| usize::from(word.as_bytes()[0] - b'a');
            STOP_WORDS.partition_point(|word| first(word) < letter)
                ..STOP_WORDS.partition_point(|word| first(word) <= letter)
        })
    });
    let letter = word.bytes().next().map(|first| first.wrapping_sub(b'a'));
    let places = letter.and_then(|letter| PLACES.get(usize::from(letter)));
    // Most words differ in their lengths already: no other order is as fast.
    places.is_some_and(|places| STOP_WORDS[places.clone()].contains(&word))
}

/// How often each of them occurs, in the order in which they first do.
fn counts(hashes: &[u64]) -> Vec<usize> {
    /// Odd, and without a pattern in its bits.
    const MIX: u64 = 0xff51_afd7_ed55_8ccd;
    let slots = (2 * hashes.len()).next_power_of_two();
    // A slot holds one more than a place in `found`; 0 is an empty one.
    let mut places = vec![0_u32; slots];
    let mut found: Vec<(u64, usize)> = Vec::new();
    let shift = u64::BITS - slots.trailing_zeros();
    for &hash in hashes {
        let mixed = hash.wrapping_mul(MIX).checked_shr(shift).unwrap_or(0);
        let mut slot = usize::try_from(mixed).unwrap_or(0);
        loop {
            let place = places[slot] as usize;
            match place.checked_sub(1).map(|place| &mut found[place]) {
                None => {
                    found.push((hash, 1));
                    places[slot] = u32::try_from(found.len()).unwrap_or(u32::MAX);
                    break;
                }
                Some((known, count)) if *known == hash => {
                    *count += 1;
                    break;
                }
                Some(_) => slot = (slot + 1) & (slots - 1),
            }
        }
    }
    found.into_iter().map(|(_, count)| count).collect()
}

fn hash(values: impl Iterator<Item = u64>) -> u64 {
    values.fold(0xcbf2_9ce4_8422_2325, |hash, value| {
        (hash ^ value)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(23)
    })
}

/// A letter, or a mark that stands on letters.
fn is_letter(c: char) -> bool {
    if c.is_ascii() {
        c.is_ascii_alphabetic()
    } else {
        c.is_alphabetic() || ('\u{300}'..='\u{36f}').contains(&c)
    }
}

/// Function words of English, sorted: articles, pronouns, prepositions, conjunctions, auxiliaries, and
/// what is as frequent.
#[rustfmt::skip]
const STOP_WORDS: &[&str] = &[
    "a", "about", "above", "across", "after", "again", "against", "all", "almost", "along",
    "already", "also", "although", "always", "am", "amid", "among", "amongst", "an", "and",
    "another", "any", "anybody", "anyone", "anything", "are", "aren't", "around", "as", "at",
    "away", "back", "be", "because", "been", "before", "behind", "being", "below", "beneath",
    "beside", "besides", "between", "beyond", "both", "but", "by", "can", "can't", "cannot",
    "could", "couldn't", "despite", "did", "didn't", "do", "does", "doesn't", "doing", "don't",
    "done", "down", "due", "during", "each", "either", "else", "enough", "even", "ever", "every",
    "everybody", "everyone", "everything", "except", "few", "for", "from", "further", "get",
    "gets", "got", "had", "hadn't", "has", "hasn't", "have", "haven't", "having", "he", "he's",
    "her", "here", "hers", "herself", "him", "himself", "his", "how", "however", "i", "i'd",
    "i'll", "i'm", "i've", "if", "in", "including", "inside", "instead", "into", "is", "isn't",
    "it", "it's", "its", "itself", "just", "less", "let", "like", "many", "may", "me", "might",
    "mine", "more", "most", "much", "must", "my", "myself", "near", "neither", "never", "next",
    "no", "nobody", "none", "nor", "not", "nothing", "now", "of", "off", "often", "on", "once",
    "one", "ones", "only", "onto", "or", "other", "others", "ought", "our", "ours", "ourselves",
    "out", "outside", "over", "own", "past", "per", "perhaps", "quite", "rather", "same", "shall",
    "she", "she's", "should", "shouldn't", "since", "so", "some", "somebody", "someone",
    "something", "still", "such", "than", "that", "that's", "the", "their", "theirs", "them",
    "themselves", "then", "there", "there's", "these", "they", "they're", "this", "those",
    "though", "through", "throughout", "thus", "till", "to", "together", "too", "toward",
    "towards", "under", "underneath", "unless", "unlike", "until", "up", "upon", "us", "very",
    "via", "was", "wasn't", "we", "we're", "we've", "were", "weren't", "what", "whatever", "when",
    "whenever", "where", "whereas", "wherever", "whether", "which", "while", "who", "whoever",
    "whom", "whose", "why", "will", "with", "within", "without", "won't", "would", "wouldn't",
    "yet", "you", "you'll", "you're", "you've", "your", "yours", "yourself", "yourselves",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_stop_words_can_be_searched() {
        assert!(STOP_WORDS.is_sorted_by(|a, b| a < b));
        for word in STOP_WORDS {
            assert!(is_stop_word(word), "{word}");
        }
        for word in ["", "robin", "zebra", "'tis", "élan", "thee", "an't"] {
            assert!(!is_stop_word(word), "{word}");
        }
    }

    #[test]
    fn words_are_stripped_and_counted_where_a_letter_is_left() {
        let measured = Obelics::of("(The) 12 robin's -- THE\tsnow!");
        assert_eq!(measured.words, 4);
        assert_eq!(measured.stop_words, 0.5);
    }

    #[test]
    fn ten_grams_that_come_again_are_repetition() {
        assert_eq!(Obelics::of("abcdefghijklm").character_repetition, 0.0);
        // Of 10 characters each, "aaaaaaaaaa" six times.
        assert_eq!(Obelics::of("aaaaaaaaaaaaaaa").character_repetition, 1.0);
        // 16 grams, of which the first five come twice: the root of 11 is 3.
        let measured = Obelics::of("abcdefghijklmn0123456789abcdefghijklmn");
        assert_eq!(measured.character_repetition, 8.0 / 29.0);
        let words = Obelics::of("one two three four five six one two three four five");
        assert_eq!(words.word_repetition, 2.0 / 7.0);
    }

    #[test]
    fn marks_are_shared_among_marks_and_words() {
        let measured = Obelics::of("It's 3.5 (or so)!");
        // It's 3 . 5 or so !
        assert_eq!(measured.punctuation, 2.0 / 7.0);
        assert_eq!(measured.special_characters, 1.0 - 7.0 / 17.0);
        assert_eq!(Obelics::of(""), Obelics::default());
    }
}
