//! Samples: a picture and the files that share its name.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use m3w_crawler::normalise;
use m3w_document::Reason;
use url::Url;

use super::config::Columns;
use super::row::{Cell, Cells, Row};
use super::table::json_parts;
use super::{Media, Stored};

/// Longest caption file or JSON that is read.
const MAX_TEXT_BYTES: u64 = 1 << 20;

/// A file of a sample.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Part {
    /// Its name below the input.
    pub(super) name: String,
    /// What of the name follows the sample's key, in lower case.
    pub(super) extension: String,
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// What a file is in its sample, by its extension.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Picture,
    Caption,
    Json,
    Other,
}

pub(super) fn role(extension: &str) -> Role {
    match extension {
        "jpg" | "jpeg" | "png" | "webp" | "gif" | "bmp" | "tif" | "tiff" => Role::Picture,
        "txt" | "caption" => Role::Caption,
        "json" => Role::Json,
        _ => Role::Other,
    }
}

/// The input whose samples these are.
pub(super) struct Holder<'a> {
    /// The archive; of a folder the file of the part is below it.
    pub(super) path: &'a Path,
    pub(super) is_archive: bool,
    pub(super) columns: &'a Columns,
}

impl Holder<'_> {
    /// The rows of a sample: one for each picture, or one that says that there is none.
    pub(super) fn rows(&self, key: &str, parts: &[Part]) -> Vec<Row> {
        let of = |wanted: Role| {
            let parts = parts.iter();
            parts.filter(move |part| role(&part.extension) == wanted)
        };
        let mut pictures = of(Role::Picture);
        let Some(picture) = pictures.next() else {
            let reason = Reason::new("input/no-picture");
            return vec![(self.shown(key), Err(reason))];
        };
        let caption = of(Role::Caption).next();
        let pair = self
            .texts(caption, of(Role::Json).next())
            .and_then(|(url, caption)| {
                let stored = self.stored(picture, url);
                let cells = Cells {
                    url: Some(picture.name.clone().into_bytes()),
                    caption,
                    ..Cells::default()
                };
                cells.pair(|_| Ok(Media::Stored(stored)))
            });
        let first = (self.shown(&picture.name), pair);
        let further = pictures.map(|part| {
            let reason = Reason::new("input/second-picture");
            (self.shown(&part.name), Err(reason))
        });
        std::iter::once(first).chain(further).collect()
    }

    /// Where a part's bytes are.
    pub(super) fn stored(&self, part: &Part, url: Cell) -> Stored {
        let url = url
            .and_then(|url| String::from_utf8(url).ok())
            .and_then(|url| normalise(&url).ok());
        Stored {
            file: self.file(part),
            offset: part.offset,
            length: part.length,
            url: url.unwrap_or_else(|| self.name(part)),
        }
    }

    fn file(&self, part: &Part) -> Arc<Path> {
        if self.is_archive {
            Arc::from(self.path)
        } else {
            Arc::from(self.path.join(&part.name))
        }
    }

    fn label(&self) -> String {
        let name = self.path.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    pub(super) fn shown(&self, name: &str) -> String {
        format!("{}/{name}", self.label())
    }

    /// What a part without a URL is called: the same wherever the input lies.
    fn name(&self, part: &Part) -> Url {
        let mut url = Url::parse("file:///").expect("a fixed URL");
        url.set_path(&self.shown(&part.name));
        url
    }

    /// URL and caption that stand beside a picture; words of a text file go before those of JSON.
    fn texts(&self, caption: Option<&Part>, json: Option<&Part>) -> Result<(Cell, Cell), Reason> {
        let words = caption.map(|part| self.read(part)).transpose()?;
        let Some(json) = json else {
            return Ok((None, words));
        };
        let parts = json_parts(&self.read(json)?, self.columns);
        match (parts, words) {
            (Some((url, caption)), words) => Ok((url, words.or(caption))),
            (None, Some(words)) => Ok((None, Some(words))),
            (None, None) => Err(Reason::new("input/not-json")),
        }
    }

    fn read(&self, part: &Part) -> Result<Vec<u8>, Reason> {
        if part.length > MAX_TEXT_BYTES {
            return Err(Reason::new("input/too-long"));
        }
        read(&self.file(part), part.offset, part.length)
    }
}

/// The bytes at a place in a file; fewer than there should be are damage.
pub(crate) fn read(file: &Path, offset: u64, length: u64) -> Result<Vec<u8>, Reason> {
    let unreadable = |_| Reason::new("input/unreadable");
    let mut file = File::open(file).map_err(unreadable)?;
    file.seek(SeekFrom::Start(offset)).map_err(unreadable)?;
    let mut bytes = Vec::new();
    file.take(length)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    if bytes.len() as u64 != length {
        return Err(Reason::new("input/unreadable"));
    }
    Ok(bytes)
}
