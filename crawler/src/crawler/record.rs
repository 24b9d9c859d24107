//! What is asked and answered, written into the archive.

use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;
use url::Url;

use super::Crawler;
use super::request::Wanted;
use crate::fetch::{self, Answer};
use crate::warc::{Exchange, WarcWriter};
use crate::{Failure, FailureKind};

impl Crawler {
    /// Writes down an answer: with its body, or its head alone where nobody wanted more; and what
    /// went wrong with it.
    pub(super) async fn record(
        &self,
        url: &Url,
        wanted: Wanted,
        answer: &Answer,
        body: Option<Bytes>,
        failure: Option<&Failure>,
    ) {
        // What an earlier crawl kept has a record there, and so has what comes out of an archive.
        let is_recorded = answer.is_archived() || matches!(wanted, Wanted::Range { .. });
        if self.shared.archive.is_none() || is_recorded {
            return;
        }
        let truncated = match (&body, failure.map(|failure| failure.kind)) {
            (None, _) | (_, Some(FailureKind::TooLarge)) => Some("length"),
            (_, Some(FailureKind::Timeout | FailureKind::TooSlow)) => Some("time"),
            (_, Some(FailureKind::Truncated)) => Some("disconnect"),
            (_, Some(_)) => Some("unspecified"),
            (Some(_), None) => None,
        };
        let exchange = Exchange {
            body: body.unwrap_or_default(),
            truncated,
            ..self.exchange(url, wanted, answer)
        };
        let failure = failure.cloned();
        let received_at = answer.received_at;
        let url = url.clone();
        self.on_archive(move |archive| {
            archive.write_exchange(&exchange);
            if let Some(failure) = failure {
                archive.write_failure(&url, &failure.reason(), &failure.detail, received_at);
            }
        })
        .await;
    }

    /// Writes down that the server confirms an earlier answer.
    pub(super) async fn record_revisit(
        &self,
        url: &Url,
        wanted: Wanted,
        answer: &Answer,
        earlier: &Answer,
    ) {
        if self.shared.archive.is_none() {
            return;
        }
        let exchange = Exchange {
            confirms: Some(earlier.received_at),
            ..self.exchange(url, wanted, answer)
        };
        self.on_archive(move |archive| archive.write_exchange(&exchange))
            .await;
    }

    /// A request and the head of its answer.
    fn exchange(&self, url: &Url, wanted: Wanted, answer: &Answer) -> Exchange {
        let header = |name: &str, value: String| (name.to_owned(), value);
        let mut request_headers = vec![
            header("User-Agent", self.shared.config.user_agent()),
            header("Accept", wanted.accept().to_owned()),
            header("Accept-Encoding", crate::body::ACCEPT_ENCODING.to_owned()),
        ];
        request_headers.extend(answer.conditions.headers().map(|(name, value)| {
            let value = String::from_utf8_lossy(value.as_bytes());
            header(name.as_str(), value.into_owned())
        }));
        Exchange {
            url: url.clone(),
            request_headers,
            status: answer.status,
            headers: answer.headers.clone(),
            is_http2: answer.is_http2,
            address: answer.address,
            body: Bytes::new(),
            received_at: answer.received_at,
            truncated: None,
            confirms: None,
        }
    }

    /// Writes down that there was no answer.
    pub(super) async fn record_failure(&self, url: &Url, failure: &Failure) {
        if self.shared.archive.is_none() {
            return;
        }
        let (url, failure) = (url.clone(), failure.clone());
        let now = fetch::unix_seconds(SystemTime::now());
        self.on_archive(move |archive| {
            archive.write_failure(&url, &failure.reason(), &failure.detail, now);
        })
        .await;
    }

    /// Compressing and writing stay off the runtime.
    pub(super) async fn on_archive(&self, write: impl FnOnce(&WarcWriter) + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        let task = tokio::task::spawn_blocking(move || {
            if let Some(archive) = &shared.archive {
                write(archive);
            }
        });
        // It cannot panic, and is cut off only when the runtime ends.
        let _ = task.await;
    }
}
