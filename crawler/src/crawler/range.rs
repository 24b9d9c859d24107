//! Ranges of bytes out of the files of an archive.

use bytes::Bytes;
use reqwest::header::{CONTENT_RANGE, ETAG, LAST_MODIFIED};
use url::Url;

use super::Crawler;
use super::request::{Found, Wanted};
use crate::{Failure, FailureKind};

/// Largest piece of a file that is fetched at once. A piece has the time of a page to come
/// ([`crate::Config::total_timeout_s`]).
const PIECE_BYTES: u32 = 4 << 20;

/// A piece of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// At least one byte, at most 4 MiB.
    pub bytes: Bytes,
    /// Length of the whole file.
    pub total: u64,
    /// What the server says tells this state of the file from others, if it says something: the
    /// entity tag, or else the time of the last change.
    pub version: Option<String>,
}

impl Crawler {
    /// Fetches the next bytes of a file that whoever runs the crawl has named, from `offset` on,
    /// under the rules of [`Crawler::fetch_range`].
    ///
    /// # Errors
    ///
    /// [`FailureKind::BadHttp`] where the server sends another part than was asked for, or none
    /// but the whole file; the others of [`Crawler::fetch_range`].
    pub async fn fetch_piece(&self, url: &Url, offset: u64) -> Result<Piece, Failure> {
        let length = u64::from(PIECE_BYTES);
        let wanted = Wanted::Range { offset, length };
        let mut redirects = 0;
        let found = self.follow(url.clone(), wanted, &mut redirects).await?;
        let max_bytes = PIECE_BYTES as usize;
        let told = self
            .body(found, max_bytes, |found| file_told(found, offset))
            .await;
        let ((total, version), bytes) = match told {
            Err(failure) if failure.kind == FailureKind::TooLarge => {
                let detail = "the server sends whole files only";
                return Err(Failure::new(FailureKind::BadHttp, detail));
            }
            told => told?,
        };
        let total = total.unwrap_or(bytes.len() as u64);
        if bytes.is_empty() {
            let detail = format!("no byte from {offset} on, of {total}");
            return Err(Failure::new(FailureKind::Truncated, detail));
        }
        Ok(Piece {
            bytes: Bytes::from(bytes),
            total,
            version,
        })
    }

    /// Fetches `length` bytes from `offset` on of a file that whoever runs the crawl has named: a
    /// record of a WARC file, as an index gives its place. The address rules, the deadlines and
    /// the server's wishes to wait are kept to, and a pause of [`crate::Config::archive_delay_ms`];
    /// `robots.txt` is not asked for, which speaks of pages to be found. Nothing of it is written
    /// into an archive, where it came from. Holds at most [`crate::Config::max_record_bytes`].
    ///
    /// # Errors
    ///
    /// A [`Failure`] is the outcome for this range, to be counted: [`FailureKind::TooLarge`] also
    /// where the server sends whole files only, [`FailureKind::Truncated`] where it sends less.
    pub async fn fetch_range(&self, url: &Url, offset: u64, length: u64) -> Result<Bytes, Failure> {
        let max_bytes = self.shared.config.max_record_bytes();
        let wanted_bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if wanted_bytes > max_bytes {
            let detail = format!("a record of {length} bytes, the cap is {max_bytes}");
            return Err(Failure::new(FailureKind::TooLarge, detail));
        }
        if length == 0 {
            return Err(Failure::new(FailureKind::Truncated, "a record of 0 bytes"));
        }
        let mut redirects = 0;
        let wanted = Wanted::Range { offset, length };
        let found = self.follow(url.clone(), wanted, &mut redirects).await?;
        let (_, bytes) = self.body(found, wanted_bytes, |_| Ok(())).await?;
        if bytes.len() < wanted_bytes {
            let detail = format!("{} bytes of {length} from {offset} on", bytes.len());
            return Err(Failure::new(FailureKind::Truncated, detail));
        }
        Ok(Bytes::from(bytes))
    }
}

/// Length of the whole file, if the answer is a part of it, and what tells its state: RFC 9110,
/// 14.4.
fn file_told(found: &Found, offset: u64) -> Result<(Option<u64>, Option<String>), Failure> {
    let answer = &found.answer;
    let version = answer.header(&ETAG).or(answer.header(&LAST_MODIFIED));
    let version = version.map(str::to_owned);
    let range = answer.header(&CONTENT_RANGE);
    if answer.status != 206 && offset == 0 {
        return Ok((None, version));
    }
    let place = range.and_then(|range| {
        let (part, total) = range.strip_prefix("bytes ")?.split_once('/')?;
        let (first, _) = part.split_once('-')?;
        Some((first.parse::<u64>().ok()?, total.parse().ok()?))
    });
    match place {
        Some((first, total)) if first == offset => Ok((Some(total), version)),
        _ => {
            let detail = format!(
                "asked for bytes from {offset} on, got {}",
                range.unwrap_or("the whole file")
            );
            Err(Failure::new(FailureKind::BadHttp, detail))
        }
    }
}
