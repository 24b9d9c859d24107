//! `m3w import`

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;

use crate::imported::{ImportOptions, import};

/// Rows of a list that are shown.
const SHOWN: usize = 10;

/// Put an OpenFlamingo or an Idefics together from its published files
///
/// OpenFlamingo's checkpoint holds what was trained; language model and vision encoder come from their own
/// files. The folder of an Idefics has all of it. Nothing in a checkpoint is ever run. The result can be
/// asked with `m3w generate`.
#[derive(Debug, Args)]
pub(super) struct Import {
    /// The checkpoint, a file of PyTorch or safetensors, or the folder of an Idefics: config.json,
    /// safetensors and tokenizer.json
    #[arg(long, value_name = "PATH")]
    checkpoint: PathBuf,
    /// The language model: a folder with config.json, weights and tokenizer.json, or a GGUF file
    #[arg(long, value_name = "PATH")]
    language: Option<PathBuf>,
    /// Weights of the vision encoder under the names of open_clip or of transformers' CLIP and SigLIP: a
    /// file, or a folder, whose config.json tells its sizes
    #[arg(long, value_name = "PATH")]
    vision: Option<PathBuf>,
    /// The tokenizer, where it is not in the folder of the language model or of the Idefics, or beside the
    /// language model's file, in which it is not read
    #[arg(long, value_name = "FILE")]
    tokenizer: Option<PathBuf>,
    /// A size that shapes do not tell: `--set vision.activation=gelu`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    assignments: Vec<String>,
    /// Directory of the result
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl Import {
    pub(super) fn run(self) -> Result<()> {
        let options = ImportOptions {
            checkpoint: self.checkpoint,
            language: self.language,
            vision: self.vision,
            tokenizer: self.tokenizer,
            assignments: self.assignments,
            out: self.out,
        };
        let imported = import(&options)?;
        let mut out = std::io::stdout().lock();
        for ((group, file), (tensors, numbers)) in &imported.summary.found {
            let group = group.name();
            writeln!(
                out,
                "{group:<12} {tensors:>5} tensors {numbers:>14} parameters from {file}"
            )?;
        }
        for (what, list) in [
            ("missing", &imported.summary.missing),
            ("not used", &imported.summary.unused),
        ] {
            for (name, shape) in list.iter().take(SHOWN) {
                writeln!(out, "{what}: {name} {shape:?}")?;
            }
            if list.len() > SHOWN {
                writeln!(out, "{what}: {} more", list.len() - SHOWN)?;
            }
        }
        let missing = imported.summary.missing.len();
        if missing > 0 {
            bail!("{missing} tensors are in none of the files: nothing was written");
        }
        writeln!(out, "{}", options.out.display())?;
        Ok(())
    }
}
