//! From a few URLs to a list of pages, by links and sitemaps.
//!
//! The crawl goes level by level: all pages of one depth are fetched before the first of the next.
//! So the list is the same however the answers arrive, and the URLs seen need no index
//! ([`crate::seen`]). Inside a level hosts take turns.
//!
//! Memory held is the URLs of one level and what [`Traps`] counts.

use std::io::Write;
use std::path::PathBuf;

use anyhow::{Context, Result};
use m3w_crawler::{Archives, Crawler, Frontier, Scope, TrapConfig, Traps, links};
use m3w_document::{DocumentId, Reason, Tally};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use url::Url;

use crate::build::Stopped;
use crate::pairs::Refusals;
use crate::pipeline::fetch_reason;
use crate::progress::Progress;
use crate::seen::Seen;
use crate::source::{Item, Source};

/// Pages of one host that are worked on for each connection that it may have.
const PAGES_PER_CONNECTION: usize = 2;
/// Sitemaps of one host that are read, indexes included: fifty thousand pages each.
const MAX_SITEMAPS_PER_HOST: usize = 100;

/// Settings of a crawl. Unknown fields are refused.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CrawlConfig {
    /// How far links are followed from where they stand.
    pub scope: Scope,
    /// Links from a URL of the list to the farthest page: 0 fetches the list alone.
    pub max_depth: usize,
    /// Pages fetched in all, the list's own included.
    pub max_pages: usize,
    /// Whether the sitemaps of the list's hosts are read.
    pub sitemaps: bool,
    /// Pages fetched or waiting for their host at one time.
    pub pages_in_flight: usize,
    /// Bounds against sites without an end.
    pub traps: TrapConfig,
    /// Fetching.
    pub crawler: m3w_crawler::Config,
}

impl Default for CrawlConfig {
    fn default() -> Self {
        Self {
            scope: Scope::Host,
            max_depth: 3,
            max_pages: 100_000,
            sitemaps: true,
            pages_in_flight: 1024,
            traps: TrapConfig::default(),
            crawler: m3w_crawler::Config::default(),
        }
    }
}

/// What a crawl is asked to do.
#[derive(Debug, Clone)]
pub struct CrawlOptions {
    /// The URLs to begin with.
    pub source: Source,
    /// The list to write.
    pub out: PathBuf,
    /// How far to go.
    pub config: CrawlConfig,
    /// WARC files that are written, or that spare the web what it sent before.
    pub archives: Archives,
    /// Threads of the runtime.
    pub threads: usize,
    /// Whether to keep silent about progress.
    pub is_quiet: bool,
}

/// Crawls, and writes the pages that answered as a list of URLs. Gives the counts by reason.
///
/// # Errors
///
/// [`Stopped`]; otherwise if the list cannot be read or written.
pub fn crawl(options: &CrawlOptions, stop: &watch::Receiver<bool>) -> Result<Tally> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(options.threads)
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let crawler = {
        let _inside = runtime.enter();
        Crawler::with_archives(options.config.crawler.clone(), &options.archives)
            .context("cannot start the crawler")?
    };
    let mut crawl = Crawl {
        options,
        crawler,
        seen: Seen::new()?,
        traps: Traps::new(options.config.traps.clone()),
        tally: Tally::default(),
        fetched: 0,
        found: Vec::new(),
    };
    let mut level = crawl.first_level(&runtime)?;
    for depth in 0..=options.config.max_depth {
        if level.is_empty() {
            break;
        }
        level = runtime.block_on(crawl.fetch_level(level, depth, stop))?;
    }
    let unchanged = crawl.crawler.stats().unchanged;
    if unchanged > 0 {
        tracing::info!("{unchanged} answers have not changed since an earlier crawl");
    }
    runtime.shutdown_background();
    let text: String = crawl.found.iter().map(|url| format!("{url}\n")).collect();
    m3w_shards::write_atomically(&options.out, text.as_bytes())?;
    Ok(crawl.tally)
}

struct Crawl<'a> {
    options: &'a CrawlOptions,
    crawler: Crawler,
    seen: Seen,
    traps: Traps,
    tally: Tally,
    fetched: usize,
    /// Pages that answered, by their final URLs, in the order of the levels and of the links.
    found: Vec<Url>,
}

impl Crawl<'_> {
    /// The URLs of the list, then those of the sitemaps of their hosts.
    fn first_level(&mut self, runtime: &tokio::runtime::Runtime) -> Result<Vec<Url>> {
        let mut urls = Vec::new();
        for entry in self
            .options
            .source
            .entries(&self.options.config.crawler, &Refusals::default())?
        {
            match entry?.item {
                Item::Url(url) => urls.push(url),
                Item::Refused(reason) => self.count(&reason),
                Item::Page(page) => urls.push(page.url),
                // A crawl's sources hold none.
                Item::Archived(_) | Item::Pair(_) | Item::Document(_) => {}
            }
        }
        if self.options.config.sitemaps {
            let mut hosts = urls.clone();
            hosts.sort_by_key(|url| url.origin().ascii_serialization());
            hosts.dedup_by_key(|url| url.origin().ascii_serialization());
            for host in hosts {
                let pages = runtime.block_on(self.pages_of_sitemaps(&host));
                urls.extend(pages);
            }
        }
        self.admit(urls)
    }

    /// The pages that the sitemaps of a URL's origin name, those within the scope.
    async fn pages_of_sitemaps(&mut self, from: &Url) -> Vec<Url> {
        let scope = self.options.config.scope;
        let mut pages = Vec::new();
        let mut waiting = self.crawler.sitemaps(from).await;
        let mut read = 0;
        while let Some(url) = waiting.pop() {
            if read == MAX_SITEMAPS_PER_HOST {
                break;
            }
            read += 1;
            match self.crawler.fetch_sitemap(&url).await {
                Ok(sitemap) => {
                    self.tally.add("sitemap/read", 1);
                    waiting.extend(sitemap.sitemaps);
                    let inside = sitemap.pages.into_iter();
                    pages.extend(inside.filter(|page| scope.contains(from, page)));
                }
                Err(failure) => self.tally.add(format!("sitemap/{}", failure.reason()), 1),
            }
        }
        pages
    }

    /// Of URLs that were met, those to fetch: each once, no traps, no more than the budget.
    fn admit(&mut self, urls: Vec<Url>) -> Result<Vec<Url>> {
        let hashes: Vec<u64> = urls.iter().map(hash).collect();
        let is_new = self.seen.insert_all(&hashes)?;
        let mut admitted = Vec::new();
        for (url, is_new) in urls.into_iter().zip(is_new) {
            if !is_new {
                continue;
            }
            if self.fetched + admitted.len() >= self.options.config.max_pages {
                self.tally.add("page/over-budget", 1);
            } else if self.traps.admit(&url) {
                admitted.push(url);
            } else {
                self.tally.add("page/fetch/trap", 1);
            }
        }
        Ok(admitted)
    }

    /// Fetches all pages of a level; gives those of the next.
    async fn fetch_level(
        &mut self,
        level: Vec<Url>,
        depth: usize,
        stop: &watch::Receiver<bool>,
    ) -> Result<Vec<Url>> {
        let config = &self.options.config;
        let total = level.len();
        let progress = Progress::new("pages", 0, total as u64, self.options.is_quiet);
        let per_host = config.crawler.connections_per_host * PAGES_PER_CONNECTION;
        let mut frontier = Frontier::new(per_host);
        for (number, url) in level.into_iter().enumerate() {
            let host = url.host_str().unwrap_or_default().to_owned();
            frontier.push(&host, (number, url));
        }
        let follows = depth < config.max_depth;
        let mut answers: Vec<Option<Answer>> = Vec::new();
        answers.resize_with(total, || None);
        let mut tasks = tokio::task::JoinSet::new();
        loop {
            while tasks.len() < config.pages_in_flight
                && let Some((host, (number, url))) = frontier.take()
            {
                let crawler = self.crawler.clone();
                tasks.spawn(async move {
                    let answer = crawler.fetch_page(&url).await.map(|page| Leads {
                        links: if follows { links(&page) } else { Vec::new() },
                        url: page.final_url,
                    });
                    (host, number, answer)
                });
            }
            let Some(finished) = tasks.join_next().await else {
                break;
            };
            let (host, number, answer) = finished.context("a fetch panicked")?;
            frontier.finished(&host);
            answers[number] = Some(answer);
            self.crawler.check_archive()?;
            let stats = self.crawler.stats();
            progress.step(|| {
                format!(
                    "at depth {depth}, {} requests, {} hosts",
                    stats.requests, stats.active_hosts
                )
            });
            if *stop.borrow() {
                return Err(anyhow::Error::new(Stopped)
                    .context("stopped: no list was written, the same command begins anew"));
            }
        }
        progress.finish();
        self.fetched += total;
        let mut next = Vec::new();
        for answer in answers.into_iter().flatten() {
            match answer {
                Ok(leads) => {
                    self.tally.add("page/found", 1);
                    let scope = config.scope;
                    let inside = leads.links.into_iter();
                    next.extend(inside.filter(|url| scope.contains(&leads.url, url)));
                    self.found.push(leads.url);
                }
                Err(failure) => self.count(&fetch_reason(failure)),
            }
        }
        self.admit(next)
    }

    fn count(&mut self, reason: &Reason) {
        self.tally.add(format!("page/{}", reason.name), 1);
    }
}

/// A page that answered.
struct Leads {
    url: Url,
    links: Vec<Url>,
}

type Answer = Result<Leads, m3w_crawler::Failure>;

fn hash(url: &Url) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = DocumentId::of(url).0;
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

/// Prints the counts, most frequent first.
///
/// # Errors
///
/// If nobody reads them.
pub fn print(tally: &Tally, out: &mut impl Write) -> Result<()> {
    for step in ["page", "sitemap"] {
        for (name, count) in tally.step(step) {
            writeln!(out, "{name:<42} {count:>12}")?;
        }
    }
    Ok(())
}
