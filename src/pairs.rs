//! Pairs: a picture with its caption, from lists of URLs, archives and folders.
//!
//! A pair is a document of two elements, a picture and its caption, and goes the way of a page from
//! there on: the same journal and shards, the same filters of pictures, the same packing. What is
//! its own stands here: how rows are read, whatever they hold ([`PairSource::rows`]); which are
//! refused before anything is fetched, for what only the whole list can tell
//! ([`PairSource::refusals`]); and how a row becomes a document ([`Pair::document`]).
//!
//! Every row has an outcome with a reason: those of the row begin with `input/`, those of the
//! caption with `caption/`, and the rest is named as for pages.
//!
//! Memory does not grow with the list but for a few bits for each row, see
//! [`crate::hashes::Hashes`].

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use m3w_document::{Document, DocumentId, Element, Image, Reason, Sha256, Text};
use md5::{Digest, Md5};
use url::Url;

mod archive;
mod columnar;
mod config;
mod delimited;
mod folder;
mod frequency;
mod inputs;
mod row;
mod sample;
mod table;

pub use archive::{ArchiveError, Found, Member, members};
pub use config::{Columns, Kind, PairsConfig};
pub use frequency::Refusals;
pub(crate) use inputs::files_with;

use inputs::Input;
use row::{Row, cleaned};

use crate::interleaved::Held;
use crate::video::Span;

/// A picture or a video with its caption, before it was fetched.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair {
    /// The picture.
    pub media: Media,
    /// The caption, as it came or cleaned.
    pub caption: String,
    /// What its bytes have to be.
    pub checksums: Checksums,
    /// Of a video, the part that the caption is of, where that is known.
    pub span: Option<Span>,
}

/// Where a picture is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Media {
    /// On the web.
    Url(Url),
    /// In a file.
    Stored(Stored),
    /// In memory.
    Held(Held),
}

/// A picture in a file on this machine: the file itself, or a part of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stored {
    /// The file.
    pub file: Arc<Path>,
    /// Where in it the picture begins.
    pub offset: u64,
    /// Its length in bytes.
    pub length: u64,
    /// What it is called in the corpus: the URL that it was fetched from, where that is known;
    /// otherwise a `file:` URL that begins at the input.
    pub url: Url,
}

impl Media {
    /// The URL that it has in the corpus.
    #[must_use]
    pub fn into_url(self) -> Url {
        match self {
            Self::Url(url) => url,
            Self::Stored(stored) => stored.url,
            Self::Held(held) => held.url,
        }
    }
}

impl Stored {
    /// Its bytes.
    ///
    /// # Errors
    ///
    /// `input/unreadable`, also if the file has become shorter.
    pub fn read(&self) -> Result<Vec<u8>, Reason> {
        sample::read(&self.file, self.offset, self.length)
    }
}

/// Digests that a list promises; bytes with others are refused. A domain that changed hands can
/// put anything in a picture's place.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Checksums {
    /// SHA-256.
    pub sha256: Option<Sha256>,
    /// MD5: good against chance, not against malice; lists have it.
    pub md5: Option<[u8; 16]>,
}

impl Checksums {
    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// Refuses other bytes than those promised.
    ///
    /// # Errors
    ///
    /// `input/wrong-hash`.
    pub fn check(&self, bytes: &[u8]) -> Result<(), Reason> {
        let is_other = self
            .sha256
            .is_some_and(|expected| Sha256::of(bytes) != expected)
            || self
                .md5
                .is_some_and(|expected| <[u8; 16]>::from(Md5::digest(bytes)) != expected);
        if is_other {
            return Err(Reason::new("input/wrong-hash"));
        }
        Ok(())
    }
}

impl Pair {
    /// The URL to fetch, if the picture is on the web.
    #[must_use]
    pub fn url(&self) -> Option<&Url> {
        match &self.media {
            Media::Url(url) => Some(url),
            Media::Stored(_) | Media::Held(_) => None,
        }
    }

    /// The document of what was fetched from `url` with this caption: a picture, or the frames of
    /// a clip. Its id is that of its content.
    #[must_use]
    pub fn document(url: Url, mut pictures: Vec<Image>, caption: String) -> Document<Image> {
        let hashes: Vec<Sha256> = pictures.iter().map(|image| image.sha256_stored).collect();
        if let Some(first) = pictures.first_mut() {
            first.reference.caption = Some(caption.clone());
        }
        let id = DocumentId::of_pair(&hashes, &caption);
        let mut elements: Vec<_> = pictures.into_iter().map(Element::Image).collect();
        elements.push(Element::Text(Text::caption(caption)));
        Document {
            id,
            elements,
            ..Document::new(url)
        }
    }
}

/// Lists, archives and folders of pairs.
#[derive(Debug, Clone)]
pub struct PairSource {
    inputs: Vec<Input>,
    config: PairsConfig,
    seed: u64,
}

impl PairSource {
    /// The source of these inputs: files, patterns (`*` and `?` in the last part of a path) and
    /// folders. What is drawn of subtitles is drawn with `seed`.
    ///
    /// # Errors
    ///
    /// If one is not there, or nobody can tell what it is.
    pub fn open(inputs: &[PathBuf], config: &PairsConfig, seed: u64) -> Result<Self> {
        let inputs = inputs::find(inputs)?;
        Ok(Self {
            inputs,
            config: config.clone(),
            seed,
        })
    }

    /// All rows in their order, the same at each call; captions cleaned and judged. Memory is one
    /// row, or a few hundred of a Parquet file.
    pub fn rows(&self) -> impl Iterator<Item = Result<Row>> + use<> {
        let config = self.config.clone();
        let (reading, seed) = (self.config.clone(), self.seed);
        self.inputs
            .clone()
            .into_iter()
            .flat_map(move |input| {
                input
                    .rows(&reading, seed)
                    .unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
            })
            .map(move |row| {
                let (shown, pair) = row?;
                Ok((shown, pair.and_then(|pair| cleaned(pair, &config))))
            })
    }

    /// What tells this source from another: the digests of the lists, the names and lengths of
    /// everything else.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn digest(&self) -> Result<Sha256> {
        let mut description = String::new();
        for input in &self.inputs {
            let part = input.description();
            let part = part.with_context(|| format!("cannot read {}", input.path().display()))?;
            description.push_str(&part);
            description.push('\n');
        }
        Ok(Sha256::of(description.as_bytes()))
    }

    /// Counts the rows and finds those that are refused for what others hold: repeats of a URL
    /// with its caption, and what the rules of frequency name.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, or the folder for temporary files not be written.
    pub fn refusals(&self) -> Result<(u64, Refusals)> {
        frequency::survey(self.rows(), &self.config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_other_than_those_promised_are_refused() {
        let md5 = Md5::digest(b"picture").into();
        let right = Checksums {
            sha256: Some(Sha256::of(b"picture")),
            md5: Some(md5),
        };
        assert_eq!(right.check(b"picture"), Ok(()));
        let wrong = Err(Reason::new("input/wrong-hash"));
        assert_eq!(right.check(b"other"), wrong);
        let only_md5 = Checksums {
            sha256: None,
            md5: Some(md5),
        };
        assert_eq!(only_md5.check(b"other"), wrong);
        assert_eq!(Checksums::default().check(b"other"), Ok(()));
    }
}
