//! Pages and pictures that somebody names: by a URL, by a host, by the hash of a picture.

use std::collections::BTreeSet;
use std::fmt;

use anyhow::{Context, Result, bail};
use m3w_crawler::registrable_domain;
use m3w_document::{Document, Image, ImageRef, Media, Sha256};
use url::{Host, Url};

/// What is told of a thing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Kind {
    /// Its URL: of a page, as asked for or as answered, or of a picture.
    Url,
    /// The host it came from, or one above that.
    Domain,
    /// The hash of a picture's bytes, as fetched or as stored.
    Sha256,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Url, Self::Domain, Self::Sha256];

    /// Its name in lists and options.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Url => "url",
            Self::Domain => "domain",
            Self::Sha256 => "sha256",
        }
    }
}

/// One thing: what is told of it, and the hash of that.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Key {
    /// What is told.
    pub kind: Kind,
    /// For a picture the hash of its bytes; otherwise that of the URL or domain as text.
    pub sha256: Sha256,
}

impl Key {
    /// A page or picture by its URL; what stands behind `#` does not count.
    ///
    /// # Errors
    ///
    /// If it is no absolute URL.
    pub fn url(text: &str) -> Result<Self> {
        let url = Url::parse(text).with_context(|| {
            format!("`{text}` is no URL: give it whole, as https://example.org/page")
        })?;
        Ok(Self::of_url(&url))
    }

    /// All that came from a host or those below it.
    ///
    /// # Errors
    ///
    /// If it is no host, or one that nobody can own, as `co.uk`.
    pub fn domain(text: &str) -> Result<Self> {
        match bare_host(text)? {
            Host::Domain(name) if registrable_domain(&name).is_none() => {
                bail!("`{name}` is shared by many owners: name a host below it, or forget by URL")
            }
            _ => Self::host(text),
        }
    }

    /// A picture by the SHA-256 of its bytes, as they were fetched or as they are stored.
    ///
    /// # Errors
    ///
    /// If it is not 64 hexadecimal digits.
    pub fn sha256(text: &str) -> Result<Self> {
        let sha256 = text.to_ascii_lowercase().parse();
        let sha256 = sha256.with_context(|| format!("`{text}` is no SHA-256"))?;
        Ok(Self {
            kind: Kind::Sha256,
            sha256,
        })
    }

    /// The same of any host, whoever may own it: for lists of hosts that are to be shut out.
    ///
    /// # Errors
    ///
    /// If it is no host.
    pub fn host(text: &str) -> Result<Self> {
        let name = bare_host(text)?.to_string();
        Ok(Self::of_domain(name.trim_end_matches('.')))
    }

    /// Any of them, told by its form: 64 hexadecimal digits, a URL, or else a domain.
    ///
    /// # Errors
    ///
    /// If it is none.
    pub fn parse(text: &str) -> Result<Self> {
        if text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            Self::sha256(text)
        } else if text.contains("://") {
            Self::url(text)
        } else {
            Self::domain(text)
        }
    }

    fn of_url(url: &Url) -> Self {
        // As a crawl asks for it: without a fragment and credentials. URLs that cannot have the
        // latter have none.
        let mut url = url.clone();
        url.set_fragment(None);
        let _ = url.set_username("");
        let _ = url.set_password(None);
        Self {
            kind: Kind::Url,
            sha256: Sha256::of(url.as_str().as_bytes()),
        }
    }

    fn of_domain(name: &str) -> Self {
        Self {
            kind: Kind::Domain,
            sha256: Sha256::of(name.as_bytes()),
        }
    }

    /// All keys by which what stands at `url` may be named.
    fn all_of(url: &Url) -> Vec<Self> {
        let mut keys = vec![Self::of_url(url)];
        match url.host() {
            Some(Host::Domain(name)) => {
                let name = name.trim_end_matches('.');
                let starts = name.match_indices('.').map(|(dot, _)| dot + 1);
                let names = std::iter::once(0).chain(starts).map(|start| &name[start..]);
                keys.extend(names.map(Self::of_domain));
            }
            Some(address) => keys.push(Self::of_domain(&address.to_string())),
            None => {}
        }
        keys
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.kind.as_str(), self.sha256)
    }
}

/// A set of such things. Memory is some 50 bytes for each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Named(BTreeSet<Key>);

impl Named {
    /// Adds a thing.
    pub fn insert(&mut self, key: Key) {
        self.0.insert(key);
    }

    /// Whether nothing is named.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The things, in order.
    pub fn keys(&self) -> impl Iterator<Item = &Key> {
        self.0.iter()
    }

    /// Whether what stands there is named.
    #[must_use]
    pub fn has_url(&self, url: &Url) -> bool {
        !self.is_empty() && Key::all_of(url).iter().any(|key| self.0.contains(key))
    }

    /// The same of a URL as it stood in a list.
    #[must_use]
    pub fn has_text(&self, text: &str) -> bool {
        !self.is_empty() && Url::parse(text.trim()).is_ok_and(|url| self.has_url(&url))
    }

    /// Whether one of a picture's own URLs, or that of the video it is from, is named;
    /// the page that it links to is not asked.
    #[must_use]
    pub fn has_reference(&self, reference: &ImageRef) -> bool {
        !self.is_empty() && urls(reference).any(|url| self.has_url(url))
    }

    /// Whether a picture is named, by its URLs or by its bytes.
    #[must_use]
    pub fn has_picture(&self, image: &Image) -> bool {
        !self.is_empty()
            && (hashes(image).iter().any(|key| self.0.contains(key))
                || self.has_reference(&image.reference))
    }

    /// Whether a document is named, whatever its pictures.
    #[must_use]
    pub fn has_page<I>(&self, document: &Document<I>) -> bool {
        self.has_url(&document.url) || self.has_url(&document.final_url)
    }

    /// Those of the things that a document, or a line of a list of outcomes, was touched by: for
    /// the whole of it, and for each of its pictures.
    #[must_use]
    pub fn matches(&self, text: &str, document: Option<&Document<Image>>) -> Matches {
        let among = |keys: BTreeSet<Key>| -> BTreeSet<Key> {
            keys.intersection(&self.0).copied().collect()
        };
        let mut page: BTreeSet<Key> = BTreeSet::new();
        if let Ok(url) = Url::parse(text.trim()) {
            page.extend(Key::all_of(&url));
        }
        if let Some(document) = document {
            page.extend(Key::all_of(&document.url));
            page.extend(Key::all_of(&document.final_url));
        }
        Matches {
            page: among(page),
            pictures: document
                .iter()
                .flat_map(|document| document.images())
                .map(|image| {
                    let by_url = urls(&image.reference).flat_map(Key::all_of);
                    among(by_url.chain(hashes(image)).collect())
                })
                .collect(),
        }
    }
}

/// What of one document is named, and by which of the things.
#[derive(Debug, Default)]
pub struct Matches {
    /// Those that name the page.
    pub page: BTreeSet<Key>,
    /// For each of its pictures those that name it.
    pub pictures: Vec<BTreeSet<Key>>,
}

/// The URLs that a picture may be known by.
fn urls(reference: &ImageRef) -> impl Iterator<Item = &Url> {
    let source = match &reference.media {
        Media::Video { source } => source.as_ref(),
        Media::Frame { source } => Some(source),
        Media::Image | Media::Animation => None,
    };
    std::iter::once(&reference.url)
        .chain(&reference.alternatives)
        .chain(source)
}

fn hashes(image: &Image) -> [Key; 2] {
    [image.sha256_fetched, image.sha256_stored].map(|sha256| Key {
        kind: Kind::Sha256,
        sha256,
    })
}

/// A host and nothing else.
fn bare_host(text: &str) -> Result<Host<String>> {
    let url = Url::parse(&format!("http://{text}/")).ok();
    let bare = url.filter(|url| {
        let has_more = url.port().is_some() || url.query().is_some() || url.fragment().is_some();
        url.path() == "/" && url.username().is_empty() && !has_more
    });
    let host = bare.and_then(|url| url.host().map(|host| host.to_owned()));
    host.with_context(|| format!("`{text}` is no host: give its name alone, as example.org"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_stands_for_those_below_it_and_a_url_for_itself() {
        let mut named = Named::default();
        named.insert(Key::domain("Example.org.").unwrap());
        named.insert(Key::url("https://me@other.test/a#part").unwrap());
        named.insert(Key::host("127.0.0.1").unwrap());
        for (url, expected) in [
            ("https://example.org/", true),
            ("http://www.EXAMPLE.org:8080/a?b", true),
            ("https://notexample.org/", false),
            ("https://example.org.evil.test/", false),
            ("https://other.test/a", true),
            ("https://other.test/a/", false),
            ("http://127.0.0.1:99/", true),
        ] {
            assert_eq!(named.has_text(url), expected, "{url}");
        }
    }

    #[test]
    fn things_are_told_by_their_form() {
        let hash = "ab".repeat(32);
        for (text, kind) in [
            (hash.as_str(), Kind::Sha256),
            ("https://a.test/", Kind::Url),
            ("a.test", Kind::Domain),
        ] {
            assert_eq!(Key::parse(text).unwrap().kind, kind);
        }
        assert!(Key::domain("github.io").is_err());
        assert!(Key::host("github.io").is_ok());
        assert!(Key::parse("a.test/page").is_err());
    }
}
