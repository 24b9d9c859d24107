//! One request and its answer, within all deadlines and caps.

use std::error::Error as StdError;
use std::io;
use std::time::{Duration, SystemTime};

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName,
};
use reqwest::{Response, redirect};
use tokio::time::{Instant, timeout_at};
use url::Url;

use crate::address::AddressRules;
use crate::body::{self, BodyDecoder};
use crate::consent::{Signal, from_headers};
use crate::dns::{CheckedResolver, NotPublic};
use crate::{Config, Error, Failure, FailureKind};

/// A body may be slower than the minimum rate for this long: the first packets of a far server.
const RATE_GRACE: Duration = Duration::from_secs(5);

/// Idle connections are kept for the pauses between polite requests, and not much longer.
const POOL_IDLE: Duration = Duration::from_secs(40);

/// The HTTP client under our rules: no proxy, no cookies, no referrer, no redirects of its own.
pub(crate) fn client(config: &Config, rules: &AddressRules) -> Result<reqwest::Client, Error> {
    reqwest::Client::builder()
        .user_agent(config.user_agent())
        // A proxy would resolve and connect in our stead, past the address rules.
        .no_proxy()
        // Each hop has to pass address rules, robots.txt and politeness.
        .redirect(redirect::Policy::none())
        .referer(false)
        .dns_resolver(CheckedResolver::new(rules.clone()))
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
    response: Response,
    started: Instant,
    /// Unix seconds.
    pub(crate) received_at: i64,
}

/// Sends a GET and waits for the header of the answer.
pub(crate) async fn send(
    client: &reqwest::Client,
    url: &Url,
    accept: &'static str,
    deadlines: Deadlines,
) -> Result<Answer, Failure> {
    let started = Instant::now();
    let request = client
        .get(url.clone())
        .header(ACCEPT, accept)
        .header(ACCEPT_ENCODING, body::ACCEPT_ENCODING)
        .send();
    let limit = deadlines.header.min(deadlines.total);
    let response = timeout_at(started + limit, request)
        .await
        .map_err(|_| {
            let detail = format!("no answer within {} s", limit.as_secs());
            Failure::new(FailureKind::Timeout, detail)
        })?
        .map_err(|error| request_failure(&error))?;
    Ok(Answer {
        response,
        started,
        received_at: unix_seconds(SystemTime::now()),
    })
}

impl Answer {
    pub(crate) fn status(&self) -> u16 {
        self.response.status().as_u16()
    }

    /// A header's value, if it is there and text. Of several the last counts, which is what
    /// browsers take for `Content-Type`.
    pub(crate) fn header(&self, name: &HeaderName) -> Option<&str> {
        let values = self.response.headers().get_all(name);
        values.iter().next_back()?.to_str().ok()
    }

    pub(crate) fn content_type(&self) -> Option<&str> {
        self.header(&CONTENT_TYPE)
    }

    /// The statements on reuse in the header.
    pub(crate) fn signals(&self) -> Vec<Signal> {
        let headers = self.response.headers().iter();
        from_headers(
            headers.filter_map(|(name, value)| Some((name.as_str(), value.to_str().ok()?))),
        )
    }

    /// Reads the body and undoes its coding; `count` is told of each piece as it came.
    pub(crate) async fn body(
        self,
        max_bytes: usize,
        deadlines: Deadlines,
        count: impl Fn(usize),
    ) -> Result<Vec<u8>, Failure> {
        let (decoder, end) = self.read(max_bytes, deadlines, count).await?;
        end?;
        decoder.finish()
    }

    /// As [`Answer::body`], but of a body beyond the cap the beginning is kept.
    pub(crate) async fn body_start(
        self,
        max_bytes: usize,
        deadlines: Deadlines,
        count: impl Fn(usize),
    ) -> Result<Vec<u8>, Failure> {
        let (decoder, end) = self.read(max_bytes, deadlines, count).await?;
        match end {
            Ok(()) => decoder.finish(),
            Err(failure) if failure.kind == FailureKind::TooLarge => Ok(decoder.into_decoded()),
            Err(failure) => Err(failure),
        }
    }

    async fn read(
        mut self,
        max_bytes: usize,
        deadlines: Deadlines,
        count: impl Fn(usize),
    ) -> Result<(BodyDecoder, Result<(), Failure>), Failure> {
        let encoding = content_encoding(self.response.headers());
        let mut decoder = BodyDecoder::new(encoding.as_deref(), max_bytes)?;
        let mut received: u64 = 0;
        let body_started = Instant::now();
        let total_deadline = self.started + deadlines.total;
        loop {
            // The moment by which more must have come, or the rate is below the minimum.
            let earned = Duration::from_secs(received / deadlines.min_bytes_per_s);
            let rate_deadline = body_started + RATE_GRACE + earned.min(deadlines.total);
            let next = timeout_at(rate_deadline.min(total_deadline), self.response.chunk()).await;
            let chunk = match next {
                Ok(Ok(Some(chunk))) => chunk,
                Ok(Ok(None)) => return Ok((decoder, Ok(()))),
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
            count(chunk.len());
            if let Err(failure) = decoder.push(&chunk) {
                return Ok((decoder, Err(failure)));
            }
        }
    }

    /// Refuses a body that announces more than the cap, before a byte of it is read. No coding
    /// makes things longer.
    pub(crate) fn check_length(&self, max_bytes: usize) -> Result<(), Failure> {
        match self.response.content_length() {
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

fn unix_seconds(time: SystemTime) -> i64 {
    time.duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs().try_into().unwrap_or(i64::MAX))
}

/// The first error of type `E` in the chain.
fn find<'a, E: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a E> {
    let mut next = Some(error);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref::<E>() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

/// The innermost message: the outer ones only say that a request failed.
fn root_message(error: &(dyn StdError + 'static)) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn request_failure(error: &reqwest::Error) -> Failure {
    let kind = if find::<NotPublic>(error).is_some_and(|refused| refused.address.is_some()) {
        FailureKind::PrivateAddress
    } else if error.is_dns() || find::<NotPublic>(error).is_some() {
        FailureKind::Dns
    } else if error.is_timeout() {
        FailureKind::Timeout
    } else if error.is_connect() {
        // What rustls finds wrong with a handshake comes as invalid data of the stream.
        match find::<io::Error>(error).map(io::Error::kind) {
            Some(io::ErrorKind::InvalidData) => FailureKind::Tls,
            _ => FailureKind::Connect,
        }
    } else if error.is_builder() {
        FailureKind::BadUrl
    } else {
        match find::<hyper::Error>(error) {
            Some(error) if error.is_parse() => FailureKind::BadHttp,
            _ => FailureKind::Connect,
        }
    };
    Failure::new(kind, root_message(error))
}

fn body_failure(error: &reqwest::Error) -> Failure {
    let is_malformed = find::<hyper::Error>(error).is_some_and(hyper::Error::is_parse)
        || find::<io::Error>(error).is_some_and(|error| {
            // A chunk size that is no number; an early end has a kind of its own.
            matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData
            )
        });
    let kind = if is_malformed {
        FailureKind::BadHttp
    } else if error.is_timeout() {
        FailureKind::Timeout
    } else {
        FailureKind::Truncated
    };
    Failure::new(kind, root_message(error))
}
