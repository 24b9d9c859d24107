//! One request and its answer, within all deadlines and caps.

use std::net::SocketAddr;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap,
    HeaderName, TRANSFER_ENCODING,
};
use reqwest::{Response, Version, redirect};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::body::BodyDecoder;
use crate::conditions::Conditions;
use crate::consent::{Signal, from_headers};
use crate::dns::CheckedResolver;
use crate::fault::{body_failure, request_failure};
use crate::{Config, Error, Failure, FailureKind};

/// A body may be slower than the minimum rate for this long: the first packets of a far server.
const RATE_GRACE: Duration = Duration::from_secs(5);

/// Idle connections are kept for the pauses between polite requests, and not much longer.
const POOL_IDLE: Duration = Duration::from_secs(40);

/// The HTTP client under our rules: no proxy, no cookies, no referrer, no redirects of its own.
pub(crate) fn client(config: &Config, resolver: CheckedResolver) -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .user_agent(config.user_agent())
        // A proxy would resolve and connect in our stead, past the address rules.
        .no_proxy()
        // Each hop has to pass address rules, robots.txt and politeness.
        .redirect(redirect::Policy::none())
        .referer(false)
        .dns_resolver(resolver)
        .connect_timeout(Duration::from_secs(config.connect_timeout_s))
        .pool_idle_timeout(POOL_IDLE)
        .pool_max_idle_per_host(config.connections_per_host)
        .build()
        .map_err(Error::Client)
}

/// When an answer must have come how far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadlines {
    pub(crate) header: Duration,
    pub(crate) total: Duration,
    pub(crate) min_bytes_per_s: u64,
}

impl Deadlines {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            header: Duration::from_secs(config.header_timeout_s),
            total: Duration::from_secs(config.total_timeout_s),
            min_bytes_per_s: config.min_bytes_per_s,
        }
    }
}

/// An answer whose header has come.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) is_http2: bool,
    /// Who answered, if it was asked.
    pub(crate) address: Option<SocketAddr>,
    started: Instant,
    /// Unix seconds.
    pub(crate) received_at: i64,
    /// Under which conditions it was asked for.
    pub(crate) conditions: Conditions,
    body: Source,
}

/// Where an answer's body comes from.
enum Source {
    Server(Response),
    /// Kept from an earlier crawl; `None` when it was handed on.
    Archive(Option<Bytes>),
}

/// A body that was read, as far as it went.
pub(crate) struct Received {
    /// The body, content coding undone; of a body beyond its cap or cut off, what went wrong.
    pub(crate) decoded: Result<Vec<u8>, Failure>,
    /// What there is of it in any case.
    pub(crate) start: Option<Vec<u8>>,
    /// The bytes as they came, if they were to be kept.
    pub(crate) raw: Vec<u8>,
}

/// Sends a GET and waits for the header of the answer.
pub(crate) async fn send(
    client: &reqwest::Client,
    url: &Url,
    accept: &'static str,
    conditions: Conditions,
    deadlines: Deadlines,
) -> Result<Answer, Failure> {
    let started = Instant::now();
    let mut request = client
        .get(url.clone())
        .header(ACCEPT, accept)
        .header(ACCEPT_ENCODING, conditions.accept_encoding());
    for (name, value) in conditions.headers() {
        request = request.header(name, value);
    }
    let request = request.send();
    let limit = deadlines.header.min(deadlines.total);
    let response = timeout_at(started + limit, request)
        .await
        .map_err(|_| {
            let detail = format!("no answer within {} s", limit.as_secs());
            Failure::new(FailureKind::Timeout, detail)
        })?
        .map_err(|error| request_failure(&error))?;
    Ok(Answer::of(response, started, conditions))
}

impl Answer {
    fn of(mut response: Response, started: Instant, conditions: Conditions) -> Self {
        Self {
            status: response.status().as_u16(),
            headers: std::mem::take(response.headers_mut()),
            is_http2: response.version() == Version::HTTP_2,
            address: response.remote_addr(),
            started,
            received_at: unix_seconds(SystemTime::now()),
            conditions,
            body: Source::Server(response),
        }
    }

    /// An answer that was kept from an earlier crawl.
    pub(crate) fn archived(status: u16, headers: HeaderMap, body: Bytes, received_at: i64) -> Self {
        Self {
            status,
            headers,
            is_http2: false,
            address: None,
            started: Instant::now(),
            received_at,
            conditions: Conditions::default(),
            body: Source::Archive(Some(body)),
        }
    }

    /// Whether it was kept from an earlier crawl.
    pub(crate) fn is_archived(&self) -> bool {
        matches!(self.body, Source::Archive(_))
    }

    /// This earlier answer, with what the one says anew by which the server confirms it: RFC 9111,
    /// 3.2. What describes the body stays as it came with the body.
    pub(crate) fn confirmed_by(mut self, not_modified: &Answer) -> Self {
        let is_renewed = |name: &HeaderName| {
            let describes_body = name.as_str().starts_with("content-");
            !describes_body && *name != TRANSFER_ENCODING && *name != CONNECTION
        };
        for name in not_modified.headers.keys().filter(|name| is_renewed(name)) {
            self.headers.remove(name);
            for value in not_modified.headers.get_all(name) {
                self.headers.append(name, value.clone());
            }
        }
        self.received_at = not_modified.received_at;
        self.started = not_modified.started;
        self
    }

    /// A header's value, if it is there and text. Of several the last counts, which is what
    /// browsers take for `Content-Type`.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        let values = self.headers.get_all(name);
        values.iter().next_back()?.to_str().ok()
    }

    pub(crate) fn content_type(&self) -> Option<&str> {
        self.header(&CONTENT_TYPE)
    }

    /// The statements on reuse in the header.
    pub(crate) fn signals(&self) -> Vec<Signal> {
        let headers = self.headers.iter();
        from_headers(
            headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))),
        )
    }

    /// Reads the body and undoes its coding; `count` is told of each piece as it came. The bytes
    /// as they came are kept beside it if `keeps_raw`.
    pub(crate) async fn receive(
        &mut self,
        max_bytes: usize,
        deadlines: Deadlines,
        keeps_raw: bool,
        count: impl Fn(usize),
    ) -> Received {
        let mut raw = Vec::new();
        let encoding = content_encoding(&self.headers);
        let mut decoder = match BodyDecoder::new(encoding.as_deref(), max_bytes) {
            Ok(decoder) => decoder,
            Err(failure) => {
                return Received {
                    decoded: Err(failure),
                    start: None,
                    raw,
                };
            }
        };
        let read = self.read(&mut decoder, deadlines, |chunk| {
            count(chunk.len());
            if keeps_raw {
                raw.extend_from_slice(chunk);
            }
        });
        match read.await {
            Ok(()) => Received {
                decoded: decoder.finish(),
                start: None,
                raw,
            },
            Err(failure) => Received {
                decoded: Err(failure),
                start: Some(decoder.into_decoded()),
                raw,
            },
        }
    }

    async fn read(
        &mut self,
        decoder: &mut BodyDecoder,
        deadlines: Deadlines,
        mut seen: impl FnMut(&[u8]),
    ) -> Result<(), Failure> {
        let response = match &mut self.body {
            Source::Server(response) => response,
            Source::Archive(bytes) => {
                let bytes = bytes.take().unwrap_or_default();
                seen(&bytes);
                return decoder.push(&bytes);
            }
        };
        let mut received: u64 = 0;
        let body_started = Instant::now();
        let total_deadline = self.started + deadlines.total;
        loop {
            // The moment by which more must have come, or the rate is below the minimum.
            let earned = Duration::from_secs(received / deadlines.min_bytes_per_s);
            let rate_deadline = body_started + RATE_GRACE + earned.min(deadlines.total);
            let next = timeout_at(rate_deadline.min(total_deadline), response.chunk()).await;
            let chunk = match next {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ok(()),
                Ok(Err(error)) => return Err(body_failure(&error)),
                Err(_) if rate_deadline < total_deadline => {
                    let detail = format!("{received} bytes in {:?}", body_started.elapsed());
                    return Err(Failure::new(FailureKind::TooSlow, detail));
                }
                Err(_) => {
                    let detail = format!("not whole within {} s", deadlines.total.as_secs());
                    return Err(Failure::new(FailureKind::Timeout, detail));
                }
            };
            received += chunk.len() as u64;
            seen(&chunk);
            decoder.push(&chunk)?;
        }
    }

    fn announced_length(&self) -> Option<u64> {
        match &self.body {
            Source::Server(response) => response.content_length(),
            Source::Archive(_) => self.header(&CONTENT_LENGTH)?.trim().parse().ok(),
        }
    }

    /// Refuses a body that announces more than the cap, before a byte of it is read. No coding
    /// makes things longer.
    pub(crate) fn check_length(&self, max_bytes: usize) -> Result<(), Failure> {
        match self.announced_length() {
            Some(length) if length > max_bytes as u64 => Err(Failure::new(
                FailureKind::TooLarge,
                format!("{length} bytes announced, the cap is {max_bytes}"),
            )),
            _ => Ok(()),
        }
    }
}

/// All codings of an answer as one list: the header may stand several times.
fn content_encoding(headers: &HeaderMap) -> Option<String> {
    let values: Vec<_> = headers
        .get_all(CONTENT_ENCODING)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    (!values.is_empty()).then(|| values.join(","))
}

pub(crate) fn unix_seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().try_into().unwrap_or(i64::MAX))
}
