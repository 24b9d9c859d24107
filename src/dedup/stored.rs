//! Sketches and prints of the parts, read back one at a time.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result, anyhow};
use m3w_document::dedup::{PicturePrint, SKETCH_BYTES, Sketch};

use super::order::Order;
use super::scan::part_file;
use crate::bits::Bits;

/// Files that are held open.
const MAX_OPEN: usize = 128;

/// The files of sketches and prints.
pub(super) struct Stored<'a> {
    folder: &'a Path,
    open: Mutex<HashMap<PathBuf, Arc<File>>>,
}

impl<'a> Stored<'a> {
    pub(super) fn new(folder: &'a Path) -> Self {
        Self {
            folder,
            open: Mutex::default(),
        }
    }

    /// The sketch of the document of that rank, as it is without what it loses if it is among the
    /// `changed`.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub(super) fn sketch(&self, order: &Order, rank: u64, changed: &Bits) -> Result<Sketch> {
        let place = order.place(rank)?;
        let path = part_file(
            self.folder,
            place.part as usize,
            "sketches",
            changed.contains(rank),
        );
        let bytes = self.read::<SKETCH_BYTES>(path, u64::from(place.row))?;
        Ok(Sketch::from_bytes(&bytes))
    }

    /// The print in that slot of a part.
    ///
    /// # Errors
    ///
    /// If it cannot be read.
    pub(super) fn print(&self, part: u32, slot: u32) -> Result<PicturePrint> {
        let path = part_file(self.folder, part as usize, "prints", false);
        let bytes = self.read::<{ PicturePrint::BYTES }>(path, u64::from(slot))?;
        PicturePrint::from_bytes(&bytes).context("a print of a picture is cut off")
    }

    fn read<const N: usize>(&self, path: PathBuf, index: u64) -> Result<Vec<u8>> {
        let context = format!("cannot read {}", path.display());
        let mut bytes = vec![0; N];
        self.file(path)?
            .read_exact_at(&mut bytes, index * N as u64)
            .context(context)?;
        Ok(bytes)
    }

    fn file(&self, path: PathBuf) -> Result<Arc<File>> {
        let open = self.open.lock();
        let mut open = open.map_err(|_| anyhow!("a thread that read sketches has panicked"))?;
        if let Some(file) = open.get(&path) {
            return Ok(Arc::clone(file));
        }
        if open.len() >= MAX_OPEN {
            open.clear();
        }
        let file = File::open(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let file = Arc::new(file);
        open.insert(path, Arc::clone(&file));
        Ok(file)
    }
}
