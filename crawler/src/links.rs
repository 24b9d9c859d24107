//! Where a page leads, and which of it is worth following.

use std::collections::HashMap;
use std::io::Read;

use flate2::read::MultiGzDecoder;
use quick_xml::Reader;
use quick_xml::events::Event;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::address::tidy;
use crate::meta::walk;
use crate::{PRODUCT_TOKEN, Page, registrable_domain};

/// Links of one page that are read.
const MAX_LINKS: usize = 5_000;
/// Largest sitemap, unpacked: what the protocol allows (sitemaps.org).
pub(crate) const MAX_SITEMAP_BYTES: usize = 50 << 20;
/// Entries of one sitemap: likewise.
const MAX_SITEMAP_ENTRIES: usize = 50_000;

/// How far links are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To pages of the same host.
    Host,
    /// To pages of the same registrable domain.
    Domain,
}

impl Scope {
    /// Whether a link from one page to another stays inside.
    #[must_use]
    pub fn contains(self, from: &Url, to: &Url) -> bool {
        let (Some(from), Some(to)) = (from.host_str(), to.host_str()) else {
            return false;
        };
        from == to
            || self == Self::Domain
                && registrable_domain(from).is_some_and(|domain| {
                    registrable_domain(to).is_some_and(|other| other == domain)
                })
    }
}

/// The pages that a page links to, each once, in order. A page that asks not to be followed, by
/// `nofollow` in its `<meta>` or header, links to none; nor does a link with `rel=nofollow`.
#[must_use]
pub fn links(page: &Page) -> Vec<Url> {
    let mut base = page.final_url.clone();
    let mut has_base = false;
    let mut found: Vec<Url> = Vec::new();
    let mut is_closed = page.consent.iter().any(|signal| {
        let is_for_us = ["x-robots-tag", "meta-robots"].contains(&signal.channel.as_str())
            || signal.channel == format!("meta-{PRODUCT_TOKEN}");
        is_for_us && signal.value.split(',').any(is_nofollow)
    });
    walk(&page.html, &["a", "area", "base"], |name, attributes| {
        let value = |wanted: &str| {
            let found = attributes.iter().find(|(name, _)| name == wanted);
            found.map(|(_, value)| value.as_str())
        };
        let Some(target) = value("href") else {
            return;
        };
        if name == "base" {
            // The first one counts.
            if !has_base && let Ok(url) = page.final_url.join(target) {
                base = url;
                has_base = true;
            }
            return;
        }
        let is_unwanted =
            value("rel").is_some_and(|rel| rel.split_ascii_whitespace().any(is_nofollow));
        if is_unwanted || found.len() >= MAX_LINKS {
            return;
        }
        if let Ok(url) = base.join(target.trim())
            && let Ok(url) = tidy(url)
        {
            found.push(url);
        }
    });
    is_closed |= found.is_empty();
    if is_closed {
        return Vec::new();
    }
    let mut seen = std::collections::HashSet::new();
    found.retain(|url| seen.insert(url.clone()));
    found
}

fn is_nofollow(word: &str) -> bool {
    let word = word.trim();
    word.eq_ignore_ascii_case("nofollow") || word.eq_ignore_ascii_case("none")
}

/// What a sitemap names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sitemap {
    /// Pages.
    pub pages: Vec<Url>,
    /// Further sitemaps, if it is an index.
    pub sitemaps: Vec<Url>,
}

impl Sitemap {
    /// Reads a sitemap or an index of sitemaps: XML, or a text with one URL a line, either of them
    /// also packed with gzip. What is broken yields what stands before it.
    #[must_use]
    pub fn parse(bytes: &[u8]) -> Self {
        let mut unpacked = Vec::new();
        let bytes = if bytes.starts_with(&[0x1f, 0x8b]) {
            // What is cut off or damaged is read as far as it goes.
            let _ = MultiGzDecoder::new(bytes)
                .take(MAX_SITEMAP_BYTES as u64)
                .read_to_end(&mut unpacked);
            unpacked.as_slice()
        } else {
            bytes
        };
        let text = String::from_utf8_lossy(bytes);
        let text = text.trim_start_matches('\u{feff}').trim_start();
        if text.starts_with('<') {
            return Self::from_xml(text);
        }
        let pages = text.lines().filter_map(|line| crate::normalise(line).ok());
        Self {
            pages: pages.take(MAX_SITEMAP_ENTRIES).collect(),
            sitemaps: Vec::new(),
        }
    }

    fn from_xml(text: &str) -> Self {
        let mut reader = Reader::from_str(text);
        reader.config_mut().check_end_names = false;
        let mut sitemap = Self::default();
        let mut is_index = false;
        let mut location: Option<String> = None;
        while sitemap.pages.len() + sitemap.sitemaps.len() < MAX_SITEMAP_ENTRIES {
            match reader.read_event() {
                Ok(Event::Start(tag)) => match tag.local_name().as_ref() {
                    "sitemap" => is_index = true,
                    "url" => is_index = false,
                    "loc" => location = Some(String::new()),
                    _ => {}
                },
                Ok(Event::Text(text)) => {
                    if let Some(location) = &mut location {
                        location.push_str(&text);
                    }
                }
                Ok(Event::CData(text)) => {
                    if let Some(location) = &mut location {
                        location.push_str(&text);
                    }
                }
                Ok(Event::GeneralRef(name)) => {
                    let character = match &name[..] {
                        "amp" => "&",
                        "lt" => "<",
                        "gt" => ">",
                        "quot" => "\"",
                        "apos" => "'",
                        _ => "",
                    };
                    if let Some(location) = &mut location {
                        location.push_str(character);
                    }
                }
                Ok(Event::End(tag)) if tag.local_name().as_ref() == "loc" => {
                    if let Some(Ok(url)) = location.take().map(|text| crate::normalise(&text)) {
                        if is_index {
                            sitemap.sitemaps.push(url);
                        } else {
                            sitemap.pages.push(url);
                        }
                    }
                }
                Ok(Event::Eof) | Err(_) => break,
                Ok(_) => {}
            }
        }
        sitemap
    }
}

/// Bounds against sites that lead on for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrapConfig {
    /// Longest path and query that are followed, in bytes.
    pub max_path_bytes: usize,
    /// Deepest path that is followed, in segments.
    pub max_segments: usize,
    /// How often one segment may stand in a path: `/a/a/a/` is a link that grows.
    pub max_repeats: usize,
    /// Pages of one host.
    pub max_pages_per_host: usize,
    /// Pages of one host whose URLs differ only in their digits and in the values of their query:
    /// calendars, counters, filters.
    pub max_pages_per_shape: usize,
}

impl Default for TrapConfig {
    fn default() -> Self {
        Self {
            max_path_bytes: 1_024,
            max_segments: 20,
            max_repeats: 2,
            max_pages_per_host: 100_000,
            max_pages_per_shape: 2_000,
        }
    }
}

/// Counts what was followed, and says where to stop.
///
/// Memory held is about 100 bytes for each host and each shape of URL.
#[derive(Debug)]
pub struct Traps {
    config: TrapConfig,
    by_host: HashMap<String, usize>,
    by_shape: HashMap<u64, usize>,
}

impl Traps {
    /// Nothing has been followed yet.
    #[must_use]
    pub fn new(config: TrapConfig) -> Self {
        Self {
            config,
            by_host: HashMap::new(),
            by_shape: HashMap::new(),
        }
    }

    /// Whether a URL that was not seen before may be followed; it is counted if it may.
    pub fn admit(&mut self, url: &Url) -> bool {
        if !self.has_sound_path(url) {
            return false;
        }
        let host = url.host_str().unwrap_or_default();
        let of_host = self.by_host.get(host).copied().unwrap_or_default();
        let shape = shape(url);
        let of_shape = self.by_shape.get(&shape).copied().unwrap_or_default();
        if of_host >= self.config.max_pages_per_host || of_shape >= self.config.max_pages_per_shape
        {
            return false;
        }
        self.by_host.insert(host.to_owned(), of_host + 1);
        self.by_shape.insert(shape, of_shape + 1);
        true
    }

    fn has_sound_path(&self, url: &Url) -> bool {
        let segments: Vec<&str> = url
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for segment in &segments {
            *counts.entry(segment).or_default() += 1;
        }
        let length = url.path().len() + url.query().map_or(0, str::len);
        length <= self.config.max_path_bytes
            && segments.len() <= self.config.max_segments
            && counts
                .values()
                .all(|count| *count <= self.config.max_repeats)
    }
}

/// A hash of what a URL has in common with others of its kind: host, path without digits, names
/// of the query.
fn shape(url: &Url) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};

    let mut hasher = DefaultHasher::new();
    url.host_str().hash(&mut hasher);
    let mut in_digits = false;
    for byte in url.path().bytes() {
        let is_digit = byte.is_ascii_digit();
        if !is_digit || !in_digits {
            (if is_digit { b'0' } else { byte }).hash(&mut hasher);
        }
        in_digits = is_digit;
    }
    for (name, _) in url.query_pairs() {
        name.hash(&mut hasher);
    }
    // Pages that differ in a letter are of different kinds; only counters and queries are bounded.
    let counts = url.path().bytes().any(|byte| byte.is_ascii_digit()) || url.query().is_some();
    if !counts {
        url.as_str().hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::Signal;

    fn page(html: &str) -> Page {
        let url = Url::parse("http://h.test/d/page").unwrap();
        Page {
            url: url.clone(),
            final_url: url,
            fetched_at: 0,
            html: html.to_owned(),
            charset: "UTF-8",
            consent: Vec::new(),
            images_allowed: true,
            is_truncated: false,
            warc: None,
        }
    }

    fn texts(urls: &[Url]) -> Vec<&str> {
        urls.iter().map(Url::as_str).collect()
    }

    #[test]
    fn links_are_absolute_and_each_stands_once() {
        let html = "<a href=a#x>1</a><A HREF='/b?x=1&amp;y=2'>2</A><a href=a>3</a>\
            <a href=mailto:x@y.test>4</a><a rel='noopener nofollow' href=c>5</a>\
            <!-- <a href=d> --><area href=//other.test/e>";
        assert_eq!(
            texts(&links(&page(html))),
            [
                "http://h.test/d/a",
                "http://h.test/b?x=1&y=2",
                "http://other.test/e"
            ]
        );
        let html = "<base href=/base/><base href=/later/><a href=a>1</a>";
        assert_eq!(texts(&links(&page(html))), ["http://h.test/base/a"]);
    }

    #[test]
    fn a_page_that_is_not_to_be_followed_leads_nowhere() {
        let mut closed = page("<a href=a>1</a>");
        closed.consent.push(Signal {
            channel: "meta-robots".to_owned(),
            value: "noarchive, NoFollow".to_owned(),
        });
        assert!(links(&closed).is_empty());
    }

    #[test]
    fn sitemaps_and_their_indexes_are_read_packed_or_not() {
        let xml = "<?xml version='1.0'?><urlset xmlns='x'><url><loc> http://h.test/a?x=1&amp;y=2 \
            </loc></url><url><loc><![CDATA[http://h.test/b]]></loc></url></urlset>";
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(xml.as_bytes()).unwrap();
        for bytes in [xml.as_bytes(), &packed.finish().unwrap()] {
            let sitemap = Sitemap::parse(bytes);
            let expected = ["http://h.test/a?x=1&y=2", "http://h.test/b"];
            assert_eq!(texts(&sitemap.pages), expected);
        }
        let index = "<sitemapindex><sitemap><loc>http://h.test/s.xml.gz</loc></sitemap>";
        let sitemap = Sitemap::parse(index.as_bytes());
        assert_eq!(texts(&sitemap.sitemaps), ["http://h.test/s.xml.gz"]);
        let sitemap = Sitemap::parse(b"http://h.test/a\nnothing\nhttp://h.test/b\n");
        assert_eq!(sitemap.pages.len(), 2);
        assert_eq!(Sitemap::parse(b"<html><p>Not found"), Sitemap::default());
    }

    #[test]
    fn a_scope_ends_at_the_host_or_at_the_domain() {
        let url = |text: &str| Url::parse(text).unwrap();
        let (from, sister) = (url("http://a.h.test/"), url("https://b.h.test/"));
        assert!(!Scope::Host.contains(&from, &sister));
        assert!(Scope::Domain.contains(&from, &sister));
        assert!(!Scope::Domain.contains(&from, &url("http://other.test/")));
        let address = url("http://127.0.0.1/");
        assert!(Scope::Domain.contains(&address, &url("http://127.0.0.1/x")));
        assert!(!Scope::Domain.contains(&address, &url("http://127.0.0.2/")));
    }

    #[test]
    fn what_leads_on_for_ever_is_left() {
        let mut traps = Traps::new(TrapConfig {
            max_pages_per_host: 30,
            max_pages_per_shape: 12,
            ..TrapConfig::default()
        });
        let mut admit =
            |path: &str| traps.admit(&Url::parse("http://h.test").unwrap().join(path).unwrap());
        assert!(admit("/a/b/a/"));
        assert!(!admit("/a/a/a/"));
        assert!(!admit(&format!("/{}", "x/".repeat(30))));
        assert!(!admit(&format!("/{}", "x".repeat(2000))));
        let months = (0..100)
            .filter(|month| admit(&format!("/calendar?m={month}")))
            .count();
        assert_eq!(months, 12);
        let numbers = (0..100)
            .filter(|number| admit(&format!("/n/{number}")))
            .count();
        assert_eq!(numbers, 12);
        let words = ["one", "two", "three", "four", "five", "six", "seven"];
        let words = words
            .iter()
            .filter(|word| admit(&format!("/w/{word}")))
            .count();
        assert_eq!(words, 30 - 1 - 12 - 12);
    }
}
