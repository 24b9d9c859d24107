//! What can go wrong in this crate besides bad data.

use std::io;
use std::path::PathBuf;

/// An error of this crate. What goes wrong with one URL is not an error: it is a
/// [`crate::Failure`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting has a value that cannot work.
    #[error("crawler.{field} is {value}: {advice}")]
    Config {
        /// Name of the field of [`crate::Config`].
        field: &'static str,
        /// Its value.
        value: String,
        /// What would work.
        advice: &'static str,
    },
    /// The HTTP client cannot be set up.
    #[error("the HTTP client cannot be set up, are the system's certificates readable?")]
    Client(#[source] reqwest::Error),
    /// A WARC file cannot be opened or read.
    #[error("{path}: cannot read the WARC file")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// A WARC file or its folder cannot be written.
    #[error("{path}: cannot be written, is the disk full?")]
    Write {
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        #[source]
        source: io::Error,
    },
    /// The archive of a crawl cannot be written on.
    #[error("the WARC files in {folder} cannot be written on: {detail}; is the disk full?")]
    Archive {
        /// Where they are.
        folder: PathBuf,
        /// What the system says.
        detail: String,
    },
    /// A WARC file is damaged. Reading goes on at the next record that can be found.
    #[error(
        "{file}, offset {offset}: {detail}; the records around it are lost, fetch the file again if they matter"
    )]
    Damaged {
        /// The file's name, without folders.
        file: String,
        /// Offset in the file at which the damaged record or gzip member begins.
        offset: u64,
        /// What is wrong.
        detail: String,
    },
}
