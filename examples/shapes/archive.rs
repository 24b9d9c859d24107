//! Pages with their pictures in a WARC file, as a crawler would have left them.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};

/// Writes responses one after another.
pub(crate) struct Archive {
    file: BufWriter<File>,
    records: usize,
}

impl Archive {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            file: BufWriter::new(file),
            records: 0,
        })
    }

    /// Adds what a server answered for `url`.
    pub(crate) fn add(&mut self, url: &str, content_type: &str, body: &[u8]) -> Result<()> {
        let http = format!(
            "HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        self.records += 1;
        write!(
            self.file,
            "WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\n\
             WARC-Date: 2024-05-06T07:08:09Z\r\nWARC-Record-ID: <urn:shapes:{}>\r\n\
             Content-Type: application/http; msgtype=response\r\nContent-Length: {}\r\n\r\n{http}",
            self.records,
            http.len() + body.len()
        )?;
        self.file.write_all(body)?;
        self.file.write_all(b"\r\n\r\n")?;
        Ok(())
    }

    pub(crate) fn finish(mut self) -> Result<()> {
        Ok(self.file.flush()?)
    }
}
