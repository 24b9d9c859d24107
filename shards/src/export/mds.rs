//! Documents as MosaicML's streaming reads them.
//!
//! A shard is: the number of samples; where each begins, and the last ends, from the file's start;
//! the description of the columns as JSON; the samples. A sample is the lengths of its columns, then
//! the columns in the order of their names. Numbers are u32, little endian. `index.json` beside the
//! shards names them all (version 2 of the format, as mosaicml-streaming 0.13 reads it).

use std::io::Write;
use std::path::{Path, PathBuf};

use m3w_document::{Document, Element, Image};
use serde_json::{Value, json};

use super::{ExportReport, Target};
use crate::manifest::{PendingFile, write_atomically};
use crate::{Error, FileEntry};

/// Name of the file that names the shards.
const INDEX_NAME: &str = "index.json";
/// The columns by name, and how they are encoded.
const COLUMNS: [(&str, &str); 4] = [
    ("id", "str"),
    ("images", "list[jpeg]"),
    ("texts", "json"),
    ("url", "str"),
];
/// A file ends when its samples reach this many bytes: the writer of the format's own limit. A sample
/// is held until then, and its place is a u32.
const MAX_BYTES: usize = 1 << 26;

pub(super) struct MdsFile {
    path: PathBuf,
    samples: Vec<u8>,
    /// Where each sample ends.
    ends: Vec<usize>,
}

impl MdsFile {
    pub(super) fn create(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            samples: Vec::new(),
            ends: Vec::new(),
        }
    }

    fn number(&self, number: usize) -> Result<[u8; 4], Error> {
        let number = u32::try_from(number).map_err(|_| {
            let problem = "a document of more than 4 GiB does not fit a file of this format";
            Error::io(&self.path)(std::io::Error::other(problem))
        })?;
        Ok(number.to_le_bytes())
    }

    /// Adds a column's length to the head and its bytes to the body.
    fn add(&self, head: &mut Vec<u8>, body: &mut Vec<u8>, bytes: &[u8]) -> Result<(), Error> {
        head.extend(self.number(bytes.len())?);
        body.extend_from_slice(bytes);
        Ok(())
    }

    /// A list: four bytes without a meaning, how many, their lengths, they themselves.
    fn list(&self, document: &Document<Image>) -> Result<Vec<u8>, Error> {
        let mut list = vec![0; 4];
        list.extend(self.number(document.images().count())?);
        for image in document.images() {
            list.extend(self.number(image.bytes.len())?);
        }
        for image in document.images() {
            list.extend_from_slice(&image.bytes);
        }
        Ok(list)
    }
}

impl Target for MdsFile {
    fn write(
        &mut self,
        document: &Document<Image>,
        report: &mut ExportReport,
    ) -> Result<(), Error> {
        let texts = document.elements.iter().map(|element| match element {
            Element::Text(text) => json!(text.content),
            Element::Image(_) => Value::Null,
        });
        let texts: Value = texts.collect();
        let (mut head, mut body) = (Vec::new(), Vec::new());
        self.add(&mut head, &mut body, document.id.to_string().as_bytes())?;
        let images = self.list(document)?;
        self.add(&mut head, &mut body, &images)?;
        self.add(&mut head, &mut body, texts.to_string().as_bytes())?;
        self.add(&mut head, &mut body, document.final_url.as_str().as_bytes())?;
        self.samples.append(&mut head);
        self.samples.append(&mut body);
        self.ends.push(self.samples.len());
        report.samples += 1;
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.samples.len() >= MAX_BYTES
    }

    fn finish(self: Box<Self>) -> Result<FileEntry, Error> {
        let columns = columns().to_string();
        let first = 4 * (self.ends.len() + 2) + columns.len();
        let mut head = Vec::with_capacity(first);
        head.extend(self.number(self.ends.len())?);
        for end in std::iter::once(&0).chain(&self.ends) {
            head.extend(self.number(first + end)?);
        }
        head.extend_from_slice(columns.as_bytes());
        let mut file = PendingFile::create(&self.path)?;
        file.write_all(&head)
            .and_then(|()| file.write_all(&self.samples))
            .map_err(Error::io(&self.path))?;
        let (bytes, sha256) = file.commit()?;
        let name = self.path.file_name().unwrap_or_default();
        Ok(FileEntry {
            path: name.to_string_lossy().into_owned(),
            rows: self.ends.len() as u64,
            bytes,
            sha256,
        })
    }
}

/// How the samples of a shard are to be read.
fn columns() -> Value {
    let names: Vec<&str> = COLUMNS.iter().map(|(name, _)| *name).collect();
    let encodings: Vec<&str> = COLUMNS.iter().map(|(_, encoding)| *encoding).collect();
    json!({
        "column_encodings": encodings,
        "column_names": names,
        // None has the same length in all samples.
        "column_sizes": vec![Value::Null; COLUMNS.len()],
        "compression": null,
        "format": "mds",
        "hashes": ["sha256"],
        "size_limit": MAX_BYTES,
        "version": 2,
    })
}

/// Names the shards of a folder, with their hashes.
pub(super) fn write_index(folder: &Path, files: &[FileEntry]) -> Result<(), Error> {
    let shards = files.iter().map(|file| {
        let mut shard = columns();
        shard["raw_data"] = json!({
            "basename": file.path,
            "bytes": file.bytes,
            "hashes": {"sha256": file.sha256.to_string()},
        });
        shard["samples"] = json!(file.rows);
        shard["zip_data"] = Value::Null;
        shard
    });
    let index = json!({"version": 2, "shards": shards.collect::<Value>()});
    write_atomically(&folder.join(INDEX_NAME), index.to_string().as_bytes())
}
