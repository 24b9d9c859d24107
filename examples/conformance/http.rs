//! `http` and `encoded`: headers and elements that say later or elsewhere, and encoded bodies.

use std::fs::File;
use std::time::Duration;

use anyhow::Result;
use m3w::crawler::{Config, FailureKind, check_url, decode_body, meta_refresh, retry_after};
use serde::Deserialize;
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc2822;
use url::Url;

use crate::cases::{Directory, FileCase, TIME_LIMIT};
use crate::report::{Mismatch, Outcome, SuiteResult, check, same};

#[derive(Deserialize)]
struct RetryAfter {
    value: String,
    now: String,
    /// Seconds, `"cap"`, or null where the value makes no sense.
    expect_wait_s: Value,
}

#[derive(Deserialize)]
struct MetaRefresh {
    content: String,
    base: String,
    /// Null where it must not be followed.
    expect_url: Option<String>,
    expect_delay: u64,
}

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    let mut result = directory.run_table("http/retry_after.jsonl", check_retry_after)?;
    result.merge(directory.run_table("http/meta_refresh.jsonl", check_meta_refresh)?);
    Ok(result)
}

pub(crate) fn run_encoded(directory: &Directory) -> Result<SuiteResult> {
    Ok(directory.run_files("encoded", TIME_LIMIT, check_encoded))
}

fn check_retry_after(row: RetryAfter) -> Outcome {
    // A date of HTTP is one of RFC 2822 but for its zone's name.
    let now = OffsetDateTime::parse(&row.now.replace("GMT", "+0000"), &Rfc2822)
        .map_err(|error| Mismatch::new("a date", error.to_string()))?;
    let wait = retry_after(&row.value, now.into());
    let longest = Duration::from_secs(Config::default().max_retry_after_s);
    match row.expect_wait_s {
        Value::Null => same("wait", &None, &wait),
        Value::String(word) if word == "cap" => check(
            wait.is_some_and(|wait| wait > longest),
            "more than is waited for",
            || format!("{wait:?}"),
        ),
        value => same("wait", &value.as_u64().map(Duration::from_secs), &wait),
    }
}

/// A target counts as not followed if it is refused as a target or by the rules on addresses.
fn check_meta_refresh(row: MetaRefresh) -> Outcome {
    let base = Url::parse(&row.base).map_err(|error| Mismatch::new("a base", error.to_string()))?;
    let refresh = meta_refresh(&row.content, &base).ok();
    if let Some(refresh) = &refresh {
        same(
            "delay",
            &Duration::from_secs(row.expect_delay),
            &refresh.delay,
        )?;
    }
    let target = refresh
        .map(|refresh| refresh.url)
        .filter(|url| check_url(url).is_ok());
    same("target", &row.expect_url, &target.map(String::from))
}

fn check_encoded(case: &FileCase) -> Outcome {
    let body =
        File::open(&case.path).map_err(|error| Mismatch::new("a file", error.to_string()))?;
    let max_bytes = Config::default().max_page_bytes;
    let decoded = decode_body(case.content_encoding.as_deref(), body, max_bytes);
    let is_as_expected = match (case.verdict.as_str(), &decoded) {
        // More than one coding is refused as such, before it can grow.
        ("reject_oversize", Err(failure)) => {
            matches!(failure.kind, FailureKind::TooLarge | FailureKind::Encoding)
        }
        ("reject_or_flag_truncated", Err(failure)) => {
            matches!(failure.kind, FailureKind::Truncated | FailureKind::Encoding)
        }
        ("reject_or_plain", Err(failure)) => failure.kind == FailureKind::Encoding,
        ("reject_or_plain", Ok(bytes)) => *bytes == case.read()?,
        ("reject_oversize" | "reject_or_flag_truncated", Ok(_)) => false,
        _ => return Err(case.unknown_verdict()),
    };
    check(is_as_expected, &case.verdict, || match &decoded {
        Ok(bytes) => format!("{} bytes", bytes.len()),
        Err(failure) => failure.to_string(),
    })
}
