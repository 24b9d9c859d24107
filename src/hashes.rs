//! Which inputs share a hash, in memory that does not grow with the list.

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

/// Hashes of numbered inputs, to be looked at hash by hash.
///
/// Held are 16 MB and, while they are looked at, a 64th of all entries at 16 bytes each; the rest
/// is in temporary files. Hashes have 64 bits: among a hundred million different texts two are
/// taken for one with a probability of 0.03 %.
#[derive(Default)]
pub struct Hashes {
    entries: Vec<(u64, u64)>,
    files: Vec<BufWriter<File>>,
    count: u64,
}

impl Hashes {
    /// Adds a hash of an input; an input may have several.
    ///
    /// # Errors
    ///
    /// If the folder for temporary files cannot be written.
    pub fn add(&mut self, hash: u64, input: u64) -> Result<()> {
        self.entries.push((hash, input));
        self.count += 1;
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

    /// How many were added.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The inputs whose hash an input of a lower number has, where each has one.
    ///
    /// # Errors
    ///
    /// If the temporary files cannot be read.
    pub fn repeats(mut self) -> Result<Bits> {
        let mut repeats = Bits::default();
        self.for_each(|entries| {
            let later = entries.iter().skip(1);
            later.for_each(|(_, input)| repeats.insert(*input));
        })?;
        Ok(repeats)
    }

    /// Calls `look` with the entries of each hash, `(hash, input)` by rising input; in an order of
    /// hashes that is the same each time. It can be called again.
    ///
    /// # Errors
    ///
    /// If the temporary files cannot be read.
    pub fn for_each(&mut self, mut look: impl FnMut(&[(u64, u64)])) -> Result<()> {
        let mut groups = |entries: &mut [(u64, u64)]| {
            entries.sort_unstable();
            entries
                .chunk_by(|one, next| one.0 == next.0)
                .for_each(&mut look);
        };
        if self.files.is_empty() {
            groups(&mut self.entries);
            return Ok(());
        }
        let context = "cannot read back a temporary file";
        self.deal_out().context(context)?;
        for file in &mut self.files {
            let mut entries = read_back(file).context(context)?;
            groups(&mut entries);
        }
        Ok(())
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

fn read_back(writer: &mut BufWriter<File>) -> std::io::Result<Vec<(u64, u64)>> {
    writer.flush()?;
    let file = writer.get_mut();
    let length = file.stream_position()?;
    file.seek(SeekFrom::Start(0))?;
    let count = usize::try_from(length).unwrap_or_default() / ENTRY_BYTES;
    let mut reader = BufReader::new(&mut *file);
    let mut entries = Vec::with_capacity(count);
    for _ in 0..count {
        let (mut hash, mut input) = ([0; 8], [0; 8]);
        reader.read_exact(&mut hash)?;
        reader.read_exact(&mut input)?;
        entries.push((u64::from_le_bytes(hash), u64::from_le_bytes(input)));
    }
    file.seek(SeekFrom::Start(length))?;
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_but_the_first_of_equal_entries_are_repeats() {
        let mut hashes = Hashes::default();
        for (input, hash) in [7, 5, 7, 8, 7, 5].into_iter().enumerate() {
            hashes.add(hash, input as u64).unwrap();
        }
        let bits = hashes.repeats().unwrap();
        let found: Vec<u64> = (0..10).filter(|input| bits.contains(*input)).collect();
        assert_eq!(found, [2, 4, 5]);
    }

    #[test]
    fn more_than_the_memory_holds_gives_the_same_each_time() {
        let length = 2 * IN_MEMORY as u64 + 3;
        let half = length / 2;
        let mut hashes = Hashes::default();
        for input in 0..length {
            // Spread as hashes are.
            let hash = (input % half).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            hashes.add(hash, input).unwrap();
        }
        let mut sizes = [0; 4];
        hashes
            .for_each(|entries| sizes[entries.len()] += 1)
            .unwrap();
        assert_eq!(sizes, [0, 0, half - 1, 1]);
        let bits = hashes.repeats().unwrap();
        assert_eq!(bits.count(), length - half);
        assert!((half..length).all(|input| bits.contains(input)));
    }
}
