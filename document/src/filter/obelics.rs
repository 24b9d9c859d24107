//! OBELICS' measures of a text: does it say things, or repeat and list them?
//!
//! Source: Laurençon et al. 2023 (arXiv 2306.16527), appendix A, and the program that made the
//! corpus (huggingface/OBELICS, `web_document_filtering.py`), whose readings these are: a word is
//! what white space bounds, in lower case, stripped of all that is not a letter at both ends;
//! repetition of characters is the share of the most frequent 10-grams, as many as the square root of
//! how many there are and occur more than once; that of words the share of 5-grams that occur more
//! than once. Where it lists special characters, ours are all but letters and marks on them.
//!
//! Its list of common words and its perplexity are no part of this: they are made from other corpora.
//! Flagged and spam words are counted by lists that a user gives, see [`super::word_list`].

use std::sync::LazyLock;

use super::grams::{self, Grams, hash};
use super::quality::share;
use super::words::classes::chunks;

/// Characters in the n-grams of [`Obelics::character_repetition`].
const CHARACTERS: usize = 10;
/// Words in the n-grams of [`Obelics::word_repetition`].
const WORDS: usize = 5;
/// Odd, so that multiplying loses nothing.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
const LAST: u64 = 0xc2b2_ae3d_27d4_eb4f;

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
    /// How many of both there are.
    pub tokens: usize,
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
        let (mut characters, mut letters, mut marks, mut tokens) = (0, 0, 0, 0);
        let mut was_within = 0;
        for c in text.chars() {
            let class = class(c);
            characters += 1;
            letters += usize::from(class & LETTER);
            let (is_mark, is_within) = (usize::from(class >> 1 & 1), usize::from(class >> 2));
            marks += is_mark;
            tokens += is_mark + (is_within & !was_within);
            was_within = is_within;
        }
        let special = characters - letters;
        let mut stops = 0;
        let mut hashes = Vec::with_capacity(text.len() / 5);
        bare_words(text, |word| {
            let hash = hash(word.as_bytes());
            stops += usize::from(is_stop_word(word, hash));
            hashes.push(hash);
        });
        let grams = hashes.windows(WORDS).map(|gram| {
            gram.iter().fold(0_u64, |gram, word| {
                gram.wrapping_mul(BASE).wrapping_add(*word)
            })
        });
        let grams: Vec<u64> = grams.collect();
        let mut table = Grams::default();
        let repeated = table.repeated(&grams).1.into_iter().sum();
        Self {
            words: hashes.len(),
            character_repetition: character_repetition(text, &mut table),
            word_repetition: share(repeated, grams.len()),
            special_characters: share(special, characters),
            stop_words: share(stops, hashes.len()),
            punctuation: share(marks, tokens),
            tokens,
        }
    }
}

/// Calls `see` with each word that has a letter, stripped and in lower case.
pub(super) fn bare_words(text: &str, mut see: impl FnMut(&str)) {
    let mut lower = String::new();
    for word in chunks(text) {
        let word = stripped(word);
        if word.is_empty() {
            continue;
        }
        lower.clear();
        if word.is_ascii() {
            lower.push_str(word);
            lower.make_ascii_lowercase();
        } else {
            lower.push_str(&word.to_lowercase());
        }
        see(&lower);
    }
}

/// The word without what is no letter at both ends.
fn stripped(word: &str) -> &str {
    let is_bare = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphabetic);
    let bytes = word.as_bytes();
    if is_bare(bytes.first()) && is_bare(bytes.last()) {
        word
    } else {
        word.trim_matches(|c| !is_letter(c))
    }
}

fn character_repetition(text: &str, table: &mut Grams) -> f64 {
    let hashes: Vec<u64> = if text.is_ascii() {
        // Ten bytes are two numbers.
        let grams = text.as_bytes().windows(CHARACTERS).map(|gram| {
            let first = gram.first_chunk().map_or(0, |b| u64::from_le_bytes(*b));
            let last = gram.last_chunk().map_or(0, |b| u16::from_le_bytes(*b));
            first
                .wrapping_mul(BASE)
                .wrapping_add(u64::from(last).wrapping_mul(LAST))
        });
        grams.collect()
    } else {
        let characters: Vec<char> = text.chars().collect();
        let highest = BASE.wrapping_pow(CHARACTERS as u32);
        let mut rolling = 0_u64;
        let mut hashes = Vec::with_capacity(characters.len());
        for (index, c) in characters.iter().enumerate() {
            rolling = rolling
                .wrapping_mul(BASE)
                .wrapping_add(u64::from(u32::from(*c)) + 1);
            if index >= CHARACTERS {
                let gone = u64::from(u32::from(characters[index - CHARACTERS])) + 1;
                rolling = rolling.wrapping_sub(gone.wrapping_mul(highest));
            }
            if index + 1 >= CHARACTERS {
                hashes.push(rolling);
            }
        }
        hashes
    };
    let (distinct, mut counts) = table.repeated(&hashes);
    counts.sort_unstable_by(|a, b| b.cmp(a));
    let frequent = counts.iter().take(distinct.isqrt()).sum();
    share(frequent, hashes.len())
}

/// Whether a word in lower case, of this hash, is on the list.
fn is_stop_word(word: &str, hash: u64) -> bool {
    /// For each end of a hash the words that have it, of which there is rarely more than one.
    static PLACES: LazyLock<Vec<Vec<&str>>> = LazyLock::new(|| {
        let mut places = vec![Vec::new(); 1024];
        for word in STOP_WORDS {
            places[grams::hash(word.as_bytes()) as usize % 1024].push(*word);
        }
        places
    });
    PLACES[hash as usize % PLACES.len()].contains(&word)
}

const LETTER: u8 = 1;
const MARK: u8 = 2;
/// Part of a token that is no mark.
const WITHIN: u8 = 4;

/// What a character is: the bits above.
fn class(c: char) -> u8 {
    const ASCII: [u8; 128] = {
        let mut classes = [0; 128];
        let mut c = 0;
        while c < 128 {
            let byte = c as u8;
            classes[c] = match byte {
                b'a'..=b'z' | b'A'..=b'Z' => LETTER | WITHIN,
                b'0'..=b'9' | b'_' | b'\'' => WITHIN,
                b',' | b';' | b':' | b'?' | b'!' | b'.' => MARK,
                _ => 0,
            };
            c += 1;
        }
        classes
    };
    match ASCII.get(c as usize) {
        Some(class) => *class,
        None if is_letter(c) => LETTER | WITHIN,
        None if c.is_numeric() => WITHIN,
        None => 0,
    }
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
            assert!(is_stop_word(word, hash(word.as_bytes())), "{word}");
        }
        for word in ["", "robin", "zebra", "'tis", "élan", "thee", "an't"] {
            assert!(!is_stop_word(word, hash(word.as_bytes())), "{word}");
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
