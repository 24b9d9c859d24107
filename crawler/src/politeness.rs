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

use crate::{Config, Failure, FailureKind};

/// Hosts remembered at a time, at about 300 bytes each. Beyond it those are forgotten that nobody
/// uses and whose pause is over.
const MAX_HOSTS: usize = 65_536;

pub(crate) struct Politeness {
    hosts: Mutex<HashMap<String, Arc<Host>>>,
    overall: Arc<Semaphore>,
    connections_per_host: usize,
    delay: Duration,
    max_delay: Duration,
    max_retry_after: Duration,
}

struct Host {
    connections: Arc<Semaphore>,
    /// Held by the one that waits for the host's pause to end, so that pauses add up.
    turn: tokio::sync::Mutex<()>,
    pause: Mutex<Pause>,
}

struct Pause {
    /// Start of the next request at the earliest.
    next_start: Instant,
    /// What the host itself asked for with 429 or 503.
    blocked_until: Instant,
}

/// The right to make one request now; given back when dropped.
pub(crate) struct Permit {
    host: Arc<Host>,
    crawl_delay: Option<Duration>,
    _connection: OwnedSemaphorePermit,
    _overall: OwnedSemaphorePermit,
}

impl Politeness {
    pub(crate) fn new(config: &Config) -> Self {
        Self {
            hosts: Mutex::default(),
            overall: Arc::new(Semaphore::new(config.concurrency)),
            connections_per_host: config.connections_per_host,
            delay: config.delay(),
            max_delay: Duration::from_secs(config.max_delay_s),
            max_retry_after: Duration::from_secs(config.max_retry_after_s),
        }
    }

    /// Waits until the host may be asked; `crawl_delay` is what its `robots.txt` says.
    ///
    /// # Errors
    ///
    /// [`FailureKind::RateLimited`] if the host wants to be left alone for longer than we wait.
    pub(crate) async fn acquire(
        &self,
        host: &str,
        crawl_delay: Option<Duration>,
    ) -> Result<Permit, Failure> {
        const OPEN: &str = "semaphores are never closed";
        let host = self.host(host);
        let crawl_delay = crawl_delay.map(|delay| delay.min(self.max_delay));
        let connection = Arc::clone(&host.connections)
            .acquire_owned()
            .await
            .expect(OPEN);
        let turn = host.turn.lock().await;
        // A 429 to another request may lengthen the pause while we sleep, so look again.
        while let Some(until) = host.paused_until(self.max_retry_after)? {
            tokio::time::sleep_until(until).await;
        }
        let overall = Arc::clone(&self.overall).acquire_owned().await.expect(OPEN);
        let delay = crawl_delay.map_or(self.delay, |delay| delay.max(self.delay));
        host.start_not_before(Instant::now() + delay);
        drop(turn);
        Ok(Permit {
            host,
            crawl_delay,
            _connection: connection,
            _overall: overall,
        })
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
            let now = Instant::now();
            hosts.retain(|_, host| Arc::strong_count(host) > 1 || host.is_paused(now));
        }
        let now = Instant::now();
        let host = Arc::new(Host {
            connections: Arc::new(Semaphore::new(self.connections_per_host)),
            turn: tokio::sync::Mutex::new(()),
            pause: Mutex::new(Pause {
                next_start: now,
                blocked_until: now,
            }),
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
        if let Some(delay) = self.crawl_delay {
            self.host.start_not_before(Instant::now() + delay);
        }
    }

    /// Tells that the host asked to be left alone.
    pub(crate) fn block(&self, wait: Duration) {
        // A year is for ever here, and does not overflow the clock.
        let until = Instant::now() + wait.min(Duration::from_secs(365 * 24 * 60 * 60));
        let mut pause = self.host.pause();
        pause.blocked_until = pause.blocked_until.max(until);
    }
}

impl Host {
    fn pause(&self) -> std::sync::MutexGuard<'_, Pause> {
        self.pause.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn start_not_before(&self, start: Instant) {
        let mut pause = self.pause();
        pause.next_start = pause.next_start.max(start);
    }

    fn is_paused(&self, now: Instant) -> bool {
        let pause = self.pause();
        pause.next_start.max(pause.blocked_until) > now
    }

    fn paused_until(&self, max_wait: Duration) -> Result<Option<Instant>, Failure> {
        let now = Instant::now();
        let pause = self.pause();
        let blocked_for = pause.blocked_until.saturating_duration_since(now);
        if blocked_for > max_wait {
            return Err(Failure::new(
                FailureKind::RateLimited,
                format!("the host asks to be left alone for {} s", blocked_for.as_secs()),
            ));
        }
        let until = pause.next_start.max(pause.blocked_until);
        Ok((until > now).then_some(until))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn politeness(config: Config) -> Politeness {
        Politeness::new(&config)
    }

    #[tokio::test(start_paused = true)]
    async fn starts_to_one_host_keep_the_delay_and_other_hosts_do_not_wait() {
        let politeness = politeness(Config {
            delay_ms: 100,
            ..Config::default()
        });
        let start = Instant::now();
        for _ in 0..3 {
            politeness.acquire("a.test", None).await.unwrap();
            politeness.acquire("b.test", None).await.unwrap();
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
            politeness.acquire("a.test", delay).await.unwrap();
        }
        assert_eq!(start.elapsed().as_secs(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn a_crawl_delay_is_counted_from_the_answer() {
        let politeness = politeness(Config::default());
        let delay = Some(Duration::from_secs(1));
        let permit = politeness.acquire("a.test", delay).await.unwrap();
        tokio::time::sleep(Duration::from_secs(5)).await;
        permit.answered();
        let answered = Instant::now();
        politeness.acquire("a.test", delay).await.unwrap();
        assert_eq!(answered.elapsed().as_secs(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_blocked_host_is_waited_for_or_given_up() {
        let politeness = politeness(Config {
            max_retry_after_s: 10,
            ..Config::default()
        });
        let start = Instant::now();
        let permit = politeness.acquire("a.test", None).await.unwrap();
        permit.block(Duration::from_secs(7));
        politeness.acquire("a.test", None).await.unwrap();
        assert_eq!(start.elapsed().as_secs(), 7);
        permit.block(Duration::MAX);
        let failure = politeness.acquire("a.test", None).await.err().unwrap();
        assert_eq!(failure.kind, FailureKind::RateLimited);
    }

    #[tokio::test(start_paused = true)]
    async fn no_host_gets_more_connections_than_allowed() {
        let politeness = politeness(Config {
            connections_per_host: 1,
            delay_ms: 0,
            ..Config::default()
        });
        let _held = politeness.acquire("a.test", None).await.unwrap();
        let second = politeness.acquire("a.test", None);
        let wait = Duration::from_secs(3600);
        assert!(tokio::time::timeout(wait, second).await.is_err());
    }
}
