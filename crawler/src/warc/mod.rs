//! WARC files (1.0 and 1.1; plain, gzip or zstd) to the same [`Page`]s that a crawl gives.
//!
//! [`WarcReader`] yields the records, one at a time; [`pages`] makes of them pages and images.
//! Damage is an item of the iterator: it is reported once, what stands before and behind it is
//! read. A record whose bytes are not those of its digest is skipped and counted. Memory is bounded
//! by the caps of [`Config`], whatever a header claims; one record is held at a time.
//!
//! [`WarcWriter`] writes a crawl down as it goes, and [`Replay`] gives its answers again, to the
//! same crawler and under the same rules ([`crate::Archives::replay`]).

mod digest;
mod earlier;
mod exchange;
mod http;
mod kept;
mod member;
mod packer;
mod record;
mod replay;
mod write;

use std::fs::File;
use std::io::{Seek, SeekFrom};
use std::path::Path;

use bytes::{Buf, Bytes};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;
use url::Url;

pub use digest::DigestCheck;
pub use record::{WarcReader, WarcRecord};
pub use replay::Replay;
pub use write::WarcWriter;

pub(crate) use earlier::Earlier;
pub(crate) use exchange::Exchange;

use crate::body::decode_body_start;
use crate::config::RECORD_ROOM_BYTES;
use crate::consent::{Decision, Policy};
use crate::meta::metas;
use crate::page::{
    check_image_consent, check_page_consent, is_binary, is_html_type, looks_like_html, media_type,
    settle_consent,
};
use crate::{
    Config, Error, Failure, FailureKind, Page, RecordLocation, Signal, address, charset, consent,
};

/// What one response in a WARC file is.
#[derive(Debug, Clone, PartialEq)]
pub enum WarcItem {
    /// A page.
    Page(Page),
    /// An image, or another answer that is no page.
    Resource(Resource),
    /// A response that yields neither, and why.
    Skipped(Failure),
}

/// An answer that is no page, content coding undone.
#[derive(Debug, Clone, PartialEq)]
pub struct Resource {
    /// The URL that answered.
    pub url: Url,
    /// The `Content-Type`, which is a claim.
    pub content_type: Option<String>,
    /// The bytes.
    pub bytes: Bytes,
    /// The statements on reuse that came with it.
    pub consent: Vec<Signal>,
    /// When the answer came, in seconds since 1970.
    pub fetched_at: i64,
    /// Where its record stands, if its file tells.
    pub location: Option<RecordLocation>,
}

/// The responses of a WARC file, in order. Records of other types (requests, metadata) are passed
/// over.
///
/// # Errors
///
/// [`Error::Read`] if the file cannot be opened. Items are [`Error::Damaged`] where the file is
/// damaged, and [`Error::Read`] where the system fails; the iterator goes on after the first kind
/// if it can.
pub fn pages(
    path: &Path,
    config: &Config,
) -> Result<impl Iterator<Item = Result<WarcItem, Error>> + use<>, Error> {
    let limits = Limits::of(config);
    let records = WarcReader::open(path, limits.block())?;
    Ok(limits.items(records))
}

/// The response whose record begins at `offset`, as [`RecordLocation::offset`] gave it; `None` if
/// the file has none there.
///
/// # Errors
///
/// As [`pages`] and its items.
pub fn item_at(path: &Path, offset: u64, config: &Config) -> Result<Option<WarcItem>, Error> {
    let read = |source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let mut file = File::open(path).map_err(read)?;
    file.seek(SeekFrom::Start(offset)).map_err(read)?;
    let limits = Limits::of(config);
    let records = WarcReader::new(Box::new(file), path, limits.block())?;
    limits.items(records).next().transpose()
}

/// The response whose record these bytes are, taken from the file `name`; `None` if they are no
/// response.
///
/// # Errors
///
/// As the items of [`pages`].
pub fn item_in(bytes: Bytes, name: &Path, config: &Config) -> Result<Option<WarcItem>, Error> {
    let limits = Limits::of(config);
    let records = WarcReader::new(Box::new(bytes.reader()), name, limits.block())?;
    limits.items(records).next().transpose()
}

/// Largest bodies, after decoding, and which statements are kept to.
#[derive(Clone, Copy)]
struct Limits {
    page: usize,
    resource: usize,
    policy: Policy,
}

/// A response taken out of its record, its body still encoded.
struct Response {
    url: Url,
    content_type: Option<String>,
    content_encoding: Option<String>,
    signals: Vec<Signal>,
    body: Vec<u8>,
    is_truncated: bool,
    /// Counts where the body is whole: of one that is cut off, the cut is the reason.
    digest_failure: Option<Failure>,
    fetched_at: i64,
    location: Option<RecordLocation>,
}

impl Limits {
    fn of(config: &Config) -> Self {
        Self {
            page: config.max_page_bytes,
            resource: config.max_image_bytes,
            policy: config.consent_policy,
        }
    }

    /// Largest block of a record whose body may be within its cap.
    fn block(self) -> usize {
        self.page.max(self.resource) + RECORD_ROOM_BYTES
    }

    fn items(self, records: WarcReader) -> impl Iterator<Item = Result<WarcItem, Error>> + use<> {
        records.filter_map(move |record| match record {
            Ok(record) => self.item(record).map(Ok),
            Err(error) => Some(Err(error)),
        })
    }

    /// `None` for records that are no responses.
    fn item(self, record: WarcRecord) -> Option<WarcItem> {
        let response = match record.kind() {
            "response" => http_response(record),
            "resource" => bare_resource(record),
            "revisit" => Err(Failure::new(
                FailureKind::Revisit,
                record.header("WARC-Target-URI").unwrap_or_default(),
            )),
            _ => return None,
        };
        // Answers to what a crawler asks for its own sake are no failures, and no pages.
        if let Ok(response) = &response
            && !matches!(response.url.scheme(), "http" | "https")
        {
            return None;
        }
        let item = response.and_then(|response| self.settle(response));
        Some(item.unwrap_or_else(WarcItem::Skipped))
    }

    fn settle(self, response: Response) -> Result<WarcItem, Failure> {
        let declared = is_html_type(response.content_type.as_deref());
        match declared {
            Some(true) => self.page(response),
            None if looks_like_html(&response.body) => self.page(response),
            None => self.resource(response),
            Some(false) => {
                let content_type = response.content_type.as_deref().unwrap_or_default();
                if media_type(content_type).starts_with("image/") {
                    return self.resource(response);
                }
                Err(Failure::new(FailureKind::NotHtml, content_type))
            }
        }
    }

    fn page(self, response: Response) -> Result<WarcItem, Failure> {
        check_page_consent(self.policy, &response.signals)?;
        let (bytes, is_whole) = decoded(&response, self.page)?;
        let is_truncated = response.is_truncated || !is_whole;
        if let (false, Some(failure)) = (is_truncated, response.digest_failure) {
            return Err(failure);
        }
        if is_binary(&bytes) {
            return Err(Failure::new(FailureKind::NotHtml, response.url.as_str()));
        }
        let text = charset::decode(&bytes, response.content_type.as_deref());
        let (consent, Decision { images_allowed, .. }) =
            settle_consent(self.policy, response.signals, &metas(&text.text))?;
        Ok(WarcItem::Page(Page {
            final_url: response.url.clone(),
            url: response.url,
            fetched_at: response.fetched_at,
            html: text.text,
            charset: text.encoding,
            consent,
            images_allowed,
            is_truncated,
            warc: response.location,
        }))
    }

    fn resource(self, response: Response) -> Result<WarcItem, Failure> {
        check_image_consent(self.policy, &response.signals)?;
        let (bytes, is_whole) = decoded(&response, self.resource)?;
        // The text before the cut is still text; half a picture is none.
        if response.is_truncated || !is_whole {
            return Err(Failure::new(FailureKind::Truncated, response.url.as_str()));
        }
        if let Some(failure) = response.digest_failure {
            return Err(failure);
        }
        Ok(WarcItem::Resource(Resource {
            url: response.url,
            content_type: response.content_type,
            bytes: Bytes::from(bytes),
            consent: response.signals,
            fetched_at: response.fetched_at,
            location: response.location,
        }))
    }
}

/// The body without its content coding. Many archives store the decoded body under the header of
/// the encoded one; so a body that does not begin as its coding does is taken as it is. The claim
/// says whether the coding came to its end.
fn decoded(response: &Response, max_bytes: usize) -> Result<(Vec<u8>, bool), Failure> {
    let coding = response
        .content_encoding
        .as_deref()
        .map(|coding| coding.trim().to_ascii_lowercase());
    let is_decoded = match coding.as_deref() {
        Some("gzip" | "x-gzip") => !response.body.starts_with(&[0x1f, 0x8b]),
        Some("zstd") => !response.body.starts_with(&[0x28, 0xb5, 0x2f, 0xfd]),
        Some(_) => looks_like_html(&response.body),
        None => true,
    };
    let coding = if is_decoded { None } else { coding };
    let decoded = decode_body_start(coding.as_deref(), response.body.as_slice(), max_bytes);
    decoded.map_err(|failure| {
        Failure::new(
            failure.kind,
            format!("{}: {}", response.url, failure.detail),
        )
    })
}

fn http_response(record: WarcRecord) -> Result<Response, Failure> {
    let url = target(&record)?;
    check_whole(&record, &url)?;
    let digest_failure = check_digests(&record, &url).err();
    let is_truncated = record.is_truncated();
    let fetched_at = fetched_at(&record);
    let WarcRecord {
        block, location, ..
    } = record;
    let head = http::Head::parse(&block)
        .ok_or_else(|| Failure::new(FailureKind::BadHttp, format!("{url}: no HTTP header")))?;
    if !matches!(head.status, 200 | 203) {
        return Err(Failure::new(FailureKind::Http(head.status), url.as_str()));
    }
    let raw = &block[head.length..];
    let is_chunked = head
        .header("transfer-encoding")
        .is_some_and(|value| value.to_ascii_lowercase().contains("chunked"));
    // Archives also store the body whole under the header of the chunked one.
    let body = is_chunked.then(|| http::without_chunks(raw)).flatten();
    Ok(Response {
        content_type: head.header("content-type").map(str::to_owned),
        content_encoding: head.header("content-encoding").map(str::to_owned),
        signals: consent::from_headers(head.headers()),
        body: body.unwrap_or_else(|| raw.to_vec()),
        digest_failure,
        url,
        is_truncated,
        fetched_at,
        location,
    })
}

/// A `resource` record: the bytes without an HTTP header.
fn bare_resource(record: WarcRecord) -> Result<Response, Failure> {
    let url = target(&record)?;
    check_whole(&record, &url)?;
    Ok(Response {
        digest_failure: check_digests(&record, &url).err(),
        content_type: record.header("Content-Type").map(str::to_owned),
        content_encoding: None,
        signals: Vec::new(),
        is_truncated: record.is_truncated(),
        fetched_at: fetched_at(&record),
        body: record.block,
        location: record.location,
        url,
    })
}

fn check_whole(record: &WarcRecord, url: &Url) -> Result<(), Failure> {
    if record.is_oversize {
        let detail = format!("{url}: the record is larger than the caps on pages and images");
        return Err(Failure::new(FailureKind::TooLarge, detail));
    }
    Ok(())
}

/// Bytes that are not those which were archived are no evidence of anything.
fn check_digests(record: &WarcRecord, url: &Url) -> Result<(), Failure> {
    match record.check_digests() {
        DigestCheck::None | DigestCheck::Fits => Ok(()),
        DigestCheck::Mismatch {
            header,
            stated,
            found,
        } => {
            let detail = format!("{url}: {header} is {stated}, the bytes have {found}");
            Err(Failure::new(FailureKind::Digest, detail))
        }
    }
}

/// WARC 1.0 writers put the URL in angle brackets, and some leave spaces in it.
fn target(record: &WarcRecord) -> Result<Url, Failure> {
    let text = record.header("WARC-Target-URI").unwrap_or_default();
    let text = text.trim_start_matches('<').trim_end_matches('>');
    let url = Url::parse(text)
        .map_err(|error| Failure::new(FailureKind::BadUrl, format!("`{text}`: {error}")))?;
    match url.scheme() {
        // Tidied as the URLs of a crawl are, so that one page has one name.
        "http" | "https" => address::tidy(url),
        _ => Ok(url),
    }
}

/// `WARC-Date` in Unix seconds; 0 if it is missing or malformed.
fn fetched_at(record: &WarcRecord) -> i64 {
    record
        .header("WARC-Date")
        .and_then(|date| OffsetDateTime::parse(date, &Rfc3339).ok())
        .map_or(0, OffsetDateTime::unix_timestamp)
}
