//! A shard's file, read page by page into memory that is used again.
//!
//! A page of pictures holds about 1 MiB. Memory of that size comes from the system page by page,
//! each zeroed at its first touch, which took as long as reading into it.

use std::fs::File;
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use bytes::Bytes;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{ChunkReader, Length};

/// What is shorter than this is cheap to come by.
const MIN_KEPT_BYTES: usize = 64 << 10;

/// An open file, whose clones share its memory.
#[derive(Debug, Clone)]
pub(crate) struct ShardFile {
    file: Arc<Mutex<File>>,
    length: u64,
    shelf: Arc<Shelf>,
    map: Option<Bytes>,
}

/// Memory of pages that nobody holds any more; at most as much as was held at one time.
pub(crate) type Shelf = Mutex<Vec<Vec<u8>>>;

impl ShardFile {
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        Ok(Self {
            length: file.metadata()?.len(),
            file: Arc::new(Mutex::new(file)),
            shelf: Arc::default(),
            map: None,
        })
    }

    /// The same, with the file in the process's address space: nothing is read, its pages are
    /// parts of what the system holds of it.
    ///
    /// A process that touches a part of a file which was cut since, or which the disk cannot read,
    /// is ended by the system. Shards are never written again under their name.
    pub(crate) fn mapped(self) -> io::Result<Self> {
        let file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        #[expect(
            unsafe_code,
            reason = "rows that are not decoded take a fifth of the time"
        )]
        // SAFETY: the map is read-only and lives as long as the slices of it. That nobody writes
        // to the file while it is mapped is asked of whoever sets `memory_map`.
        let map = unsafe { memmap2::Mmap::map(&*file)? };
        drop(file);
        let map = Bytes::from_owner(map);
        Ok(Self {
            length: map.len() as u64,
            map: Some(map),
            ..self
        })
    }

    /// The same with memory that it shares with others.
    pub(crate) fn with_memory(self, shelf: &Arc<Shelf>) -> Self {
        Self {
            shelf: Arc::clone(shelf),
            ..self
        }
    }

    fn read_at(&self, offset: u64, target: &mut [u8]) -> io::Result<usize> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        file.read(target)
    }

    fn read_exact_at(&self, offset: u64, target: &mut [u8]) -> io::Result<()> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(offset))?;
        file.read_exact(target)
    }
}

impl Length for ShardFile {
    fn len(&self) -> u64 {
        self.length
    }
}

impl ChunkReader for ShardFile {
    type T = BufReader<From>;

    fn get_read(&self, start: u64) -> Result<Self::T> {
        Ok(BufReader::new(From {
            file: self.clone(),
            offset: start,
        }))
    }

    fn get_bytes(&self, start: u64, length: usize) -> Result<Bytes> {
        // A damaged footer may ask for anything.
        if start.saturating_add(length as u64) > self.length {
            return Err(ParquetError::EOF(format!(
                "the file ends at byte {}, before byte {start} + {length}",
                self.length
            )));
        }
        if let Some(map) = &self.map {
            // Within the map, so within what a `usize` counts.
            let start = start as usize;
            return Ok(map.slice(start..start + length));
        }
        if length < MIN_KEPT_BYTES {
            let mut bytes = vec![0; length];
            self.read_exact_at(start, &mut bytes)?;
            return Ok(bytes.into());
        }
        let free = || self.shelf.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = free().pop().unwrap_or_default();
        if memory.len() < length {
            memory.resize(length, 0);
        }
        let mut page = Page {
            memory,
            length,
            home: Arc::downgrade(&self.shelf),
        };
        self.read_exact_at(start, &mut page.memory[..length])?;
        Ok(Bytes::from_owner(page))
    }
}

/// The file from some byte on.
#[derive(Debug)]
pub(crate) struct From {
    file: ShardFile,
    offset: u64,
}

impl Read for From {
    fn read(&mut self, target: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(self.offset, target)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// A page of the file; dropped, its memory serves another one.
struct Page {
    memory: Vec<u8>,
    length: usize,
    home: Weak<Shelf>,
}

impl AsRef<[u8]> for Page {
    fn as_ref(&self) -> &[u8] {
        &self.memory[..self.length]
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        if let Some(home) = self.home.upgrade() {
            let mut free = home.lock().unwrap_or_else(PoisonError::into_inner);
            free.push(std::mem::take(&mut self.memory));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(bytes: &[u8]) -> (tempfile::TempDir, ShardFile) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        std::fs::write(&path, bytes).unwrap();
        (folder, ShardFile::open(&path).unwrap())
    }

    #[test]
    fn parts_are_read_whatever_was_read_before() {
        let bytes: Vec<u8> = (0..300_000_u32).map(|number| (number / 7) as u8).collect();
        let (_folder, file) = file(&bytes);
        for (start, length) in [(5, 200_000), (100_000, 70_000), (299_990, 10), (0, 300_000)] {
            let read = file.get_bytes(start as u64, length).unwrap();
            assert_eq!(read[..], bytes[start..start + length]);
        }
        let mut rest = Vec::new();
        let mut reader = file.get_read(299_000).unwrap();
        reader.read_to_end(&mut rest).unwrap();
        assert_eq!(rest, bytes[299_000..]);
    }

    #[test]
    fn memory_is_used_again_when_nobody_holds_it() {
        let (_folder, file) = file(&[7; 400_000]);
        let held = file.get_bytes(0, 100_000).unwrap();
        let place = held.as_ptr();
        let part = held.slice(10..20);
        drop(held);
        assert_ne!(file.get_bytes(0, 100_000).unwrap().as_ptr(), place);
        drop(part);
        assert_eq!(file.get_bytes(0, 90_000).unwrap().as_ptr(), place);
    }

    #[test]
    fn a_mapped_file_is_handed_out_without_a_copy() {
        let bytes: Vec<u8> = (0..100_000_u32).map(|number| (number / 7) as u8).collect();
        let (_folder, file) = file(&bytes);
        let file = file.mapped().unwrap();
        let (first, second) = (file.get_bytes(7, 90_000), file.get_bytes(7, 10));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first[..], bytes[7..90_007]);
        assert_eq!(first.as_ptr(), second.as_ptr());
        assert!(file.get_bytes(99_999, 2).is_err());
    }

    #[test]
    fn what_lies_behind_the_end_is_an_error() {
        let (_folder, file) = file(&[7; 10]);
        assert!(file.get_bytes(5, 6).is_err());
        assert!(file.get_bytes(u64::MAX, usize::MAX).is_err());
    }
}
