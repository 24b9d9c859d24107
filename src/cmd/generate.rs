//! `m3w generate`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use m3w_model::GenerateOptions;

use crate::answer::answer;
use crate::trainer::TrainedModel;

/// Continue text for pictures with a trained model
#[derive(Debug, Args)]
pub(super) struct Generate {
    /// Directory of the training run
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// A picture; may be given several times
    #[arg(long = "image", value_name = "FILE")]
    images: Vec<PathBuf>,
    /// Words to continue; `<image>` stands for the next picture, and without any the pictures
    /// come first
    #[arg(long, value_name = "TEXT", default_value = "")]
    prompt: String,
    /// Most tokens to add
    #[arg(long, value_name = "N", default_value_t = 32)]
    max_new_tokens: usize,
    /// 0 takes the likeliest token each time; above 0 draws, the higher the freer
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    /// Draw only among the N likeliest tokens; 0 for all
    #[arg(long, value_name = "N", default_value_t = 0)]
    top_k: usize,
    /// Draw only among the likeliest tokens of this total probability
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    top_p: f64,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

impl Generate {
    pub(super) fn run(self) -> Result<()> {
        // Only where tensors are made: a build would hold its peak to the end.
        crate::model::keep_freed_memory();
        let trained = TrainedModel::load(&self.checkpoint)?;
        let options = GenerateOptions {
            max_new_tokens: self.max_new_tokens,
            temperature: self.temperature,
            top_k: self.top_k,
            top_p: self.top_p,
            seed: self.seed,
        };
        let mut out = std::io::stdout();
        let mut shown = 0;
        let text = answer(&trained, &self.images, &self.prompt, &options, |text| {
            // The last character may be half of one until its next token is there.
            let whole = text.trim_end_matches('\u{fffd}').len();
            if let Some(news) = text.get(shown..whole) {
                let _ = write!(out, "{news}").and_then(|()| out.flush());
                shown = whole;
            }
        })?;
        writeln!(out, "{}", text.get(shown..).unwrap_or_default())?;
        Ok(())
    }
}
