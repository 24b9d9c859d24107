//! Documents that a corpus keeps from training.

use sha2::{Digest, Sha256};

/// Which of a corpus's documents a loader takes rows of.
///
/// Which are held out is told by a hash of their ids, and so of their URLs, alone: the same on every
/// run, in every process and in every corpus that has them, and more of them the larger the share is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Part {
    /// All.
    #[default]
    Whole,
    /// All but this share, from 0 to 1.
    Trained(f64),
    /// This share.
    HeldOut(f64),
}

impl Part {
    /// Whether it has the document of this id.
    #[must_use]
    pub fn has_document(self, id: &str) -> bool {
        match self {
            Self::Whole => true,
            Self::Trained(share) => place(id) >= share,
            Self::HeldOut(share) => place(id) < share,
        }
    }

    /// Whether it has the row of this id: that of a document, and the number of its window.
    pub(crate) fn has_row(self, id: &str) -> bool {
        let document = id.rsplit_once('-').map_or(id, |(document, _)| document);
        self.has_document(document)
    }
}

/// A place from 0 to 1, evenly spread.
fn place(id: &str) -> f64 {
    let digest = Sha256::digest(id.as_bytes());
    let first = digest
        .iter()
        .take(4)
        .fold(0_u32, |sum, byte| sum << 8 | u32::from(*byte));
    f64::from(first) / (f64::from(u32::MAX) + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_is_in_one_of_the_two_parts_with_all_its_windows() {
        let mut held_out = 0;
        for number in 0..2000 {
            let id = format!("{number:032x}");
            let is_held_out = Part::HeldOut(0.1).has_document(&id);
            assert_ne!(is_held_out, Part::Trained(0.1).has_document(&id));
            assert!(Part::Whole.has_document(&id));
            for window in 0..3 {
                let row = format!("{id}-{window}");
                assert_eq!(Part::HeldOut(0.1).has_row(&row), is_held_out);
            }
            // What is held out of little is held out of more.
            assert!(!is_held_out || Part::HeldOut(0.2).has_document(&id));
            held_out += usize::from(is_held_out);
        }
        assert!((150..250).contains(&held_out), "{held_out}");
        assert!(!Part::HeldOut(0.0).has_document("any"));
    }
}
