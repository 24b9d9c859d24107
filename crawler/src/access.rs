//! What each origin allows in its `robots.txt` and in files on reuse, fetched once and remembered.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use url::Url;

use crate::consent::Signal;
use crate::reservations::Reservations;
use crate::robots::{Robots, Rules};
use crate::{Failure, FailureKind, PRODUCT_TOKEN};

/// Origins remembered at a time, and the memory that their rules may take together. Beyond either,
/// those that nobody waits for are forgotten and asked again when needed.
const MAX_ORIGINS: usize = 65_536;
const MAX_RULE_BYTES: usize = 64 << 20;

/// How long an origin whose `robots.txt` cannot be had stays closed before we ask again.
const RETRY_UNAVAILABLE: Duration = Duration::from_secs(300);

/// What one origin allows.
#[derive(Debug, Clone)]
pub(crate) enum Access {
    /// What its files say; nothing, if it has none.
    Rules(Arc<OriginRules>),
    /// Nothing for now: the file could not be had.
    Unavailable(Failure),
}

/// What the files of one origin say.
#[derive(Debug, Default)]
pub(crate) struct OriginRules {
    robots: Rules,
    sitemaps: Vec<String>,
    reservations: Reservations,
}

/// What an origin says of one URL that may be asked for.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Permission {
    /// The pause that it asks for.
    pub(crate) crawl_delay: Option<Duration>,
    /// Its statements on reuse in files of their own.
    pub(crate) signals: Vec<Signal>,
}

impl OriginRules {
    /// What follows from the answer to `/robots.txt`: RFC 9309, 2.3.1. A 4xx status (also 401 and
    /// 403) means that there is none, more redirects than five likewise; anything else that is not
    /// a file closes the origin for now: the failure.
    pub(crate) fn from_answer(answer: Result<Vec<u8>, Failure>) -> Result<Self, Failure> {
        match answer {
            Ok(bytes) => {
                let robots = Robots::parse(&bytes);
                Ok(Self {
                    robots: robots.rules_for(PRODUCT_TOKEN),
                    sitemaps: robots.sitemaps().to_vec(),
                    reservations: Reservations::default(),
                })
            }
            Err(failure) => match failure.kind {
                FailureKind::Http(429) => Err(failure),
                FailureKind::Http(400..=499) | FailureKind::RedirectLimit => Ok(Self::default()),
                _ => Err(failure),
            },
        }
    }

    /// Whether its `robots.txt` allows the URL.
    pub(crate) fn is_allowed(&self, url: &Url) -> bool {
        self.robots.is_allowed(url.as_str())
    }

    pub(crate) fn crawl_delay(&self) -> Option<Duration> {
        self.robots.crawl_delay()
    }

    /// What its `robots.txt` names as sitemaps.
    pub(crate) fn sitemaps(&self) -> &[String] {
        &self.sitemaps
    }

    pub(crate) fn with_reservations(mut self, reservations: Reservations) -> Self {
        self.reservations = reservations;
        self
    }

    fn size(&self) -> usize {
        let sitemaps: usize = self.sitemaps.iter().map(String::len).sum();
        self.robots.size() + self.reservations.size() + sitemaps
    }
}

impl Access {
    /// Checks one URL.
    pub(crate) fn check(&self, url: &Url) -> Result<Permission, Failure> {
        match self {
            Self::Rules(rules) if rules.is_allowed(url) => Ok(Permission {
                crawl_delay: rules.crawl_delay(),
                signals: rules.reservations.signals(url),
            }),
            Self::Rules(_) => Err(Failure::new(
                FailureKind::Robots,
                format!(
                    "robots.txt of {} forbids it",
                    url.origin().ascii_serialization()
                ),
            )),
            // The host is not public or does not resolve: that is the reason worth counting.
            Self::Unavailable(failure)
                if matches!(failure.kind, FailureKind::PrivateAddress | FailureKind::Dns) =>
            {
                Err(failure.clone())
            }
            Self::Unavailable(failure) => Err(Failure::new(
                FailureKind::RobotsUnavailable,
                format!("robots.txt could not be had: {failure}"),
            )),
        }
    }

    fn size(&self) -> usize {
        match self {
            Self::Rules(rules) => rules.size(),
            Self::Unavailable(_) => 0,
        }
    }
}

pub(crate) struct AccessCache {
    origins: Mutex<HashMap<String, Arc<Slot>>>,
    rule_bytes: AtomicUsize,
    time_to_live: Duration,
}

/// The lock is held while the file is fetched: who comes second waits for the first one's answer.
type Slot = tokio::sync::Mutex<Option<(Instant, Access)>>;

impl AccessCache {
    pub(crate) fn new(time_to_live: Duration) -> Self {
        Self {
            origins: Mutex::default(),
            rule_bytes: AtomicUsize::new(0),
            time_to_live,
        }
    }

    /// What the origin allows; `fetch` is called if that is not known or too old.
    pub(crate) async fn get(&self, origin: &str, fetch: impl Future<Output = Access>) -> Access {
        let slot = self.slot(origin);
        let mut slot = slot.lock().await;
        if let Some((until, access)) = slot.as_ref()
            && *until > Instant::now()
        {
            return access.clone();
        }
        let access = fetch.await;
        let time_to_live = match access {
            Access::Rules(_) => self.time_to_live,
            Access::Unavailable(_) => self.time_to_live.min(RETRY_UNAVAILABLE),
        };
        self.rule_bytes.fetch_add(access.size(), Ordering::Relaxed);
        *slot = Some((Instant::now() + time_to_live, access.clone()));
        access
    }

    fn slot(&self, origin: &str) -> Arc<Slot> {
        let mut origins = self.origins.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(slot) = origins.get(origin) {
            return Arc::clone(slot);
        }
        let is_full = origins.len() >= MAX_ORIGINS
            || self.rule_bytes.load(Ordering::Relaxed) >= MAX_RULE_BYTES;
        if is_full {
            origins.retain(|_, slot| Arc::strong_count(slot) > 1);
            // What is still waited for counts as nothing: it is little.
            self.rule_bytes.store(0, Ordering::Relaxed);
        }
        let slot = Arc::new(Slot::default());
        origins.insert(origin.to_owned(), Arc::clone(&slot));
        slot
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(answer: Result<&str, FailureKind>) -> Option<FailureKind> {
        let answer = answer
            .map(|text| text.as_bytes().to_vec())
            .map_err(|kind| Failure::new(kind, ""));
        let url = Url::parse("https://h.test/p").unwrap();
        let access = match OriginRules::from_answer(answer) {
            Ok(rules) => Access::Rules(Arc::new(rules)),
            Err(failure) => Access::Unavailable(failure),
        };
        access.check(&url).err().map(|failure| failure.kind)
    }

    #[test]
    fn a_missing_file_allows_and_a_failing_one_closes() {
        assert_eq!(
            verdict(Ok("user-agent: *\ndisallow: /p")),
            Some(FailureKind::Robots)
        );
        assert_eq!(verdict(Ok("")), None);
        assert_eq!(verdict(Err(FailureKind::Http(404))), None);
        assert_eq!(verdict(Err(FailureKind::Http(403))), None);
        let closed = Some(FailureKind::RobotsUnavailable);
        assert_eq!(verdict(Err(FailureKind::Http(500))), closed);
        assert_eq!(verdict(Err(FailureKind::RateLimited)), closed);
        assert_eq!(verdict(Err(FailureKind::Connect)), closed);
    }

    #[tokio::test(start_paused = true)]
    async fn a_file_is_fetched_once_and_again_when_it_is_too_old() {
        let cache = AccessCache::new(Duration::from_secs(100));
        let fetches = AtomicUsize::new(0);
        let get = || {
            cache.get("https://h.test", async {
                fetches.fetch_add(1, Ordering::Relaxed);
                tokio::time::sleep(Duration::from_secs(1)).await;
                Access::Rules(Arc::default())
            })
        };
        tokio::join!(get(), get(), get());
        assert_eq!(fetches.load(Ordering::Relaxed), 1);
        tokio::time::sleep(Duration::from_secs(101)).await;
        get().await;
        assert_eq!(fetches.load(Ordering::Relaxed), 2);
    }
}
