//! Corpora of others in which text and images are in order already: OBELICS and mmc4.
//!
//! Their documents go the way of a page from the filters on: nothing is fetched but images, and
//! those by the crawler with all its rules, unless the bytes are at hand. What is read becomes
//! ([`InterleavedSource::rows`]) a document whose images are [`Wanted`]; what is wrong with a row is
//! its reason, which begins with `input/`.
//!
//! | | text | image | what is lost |
//! |---|---|---|---|
//! | OBELICS | `texts[i]`, as it is | `images[i]`: a URL, or bytes | roles of texts, title, captions |
//! | mmc4 | `text_list[i]` | before the text it is matched to | the same, alternative texts |
//!
//! Memory is one row group of a Parquet file and one document, and 256 MiB of pictures that were
//! read with their documents and not yet worked on; with a folder of pictures, the names of those in
//! its archives besides.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result};
use m3w_crawler::normalise;
use m3w_document::{Document, ImageRef, Reason, Sha256};
use url::Url;

mod held;
mod mmc4;
mod obelics;
mod picture_files;

pub use held::Held;

use held::Budget;
use picture_files::PictureFiles;

use crate::journal::ImageDrop;
use crate::pairs::{self, Checksums, Media};

/// Most bytes of pictures that were read with their documents and are not yet worked on.
const MAX_HELD_BYTES: usize = 256 << 20;

/// An image of a document, and where its bytes are.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    /// What is known of it.
    pub reference: ImageRef,
    /// Where it is.
    pub media: Media,
    /// What its bytes have to be.
    pub checksums: Checksums,
}

impl From<ImageRef> for Wanted {
    fn from(reference: ImageRef) -> Self {
        Self {
            media: Media::Url(reference.url.clone()),
            checksums: Checksums::default(),
            reference,
        }
    }
}

/// A document as it was read.
#[derive(Debug)]
pub struct Interleaved {
    /// The document.
    pub document: Document<Wanted>,
    /// Images that nobody could find.
    pub dropped: Vec<ImageDrop>,
}

/// What stood in a row, for people to read, and the document or why there is none.
pub type Row = (String, Result<Interleaved, Reason>);

/// The form of a corpus.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Parquet with the columns of OBELICS (arXiv 2306.16527), images as URLs or as bytes.
    Obelics,
    /// JSON lines as mmc4 has them (arXiv 2304.06939), or tars of such JSON, as OpenFlamingo reads
    /// them.
    Mmc4,
}

/// Files of a corpus in one of these forms.
#[derive(Debug, Clone)]
pub struct InterleavedSource {
    form: Form,
    files: Vec<PathBuf>,
    pictures: Option<Arc<PictureFiles>>,
    min_similarity: Option<f64>,
    budget: Arc<Budget>,
}

impl InterleavedSource {
    /// The source of these files, patterns (`*` and `?` in the last part of a path) and folders.
    ///
    /// With `pictures`, images of mmc4 are first looked for by their name in that folder and its
    /// tars. Images whose similarity to their text is below `min_similarity` are left out.
    ///
    /// # Errors
    ///
    /// If one is not there, or is not what its name says.
    pub fn open(
        form: Form,
        inputs: &[PathBuf],
        pictures: Option<&Path>,
        min_similarity: Option<f64>,
    ) -> Result<Self> {
        let endings: &[&str] = match form {
            Form::Obelics => &[".parquet"],
            Form::Mmc4 => &[".jsonl", ".jsonl.gz", ".ndjson", ".ndjson.gz", ".tar"],
        };
        Ok(Self {
            form,
            files: pairs::files_with(inputs, endings)?,
            pictures: pictures.map(PictureFiles::open).transpose()?.map(Arc::new),
            min_similarity,
            budget: Arc::new(Budget::of(MAX_HELD_BYTES)),
        })
    }

    /// All rows in their order, the same at each call.
    pub fn rows(&self) -> impl Iterator<Item = Result<Row>> + use<> {
        let source = self.clone();
        self.files.clone().into_iter().flat_map(move |path| {
            let rows: Result<Box<dyn Iterator<Item = Result<Row>>>> = match source.form {
                Form::Obelics => obelics::rows(&path, &source.budget),
                Form::Mmc4 => mmc4::rows(
                    &path,
                    mmc4::Reading {
                        budget: Arc::clone(&source.budget),
                        pictures: source.pictures.clone(),
                        min_similarity: source.min_similarity,
                    },
                ),
            };
            rows.unwrap_or_else(|error| Box::new(std::iter::once(Err(error))))
        })
    }

    /// How many rows there are; no picture is read for it.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn count(&self) -> Result<u64> {
        let counts = self.files.iter().map(|path| match self.form {
            Form::Obelics => obelics::count(path),
            Form::Mmc4 => mmc4::count(path),
        });
        counts.sum()
    }

    /// What tells this source from another: names and lengths of its files, and what is read of
    /// them.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn digest(&self) -> Result<Sha256> {
        let mut description = format!("{:?}\t{:?}\n", self.form, self.min_similarity);
        for path in &self.files {
            let metadata = std::fs::metadata(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            description.push_str(&format!("{name}\t{}\n", metadata.len()));
        }
        if let Some(pictures) = &self.pictures {
            description.push_str(&pictures.description());
        }
        Ok(Sha256::of(description.as_bytes()))
    }
}

/// What a row or picture without a URL is called: the same wherever its file lies.
fn file_url(path: &Path, below: &str) -> Url {
    let mut url = Url::parse("file:///").expect("a fixed URL");
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    url.set_path(&format!("{name}/{below}"));
    url
}

/// An empty document of the page at `url`, or called after its place.
fn document(url: Option<&str>, path: &Path, row: u64) -> Document<Wanted> {
    let url = url.and_then(|url| normalise(url).ok());
    Document::new(url.unwrap_or_else(|| file_url(path, &row.to_string())))
}
