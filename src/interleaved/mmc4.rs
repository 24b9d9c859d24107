//! JSON in the form of mmc4.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use flate2::bufread::MultiGzDecoder;
use m3w_crawler::normalise;
use m3w_document::{Element, ImageRef, Reason, Text};
use serde::Deserialize;
use url::Url;

use super::held::{Budget, Held};
use super::picture_files::PictureFiles;
use super::{Interleaved, Row, Wanted, document, file_url};
use crate::journal::ImageDrop;
use crate::pairs::{Found, Media, Stored, members};

/// Longest JSON of a document: some hundred pictures in base64.
const MAX_DOCUMENT_BYTES: u64 = 256 << 20;
/// Of a line that is no document, what is shown.
const SHOWN_BYTES: usize = 64;

/// How documents are read.
#[derive(Clone)]
pub(super) struct Reading {
    pub(super) budget: Arc<Budget>,
    pub(super) pictures: Option<Arc<PictureFiles>>,
    pub(super) min_similarity: Option<f64>,
}

/// A document, as far as it is read.
#[derive(Deserialize)]
struct Sample {
    url: Option<String>,
    text_list: Vec<String>,
    image_info: Vec<Info>,
    /// Of each image to each text.
    similarity_matrix: Option<Vec<Vec<f64>>>,
}

#[derive(Deserialize)]
struct Info {
    image_name: Option<String>,
    raw_url: Option<String>,
    matched_text_index: Option<usize>,
    matched_sim: Option<f64>,
    image_base64: Option<String>,
}

/// The documents of a file in order.
///
/// # Errors
///
/// If the file cannot be read.
pub(super) fn rows(path: &Path, reading: Reading) -> Result<Box<dyn Iterator<Item = Result<Row>>>> {
    let texts = texts(path)?;
    let path = path.to_owned();
    Ok(Box::new(texts.zip(0..).map(move |(text, number)| {
        Ok(match text? {
            Ok(text) => reading.row(&text, &path, number),
            Err((shown, reason)) => (shown, Err(reason)),
        })
    })))
}

/// How many documents a file has.
pub(super) fn count(path: &Path) -> Result<u64> {
    let mut count = 0;
    for text in texts(path)? {
        let _ = text?;
        count += 1;
    }
    Ok(count)
}

/// The JSON of a document, or what there is of it and why it cannot be read.
type Json = std::result::Result<Vec<u8>, (String, Reason)>;
type Texts = Box<dyn Iterator<Item = Result<Json>>>;

fn texts(path: &Path) -> Result<Texts> {
    let ends_in = |extension: &str| {
        let found = path.extension();
        found.is_some_and(|found| found.eq_ignore_ascii_case(extension))
    };
    if ends_in("tar") {
        return archive(path);
    }
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let file = BufReader::with_capacity(1 << 18, file);
    if ends_in("gz") {
        let unpacked = BufReader::with_capacity(1 << 18, MultiGzDecoder::new(file));
        Ok(lines(unpacked, path))
    } else {
        Ok(lines(file, path))
    }
}

/// The `.json` in an archive.
fn archive(path: &Path) -> Result<Texts> {
    let members = members(path)?;
    let path: Arc<Path> = path.into();
    Ok(Box::new(members.filter_map(move |found| {
        let member = match found {
            Ok(Found::File(member)) if member.name.to_ascii_lowercase().ends_with(".json") => {
                member
            }
            Ok(_) => return None,
            Err(error) => return Some(Err(error.into())),
        };
        let url = file_url(&path, &member.name);
        let shown = url.to_string();
        if member.length > MAX_DOCUMENT_BYTES {
            return Some(Ok(Err((shown, Reason::new("input/too-long")))));
        }
        let stored = Stored {
            file: Arc::clone(&path),
            offset: member.offset,
            length: member.length,
            url,
        };
        Some(Ok(stored.read().map_err(|reason| (shown, reason))))
    })))
}

/// Lines that are not blank.
fn lines(mut reader: impl BufRead + 'static, path: &Path) -> Texts {
    let path = path.to_owned();
    let mut has_failed = false;
    Box::new(std::iter::from_fn(move || {
        loop {
            if has_failed {
                return None;
            }
            let mut line = Vec::new();
            let limit = MAX_DOCUMENT_BYTES + 1;
            let read = reader.by_ref().take(limit).read_until(b'\n', &mut line);
            let is_too_long = line.len() as u64 == limit && line.last() != Some(&b'\n');
            let read = read.and_then(|count| {
                if is_too_long {
                    skip_line(&mut reader)?;
                }
                Ok(count)
            });
            match read {
                Err(error) => {
                    has_failed = true;
                    let context = format!("cannot read {}", path.display());
                    return Some(Err(anyhow::Error::new(error).context(context)));
                }
                Ok(0) => return None,
                Ok(_) if line.trim_ascii().is_empty() => {}
                Ok(_) if is_too_long => {
                    return Some(Ok(Err((head(&line), Reason::new("input/too-long")))));
                }
                Ok(_) => return Some(Ok(Ok(line))),
            }
        }
    }))
}

fn skip_line(reader: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let (used, is_done) = match buffer.iter().position(|&byte| byte == b'\n') {
            Some(end) => (end + 1, true),
            None => (buffer.len(), buffer.is_empty()),
        };
        reader.consume(used);
        if is_done {
            return Ok(());
        }
    }
}

fn head(line: &[u8]) -> String {
    let line = line.trim_ascii();
    String::from_utf8_lossy(&line[..line.len().min(SHOWN_BYTES)]).into_owned()
}

impl Reading {
    fn row(&self, text: &[u8], path: &Path, number: u64) -> Row {
        let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
        if std::str::from_utf8(text).is_err() {
            return (head(text), Err(Reason::new("input/broken-utf8")));
        }
        let Ok(sample) = serde_json::from_slice::<Sample>(text) else {
            return (head(text), Err(Reason::new("input/not-mmc4")));
        };
        let mut document = document(sample.url.as_deref(), path, number);
        let shown = document.url.to_string();
        let texts = sample.text_list.len();
        let mut dropped = Vec::new();
        // Before each text, the images that are matched to it.
        let mut before: Vec<Vec<Wanted>> = Vec::new();
        before.resize_with(texts, Vec::new);
        let mut held = Vec::new();
        for (index, info) in sample.image_info.into_iter().enumerate() {
            let row = sample
                .similarity_matrix
                .as_ref()
                .and_then(|matrix| matrix.get(index));
            let name = info.shown();
            let read = self
                .place(&info, row.map(Vec::as_slice), texts)
                .and_then(|place| {
                    let fallback = || file_url(path, &format!("{number}/{index}"));
                    let (wanted, bytes) = self.wanted(info, fallback)?;
                    Ok((place, wanted, bytes))
                });
            match read {
                Ok((place, wanted, bytes)) => {
                    if let Some(bytes) = bytes {
                        held.push(((place, before[place].len()), bytes));
                    }
                    before[place].push(wanted);
                }
                Err(reason) => dropped.push(ImageDrop { url: name, reason }),
            }
        }
        let (places, pictures): (Vec<_>, Vec<_>) = held.into_iter().unzip();
        for ((text, image), bytes) in places.into_iter().zip(self.budget.take(pictures)) {
            let wanted: &mut Wanted = &mut before[text][image];
            let url = wanted.reference.url.clone();
            wanted.media = Media::Held(Held { url, bytes });
        }
        for (images, text) in before.into_iter().zip(sample.text_list) {
            let images = images.into_iter().map(Element::Image);
            document.elements.extend(images);
            if !text.trim().is_empty() {
                document.elements.push(Element::Text(Text::paragraph(text)));
            }
        }
        (shown, Ok(Interleaved { document, dropped }))
    }

    /// The text that an image stands before: the one it is matched to, or where none is named the
    /// one it is most similar to.
    fn place(&self, info: &Info, row: Option<&[f64]>, texts: usize) -> Result<usize, Reason> {
        let best = || {
            let similarities = row?.iter().enumerate();
            similarities
                .max_by(|a, b| a.1.total_cmp(b.1))
                .map(|(text, _)| text)
        };
        let place = info.matched_text_index.or_else(best);
        let place = place
            .filter(|place| *place < texts)
            .ok_or(Reason::new("input/no-place"))?;
        let similarity = info.matched_sim.or_else(|| row?.get(place).copied());
        match (self.min_similarity, similarity) {
            (Some(least), Some(similarity)) if similarity < least => {
                Err(Reason::measured("input/low-similarity", similarity, least))
            }
            _ => Ok(place),
        }
    }

    /// An image, and its bytes where they stand in the JSON: those go before a file, and that
    /// before the URL.
    fn wanted(
        &self,
        info: Info,
        fallback: impl FnOnce() -> Url,
    ) -> Result<(Wanted, Option<Vec<u8>>), Reason> {
        let url = info.raw_url.as_deref().and_then(|url| normalise(url).ok());
        if let Some(encoded) = info.image_base64 {
            let bytes = STANDARD
                .decode(encoded)
                .map_err(|_| Reason::new("input/not-base64"))?;
            let reference = ImageRef::new(url.unwrap_or_else(fallback));
            return Ok((Wanted::from(reference), Some(bytes)));
        }
        let name = info.image_name.unwrap_or_default();
        let pictures = self.pictures.as_ref();
        if let Some(stored) = pictures.and_then(|pictures| pictures.find(&name, url.clone())) {
            let reference = ImageRef::new(stored.url.clone());
            let wanted = Wanted {
                media: Media::Stored(stored),
                ..Wanted::from(reference)
            };
            return Ok((wanted, None));
        }
        let url = url.ok_or(Reason::new("fetch/bad-url"))?;
        Ok((Wanted::from(ImageRef::new(url)), None))
    }
}

impl Info {
    /// What it is called in a list of what was left out.
    fn shown(&self) -> String {
        let names = [&self.raw_url, &self.image_name];
        names
            .into_iter()
            .flatten()
            .next()
            .cloned()
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str, min_similarity: Option<f64>) -> Result<Interleaved, Reason> {
        let reading = Reading {
            budget: Arc::new(Budget::of(1 << 20)),
            pictures: None,
            min_similarity,
        };
        reading.row(json.as_bytes(), Path::new("shard.jsonl"), 3).1
    }

    /// Texts, and images by the last part of their URL.
    fn order(read: &Interleaved) -> Vec<&str> {
        let elements = read.document.elements.iter();
        elements
            .map(|element| match element {
                Element::Text(text) => text.content.as_str(),
                Element::Image(image) => image.reference.url.path().trim_start_matches('/'),
            })
            .collect()
    }

    #[test]
    fn images_stand_before_the_text_they_are_matched_to() {
        let json = r#"{"url": "https://a.test/page", "text_list": ["one", "two", "", "three"],
            "image_info": [
                {"raw_url": "https://a.test/x.jpg", "matched_text_index": 3, "matched_sim": 0.3},
                {"raw_url": "https://a.test/y.jpg", "matched_text_index": 0, "matched_sim": 0.1},
                {"raw_url": "https://a.test/z.jpg", "matched_text_index": 3, "matched_sim": 0.2},
                {"raw_url": "https://a.test/v.jpg", "matched_text_index": 2}]}"#;
        let all = read(json, None).unwrap();
        assert_eq!(
            order(&all),
            ["y.jpg", "one", "two", "v.jpg", "x.jpg", "z.jpg", "three"]
        );
        assert_eq!(all.document.url.as_str(), "https://a.test/page");
        let some = read(json, Some(0.25)).unwrap();
        assert_eq!(order(&some), ["one", "two", "v.jpg", "x.jpg", "three"]);
        let left_out: Vec<_> = some.dropped.iter().map(|image| &image.url).collect();
        assert_eq!(left_out, ["https://a.test/y.jpg", "https://a.test/z.jpg"]);
        assert_eq!(some.dropped[0].reason.threshold, Some(0.25));
    }

    #[test]
    fn a_matrix_places_what_no_index_does() {
        let json = r#"{"text_list": ["one", "two"], "similarity_matrix": [[0.1, 0.4], [0.3, 0.2]],
            "image_info": [{"raw_url": "https://a.test/x.jpg"}, {"raw_url": "https://a.test/y.jpg"},
                {"raw_url": "https://a.test/z.jpg"}]}"#;
        let read = read(json, None).unwrap();
        assert_eq!(order(&read), ["y.jpg", "one", "x.jpg", "two"]);
        assert_eq!(read.dropped[0].reason, Reason::new("input/no-place"));
        assert_eq!(read.document.url.as_str(), "file:///shard.jsonl/3");
    }

    #[test]
    fn what_is_no_document_says_so() {
        let reason = |json| read(json, None).unwrap_err().name;
        assert_eq!(reason("{}"), "input/not-mmc4");
        assert_eq!(reason("[1, 2"), "input/not-mmc4");
        let json = r#"{"text_list": ["a"], "image_info": [
            {"image_base64": "?", "matched_text_index": 0}, {"matched_text_index": 0},
            {"raw_url": "https://a.test/x.jpg", "matched_text_index": 1}]}"#;
        let dropped = read(json, None).unwrap().dropped;
        let reasons: Vec<_> = dropped.iter().map(|image| &*image.reason.name).collect();
        assert_eq!(
            reasons,
            ["input/not-base64", "fetch/bad-url", "input/no-place"]
        );
    }

    #[test]
    fn lines_are_told_apart_whatever_they_end_in() {
        let text: &[u8] = b"{}\n\n  \r\n[]\r\nlast";
        let found: Vec<_> = lines(text, Path::new("a"))
            .map(|line| String::from_utf8(line.unwrap().unwrap()).unwrap())
            .collect();
        assert_eq!(found, ["{}\n", "[]\r\n", "last"]);
    }
}
