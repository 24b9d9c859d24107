//! `m3w eval`

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;

use super::compute::Compute;
use crate::evaluate::benchmark::{BENCHMARKS, benchmark};
use crate::evaluate::few_shot::Style;
use crate::evaluate::run::{EvalOptions, evaluate};

/// Ask a model the questions of a benchmark, with examples in the prompt
///
/// Answers are kept in the --out folder as they come; a run that was stopped goes on with the same
/// command.
#[derive(Debug, Args)]
pub(super) struct Eval {
    /// Show what each benchmark needs
    #[arg(long)]
    list: bool,
    /// The benchmark, one of those that --list shows
    #[arg(long, value_name = "NAME", required_unless_present = "list")]
    task: Option<String>,
    /// Folder of the benchmark's official files
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    data: Option<PathBuf>,
    /// Directory of the training run or the imported model
    #[arg(long, value_name = "DIR", required_unless_present = "list")]
    checkpoint: Option<PathBuf>,
    /// Numbers of examples in the prompt; 0 shows two without pictures
    #[arg(
        long,
        value_name = "N,…",
        value_delimiter = ',',
        default_value = "0,4,8,16,32"
    )]
    shots: Vec<usize>,
    /// Folder of the answers and results; `eval-NAME` if none is named
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// How prompts are written
    #[arg(long, value_enum, default_value = "paper")]
    style: Style,
    /// Show the examples whose pictures are nearest to the question's, the nearest last (RICES)
    #[arg(long)]
    rices: bool,
    /// File of the features by which the nearest are found, made if it is not there
    #[arg(long, value_name = "FILE", requires = "rices")]
    index: Option<PathBuf>,
    /// Average the likelihoods of candidates over this many orders of the examples
    #[arg(long, value_name = "N", default_value_t = 1)]
    permutations: usize,
    /// Compare candidates by the likelihood of a token instead of the whole
    #[arg(long)]
    normalize_length: bool,
    /// Seed of the examples
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Continuations followed side by side where words are free
    #[arg(long, value_name = "N", default_value_t = 3)]
    beams: usize,
    /// Ask only the first N questions
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Folder of WordNet's database files (nextqa)
    #[arg(long, value_name = "DIR")]
    wordnet: Option<PathBuf>,
    #[command(flatten)]
    compute: Compute,
    /// Print results as JSON
    #[arg(long)]
    json: bool,
    /// Tell no progress
    #[arg(long)]
    quiet: bool,
}

impl Eval {
    pub(super) fn run(self) -> Result<()> {
        let mut out = std::io::stdout();
        if self.list {
            for task in &BENCHMARKS {
                writeln!(
                    out,
                    "{:<13} {:<14} {}",
                    task.name,
                    task.judged.name(),
                    task.source
                )?;
                writeln!(out, "{:13} files: {}", "", task.files.join(", "))?;
                writeln!(out, "{:13} media: {}", "", task.media)?;
            }
            return Ok(());
        }
        let name = self.task.unwrap_or_default();
        let Some(task) = benchmark(&name) else {
            let names: Vec<&str> = BENCHMARKS.iter().map(|task| task.name).collect();
            bail!(
                "there is no benchmark {name}: it is one of {}",
                names.join(", ")
            );
        };
        // Only where tensors are made: a build would hold its peak to the end.
        crate::model::keep_freed_memory();
        let options = EvalOptions {
            data: self.data.context("--data is missing")?,
            checkpoint: self.checkpoint.context("--checkpoint is missing")?,
            running: self.compute.running(),
            style: self.style,
            rices: self.rices,
            permutations: self.permutations,
            normalize_length: self.normalize_length,
            seed: self.seed,
            beams: self.beams,
            limit: self.limit,
            wordnet: self.wordnet,
            shots: self.shots,
            out: self.out.unwrap_or_else(|| format!("eval-{name}").into()),
            index: self.index,
            is_quiet: self.quiet,
            task: name,
        };
        let stop = super::stop_on_interrupt()?;
        let results = evaluate(task, &options, &stop)?;
        if self.json {
            return Ok(writeln!(
                out,
                "{}",
                serde_json::to_string_pretty(&results)?
            )?);
        }
        writeln!(
            out,
            "{:<13} {:>5}  {:<14} {:>9} {:>8}",
            "task", "shots", "measure", "score", "asked"
        )?;
        for row in results {
            writeln!(
                out,
                "{:<13} {:>5}  {:<14} {:>9.4} {:>8}",
                row.task, row.shots, row.measure, row.score, row.count
            )?;
        }
        Ok(())
    }
}
