//! Progress for people: a live line on a terminal, a plain line now and then elsewhere.

use std::io::{IsTerminal, stderr};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{HumanDuration, ProgressBar, ProgressStyle};

/// Time between two plain lines.
const PLAIN_INTERVAL: Duration = Duration::from_secs(10);

/// Counts steps towards a known total and shows rate and remaining time on standard error.
pub struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    total: u64,
    state: Mutex<Plain>,
    is_quiet: bool,
}

struct Plain {
    began: Instant,
    last_line: Instant,
    done: u64,
    done_before: u64,
}

impl Progress {
    /// Progress through `total` of `what` (a plural: "pages"), of which `done` are done.
    #[must_use]
    pub fn new(what: &'static str, done: u64, total: u64, is_quiet: bool) -> Self {
        let bar = (!is_quiet && stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(total).with_position(done);
            let template =
                format!("{{bar:30}} {{pos}}/{{len}} {what}, {{per_sec}}, {{eta}} left {{msg}}");
            if let Ok(style) = ProgressStyle::with_template(&template) {
                bar.set_style(style);
            }
            bar.reset_eta();
            bar
        });
        let now = Instant::now();
        Self {
            what,
            bar,
            total,
            state: Mutex::new(Plain {
                began: now,
                last_line: now,
                done,
                done_before: done,
            }),
            is_quiet,
        }
    }

    /// Counts one more; `message` makes the rest of the line when one is shown.
    pub fn step(&self, message: impl FnOnce() -> String) {
        let Ok(mut state) = self.state.lock() else {
            return;
        };
        state.done += 1;
        if let Some(bar) = &self.bar {
            bar.inc(1);
            bar.set_message(message());
            return;
        }
        if !self.is_quiet && state.last_line.elapsed() >= PLAIN_INTERVAL {
            state.last_line = Instant::now();
            let elapsed = state.began.elapsed();
            #[expect(clippy::cast_precision_loss, reason = "a rate to be read by people")]
            let rate = (state.done - state.done_before) as f64 / elapsed.as_secs_f64();
            #[expect(
                clippy::cast_precision_loss,
                reason = "a duration to be read by people"
            )]
            let left = self.total.saturating_sub(state.done) as f64 / rate.max(1e-9);
            let left = Duration::try_from_secs_f64(left).unwrap_or(Duration::MAX);
            tracing::info!(
                "{}/{} {}, {rate:.1} a second, {} left {}",
                state.done,
                self.total,
                self.what,
                HumanDuration(left),
                message()
            );
        }
    }

    /// Ends the live line.
    pub fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
