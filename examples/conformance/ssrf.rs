//! `ssrf/urls`: which URLs may be asked.

use anyhow::Result;
use m3w::crawler::{FailureKind, check_url, normalise};
use serde::Deserialize;

use crate::cases::Directory;
use crate::report::{Mismatch, Outcome, SuiteResult, check as holds};

#[derive(Deserialize)]
struct Row {
    url: String,
    verdict: String,
}

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    directory.run_table("ssrf/urls.jsonl", check)
}

fn check(row: Row) -> Outcome {
    let checked = normalise(&row.url).and_then(|url| check_url(&url).map(|()| url));
    let shown = || match &checked {
        Ok(url) => format!("allowed as {url}"),
        Err(failure) => failure.to_string(),
    };
    let is_as_expected = match row.verdict.as_str() {
        "block" => checked.is_err(),
        "allow" => checked.is_ok(),
        "parse_error" => matches!(&checked, Err(failure) if failure.kind == FailureKind::BadUrl),
        // `crate::address` documents the ports that are closed.
        "block_or_documented" => true,
        "reject_or_strip" => checked.as_ref().map_or(true, |url| {
            url.username().is_empty() && url.password().is_none()
        }),
        "allow_as_host" => checked
            .as_ref()
            .is_ok_and(|url| Some(url.authority()) == host_part(&row.url)),
        verdict => {
            return Err(Mismatch::new(
                "a verdict known here",
                format!("`{verdict}`"),
            ));
        }
    };
    holds(is_as_expected, &row.verdict, shown)
}

/// What stands in a URL between the credentials and the path.
fn host_part(url: &str) -> Option<&str> {
    let (_, rest) = url.split_once("://")?;
    let authority = rest.split(['/', '?', '#']).next()?;
    authority.rsplit('@').next()
}
