//! Archives of samples: the tars of webdataset and img2dataset.
//!
//! An archive is read member by member and never unpacked: what it says of a member is its name,
//! and where its bytes lie. The formats are v7, ustar, GNU (long names, numbers in binary) and pax
//! (`path`, `size`).

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Result;
use m3w_document::Reason;

mod header;
mod samples;

use header::{header_name, number, plain, property};

pub(super) use samples::rows;

const BLOCK: usize = 512;
/// Longest name; systems end at 4096 bytes.
const MAX_NAME_BYTES: u64 = 4096;
/// Longest list of further properties of one member.
const MAX_PAX_BYTES: u64 = 1 << 16;
/// Most links in one archive; they are remembered, for a name behind one is refused.
const MAX_LINKS: usize = 10_000;

/// What is wrong with an archive.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ArchiveError {
    /// It cannot be read.
    #[error("cannot read the archive {path}", path = path.display())]
    Io {
        /// The archive.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is not what a tar is, from some place on.
    #[error("the archive {path} is damaged at byte {offset}: {problem}", path = path.display())]
    Damaged {
        /// The archive.
        path: PathBuf,
        /// Where the member begins.
        offset: u64,
        /// What is wrong there.
        problem: String,
    },
}

/// A file in an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// Its name: relative, without `..`, not behind a link.
    pub name: String,
    /// Where its bytes begin.
    pub offset: u64,
    /// How many they are; all of them lie within the archive.
    pub length: u64,
}

/// What an archive holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A file.
    File(Member),
    /// A member that is not taken: a link, a device, a name that leads elsewhere.
    Refused {
        /// Its name, as far as it is text.
        name: String,
        /// Why.
        reason: Reason,
    },
}

/// The members of an archive in order, folders left out. Memory is one header, one name and the
/// names of links.
///
/// # Errors
///
/// [`ArchiveError::Io`] if it cannot be opened. An item is an error where the archive is damaged,
/// and the last one.
pub fn members(
    path: &Path,
) -> Result<impl Iterator<Item = Result<Found, ArchiveError>> + use<>, ArchiveError> {
    let io = |source| ArchiveError::Io {
        path: path.to_owned(),
        source,
    };
    let file = File::open(path).map_err(io)?;
    let end = file.metadata().map_err(io)?.len();
    let mut reader = Members {
        path: path.to_owned(),
        file: BufReader::with_capacity(1 << 16, file),
        end,
        at: 0,
        links: HashSet::new(),
    };
    let mut has_failed = false;
    Ok(std::iter::from_fn(move || {
        if has_failed {
            return None;
        }
        let found = reader.next_found().transpose();
        has_failed = matches!(found, Some(Err(_)));
        found
    }))
}

struct Members {
    path: PathBuf,
    file: BufReader<File>,
    end: u64,
    /// Where the next header begins.
    at: u64,
    links: HashSet<String>,
}

/// What headers before a member say of it.
#[derive(Default)]
struct Further {
    name: Option<Vec<u8>>,
    length: Option<u64>,
}

impl Members {
    fn damaged(&self, problem: impl Into<String>) -> ArchiveError {
        ArchiveError::Damaged {
            path: self.path.clone(),
            offset: self.at,
            problem: problem.into(),
        }
    }

    fn read_at(&mut self, offset: u64, bytes: &mut [u8]) -> Result<(), ArchiveError> {
        let distance = i64::try_from(offset).ok().and_then(|offset| {
            let now = i64::try_from(self.file.stream_position().ok()?).ok()?;
            offset.checked_sub(now)
        });
        let sought = match distance {
            Some(distance) => self.file.seek_relative(distance),
            None => self.file.seek(SeekFrom::Start(offset)).map(drop),
        };
        sought
            .and_then(|()| self.file.read_exact(bytes))
            .map_err(|source| ArchiveError::Io {
                path: self.path.clone(),
                source,
            })
    }

    fn next_found(&mut self) -> Result<Option<Found>, ArchiveError> {
        let mut further = Further::default();
        loop {
            let Some(header) = self.header()? else {
                return Ok(None);
            };
            let kind = header[156];
            // What says something of the next member is none itself.
            let is_member = !matches!(kind, b'L' | b'K' | b'x' | b'g');
            let length = match further.length.filter(|_| is_member) {
                Some(length) => length,
                None => number(&header[124..136])
                    .ok_or_else(|| self.damaged("a length that is no number"))?,
            };
            let start = self.at + BLOCK as u64;
            let within = start.checked_add(length).filter(|end| *end <= self.end);
            if within.is_none() {
                return Err(self.damaged(format!(
                    "a member of {length} bytes, and the archive ends at {}",
                    self.end
                )));
            }
            match kind {
                b'L' => further.name = Some(self.long_name(start, length)?),
                b'x' => self.properties(start, length, &mut further)?,
                _ => {}
            }
            self.at = start + length.next_multiple_of(BLOCK as u64);
            if !is_member {
                continue;
            }
            let name = further.name.take().unwrap_or_else(|| header_name(&header));
            further = Further::default();
            if let Some(found) = self.found(kind, &name, start, length)? {
                return Ok(Some(found));
            }
        }
    }

    /// The next header, unless the archive ends.
    fn header(&mut self) -> Result<Option<[u8; BLOCK]>, ArchiveError> {
        if self.at >= self.end {
            return Ok(None);
        }
        if self.end - self.at < BLOCK as u64 {
            return Err(self.damaged("it ends within a header"));
        }
        let mut header = [0; BLOCK];
        self.read_at(self.at, &mut header)?;
        if header.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        // The sum of all bytes, those of the sum itself counted as spaces.
        let sum: u64 = header
            .iter()
            .enumerate()
            .map(|(index, byte)| {
                let is_sum = (148..156).contains(&index);
                u64::from(if is_sum { b' ' } else { *byte })
            })
            .sum();
        if number(&header[148..156]) != Some(sum) {
            return Err(self.damaged("no header of a tar"));
        }
        Ok(Some(header))
    }

    fn long_name(&mut self, start: u64, length: u64) -> Result<Vec<u8>, ArchiveError> {
        if length > MAX_NAME_BYTES {
            return Err(self.damaged(format!("a name of {length} bytes")));
        }
        let mut name = vec![0; usize::try_from(length).unwrap_or(0)];
        self.read_at(start, &mut name)?;
        name.truncate(
            name.iter()
                .position(|byte| *byte == 0)
                .unwrap_or(name.len()),
        );
        Ok(name)
    }

    /// Takes name and length from lines `LENGTH KEY=VALUE`.
    fn properties(
        &mut self,
        start: u64,
        length: u64,
        further: &mut Further,
    ) -> Result<(), ArchiveError> {
        if length > MAX_PAX_BYTES {
            return Err(self.damaged(format!("a list of properties of {length} bytes")));
        }
        let mut list = vec![0; usize::try_from(length).unwrap_or(0)];
        self.read_at(start, &mut list)?;
        let mut rest = list.as_slice();
        while !rest.is_empty() {
            let line =
                property(rest).ok_or_else(|| self.damaged("a list of properties that is none"))?;
            if let Some(name) = line.strip_prefix(b"path=") {
                further.name = Some(name.to_vec());
            } else if let Some(length) = line.strip_prefix(b"size=") {
                let length = std::str::from_utf8(length)
                    .ok()
                    .and_then(|n| n.parse().ok());
                further.length =
                    Some(length.ok_or_else(|| self.damaged("a length that is no number"))?);
            }
            // Behind the line, its own length and the space after that.
            let digits = rest.iter().position(|byte| *byte == b' ').unwrap_or(0);
            rest = &rest[digits + 1 + line.len() + 1..];
        }
        Ok(())
    }

    fn found(
        &mut self,
        kind: u8,
        name: &[u8],
        offset: u64,
        length: u64,
    ) -> Result<Option<Found>, ArchiveError> {
        let text = String::from_utf8_lossy(name);
        let shown = text.trim_end_matches('/').to_owned();
        let refuse = |reason| {
            Ok(Some(Found::Refused {
                name: shown.clone(),
                reason: Reason::new(reason),
            }))
        };
        match kind {
            b'0' | 0 | b'7' if !text.ends_with('/') => {}
            b'0' | 0 | b'7' | b'5' => return Ok(None),
            b'1' | b'2' => {
                if self.links.len() >= MAX_LINKS {
                    return Err(self.damaged(format!("more than {MAX_LINKS} links")));
                }
                self.links.insert(plain(&shown));
                return refuse("input/link");
            }
            b'S' => return refuse("input/sparse-file"),
            _ => return refuse("input/no-file"),
        }
        if std::str::from_utf8(name).is_err() {
            return refuse("input/broken-utf8");
        }
        if !self.is_plain(&shown) {
            return refuse("input/bad-name");
        }
        Ok(Some(Found::File(Member {
            name: plain(&shown),
            offset,
            length,
        })))
    }

    /// Whether a name leads to a file below the archive, and to no other behind a link.
    fn is_plain(&self, name: &str) -> bool {
        if name.is_empty() || name.starts_with('/') || name.contains(['\\', '\0']) {
            return false;
        }
        let name = plain(name);
        let mut folders = name.match_indices('/').map(|(end, _)| &name[..end]);
        !name.split('/').any(|part| part == "..")
            && !name.is_empty()
            && !self.links.contains(&name)
            && !folders.any(|folder| self.links.contains(folder))
    }
}

#[cfg(test)]
mod tests;
