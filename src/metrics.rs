//! How a build is getting on, for people and for machines: a line of progress, a JSON file, and
//! text for Prometheus.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use m3w_crawler::{Crawler, Stats};
use m3w_document::Tally;
use m3w_shards::write_atomically;
use serde::Serialize;

use crate::journal::Outcome;
use crate::unit::Unit;

/// Time between two writes of the file.
const FILE_INTERVAL: Duration = Duration::from_secs(5);
/// How long somebody who connects may take to ask.
const ASKING_TIMEOUT: Duration = Duration::from_secs(2);
/// Longest question that is read.
const MAX_QUESTION_BYTES: u64 = 8 << 10;

/// Counts outcomes as they come. Cheap to clone.
#[derive(Clone)]
pub struct Metrics(Arc<Inner>);

struct Inner {
    crawler: Crawler,
    began: Instant,
    total: u64,
    done_before: u64,
    file: Option<PathBuf>,
    state: Mutex<State>,
}

struct State {
    pages: u64,
    images: u64,
    without_document: u64,
    tally: Tally,
    last_written: Option<Instant>,
}

/// One look at a build. Counts and rates are those of this call, not of the calls before it that
/// were interrupted.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Snapshot {
    /// Seconds since the build began or went on.
    pub elapsed_s: f64,
    /// Inputs of the build.
    pub pages_total: u64,
    /// Inputs that have an outcome, those of earlier calls included.
    pub pages_done: u64,
    /// Inputs that have none yet.
    pub queue: u64,
    /// Inputs that got their outcome, per second.
    pub pages_per_s: f64,
    /// Images that were judged, per second.
    pub images_per_s: f64,
    /// Body bytes received, in MB per second.
    pub mb_per_s: f64,
    /// Requests sent.
    pub requests: u64,
    /// Body bytes received.
    pub bytes: u64,
    /// Hosts with a request under way or waiting.
    pub active_hosts: usize,
    /// Answers that an earlier crawl had and the server confirmed.
    pub unchanged: u64,
    /// Requests that may be in flight at present.
    pub places: usize,
    /// Inputs without a document.
    pub errors: u64,
    /// Seconds that the rest takes at this rate; nothing before the first outcome.
    pub eta_s: Option<f64>,
    /// Counts by kind and reason: `page/kept`, `image/fetch/timeout`.
    pub counts: Tally,
}

impl Metrics {
    /// Nothing has been counted yet, and `done_before` of `total` inputs were done before.
    #[must_use]
    pub fn new(crawler: Crawler, done_before: u64, total: u64, file: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            crawler,
            began: Instant::now(),
            total,
            done_before,
            file,
            state: Mutex::new(State {
                pages: 0,
                images: 0,
                without_document: 0,
                tally: Tally::default(),
                last_written: None,
            }),
        }))
    }

    /// Counts an outcome, and writes the file now and then.
    ///
    /// # Errors
    ///
    /// If the file cannot be written.
    pub fn add(&self, unit: Unit, outcome: &Outcome) -> Result<()> {
        let is_due = {
            let mut state = self.lock();
            state.pages += 1;
            let kept = outcome.document.as_ref();
            let kept = kept.map_or(0, |document| document.images().count());
            state.images += (kept + outcome.images_dropped.len()) as u64;
            outcome.count(unit, &mut state.tally);
            state.without_document += u64::from(outcome.document.is_none());
            let written = state.last_written;
            let is_due = written.is_none_or(|written| written.elapsed() >= FILE_INTERVAL);
            if is_due {
                state.last_written = Some(Instant::now());
            }
            is_due
        };
        if is_due { self.write() } else { Ok(()) }
    }

    /// Writes the file, if there is one.
    ///
    /// # Errors
    ///
    /// If it cannot be written.
    pub fn write(&self) -> Result<()> {
        let Some(path) = &self.0.file else {
            return Ok(());
        };
        let mut text =
            serde_json::to_vec_pretty(&self.snapshot()).context("cannot describe the metrics")?;
        text.push(b'\n');
        Ok(write_atomically(path, &text)?)
    }

    /// How things stand.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "rates to be read by people")]
    pub fn snapshot(&self) -> Snapshot {
        let Stats {
            requests,
            bytes,
            active_hosts,
            unchanged,
            places,
        } = self.0.crawler.stats();
        let state = self.lock();
        let elapsed_s = self.0.began.elapsed().as_secs_f64();
        let rate = |count: u64| count as f64 / elapsed_s.max(1e-9);
        let pages_done = self.0.done_before + state.pages;
        let queue = self.0.total.saturating_sub(pages_done);
        let pages_per_s = rate(state.pages);
        Snapshot {
            elapsed_s,
            pages_total: self.0.total,
            pages_done,
            queue,
            pages_per_s,
            images_per_s: rate(state.images),
            mb_per_s: rate(bytes) / 1e6,
            requests,
            bytes,
            active_hosts,
            unchanged,
            places,
            errors: state.without_document,
            eta_s: (state.pages > 0).then(|| queue as f64 / pages_per_s),
            counts: state.tally.clone(),
        }
    }

    /// The end of a line of progress.
    #[must_use]
    pub fn line(&self) -> String {
        let now = self.snapshot();
        format!(
            "{:.1} images/s, {:.2} MB/s, {} hosts, {} without a document",
            now.images_per_s, now.mb_per_s, now.active_hosts, now.errors
        )
    }

    /// Answers each connection to `address` with the metrics in Prometheus' text format, until the
    /// program ends. One question is answered at a time, and none may take long.
    ///
    /// # Errors
    ///
    /// If the address cannot be listened on.
    pub fn serve(&self, address: &str) -> Result<()> {
        let listener = TcpListener::bind(address).with_context(|| {
            format!("cannot listen on {address} for --prometheus: give a free HOST:PORT")
        })?;
        let metrics = self.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // Who hangs up early asks again.
                let _ = answer(stream, &metrics.snapshot());
            }
        });
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn answer(stream: TcpStream, snapshot: &Snapshot) -> std::io::Result<()> {
    stream.set_read_timeout(Some(ASKING_TIMEOUT))?;
    stream.set_write_timeout(Some(ASKING_TIMEOUT))?;
    let mut question = BufReader::new((&stream).take(MAX_QUESTION_BYTES));
    let mut line = String::new();
    while question.read_line(&mut line)? > 2 {
        line.clear();
    }
    let body = snapshot.prometheus();
    let head = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n",
        body.len()
    );
    (&stream).write_all(head.as_bytes())?;
    (&stream).write_all(body.as_bytes())
}

impl Snapshot {
    /// The same in Prometheus' text format.
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        for (name, kind, value) in [
            ("pages_total", "gauge", self.pages_total.to_string()),
            ("pages_done", "counter", self.pages_done.to_string()),
            ("requests", "counter", self.requests.to_string()),
            ("received_bytes", "counter", self.bytes.to_string()),
            ("active_hosts", "gauge", self.active_hosts.to_string()),
            ("unchanged", "counter", self.unchanged.to_string()),
            ("places", "gauge", self.places.to_string()),
        ] {
            let _ = writeln!(text, "# TYPE m3w_{name} {kind}\nm3w_{name} {value}");
        }
        let _ = writeln!(text, "# TYPE m3w_outcomes counter");
        for kind in Unit::ALL.map(Unit::step).into_iter().chain(["image"]) {
            for (name, count) in self.counts.step(kind) {
                let reason = name.split_once('/').map_or(name, |(_, reason)| reason);
                // Reasons are our own names: no quote or line end can stand in them.
                let _ = writeln!(
                    text,
                    "m3w_outcomes{{kind=\"{kind}\",reason=\"{reason}\"}} {count}"
                );
            }
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_counted_written_and_served() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("metrics.json");
        let crawler = Crawler::new(m3w_crawler::Config::default()).unwrap();
        let metrics = Metrics::new(crawler, 2, 10, Some(file.clone()));
        let mut outcome = Outcome::of(2, "https://a.test/".to_owned());
        outcome.dropped = Some(m3w_document::Reason::new("fetch/dns"));
        metrics.add(Unit::Page, &outcome).unwrap();
        metrics.write().unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&json["pages_done"], &json["queue"]),
            (&3.into(), &7.into())
        );
        assert_eq!(json["errors"], 1);
        let text = metrics.snapshot().prometheus();
        let line = "m3w_outcomes{kind=\"page\",reason=\"fetch/dns\"} 1\n";
        assert!(text.contains(line), "{text}");
    }
}
