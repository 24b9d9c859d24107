//! `ssrf/dns`: which of a resolver's answers may be connected to.

use std::collections::VecDeque;
use std::io;
use std::net::IpAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Result;
use m3w::crawler::{
    CheckedResolver, Config, Crawler, FailureKind, LookUp, LookingUp, is_public_address,
};
use serde::Deserialize;
use url::Url;

use crate::cases::Directory;
use crate::report::{Mismatch, Outcome, SuiteResult, check as holds, same};

#[derive(Deserialize)]
struct Row {
    /// A name, or `first -> 302 http://second/`.
    host: String,
    answers_in_order: Vec<Vec<IpAddr>>,
    verdict: String,
}

/// Gives the answers one after the other, the last one for ever, and counts the questions.
struct Scripted {
    answers: Mutex<VecDeque<Vec<IpAddr>>>,
    questions: AtomicUsize,
}

impl LookUp for Scripted {
    fn look_up(&self, _: &str) -> LookingUp {
        self.questions.fetch_add(1, Ordering::Relaxed);
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = match answers.len() {
            0 | 1 => answers.front().cloned(),
            _ => answers.pop_front(),
        };
        Box::pin(async move { answer.ok_or(io::Error::other("no such name")) })
    }
}

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    directory.run_table("ssrf/dns.jsonl", check)
}

fn check(row: Row) -> Outcome {
    let script = Arc::new(Scripted {
        answers: Mutex::new(row.answers_in_order.iter().cloned().collect()),
        questions: AtomicUsize::new(0),
    });
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Mismatch::new("a runtime", error.to_string()))?;
    let hops: Vec<&str> = row.host.split(" -> 302 http://").collect();
    let names: Vec<&str> = hops.iter().map(|hop| hop.trim_end_matches('/')).collect();
    let resolver = CheckedResolver::new(&Config::default(), Arc::clone(&script) as _);
    let mut permitted = Vec::new();
    let mut last = Ok(());
    // Each name twice: what was checked is what is connected to, later as well.
    for name in names.iter().flat_map(|name| [name, name]) {
        last = match runtime.block_on(resolver.addresses(name)) {
            Ok(addresses) => {
                permitted.extend_from_slice(&addresses);
                Ok(())
            }
            Err(failure) => Err(failure.kind),
        };
    }
    let shown = || format!("{permitted:?}, then {last:?}");
    holds(
        permitted.iter().all(|address| is_public_address(*address)),
        "public addresses only",
        shown,
    )?;
    same(
        "questions",
        &names.len(),
        &script.questions.load(Ordering::Relaxed),
    )?;
    if row.verdict.starts_with("block") {
        same("last answer", &Err(FailureKind::PrivateAddress), &last)?;
        return runtime.block_on(refused_without_a_request(names[names.len() - 1], script));
    }
    let expected: Vec<IpAddr> = match row.verdict.strip_prefix("connect only to ") {
        Some(address) => address.parse().into_iter().collect(),
        None => match row.verdict.strip_prefix("never connect to ") {
            Some(_) => return holds(last.is_ok(), &row.verdict, shown),
            None => return Err(Mismatch::new("a verdict known here", row.verdict)),
        },
    };
    holds(
        permitted.iter().all(|address| expected.contains(address)),
        &row.verdict,
        shown,
    )
}

/// The crawler comes to the same end before it asks for anything, `robots.txt` included.
async fn refused_without_a_request(name: &str, script: Arc<Scripted>) -> Outcome {
    let failed = |error: String| Mismatch::new("a crawler", error);
    let crawler = Crawler::with_look_up(Config::default(), script)
        .map_err(|error| failed(error.to_string()))?;
    let url = Url::parse(&format!("http://{name}/")).map_err(|error| failed(error.to_string()))?;
    let fetched = crawler.fetch_page(&url).await;
    same(
        "page",
        &Some(FailureKind::PrivateAddress),
        &fetched.err().map(|failure| failure.kind),
    )?;
    same("bytes", &0, &crawler.stats().bytes)
}
