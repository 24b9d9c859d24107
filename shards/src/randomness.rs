//! Random draws that depend on names, never on the order of work.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use sha2::{Digest, Sha256};

/// A generator for one purpose: its stream is a pure function of the run's seed, of the purpose's
/// name and of what the draw is for.
///
/// `purpose` keeps draws apart that would otherwise share a stream, such as the window of a
/// document and the flip of its image.
pub(crate) fn generator(seed: u64, purpose: &str, parts: &[&[u8]]) -> ChaCha8Rng {
    let mut hash = Sha256::new();
    hash.update(seed.to_le_bytes());
    // Lengths keep ("ab", "c") apart from ("a", "bc").
    for part in std::iter::once(purpose.as_bytes()).chain(parts.iter().copied()) {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    ChaCha8Rng::from_seed(hash.finalize().into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::Rng;

    #[test]
    fn every_part_of_the_name_changes_the_stream() {
        let first = |seed, purpose, parts: &[&[u8]]| generator(seed, purpose, parts).next_u64();
        let base = first(1, "window", &[b"a", b"bc"]);
        assert_eq!(base, first(1, "window", &[b"a", b"bc"]));
        assert_ne!(base, first(2, "window", &[b"a", b"bc"]));
        assert_ne!(base, first(1, "flip", &[b"a", b"bc"]));
        assert_ne!(base, first(1, "window", &[b"ab", b"c"]));
    }
}
