//! Where the records of a crawl stand in its WARC files, by URL.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::write::warc_files;
use super::{WarcReader, WarcRecord, fetched_at, http, target};
use crate::Error;
use crate::config::RECORD_ROOM_BYTES;
use crate::fetch::Answer;

/// Records of WARC files by URL; of several to one URL the last.
///
/// Memory held is about 40 bytes for each URL; the records stay on disk.
#[derive(Debug)]
pub(super) struct Kept {
    files: Vec<PathBuf>,
    /// File and offset, by a hash of the URL.
    places: HashMap<u64, (u32, u64)>,
    max_block_bytes: usize,
}

impl Kept {
    /// Nothing yet. Bodies are read up to `max_body_bytes`.
    pub(super) fn new(max_body_bytes: usize) -> Self {
        Self {
            files: Vec::new(),
            places: HashMap::new(),
            max_block_bytes: max_body_bytes + RECORD_ROOM_BYTES,
        }
    }

    /// Goes once through the files of a folder and keeps the places of the records that are
    /// wanted. What `on_damage` says of a damaged place ends it or not.
    pub(super) fn add(
        &mut self,
        folder: &Path,
        is_wanted: impl Fn(&WarcRecord) -> bool,
        on_damage: impl Fn(Error) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let files = warc_files(folder)?;
        if files.is_empty() {
            return Err(Error::Read {
                path: folder.to_owned(),
                source: std::io::Error::new(
                    std::io::ErrorKind::NotFound,
                    "there is no WARC file in this folder",
                ),
            });
        }
        for path in files {
            let number = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
            for record in WarcReader::open(&path, self.max_block_bytes)? {
                let record = match record {
                    Ok(record) => record,
                    Err(error @ Error::Damaged { .. }) => {
                        on_damage(error)?;
                        continue;
                    }
                    Err(error) => return Err(error),
                };
                if let (true, Some(location), Ok(url)) =
                    (is_wanted(&record), &record.location, target(&record))
                {
                    self.places.insert(key(&url), (number, location.offset));
                }
            }
            self.files.push(path);
        }
        Ok(())
    }

    /// The record kept for this URL.
    pub(super) fn record(&self, url: &Url) -> Option<WarcRecord> {
        let (file, offset) = *self.places.get(&key(url))?;
        let path = self.files.get(file as usize)?;
        let mut source = File::open(path).ok()?;
        source.seek(SeekFrom::Start(offset)).ok()?;
        let mut records = WarcReader::new(Box::new(source), path, self.max_block_bytes).ok()?;
        records.next()?.ok()
    }

    /// Whether there is one.
    pub(super) fn contains(&self, url: &Url) -> bool {
        self.places.contains_key(&key(url))
    }
}

fn key(url: &Url) -> u64 {
    let mut hasher = DefaultHasher::new();
    url.as_str().hash(&mut hasher);
    hasher.finish()
}

/// The answer that a record holds.
pub(super) fn answer_of(record: WarcRecord) -> Option<Answer> {
    let received_at = fetched_at(&record);
    let head = http::Head::parse(&record.block)?;
    let mut headers = HeaderMap::new();
    for (name, value) in head.headers() {
        let name = HeaderName::from_bytes(name.as_bytes()).ok();
        let value = HeaderValue::from_bytes(value.as_bytes()).ok();
        if let (Some(name), Some(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    let body = Bytes::from(record.block).slice(head.length..);
    Some(Answer::archived(head.status, headers, body, received_at))
}
