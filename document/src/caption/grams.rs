//! Words and pairs of words, for rules of frequency.

use sha2::{Digest, Sha256};

/// The hashes of a caption's unigrams and bigrams: its words in lower case, signs left out, each
/// alone and with the one before it.
///
/// ALIGN (Jia et al. 2021, section 3) drops captions with a rare unigram or bigram; which are rare
/// only the whole list can tell. A hash has 64 bits of a SHA-256, the same on every machine.
pub fn grams(caption: &str) -> impl Iterator<Item = u64> {
    let words = caption
        .split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .map(str::to_lowercase);
    let mut last: Option<String> = None;
    words.flat_map(move |word| {
        let pair = last
            .take()
            .map(|before| hash(&[before.as_bytes(), b" ", word.as_bytes()]));
        let alone = hash(&[word.as_bytes()]);
        last = Some(word);
        std::iter::once(alone).chain(pair)
    })
}

/// 64 bits of the SHA-256 of these parts one after the other.
#[must_use]
pub fn hash(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
    }
    let [a, b, c, d, e, f, g, h, ..]: [u8; 32] = hash.finalize().into();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caption_has_its_words_and_their_neighbours() {
        let of = |text| grams(text).collect::<Vec<u64>>();
        assert_eq!(of("A cat, a CAT").len(), 4 + 3);
        assert_eq!(of("A cat, a CAT")[..3], of("a-cat")[..]);
        assert_ne!(of("a b")[2], of("ab")[0]);
        assert!(of(" -- ").is_empty());
    }
}
