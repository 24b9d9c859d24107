//! The commands, one module each: arguments as a struct, work as its `run`.
//!
//! Results go to standard output, talk to standard error.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

mod align;
mod audit;
mod build;
mod card;
mod chat;
mod compute;
mod crawl;
mod dedup;
mod demo;
mod describe;
mod eval;
mod export;
mod forget;
mod generate;
mod import;
mod pack;
mod pairs;
mod pretrain;
mod repair;
mod report;
mod run;
mod score;
mod serve;
mod stats;
mod tokenizer;
mod train;
mod verify;
mod view;
mod what_if;

/// Turns the web into training data for visual language models, and trains a Flamingo on it
#[derive(Debug, Parser)]
#[command(version = env!("M3W_VERSION"), arg_required_else_help = true)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Demo(demo::Demo),
    Crawl(crawl::Crawl),
    Build(build::Build),
    Pairs(pairs::Pairs),
    Align(align::Align),
    Dedup(dedup::Dedup),
    Pack(pack::Pack),
    Stats(stats::Stats),
    WhatIf(what_if::WhatIf),
    View(view::View),
    Audit(audit::Audit),
    Verify(verify::Verify),
    Repair(repair::Repair),
    Forget(forget::Forget),
    Export(export::Export),
    Card(card::Card),
    Tokenizer(tokenizer::Tokenizer),
    Pretrain(pretrain::Pretrain),
    Train(train::Train),
    Report(report::Report),
    Describe(describe::Describe),
    Import(import::Import),
    Generate(generate::Generate),
    Score(score::Score),
    Eval(eval::Eval),
    Chat(chat::Chat),
    Serve(serve::Serve),
}

impl Cli {
    /// Does what was asked.
    ///
    /// # Errors
    ///
    /// What the command reports; [`crate::build::Stopped`] where it was interrupted.
    pub fn run(self) -> Result<()> {
        match self.command {
            Command::Demo(command) => command.run(),
            Command::Crawl(command) => command.run(),
            Command::Build(command) => command.run(),
            Command::Pairs(command) => command.run(),
            Command::Align(command) => command.run(),
            Command::Dedup(command) => command.run(),
            Command::Pack(command) => command.run(),
            Command::Stats(command) => command.run(),
            Command::WhatIf(command) => command.run(),
            Command::View(command) => command.run(),
            Command::Audit(command) => command.run(),
            Command::Verify(command) => command.run(),
            Command::Repair(command) => command.run(),
            Command::Forget(command) => command.run(),
            Command::Export(command) => command.run(),
            Command::Card(command) => command.run(),
            Command::Tokenizer(command) => command.run(),
            Command::Pretrain(command) => command.run(),
            Command::Train(command) => command.run(),
            Command::Report(command) => command.run(),
            Command::Describe(command) => command.run(),
            Command::Import(command) => command.run(),
            Command::Generate(command) => command.run(),
            Command::Score(command) => command.run(),
            Command::Eval(command) => command.run(),
            Command::Chat(command) => command.run(),
            Command::Serve(command) => command.run(),
        }
    }
}

/// Where settings come from.
#[derive(Debug, Clone, Default, Args)]
struct Settings {
    /// Settings in a TOML file; what it leaves out keeps its default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// One setting, over the file's; a key of a section is written `section.key`
    #[arg(long = "set", value_name = "KEY=VALUE")]
    assignments: Vec<String>,
}

impl Settings {
    fn load<C: serde::de::DeserializeOwned>(&self) -> Result<C> {
        crate::config::load(self.config.as_deref(), &self.assignments)
    }

    /// The same over other defaults than those of the type.
    fn load_over<C: serde::de::DeserializeOwned>(&self, defaults: toml::Table) -> Result<C> {
        crate::config::load_over(defaults, self.config.as_deref(), &self.assignments)
    }
}

/// Processor threads to use where the user names none: one for each core.
fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A signal that turns true at the first Ctrl-C or `SIGTERM`; a second one ends the program at once.
///
/// A limit on the size of files (`ulimit -f`) becomes an error of whoever writes: without somebody
/// who listens, its signal would end the program without a word.
fn stop_on_interrupt() -> Result<watch::Receiver<bool>> {
    let (set, stop) = watch::channel(false);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot wait for Ctrl-C")?;
    let inside = runtime.enter();
    let listen = |kind| signal(kind).context("cannot wait for signals");
    let mut terminate = listen(SignalKind::terminate())?;
    let too_large = listen(SignalKind::from_raw(libc::SIGXFSZ))?;
    drop(inside);
    std::thread::spawn(move || {
        runtime.block_on(async {
            let _heard = too_large;
            let mut told = async || {
                tokio::select! {
                    pressed = tokio::signal::ctrl_c() => pressed.is_ok(),
                    _ = terminate.recv() => true,
                }
            };
            if told().await {
                tracing::warn!("stopping; press Ctrl-C again to end at once");
                // The receiver is gone only when the work is done.
                let _ = set.send(true);
            }
            if told().await {
                std::process::exit(130);
            }
        });
    });
    Ok(stop)
}
