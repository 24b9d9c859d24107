//! Tar files whose bytes depend on nothing but their members.

use std::io::BufWriter;
use std::path::{Path, PathBuf};

use crate::manifest::PendingFile;
use crate::{Error, FileEntry};

/// Members become world-readable files without an owner, of the beginning of time.
const MODE: u32 = 0o644;

pub(super) struct TarFile {
    path: PathBuf,
    tar: tar::Builder<BufWriter<PendingFile>>,
    samples: u64,
}

impl TarFile {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        let file = BufWriter::new(PendingFile::create(path)?);
        Ok(Self {
            path: path.to_owned(),
            tar: tar::Builder::new(file),
            samples: 0,
        })
    }

    /// Adds the members of one sample: `key.extension` with its bytes. A reader takes members in
    /// a row that share a key for one sample, so `key` has no dot.
    pub(super) fn add(&mut self, key: &str, members: &[(&str, &[u8])]) -> Result<(), Error> {
        for (extension, bytes) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(MODE);
            self.tar
                .append_data(&mut header, format!("{key}.{extension}"), *bytes)
                .map_err(Error::io(&self.path))?;
        }
        self.samples += 1;
        Ok(())
    }

    pub(super) fn finish(self) -> Result<FileEntry, Error> {
        let file = self.tar.into_inner().map_err(Error::io(&self.path))?;
        let file = file
            .into_inner()
            .map_err(|error| Error::io(&self.path)(error.into_error()))?;
        let (bytes, sha256) = file.commit()?;
        let name = self.path.file_name().unwrap_or_default();
        Ok(FileEntry {
            path: name.to_string_lossy().into_owned(),
            rows: self.samples,
            bytes,
            sha256,
        })
    }
}
