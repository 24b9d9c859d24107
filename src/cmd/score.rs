//! `m3w score`

use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use crate::evaluate::ranking::Depth;
use crate::evaluate::score::{Metric, ScoreOptions, score};
use crate::evaluate::vqa::VqaRules;

/// Measure a file of answers against a file of references
///
/// Answers and references are JSON: a list of objects with an id, lines of such objects, an object
/// from ids to answers, or the official files of COCO, VQA, VisDial, HatefulMemes and RareAct.
#[derive(Debug, Args)]
pub(super) struct Score {
    /// What is measured
    #[arg(long, value_enum)]
    metric: Metric,
    /// What a model said
    #[arg(long, value_name = "FILE")]
    predictions: PathBuf,
    /// What is right
    #[arg(long, value_name = "FILE")]
    references: PathBuf,
    /// Which of the evaluations in use compares answers (`vqa`)
    #[arg(long, value_enum, default_value = "official")]
    vqa_rules: VqaRules,
    /// How far down rankings are looked at: `relevant` (as many as have a relevance above 0), `all`
    /// or a number (`ndcg`)
    #[arg(long, value_name = "N", default_value = "relevant", value_parser = depth)]
    depth: Depth,
    /// Folder of WordNet's database files (`wups`)
    #[arg(long, value_name = "DIR")]
    wordnet: Option<PathBuf>,
    /// Nearness below which words count a tenth (`wups`)
    #[arg(long, value_name = "X", default_value_t = 0.0)]
    threshold: f64,
    /// Print the result as JSON
    #[arg(long)]
    json: bool,
    /// Write the measure of each example as lines of JSON
    #[arg(long, value_name = "FILE")]
    per_example: Option<PathBuf>,
}

fn depth(text: &str) -> Result<Depth, String> {
    match text {
        "relevant" => Ok(Depth::Relevant),
        "all" => Ok(Depth::All),
        number => match number.parse() {
            Ok(count) if count > 0 => Ok(Depth::First(count)),
            _ => Err("it must be `relevant`, `all` or a number above 0".to_owned()),
        },
    }
}

impl Score {
    pub(super) fn run(self) -> Result<()> {
        let options = ScoreOptions {
            metric: self.metric,
            predictions: self.predictions,
            references: self.references,
            vqa_rules: self.vqa_rules,
            depth: self.depth,
            wordnet: self.wordnet,
            threshold: self.threshold,
        };
        let found = score(&options)?;
        if found.without_prediction > 0 {
            tracing::warn!(
                "{} references have no prediction and do not count",
                found.without_prediction
            );
        }
        if let Some(path) = &self.per_example {
            if found.examples.is_empty() {
                bail!("this measure is one of all examples: there is none of each");
            }
            let name = path.display();
            let file = File::create(path).with_context(|| format!("cannot write {name}"))?;
            let mut out = BufWriter::new(file);
            for (id, score) in &found.examples {
                writeln!(out, "{}", json!({"id": id, "score": score}))?;
            }
            out.flush()
                .with_context(|| format!("cannot write {name}"))?;
        }
        let value = self.metric.to_possible_value();
        let metric = value.as_ref().map_or("", |value| value.get_name());
        let mut out = std::io::stdout().lock();
        if self.json {
            let result = json!({
                "metric": metric,
                "score": found.score,
                "count": found.count,
                "without_prediction": found.without_prediction,
            });
            return Ok(writeln!(out, "{result}")?);
        }
        Ok(writeln!(
            out,
            "{metric} {} of {}",
            found.score, found.count
        )?)
    }
}
