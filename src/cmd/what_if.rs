//! `m3w what-if`

use std::collections::BTreeSet;
use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::corpus::Corpus;
use crate::repair::run_of;
use crate::unit::Unit;
use crate::what_if::{what_if, with_filters};

use super::Settings;

/// Show what other thresholds would leave of a corpus, from what is stored
///
/// Nothing is fetched, and the corpus stays as it is. Only settings of `filter` can be tried:
/// `m3w what-if corpus --config configs/fineweb.toml --set filter.text.min_words=30`.
#[derive(Debug, Args)]
pub(super) struct WhatIf {
    #[command(flatten)]
    settings: Settings,
    /// Print the counts as JSON instead of a table
    #[arg(long)]
    json: bool,
    /// Directory of the corpus
    #[arg(value_name = "DIR")]
    data: PathBuf,
}

impl WhatIf {
    pub(super) fn run(self) -> Result<()> {
        let corpus = Corpus::at(&self.data);
        let manifest = corpus.manifest()?;
        let run = run_of(&corpus)?;
        let Settings {
            config,
            assignments,
        } = &self.settings;
        let filter = with_filters(&run.config, config.as_deref(), assignments)?;
        let counts = what_if(&self.data, &manifest, &run, &filter)?;
        let mut out = std::io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &counts)?;
            return Ok(writeln!(out)?);
        }
        for (what, step) in Unit::ALL
            .map(|unit| (unit.plural(), unit.step()))
            .into_iter()
            .chain([("images", "image"), ("texts left out", "text")])
        {
            let rows = |tally| m3w_document::Tally::step(tally, step);
            let (before, after) = (rows(&counts.before), rows(&counts.after));
            if before.is_empty() && after.is_empty() {
                continue;
            }
            writeln!(
                out,
                "{what:<42} {:>10} {:>10} {:>10}",
                "now", "then", "change"
            )?;
            let names = before.iter().chain(&after).map(|(name, _)| *name);
            let mut names: Vec<&str> = names.collect::<BTreeSet<_>>().into_iter().collect();
            let is_kept = |name: &str| name.strip_prefix(step) == Some("/kept");
            names.sort_by_key(|name| {
                let count = counts.before.get(name).max(counts.after.get(name));
                (!is_kept(name), std::cmp::Reverse(count))
            });
            for name in names {
                let (now, then) = (counts.before.get(name), counts.after.get(name));
                let change = i128::from(then) - i128::from(now);
                let shown = name
                    .strip_prefix(step)
                    .unwrap_or(name)
                    .trim_start_matches('/');
                writeln!(out, "  {shown:<40} {now:>10} {then:>10} {change:>+10}")?;
            }
        }
        Ok(())
    }
}
