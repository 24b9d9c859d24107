//! `url`: references resolved and `data:` URLs read, with the types and calls that the crawler,
//! the aligner and the fetcher of pictures use.

use anyhow::Result;
use data_url::DataUrl;
use serde::Deserialize;
use url::{Position, Url};

use crate::cases::Directory;
use crate::report::{Outcome, SuiteResult, same};

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
        Some(base) => Url::parse(base).and_then(|base| base.join(&row.input)),
        None => Url::parse(&row.input),
    };
    let expected = (!row.failure).then_some(row.parts);
    let wants_origin = expected.as_ref().is_some_and(|parts| parts.origin.is_some());
    let got = resolved.ok().map(|url| Parts {
        href: url.as_str().to_owned(),
        protocol: format!("{}:", url.scheme()),
        host: url[Position::BeforeHost..Position::AfterPort].to_owned(),
        port: url.port().map(|port| port.to_string()).unwrap_or_default(),
        pathname: url.path().to_owned(),
        search: non_empty("?", url.query()),
        hash: non_empty("#", url.fragment()),
        origin: wants_origin.then(|| url.origin().ascii_serialization()),
    });
    same("URL", &expected, &got)
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
