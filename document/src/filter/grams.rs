//! How often hashes occur: tables that one text needs a dozen times.
//!
//! Most n-grams of a text occur once. A first pass over all of them marks two bits for each, small
//! enough for the nearest cache; only what was marked twice is counted in a table. Memory is 2 bits
//! for each of 8 to 16 slots a hash, and at most 64 bytes for each that may occur again.

use std::hash::Hasher;

/// Odd, and without a pattern in its bits.
const MIX: u64 = 0x9e37_79b9_7f4a_7c15;

/// Counts hashes; what it holds is taken again for the next n.
#[derive(Default)]
pub(super) struct Grams {
    /// Two bits for each slot: seen, and seen again.
    marks: Vec<u64>,
    places: Vec<u32>,
    slots: Vec<Slot>,
    shift: u32,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    hash: u64,
    first: u32,
    /// 0 where nothing is.
    count: u32,
}

impl Grams {
    /// Finds the places of hashes that may occur more than once, and makes an empty table for them.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a text of so many words has no room in memory"
    )]
    pub(super) fn look_at(&mut self, hashes: &[u64]) {
        let slots = (8 * hashes.len()).next_power_of_two().max(32);
        let shift = u64::BITS - slots.trailing_zeros();
        self.marks.clear();
        self.marks.resize(slots / 32, 0);
        let slot = |hash: u64| (hash.wrapping_mul(MIX) >> shift) as usize;
        for &hash in hashes {
            let slot = slot(hash);
            let marks = &mut self.marks[slot / 32];
            let first = 2 * (slot % 32);
            *marks |= 1 << first | (*marks >> first & 1) << (first + 1);
        }
        self.places.clear();
        self.places.resize(hashes.len(), 0);
        let mut found = 0;
        for (at, &hash) in hashes.iter().enumerate() {
            let slot = slot(hash);
            // Written always, kept where it was marked twice: which it is nobody can foresee.
            self.places[found] = at as u32;
            found += (self.marks[slot / 32] >> (2 * (slot % 32) + 1) & 1) as usize;
        }
        self.places.truncate(found);
        let size = (2 * found).next_power_of_two().max(2);
        self.slots.clear();
        self.slots.resize(size, Slot::default());
        self.shift = u64::BITS - size.trailing_zeros();
    }

    /// How many hashes may occur more than once; all others do not.
    pub(super) fn candidates(&self) -> usize {
        self.places.len()
    }

    /// The place of one of them.
    pub(super) fn candidate(&self, index: usize) -> usize {
        self.places[index] as usize
    }

    /// Counts a hash that stands at `at`, of those places: where it stood first, and how often it
    /// was counted by now.
    #[expect(
        clippy::cast_possible_truncation,
        reason = "a table this large has no room in memory"
    )]
    pub(super) fn count(&mut self, hash: u64, at: usize) -> (usize, usize) {
        let mask = self.slots.len() - 1;
        let mut index = (hash.wrapping_mul(MIX) >> self.shift) as usize;
        loop {
            let slot = &mut self.slots[index];
            if slot.count == 0 {
                *slot = Slot {
                    hash,
                    first: at as u32,
                    count: 1,
                };
                return (at, 1);
            }
            if slot.hash == hash {
                slot.count += 1;
                return (slot.first as usize, slot.count as usize);
            }
            index = (index + 1) & mask;
        }
    }

    /// How many different hashes there are, and how often each occurs that does so more than once.
    pub(super) fn repeated(&mut self, hashes: &[u64]) -> (usize, Vec<usize>) {
        self.look_at(hashes);
        let mut distinct = hashes.len() - self.candidates();
        for index in 0..self.candidates() {
            let at = self.candidate(index);
            distinct += usize::from(self.count(hashes[at], at).1 == 1);
        }
        let counts = self.slots.iter().map(|slot| slot.count as usize);
        (distinct, counts.filter(|count| *count > 1).collect())
    }
}

/// A hash of bytes that are few: of words and lines.
pub(super) fn hash(bytes: &[u8]) -> u64 {
    const LENGTH: u64 = 0xff51_afd7_ed55_8ccd;
    let read = |at: usize| {
        bytes[at..]
            .first_chunk()
            .map_or(0, |b| u64::from_le_bytes(*b))
    };
    let half = |at: usize| {
        let four = bytes[at..]
            .first_chunk()
            .map_or(0, |b| u32::from_le_bytes(*b));
        u64::from(four)
    };
    let mut hash = (bytes.len() as u64 + 1).wrapping_mul(LENGTH);
    match bytes.len() {
        0 => {}
        length @ 1..=3 => {
            let three = [bytes[0], bytes[length / 2], bytes[length - 1]];
            hash = mixed(
                hash,
                u64::from_le_bytes([three[0], three[1], three[2], 0, 0, 0, 0, 0]),
            );
        }
        length @ 4..=7 => hash = mixed(hash, half(0) << 32 | half(length - 4)),
        length => {
            for at in (0..length - 8).step_by(8) {
                hash = mixed(hash, read(at));
            }
            hash = mixed(hash, read(length - 8));
        }
    }
    hash
}

fn mixed(hash: u64, value: u64) -> u64 {
    let product = u128::from(hash ^ value) * u128::from(MIX);
    #[expect(clippy::cast_possible_truncation, reason = "both halves are taken")]
    let folded = product as u64 ^ (product >> 64) as u64;
    folded.rotate_left(23)
}

/// [`hash`] for the collections of the standard library.
#[derive(Default)]
pub(super) struct Hashed(u64);

impl Hasher for Hashed {
    fn write(&mut self, bytes: &[u8]) {
        self.0 = mixed(self.0, hash(bytes));
    }

    /// The end of a string: its length is in its hash.
    fn write_u8(&mut self, _: u8) {}

    fn finish(&self) -> u64 {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_occurs_again_is_counted(values in proptest::collection::vec(0_u64..40, 0..200)) {
            let mut expected = BTreeMap::new();
            for value in &values {
                *expected.entry(value).or_insert(0_usize) += 1;
            }
            let hashes: Vec<u64> = values.iter().map(|value| hash(&value.to_le_bytes())).collect();
            let (distinct, mut counts) = Grams::default().repeated(&hashes);
            prop_assert_eq!(distinct, expected.len());
            counts.sort_unstable();
            let mut again: Vec<usize> = expected.into_values().filter(|count| *count > 1).collect();
            again.sort_unstable();
            prop_assert_eq!(counts, again);
        }

        #[test]
        fn one_byte_changes_the_hash(bytes in proptest::collection::vec(any::<u8>(), 1..40), at: usize) {
            let mut other = bytes.clone();
            let at = at % bytes.len();
            other[at] ^= 1;
            prop_assert_ne!(hash(&bytes), hash(&other));
            prop_assert_ne!(hash(&bytes), hash(&bytes[1..]));
        }
    }
}
