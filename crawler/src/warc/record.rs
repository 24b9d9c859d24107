//! WARC records, one at a time.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;

use super::digest::{self, DigestCheck};
use super::http::{self, find, headers};
use super::member::Members;
use crate::{Error, RecordLocation};

/// Largest header of a record.
const MAX_HEADER_BYTES: u64 = 64 * 1024;

/// One record of a WARC file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WarcRecord {
    headers: Vec<(String, String)>,
    /// The record's block; cut at the reader's cap.
    pub block: Vec<u8>,
    /// Whether the block was longer than the cap.
    pub is_oversize: bool,
    /// Where the record stands. `None` if it shares a gzip member or zstd frame with others, so
    /// that it cannot be read on its own.
    pub location: Option<RecordLocation>,
}

impl WarcRecord {
    /// The value of a header, its name in any case; of several the last.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    /// `WARC-Type`: `response`, `request`, `warcinfo`, ...
    #[must_use]
    pub fn kind(&self) -> &str {
        self.header("WARC-Type").unwrap_or_default()
    }

    /// Compares the record's digests with its bytes. That of the payload may be one of the body
    /// with its chunks or without: writers differ. Of a record whose end is missing the digests are
    /// those of the whole.
    #[must_use]
    pub fn check_digests(&self) -> DigestCheck {
        if self.is_oversize || self.is_truncated() {
            return DigestCheck::None;
        }
        let mut verdict = DigestCheck::None;
        let payload = http::payload(&self.block);
        let unchunked = http::without_chunks(payload);
        for (header, candidates) in [
            ("WARC-Block-Digest", [Some(&self.block[..]), None]),
            ("WARC-Payload-Digest", [Some(payload), unchunked.as_deref()]),
        ] {
            // A revisit has the payload of another record.
            let is_elsewhere = header == "WARC-Payload-Digest" && self.kind() == "revisit";
            let Some(stated) = self.header(header).filter(|_| !is_elsewhere) else {
                continue;
            };
            let mut fitting = candidates
                .into_iter()
                .flatten()
                .filter_map(|bytes| digest::fits(stated, bytes))
                .peekable();
            if fitting.peek().is_none() {
                continue;
            }
            if !fitting.any(|fits| fits) {
                return DigestCheck::Mismatch {
                    header,
                    stated: stated.to_owned(),
                    found: digest::sha1_digest(candidates[0].unwrap_or_default()),
                };
            }
            verdict = DigestCheck::Fits;
        }
        verdict
    }

    /// Whether whoever wrote the record says that its end is missing.
    #[must_use]
    pub fn is_truncated(&self) -> bool {
        self.header("WARC-Truncated").is_some()
    }
}

/// The records of a WARC file, in order: an iterator that holds one block at a time.
pub struct WarcReader {
    members: Members,
    file: String,
    path: std::path::PathBuf,
    max_block_bytes: usize,
    /// Offset of the member at hand, or in a plain file of the record at hand.
    member_start: u64,
    /// Records found in the member at hand.
    in_member: usize,
    /// Whether damage has been reported and no sound record found since: then what looks like a
    /// member and is none is not reported again.
    is_searching: bool,
}

/// What can go wrong between two records.
enum Trouble {
    Damage(String),
    System(io::Error),
}

impl WarcReader {
    /// Opens a file: plain, gzip or zstd, by its first bytes. Blocks are cut at `max_block_bytes`.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if the file cannot be opened.
    pub fn open(path: &Path, max_block_bytes: usize) -> Result<Self, Error> {
        let read = |source| Error::Read {
            path: path.to_owned(),
            source,
        };
        let file = File::open(path).map_err(read)?;
        Self::new(Box::new(file), path, max_block_bytes)
    }

    /// The same for any source of bytes; `path` is its name in locations and errors.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if its first bytes cannot be read.
    pub fn new(
        source: Box<dyn Read + Send>,
        path: &Path,
        max_block_bytes: usize,
    ) -> Result<Self, Error> {
        let members = Members::new(source).map_err(|source| Error::Read {
            path: path.to_owned(),
            source,
        })?;
        let file = path.file_name().unwrap_or(path.as_os_str());
        Ok(Self {
            members,
            file: file.to_string_lossy().into_owned(),
            path: path.to_owned(),
            max_block_bytes,
            member_start: 0,
            in_member: 0,
            is_searching: false,
        })
    }

    /// The next record, `None` at the file's end.
    fn read_record(&mut self) -> Result<Option<WarcRecord>, Trouble> {
        loop {
            let position = self.members.position();
            if matches!(self.members, Members::Between(..) | Members::Plain(_)) {
                self.member_start = position;
                self.in_member = 0;
            }
            if !self.members.open_next()? {
                return Ok(None);
            }
            self.skip_line_ends()?;
            if !self.members.fill_buf()?.is_empty() {
                break;
            }
            if !self.members.is_compressed() {
                return Ok(None);
            }
            self.members.close();
        }
        if !self.members.is_compressed() {
            self.member_start = self.members.position();
        }
        let headers = self.read_headers()?;
        let length = block_length(&headers)?;
        let (block, is_oversize) = self.read_block(length)?;
        self.in_member += 1;
        // A member's checksum stands at its end: nothing of it is handed on before it is known to
        // be whole.
        let end = if self.members.is_compressed() {
            self.skip_line_ends()?;
            let is_last = self.members.fill_buf()?.is_empty();
            if is_last {
                self.members.close();
            }
            (is_last && self.in_member == 1).then(|| self.members.position())
        } else {
            let end = self.members.position();
            self.skip_line_ends()?;
            Some(end)
        };
        let location = end.map(|end| RecordLocation {
            file: self.file.clone(),
            offset: self.member_start,
            length: end - self.member_start,
        });
        Ok(Some(WarcRecord {
            headers,
            block,
            is_oversize,
            location,
        }))
    }

    /// Records end with two line ends; some writers leave more or fewer.
    fn skip_line_ends(&mut self) -> io::Result<()> {
        loop {
            let available = self.members.fill_buf()?;
            let count = available
                .iter()
                .take_while(|byte| matches!(byte, b'\r' | b'\n'))
                .count();
            let is_done = count < available.len() || count == 0;
            self.members.consume(count);
            if is_done {
                return Ok(());
            }
        }
    }

    fn read_headers(&mut self) -> Result<Vec<(String, String)>, Trouble> {
        let mut lines: Vec<String> = Vec::new();
        let mut left = MAX_HEADER_BYTES;
        loop {
            let mut line = Vec::new();
            let mut limited = Read::take(&mut self.members, left);
            let count = limited.read_until(b'\n', &mut line)?;
            left -= count as u64;
            if line.pop() != Some(b'\n') {
                return Err(damage("the header of a record has no end"));
            }
            if line.last() == Some(&b'\r') {
                line.pop();
            }
            if lines.is_empty() && !line.starts_with(b"WARC/") {
                return Err(damage("a record does not begin with `WARC/`"));
            }
            if line.is_empty() {
                return Ok(headers(&lines[1..]));
            }
            lines.push(String::from_utf8_lossy(&line).into_owned());
        }
    }

    /// The block up to the cap, and whether there was more. The buffer grows with what is really
    /// there, not with what the header claims.
    fn read_block(&mut self, length: u64) -> Result<(Vec<u8>, bool), Trouble> {
        let kept = length.min(self.max_block_bytes as u64);
        let mut block = Vec::new();
        let mut limited = Read::take(&mut self.members, kept);
        limited.read_to_end(&mut block)?;
        let skipped = if block.len() as u64 == kept && kept < length {
            let mut rest = Read::take(&mut self.members, length - kept);
            io::copy(&mut rest, &mut io::sink())?
        } else {
            0
        };
        let found = block.len() as u64 + skipped;
        if found < length {
            let detail = format!("a record of {length} bytes ends after {found}");
            return Err(Trouble::Damage(detail));
        }
        Ok((block, kept < length))
    }

    /// Makes the error of some trouble and looks for the next record; `None` if this is still the
    /// damage reported before.
    fn report(&mut self, trouble: Trouble) -> Option<Error> {
        let detail = match trouble {
            Trouble::Damage(detail) => detail,
            Trouble::System(source) => {
                self.members = Members::Finished;
                return Some(Error::Read {
                    path: self.path.clone(),
                    source,
                });
            }
        };
        let offset = self.member_start;
        if !matches!(self.members.resynchronise(), Ok(true)) {
            self.members = Members::Finished;
        }
        let is_news = !self.is_searching;
        self.is_searching = true;
        is_news.then(|| Error::Damaged {
            file: self.file.clone(),
            offset,
            detail,
        })
    }
}

impl Iterator for WarcReader {
    type Item = Result<WarcRecord, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.read_record() {
                Ok(Some(record)) => {
                    self.is_searching = false;
                    return Some(Ok(record));
                }
                Ok(None) => return None,
                Err(trouble) => {
                    if let Some(error) = self.report(trouble) {
                        return Some(Err(error));
                    }
                }
            }
        }
    }
}

impl From<io::Error> for Trouble {
    /// What a decompressor finds wrong is damage of the file; anything else is the system's.
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::InvalidData
            | io::ErrorKind::InvalidInput
            | io::ErrorKind::UnexpectedEof
            | io::ErrorKind::Other => Self::Damage(error.to_string()),
            _ => Self::System(error),
        }
    }
}

fn damage(detail: &str) -> Trouble {
    Trouble::Damage(detail.to_owned())
}

fn block_length(headers: &[(String, String)]) -> Result<u64, Trouble> {
    let Some(text) = find(headers, "Content-Length") else {
        return Err(damage("a record has no Content-Length"));
    };
    text.parse()
        .map_err(|_| Trouble::Damage(format!("a record has the Content-Length `{text}`")))
}
