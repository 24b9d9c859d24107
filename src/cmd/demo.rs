//! `m3w demo`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::{default_threads, stop_on_interrupt};
use crate::demo::{build_pairs, build_site, captions, report, train_tiny};
use crate::summary::Summary;

/// Pictures that the model is asked about.
const CAPTIONS: usize = 3;

/// See the whole road on a small site that ships with m3w: offline, in a minute or two
///
/// Serves the site on this machine, builds a corpus from it and pairs from its captions, trains a
/// tiny model on both, and lets it caption some of the pictures.
#[derive(Debug, Args)]
pub(super) struct Demo {
    /// Directory for everything; without it, the first free of m3w-demo, m3w-demo-2, ...
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Training steps [default: those of configs/train-tiny.toml]
    #[arg(long, value_name = "N")]
    steps: Option<usize>,
}

impl Demo {
    pub(super) fn run(self) -> Result<()> {
        // For the training at the end; the site is too small for the crawl to mind.
        crate::model::keep_freed_memory();
        let out = self.out.unwrap_or_else(free_directory);
        let stop = stop_on_interrupt()?;
        let mut console = std::io::stdout();

        tracing::info!("crawling the demonstration site and building a corpus");
        let manifest = build_site(&out, default_threads(), &stop)?;
        let corpus = out.join("corpus");
        write!(console, "{}", Summary::new(&corpus, &manifest))?;
        let report = report(&out)?;
        tracing::info!("making rows of the pictures with their captions");
        build_pairs(&out, default_threads(), &stop)?;

        tracing::info!("training a tiny model");
        let result = train_tiny(&out, self.steps, &stop)?;
        if let Some((first, last)) = result.losses {
            writeln!(
                console,
                "{} steps, loss {first:.3} -> {last:.3}",
                result.steps
            )?;
        }
        let captions = captions(&out, CAPTIONS)?;
        for caption in &captions {
            writeln!(
                console,
                "\npicture     {}\non its page \"{}\"\nthe model   \"{}\"",
                caption.picture.display(),
                caption.expected,
                caption.generated
            )?;
        }
        let picture = captions.first().map_or("picture.jpg".into(), |caption| {
            caption.picture.display().to_string()
        });
        let (corpus, run) = (corpus.display(), out.join("run"));
        let run = run.display();
        writeln!(
            console,
            "\nshards      {corpus}/documents, {corpus}/sequences\n\
             report      {} (open it in a browser)\n\
             checkpoint  {run}/checkpoint\n\n\
             the same with your own pages:\n\
             \x20 m3w build --urls urls.txt --out corpus --contact you@example.org\n\
             \x20 m3w view corpus\n\
             \x20 m3w train --config {} --data corpus --out run\n\
             \x20 m3w generate --checkpoint run --image {} --prompt \"\"",
            report.display(),
            out.join("train-tiny.toml").display(),
            picture,
        )?;
        Ok(())
    }
}

fn free_directory() -> PathBuf {
    let mut number = 1;
    loop {
        let name = match number {
            1 => "m3w-demo".to_owned(),
            number => format!("m3w-demo-{number}"),
        };
        let path = PathBuf::from(name);
        if !path.exists() {
            return path;
        }
        number += 1;
    }
}
