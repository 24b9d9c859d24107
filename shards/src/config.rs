//! Settings of packing and writing.

use serde::{Deserialize, Serialize};

use crate::Error;

/// How documents become training rows, and how rows are grouped on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// L: tokens in a row. 256 in Flamingo (arXiv 2204.14198, section 2.4).
    pub sequence_length: usize,
    /// N: most images in a row; 1 to 255. 5 in Flamingo (section 2.4).
    pub images_per_sequence: usize,
    /// Windows drawn from one document, all different; a short document yields fewer.
    pub windows_per_document: usize,
    /// Most rows in a row group.
    pub row_group_rows: usize,
    /// A row group is closed when its rows reach this many bytes. What is not yet on disk is at
    /// most one row group and one row, so this also bounds a writer's memory.
    pub row_group_bytes: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            sequence_length: 256,
            images_per_sequence: 5,
            windows_per_document: 1,
            // pyarrow, `datasets`, Ray, Daft and hosted viewers read a row group whole, and fail
            // on nested columns of more than 2 GiB in one.
            row_group_rows: 100,
            row_group_bytes: 64 << 20,
        }
    }
}

impl Config {
    /// Checks that the settings can hold.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] names the first that cannot.
    pub fn validate(&self) -> Result<(), Error> {
        let check = |holds: bool, key, value: usize, requirement| {
            if holds {
                Ok(())
            } else {
                Err(Error::Config {
                    key,
                    value: value.to_string(),
                    requirement,
                })
            }
        };
        check(
            (2..=1 << 20).contains(&self.sequence_length),
            "sequence_length",
            self.sequence_length,
            "it must be 2 to 1048576: an image token and a word after it",
        )?;
        check(
            (1..=usize::from(u8::MAX)).contains(&self.images_per_sequence),
            "images_per_sequence",
            self.images_per_sequence,
            "it must be 1 to 255: image numbers are stored as bytes",
        )?;
        check(
            self.windows_per_document >= 1,
            "windows_per_document",
            self.windows_per_document,
            "it must be at least 1",
        )?;
        check(
            self.row_group_rows >= 1,
            "row_group_rows",
            self.row_group_rows,
            "it must be at least 1",
        )?;
        check(
            (1..=1 << 30).contains(&self.row_group_bytes),
            "row_group_bytes",
            self.row_group_bytes,
            "it must be 1 to 1073741824: readers hold a row group's column in memory, 2 GiB at most",
        )
    }
}
