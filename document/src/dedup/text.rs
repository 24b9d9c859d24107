//! Prints of texts.

use super::mixed;

/// Words in a shingle, the pieces that MinHash compares.
///
/// Five, as is common, lose too much: where a word in twenty is another, 0.77 of all shingles of
/// five are left and 0.63 of those of either text are in both (Jaccard); of three, 0.86 and 0.75.
pub const SHINGLE_WORDS: usize = 3;
/// Bands: texts that agree in one are compared.
pub const BANDS: usize = 24;
/// Minima in a band, each of another permutation. Texts whose shingles have the Jaccard similarity
/// J agree in a band with the probability 1 - (1 - J^4)^24: 0.9999 at 0.75, 0.99 at 0.65, 0.04 at
/// 0.2, and one in four million at 0.01.
pub const ROWS: usize = 4;
/// Most words of a sketch.
const SKETCH_WORDS: usize = 256;
/// Bytes of a stored sketch.
pub const SKETCH_BYTES: usize = 4 * (SKETCH_WORDS + 1);

/// The words of a text in their order, each as a hash: runs of letters and digits, small letters
/// for capitals. In scripts that are written without spaces each character is a word.
#[must_use]
pub fn words(text: &str) -> Vec<u64> {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    let mut words = Vec::new();
    let mut hash = OFFSET;
    for character in text.chars() {
        let is_alone = is_unspaced(character);
        if (is_alone || !character.is_alphanumeric()) && hash != OFFSET {
            words.push(mixed(hash));
            hash = OFFSET;
        }
        if is_alone {
            words.push(mixed(u64::from(u32::from(character))));
        } else if character.is_alphanumeric() {
            for small in character.to_lowercase() {
                hash = (hash ^ u64::from(u32::from(small))).wrapping_mul(PRIME);
            }
        }
    }
    if hash != OFFSET {
        words.push(mixed(hash));
    }
    words
}

/// Letters of scripts without spaces between words: Thai, Lao, Burmese, Khmer, Kana, Han.
fn is_unspaced(character: char) -> bool {
    matches!(character,
        '\u{0e01}'..='\u{0eff}' | '\u{1000}'..='\u{109f}' | '\u{1780}'..='\u{17ff}'
        | '\u{3041}'..='\u{30ff}' | '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}'
        | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{3ffff}')
        && character.is_alphanumeric()
}

/// A sequence of words as one hash.
#[must_use]
pub fn gram(words: &[u64]) -> u64 {
    let sum = words.iter().fold(0_u64, |sum, word| {
        sum.wrapping_mul(BASE).wrapping_add(*word)
    });
    mixed(sum)
}

/// [`gram`] of every `length` words that follow each other, in their order.
pub fn grams(words: &[u64], length: usize) -> impl Iterator<Item = u64> {
    // A word leaves the sum with the weight that it has got meanwhile.
    let weight = (0..length).fold(1_u64, |weight, _| weight.wrapping_mul(BASE));
    let mut sum = 0_u64;
    words.iter().enumerate().filter_map(move |(index, word)| {
        sum = sum.wrapping_mul(BASE).wrapping_add(*word);
        let leaves = index.checked_sub(length).map(|at| words[at]);
        sum = sum.wrapping_sub(leaves.unwrap_or(0).wrapping_mul(weight));
        (length > 0 && index + 1 >= length).then(|| mixed(sum))
    })
}

const BASE: u64 = 0x9e37_79b9_7f4a_7c15;

/// MinHash over shingles of [`SHINGLE_WORDS`] (Broder 1997), in bands (Leskovec, Rajaraman and
/// Ullman, Mining of Massive Datasets, section 3.4): a hash for each. None for fewer words than a
/// shingle has.
#[must_use]
pub fn bands(words: &[u64]) -> Option<[u64; BANDS]> {
    const PERMUTATIONS: usize = BANDS * ROWS;
    const PAIRS: [(u64, u64); PERMUTATIONS] = {
        let mut pairs = [(0, 0); PERMUTATIONS];
        let mut index = 0;
        let mut state = 0x6d33_7764_6564_7570_u64;
        while index < PERMUTATIONS {
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            let factor = (state ^ (state >> 29)) | 1;
            state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            pairs[index] = (factor, state ^ (state >> 31));
            index += 1;
        }
        pairs
    };
    let mut least = [u32::MAX; PERMUTATIONS];
    let mut has_any = false;
    for shingle in grams(words, SHINGLE_WORDS) {
        has_any = true;
        for (least, (factor, summand)) in least.iter_mut().zip(&PAIRS) {
            // The high half of a product by an odd number: all bits of the shingle count there.
            let value = (shingle.wrapping_mul(*factor).wrapping_add(*summand) >> 32) as u32;
            *least = (*least).min(value);
        }
    }
    has_any.then(|| {
        std::array::from_fn(|band| {
            let rows = &least[band * ROWS..(band + 1) * ROWS];
            let rows = rows.iter().fold(band as u64, |hash, value| {
                mixed(hash.wrapping_mul(BASE) ^ u64::from(*value))
            });
            mixed(rows)
        })
    })
}

/// The bag of a text's words, or 256 of its members where there are more: those with the least
/// hashes (bottom-k sketch, Cohen and Kaplan 2007). Up to 256 words similarities are exact, above
/// their standard error is at most 0.03.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sketch {
    /// Hashes of word and how often it stood before, rising.
    members: Vec<u32>,
}

impl Sketch {
    /// The sketch of a text with these words.
    #[must_use]
    pub fn of(words: &[u64]) -> Self {
        let mut sorted = words.to_vec();
        sorted.sort_unstable();
        let mut members: Vec<u32> = sorted
            .chunk_by(|one, next| one == next)
            .flat_map(|same| (0..).zip(same))
            .map(|(before, word)| {
                (mixed(word.wrapping_add(u64::wrapping_mul(before, BASE))) >> 32) as u32
            })
            .collect();
        members.sort_unstable();
        members.dedup();
        members.truncate(SKETCH_WORDS);
        Self { members }
    }

    /// Words that both have, as a share of those that either has (Jaccard similarity of bags): 0.9
    /// where one word in twenty is another.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> f64 {
        let (mut one, mut two) = (self.members.as_slice(), other.members.as_slice());
        let (mut common, mut all) = (0_u32, 0_u32);
        while all < SKETCH_WORDS as u32 {
            let (first, second) = match (one.first(), two.first()) {
                (None, None) => break,
                (first, second) => (
                    first.map_or(u64::MAX, |value| u64::from(*value)),
                    second.map_or(u64::MAX, |value| u64::from(*value)),
                ),
            };
            all += 1;
            common += u32::from(first == second);
            one = &one[usize::from(first <= second)..];
            two = &two[usize::from(second <= first)..];
        }
        if all == 0 {
            return 0.0;
        }
        f64::from(common) / f64::from(all)
    }

    /// The form in which it is stored: [`SKETCH_BYTES`] bytes.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(SKETCH_BYTES);
        bytes.extend((self.members.len() as u32).to_le_bytes());
        for member in &self.members {
            bytes.extend(member.to_le_bytes());
        }
        bytes.resize(SKETCH_BYTES, 0);
        bytes
    }

    /// The sketch with that form; bytes that are none make some other sketch.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut numbers = bytes
            .chunks_exact(4)
            .map(|bytes| u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]));
        let count = numbers.next().unwrap_or(0) as usize;
        Self {
            members: numbers.take(count).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn numbered(range: std::ops::Range<usize>) -> String {
        range.map(|word| format!("w{word} ")).collect()
    }

    #[test]
    fn case_and_marks_make_no_other_word_and_unspaced_scripts_have_one_for_each_letter() {
        assert_eq!(words("The Cat, (again)!"), words("the cat again"));
        assert_eq!(words("東京都 in 2024").len(), 5);
        assert_ne!(words("ab c"), words("a bc"));
    }

    #[test]
    fn one_word_in_twenty_is_found_and_measured() {
        for length in [40, 100, 400, 2000] {
            let original = words(&numbered(0..length));
            let mut changed = original.clone();
            for place in (7..length).step_by(20) {
                changed[place] = words(&format!("x{place}"))[0];
            }
            let similarity = Sketch::of(&original).similarity(&Sketch::of(&changed));
            assert!((similarity - 0.905).abs() < 0.06, "{length}: {similarity}");
            let (one, two) = (bands(&original).unwrap(), bands(&changed).unwrap());
            assert!(one.iter().any(|band| two.contains(band)), "{length}");
        }
    }

    #[test]
    fn other_texts_share_no_band() {
        let one = bands(&words(&numbered(0..500))).unwrap();
        let two = bands(&words(&numbered(500..1000))).unwrap();
        assert!(one.iter().all(|band| !two.contains(band)));
        assert_eq!(bands(&words("two words")), None);
    }

    proptest! {
        #[test]
        fn grams_of_all_windows_are_those_of_each(
            words in proptest::collection::vec(any::<u64>(), 0..30),
            length in 1_usize..14,
        ) {
            let expected: Vec<u64> = words.windows(length).map(gram).collect();
            prop_assert_eq!(grams(&words, length).collect::<Vec<_>>(), expected);
        }

        #[test]
        fn similarity_is_that_of_the_bags_and_survives_storage(
            one in proptest::collection::vec(0_u64..40, 0..100),
            two in proptest::collection::vec(0_u64..40, 0..100),
        ) {
            let count = |words: &[u64], word| words.iter().filter(|other| **other == word).count();
            let (mut common, mut all) = (0, 0);
            for word in 0..40 {
                let (first, second) = (count(&one, word), count(&two, word));
                common += first.min(second);
                all += first.max(second);
            }
            let expected = if all == 0 { 0.0 } else { common as f64 / all as f64 };
            let (one, two) = (Sketch::of(&one), Sketch::of(&two));
            prop_assert_eq!(one.similarity(&two), expected);
            prop_assert_eq!(two.similarity(&one), expected);
            prop_assert_eq!(&Sketch::from_bytes(&one.to_bytes()), &one);
        }
    }
}
