//! Numbers in files, read back by their index.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};

use super::sorted::{u32_at, u64_at};

/// Where the print of each picture stands.
pub(super) struct Places(Totals);

impl Places {
    pub(super) fn open(path: &Path) -> Result<Self> {
        Totals::open(path).map(Self)
    }

    /// Part and place in it.
    pub(super) fn get(&self, picture: u64) -> Result<(u32, u32)> {
        let place = self.0.get(picture)?.to_be_bytes();
        Ok((u32_at(&place, 0), u32_at(&place, 4)))
    }
}

/// A number for each picture.
pub(super) struct Totals(File);

impl Totals {
    pub(super) fn open(path: &Path) -> Result<Self> {
        File::open(path)
            .map(Self)
            .with_context(|| format!("cannot read {}", path.display()))
    }

    pub(super) fn get(&self, picture: u64) -> Result<u64> {
        let mut bytes = [0; 8];
        self.0
            .read_exact_at(&mut bytes, 8 * picture)
            .context("cannot read back what is known of a picture")?;
        Ok(u64_at(&bytes, 0))
    }
}
