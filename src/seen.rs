//! Which URLs a crawl has met, on disk.

use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result};

/// A set of hashes in a sorted file.
///
/// A crawl that goes level by level asks once a level, for all the links of that level together.
/// So the set needs no random access: the links are sorted and merged with the file in one pass.
/// On disk it takes 8 bytes for each URL, 800 MB for a hundred million; in memory a buffer. See
/// `docs/decisions/0007`.
pub struct Seen {
    file: File,
    count: u64,
}

impl Seen {
    /// An empty set, in a temporary file that goes with it.
    ///
    /// # Errors
    ///
    /// If the folder for temporary files cannot be written.
    pub fn new() -> Result<Self> {
        Ok(Self {
            file: temporary()?,
            count: 0,
        })
    }

    /// How many hashes are in the set.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Adds hashes; says of each whether it is new, which of equal ones the first is.
    ///
    /// # Errors
    ///
    /// If the file cannot be read or written.
    pub fn insert_all(&mut self, hashes: &[u64]) -> Result<Vec<bool>> {
        let mut order: Vec<usize> = (0..hashes.len()).collect();
        order.sort_by_key(|index| (hashes[*index], *index));
        let mut is_new = vec![false; hashes.len()];
        let mut merged = Merged {
            writer: BufWriter::with_capacity(1 << 20, temporary()?),
            last: None,
            count: 0,
        };
        self.file.seek(SeekFrom::Start(0))?;
        let mut known = BufReader::with_capacity(1 << 20, &self.file);
        let mut next_known = next(&mut known)?;
        for index in order {
            let hash = hashes[index];
            while let Some(found) = next_known
                && found <= hash
            {
                merged.push(found)?;
                next_known = next(&mut known)?;
            }
            is_new[index] = merged.push(hash)?;
        }
        while let Some(found) = next_known {
            merged.push(found)?;
            next_known = next(&mut known)?;
        }
        self.count = merged.count;
        self.file = merged
            .writer
            .into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .context("cannot write the file of URLs seen")?;
        Ok(is_new)
    }
}

/// The new file, and what was last written to it.
struct Merged {
    writer: BufWriter<File>,
    last: Option<u64>,
    count: u64,
}

impl Merged {
    /// Writes a hash unless it is the last one; whether it was written.
    fn push(&mut self, hash: u64) -> Result<bool> {
        if self.last == Some(hash) {
            return Ok(false);
        }
        self.last = Some(hash);
        self.count += 1;
        self.writer
            .write_all(&hash.to_le_bytes())
            .context("cannot write the file of URLs seen")?;
        Ok(true)
    }
}

fn next(reader: &mut impl Read) -> Result<Option<u64>> {
    let mut bytes = [0; 8];
    match reader.read_exact(&mut bytes) {
        Ok(()) => Ok(Some(u64::from_le_bytes(bytes))),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error).context("cannot read the file of URLs seen"),
    }
}

fn temporary() -> Result<File> {
    tempfile::tempfile().with_context(|| {
        let folder = std::env::temp_dir();
        format!(
            "cannot write temporary files in {}: free some room, or name another folder in TMPDIR",
            folder.display()
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_never_met_is_new() {
        let mut seen = Seen::new().unwrap();
        let first = seen.insert_all(&[5, 3, 5, u64::MAX]).unwrap();
        assert_eq!(first, [true, true, false, true]);
        let second = seen.insert_all(&[4, 3, 9, 4, 0]).unwrap();
        assert_eq!(second, [true, false, true, false, true]);
        assert_eq!(seen.insert_all(&[]).unwrap(), Vec::<bool>::new());
        assert_eq!(seen.count(), 6);
    }
}
