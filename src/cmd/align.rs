//! `m3w align`

use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use m3w_document::{Document, Element, ImageRef};
use m3w_dom_align::{Config, Judgement, Mode, Subject, align, explain};
use url::Url;

use super::{Settings, default_threads};
use crate::page_files::{align_all, json_line, read};

/// Show what is read from stored pages: their text and images in order
///
/// Works on one HTML file, or on a folder of them with a manifest; nothing is fetched. Settings are
/// the keys of `[align]` in configs/build.toml, without the section: `--set target_width_px=1024`.
#[derive(Debug, Args)]
pub(super) struct Align {
    /// A page; its name may end in .gz
    #[arg(
        value_name = "FILE",
        required_unless_present = "manifest",
        conflicts_with = "manifest"
    )]
    file: Option<PathBuf>,
    /// URL of the page, to which the addresses in it are relative
    #[arg(long, value_name = "URL", default_value = "http://localhost/")]
    base_url: Url,
    /// List of pages, one {"id", "url" | "base"} a line
    #[arg(long, value_name = "FILE", requires = "pages")]
    manifest: Option<PathBuf>,
    /// Folder with the pages of the manifest: <id>.html or <id>.html.gz
    #[arg(long, value_name = "DIR", requires = "manifest")]
    pages: Option<PathBuf>,
    /// What to print [default: text for one page, jsonl for a manifest]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// For each block and image of the page say which rule kept or dropped it, with what was
    /// measured and the threshold
    #[arg(long, requires = "file", conflicts_with = "format")]
    explain: bool,
    /// Which part of a page is wanted
    #[arg(long, value_enum)]
    mode: Option<ModeName>,
    /// Processor threads; the result does not depend on them [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    #[command(flatten)]
    settings: Settings,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    /// One JSON object a page: {"id", "items": [{"text", "role"} | {"image", "alt", "caption"}]}
    Jsonl,
    /// For people: a block or an image a line, then what was left out and why
    Text,
}

/// [`Mode`] as the command line spells it.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum ModeName {
    /// What a reader came for: without navigation, banners, footers
    Main,
    /// All that is visible
    Everything,
}

impl Align {
    pub(super) fn run(self) -> Result<()> {
        let mut config: Config = self.settings.load()?;
        config.mode = match self.mode {
            Some(ModeName::Main) => Mode::Main,
            Some(ModeName::Everything) => Mode::Everything,
            None => config.mode,
        };
        let threads = self.threads.map_or_else(default_threads, usize::from);
        match (&self.file, &self.manifest, &self.pages) {
            (Some(file), _, _) => self.one_page(file, &config),
            (None, Some(manifest), Some(pages)) => {
                if self.format == Some(Format::Text) {
                    bail!("--format text is for one page: name its file instead of a manifest");
                }
                all_pages(manifest, pages, &config, threads)
            }
            _ => bail!("name a page's file, or --manifest and --pages"),
        }
    }

    fn one_page(&self, file: &Path, config: &Config) -> Result<()> {
        let html = read(file, config.max_page_bytes)?;
        if self.explain {
            let judgements = explain(&html, &self.base_url, config);
            return write_judgements(&mut std::io::stdout().lock(), &judgements);
        }
        let aligned = align(&html, &self.base_url, config);
        let mut out = std::io::stdout().lock();
        if self.format == Some(Format::Jsonl) {
            let id = file.file_name().unwrap_or_default().to_string_lossy();
            let id = id.trim_end_matches(".gz").trim_end_matches(".html");
            return Ok(out.write_all(&json_line(id, &aligned.document)?)?);
        }
        write_text(&mut out, &aligned.document)?;
        for image in &aligned.dropped {
            let url = image.url.as_deref().unwrap_or("(no address)");
            writeln!(out, "left out: {url}: {}", image.reason)?;
        }
        if let Some(reason) = &aligned.given_up {
            writeln!(out, "the page is cut short: {reason}")?;
        }
        Ok(())
    }
}

fn all_pages(manifest: &Path, pages: &Path, config: &Config, threads: usize) -> Result<()> {
    let pool = rayon::ThreadPoolBuilder::new()
        .num_threads(threads)
        .build()
        .context("cannot start the threads")?;
    let out = std::io::BufWriter::new(std::io::stdout());
    let count = pool.install(|| align_all(manifest, pages, config, out))?;
    if count.failed > 0 {
        let all = count.aligned + count.failed;
        bail!("{} of {all} pages could not be read", count.failed);
    }
    Ok(())
}

fn write_text(out: &mut impl Write, document: &Document<ImageRef>) -> Result<()> {
    for element in &document.elements {
        match element {
            Element::Text(text) => {
                writeln!(out, "[{}] {}", text.role.as_str(), text.content)?;
            }
            Element::Image(image) => {
                write!(out, "[image] {}", image.url)?;
                if let Some(alt) = &image.alt {
                    write!(out, " alt \"{alt}\"")?;
                }
                writeln!(out)?;
            }
        }
    }
    Ok(())
}

/// One line for each judgement: kept or dropped, the rule with value and threshold, the element,
/// and what is judged.
fn write_judgements(out: &mut impl Write, judgements: &[Judgement]) -> Result<()> {
    for judgement in judgements {
        let verdict = if judgement.is_kept { "kept" } else { "dropped" };
        write!(out, "{verdict}\t{}", judgement.rule)?;
        if let (Some(value), Some(threshold)) = (judgement.value, judgement.threshold) {
            write!(out, " {value:.3} against {threshold:.3}")?;
        }
        write!(out, "\t{}\t", judgement.element)?;
        match &judgement.subject {
            Subject::Block(beginning) => writeln!(out, "\"{beginning}\"")?,
            Subject::Image(Some(url)) => writeln!(out, "[image] {url}")?,
            Subject::Image(None) => writeln!(out, "[image] (no address)")?,
        }
    }
    Ok(())
}
