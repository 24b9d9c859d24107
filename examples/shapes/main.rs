//! A proof that training teaches a model to see, on drawings made for it.
//!
//! ```text
//! cargo build --release
//! cargo run --release --example shapes -- naming DIR [SEED [STEPS]]
//! cargo run --release --example shapes -- ablations DIR [SEED [STEPS]]
//! cargo run --release --example shapes -- in-context DIR [SEED [STEPS]]
//! ```
//!
//! `naming`: pages and pairs show drawings with their words (`two red discs on the left`), but one scene in
//! five never; a model that was trained on them names those too. `ablations` trains the same by
//! recipes that Flamingo compares. `in-context`: each page numbers colours anew, and a trained model tells
//! from a few examples what a drawing's colour is called there.
//!
//! `DIR` receives the drawings, the corpora and the runs; the program `m3w` that was built beside this
//! one builds and trains. A minute or two on one core each. What is killed goes on with the same
//! command.
//!
//! Exit codes: 0 if the proof succeeds, 1 if it fails.

#[path = "proofs.rs"]
mod proofs;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::proofs::program::Program;
use crate::proofs::{in_context, naming};

const NAMING: naming::Size = naming::Size {
    pairs: 3000,
    pages: 500,
    language_steps: 200,
    steps: 400,
    drawings: 4,
};
const IN_CONTEXT: in_context::Size = in_context::Size {
    words: 6000,
    pages: 1500,
    language_steps: 1500,
    steps: 450,
    questions: 100,
};
/// Names of runs, and what is set in them over configs/shapes.toml.
const RECIPES: [(&str, &str); 4] = [
    ("run", ""),
    ("p-next-0.5", "loader.next_image_probability=0.5"),
    ("p-next-1", "loader.next_image_probability=1.0"),
    ("round-robin", "run.schedule=round-robin"),
];

fn main() -> ExitCode {
    match run() {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "shapes: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<bool> {
    let mut arguments = std::env::args().skip(1);
    let usage = "give `naming`, `ablations` or `in-context`, a folder and, if you like, a seed and the steps";
    let what = arguments.next().context(usage)?;
    let out = PathBuf::from(arguments.next().context(usage)?);
    let seed = arguments.next().map_or(Ok(1), |seed| seed.parse());
    let seed = seed.context("the seed is not a number")?;
    let steps = arguments.next().map(|steps| steps.parse()).transpose();
    let steps: Option<usize> = steps.context("the number of steps is none")?;
    std::fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    let out = out.canonicalize()?;
    let own = std::env::current_exe()?;
    let built = own.parent().and_then(Path::parent).context(usage)?;
    let program = Program(built.join("m3w"));
    let mut console = std::io::stdout();
    match what.as_str() {
        "naming" => {
            let size = naming::Size {
                steps: steps.unwrap_or(NAMING.steps),
                ..NAMING
            };
            let scores = naming::prove(&program, &out, seed, &size, RECIPES[0])?;
            write!(console, "{scores}")?;
            Ok(scores.succeed())
        }
        "ablations" => {
            let size = naming::Size {
                steps: steps.unwrap_or(NAMING.steps),
                ..NAMING
            };
            for recipe in RECIPES {
                let scores = naming::prove(&program, &out, seed, &size, recipe)?;
                let (name, settings) = recipe;
                writeln!(console, "{name} {settings}\n{scores}")?;
            }
            Ok(true)
        }
        "in-context" => {
            let size = in_context::Size {
                steps: steps.unwrap_or(IN_CONTEXT.steps),
                ..IN_CONTEXT
            };
            let scores = in_context::prove(&program, &out, seed, &size)?;
            write!(console, "{scores}")?;
            Ok(scores.succeed())
        }
        _ => bail!(usage),
    }
}
