//! Which lines of a list repeat an earlier one, in memory that does not grow with the list.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};

use anyhow::{Context, Result};

use crate::bits::Bits;

/// Entries held in memory before they go to disk: 16 MB.
const IN_MEMORY: usize = 1 << 20;
/// Files that the entries are dealt out to. One is sorted at a time, so that a hundred million
/// entries take 25 MB.
const FILES: usize = 64;
/// Bytes of an entry on disk.
const ENTRY_BYTES: usize = 16;

/// Finds repeats among numbered hashes: each is handed in once, in any order.
///
/// Hashes have 64 bits: among a hundred million different URLs two are taken for one with a
/// probability of 0.03 %.
#[derive(Default)]
pub struct Repeats {
    entries: Vec<(u64, u64)>,
    files: Vec<BufWriter<File>>,
}

impl Repeats {
    /// Adds the hash of an input.
    ///
    /// # Errors
    ///
    /// If the folder for temporary files cannot be written.
    pub fn add(&mut self, hash: u64, input: u64) -> Result<()> {
        self.entries.push((hash, input));
        if self.entries.len() >= IN_MEMORY {
            self.deal_out().with_context(|| {
                let folder = std::env::temp_dir();
                format!(
                    "cannot write temporary files in {}: free some room, or name another folder in \
                     TMPDIR",
                    folder.display()
                )
            })?;
        }
        Ok(())
    }

    /// The inputs whose hash an input of a lower number has.
    ///
    /// # Errors
    ///
    /// If the temporary files cannot be read.
    pub fn finish(mut self) -> Result<Bits> {
        let mut repeats = Bits::default();
        if self.files.is_empty() {
            mark(&mut self.entries, &mut repeats);
            return Ok(repeats);
        }
        let context = "cannot read back a temporary file";
        self.deal_out().context(context)?;
        for file in std::mem::take(&mut self.files) {
            let mut entries = read_back(file).context(context)?;
            mark(&mut entries, &mut repeats);
        }
        Ok(repeats)
    }

    fn deal_out(&mut self) -> std::io::Result<()> {
        while self.files.len() < FILES {
            self.files.push(BufWriter::new(tempfile::tempfile()?));
        }
        for (hash, input) in self.entries.drain(..) {
            let index = usize::try_from(hash % FILES as u64).unwrap_or_default();
            let file = &mut self.files[index];
            file.write_all(&hash.to_le_bytes())?;
            file.write_all(&input.to_le_bytes())?;
        }
        Ok(())
    }
}

fn read_back(writer: BufWriter<File>) -> std::io::Result<Vec<(u64, u64)>> {
    let mut file = writer
        .into_inner()
        .map_err(std::io::IntoInnerError::into_error)?;
    let length = file.stream_position()?;
    file.seek(SeekFrom::Start(0))?;
    let count = usize::try_from(length).unwrap_or_default() / ENTRY_BYTES;
    let mut reader = BufReader::new(file);
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let (mut hash, mut input) = ([0; 8], [0; 8]);
        reader.read_exact(&mut hash)?;
        reader.read_exact(&mut input)?;
        entries.push((u64::from_le_bytes(hash), u64::from_le_bytes(input)));
    }
    Ok(entries)
}

fn mark(entries: &mut [(u64, u64)], repeats: &mut Bits) {
    entries.sort_unstable();
    for pair in entries.windows(2) {
        if pair[0].0 == pair[1].0 {
            repeats.insert(pair[1].1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_first_of_equal_entries_are_repeats() {
        let mut repeats = Repeats::default();
        for (input, hash) in [7, 5, 7, 8, 7, 5].into_iter().enumerate() {
            repeats.add(hash, input as u64).unwrap();
        }
        let bits = repeats.finish().unwrap();
        let found: Vec<u64> = (0..10).filter(|input| bits.contains(*input)).collect();
        assert_eq!(found, [2, 4, 5]);
    }

    #[test]
    fn a_list_longer_than_the_memory_gives_the_same() {
        let length = 2 * IN_MEMORY as u64 + 3;
        let half = length / 2;
        let mut repeats = Repeats::default();
        for input in 0..length {
            // Spread as hashes are.
            let hash = (input % half).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            repeats.add(hash, input).unwrap();
        }
        let bits = repeats.finish().unwrap();
        assert_eq!(bits.count(), length - half);
        assert!((half..length).all(|input| bits.contains(input)));
    }
}
