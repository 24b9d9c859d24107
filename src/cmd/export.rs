//! `m3w export`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, ValueEnum};
use m3w_shards::{ExportFormat, export};

/// Write the documents of a corpus in the format of another trainer
///
/// Prints a line for each file, and what the format could not hold to standard error.
#[derive(Debug, Args)]
pub(super) struct Export {
    /// The format
    #[arg(long, value_enum)]
    to: Format,
    /// Most samples in a file
    #[arg(long, value_name = "N", default_value_t = 1000)]
    samples_per_file: u64,
    /// Directory of the corpus
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// An empty folder, or one to be made
    #[arg(value_name = "OUT")]
    out: PathBuf,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Format {
    /// Parquet with the columns of OBELICS; images are URLs
    Obelics,
    /// The same with the pictures themselves
    ObelicsImages,
    /// Tars for OpenFlamingo's `--mmc4_shards`, in the form of mmc4; it leaves out pictures of 10 kB
    /// or less
    Openflamingo,
    /// Tars for the same, in the form of its generated sequences; no picture is left out
    OpenflamingoText,
    /// Tars of pictures with captions, as img2dataset writes them
    Webdataset,
    /// Shards for MosaicML's streaming, and their index
    Mds,
}

impl Export {
    pub(super) fn run(self) -> Result<()> {
        crate::corpus::Corpus::at(&self.data).manifest()?;
        let format = match self.to {
            Format::Obelics => ExportFormat::Obelics,
            Format::ObelicsImages => ExportFormat::ObelicsImages,
            Format::Openflamingo => ExportFormat::OpenFlamingo,
            Format::OpenflamingoText => ExportFormat::OpenFlamingoText,
            Format::Webdataset => ExportFormat::Webdataset,
            Format::Mds => ExportFormat::Mds,
        };
        let report = export(&self.data, format, &self.out, self.samples_per_file)?;
        let mut out = std::io::stdout();
        for file in &report.files {
            let path = self.out.join(&file.path);
            writeln!(out, "{}\t{} samples", path.display(), file.rows)?;
        }
        for (reason, count) in &report.left_out {
            tracing::warn!(count, "left out: {reason}");
        }
        tracing::info!(
            documents = report.documents,
            samples = report.samples,
            "exported"
        );
        Ok(())
    }
}
