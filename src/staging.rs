//! Files made anew beside a corpus, and how they get into it whole.
//!
//! A file whose bytes are those that the manifest lists takes its place at once: at any moment the
//! corpus is no worse than it was. Files with other bytes take their places together with the
//! manifest that lists them: they wait in the folder until that manifest is written there too,
//! which is the moment of decision. Killed before it, the corpus is as it was; killed after it,
//! the next call moves what is left to be moved.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use m3w_shards::{FileEntry, MANIFEST_NAME, Manifest};

use crate::corpus::Corpus;
use crate::verify::entries;

/// Where `m3w repair` works, in the folder of the corpus.
pub(crate) const REPAIR: &str = ".m3w-repair";
/// Where `m3w forget` works.
pub(crate) const FORGET: &str = ".m3w-forget";
/// Where `m3w dedup` works.
pub(crate) const DEDUP: &str = ".m3w-dedup";

/// The folders of a corpus.
pub(crate) const FOLDERS: [&str; 3] = ["documents", "sequences", "outcomes"];

/// The folder of files made anew.
pub(crate) struct Staging {
    root: PathBuf,
    folder: PathBuf,
}

impl Staging {
    /// Opens the folder of that name in the corpus's; what an earlier call had decided is done
    /// first.
    pub(crate) fn open(corpus: &Corpus, name: &str) -> Result<Self> {
        let staging = Self {
            root: corpus.root().to_owned(),
            folder: corpus.root().join(name),
        };
        if staging.folder.join(MANIFEST_NAME).exists() {
            let manifest = Manifest::load(&staging.folder)?;
            staging.move_all(&manifest)?;
        }
        Ok(staging)
    }

    /// Drops the files that wait without a decision; what else is in the folder stays.
    pub(crate) fn drop_undecided(&self) -> Result<()> {
        for folder in FOLDERS {
            let folder = self.folder.join(folder);
            if folder.exists() {
                let context = || format!("cannot delete {}", folder.display());
                fs::remove_dir_all(&folder).with_context(context)?;
            }
        }
        Ok(())
    }

    /// The command that was cut short while it put files in their places, if one was: until another
    /// call carries that out, files and manifest do not belong together.
    pub(crate) fn pending(root: &Path) -> Option<&'static str> {
        let works = [(REPAIR, "repair"), (FORGET, "forget"), (DEDUP, "dedup")];
        let pending = works
            .into_iter()
            .find(|(folder, _)| root.join(folder).join(MANIFEST_NAME).exists());
        pending.map(|(_, command)| command)
    }

    /// Makes the folders that files are written to.
    pub(crate) fn prepare(&self) -> Result<()> {
        for parent in [&self.folder, &self.root] {
            for folder in FOLDERS {
                let folder = parent.join(folder);
                fs::create_dir_all(&folder)
                    .with_context(|| format!("cannot make {}", folder.display()))?;
            }
        }
        Ok(())
    }

    /// Where a file with that name in the corpus is written.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// A file of the work itself: what belongs to a part and is no file of the corpus.
    pub(crate) fn beside(&self, part: usize, what: &str) -> PathBuf {
        self.folder.join(format!("part-{part:05}.{what}"))
    }

    /// Where a file of the corpus is now: here, if it waits here.
    pub(crate) fn current(&self, name: &str) -> PathBuf {
        let waiting = self.path(name);
        if waiting.exists() {
            waiting
        } else {
            self.root.join(name)
        }
    }

    /// Puts a file that is as the manifest lists it in its place.
    pub(crate) fn restore(&self, name: &str) -> Result<()> {
        rename(&self.path(name), &self.root.join(name))
    }

    /// Drops a file that is not wanted.
    pub(crate) fn discard(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        fs::remove_file(&path).with_context(|| format!("cannot delete {}", path.display()))
    }

    /// Puts all files that wait in their places, with the manifest that lists them.
    pub(crate) fn commit(&self, manifest: &Manifest) -> Result<()> {
        // Everything has its name on disk before the decision has.
        manifest.save(&self.folder)?;
        self.move_all(manifest)
    }

    fn move_all(&self, manifest: &Manifest) -> Result<()> {
        let waits = |entry: &&FileEntry| self.path(&entry.path).exists();
        for entry in entries(manifest).filter(waits) {
            self.restore(&entry.path)?;
        }
        rename(
            &self.folder.join(MANIFEST_NAME),
            &self.root.join(MANIFEST_NAME),
        )
    }

    /// Deletes the folder with its journals.
    pub(crate) fn remove(self) -> Result<()> {
        match fs::remove_dir_all(&self.folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot delete {}", self.folder.display()))
            }
            _ => Ok(()),
        }
    }
}

/// Renames a file so that a power cut finds it under the one name or the other.
fn rename(from: &Path, to: &Path) -> Result<()> {
    let context = || format!("cannot put {} in its place", to.display());
    fs::rename(from, to).with_context(context)?;
    if let Some(folder) = to.parent().filter(|_| cfg!(unix)) {
        fs::File::open(folder)
            .and_then(|folder| folder.sync_all())
            .with_context(context)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use m3w_document::Sha256;
    use m3w_shards::write_atomically;

    const FOLDER: &str = ".m3w-test";

    fn entry(name: &str, content: &str) -> FileEntry {
        FileEntry {
            path: name.to_owned(),
            rows: 1,
            bytes: content.len() as u64,
            sha256: Sha256::of(content.as_bytes()),
        }
    }

    #[test]
    fn a_decision_that_was_cut_short_is_carried_out_and_none_is_none() {
        let names = ["documents/a.parquet", "outcomes/a.jsonl"];
        // Killed before the decision, and after it when none, one or both of the files were moved.
        for moved in [None, Some(0), Some(1), Some(2)] {
            let folder = tempfile::tempdir().unwrap();
            let corpus = Corpus::at(folder.path());
            let staging = Staging::open(&corpus, FOLDER).unwrap();
            staging.prepare().unwrap();
            let mut next = Manifest::new(Sha256::of(b""), 0);
            for name in names {
                std::fs::write(folder.path().join(name), "old").unwrap();
                write_atomically(&staging.path(name), b"new").unwrap();
            }
            Manifest::new(Sha256::of(b""), 0)
                .save(folder.path())
                .unwrap();
            next.documents.push(entry(names[0], "new"));
            next.outcomes.push(entry(names[1], "new"));
            if let Some(moved) = moved {
                next.save(&staging.folder).unwrap();
                names[..moved]
                    .iter()
                    .for_each(|name| staging.restore(name).unwrap());
            }
            let reopened = Staging::open(&corpus, FOLDER).unwrap();
            reopened.drop_undecided().unwrap();
            let found = Manifest::load(folder.path()).unwrap();
            assert_eq!(found == next, moved.is_some(), "{moved:?}");
            for name in names {
                let content = std::fs::read_to_string(folder.path().join(name)).unwrap();
                assert_eq!(content == "new", moved.is_some(), "{name} after {moved:?}");
                assert!(!reopened.path(name).exists());
            }
            reopened.remove().unwrap();
            assert!(!folder.path().join(FOLDER).exists());
        }
    }
}
