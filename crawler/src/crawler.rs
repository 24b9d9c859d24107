//! The crawler: every rule of this crate in the order in which a URL meets them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{LOCATION, RETRY_AFTER};
use url::Url;

use crate::access::{Access, AccessCache};
use crate::address::{AddressRules, tidy};
use crate::fetch::{self, Answer, Deadlines};
use crate::meta::{Meta, metas};
use crate::page::{
    check_image_consent, check_page_consent, is_binary, is_html_type, looks_like_html,
    settle_consent,
};
use crate::politeness::{Permit, Politeness};
use crate::wait::{meta_refresh, retry_after};
use crate::{Body, Config, Error, Failure, FailureKind, Page, charset, robots};

/// Redirects followed from a `robots.txt`: RFC 9309, 2.3.1.2 asks for at least five.
const MAX_ROBOTS_REDIRECTS: usize = 5;

/// A `<meta http-equiv=refresh>` with a longer delay is a page that reloads, not a redirect.
const MAX_REFRESH_DELAY: Duration = Duration::from_secs(5);

/// The wait before a first retry, if the server names none; it doubles with each further one.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);

const ACCEPT_PAGE: &str = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1";
const ACCEPT_IMAGE: &str = "image/webp,image/png,image/jpeg,image/*;q=0.8,*/*;q=0.1";
const ACCEPT_ROBOTS: &str = "text/plain,*/*;q=0.1";

/// Fetches pages and images. A clone shares connections, pauses and everything remembered.
#[derive(Clone)]
pub struct Crawler {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    client: reqwest::Client,
    rules: AddressRules,
    deadlines: Deadlines,
    politeness: Politeness,
    access: AccessCache,
    requests: AtomicU64,
    bytes: AtomicU64,
}

/// What a crawler has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stats {
    /// Requests sent, redirects, retries and `robots.txt` included.
    pub requests: u64,
    /// Body bytes received, before decoding.
    pub bytes: u64,
    /// Hosts with a request under way or waiting.
    pub active_hosts: usize,
}

/// What kind of thing is asked for, and under which rules.
#[derive(Clone, Copy)]
enum Wanted {
    Page,
    Image,
    /// Not itself subject to `robots.txt`.
    Robots,
}

/// An answer with status 200, and the right to go on reading it.
struct Found {
    url: Url,
    answer: Answer,
    permit: Permit,
}

/// How one request ended.
enum Step {
    Found(Box<Found>),
    Redirect(Url),
}

impl Crawler {
    /// A crawler with these settings.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if a setting cannot work; [`Error::Client`] if TLS cannot be set up.
    pub fn new(config: Config) -> Result<Self, Error> {
        config.check()?;
        let rules = AddressRules::new(&config);
        Ok(Self {
            shared: Arc::new(Shared {
                client: fetch::client(&config, &rules)?,
                deadlines: Deadlines::new(&config),
                politeness: Politeness::new(&config),
                access: AccessCache::new(Duration::from_secs(config.robots_ttl_s)),
                requests: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
                rules,
                config,
            }),
        })
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.shared.config
    }

    /// What has been done so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        Stats {
            requests: self.shared.requests.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
            active_hosts: self.shared.politeness.active_hosts(),
        }
    }

    /// Fetches a page: address rules, `robots.txt`, politeness, redirects (each of which meets the
    /// same rules again), consent, charset. Holds at most three times
    /// [`Config::max_page_bytes`].
    ///
    /// # Errors
    ///
    /// A [`Failure`] is the outcome for this URL, to be counted.
    pub async fn fetch_page(&self, url: &Url) -> Result<Page, Failure> {
        let max_bytes = self.shared.config.max_page_bytes;
        let mut target = tidy(url.clone())?;
        let mut redirects = 0;
        loop {
            let found = self.follow(target, Wanted::Page, &mut redirects).await?;
            let signals = found.answer.signals();
            check_page_consent(&signals)?;
            let content_type = found.answer.content_type().map(str::to_owned);
            let is_html = is_html_type(content_type.as_deref());
            if is_html == Some(false) {
                let detail = content_type.unwrap_or_default();
                return Err(Failure::new(FailureKind::NotHtml, detail));
            }
            let fetched_at = found.answer.received_at;
            let final_url = found.url.clone();
            let bytes = self.body(found, max_bytes).await?;
            if is_html.is_none() && !looks_like_html(&bytes) {
                let detail = "no content type, and the bytes are no HTML";
                return Err(Failure::new(FailureKind::NotHtml, detail));
            }
            if is_binary(&bytes) {
                let detail = "declared as HTML, and the bytes are none";
                return Err(Failure::new(FailureKind::NotHtml, detail));
            }
            let decoded = charset::decode(&bytes, content_type.as_deref());
            let metas = metas(&decoded.text);
            let (consent, decision) = settle_consent(signals, &metas)?;
            if let Some(refresh) = refresh_target(&metas, &final_url)? {
                redirects += 1;
                self.check_redirects(redirects, Wanted::Page)?;
                target = refresh;
                continue;
            }
            return Ok(Page {
                url: url.clone(),
                final_url,
                fetched_at,
                html: decoded.text,
                charset: decoded.encoding,
                consent,
                images_allowed: decision.images_allowed,
                is_truncated: false,
                warc: None,
            });
        }
    }

    /// Fetches an image's bytes under the same rules. Whether they are an image, their reader must
    /// tell: the `Content-Type` is only a claim. Holds at most [`Config::max_image_bytes`].
    ///
    /// # Errors
    ///
    /// A [`Failure`] is the outcome for this URL, to be counted.
    pub async fn fetch_image(&self, url: &Url) -> Result<Body, Failure> {
        let max_bytes = self.shared.config.max_image_bytes;
        let mut redirects = 0;
        let target = tidy(url.clone())?;
        let found = self.follow(target, Wanted::Image, &mut redirects).await?;
        let consent = found.answer.signals();
        check_image_consent(&consent)?;
        let content_type = found.answer.content_type().map(str::to_owned);
        let final_url = found.url.clone();
        let bytes = self.body(found, max_bytes).await?;
        Ok(Body {
            final_url,
            bytes: Bytes::from(bytes),
            content_type,
            consent,
        })
    }

    async fn body(&self, found: Found, max_bytes: usize) -> Result<Vec<u8>, Failure> {
        found.answer.check_length(max_bytes)?;
        let count = |bytes| self.count_bytes(bytes);
        let body = found.answer.body(max_bytes, self.shared.deadlines, count);
        let bytes = body.await;
        // The host's connection is ours until the body has come.
        drop(found.permit);
        bytes
    }

    /// Asks for the URL and for wherever it leads, until something is found.
    async fn follow(
        &self,
        url: Url,
        wanted: Wanted,
        redirects: &mut usize,
    ) -> Result<Found, Failure> {
        let mut url = url;
        loop {
            self.shared.rules.check(&url)?;
            let crawl_delay = match wanted {
                Wanted::Robots => None,
                Wanted::Page | Wanted::Image => self.check_robots(&url).await?,
            };
            match self.ask(url, wanted, crawl_delay).await? {
                Step::Found(found) => return Ok(*found),
                Step::Redirect(next) => {
                    *redirects += 1;
                    self.check_redirects(*redirects, wanted)?;
                    url = next;
                }
            }
        }
    }

    fn check_redirects(&self, redirects: usize, wanted: Wanted) -> Result<(), Failure> {
        let limit = match wanted {
            Wanted::Robots => MAX_ROBOTS_REDIRECTS,
            Wanted::Page | Wanted::Image => self.shared.config.max_redirects,
        };
        if redirects > limit {
            let detail = format!("more than {limit} redirects");
            return Err(Failure::new(FailureKind::RedirectLimit, detail));
        }
        Ok(())
    }

    /// One URL, asked for again where that may help.
    async fn ask(
        &self,
        url: Url,
        wanted: Wanted,
        crawl_delay: Option<Duration>,
    ) -> Result<Step, Failure> {
        let host = url.host_str().unwrap_or_default();
        let accept = match wanted {
            Wanted::Page => ACCEPT_PAGE,
            Wanted::Image => ACCEPT_IMAGE,
            Wanted::Robots => ACCEPT_ROBOTS,
        };
        let mut attempt = 0;
        loop {
            let back_off = FIRST_BACK_OFF * 2_u32.saturating_pow(attempt);
            let may_retry = attempt < self.shared.config.retries;
            attempt += 1;
            let permit = self.shared.politeness.acquire(host, crawl_delay).await?;
            self.shared.requests.fetch_add(1, Ordering::Relaxed);
            let sent = fetch::send(&self.shared.client, &url, accept, self.shared.deadlines).await;
            permit.answered();
            let answer = match sent {
                Ok(answer) => answer,
                Err(failure) if failure.kind == FailureKind::Connect && may_retry => {
                    drop(permit);
                    tokio::time::sleep(back_off).await;
                    continue;
                }
                Err(failure) => return Err(failure),
            };
            match answer.status() {
                200 | 203 => {
                    permit.welcomed();
                    let found = Found {
                        url,
                        answer,
                        permit,
                    };
                    return Ok(Step::Found(Box::new(found)));
                }
                301 | 302 | 303 | 307 | 308 => return redirect(&url, &answer).map(Step::Redirect),
                status @ (429 | 503) => {
                    let asked = answer.header(&RETRY_AFTER);
                    let wait = asked.and_then(|value| retry_after(value, SystemTime::now()));
                    // Everybody who wants something of this host waits.
                    if !permit.block(wait.unwrap_or(back_off)) {
                        let wait = wait.unwrap_or(back_off);
                        let detail = format!("the server answered {status}: wait {wait:?}");
                        return Err(Failure::new(FailureKind::RateLimited, detail));
                    }
                    if !may_retry {
                        return Err(status_failure(status));
                    }
                }
                status @ (502 | 504) if !may_retry => return Err(status_failure(status)),
                502 | 504 => {
                    permit.block(back_off);
                }
                status => return Err(status_failure(status)),
            }
        }
    }

    /// The pause that the origin's `robots.txt` asks for, if it allows the URL.
    async fn check_robots(&self, url: &Url) -> Result<Option<Duration>, Failure> {
        if !self.shared.config.robots {
            return Ok(None);
        }
        let origin = url.origin().ascii_serialization();
        let access = self
            .shared
            .access
            .get(&origin, self.fetch_robots(url))
            .await;
        access.check(url)
    }

    async fn fetch_robots(&self, url: &Url) -> Access {
        let mut robots_url = url.clone();
        robots_url.set_path("/robots.txt");
        robots_url.set_query(None);
        let mut redirects = 0;
        let fetched = async {
            let found = self.follow_robots(robots_url, &mut redirects).await?;
            let count = |bytes| self.count_bytes(bytes);
            let deadlines = self.shared.deadlines;
            let body = found.answer.body_start(robots::MAX_BYTES, deadlines, count);
            let bytes = body.await;
            drop(found.permit);
            bytes
        };
        Access::from_answer(fetched.await)
    }

    /// [`Crawler::follow`] behind a box: it asks for `robots.txt`, whose own fetch must not need
    /// the same future again.
    fn follow_robots<'a>(
        &'a self,
        url: Url,
        redirects: &'a mut usize,
    ) -> std::pin::Pin<Box<dyn Future<Output = Result<Found, Failure>> + Send + 'a>> {
        Box::pin(self.follow(url, Wanted::Robots, redirects))
    }

    fn count_bytes(&self, bytes: usize) {
        self.shared.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }
}

fn status_failure(status: u16) -> Failure {
    let kind = match status {
        429 => FailureKind::RateLimited,
        status => FailureKind::Http(status),
    };
    Failure::new(kind, format!("the server answered {status}"))
}

/// Where a redirect leads.
fn redirect(url: &Url, answer: &Answer) -> Result<Url, Failure> {
    let status = answer.status();
    let location = answer.header(&LOCATION).ok_or_else(|| {
        let detail = format!("{status} without a readable Location");
        Failure::new(FailureKind::BadHttp, detail)
    })?;
    let target = url.join(location).map_err(|error| {
        let detail = format!("{status} to `{location}`: {error}");
        Failure::new(FailureKind::BadUrl, detail)
    })?;
    tidy(target)
}

/// The page that a `<meta http-equiv=refresh>` leads on to; `None` if there is none, it is this
/// page again, or makes no sense.
fn refresh_target(metas: &[Meta], base: &Url) -> Result<Option<Url>, Failure> {
    let Some(meta) = metas.iter().find(|meta| meta.http_equiv == "refresh") else {
        return Ok(None);
    };
    Ok(meta_refresh(&meta.content, base)
        .ok()
        .filter(|refresh| refresh.delay <= MAX_REFRESH_DELAY && refresh.url != *base)
        .map(|refresh| refresh.url))
}
