//! A crawl to WARC/1.1 files, one gzip member for each record.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use time::OffsetDateTime;
use url::Url;

use super::WarcReader;
use super::digest::sha1_digest;
use super::exchange::Exchange;
use super::packer::{self, Header, Packer, date, unique_id};
use crate::Error;

/// A file is closed when it has grown to this: what the WARC standard recommends (annex C).
const FILE_BYTES: u64 = 1 << 30;

/// Cap on a block while looking for the end of a file that was being written.
const MAX_BLOCK_BYTES: usize = 1 << 20;

/// A `revisit` record of this kind says that the server confirmed an earlier answer: WARC 1.1,
/// 6.7.3.
pub(super) const NOT_MODIFIED_PROFILE: &str =
    "http://netpreserve.org/warc/1.1/revisit/server-not-modified";

/// Writes exchanges into numbered files of one folder. Whatever is there already stays: a crawl
/// that goes on begins a new file, and the torn end of the last one is cut off.
///
/// Memory held is the exchanges that are being written, and a compressor's tables for each of them.
pub struct WarcWriter {
    folder: PathBuf,
    user_agent: String,
    packer: Packer,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    next_file: u32,
    file: Option<(File, u64)>,
    records: u64,
    failure: Option<String>,
}

impl WarcWriter {
    /// Writes into `folder`, which is made if it is not there.
    ///
    /// # Errors
    ///
    /// [`Error::Write`] if it cannot be made, [`Error::Read`] if what is in it cannot be read.
    pub fn open(folder: &Path, user_agent: String) -> Result<Self, Error> {
        let failed = |source| Error::Write {
            path: folder.to_owned(),
            source,
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let files = warc_files(folder)?;
        if let Some(last) = files.last() {
            cut_torn_end(last)?;
        }
        let next_file = files
            .iter()
            .filter_map(|path| file_number(path))
            .max()
            .map_or(0, |number| number + 1);
        Ok(Self {
            folder: folder.to_owned(),
            user_agent,
            packer: Packer::default(),
            state: Mutex::new(State {
                next_file,
                ..State::default()
            }),
        })
    }

    /// Writes a request, its response (a `revisit` if it only confirms an earlier one) and what is
    /// known besides, in this order.
    pub(crate) fn write_exchange(&self, exchange: &Exchange) {
        let date = date(exchange.received_at);
        let target = exchange.url.as_str();
        let id = self.record_id(target);
        let response_id = self.record_id(target);
        let metadata_id = self.record_id(target);
        let mut fields = vec![("WARC-Concurrent-To", id.clone())];
        if let Some(earlier) = exchange.confirms {
            fields.push(("WARC-Profile", NOT_MODIFIED_PROFILE.to_owned()));
            fields.push(("WARC-Refers-To-Target-URI", target.to_owned()));
            fields.push(("WARC-Refers-To-Date", packer::date(earlier)));
        } else {
            fields.push(("WARC-Payload-Digest", sha1_digest(&exchange.body)));
        }
        if let Some(address) = exchange.address {
            fields.push(("WARC-IP-Address", address.ip().to_string()));
        }
        if exchange.is_http2 {
            fields.push(("WARC-Protocol", "h2".to_owned()));
        }
        if let Some(reason) = exchange.truncated {
            fields.push(("WARC-Truncated", reason.to_owned()));
        }
        let mut members = Vec::new();
        let request = Header {
            kind: "request",
            id: &id,
            date: &date,
            target: Some(target),
            content_type: "application/http; msgtype=request",
            fields: &[],
        };
        self.packer
            .append(&mut members, &request, &[&exchange.request()]);
        let response = Header {
            kind: match exchange.confirms {
                Some(_) => "revisit",
                None => "response",
            },
            id: &response_id,
            content_type: "application/http; msgtype=response",
            fields: &fields,
            ..request
        };
        let block: [&[u8]; 2] = [&exchange.response_head(), &exchange.body];
        self.packer.append(&mut members, &response, &block);
        let metadata = Header {
            kind: "metadata",
            id: &metadata_id,
            content_type: "application/warc-fields",
            fields: &[("WARC-Concurrent-To", response_id.clone())],
            ..request
        };
        let block: [&[u8]; 1] = [b"outcome: answered\r\n"];
        self.packer.append(&mut members, &metadata, &block);
        self.write(&members);
    }

    /// Writes that nothing usable came, and why.
    pub(crate) fn write_failure(&self, url: &Url, reason: &str, detail: &str, at: i64) {
        let detail: String = detail
            .chars()
            .map(|next| if next.is_control() { ' ' } else { next })
            .collect();
        let block = format!("outcome: {reason}\r\ndetail: {detail}\r\n");
        let mut member = Vec::new();
        let header = Header {
            kind: "metadata",
            id: &self.record_id(url.as_str()),
            date: &date(at),
            target: Some(url.as_str()),
            content_type: "application/warc-fields",
            fields: &[],
        };
        self.packer
            .append(&mut member, &header, &[block.as_bytes()]);
        self.write(&member);
    }

    /// What first went wrong with the disk, if anything did.
    ///
    /// # Errors
    ///
    /// [`Error::Archive`].
    pub(crate) fn check(&self) -> Result<(), Error> {
        match &self.lock().failure {
            None => Ok(()),
            Some(detail) => Err(Error::Archive {
                folder: self.folder.clone(),
                detail: detail.clone(),
            }),
        }
    }

    /// Appends whole members at once. The first refusal of the disk is kept, and nothing is
    /// written after it.
    fn write(&self, members: &[u8]) {
        let mut state = self.lock();
        if state.failure.is_some() {
            return;
        }
        if let Err(error) = self.append(&mut state, members) {
            state.failure = Some(error.to_string());
        }
    }

    fn append(&self, state: &mut State, bytes: &[u8]) -> io::Result<()> {
        if state
            .file
            .as_ref()
            .is_some_and(|(_, size)| *size >= FILE_BYTES)
        {
            state.file = None;
        }
        if state.file.is_none() {
            let name = format!("m3w-{:05}.warc.gz", state.next_file);
            let path = self.folder.join(&name);
            let mut file = OpenOptions::new()
                .create_new(true)
                .append(true)
                .open(path)?;
            let start = self.warcinfo(&name);
            file.write_all(&start)?;
            state.file = Some((file, start.len() as u64));
            state.next_file += 1;
        }
        if let Some((file, size)) = &mut state.file {
            file.write_all(bytes)?;
            *size += bytes.len() as u64;
        }
        Ok(())
    }

    fn warcinfo(&self, name: &str) -> Vec<u8> {
        let block = format!(
            "software: m3w/{}\r\nformat: WARC File Format 1.1\r\nhttp-header-user-agent: {}\r\n\
             robots: honoured\r\n",
            env!("CARGO_PKG_VERSION"),
            self.user_agent
        );
        let header = Header {
            kind: "warcinfo",
            id: &unique_id(name, 0),
            date: &date(OffsetDateTime::now_utc().unix_timestamp()),
            target: None,
            content_type: "application/warc-fields",
            fields: &[("WARC-Filename", name.to_owned())],
        };
        let mut member = Vec::new();
        self.packer
            .append(&mut member, &header, &[block.as_bytes()]);
        member
    }

    fn record_id(&self, target: &str) -> String {
        let mut state = self.lock();
        state.records += 1;
        unique_id(target, state.records)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The WARC files of a folder in the order of their names.
pub(super) fn warc_files(folder: &Path) -> Result<Vec<PathBuf>, Error> {
    let failed = |source| Error::Read {
        path: folder.to_owned(),
        source,
    };
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        if [".warc", ".warc.gz", ".warc.zst"]
            .iter()
            .any(|end| name.ends_with(end))
        {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn file_number(path: &Path) -> Option<u32> {
    let name = path.file_name()?.to_str()?;
    name.strip_prefix("m3w-")?
        .strip_suffix(".warc.gz")?
        .parse()
        .ok()
}

/// Cuts off what a crawl that was killed left half written: everything behind the last whole
/// record.
fn cut_torn_end(path: &Path) -> Result<(), Error> {
    let mut end = 0;
    for record in WarcReader::open(path, MAX_BLOCK_BYTES)? {
        match record {
            Ok(record) => {
                if let Some(location) = record.location {
                    end = location.offset + location.length;
                }
            }
            Err(Error::Damaged { .. }) => break,
            Err(error) => return Err(error),
        }
    }
    let cut = || {
        let file = OpenOptions::new().write(true).open(path)?;
        if end < file.metadata()?.len() {
            file.set_len(end)?;
        }
        Ok(())
    };
    cut().map_err(|source| Error::Write {
        path: path.to_owned(),
        source,
    })
}
