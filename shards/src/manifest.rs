//! The list of a corpus's files, and writing files so that they are whole or absent.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use m3w_document::{Sha256, Tally};
use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::Error;
use crate::schema::SCHEMA_VERSION;

/// Name of the manifest in a corpus's folder.
pub const MANIFEST_NAME: &str = "manifest.json";

/// A file of a corpus, as it was when it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Path relative to the manifest's folder, parts separated by `/`.
    pub path: String,
    /// Rows in it.
    pub rows: u64,
    /// Its length.
    pub bytes: u64,
    /// Hash of the whole file.
    #[serde(with = "hex")]
    pub sha256: Sha256,
}

impl FileEntry {
    /// The same file seen from further up: its path begins with `folder`.
    #[must_use]
    pub fn in_folder(mut self, folder: &str) -> Self {
        self.path = format!("{folder}/{}", self.path);
        self
    }

    /// Compares the file under `directory` with this entry, reading all of it.
    ///
    /// A Parquet footer has no checksum of its own, so this is what finds a flipped bit anywhere.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] if length or hash differ, [`Error::Io`] if the file cannot be read.
    pub fn verify(&self, directory: &Path) -> Result<(), Error> {
        let path = directory.join(&self.path);
        let damaged = |problem| Error::Damaged {
            path: path.clone(),
            problem,
        };
        let mut file = File::open(&path).map_err(Error::io(&path))?;
        let length = file.metadata().map_err(Error::io(&path))?.len();
        if length != self.bytes {
            return Err(damaged(format!(
                "it has {length} bytes, not {}",
                self.bytes
            )));
        }
        let mut hash = sha2::Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        loop {
            let read = file.read(&mut buffer).map_err(Error::io(&path))?;
            if read == 0 {
                break;
            }
            hash.update(&buffer[..read]);
        }
        if Sha256(hash.finalize().into()) != self.sha256 {
            return Err(damaged("its SHA-256 is another".to_owned()));
        }
        Ok(())
    }
}

/// What a corpus consists of and how it was made: `manifest.json` in its folder.
///
/// The file ends with its own checksum, the key `sha256`: the SHA-256 of all bytes before it. Who
/// changes a manifest by hand takes that line out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Version of the shards' schema.
    pub schema_version: u32,
    /// Hash of the settings it was made with.
    #[serde(with = "hex")]
    pub config_sha256: Sha256,
    /// Seed of the run.
    pub seed: u64,
    /// Hash of the tokenizer's file, where there are sequences.
    #[serde(default, with = "optional_hex")]
    pub tokenizer_sha256: Option<Sha256>,
    /// Shards of documents.
    #[serde(default)]
    pub documents: Vec<FileEntry>,
    /// Shards of sequences.
    #[serde(default)]
    pub sequences: Vec<FileEntry>,
    /// Lists of what became of each input, where the corpus was built from pages.
    #[serde(default)]
    pub outcomes: Vec<FileEntry>,
    /// What was kept and dropped, by reason.
    #[serde(default)]
    pub tally: Tally,
    /// Description of the run that made the corpus, in the words of whoever ran it.
    #[serde(default)]
    pub run: serde_json::Value,
}

impl Manifest {
    /// A manifest of this schema version without files.
    #[must_use]
    pub fn new(config_sha256: Sha256, seed: u64) -> Self {
        Self {
            schema_version: SCHEMA_VERSION,
            config_sha256,
            seed,
            tokenizer_sha256: None,
            documents: Vec::new(),
            sequences: Vec::new(),
            outcomes: Vec::new(),
            tally: Tally::default(),
            run: serde_json::Value::Null,
        }
    }

    /// The manifest of the corpus in `directory`.
    ///
    /// # Errors
    ///
    /// [`Error::Manifest`] if it is missing, malformed, of a newer version, or names files outside
    /// the folder.
    pub fn load(directory: &Path) -> Result<Self, Error> {
        let path = directory.join(MANIFEST_NAME);
        let refuse = |problem: String| Error::Manifest {
            path: path.clone(),
            problem,
        };
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(refuse(
                    "there is none: give the folder of a finished build".to_owned(),
                ));
            }
            Err(error) => return Err(Error::io(&path)(error)),
        };
        // The version is looked at first: a newer manifest may have keys unknown here.
        #[derive(Deserialize)]
        struct Version {
            schema_version: u32,
        }
        let version: Version =
            serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
        if version.schema_version > SCHEMA_VERSION {
            return Err(refuse(format!(
                "it has schema version {}, this build reads up to {SCHEMA_VERSION}: rebuild the \
                 corpus or update m3w",
                version.schema_version
            )));
        }
        let mut value: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(&bytes).map_err(|error| refuse(error.to_string()))?;
        if value.remove(CHECKSUM_KEY).is_some() && !has_right_checksum(&bytes) {
            return Err(refuse(
                "it is not as it was written: restore it from a copy; if it was changed on \
                 purpose, take out the line `sha256`"
                    .to_owned(),
            ));
        }
        let manifest: Self =
            serde_json::from_value(value.into()).map_err(|error| refuse(error.to_string()))?;
        for entry in manifest
            .documents
            .iter()
            .chain(&manifest.sequences)
            .chain(&manifest.outcomes)
        {
            if !is_inside(&entry.path) {
                return Err(refuse(format!(
                    "`{}` is not a path inside the corpus's folder",
                    entry.path
                )));
            }
        }
        Ok(manifest)
    }

    /// Writes the manifest into `directory`, whole or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn save(&self, directory: &Path) -> Result<(), Error> {
        let path = directory.join(MANIFEST_NAME);
        write_atomically(&path, &self.to_bytes(&path)?)
    }

    /// The content of its file.
    fn to_bytes(&self, path: &Path) -> Result<Vec<u8>, Error> {
        let mut bytes = serde_json::to_vec_pretty(self).map_err(|error| Error::Manifest {
            path: path.to_owned(),
            problem: error.to_string(),
        })?;
        // The object's end, for the checksum to stand before it.
        bytes.truncate(bytes.len() - "\n}".len());
        let checksum = checksum_line(&bytes);
        bytes.extend(checksum);
        Ok(bytes)
    }
}

/// Key of the manifest's own checksum.
const CHECKSUM_KEY: &str = "sha256";

/// The end of a manifest whose bytes up to there are `body`.
fn checksum_line(body: &[u8]) -> Vec<u8> {
    format!(",\n  \"{CHECKSUM_KEY}\": \"{}\"\n}}\n", Sha256::of(body)).into_bytes()
}

fn has_right_checksum(bytes: &[u8]) -> bool {
    let length = checksum_line(&[]).len();
    bytes
        .split_at_checked(bytes.len().saturating_sub(length))
        .is_some_and(|(body, end)| end == checksum_line(body))
}

fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && !path.contains(['\\', ':'])
        && path
            .split('/')
            .all(|part| !part.is_empty() && part != "." && part != "..")
}

/// Writes a file so that it is found under its name either whole or as it was before, even if
/// the machine stops: written beside as `name.tmp`, synced, renamed, and the folder synced.
///
/// # Errors
///
/// [`Error::Io`].
pub fn write_atomically(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut file = PendingFile::create(path)?;
    file.write_all(bytes).map_err(Error::io(path))?;
    file.commit()?;
    Ok(())
}

/// A file being written beside its name. Dropped without [`PendingFile::commit`], it is removed.
#[derive(Debug)]
pub(crate) struct PendingFile {
    path: PathBuf,
    temporary: PathBuf,
    file: Option<File>,
    hash: sha2::Sha256,
    bytes: u64,
}

impl PendingFile {
    pub(crate) fn create(path: &Path) -> Result<Self, Error> {
        let mut temporary = path.as_os_str().to_owned();
        temporary.push(".tmp");
        let temporary = PathBuf::from(temporary);
        let file = File::create(&temporary).map_err(Error::io(&temporary))?;
        Ok(Self {
            path: path.to_owned(),
            temporary,
            file: Some(file),
            hash: sha2::Sha256::new(),
            bytes: 0,
        })
    }

    /// Gives the file its name; its length and hash.
    pub(crate) fn commit(mut self) -> Result<(u64, Sha256), Error> {
        if let Some(file) = self.file.take() {
            file.sync_all()
                .and_then(|()| fs::rename(&self.temporary, &self.path))
                .map_err(|error| {
                    // The error in hand says more than one about the remains would.
                    let _ = fs::remove_file(&self.temporary);
                    Error::io(&self.path)(error)
                })?;
        }
        sync_folder(&self.path)?;
        Ok((self.bytes, Sha256(self.hash.clone().finalize().into())))
    }
}

impl Write for PendingFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else {
            return Err(io::Error::other("the file is closed"));
        };
        let written = file.write(bytes)?;
        self.hash.update(&bytes[..written]);
        self.bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), Write::flush)
    }
}

impl Drop for PendingFile {
    fn drop(&mut self) {
        if self.file.take().is_some() {
            // Nothing can be told from here; a leftover `.tmp` is overwritten by the next try.
            let _ = fs::remove_file(&self.temporary);
        }
    }
}

/// Makes a rename in the folder of `path` durable.
fn sync_folder(path: &Path) -> Result<(), Error> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    // Only Unix can open a folder to sync it; elsewhere a rename is as durable as it gets.
    if cfg!(unix) {
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(Error::io(folder))?;
    }
    Ok(())
}

/// Digests as hexadecimal text in JSON.
mod hex {
    use m3w_document::Sha256;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        digest: &Sha256,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_str(digest)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Sha256, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(D::Error::custom)
    }
}

/// The same for a digest that may be absent.
mod optional_hex {
    use m3w_document::Sha256;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(
        digest: &Option<Sha256>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        digest
            .map(|digest| digest.to_string())
            .serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Sha256>, D::Error> {
        Option::<String>::deserialize(deserializer)?
            .map(|text| text.parse().map_err(D::Error::custom))
            .transpose()
    }
}
