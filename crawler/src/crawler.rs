//! The crawler: every rule of this crate in the order in which a URL meets them.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use reqwest::header::{LOCATION, RETRY_AFTER};
use url::Url;

use crate::access::{Access, AccessCache, OriginRules, Permission};
use crate::address::{AddressRules, normalise, tidy};
use crate::dns::{CheckedResolver, LookUp, SystemLookUp};
use crate::fetch::{self, Answer, Deadlines, Received};
use crate::links::{MAX_SITEMAP_BYTES, Sitemap};
use crate::meta::{Meta, metas};
use crate::page::{
    check_image_consent, check_page_consent, is_binary, is_html_type, looks_like_html,
    settle_consent,
};
use crate::politeness::{Permit, Politeness};
use crate::reservations::{self, AI_TXT_PATH, Reservations, TDMREP_PATH};
use crate::wait::{meta_refresh, retry_after};
use crate::warc::{Exchange, Replay, WarcWriter};
use crate::{Body, Config, Error, Failure, FailureKind, Page, Signal, charset, robots};

/// Redirects followed from a `robots.txt`: RFC 9309, 2.3.1.2 asks for at least five.
const MAX_ROBOTS_REDIRECTS: usize = 5;

/// A `<meta http-equiv=refresh>` with a longer delay is a page that reloads, not a redirect.
const MAX_REFRESH_DELAY: Duration = Duration::from_secs(5);

/// The wait before a first retry, if the server names none; it doubles with each further one.
const FIRST_BACK_OFF: Duration = Duration::from_secs(1);

const ACCEPT_PAGE: &str = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.1";
const ACCEPT_IMAGE: &str = "image/webp,image/png,image/jpeg,image/*;q=0.8,*/*;q=0.1";
const ACCEPT_SITEMAP: &str = "application/xml,text/xml,text/plain;q=0.5,*/*;q=0.1";
const ACCEPT_FILE: &str = "text/plain,application/json,*/*;q=0.1";

/// Fetches pages and images. A clone shares connections, pauses and everything remembered.
#[derive(Clone)]
pub struct Crawler {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    web: Web,
    archive: Option<WarcWriter>,
    rules: AddressRules,
    deadlines: Deadlines,
    politeness: Politeness,
    access: AccessCache,
    requests: AtomicU64,
    bytes: AtomicU64,
}

/// Where answers come from.
enum Web {
    /// The servers that URLs name.
    Live(reqwest::Client),
    /// What an earlier crawl wrote down of them.
    Kept(Replay),
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
    /// A list of pages: `sitemap.xml`.
    Sitemap,
    /// Not itself subject to `robots.txt`.
    Robots,
    /// A file of statements on reuse; its `robots.txt` has been looked into already.
    Statement,
}

impl Wanted {
    fn accept(self) -> &'static str {
        match self {
            Self::Page => ACCEPT_PAGE,
            Self::Image => ACCEPT_IMAGE,
            Self::Sitemap => ACCEPT_SITEMAP,
            Self::Robots | Self::Statement => ACCEPT_FILE,
        }
    }
}

/// An answer with status 200, and the right to go on reading it.
struct Found {
    url: Url,
    wanted: Wanted,
    answer: Answer,
    /// What files of its origin say on reuse.
    signals: Vec<Signal>,
    /// The host's connection is ours until the body has come.
    _permit: Permit,
}

impl Found {
    /// All statements on reuse that are known before the body is read.
    fn signals(&self) -> Vec<Signal> {
        let mut signals = self.signals.clone();
        signals.extend(self.answer.signals());
        signals
    }
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
        Self::with_look_up(config, Arc::new(SystemLookUp))
    }

    /// The same with another way from names to addresses. Whatever it answers passes the address
    /// rules.
    ///
    /// # Errors
    ///
    /// As [`Crawler::new`].
    pub fn with_look_up(config: Config, look_up: Arc<dyn LookUp>) -> Result<Self, Error> {
        config.check()?;
        let resolver = CheckedResolver::new(&config, look_up);
        let client = fetch::client(&config, resolver)?;
        Ok(Self::from_parts(config, Web::Live(client), None))
    }

    /// A crawler that also writes all it asks and gets into WARC files in `folder`. They are on
    /// disk before the page or image is handed on.
    ///
    /// # Errors
    ///
    /// As [`Crawler::new`]; also if the folder cannot be written.
    pub fn archiving(config: Config, folder: &Path) -> Result<Self, Error> {
        config.check()?;
        let writer = WarcWriter::open(folder, config.user_agent())?;
        let resolver = CheckedResolver::new(&config, Arc::new(SystemLookUp));
        let client = fetch::client(&config, resolver)?;
        Ok(Self::from_parts(config, Web::Live(client), Some(writer)))
    }

    /// A crawler that takes every answer from the WARC files of an earlier one and asks nobody.
    /// All rules but the pauses are kept to again, so that the same URLs come to the same ends.
    ///
    /// # Errors
    ///
    /// [`Error::Config`], or as [`Replay::open`].
    pub fn replaying(config: Config, folder: &Path) -> Result<Self, Error> {
        config.check()?;
        let largest = config.max_page_bytes.max(config.max_image_bytes);
        let replay = Replay::open(folder, largest)?;
        Ok(Self::from_parts(config, Web::Kept(replay), None))
    }

    fn from_parts(config: Config, web: Web, archive: Option<WarcWriter>) -> Self {
        let politeness = match &web {
            Web::Live(_) => Politeness::new(&config),
            Web::Kept(_) => Politeness::without_pauses(&config),
        };
        Self {
            shared: Arc::new(Shared {
                deadlines: Deadlines::new(&config),
                politeness,
                access: AccessCache::new(Duration::from_secs(config.robots_ttl_s)),
                requests: AtomicU64::new(0),
                bytes: AtomicU64::new(0),
                rules: AddressRules::new(&config),
                web,
                archive,
                config,
            }),
        }
    }

    /// Whether the archive that is written, if one is, holds all that was fetched so far.
    ///
    /// # Errors
    ///
    /// [`Error::Archive`] if the disk refused something.
    pub fn check_archive(&self) -> Result<(), Error> {
        self.shared
            .archive
            .as_ref()
            .map_or(Ok(()), WarcWriter::check)
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
            let content_type = found.answer.content_type().map(str::to_owned);
            let is_html = is_html_type(content_type.as_deref());
            let check = |found: &Found| {
                let signals = found.signals();
                check_page_consent(&signals)?;
                if is_html == Some(false) {
                    let detail = content_type.clone().unwrap_or_default();
                    return Err(Failure::new(FailureKind::NotHtml, detail));
                }
                Ok(signals)
            };
            let fetched_at = found.answer.received_at;
            let final_url = found.url.clone();
            let (signals, bytes) = self.body(found, max_bytes, check).await?;
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
        let content_type = found.answer.content_type().map(str::to_owned);
        let final_url = found.url.clone();
        let check = |found: &Found| {
            let signals = found.signals();
            check_image_consent(&signals)?;
            Ok(signals)
        };
        let (consent, bytes) = self.body(found, max_bytes, check).await?;
        Ok(Body {
            final_url,
            bytes: Bytes::from(bytes),
            content_type,
            consent,
        })
    }

    /// What a sitemap names: pages, and further sitemaps. Holds at most 100 MB while it is read.
    ///
    /// # Errors
    ///
    /// A [`Failure`] is the outcome for this URL, to be counted.
    pub async fn fetch_sitemap(&self, url: &Url) -> Result<Sitemap, Failure> {
        let mut redirects = 0;
        let target = tidy(url.clone())?;
        let found = self.follow(target, Wanted::Sitemap, &mut redirects).await?;
        let (_, bytes) = self.body(found, MAX_SITEMAP_BYTES, |_| Ok(())).await?;
        Ok(Sitemap::parse(&bytes))
    }

    /// The sitemaps of a URL's origin: those that its `robots.txt` names, else `/sitemap.xml`;
    /// none where it may not be asked.
    pub async fn sitemaps(&self, url: &Url) -> Vec<Url> {
        if self.shared.rules.check(url).is_err() {
            return Vec::new();
        }
        let Access::Rules(rules) = self.access(url).await else {
            return Vec::new();
        };
        let named = rules.sitemaps().iter();
        let named: Vec<Url> = named.filter_map(|text| normalise(text).ok()).collect();
        if named.is_empty() {
            return vec![at_path(url, "/sitemap.xml")];
        }
        named
    }

    /// The body of what was found, if its header passes the check and announces no more than the
    /// cap.
    async fn body<T>(
        &self,
        mut found: Found,
        max_bytes: usize,
        check: impl FnOnce(&Found) -> Result<T, Failure>,
    ) -> Result<(T, Vec<u8>), Failure> {
        let checked = check(&found).and_then(|checked| {
            found.answer.check_length(max_bytes)?;
            Ok(checked)
        });
        let checked = match checked {
            Ok(checked) => checked,
            Err(failure) => {
                let head = self.record(&found.url, found.wanted, &found.answer, None, None);
                head.await;
                return Err(failure);
            }
        };
        let received = self.receive(&mut found, max_bytes).await;
        received.decoded.map(|bytes| (checked, bytes))
    }

    async fn receive(&self, found: &mut Found, max_bytes: usize) -> Received {
        let keeps_raw = self.shared.archive.is_some();
        let count = |bytes: usize| {
            self.shared.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
        };
        let deadlines = self.shared.deadlines;
        let mut received = found
            .answer
            .receive(max_bytes, deadlines, keeps_raw, count)
            .await;
        if keeps_raw {
            let raw = Bytes::from(std::mem::take(&mut received.raw));
            let failure = received.decoded.as_ref().err();
            self.record(&found.url, found.wanted, &found.answer, Some(raw), failure)
                .await;
        }
        received
    }

    /// Writes down an answer: with its body, or its head alone where nobody wanted more; and what
    /// went wrong with it.
    async fn record(
        &self,
        url: &Url,
        wanted: Wanted,
        answer: &Answer,
        body: Option<Bytes>,
        failure: Option<&Failure>,
    ) {
        if self.shared.archive.is_none() {
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
            url: url.clone(),
            request_headers: vec![
                ("User-Agent", self.shared.config.user_agent()),
                ("Accept", wanted.accept().to_owned()),
                ("Accept-Encoding", crate::body::ACCEPT_ENCODING.to_owned()),
            ],
            status: answer.status,
            headers: answer.headers.clone(),
            is_http2: answer.is_http2,
            address: answer.address,
            body: body.unwrap_or_default(),
            received_at: answer.received_at,
            truncated,
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

    /// Writes down that there was no answer.
    async fn record_failure(&self, url: &Url, failure: &Failure) {
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
    async fn on_archive(&self, write: impl FnOnce(&WarcWriter) + Send + 'static) {
        let shared = Arc::clone(&self.shared);
        let task = tokio::task::spawn_blocking(move || {
            if let Some(archive) = &shared.archive {
                write(archive);
            }
        });
        // It cannot panic, and is cut off only when the runtime ends.
        let _ = task.await;
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
            let permission = match wanted {
                Wanted::Robots | Wanted::Statement => Permission::default(),
                Wanted::Page | Wanted::Image | Wanted::Sitemap => self.check_access(&url).await?,
            };
            // What is closed by a file needs no request to be refused.
            match wanted {
                Wanted::Page => check_page_consent(&permission.signals).map(|_| ())?,
                Wanted::Image => check_image_consent(&permission.signals)?,
                Wanted::Sitemap | Wanted::Robots | Wanted::Statement => {}
            }
            match self.ask(url, wanted, permission).await? {
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
            _ => self.shared.config.max_redirects,
        };
        if redirects > limit {
            let detail = format!("more than {limit} redirects");
            return Err(Failure::new(FailureKind::RedirectLimit, detail));
        }
        Ok(())
    }

    /// One URL, asked for again where that may help.
    async fn ask(&self, url: Url, wanted: Wanted, permission: Permission) -> Result<Step, Failure> {
        let Permission {
            crawl_delay,
            signals,
        } = permission;
        let host = url.host_str().unwrap_or_default();
        let retries = match (&self.shared.web, wanted) {
            // Nobody waits long for a file that hardly anybody has, and nothing changes in a kept
            // answer.
            (Web::Kept(_), _) | (_, Wanted::Statement) => 0,
            (Web::Live(_), _) => self.shared.config.retries,
        };
        let mut attempt = 0;
        loop {
            let back_off = FIRST_BACK_OFF * 2_u32.saturating_pow(attempt);
            let may_retry = attempt < retries;
            attempt += 1;
            let permit = match self.shared.politeness.acquire(host, crawl_delay).await {
                Ok(permit) => permit,
                Err(failure) => {
                    self.record_failure(&url, &failure).await;
                    return Err(failure);
                }
            };
            self.shared.requests.fetch_add(1, Ordering::Relaxed);
            let sent = match &self.shared.web {
                Web::Live(client) => {
                    fetch::send(client, &url, wanted.accept(), self.shared.deadlines).await
                }
                Web::Kept(replay) => replay.answer(&url).await,
            };
            permit.answered();
            let answer = match sent {
                Ok(answer) => answer,
                Err(failure) if failure.kind == FailureKind::Connect && may_retry => {
                    drop(permit);
                    tokio::time::sleep(back_off).await;
                    continue;
                }
                Err(failure) => {
                    drop(permit);
                    self.record_failure(&url, &failure).await;
                    return Err(failure);
                }
            };
            if matches!(answer.status, 200 | 203) {
                permit.welcomed();
                let found = Found {
                    url,
                    wanted,
                    answer,
                    signals,
                    _permit: permit,
                };
                return Ok(Step::Found(Box::new(found)));
            }
            self.record(&url, wanted, &answer, None, None).await;
            match answer.status {
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

    /// What the URL's origin says of it, if it allows it.
    async fn check_access(&self, url: &Url) -> Result<Permission, Failure> {
        self.access(url).await.check(url)
    }

    async fn access(&self, url: &Url) -> Access {
        let origin = url.origin().ascii_serialization();
        self.shared
            .access
            .get(&origin, self.fetch_access(url))
            .await
    }

    /// The files in which an origin says what it allows.
    async fn fetch_access(&self, url: &Url) -> Access {
        let rules = if self.shared.config.robots {
            match self.fetch_robots(url).await {
                Ok(rules) => rules,
                Err(failure) => return Access::Unavailable(failure),
            }
        } else {
            OriginRules::default()
        };
        if !self.shared.config.opt_out_files {
            return Access::Rules(Arc::new(rules));
        }
        let tdmrep = self.fetch_statement(url, TDMREP_PATH, &rules).await;
        let ai_txt = self.fetch_statement(url, AI_TXT_PATH, &rules).await;
        let reservations = Reservations::parse(tdmrep.as_deref(), ai_txt.as_deref());
        Access::Rules(Arc::new(rules.with_reservations(reservations)))
    }

    async fn fetch_robots(&self, url: &Url) -> Result<OriginRules, Failure> {
        let robots_url = at_path(url, "/robots.txt");
        let mut redirects = 0;
        let fetched = async {
            let mut found = self.follow_robots(robots_url, &mut redirects).await?;
            let received = self.receive(&mut found, robots::MAX_BYTES).await;
            match (received.decoded, received.start) {
                // Of a file beyond the cap the beginning counts.
                (Err(failure), Some(start)) if failure.kind == FailureKind::TooLarge => Ok(start),
                (decoded, _) => decoded,
            }
        };
        OriginRules::from_answer(fetched.await)
    }

    /// A file of statements on reuse, if the origin has it and lets us read it. Redirects are not
    /// followed: where they lead, another origin speaks.
    async fn fetch_statement(&self, url: &Url, path: &str, rules: &OriginRules) -> Option<Vec<u8>> {
        let url = at_path(url, path);
        if !rules.is_allowed(&url) {
            return None;
        }
        let permission = Permission {
            crawl_delay: rules.crawl_delay(),
            signals: Vec::new(),
        };
        match self.ask(url, Wanted::Statement, permission).await.ok()? {
            Step::Found(mut found) => {
                let received = self.receive(&mut found, reservations::MAX_BYTES).await;
                received.decoded.ok()
            }
            Step::Redirect(_) => None,
        }
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
}

/// Another path of the same origin.
fn at_path(url: &Url, path: &str) -> Url {
    let mut url = url.clone();
    url.set_path(path);
    url.set_query(None);
    url
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
    let status = answer.status;
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
