//! Runs suites of awkward input against the crates and says what falls short.
//!
//! ```text
//! cargo run --release --example conformance -- DIR [SUITE...]
//! ```
//!
//! `DIR` holds a folder for each suite. Its cases stand in tables (`*.jsonl`, one case a line with
//! what it expects) or are files which `DIR/manifest.jsonl` lists with a verdict. Every suite that
//! is known and there is run, or only those named: `robots`, or `ssrf/urls` for a part of one.
//!
//! stdout has one line for each suite, `NAME passed/total`, below it one for each case that fails,
//! and at last `conformance passed/total` over all.
//!
//! `faults` runs the program `m3w` that was built beside this one, a few hundred times: it takes
//! minutes.
//!
//! A case also fails if it panics, overflows 2 MiB of stack (which ends the program) or takes more
//! than ten seconds (five for a picture or a Parquet file). The caps on memory belong to the code
//! under test; to see that they hold, run this below `ulimit -v`.
//!
//! Exit codes: 0 if every case of the suites that were run passes, 1 if one fails, 2 if `DIR` or a
//! suite cannot be found or read.

mod cases;
mod dns;
mod encoding;
mod faults;
mod faults_build;
mod faults_train;
mod html;
mod http;
mod images;
mod lists;
mod loopback;
mod mime;
mod parquet;
mod psl;
mod report;
mod robots;
mod robots_fetch;
mod signals;
mod srcset;
mod ssrf;
mod tar;
mod tokenizer;
mod url;
mod warc;
mod weights;

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};

use crate::cases::Directory;
use crate::report::{Report, SuiteResult};

/// A suite: its name, where its cases stand, and the check if there is one.
struct Suite {
    /// The folder, or a part of what is in it.
    name: &'static str,
    /// A table or a folder of `DIR`; where it is missing, there is no such suite.
    place: &'static str,
    run: fn(&Directory) -> Result<SuiteResult>,
}

/// All suites that are known, in the order of a page's way through the crates.
const SUITES: [Suite; 23] = [
    built("robots", "robots", robots::run),
    built("url", "url", url::run),
    built("ssrf/urls", "ssrf/urls.jsonl", ssrf::run),
    built("ssrf/dns", "ssrf/dns.jsonl", dns::run),
    built("psl", "psl", psl::run),
    built("http", "http", http::run),
    built("encoded", "encoded", http::run_encoded),
    built("mime", "mime", mime::run),
    built("encoding", "encoding", encoding::run),
    built("signals/answers", "signals/optout.jsonl", signals::run),
    built("signals/files", "signals/optout.jsonl", signals::run_files),
    built("lists", "lists", lists::run),
    built("warc/records", "warc", warc::run),
    built("warc/digests", "warc", warc::run_digests),
    built("html", "html", html::run),
    built("srcset", "srcset", srcset::run),
    built("images", "images", images::run),
    built("tar", "tar", tar::run),
    built("parquet", "parquet", parquet::run),
    built("tokenizer", "tokenizer", tokenizer::run),
    built("safetensors", "safetensors", weights::run),
    built("checkpoint", "checkpoint", weights::run_checkpoint),
    built("faults", "faults", faults::run),
];

const fn built(
    name: &'static str,
    place: &'static str,
    run: fn(&Directory) -> Result<SuiteResult>,
) -> Suite {
    Suite { name, place, run }
}

impl Suite {
    /// Whether `word` names this suite or the folder that it is a part of.
    fn is_named(&self, word: &str) -> bool {
        let word = word.trim_end_matches('/');
        self.name == word || self.name.split('/').next() == Some(word)
    }
}

fn main() -> ExitCode {
    match run() {
        Ok(report) if report.is_clean() => ExitCode::SUCCESS,
        Ok(_) => ExitCode::from(1),
        Err(error) => {
            // Nobody is left to tell if stderr is closed.
            let _ = writeln!(io::stderr(), "conformance: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn run() -> Result<Report> {
    let mut arguments = std::env::args().skip(1);
    let directory = arguments
        .next()
        .map(PathBuf::from)
        .context("name the directory of the suites: conformance DIR [SUITE...]")?;
    let words: Vec<String> = arguments.collect();
    let directory = Directory::open(&directory)?;
    let chosen = choose(&words, &directory)?;
    // A panic is an outcome of a case here, told in its line.
    std::panic::set_hook(Box::new(|_| {}));
    let mut report = Report::new(io::stdout().lock());
    for suite in chosen {
        report.suite(suite.name, &(suite.run)(&directory)?)?;
    }
    report.finish()?;
    Ok(report)
}

/// The suites that are there and wanted.
fn choose(words: &[String], directory: &Directory) -> Result<Vec<&'static Suite>> {
    let present: Vec<&Suite> = SUITES
        .iter()
        .filter(|suite| directory.path(suite.place).exists())
        .collect();
    if present.is_empty() {
        bail!(
            "{} holds none of the suites known here",
            directory.path("").display()
        );
    }
    for word in words {
        if !SUITES.iter().any(|suite| suite.is_named(word)) {
            let names: Vec<&str> = SUITES.iter().map(|suite| suite.name).collect();
            bail!(
                "no suite is called `{word}`; there are {}",
                names.join(", ")
            );
        }
        if !present.iter().any(|suite| suite.is_named(word)) {
            bail!(
                "{} holds no cases of `{word}`",
                directory.path("").display()
            );
        }
    }
    Ok(present
        .into_iter()
        .filter(|suite| words.is_empty() || words.iter().any(|word| suite.is_named(word)))
        .collect())
}
