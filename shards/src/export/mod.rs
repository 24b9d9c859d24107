//! Documents in the formats of other trainers.
//!
//! | format | who reads it | what a sample is |
//! |---|---|---|
//! | [`ExportFormat::Obelics`] | tools of OBELICS (arXiv 2306.16527) | a document; images are URLs |
//! | [`ExportFormat::ObelicsImages`] | the same, `datasets` | a document; images are pictures |
//! | [`ExportFormat::OpenFlamingo`] | OpenFlamingo `--mmc4_shards` | a document, as in mmc4 |
//! | [`ExportFormat::OpenFlamingoText`] | the same | a document, as in its generated sequences |
//! | [`ExportFormat::Webdataset`] | img2dataset's readers, OpenCLIP, OpenFlamingo `--laion_shards` | a picture with its caption |
//! | [`ExportFormat::Mds`] | MosaicML's `streaming` | a document; images are pictures |
//!
//! Order, texts, pictures and places are those of the documents; what a format cannot hold is
//! counted in the [`ExportReport`].

mod mds;
mod obelics;
mod open_flamingo;
mod pairs;
mod tar_file;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use m3w_document::{Document, Image};
use serde::{Deserialize, Serialize};

use crate::{DocumentReader, Error, FileEntry, Manifest};

/// A format of other trainers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ExportFormat {
    /// Parquet with the columns of OBELICS: `images` (URLs), `texts`, `metadata`,
    /// `general_metadata`.
    Obelics,
    /// The same with the pictures themselves in `images`.
    ObelicsImages,
    /// Tars of JSON in the form of mmc4, with a matrix that gives each image the text it stands
    /// before. OpenFlamingo leaves out pictures of 10 kB or less.
    OpenFlamingo,
    /// Tars of JSON in the form of OpenFlamingo's generated sequences (`is_gpt`): one text with
    /// the places of the images in it. No picture is left out, and runs of images stay runs.
    OpenFlamingoText,
    /// Tars of `.jpg`, `.txt` and `.json`: each image that has a caption or an alternative text.
    Webdataset,
    /// Shards of MosaicML's streaming: `texts` with null where an image stands, the pictures of
    /// `images` in that order, `id` and `url`.
    Mds,
}

/// What an export did.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct ExportReport {
    /// The files written, in order; paths are names in the target folder.
    pub files: Vec<FileEntry>,
    /// Documents read.
    pub documents: u64,
    /// Samples written.
    pub samples: u64,
    /// What was not written, by reason.
    pub left_out: BTreeMap<&'static str, u64>,
}

/// Writes documents into one file of a format.
trait Target {
    /// Adds what a document gives: how many samples, and what was left out.
    fn write(&mut self, document: &Document<Image>, report: &mut ExportReport)
    -> Result<(), Error>;

    /// Whether the file should take no more, however few samples it has.
    fn is_full(&self) -> bool {
        false
    }

    /// Completes the file.
    fn finish(self: Box<Self>) -> Result<FileEntry, Error>;
}

/// Writes the documents of the corpus in `directory` into the folder `out`, at most
/// `samples_per_file` samples (and the rest of a document) in a file.
///
/// Memory: one document and, for Parquet and MDS, 64 MiB of those before it. The same corpus gives the same bytes. A
/// file appears under its name when it is whole.
///
/// # Errors
///
/// [`Error::Config`] if `samples_per_file` is 0, those of [`Manifest::load`] and
/// [`DocumentReader`], and [`Error::Io`] if `out` holds files or cannot be written.
pub fn export(
    directory: &Path,
    format: ExportFormat,
    out: &Path,
    samples_per_file: u64,
) -> Result<ExportReport, Error> {
    if samples_per_file == 0 {
        return Err(Error::Config {
            key: "samples_per_file",
            value: "0".to_owned(),
            requirement: "it must be at least 1",
        });
    }
    let manifest = Manifest::load(directory)?;
    fs::create_dir_all(out).map_err(Error::io(out))?;
    if fs::read_dir(out).map_err(Error::io(out))?.next().is_some() {
        let problem = "it is not empty: choose another folder";
        return Err(Error::io(out)(std::io::Error::other(problem)));
    }
    let mut report = ExportReport::default();
    let mut open: Option<(Box<dyn Target>, u64)> = None;
    for entry in &manifest.documents {
        for document in DocumentReader::open(&directory.join(&entry.path))? {
            let document = document?;
            let (target, first_sample) = match &mut open {
                Some(open) => open,
                None => {
                    let target = create(format, &path(format, out, report.files.len()))?;
                    open.insert((target, report.samples))
                }
            };
            target.write(&document, &mut report)?;
            report.documents += 1;
            let is_full = report.samples - *first_sample >= samples_per_file || target.is_full();
            if is_full && let Some((target, _)) = open.take() {
                report.files.push(target.finish()?);
            }
        }
    }
    if let Some((target, _)) = open {
        report.files.push(target.finish()?);
    }
    if format == ExportFormat::Mds {
        mds::write_index(out, &report.files)?;
    }
    Ok(report)
}

fn path(format: ExportFormat, out: &Path, number: usize) -> PathBuf {
    let extension = match format {
        ExportFormat::Obelics | ExportFormat::ObelicsImages => "parquet",
        ExportFormat::Mds => "mds",
        _ => "tar",
    };
    out.join(format!("{number:05}.{extension}"))
}

fn create(format: ExportFormat, path: &Path) -> Result<Box<dyn Target>, Error> {
    Ok(match format {
        ExportFormat::Obelics => Box::new(obelics::ObelicsFile::create(path, false)?),
        ExportFormat::ObelicsImages => Box::new(obelics::ObelicsFile::create(path, true)?),
        ExportFormat::OpenFlamingo => Box::new(open_flamingo::MatrixFile::create(path)?),
        ExportFormat::OpenFlamingoText => Box::new(open_flamingo::TextFile::create(path)?),
        ExportFormat::Webdataset => Box::new(pairs::PairFile::create(path)?),
        ExportFormat::Mds => Box::new(mds::MdsFile::create(path)),
    })
}

impl ExportReport {
    fn leave_out(&mut self, reason: &'static str) {
        *self.left_out.entry(reason).or_default() += 1;
    }
}
