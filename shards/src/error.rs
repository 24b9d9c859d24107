//! What can go wrong in this crate.

use std::io;
use std::path::{Path, PathBuf};

/// An error of this crate: a broken file, a full disk, a configuration that cannot hold.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file or folder could not be read or written.
    #[error("{path}: {source}", path = path.display())]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A tokenizer file is not one that can be used.
    #[error(
        "tokenizer {name}: {problem}: give a `tokenizer.json` of the Hugging Face tokenizers \
         library, or train one"
    )]
    Tokenizer {
        /// The file's name.
        name: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The tokenizer failed on a text.
    #[error("the tokenizer failed on a text of {bytes} bytes: {problem}")]
    Encode {
        /// Length of the text.
        bytes: usize,
        /// What the tokenizer said.
        problem: String,
    },
    /// The tokenizer failed to turn ids into text.
    #[error("the tokenizer failed to decode {tokens} ids: {problem}")]
    Decode {
        /// Number of ids.
        tokens: usize,
        /// What the tokenizer said.
        problem: String,
    },
    /// A tokenizer could not be trained.
    #[error("training a tokenizer of {vocabulary_size} tokens: {problem}")]
    Training {
        /// The size asked for.
        vocabulary_size: usize,
        /// Why it could not be.
        problem: String,
    },
    /// A value of a configuration cannot hold.
    #[error("`{key}` is {value}: {requirement}")]
    Config {
        /// Name of the setting.
        key: &'static str,
        /// Its value.
        value: String,
        /// What it must be.
        requirement: &'static str,
    },
    /// A file is not readable as Parquet.
    #[error("shard {path}: {problem}", path = path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What the Parquet library said.
        problem: String,
    },
    /// A shard was written by another version of the schema.
    #[error(
        "shard {path} has schema version {found}, this build reads up to {supported}: rebuild it \
         or update m3w",
        path = path.display()
    )]
    SchemaVersion {
        /// The file.
        path: PathBuf,
        /// The version it says it has.
        found: String,
        /// The newest version that this build reads.
        supported: u32,
    },
    /// A Parquet file is not a shard of the kind that was expected.
    #[error("{path} is not a shard of {kind}: {problem}", path = path.display())]
    WrongSchema {
        /// The file.
        path: PathBuf,
        /// `documents` or `sequences`.
        kind: &'static str,
        /// The first difference.
        problem: String,
    },
    /// A row of a shard breaks what the schema promises, or could not be written as one.
    #[error("shard {path}, row {row}: {problem}", path = path.display())]
    Row {
        /// The file.
        path: PathBuf,
        /// Number of the row in the file, from 0.
        row: u64,
        /// What is wrong.
        problem: String,
    },
    /// A manifest is missing, damaged, or of another version.
    #[error("manifest {path}: {problem}", path = path.display())]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// Shards were made for another tokenizer, or do not fit together.
    #[error("shards in {path}: {problem}", path = path.display())]
    Mismatch {
        /// Their folder.
        path: PathBuf,
        /// What differs.
        problem: String,
    },
    /// A file's content is not what the manifest recorded.
    #[error(
        "{path} differs from its manifest ({problem}): restore it from a copy or build it again",
        path = path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What differs.
        problem: String,
    },
    /// A loader's state does not belong to the shards it was given.
    #[error("loader state: {problem}: resume with the shards and settings it was saved with")]
    State {
        /// What differs.
        problem: String,
    },
    /// The thread that prepares batches is gone.
    #[error("the loader has stopped after an earlier error")]
    Stopped,
}

impl Error {
    pub(crate) fn io(path: &Path) -> impl FnOnce(io::Error) -> Self + '_ {
        |source| Self::Io {
            path: path.to_owned(),
            source,
        }
    }

    pub(crate) fn parquet(path: &Path, problem: impl std::fmt::Display) -> Self {
        Self::Parquet {
            path: path.to_owned(),
            problem: problem.to_string(),
        }
    }

    pub(crate) fn row(path: &Path, row: u64, problem: impl Into<String>) -> Self {
        Self::Row {
            path: path.to_owned(),
            row,
            problem: problem.into(),
        }
    }
}
