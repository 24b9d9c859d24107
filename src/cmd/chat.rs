//! `m3w chat`

use std::io::{BufRead, IsTerminal, Write, stderr, stdin, stdout};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::Args;
use m3w_model::GenerateOptions;

use super::compute::Compute;
use crate::answer::answer_pieces;
use crate::prompt::Piece;
use crate::trained::TrainedModel;

/// Pictures and words line by line, answered at each empty line
///
/// A line that is the path of a file is a picture, any other line is words. The answer joins the
/// prompt; `/new` begins another one.
#[derive(Debug, Args)]
pub(super) struct Chat {
    /// Directory of the training run or the imported model
    #[arg(long, value_name = "DIR")]
    checkpoint: PathBuf,
    /// Most tokens of an answer
    #[arg(long, value_name = "N", default_value_t = 32)]
    max_new_tokens: usize,
    /// 0 takes the likeliest token each time; above 0 draws, the higher the freer
    #[arg(long, default_value_t = 0.0)]
    temperature: f64,
    /// Seed of the draws
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    compute: Compute,
}

impl Chat {
    pub(super) fn run(self) -> Result<()> {
        crate::model::keep_freed_memory();
        let trained = TrainedModel::load_as(&self.checkpoint, &self.compute.running())?;
        let options = GenerateOptions {
            max_new_tokens: self.max_new_tokens,
            temperature: self.temperature,
            seed: self.seed,
            ..GenerateOptions::default()
        };
        let is_person = stdin().is_terminal();
        if is_person {
            let help =
                "paths of pictures and words, line by line; an empty line asks, /new begins anew";
            writeln!(stderr(), "{help}")?;
        }
        let mut pieces = Vec::new();
        let mut is_answered = true;
        for line in stdin().lock().lines() {
            let line = line.context("standard input has something that is no text")?;
            match line.trim() {
                "" if is_answered => {}
                "" => {
                    ask(&trained, &mut pieces, &options);
                    is_answered = true;
                }
                "/new" => {
                    pieces.clear();
                    is_answered = true;
                }
                line => {
                    pieces.push(piece(line, pieces.last()));
                    is_answered = false;
                }
            }
        }
        if !is_answered {
            ask(&trained, &mut pieces, &options);
        }
        Ok(())
    }
}

/// A path that somebody pasted may stand in quotes.
fn piece(line: &str, before: Option<&Piece>) -> Piece {
    let path = line.trim_matches(['\'', '"']);
    if Path::new(path).is_file() {
        return Piece::Picture(path.into());
    }
    // Words behind words begin with a space.
    let gap = if matches!(before, Some(Piece::Text(_))) {
        " "
    } else {
        ""
    };
    Piece::Text(format!("{gap}{line}"))
}

/// Prints the answer as it comes, and puts it behind the prompt. What cannot be answered is told, and
/// taken away.
fn ask(trained: &TrainedModel, pieces: &mut Vec<Piece>, options: &GenerateOptions) {
    let mut out = stdout();
    let mut shown = 0;
    let answered = answer_pieces(trained, pieces, options, |text| {
        let whole = text.trim_end_matches('\u{fffd}').len();
        if let Some(news) = text.get(shown..whole) {
            let _ = write!(out, "{news}").and_then(|()| out.flush());
            shown = whole;
        }
    });
    match answered {
        Ok(text) => {
            let rest = text.get(shown..).unwrap_or_default();
            let _ = writeln!(stdout(), "{rest}");
            if !text.is_empty() {
                pieces.push(Piece::Text(text));
            }
        }
        Err(error) => {
            tracing::error!("{error:#}; beginning anew");
            pieces.clear();
        }
    }
}
