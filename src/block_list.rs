//! Lists of hosts, URLs and pictures that are shut out of a corpus.
//!
//! Plain text, or gzip where a name ends in `.gz`, one thing a line: a host, which stands for those
//! below it too; a URL; the SHA-256 of a picture's bytes as 64 hexadecimal digits; or its difference
//! hash (the column `phash`) as 16, which stands for all hashes that differ in few bits. Lines that
//! begin with `#` are passed over.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use flate2::read::MultiGzDecoder;
use m3w_document::{Image, Reason, Sha256};
use serde::{Deserialize, Serialize};
use sha2::Digest;

use crate::named::{Key, Named};

/// Reason of what is shut out.
pub const BLOCKED: Reason = Reason::new("filter/blocked");

/// Which lists, and how near a picture has to be to one of them.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BlockConfig {
    /// Files.
    pub lists: Vec<PathBuf>,
    /// Bits of 64 in which a picture's difference hash may differ from one that is listed.
    pub max_dhash_distance: u32,
}

impl Default for BlockConfig {
    /// Scaled and re-encoded pictures differ in few bits, other pictures in some 32.
    fn default() -> Self {
        Self {
            lists: Vec::new(),
            max_dhash_distance: 4,
        }
    }
}

/// What is shut out. Memory is some 50 bytes for each line. A picture's difference hash is compared
/// with each that is listed.
#[derive(Debug, Clone, Default)]
pub struct BlockList {
    named: Named,
    dhashes: Vec<u64>,
    max_distance: u32,
}

impl BlockList {
    /// Reads the lists.
    ///
    /// # Errors
    ///
    /// If one cannot be read, or a line is none of the forms: names file and line.
    pub fn open(config: &BlockConfig) -> Result<Self> {
        let mut list = Self {
            max_distance: config.max_dhash_distance,
            ..Self::default()
        };
        for path in &config.lists {
            for (number, line) in BufReader::new(reader(path)?).lines().enumerate() {
                let context = || format!("{}, line {}", path.display(), number + 1);
                let line = line.with_context(context)?;
                let line = line.trim();
                if !line.is_empty() && !line.starts_with('#') {
                    list.add(line).with_context(context)?;
                }
            }
        }
        Ok(list)
    }

    fn add(&mut self, line: &str) -> Result<()> {
        if line.len() == 16 && line.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            self.dhashes.push(u64::from_str_radix(line, 16)?);
            return Ok(());
        }
        let is_host = !line.contains("://") && line.len() != 64;
        let key = if is_host {
            Key::host(line)
        } else {
            Key::parse(line)
        };
        self.named.insert(key?);
        Ok(())
    }

    /// What is named by URL, host or SHA-256.
    #[must_use]
    pub fn named(&self) -> &Named {
        &self.named
    }

    /// Whether a picture is shut out.
    #[must_use]
    pub fn has_picture(&self, image: &Image) -> bool {
        let is_near = |listed: &u64| (listed ^ image.dhash).count_ones() <= self.max_distance;
        self.named.has_picture(image) || self.dhashes.iter().any(is_near)
    }
}

/// Digest of the content of files that settings name, in their order; none where there are none.
///
/// # Errors
///
/// If one cannot be read.
pub fn digest(files: &[PathBuf]) -> Result<Option<Sha256>> {
    let mut hash = sha2::Sha256::new();
    let mut buffer = vec![0; 1 << 16];
    for path in files {
        let context = || format!("cannot read {}", path.display());
        let mut file = File::open(path).with_context(context)?;
        let mut content = sha2::Sha256::new();
        loop {
            let read = file.read(&mut buffer).with_context(context)?;
            if read == 0 {
                break;
            }
            content.update(&buffer[..read]);
        }
        hash.update(content.finalize());
    }
    Ok((!files.is_empty()).then(|| Sha256(hash.finalize().into())))
}

/// A list's text, unpacked.
pub(crate) fn reader(path: &Path) -> Result<Box<dyn Read>> {
    let file =
        File::open(path).with_context(|| format!("cannot read the list {}", path.display()))?;
    Ok(if path.extension().is_some_and(|end| end == "gz") {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    })
}
