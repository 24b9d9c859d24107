//! Records of one size in files, sorted.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use rayon::prelude::*;

/// Runs that are merged at a time; each has a buffer of [`BUFFER_BYTES`].
const MAX_RUNS: usize = 128;
/// Bytes read or written at a time.
const BUFFER_BYTES: usize = 1 << 17;

/// Puts fields one after another. Numbers in big-endian order sort as numbers.
pub(super) fn record<const N: usize>(fields: &[&[u8]]) -> [u8; N] {
    let mut record = [0; N];
    let mut rest = record.as_mut_slice();
    for field in fields {
        let (place, after) = rest.split_at_mut(field.len());
        place.copy_from_slice(field);
        rest = after;
    }
    record
}

/// The field of eight bytes that begins at `at`.
pub(super) fn u64_at(record: &[u8], at: usize) -> u64 {
    record[at..at + 8]
        .iter()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

/// The field of four bytes that begins at `at`.
pub(super) fn u32_at(record: &[u8], at: usize) -> u32 {
    record[at..at + 4]
        .iter()
        .fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// Takes records in any order, and writes them sorted, of equal ones one.
///
/// Memory is `memory_bytes` for records, sorted runs of which go to disk, and up to 16 MiB of
/// buffers while runs are merged.
pub(super) struct Sorter<const N: usize> {
    path: PathBuf,
    records: Vec<[u8; N]>,
    capacity: usize,
    runs: Vec<PathBuf>,
    run_count: usize,
}

impl<const N: usize> Sorter<N> {
    /// A sorter whose result is the file at `path`.
    pub(super) fn new(path: PathBuf, memory_bytes: usize) -> Self {
        Self {
            path,
            records: Vec::new(),
            capacity: (memory_bytes / N).max(1),
            runs: Vec::new(),
            run_count: 0,
        }
    }

    /// Adds a record.
    ///
    /// # Errors
    ///
    /// If the disk refuses it.
    pub(super) fn push(&mut self, record: [u8; N]) -> Result<()> {
        if self.records.len() >= self.capacity {
            self.end_run()?;
        }
        if self.records.capacity() == 0 {
            // Grown at once: doubling would hold one and a half times the bound.
            self.records.reserve_exact(self.capacity.min(1 << 12));
        } else if self.records.len() == self.records.capacity() {
            let more = self.records.len().min(self.capacity - self.records.len());
            self.records.reserve_exact(more.max(1));
        }
        self.records.push(record);
        Ok(())
    }

    fn next_run(&mut self) -> PathBuf {
        self.run_count += 1;
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{}", self.run_count));
        name.into()
    }

    fn end_run(&mut self) -> Result<()> {
        self.records.par_sort_unstable();
        self.records.dedup();
        let path = self.next_run();
        let mut writer = Writer::create(&path)?;
        for record in self.records.drain(..) {
            writer.write(&record)?;
        }
        writer.finish()?;
        self.runs.push(path);
        if self.runs.len() >= MAX_RUNS {
            let path = self.next_run();
            let runs = std::mem::replace(&mut self.runs, vec![path.clone()]);
            merge::<N>(&runs, &path)?;
        }
        Ok(())
    }

    /// Writes the file.
    ///
    /// # Errors
    ///
    /// If the disk refuses it.
    pub(super) fn finish(mut self) -> Result<Sorted<N>> {
        self.end_run()?;
        let runs = std::mem::take(&mut self.runs);
        if let [run] = runs.as_slice() {
            std::fs::rename(run, &self.path)
                .with_context(|| format!("cannot write {}", self.path.display()))?;
        } else {
            merge::<N>(&runs, &self.path)?;
        }
        Ok(Sorted { path: self.path })
    }
}

/// Merges sorted files into one, and deletes them.
fn merge<const N: usize>(runs: &[PathBuf], out: &Path) -> Result<()> {
    let mut readers: Vec<Reader<N>> = runs
        .iter()
        .map(|run| Reader::open(run))
        .collect::<Result<_>>()?;
    let mut heads = BinaryHeap::new();
    for (number, reader) in readers.iter_mut().enumerate() {
        if let Some(record) = reader.next().transpose()? {
            heads.push(Reverse((record, number)));
        }
    }
    let mut writer = Writer::create(out)?;
    let mut last = None;
    while let Some(Reverse((record, number))) = heads.pop() {
        if last != Some(record) {
            writer.write(&record)?;
            last = Some(record);
        }
        if let Some(record) = readers[number].next().transpose()? {
            heads.push(Reverse((record, number)));
        }
    }
    writer.finish()?;
    for run in runs {
        std::fs::remove_file(run).with_context(|| format!("cannot delete {}", run.display()))?;
    }
    Ok(())
}

/// Sorted records in a file.
#[derive(Debug, Clone)]
pub(super) struct Sorted<const N: usize> {
    pub(super) path: PathBuf,
}

impl<const N: usize> Sorted<N> {
    /// The records, in their order.
    ///
    /// # Errors
    ///
    /// If the file cannot be opened; items are errors where it cannot be read.
    pub(super) fn records(&self) -> Result<Reader<N>> {
        Reader::open(&self.path)
    }

    /// The records that begin with `prefix`.
    ///
    /// # Errors
    ///
    /// If the file cannot be read.
    pub(super) fn starting_with(&self, prefix: &[u8]) -> Result<Vec<[u8; N]>> {
        let context = || format!("cannot read {}", self.path.display());
        let file = File::open(&self.path).with_context(context)?;
        let count = file.metadata().with_context(context)?.len() / N as u64;
        let (mut low, mut high) = (0, count);
        let mut record = [0; N];
        let mut read = |index: u64| -> Result<[u8; N]> {
            file.read_exact_at(&mut record, index * N as u64)
                .with_context(context)?;
            Ok(record)
        };
        while low < high {
            let middle = low + (high - low) / 2;
            if read(middle)?[..prefix.len()] < *prefix {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut found = Vec::new();
        while low < count {
            let record = read(low)?;
            if !record.starts_with(prefix) {
                break;
            }
            found.push(record);
            low += 1;
        }
        Ok(found)
    }

    /// Calls `look` with the records that begin with the same `length` bytes, group by group. A
    /// group is held in memory.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or `look` refuses.
    pub(super) fn for_each_group(
        &self,
        length: usize,
        mut look: impl FnMut(&[[u8; N]]) -> Result<()>,
    ) -> Result<()> {
        let mut group: Vec<[u8; N]> = Vec::new();
        for record in self.records()? {
            let record = record?;
            let is_other = |first: &[u8; N]| first[..length] != record[..length];
            if group.first().is_some_and(is_other) {
                look(&group)?;
                group.clear();
            }
            group.push(record);
        }
        if group.is_empty() {
            return Ok(());
        }
        look(&group)
    }
}

/// Reads records one after another.
pub(super) struct Reader<const N: usize> {
    path: PathBuf,
    file: BufReader<File>,
}

impl<const N: usize> Reader<N> {
    /// Opens a file of records.
    ///
    /// # Errors
    ///
    /// If it cannot be opened.
    pub(super) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufReader::with_capacity(BUFFER_BYTES, file),
        })
    }
}

impl<const N: usize> Iterator for Reader<N> {
    type Item = Result<[u8; N]>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut record = [0; N];
        match self.file.read_exact(&mut record) {
            Ok(()) => Some(Ok(record)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => None,
            Err(error) => {
                let context = format!("cannot read {}", self.path.display());
                Some(Err(error).context(context))
            }
        }
    }
}

/// Writes records, or other bytes, one after another.
pub(super) struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Writer {
    /// Begins a file, in place of one that may be there.
    ///
    /// # Errors
    ///
    /// If the disk refuses it.
    pub(super) fn create(path: &Path) -> Result<Self> {
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        Ok(Self {
            path: path.to_owned(),
            file: BufWriter::with_capacity(BUFFER_BYTES, file),
        })
    }

    /// Adds bytes.
    ///
    /// # Errors
    ///
    /// If the disk refuses them.
    pub(super) fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.file
            .write_all(bytes)
            .with_context(|| format!("cannot write {}: is the disk full?", self.path.display()))
    }

    /// Ends the file.
    ///
    /// # Errors
    ///
    /// If the disk refuses it.
    pub(super) fn finish(mut self) -> Result<()> {
        self.file
            .flush()
            .with_context(|| format!("cannot write {}: is the disk full?", self.path.display()))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn records_come_back_sorted_once_each_whatever_the_memory(
            numbers in proptest::collection::vec(0_u64..500, 0..600),
            memory in 8_usize..4000,
        ) {
            let folder = tempfile::tempdir().unwrap();
            let mut sorter = Sorter::<8>::new(folder.path().join("sorted"), memory);
            for number in &numbers {
                sorter.push(number.to_be_bytes()).unwrap();
            }
            let sorted = sorter.finish().unwrap();
            let found: Vec<u64> = sorted
                .records()
                .unwrap()
                .map(|record| u64_at(&record.unwrap(), 0))
                .collect();
            let mut expected = numbers;
            expected.sort_unstable();
            expected.dedup();
            prop_assert_eq!(found, expected);
            prop_assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
        }
    }
}
