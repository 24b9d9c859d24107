//! `url`: references resolved and `data:` URLs read, by the calls that the crawler, the aligner and
//! the fetcher of pictures use.
//!
//! The project works with `http` and `https` only. References that lead there have to be resolved
//! to the part; any other (also one that is no URL at all) has to be refused, and what its parts
//! would have been is not looked at.

use anyhow::Result;
use data_url::DataUrl;
use m3w::crawler::normalise;
use m3w::dom_align::resolve;
use serde::Deserialize;
use url::{Position, Url};

use crate::cases::Directory;
use crate::report::{Outcome, SuiteResult, check, same};

#[derive(Deserialize)]
struct Resolve {
    input: String,
    base: Option<String>,
    #[serde(default)]
    failure: bool,
    #[serde(flatten)]
    parts: Parts,
}

/// The parts of a URL, named as in the URL standard's API.
#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Parts {
    href: String,
    protocol: String,
    host: String,
    port: String,
    pathname: String,
    search: String,
    hash: String,
    /// Not stated in every row.
    origin: Option<String>,
}

#[derive(Deserialize)]
struct Data {
    input: String,
    mime: Option<String>,
    #[serde(default)]
    failure: bool,
    #[serde(default)]
    body_bytes: Vec<u8>,
}

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    let mut result = directory.run_table("url/resolve.jsonl", check_resolve)?;
    result.merge(directory.run_table("url/data_urls.jsonl", check_data)?);
    Ok(result)
}

fn check_resolve(row: Resolve) -> Outcome {
    let resolved = match &row.base {
        Some(base) => Url::parse(base)
            .ok()
            .and_then(|base| resolve(&base, &row.input)),
        None => Url::parse(&row.input).ok(),
    };
    let normalised = match (&row.base, &resolved) {
        (None, _) => normalise(&row.input).ok(),
        (Some(_), Some(url)) => normalise(url.as_str()).ok(),
        (Some(_), None) => None,
    };
    if row.failure || !matches!(row.parts.protocol.as_str(), "http:" | "https:") {
        return check(normalised.is_none(), "no URL of the web", || {
            format!("{normalised:?}")
        });
    }
    let wants_origin = row.parts.origin.is_some();
    let got = resolved.map(|url| parts(&url, wants_origin));
    same("URL", &Some(&row.parts), &got.as_ref())?;
    // Credentials and fragment are not sent; all else is what was resolved.
    let asked_for = normalised.map(|url| parts(&url, wants_origin));
    let expected = Url::parse(&row.parts.href).ok().map(|mut url| {
        url.set_fragment(None);
        let rest = &url[Position::BeforeHost..];
        Parts {
            href: format!("{}//{rest}", row.parts.protocol),
            hash: String::new(),
            ..row.parts
        }
    });
    same("URL to ask for", &expected, &asked_for)
}

fn parts(url: &Url, wants_origin: bool) -> Parts {
    Parts {
        href: url.as_str().to_owned(),
        protocol: format!("{}:", url.scheme()),
        host: url[Position::BeforeHost..Position::AfterPort].to_owned(),
        port: url.port().map(|port| port.to_string()).unwrap_or_default(),
        pathname: url.path().to_owned(),
        search: non_empty("?", url.query()),
        hash: non_empty("#", url.fragment()),
        origin: wants_origin.then(|| url.origin().ascii_serialization()),
    }
}

/// The API shows an empty query or fragment as if there were none.
fn non_empty(mark: &str, part: Option<&str>) -> String {
    match part {
        None | Some("") => String::new(),
        Some(part) => format!("{mark}{part}"),
    }
}

fn check_data(row: Data) -> Outcome {
    // A reference on a page is parsed as a URL before its content is read.
    let url = Url::parse(&row.input).ok();
    let read = url.as_ref().and_then(|url| {
        let data = DataUrl::process(url.as_str()).ok()?;
        let mime = data.mime_type().to_string();
        let (body, _) = data.decode_to_vec().ok()?;
        Some((mime, body))
    });
    let expected = (!row.failure).then(|| (row.mime.unwrap_or_default(), row.body_bytes));
    same("type and bytes", &expected, &read)
}
