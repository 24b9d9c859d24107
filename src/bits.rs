//! One bit for each input.

/// A set of numbers from 0 up, a bit for each: 1.2 MB for ten million.
#[derive(Debug, Clone, Default)]
pub struct Bits {
    words: Vec<u64>,
    count: u64,
}

impl Bits {
    /// Adds a number.
    pub fn insert(&mut self, number: u64) {
        let (word, bit) = place(number);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        self.count += u64::from(self.words[word] & bit == 0);
        self.words[word] |= bit;
    }

    /// Whether a number is in the set.
    #[must_use]
    pub fn contains(&self, number: u64) -> bool {
        let (word, bit) = place(number);
        self.words.get(word).is_some_and(|word| word & bit != 0)
    }

    /// How many numbers are in the set.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }
}

fn place(number: u64) -> (usize, u64) {
    let word = usize::try_from(number / 64).unwrap_or(usize::MAX);
    (word, 1 << (number % 64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_put_in_is_in_and_counted_once() {
        let mut bits = Bits::default();
        for number in [0, 63, 64, 1000, 64] {
            bits.insert(number);
        }
        assert_eq!(bits.count(), 4);
        let found: Vec<u64> = (0..2000).filter(|number| bits.contains(*number)).collect();
        assert_eq!(found, [0, 63, 64, 1000]);
    }
}
