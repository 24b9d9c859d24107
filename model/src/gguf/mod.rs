//! Files of the GGUF form, in which `llama.cpp` and its kin keep language models (the specification:
//! `docs/gguf.md` of ggml-org/ggml; versions 2 and 3).
//!
//! A header has metadata by key and, for each tensor, its type, shape and place; the tensors follow.
//! Candle reads such files too, but trusts some of what they say (an alignment of 0 divides by it),
//! and keeps 32 bytes for each byte of a list. This header is read with every length checked before
//! memory is taken, and lists are passed over; tensors are read when they are asked for.

mod cursor;
mod header;
mod kind;

use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::{Error, Result};

pub(crate) use header::{Header, Place, Value};
pub(crate) use kind::Kind;

/// What is wrong with a file, for people.
type Outcome<T> = std::result::Result<T, String>;

/// A file whose header has been read. Memory holds the header: at most some ten times what it takes in
/// the file, its lists and longest texts left out.
pub(crate) struct GgufFile {
    pub(crate) path: PathBuf,
    pub(crate) header: Header,
    file: Mutex<File>,
}

impl GgufFile {
    /// Opens a file and checks its header.
    ///
    /// # Errors
    /// The file cannot be read, is of another form, or its header does not fit it.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file_error = |source| Error::File {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(file_error)?;
        let length = file.metadata().map_err(file_error)?.len();
        let header =
            Header::read(BufReader::new(&file), length).map_err(|cause| Error::Content {
                path: path.to_owned(),
                cause: format!("not a readable GGUF file: {cause}"),
            })?;
        Ok(Self {
            path: path.to_owned(),
            header,
            file: Mutex::new(file),
        })
    }

    /// What kind of model it holds; empty where it does not say.
    pub(crate) fn architecture(&self) -> String {
        match self.header.metadata.get("general.architecture") {
            Some(Value::Text(architecture)) => architecture.clone(),
            _ => String::new(),
        }
    }

    /// The bytes of a tensor.
    ///
    /// # Errors
    /// The file has become shorter, or cannot be read.
    pub(crate) fn bytes(&self, place: &Place) -> Result<Vec<u8>> {
        let mut bytes = vec![0; place.bytes];
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(place.start))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|source| Error::File {
                path: self.path.clone(),
                source,
            })?;
        Ok(bytes)
    }
}

/// Whether a path is a file that begins as GGUF files do.
///
/// # Errors
/// There is no such file, or it cannot be read.
pub(crate) fn is_gguf(path: &Path) -> Result<bool> {
    let file_error = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    if std::fs::metadata(path).map_err(file_error)?.is_dir() {
        return Ok(false);
    }
    let mut start = Vec::new();
    let file = File::open(path).map_err(file_error)?;
    file.take(header::MAGIC.len() as u64)
        .read_to_end(&mut start)
        .map_err(file_error)?;
    Ok(start == header::MAGIC)
}

#[cfg(test)]
mod tests;
