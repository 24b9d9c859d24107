//! The settings of a deduplication.

use anyhow::{Result, bail};
use serde::{Deserialize, Serialize};

/// What counts as a repetition. See `configs/dedup.toml`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DedupConfig {
    /// Memory for records that are sorted, in MiB.
    pub memory_mib: usize,
    /// Repeated texts of documents.
    pub text: TextConfig,
    /// Repeated paragraphs of a host.
    pub paragraphs: ParagraphConfig,
    /// Repeated pictures.
    pub images: ImageConfig,
    /// What must not be in training data.
    pub protect: ProtectConfig,
}

impl Default for DedupConfig {
    fn default() -> Self {
        Self {
            memory_mib: 64,
            text: TextConfig::default(),
            paragraphs: ParagraphConfig::default(),
            images: ImageConfig::default(),
            protect: ProtectConfig::default(),
        }
    }
}

/// When two documents say the same.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TextConfig {
    /// Fewest words of a text that is compared: shorter ones are alike by chance.
    pub min_words: usize,
    /// Share of words in common from which texts repeat each other; above 1 only equal ones do.
    pub similarity: f64,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self {
            min_words: 20,
            similarity: 0.8,
        }
    }
}

/// When a paragraph is furniture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ParagraphConfig {
    /// Documents of a host from which on a paragraph that stands in all of them goes (Laurençon et
    /// al. 2023, OBELICS, section 3.2); 0: none does.
    pub min_documents: u64,
}

impl Default for ParagraphConfig {
    fn default() -> Self {
        Self { min_documents: 3 }
    }
}

/// When a picture is one that was there before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ImageConfig {
    /// Likeness from which pictures are the same; above 1 only those of equal bytes are.
    pub likeness: f64,
    /// Most documents that a picture may stand in; one that is in more goes from all of them
    /// (OBELICS, as above); 0: any number.
    pub max_documents: u64,
    /// Whether the second of like pictures in a document goes.
    pub within_document: bool,
    /// Whether documents of a host and language with the same set of pictures repeat each other.
    pub same_sets: bool,
}

impl Default for ImageConfig {
    fn default() -> Self {
        Self {
            likeness: 0.8,
            max_documents: 10,
            within_document: true,
            same_sets: true,
        }
    }
}

/// How the texts of evaluations are looked for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ProtectConfig {
    /// Words that follow each other in a protected text and in a document (Brown et al. 2020, GPT-3,
    /// appendix C).
    pub gram_words: usize,
    /// A protected text of fewer words than that is looked for whole, if it has at least so many.
    pub min_words: usize,
}

impl Default for ProtectConfig {
    fn default() -> Self {
        Self {
            gram_words: 13,
            min_words: 8,
        }
    }
}

impl DedupConfig {
    /// Refuses values with which nothing can be found.
    ///
    /// # Errors
    ///
    /// Names the first such key and what it may be.
    pub fn check(&self) -> Result<()> {
        for (key, value) in [
            ("memory_mib", self.memory_mib),
            ("protect.min_words", self.protect.min_words),
        ] {
            if value == 0 {
                bail!("`{key}` is 0: set it to 1 or more");
            }
        }
        if self.protect.gram_words < self.protect.min_words {
            bail!("`protect.gram_words` is less than `protect.min_words`: set it to that or more");
        }
        for (key, value) in [
            ("text.similarity", self.text.similarity),
            ("images.likeness", self.images.likeness),
        ] {
            if !(value > 0.0 && value.is_finite()) {
                bail!("`{key}` is {value}: set it above 0, and above 1 to compare nothing");
            }
        }
        Ok(())
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.memory_mib << 20
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::differences;

    #[test]
    fn the_file_of_defaults_says_what_the_defaults_are() {
        let file: toml::Table = include_str!("../../configs/dedup.toml").parse().unwrap();
        let defaults = toml::Table::try_from(DedupConfig::default()).unwrap();
        assert_eq!(differences(&file, &defaults), Vec::<String>::new());
    }

    #[test]
    fn settings_that_find_nothing_are_named() {
        let check = |settings: &str| toml::from_str::<DedupConfig>(settings).unwrap().check();
        assert!(check("").is_ok());
        for (settings, key) in [
            ("memory_mib = 0", "memory_mib"),
            ("[text]\nsimilarity = 0.0", "text.similarity"),
            ("[images]\nlikeness = nan", "images.likeness"),
            ("[protect]\ngram_words = 5", "protect.gram_words"),
        ] {
            let refused = check(settings).unwrap_err().to_string();
            assert!(refused.contains(key), "{settings}: {refused}");
        }
    }
}
