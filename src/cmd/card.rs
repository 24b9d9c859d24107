//! `m3w card`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::card;
use crate::corpus::Corpus;

/// Describe a corpus for those who find it: README.md (a dataset card), DATASHEET.md, croissant.json
///
/// All are written into the corpus, over those that are there.
#[derive(Debug, Args)]
pub(super) struct Card {
    /// Name of the dataset; that of the directory if left out
    #[arg(long)]
    name: Option<String>,
    /// Licence of the collection, as an SPDX identifier such as CC-BY-4.0
    #[arg(long)]
    license: Option<String>,
    /// Directory of the corpus
    #[arg(value_name = "DIR")]
    data: PathBuf,
}

impl Card {
    pub(super) fn run(self) -> Result<()> {
        let manifest = Corpus::at(&self.data).manifest()?;
        let root = self.data.canonicalize()?;
        let folder = root.file_name().unwrap_or_default().to_string_lossy();
        let name = self.name.unwrap_or_else(|| folder.into_owned());
        card::write(&self.data, &manifest, &name, self.license.as_deref())?;
        let mut out = std::io::stdout();
        for name in [card::CARD_NAME, card::DATASHEET_NAME, card::CROISSANT_NAME] {
            writeln!(out, "{}", self.data.join(name).display())?;
        }
        Ok(())
    }
}
