//! Answers out of the files that an earlier crawl wrote, in place of the web.

use std::collections::HashMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

use super::write::warc_files;
use super::{HEADER_ROOM_BYTES, WarcReader, WarcRecord, fetched_at, http, target};
use crate::fetch::Answer;
use crate::{Error, Failure, FailureKind};

/// What a folder of WARC files holds, by URL. Of several answers to one URL the last counts: it is
/// the one that the crawl went by.
///
/// Memory held is about 40 bytes for each URL; bodies stay on disk. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Replay(Arc<Index>);

#[derive(Debug)]
struct Index {
    files: Vec<PathBuf>,
    /// File and offset, by a hash of the URL.
    places: HashMap<u64, (u32, u64)>,
    max_block_bytes: usize,
}

impl Replay {
    /// Goes once through the files that a crawl wrote into `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if they cannot be read, or there are none; [`Error::Damaged`] if one is
    /// damaged: a replay with gaps would not be one.
    pub fn open(folder: &Path, max_body_bytes: usize) -> Result<Self, Error> {
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
        let max_block_bytes = max_body_bytes + HEADER_ROOM_BYTES;
        let mut places = HashMap::new();
        for (number, path) in files.iter().enumerate() {
            let number = u32::try_from(number).unwrap_or(u32::MAX);
            for record in WarcReader::open(path, max_block_bytes)? {
                let record = record?;
                let is_answer = record.kind() == "response" || failure_of(&record).is_some();
                if let (true, Some(location), Ok(url)) =
                    (is_answer, &record.location, target(&record))
                {
                    places.insert(key(&url), (number, location.offset));
                }
            }
        }
        Ok(Self(Arc::new(Index {
            files,
            places,
            max_block_bytes,
        })))
    }

    /// What the crawl got for this URL.
    pub(crate) async fn answer(&self, url: &Url) -> Result<Answer, Failure> {
        let not_archived = || Failure::new(FailureKind::NotArchived, url.as_str());
        let place = *self.0.places.get(&key(url)).ok_or_else(not_archived)?;
        let index = Arc::clone(&self.0);
        let read = move || index.record(place);
        let record = tokio::task::spawn_blocking(read)
            .await
            .ok()
            .flatten()
            .ok_or_else(not_archived)?;
        if let Some(failure) = failure_of(&record) {
            return Err(failure);
        }
        answer_of(record).ok_or_else(not_archived)
    }
}

impl Index {
    fn record(&self, (file, offset): (u32, u64)) -> Option<WarcRecord> {
        let path = self.files.get(file as usize)?;
        let mut source = File::open(path).ok()?;
        source.seek(SeekFrom::Start(offset)).ok()?;
        let mut records = WarcReader::new(Box::new(source), path, self.max_block_bytes).ok()?;
        records.next()?.ok()
    }
}

fn key(url: &Url) -> u64 {
    let mut hasher = DefaultHasher::new();
    url.as_str().hash(&mut hasher);
    hasher.finish()
}

/// The failure that a metadata record tells of.
fn failure_of(record: &WarcRecord) -> Option<Failure> {
    if record.kind() != "metadata" {
        return None;
    }
    let block = String::from_utf8_lossy(&record.block);
    let field = |name: &str| {
        block
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let kind = FailureKind::from_reason(field("outcome")?)?;
    Some(Failure::new(kind, field("detail").unwrap_or_default()))
}

fn answer_of(record: WarcRecord) -> Option<Answer> {
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
