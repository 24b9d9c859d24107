//! Where clips of videos begin.

use rand::RngExt;

use crate::randomness::generator;

/// The start of a clip, from 0 to `latest_ms`: a pure function of the seed and of the clip's name,
/// which is whatever tells it from others.
#[must_use]
pub fn clip_start_ms(seed: u64, name: &[u8], latest_ms: u64) -> u64 {
    generator(seed, "clip", &[name]).random_range(0..=latest_ms)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_begins_anywhere_and_always_in_the_same_place() {
        let start = |seed, name: &str| clip_start_ms(seed, name.as_bytes(), 1000);
        assert_eq!(start(1, "a"), start(1, "a"));
        let starts: Vec<u64> = (0..200).map(|seed| start(seed, "a")).collect();
        assert!(starts.iter().all(|start| *start <= 1000));
        assert!(starts.iter().any(|start| *start < 100));
        assert!(starts.iter().any(|start| *start > 900));
        assert_eq!(clip_start_ms(1, b"a", 0), 0);
    }
}
