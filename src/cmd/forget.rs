//! `m3w forget`

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use m3w_shards::MANIFEST_NAME;

use super::stop_on_interrupt;
use crate::forget::{ForgetOptions, forget};
use crate::named::Key;

/// Take pages, pictures or whole domains out of a finished corpus, for good
///
/// Only the files that hold some of it are written anew, training rows among them. In the lists of
/// outcomes a line stays for each input that goes, without what it said; `forgotten.txt` keeps hashes
/// of what was named, so that neither a repair nor a build that is opened again brings it back.
/// Prints what was there before and what is there after. Interrupted at any moment, the same command
/// goes on where it was.
#[derive(Debug, Args)]
pub(super) struct Forget {
    /// Directory of the corpus
    #[arg(value_name = "DIR")]
    data: PathBuf,
    /// A page, as asked for or as answered, or a picture, wherever it is shown
    #[arg(long, value_name = "URL")]
    url: Vec<String>,
    /// All pages and pictures of a host and of those below it
    #[arg(long, value_name = "HOST")]
    domain: Vec<String>,
    /// A picture by the hash of its bytes, as they were fetched or as they are stored
    #[arg(long, value_name = "HASH")]
    sha256: Vec<String>,
    /// A file of URLs, hosts and hashes, one a line; lines that begin with # are passed over
    #[arg(long, value_name = "FILE")]
    list: Vec<PathBuf>,
    /// No progress lines
    #[arg(long)]
    quiet: bool,
}

impl Forget {
    pub(super) fn run(self) -> Result<()> {
        let named = self.named()?;
        anyhow::ensure!(
            !named.is_empty(),
            "say what is to be forgotten: --url, --domain, --sha256, or --list with some lines"
        );
        let options = ForgetOptions {
            corpus: self.data,
            keys: named.iter().map(|(_, key)| *key).collect(),
            is_quiet: self.quiet,
        };
        let proof = forget(&options, &stop_on_interrupt()?)?;
        let mut out = std::io::stdout().lock();
        for (text, key) in &named {
            let matched = proof.matched.get(key).copied().unwrap_or_default();
            let (documents, pictures) = (matched.documents, matched.pictures);
            writeln!(
                out,
                "asked\t{} {text}\tinputs {documents}\tpictures {pictures}",
                key.kind.as_str()
            )?;
        }
        for (before, after) in &proof.rewritten {
            writeln!(
                out,
                "rewritten\t{}\trows {} -> {}\tsha256 {} -> {}",
                after.path, before.rows, after.rows, before.sha256, after.sha256
            )?;
        }
        let (before, after) = (proof.before, proof.after);
        for (what, before, after) in [
            ("documents", before.documents, after.documents),
            ("pictures", before.pictures, after.pictures),
            ("sequences", before.sequences, after.sequences),
        ] {
            writeln!(out, "{what}\t{before} -> {after}")?;
        }
        if let Some((before, after)) = proof.manifest_sha256 {
            writeln!(out, "{MANIFEST_NAME}\tsha256 {before} -> {after}")?;
        }
        Ok(())
    }

    /// What is named, as it was written.
    fn named(&self) -> Result<Vec<(String, Key)>> {
        let mut named = Vec::new();
        for text in &self.url {
            named.push((text.clone(), Key::url(text)?));
        }
        for text in &self.domain {
            named.push((text.clone(), Key::domain(text)?));
        }
        for text in &self.sha256 {
            named.push((text.clone(), Key::sha256(text)?));
        }
        for path in &self.list {
            let text = std::fs::read_to_string(path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            for (number, line) in text.lines().enumerate() {
                let line = line.trim();
                if line.is_empty() || line.starts_with('#') {
                    continue;
                }
                let key = Key::parse(line)
                    .with_context(|| format!("{}, line {}", path.display(), number + 1))?;
                named.push((line.to_owned(), key));
            }
        }
        Ok(named)
    }
}
