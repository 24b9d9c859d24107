//! Where a page leads, and which of it is worth following.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::address::tidy;
use crate::meta::walk;
use crate::{PRODUCT_TOKEN, Page, registrable_domain};

/// Links of one page that are read.
const MAX_LINKS: usize = 5_000;

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
    walk(&page.html, &["a", "area", "base"], |tag| {
        let Some(target) = tag.value("href") else {
            return;
        };
        if tag.is("base") {
            // The first one counts.
            if !has_base && let Ok(url) = page.final_url.join(&target) {
                base = url;
                has_base = true;
            }
            return;
        }
        let is_unwanted = tag
            .value("rel")
            .is_some_and(|rel| rel.split_ascii_whitespace().any(is_nofollow));
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
    let mut seen = HashSet::new();
    found.retain(|url| seen.insert(url.clone()));
    found
}

fn is_nofollow(word: &str) -> bool {
    let word = word.trim();
    word.eq_ignore_ascii_case("nofollow") || word.eq_ignore_ascii_case("none")
}

#[cfg(test)]
mod tests {
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
}
