//! `m3w dedup`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{Settings, default_threads, stop_on_interrupt};
use crate::dedup::{DedupOptions, dedup};
use crate::unit::Unit;

/// Take repetitions out of a finished corpus, and what evaluations will ask
///
/// Documents of the same or nearly the same text, pictures in many documents, paragraphs of many
/// pages of a host: what goes is in the lists of outcomes with the reason, what was measured, and
/// what it repeats. Only shards that lose something are written anew. What stays does not depend on
/// the order of the inputs. Interrupted at any moment, the same command goes on where it was.
/// Settings are those of configs/dedup.toml: `--set text.similarity=0.9`.
#[derive(Debug, Args)]
pub(super) struct Dedup {
    #[command(flatten)]
    settings: Settings,
    /// Pictures and questions of evaluations, which must not be in the corpus: images, .txt with one
    /// a line, .jsonl, .parquet, or a folder of them
    #[arg(long, value_name = "PATH", num_args = 1..)]
    protect: Vec<PathBuf>,
    /// Count what would go, and change nothing
    #[arg(long)]
    dry_run: bool,
    /// Write all that goes into a file, a line of JSON each
    #[arg(long, value_name = "FILE")]
    list: Option<PathBuf>,
    /// Processor threads; the result does not depend on them [default: one for each core]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    threads: Option<u16>,
    /// No progress lines
    #[arg(long)]
    quiet: bool,
    /// Directory of the corpus
    #[arg(value_name = "DIR")]
    data: PathBuf,
}

impl Dedup {
    pub(super) fn run(self) -> Result<()> {
        crate::memory::share_heaps();
        let options = DedupOptions {
            config: self.settings.load()?,
            corpus: self.data,
            protect: self.protect,
            list: self.list,
            dry_run: self.dry_run,
            threads: self.threads.map_or_else(default_threads, usize::from),
            is_quiet: self.quiet,
        };
        let found = dedup(&options, &stop_on_interrupt()?)?;
        if found.too_short > 0 {
            tracing::warn!(
                "{} protected texts have fewer words than `protect.min_words` and were not looked for",
                found.too_short
            );
        }
        let mut out = std::io::stdout().lock();
        writeln!(out, "{:<42} {:>12}", "documents", found.documents)?;
        for (what, step) in Unit::ALL
            .map(|unit| ("documents", unit.step()))
            .into_iter()
            .chain([("images", "image"), ("texts", "text")])
        {
            let rows = found.dropped.step(step);
            if rows.is_empty() {
                continue;
            }
            let verb = if options.dry_run { "would go" } else { "gone" };
            let total: u64 = rows.iter().map(|(_, count)| count).sum();
            writeln!(out, "{:<42} {total:>12}", format!("{what} {verb}"))?;
            for (name, count) in rows {
                let name = name.split_once('/').map_or(name, |(_, name)| name);
                writeln!(out, "  {name:<40} {count:>12}")?;
            }
        }
        Ok(())
    }
}
