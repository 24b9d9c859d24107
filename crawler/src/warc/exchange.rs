//! A request and what came back, as the two messages that WARC records hold.

use bytes::Bytes;
use reqwest::header::HeaderMap;
use url::Url;

/// Headers that a reconstructed message cannot keep under their own name: the body that is stored
/// has no chunks any more. The prefix is Common Crawl's.
const CHUNKING: &str = "transfer-encoding";
const CHUNKING_KEPT: &str = "X-Crawl-Transfer-Encoding";

/// A request and what came back.
pub(crate) struct Exchange {
    pub(crate) url: Url,
    /// Header of the request, without `Host`.
    pub(crate) request_headers: Vec<(String, String)>,
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) is_http2: bool,
    pub(crate) address: Option<std::net::SocketAddr>,
    /// Body without chunks, content coding as it came.
    pub(crate) body: Bytes,
    /// Unix seconds.
    pub(crate) received_at: i64,
    /// Why the end of the body is not here, in the words of WARC 1.1, 5.13.
    pub(crate) truncated: Option<&'static str>,
    /// When the earlier answer came that this one confirms, if it is a 304 that was asked for.
    pub(crate) confirms: Option<i64>,
}

impl Exchange {
    /// The request, which has no body.
    pub(super) fn request(&self) -> Vec<u8> {
        let url = &self.url;
        let query = url
            .query()
            .map_or_else(String::new, |query| format!("?{query}"));
        let port = url
            .port()
            .map_or_else(String::new, |port| format!(":{port}"));
        let host = url.host_str().unwrap_or_default();
        let path = url.path();
        let mut text = format!("GET {path}{query} HTTP/1.1\r\nHost: {host}{port}\r\n");
        for (name, value) in &self.request_headers {
            text.push_str(name);
            text.push_str(": ");
            text.push_str(value);
            text.push_str("\r\n");
        }
        text.push_str("\r\n");
        text.into_bytes()
    }

    /// The answer up to its body.
    pub(super) fn response_head(&self) -> Vec<u8> {
        let phrase = reqwest::StatusCode::from_u16(self.status)
            .ok()
            .and_then(|status| status.canonical_reason())
            .unwrap_or("Answer");
        let mut head = format!("HTTP/1.1 {} {phrase}\r\n", self.status).into_bytes();
        for (name, value) in &self.headers {
            let name = match name.as_str() {
                CHUNKING => CHUNKING_KEPT,
                name => name,
            };
            head.extend_from_slice(name.as_bytes());
            head.extend_from_slice(b": ");
            head.extend_from_slice(value.as_bytes());
            head.extend_from_slice(b"\r\n");
        }
        head.extend_from_slice(b"\r\n");
        head
    }
}
