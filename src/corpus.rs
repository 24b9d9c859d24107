//! A corpus on disk: its layout, and the state of a build that is not yet done.
//!
//! ```text
//! DIR/manifest.json                    written last: files, hashes, counts, configuration
//! DIR/tokenizer.json
//! DIR/documents/part-00000.parquet     pages, whole
//! DIR/sequences/part-00000.parquet     training rows
//! DIR/outcomes/part-00000.jsonl        what became of each input and each image, and why
//! DIR/forgotten.txt                    hashes of what was asked to be forgotten, if anything was
//! DIR/.m3w/                            only while a build is under way
//! ```

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use m3w_document::{DocumentId, Sha256, Tally};
use m3w_shards::{FileEntry, Manifest, write_atomically};
use serde::{Deserialize, Serialize};

use crate::config::{BuildConfig, differences};
use crate::pack::Packed;
use crate::staging::Staging;

/// A corpus directory.
#[derive(Debug, Clone)]
pub struct Corpus {
    root: PathBuf,
}

/// What a build is: what must not change between two calls that work on one directory.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Digest of the source, see [`crate::source::Source::digest`].
    pub input_sha256: String,
    /// Digest of the tokenizer that was given, if one was.
    pub tokenizer_sha256: Option<String>,
    /// Digest of the block lists' content, if there are any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lists_sha256: Option<String>,
    /// The configuration.
    pub config: BuildConfig,
}

/// A finished document shard.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Part {
    /// The shard.
    pub documents: FileEntry,
    /// The outcomes of its inputs.
    pub outcomes: FileEntry,
    /// What was counted.
    pub tally: Tally,
    /// Ids of its documents, in order.
    pub ids: Vec<String>,
}

/// How a directory stands towards a run.
pub enum Standing {
    /// The run is finished.
    Complete(Box<Manifest>),
    /// It is to begin, or to go on.
    Open,
}

impl Corpus {
    /// The corpus at `root`, which need not exist.
    #[must_use]
    pub fn at(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
        }
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// Relative name of a document shard.
    #[must_use]
    pub fn documents_name(part: usize) -> String {
        format!("documents/part-{part:05}.parquet")
    }

    /// Relative name of a sequence shard.
    #[must_use]
    pub fn sequences_name(part: usize) -> String {
        format!("sequences/part-{part:05}.parquet")
    }

    /// Relative name of a list of outcomes.
    #[must_use]
    pub fn outcomes_name(part: usize) -> String {
        format!("outcomes/part-{part:05}.jsonl")
    }

    /// Where the corpus keeps its tokenizer.
    #[must_use]
    pub fn tokenizer_path(&self) -> PathBuf {
        self.root.join("tokenizer.json")
    }

    /// The journal of a part in the making.
    #[must_use]
    pub fn journal_path(&self, part: usize) -> PathBuf {
        self.state_folder().join(format!("part-{part:05}.journal"))
    }

    fn state_folder(&self) -> PathBuf {
        self.root.join(".m3w")
    }

    fn part_path(&self, part: usize) -> PathBuf {
        self.state_folder().join(format!("part-{part:05}.json"))
    }

    fn run_path(&self) -> PathBuf {
        self.state_folder().join("run.toml")
    }

    /// The manifest of a finished corpus.
    ///
    /// # Errors
    ///
    /// If there is none, or it is broken.
    pub fn manifest(&self) -> Result<Manifest> {
        self.refuse_pending()?;
        if !self.root.join("manifest.json").exists() {
            if self.state_folder().exists() {
                bail!(
                    "the build in {} is not finished: give the same `m3w build` command again",
                    self.root.display()
                );
            }
            bail!(
                "there is no corpus in {}: make one with `m3w build`",
                self.root.display()
            );
        }
        Ok(Manifest::load(&self.root)?)
    }

    fn refuse_pending(&self) -> Result<()> {
        if let Some(command) = Staging::pending(&self.root) {
            bail!(
                "`m3w {command}` was stopped while it wrote to {}: give it again",
                self.root.display()
            );
        }
        Ok(())
    }

    /// Begins a run in the directory, or finds how far it has come.
    ///
    /// # Errors
    ///
    /// If the directory holds another run, or something else.
    pub fn begin(&self, run: &Run) -> Result<Standing> {
        self.refuse_pending()?;
        if self.root.join("manifest.json").exists() {
            let manifest = Manifest::load(&self.root)?;
            let found: Run = serde_json::from_value(manifest.run.clone()).with_context(|| {
                format!(
                    "{} was built by another version of m3w",
                    self.root.display()
                )
            })?;
            self.refuse_other(&found, run)?;
            self.remove_state()?;
            return Ok(Standing::Complete(Box::new(manifest)));
        }
        if let Ok(text) = fs::read_to_string(self.run_path()) {
            let found: Run = toml::from_str(&text).with_context(|| {
                format!(
                    "{} was begun by another version of m3w",
                    self.root.display()
                )
            })?;
            self.refuse_other(&found, run)?;
        } else {
            let has_content = fs::read_dir(&self.root).is_ok_and(|mut entries| {
                entries.any(|entry| entry.is_ok_and(|entry| entry.file_name() != ".m3w"))
            });
            if has_content {
                bail!(
                    "{} is not empty and holds no build: choose another --out",
                    self.root.display()
                );
            }
            // The description comes first: a directory with anything else in it and without one is
            // not ours.
            self.describe(run)?;
        }
        for folder in ["documents", "sequences", "outcomes"] {
            make_folder(&self.root.join(folder))?;
        }
        Ok(Standing::Open)
    }

    /// Begins the state of a build anew beside the manifest of the finished one.
    ///
    /// # Errors
    ///
    /// If the directory holds another run, or the disk refuses.
    pub fn begin_again(&self, run: &Run) -> Result<()> {
        if let Standing::Open = self.begin(run)? {
            bail!("the build in {} is not finished", self.root.display());
        }
        self.describe(run)
    }

    /// Takes the manifest away: from here on the build is under way again.
    ///
    /// # Errors
    ///
    /// If the disk refuses it.
    pub fn withdraw_manifest(&self) -> Result<()> {
        let path = self.root.join("manifest.json");
        fs::remove_file(&path).with_context(|| format!("cannot delete {}", path.display()))
    }

    /// Writes down what the build is.
    fn describe(&self, run: &Run) -> Result<()> {
        make_folder(&self.state_folder())?;
        let text = toml::to_string(run).context("cannot write the configuration as TOML")?;
        Ok(write_atomically(&self.run_path(), text.as_bytes())?)
    }

    fn refuse_other(&self, found: &Run, run: &Run) -> Result<()> {
        if found.input_sha256 != run.input_sha256 {
            bail!(
                "{} was built from another input: choose another --out, or delete it",
                self.root.display()
            );
        }
        if found.tokenizer_sha256 != run.tokenizer_sha256 {
            bail!(
                "{} was built with another tokenizer: choose another --out, or the same tokenizer",
                self.root.display()
            );
        }
        if found.lists_sha256 != run.lists_sha256
            && found.config.filter.block == run.config.filter.block
        {
            bail!(
                "{} was built with other block lists: choose another --out, or restore the lists",
                self.root.display()
            );
        }
        let table = |run: &Run| toml::Table::try_from(&run.config);
        let (old, new) = (table(found)?, table(run)?);
        let differences = differences(&old, &new);
        if !differences.is_empty() {
            bail!(
                "{} was built with another configuration ({}): choose another --out, or the same \
                 settings",
                self.root.display(),
                differences.join("; ")
            );
        }
        Ok(())
    }

    /// The finished parts, from 0 up to the first that is missing.
    ///
    /// # Errors
    ///
    /// If a record of the state is broken.
    pub fn parts(&self) -> Result<Vec<Part>> {
        let mut parts = Vec::new();
        while let Some(part) = self.part(parts.len())? {
            parts.push(part);
        }
        Ok(parts)
    }

    /// A part, if it is finished.
    ///
    /// # Errors
    ///
    /// If its record is broken.
    pub fn part(&self, number: usize) -> Result<Option<Part>> {
        let path = self.part_path(number);
        let Ok(text) = fs::read_to_string(&path) else {
            return Ok(None);
        };
        serde_json::from_str(&text)
            .map(Some)
            .with_context(|| format!("{} is broken: delete it and build again", path.display()))
    }

    /// Records that a part is finished; its files must be in place.
    ///
    /// # Errors
    ///
    /// If the disk refuses it.
    pub fn publish(&self, number: usize, part: &Part) -> Result<()> {
        let text = serde_json::to_vec(part).context("cannot write a part's record")?;
        Ok(write_atomically(&self.part_path(number), &text)?)
    }

    fn packed_path(&self, part: usize) -> PathBuf {
        self.state_folder()
            .join(format!("sequences-{part:05}.json"))
    }

    /// The record of a part that was packed, if it was.
    ///
    /// # Errors
    ///
    /// If the record is broken.
    pub fn packed(&self, number: usize) -> Result<Option<Packed>> {
        let path = self.packed_path(number);
        let Ok(text) = fs::read_to_string(&path) else {
            return Ok(None);
        };
        serde_json::from_str(&text)
            .map(Some)
            .with_context(|| format!("{} is broken: delete it and build again", path.display()))
    }

    /// Records that a part is packed; its file must be in place.
    ///
    /// # Errors
    ///
    /// If the disk refuses it.
    pub fn publish_packed(&self, number: usize, packed: &Packed) -> Result<()> {
        let text = serde_json::to_vec(packed).context("cannot write a part's record")?;
        Ok(write_atomically(&self.packed_path(number), &text)?)
    }

    /// Writes the manifest, which makes the corpus complete, and drops the state of the build.
    ///
    /// # Errors
    ///
    /// If the disk refuses it.
    pub fn complete(&self, manifest: &Manifest) -> Result<()> {
        manifest.save(&self.root)?;
        self.remove_state()
    }

    fn remove_state(&self) -> Result<()> {
        let folder = self.state_folder();
        match fs::remove_dir_all(&folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(error).with_context(|| format!("cannot delete {}", folder.display()))
            }
            _ => Ok(()),
        }
    }
}

fn make_folder(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

/// Parses the ids that a part recorded.
///
/// # Errors
///
/// If one is not an id.
pub fn document_ids(part: &Part) -> Result<Vec<DocumentId>> {
    part.ids
        .iter()
        .map(|id| Ok(id.parse::<DocumentId>()?))
        .collect()
}

/// Length and digest of a file below `root`, for a manifest.
///
/// # Errors
///
/// If it cannot be read.
pub fn file_entry(root: &Path, name: &str, rows: u64) -> Result<FileEntry> {
    let path = root.join(name);
    let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(FileEntry {
        path: name.to_owned(),
        rows,
        bytes: bytes.len() as u64,
        sha256: Sha256::of(&bytes),
    })
}
