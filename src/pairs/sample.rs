//! Samples: a picture and the files that share its name.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::Arc;

use m3w_crawler::normalise;
use m3w_document::Reason;
use m3w_document::caption::{Cue, cues};
use m3w_shards::clip_start_ms;
use url::Url;

use super::row::{Cell, Cells, Row};
use super::table::json_parts;
use super::{Kind, Media, PairsConfig, Stored};
use crate::video::Span;

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
    /// What the caption is of: a picture, or among videos a video.
    Picture,
    Caption,
    Subtitles,
    Json,
    Other,
}

pub(super) fn role(extension: &str, kind: Kind) -> Role {
    let is_video = kind == Kind::Vtp;
    match extension {
        "jpg" | "jpeg" | "png" | "webp" | "bmp" | "tif" | "tiff" if !is_video => Role::Picture,
        "mp4" | "m4v" | "mov" | "webm" | "mkv" if is_video => Role::Picture,
        "gif" => Role::Picture,
        "txt" | "caption" => Role::Caption,
        "srt" | "vtt" if is_video => Role::Subtitles,
        "json" => Role::Json,
        _ => Role::Other,
    }
}

/// The input whose samples these are.
pub(super) struct Holder<'a> {
    /// The archive; of a folder the file of the part is below it.
    pub(super) path: &'a Path,
    pub(super) is_archive: bool,
    pub(super) config: &'a PairsConfig,
    /// Seed of what is drawn.
    pub(super) seed: u64,
}

impl Holder<'_> {
    /// The rows of a sample: one for each picture, or one that says that there is none.
    pub(super) fn rows(&self, key: &str, parts: &[Part]) -> Vec<Row> {
        let of = |wanted: Role| {
            let parts = parts.iter();
            parts.filter(move |part| role(&part.extension, self.config.kind) == wanted)
        };
        let mut pictures = of(Role::Picture);
        let Some(picture) = pictures.next() else {
            let reason = Reason::new("input/no-picture");
            return vec![(self.shown(key), Err(reason))];
        };
        let caption = of(Role::Caption).next();
        let texts = self.texts(caption, of(Role::Json).next());
        let said = of(Role::Subtitles)
            .next()
            .map(|part| self.said(part))
            .transpose();
        let pair = texts.and_then(|(url, caption)| {
            // What is said at a time goes before what is said of the whole.
            let said = said?.flatten();
            let words = said.as_ref().map(|(words, _)| words.clone().into_bytes());
            let stored = self.stored(picture, url);
            let cells = Cells {
                url: Some(picture.name.clone().into_bytes()),
                caption: words.or(caption),
                ..Cells::default()
            };
            let mut pair = cells.pair(|_| Ok(Media::Stored(stored)))?;
            pair.span = said.map(|(_, span)| span);
            Ok(pair)
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
        let parts = json_parts(&self.read(json)?, &self.config.columns);
        match (parts, words) {
            (Some((url, caption)), words) => Ok((url, words.or(caption))),
            (None, Some(words)) => Ok((None, Some(words))),
            (None, None) => Err(Reason::new("input/not-json")),
        }
    }

    /// A part of what subtitles say, from a line that is drawn, and when it is said.
    fn said(&self, part: &Part) -> Result<Option<(String, Span)>, Reason> {
        let bytes = self.read(part)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| Reason::new("input/broken-utf8"))?;
        let cues = cues(text.trim_start_matches('\u{feff}'));
        let Some(last) = cues.len().checked_sub(1) else {
            return Ok(None);
        };
        let drawn = clip_start_ms(self.seed, part.name.as_bytes(), last as u64);
        let drawn = &cues[usize::try_from(drawn).unwrap_or(0)];
        let video = &self.config.video;
        let end_ms = drawn.start_ms + u64::from(video.frames) * video.interval_ms;
        let is_said = |cue: &&Cue| (drawn.start_ms..end_ms).contains(&cue.start_ms);
        let mut words: Vec<&str> = cues
            .iter()
            .filter(is_said)
            .map(|cue| cue.text.as_str())
            .collect();
        // Subtitles that roll up say each line twice.
        words.dedup();
        let said_until = cues.iter().filter(is_said).map(|cue| cue.end_ms).max();
        let span = Span::At {
            start_ms: drawn.start_ms,
            end_ms: said_until,
        };
        Ok(Some((words.join(" "), span)))
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
