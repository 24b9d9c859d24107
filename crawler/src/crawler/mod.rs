//! The crawler: every rule of this crate in the order in which a URL meets them.

mod origin;
mod range;
mod record;
mod request;

pub use range::Piece;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use url::Url;

use self::origin::at_path;
use self::request::{Found, Wanted};
use crate::access::{Access, AccessCache};
use crate::address::{AddressRules, normalise, tidy};
use crate::connections::Connections;
use crate::dns::{CheckedResolver, LookUp, SystemLookUp};
use crate::fetch::{Deadlines, Received};
use crate::meta::{Meta, metas};
use crate::page::{
    check_image_consent, check_page_consent, is_binary, is_html_type, looks_like_html,
    settle_consent,
};
use crate::politeness::Politeness;
use crate::sitemap::MAX_SITEMAP_BYTES;
use crate::wait::meta_refresh;
use crate::warc::{Earlier, Replay, WarcWriter};
use crate::{Body, Config, Error, Failure, FailureKind, Page, Sitemap, charset};

/// A `<meta http-equiv=refresh>` with a longer delay is a page that reloads, not a redirect.
const MAX_REFRESH_DELAY: Duration = Duration::from_secs(5);

/// Fetches pages and images. A clone shares connections, pauses and everything remembered.
#[derive(Clone)]
pub struct Crawler {
    shared: Arc<Shared>,
}

struct Shared {
    config: Config,
    web: Web,
    archive: Option<WarcWriter>,
    earlier: Option<Earlier>,
    rules: AddressRules,
    deadlines: Deadlines,
    politeness: Politeness,
    access: AccessCache,
    requests: AtomicU64,
    bytes: AtomicU64,
    unchanged: AtomicU64,
}

/// The WARC files of a crawl, by folder. The default is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Archives {
    /// Where all that is asked and answered is written; it is on disk before the page or image is
    /// handed on.
    pub out: Option<PathBuf>,
    /// What stands in for the web: every answer is taken from the files that a crawl wrote here,
    /// and nobody is asked. All rules but the pauses are kept to again, so that the same URLs come
    /// to the same ends.
    pub replay: Option<PathBuf>,
    /// What earlier crawls wrote, the latest last. A page, image or sitemap that they hold is asked
    /// for only if it has changed since (`If-None-Match`, `If-Modified-Since`), and taken from here
    /// if the server says that it has not. Where such a crawl is written itself, a `revisit` record
    /// stands for what was not sent again, and a replay needs the same folders.
    pub earlier: Vec<PathBuf>,
}

/// Where answers come from.
enum Web {
    /// The servers that URLs name.
    Live(Box<Connections>),
    /// What an earlier crawl wrote down of them.
    Kept(Replay),
}

impl Web {
    fn live(config: &Config, look_up: Arc<dyn LookUp>) -> Result<Self, Error> {
        let resolver = CheckedResolver::new(config, look_up);
        Ok(Self::Live(Box::new(Connections::new(config, resolver)?)))
    }
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
    /// Answers that an earlier crawl had and the server confirmed.
    pub unchanged: u64,
    /// Requests that may be in flight over all hosts at present, see [`Config::concurrency`].
    pub places: usize,
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
        let web = Web::live(&config, look_up)?;
        Ok(Self::from_parts(config, web, None, None))
    }

    /// A crawler that writes WARC files or takes answers from some.
    ///
    /// # Errors
    ///
    /// As [`Crawler::new`], or as [`Replay::open`]; also if a folder cannot be read or written.
    pub fn with_archives(config: Config, archives: &Archives) -> Result<Self, Error> {
        config.check()?;
        let largest = config.max_page_bytes.max(config.max_image_bytes);
        let web = match &archives.replay {
            Some(folder) => Web::Kept(Replay::open(folder, largest)?),
            None => Web::live(&config, Arc::new(SystemLookUp))?,
        };
        let earlier = (!archives.earlier.is_empty())
            .then(|| Earlier::open(&archives.earlier, largest))
            .transpose()?;
        // Opened last: the folder that is written may also be one that is read.
        let writer = archives.out.as_deref();
        let writer = writer
            .map(|folder| WarcWriter::open(folder, config.user_agent()))
            .transpose()?;
        Ok(Self::from_parts(config, web, writer, earlier))
    }

    fn from_parts(
        config: Config,
        web: Web,
        archive: Option<WarcWriter>,
        earlier: Option<Earlier>,
    ) -> Self {
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
                unchanged: AtomicU64::new(0),
                web,
                archive,
                earlier,
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
            unchanged: self.shared.unchanged.load(Ordering::Relaxed),
            places: self.shared.politeness.places(),
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
                check_page_consent(self.shared.config.consent_policy, &signals)?;
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
            let (consent, decision) =
                settle_consent(self.shared.config.consent_policy, signals, &metas)?;
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
            check_image_consent(self.shared.config.consent_policy, &signals)?;
            Ok(signals)
        };
        let fetched_at = found.answer.received_at;
        let (consent, bytes) = self.body(found, max_bytes, check).await?;
        Ok(Body {
            final_url,
            bytes: Bytes::from(bytes),
            content_type,
            consent,
            fetched_at,
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
        let is_archived = found.answer.is_archived();
        let keeps_raw = self.shared.archive.is_some() && !is_archived;
        let count = |bytes: usize| {
            let received = if is_archived { 0 } else { bytes as u64 };
            self.shared.bytes.fetch_add(received, Ordering::Relaxed);
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
