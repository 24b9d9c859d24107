//! What came out, for people and scripts.

use std::fmt;
use std::io::{self, Write};

/// Characters of an expectation or a finding that are shown.
const MAX_SHOWN_CHARS: usize = 200;

/// How one case went: as it should, or otherwise.
pub(crate) type Outcome = Result<(), Mismatch>;

/// A case that did not go as it should.
#[derive(Debug)]
pub(crate) struct Mismatch {
    expected: String,
    got: String,
}

impl Mismatch {
    pub(crate) fn new(expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self {
            expected: expected.into(),
            got: got.into(),
        }
    }
}

/// Passes if both are the same.
pub(crate) fn same<T: PartialEq + fmt::Debug>(what: &str, expected: &T, got: &T) -> Outcome {
    if expected == got {
        return Ok(());
    }
    Err(Mismatch::new(
        format!("{what} {expected:?}"),
        format!("{got:?}"),
    ))
}

/// Passes if `holds`.
pub(crate) fn check(holds: bool, expected: &str, got: impl FnOnce() -> String) -> Outcome {
    if holds {
        return Ok(());
    }
    Err(Mismatch::new(expected, got()))
}

/// The cases of one suite.
#[derive(Debug, Default)]
pub(crate) struct SuiteResult {
    passed: usize,
    failures: Vec<(String, Mismatch)>,
}

impl SuiteResult {
    pub(crate) fn add(&mut self, id: String, outcome: Outcome) {
        match outcome {
            Ok(()) => self.passed += 1,
            Err(mismatch) => self.failures.push((id, mismatch)),
        }
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.passed += other.passed;
        self.failures.extend(other.failures);
    }

    fn total(&self) -> usize {
        self.passed + self.failures.len()
    }
}

/// Writes the lines and adds up.
pub(crate) struct Report {
    out: io::StdoutLock<'static>,
    passed: usize,
    total: usize,
}

impl Report {
    pub(crate) fn new(out: io::StdoutLock<'static>) -> Self {
        Self {
            out,
            passed: 0,
            total: 0,
        }
    }

    pub(crate) fn suite(&mut self, name: &str, result: &SuiteResult) -> io::Result<()> {
        self.passed += result.passed;
        self.total += result.total();
        writeln!(self.out, "{name} {}/{}", result.passed, result.total())?;
        for (id, mismatch) in &result.failures {
            let expected = one_line(&mismatch.expected);
            let got = one_line(&mismatch.got);
            writeln!(self.out, "  {id}: expected {expected}; got {got}")?;
        }
        self.out.flush()
    }

    pub(crate) fn finish(&mut self) -> io::Result<()> {
        writeln!(self.out, "conformance {}/{}", self.passed, self.total)?;
        self.out.flush()
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.passed == self.total
    }
}

fn one_line(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .take(MAX_SHOWN_CHARS)
        .flat_map(|c| {
            let escaped = c.is_control().then(|| c.escape_default());
            let plain = escaped.is_none().then_some(c);
            escaped.into_iter().flatten().chain(plain)
        })
        .collect();
    if text.chars().nth(MAX_SHOWN_CHARS).is_some() {
        shown.push_str(" ...");
    }
    shown
}
