//! Where the cases come from, and the limits that each is run within.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::report::{Mismatch, Outcome, SuiteResult};

/// What a case may take unless its suite says less.
pub(crate) const TIME_LIMIT: Duration = Duration::from_secs(10);

/// What a picture or a Parquet file may take.
pub(crate) const SHORT_TIME_LIMIT: Duration = Duration::from_secs(5);

/// What threads get by default, and so what the code under test has when it runs on a worker.
const STACK_BYTES: usize = 2 << 20;

/// A directory of suites.
pub(crate) struct Directory {
    root: PathBuf,
    files: Vec<FileCase>,
}

/// A file and what should come of it, as the manifest says.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct FileCase {
    /// Its place in the directory; after [`Directory::open`] behind that of the directory.
    #[serde(rename = "file")]
    pub(crate) path: PathBuf,
    /// What should come of it: each suite has its own words.
    pub(crate) verdict: String,
    kind: String,
    #[serde(skip)]
    id: String,
    /// Length in bytes.
    pub(crate) bytes: u64,
    /// Stored width of a picture in pixels.
    pub(crate) w: Option<u32>,
    /// Stored height of a picture in pixels.
    pub(crate) h: Option<u32>,
    /// Width of a picture when upright, where that is another.
    pub(crate) shown_w: Option<u32>,
    /// Height of a picture when upright, where that is another.
    pub(crate) shown_h: Option<u32>,
    /// Value of the EXIF orientation tag.
    pub(crate) exif_orientation: Option<u8>,
    /// Pages in a WARC file.
    pub(crate) pages: Option<usize>,
    /// URL of an HTML page.
    pub(crate) base: Option<String>,
    /// URLs of the images of an HTML page, in order.
    pub(crate) images: Option<Vec<String>>,
    /// The header that an encoded body came with.
    pub(crate) content_encoding: Option<String>,
    /// URLs in a list, each counted once.
    pub(crate) good_unique: Option<usize>,
}

impl FileCase {
    /// The file's bytes; those of HTML pages and weights are stored with gzip to save room.
    pub(crate) fn read(&self) -> Result<Vec<u8>, Mismatch> {
        let failed = |error| Mismatch::new("a file", format!("{}: {error}", self.path.display()));
        let stored = fs::read(&self.path).map_err(failed)?;
        if !self.is_stored_compressed() {
            return Ok(stored);
        }
        let mut bytes = Vec::new();
        GzDecoder::new(stored.as_slice())
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        Ok(bytes)
    }

    /// Whether the code under test needs another file than the one stored.
    pub(crate) fn is_stored_compressed(&self) -> bool {
        matches!(self.kind.as_str(), "html" | "safetensors")
            && self
                .path
                .extension()
                .is_some_and(|extension| extension == "gz")
    }

    /// A verdict that this program does not know.
    pub(crate) fn unknown_verdict(&self) -> Mismatch {
        Mismatch::new("a verdict known here", format!("`{}`", self.verdict))
    }
}

impl Directory {
    /// Reads the manifest of a directory.
    pub(crate) fn open(root: &Path) -> Result<Self> {
        if !root.is_dir() {
            bail!("{} is not a directory", root.display());
        }
        let manifest = root.join("manifest.jsonl");
        let mut files = Vec::new();
        for (number, line) in lines(&manifest)?.into_iter().enumerate() {
            let case: FileCase = serde_json::from_str(&line)
                .with_context(|| format!("{}, line {}", manifest.display(), number + 1))?;
            if case.kind != "table" {
                files.push(FileCase {
                    id: case.path.display().to_string(),
                    path: root.join(&case.path),
                    ..case
                });
            }
        }
        Ok(Self {
            root: root.to_owned(),
            files,
        })
    }

    /// The path of something in the directory.
    pub(crate) fn path(&self, place: &str) -> PathBuf {
        self.root.join(place)
    }

    /// The file cases in a folder, in the manifest's order.
    pub(crate) fn files_in(&self, folder: &str) -> Vec<FileCase> {
        let folder = self.root.join(folder);
        let files = self.files.iter();
        files
            .filter(|case| case.path.starts_with(&folder))
            .cloned()
            .collect()
    }

    /// Puts each file of a folder to a check.
    pub(crate) fn run_files(
        &self,
        folder: &str,
        limit: Duration,
        check: impl Fn(&FileCase) -> Outcome + Send + Sync + 'static,
    ) -> SuiteResult {
        run_files(self.files_in(folder), limit, check)
    }

    /// Puts each row of a table to a check; a table that is not there has no rows.
    pub(crate) fn run_table<R: DeserializeOwned + Send + 'static>(
        &self,
        table: &str,
        check: impl Fn(R) -> Outcome + Send + Sync + 'static,
    ) -> Result<SuiteResult> {
        self.run_rows(table, |_| true, check)
    }

    /// Puts each row of a table that is `wanted` to a check.
    pub(crate) fn run_rows<R: DeserializeOwned + Send + 'static>(
        &self,
        table: &str,
        wanted: impl Fn(&R) -> bool,
        check: impl Fn(R) -> Outcome + Send + Sync + 'static,
    ) -> Result<SuiteResult> {
        self.run_rows_within(table, TIME_LIMIT, wanted, check)
    }

    /// As [`Directory::run_rows`], for cases that may take longer.
    pub(crate) fn run_rows_within<R: DeserializeOwned + Send + 'static>(
        &self,
        table: &str,
        limit: Duration,
        wanted: impl Fn(&R) -> bool,
        check: impl Fn(R) -> Outcome + Send + Sync + 'static,
    ) -> Result<SuiteResult> {
        #[derive(Deserialize)]
        struct Row<R> {
            id: String,
            #[serde(flatten)]
            row: R,
        }
        let path = self.root.join(table);
        let mut result = SuiteResult::default();
        if !path.exists() {
            return Ok(result);
        }
        let check = Arc::new(check);
        for (number, line) in lines(&path)?.into_iter().enumerate() {
            let Row { id, row } = serde_json::from_str::<Row<R>>(&line)
                .with_context(|| format!("{}, line {}", path.display(), number + 1))?;
            if wanted(&row) {
                let check = Arc::clone(&check);
                result.add(id, within(limit, move || check(row)));
            }
        }
        Ok(result)
    }
}

/// Puts each of the files to a check.
pub(crate) fn run_files(
    cases: Vec<FileCase>,
    limit: Duration,
    check: impl Fn(&FileCase) -> Outcome + Send + Sync + 'static,
) -> SuiteResult {
    let check = Arc::new(check);
    let mut result = SuiteResult::default();
    for case in cases {
        let id = format!("{} ({})", case.id, case.verdict);
        let check = Arc::clone(&check);
        result.add(id, within(limit, move || check(&case)));
    }
    result
}

fn lines(path: &Path) -> Result<Vec<String>> {
    let context = || format!("cannot read {}", path.display());
    let file = File::open(path).with_context(context)?;
    let lines: Result<Vec<String>, _> = BufReader::new(file).lines().collect();
    let lines = lines.with_context(context)?;
    Ok(lines
        .into_iter()
        .filter(|line| !line.trim().is_empty())
        .collect())
}

/// Runs one case on a thread of its own. A case that does not end is left running: there is no way
/// to stop it, and the next ones have to be heard.
fn within(limit: Duration, case: impl FnOnce() -> Outcome + Send + 'static) -> Outcome {
    let (sender, receiver) = mpsc::channel();
    let thread = thread::Builder::new().stack_size(STACK_BYTES);
    let spawned = thread.spawn(move || {
        let outcome = catch_unwind(AssertUnwindSafe(case));
        // Nobody listens any more after the limit.
        let _ = sender.send(outcome);
    });
    if let Err(error) = spawned {
        return Err(Mismatch::new("a thread", error.to_string()));
    }
    match receiver.recv_timeout(limit) {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(payload)) => {
            let message = payload
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| payload.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            Err(Mismatch::new("no panic", message))
        }
        Err(_) => {
            let expected = format!("an end within {} s", limit.as_secs());
            Err(Mismatch::new(expected, "none"))
        }
    }
}
