//! The `m3w` program.

use std::io::ErrorKind;
use std::process::ExitCode;

use clap::Parser;
use m3w::build::Stopped;
use m3w::cmd::Cli;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tracing_subscriber::EnvFilter;

/// Exit code of a program ended by Ctrl-C, as shells expect it.
const EXIT_INTERRUPTED: u8 = 130;

fn main() -> ExitCode {
    // SAFETY: no other thread runs yet.
    unsafe { m3w::model::leave_cores_to_layers() };
    let cli = Cli::parse();
    let filter = EnvFilter::try_from_env("M3W_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .init();
    raise_file_limit();
    match cli.run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.is::<Stopped>() => {
            tracing::warn!("{error}");
            ExitCode::from(EXIT_INTERRUPTED)
        }
        // Whoever read the output has read enough, as in `m3w describe ... | head`.
        Err(error) if is_closed_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("{}", told(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error and its causes in one line. Some of our errors tell their cause themselves; it is not
/// told twice.
fn told(error: &anyhow::Error) -> String {
    let mut text = error.to_string();
    for cause in error.chain().skip(1).map(ToString::to_string) {
        if !text.ends_with(&cause) {
            text = format!("{text}: {cause}");
        }
    }
    text
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        let cause = cause.downcast_ref::<std::io::Error>();
        cause.is_some_and(|cause| cause.kind() == ErrorKind::BrokenPipe)
    })
}

/// A crawl keeps thousands of connections; many systems grant a thousand files at first and more to
/// those who ask. Refused, the crawl keeps fewer.
fn raise_file_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let _ = setrlimit(Resource::Nofile, raised);
}
