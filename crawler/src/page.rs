//! What the crawler hands on.

use bytes::Bytes;
use url::Url;

use crate::consent::{Decision, Policy, Signal, decide_by, from_metas};
use crate::meta::Meta;
use crate::{Failure, FailureKind, PRODUCT_TOKEN};

/// One page, which we were allowed to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// The URL that was asked for.
    pub url: Url,
    /// The URL that answered, after redirects.
    pub final_url: Url,
    /// When: seconds since 1970-01-01T00:00:00Z.
    pub fetched_at: i64,
    /// The page in UTF-8.
    pub html: String,
    /// The encoding it was in, by its WHATWG name.
    pub charset: &'static str,
    /// The statements on reuse that came with it.
    pub consent: Vec<Signal>,
    /// Whether those leave us its images.
    pub images_allowed: bool,
    /// Whether its end is missing. Only pages from WARC files come so.
    pub is_truncated: bool,
    /// Where its record stands, if it comes from a WARC file.
    pub warc: Option<RecordLocation>,
}

/// An image's bytes as they came, content coding undone. Nobody has looked into them yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body {
    /// The URL that answered, after redirects.
    pub final_url: Url,
    /// The bytes.
    pub bytes: Bytes,
    /// The `Content-Type` header, which is a claim.
    pub content_type: Option<String>,
    /// The statements on reuse that came with it.
    pub consent: Vec<Signal>,
    /// When the answer came, in seconds since 1970.
    pub fetched_at: i64,
}

/// Place of a record in a WARC file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecordLocation {
    /// The file's name, without folders.
    pub file: String,
    /// Offset of the record's first byte (of its gzip member or zstd frame, in a compressed file).
    pub offset: u64,
    /// Length in bytes on disk.
    pub length: u64,
}

/// The type and subtype of a `Content-Type`, lower case, without parameters.
pub(crate) fn media_type(content_type: &str) -> String {
    content_type
        .split(';')
        .next()
        .unwrap_or_default()
        .trim()
        .to_ascii_lowercase()
}

/// Whether an answer of that `Content-Type` can be a page; `None` if its bytes must tell.
pub(crate) fn is_html_type(content_type: Option<&str>) -> Option<bool> {
    match media_type(content_type?).as_str() {
        "" => None,
        "text/html" | "application/xhtml+xml" => Some(true),
        _ => Some(false),
    }
}

/// Whether bytes without a declared type are HTML: MIME Sniffing standard, 7.1.
pub(crate) fn looks_like_html(bytes: &[u8]) -> bool {
    const TAGS: [&[u8]; 16] = [
        b"<!DOCTYPE HTML",
        b"<HTML",
        b"<HEAD",
        b"<SCRIPT",
        b"<IFRAME",
        b"<H1",
        b"<DIV",
        b"<FONT",
        b"<TABLE",
        b"<A",
        b"<STYLE",
        b"<TITLE",
        b"<B",
        b"<BODY",
        b"<BR",
        b"<P",
    ];
    let bytes = bytes
        .strip_prefix(b"\xef\xbb\xbf")
        .unwrap_or(bytes)
        .trim_ascii_start();
    bytes.starts_with(b"<!--")
        || TAGS.iter().any(|tag| {
            bytes.len() > tag.len()
                && bytes[..tag.len()].eq_ignore_ascii_case(tag)
                && matches!(bytes[tag.len()], b' ' | b'>' | b'\t' | b'\n' | b'\r')
        })
}

/// Whether bytes are a picture, a document or an archive, whatever type was declared: their first
/// bytes are a signature that no HTML begins with.
pub(crate) fn is_binary(bytes: &[u8]) -> bool {
    const SIGNATURES: [&[u8]; 8] = [
        b"\x89PNG\r\n\x1a\n",
        b"\xff\xd8\xff",
        b"GIF87a",
        b"GIF89a",
        b"RIFF",
        b"%PDF-",
        b"PK\x03\x04",
        b"\x1f\x8b\x08",
    ];
    SIGNATURES
        .iter()
        .any(|signature| bytes.starts_with(signature))
}

/// What the signals of an answer's headers leave of a page.
pub(crate) fn check_page_consent(policy: Policy, signals: &[Signal]) -> Result<Decision, Failure> {
    let decision = decide_by(policy, signals, PRODUCT_TOKEN);
    if decision.page_allowed {
        return Ok(decision);
    }
    Err(opted_out(signals))
}

/// An image is dropped by either kind of statement on its own answer.
pub(crate) fn check_image_consent(policy: Policy, signals: &[Signal]) -> Result<(), Failure> {
    let decision = decide_by(policy, signals, PRODUCT_TOKEN);
    if decision.page_allowed && decision.images_allowed {
        return Ok(());
    }
    Err(opted_out(signals))
}

fn opted_out(signals: &[Signal]) -> Failure {
    let seen: Vec<String> = signals
        .iter()
        .map(|signal| format!("{}: {}", signal.channel, signal.value))
        .collect();
    Failure::new(FailureKind::Consent, seen.join("; "))
}

/// Adds the signals of a page's own `<meta>` elements to those of its headers and decides.
pub(crate) fn settle_consent(
    policy: Policy,
    mut signals: Vec<Signal>,
    metas: &[Meta],
) -> Result<(Vec<Signal>, Decision), Failure> {
    signals.extend(from_metas(metas));
    let decision = check_page_consent(policy, &signals)?;
    Ok((signals, decision))
}
