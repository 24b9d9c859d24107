//! Who may ask which host when.
//!
//! A request needs three things in this order: one of the host's connections, the host's turn
//! (its pause is over), and one of the places over all hosts. The place comes last, so that
//! nobody holds one while waiting for a slow host.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use crate::places::{Place, Places};
use crate::{Config, Failure, FailureKind};

/// Hosts remembered at a time, at about 300 bytes each. Beyond it those are forgotten that nobody
/// uses and whose pause is over.
const MAX_HOSTS: usize = 65_536;

pub(crate) struct Politeness {
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    overall: Places,
    connections_per_host: usize,
    /// For how long after its last request a host may have to be left alone.
    longest_delay: Duration,
    max_delay: Duration,
    max_retry_after: Duration,
    has_pauses: bool,
}

struct Host {
    connections: Arc<Semaphore>,
    /// Held by the one that waits for the host's pause to end, so that pauses add up.
    turn: tokio::sync::Mutex<()>,
    pause: Mutex<Pause>,
}

#[derive(Default)]
struct Pause {
    last_start: Option<Instant>,
    /// When the last answer began.
    last_answer: Option<Instant>,
    /// What the host itself asked for with 429 or 503.
    blocked_until: Option<Instant>,
    /// How often in a row the host asked for a longer wait than we wait.
    refusals: u32,
}

/// After so many refusals in a row a host is given up until it says. One page that is closed for a
/// day does not close its host.
const MAX_REFUSALS: u32 = 3;

/// The right to make one request now; given back when dropped.
pub(crate) struct Permit {
    host: Arc<Host>,
    max_retry_after: Duration,
    /// Whether what is lost says something of the way out: not of answers kept from long ago.
    counts_losses: bool,
    _connection: OwnedSemaphorePermit,
    overall: Place,
}

impl Politeness {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            hosts: Mutex::default(),
            overall: Places::new(config.concurrency),
            connections_per_host: config.connections_per_host,
            longest_delay: config.longest_delay(),
            max_delay: Duration::from_secs(config.max_delay_s),
            max_retry_after: Duration::from_secs(config.max_retry_after_s),
            has_pauses: true,
        }
    }

    /// Places without pauses: for answers that no server gives.
    pub(crate) fn without_pauses(config: &Config) -> Self {
        Self {
            connections_per_host: config.concurrency,
            has_pauses: false,
            ..Self::new(config)
        }
    }

    /// Waits until the host may be asked: `delay` after the last request at the earliest, and
    /// `crawl_delay`, which is what its `robots.txt` says, after its answer.
    ///
    /// # Errors
    ///
    /// [`FailureKind::RateLimited`] if the host wants to be left alone for longer than we wait.
    pub(crate) async fn acquire(
        &self,
        host: &str,
        delay: Duration,
        crawl_delay: Option<Duration>,
    ) -> Result<Permit, Failure> {
        let host = self.host(host);
        let crawl_delay = crawl_delay.map(|delay| delay.min(self.max_delay));
        let connection = Arc::clone(&host.connections)
            .acquire_owned()
            .await
            .expect("the semaphore is never closed");
        let turn = host.turn.lock().await;
        // An answer to another request may lengthen the pause while we sleep, so look again.
        while self.has_pauses
            && let Some(until) = host.paused_until(delay, crawl_delay, self.max_retry_after)?
        {
            tokio::time::sleep_until(until).await;
        }
        let overall = self.overall.take().await;
        host.pause().last_start = Some(Instant::now());
        drop(turn);
        Ok(Permit {
            host,
            max_retry_after: self.max_retry_after,
            _connection: connection,
            overall,
            counts_losses: self.has_pauses,
        })
    }

    /// Requests that may be in flight over all hosts at present.
    pub(crate) fn places(&self) -> usize {
        self.overall.limit()
    }

    /// Number of hosts with a request under way or waiting.
    pub(crate) fn active_hosts(&self) -> usize {
        self.lock()
            .values()
            .filter(|host| Arc::strong_count(host) > 1)
            .count()
    }

    fn host(&self, name: &str) -> Arc<Host> {
        let mut hosts = self.lock();
        if let Some(host) = hosts.get(name) {
            return Arc::clone(host);
        }
        if hosts.len() >= MAX_HOSTS {
            hosts.retain(|_, host| {
                Arc::strong_count(host) > 1 || host.is_paused(self.longest_delay)
            });
        }
        let host = Arc::new(Host {
            connections: Arc::new(Semaphore::new(self.connections_per_host)),
            turn: tokio::sync::Mutex::new(()),
            pause: Mutex::default(),
        });
        hosts.insert(name.to_owned(), Arc::clone(&host));
        host
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<Host>>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Permit {
    /// Tells that the answer has begun. A `Crawl-delay` is counted from here: so the gap holds at
    /// the server too, however long the request was under way.
    pub(crate) fn answered(&self) {
        self.host.pause().last_answer = Some(Instant::now());
    }

    /// Tells whether the request was lost on the way: by a timeout, or for want of an address.
    pub(crate) fn settled(&self, failure: Option<&Failure>) {
        if self.counts_losses {
            let kind = failure.map(|failure| failure.kind);
            self.overall.settle(matches!(
                kind,
                Some(FailureKind::Timeout | FailureKind::Dns)
            ));
        }
    }

    /// Tells that the host gave what was asked for.
    pub(crate) fn welcomed(&self) {
        self.host.pause().refusals = 0;
    }

    /// Tells that the host asked to be left alone; whether the request may be made again.
    pub(crate) fn block(&self, wait: Duration) -> bool {
        let mut pause = self.host.pause();
        let is_acceptable = wait <= self.max_retry_after;
        if !is_acceptable {
            pause.refusals += 1;
        }
        let wait = if pause.refusals >= MAX_REFUSALS {
            // A year is for ever here, and does not overflow the clock.
            wait.min(Duration::from_secs(365 * 24 * 60 * 60))
        } else {
            wait.min(self.max_retry_after)
        };
        pause.blocked_until = pause.blocked_until.max(Some(Instant::now() + wait));
        is_acceptable
    }
}

impl Host {
    fn pause(&self) -> std::sync::MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether what is remembered of the host may still hold a request back.
    fn is_paused(&self, longest_delay: Duration) -> bool {
        let delay = Some(longest_delay);
        !matches!(
            self.paused_until(longest_delay, delay, Duration::MAX),
            Ok(None)
        )
    }

    fn paused_until(
        &self,
        delay: Duration,
        crawl_delay: Option<Duration>,
        max_wait: Duration,
    ) -> Result<Option<Instant>, Failure> {
        let now = Instant::now();
        let pause = self.pause();
        let blocked_for = pause
            .blocked_until
            .map_or(Duration::ZERO, |until| until.saturating_duration_since(now));
        if blocked_for > max_wait {
            return Err(Failure::new(
                FailureKind::RateLimited,
                format!(
                    "the host asks to be left alone for {} s",
                    blocked_for.as_secs()
                ),
            ));
        }
        let crawl_delay = crawl_delay.unwrap_or_default();
        let after_start = pause.last_start.map(|start| start + delay.max(crawl_delay));
        let after_answer = pause.last_answer.map(|answer| answer + crawl_delay);
        let until = pause.blocked_until.max(after_start).max(after_answer);
        Ok(until.filter(|until| *until > now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELAY: Duration = Duration::from_millis(250);

    fn politeness(config: Config) -> Politeness {
        Politeness::new(&config)
    }

    #[tokio::test(start_paused = true)]
    async fn starts_to_one_host_keep_the_delay_and_other_hosts_do_not_wait() {
        let politeness = politeness(Config::default());
        let start = Instant::now();
        for _ in 0..3 {
            politeness
                .acquire("a.test", Duration::from_millis(100), None)
                .await
                .unwrap();
            politeness
                .acquire("b.test", Duration::from_millis(100), None)
                .await
                .unwrap();
        }
        assert_eq!(start.elapsed().as_millis() / 100, 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_longer_crawl_delay_wins_up_to_its_cap() {
        let politeness = politeness(Config {
            max_delay_s: 3,
            ..Config::default()
        });
        let start = Instant::now();
        for _ in 0..2 {
            let delay = Some(Duration::from_secs(1000));
            politeness.acquire("a.test", DELAY, delay).await.unwrap();
        }
        assert_eq!(start.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crawl_delay_is_counted_from_the_answer() {
        let politeness = politeness(Config::default());
        let delay = Some(Duration::from_secs(1));
        let permit = politeness.acquire("a.test", DELAY, delay).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        permit.answered();
        let answered = Instant::now();
        politeness.acquire("a.test", DELAY, delay).await.unwrap();
        assert_eq!(answered.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_host_is_waited_for_and_given_up_after_some_refusals() {
        let politeness = politeness(Config {
            max_retry_after_s: 10,
            ..Config::default()
        });
        let start = Instant::now();
        let permit = politeness.acquire("a.test", DELAY, None).await.unwrap();
        assert!(permit.block(Duration::from_secs(7)));
        politeness.acquire("a.test", DELAY, None).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 7);
        for _ in 0..MAX_REFUSALS - 1 {
            assert!(!permit.block(Duration::MAX));
            politeness.acquire("a.test", DELAY, None).await.unwrap();
        }
        assert_eq!(start.elapsed().as_secs(), 27);
        permit.block(Duration::MAX);
        let failure = politeness
            .acquire("a.test", DELAY, None)
            .await
            .err()
            .unwrap();
        assert_eq!(failure.kind, FailureKind::RateLimited);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crawl_delay_also_holds_after_the_file_that_sets_it() {
        let politeness = politeness(Config::default());
        let start = Instant::now();
        let robots = politeness.acquire("a.test", DELAY, None).await.unwrap();
        robots.answered();
        let delay = Some(Duration::from_secs(1));
        politeness.acquire("a.test", DELAY, delay).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn no_host_gets_more_connections_than_allowed() {
        let politeness = politeness(Config {
            connections_per_host: 1,
            ..Config::default()
        });
        let _held = politeness.acquire("a.test", DELAY, None).await.unwrap();
        let second = politeness.acquire("a.test", DELAY, None);
        let wait = Duration::from_secs(3600);
        assert!(tokio::time::timeout(wait, second).await.is_err());
    }
}
