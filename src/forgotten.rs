//! What a corpus must not hold, by order of those it is about.
//!
//! The list stands in the corpus's folder, `forgotten.txt`, and holds nothing of what it names: of
//! each URL, domain and picture the SHA-256, a line each (`url 5f70...`). Whatever makes or remakes
//! rows of the corpus asks it: a build that is opened again, a repair, `m3w verify`.

use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

use anyhow::{Context, Result, bail};
use m3w_crawler::registrable_domain;
use m3w_document::{Document, Image, ImageRef, Media, Reason, Sha256};
use m3w_shards::write_atomically;
use url::{Host, Url};

use crate::journal::{ImageDrop, Measured, Outcome};
use crate::pipeline::enough_images;
use crate::unit::Unit;

/// Name of the list in a corpus's folder.
pub const FORGOTTEN_NAME: &str = "forgotten.txt";
/// Reason of an input or a picture that was there.
pub const FORGOTTEN: Reason = Reason::new("forget/asked");
/// What stands before the hash of a URL that is no longer named.
const HIDDEN: &str = "sha256:";

/// What is told of a thing to be forgotten.
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
    const ALL: [Self; 3] = [Self::Url, Self::Domain, Self::Sha256];

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

/// One thing to be forgotten: what is told of it, and the hash of that.
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
        let url = Url::parse(&format!("http://{text}/"));
        let host = url.iter().find_map(|url| {
            let is_bare = url.path() == "/" && url.port().is_none() && url.username().is_empty();
            url.host().filter(|_| is_bare && url.query().is_none())
        });
        match host {
            Some(Host::Domain(name)) if registrable_domain(name).is_some() => {
                Ok(Self::of_domain(name.trim_end_matches('.')))
            }
            Some(Host::Domain(name)) => {
                bail!("`{name}` is shared by many owners: name a host below it, or forget by URL")
            }
            Some(address) => Ok(Self::of_domain(&address.to_string())),
            None => bail!("`{text}` is no host: give its name alone, as example.org"),
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

/// All that a corpus must not hold. Memory is some 50 bytes for each.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Forgotten(BTreeSet<Key>);

impl Forgotten {
    /// The list of the corpus in `root`; an empty one where there is none.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or a line of it is damaged.
    pub fn load(root: &Path) -> Result<Self> {
        let path = root.join(FORGOTTEN_NAME);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let mut keys = BTreeSet::new();
        for (number, line) in text.lines().enumerate() {
            let key = || {
                let (kind, sha256) = line.split_once(' ')?;
                Some(Key {
                    kind: Kind::ALL.into_iter().find(|known| known.as_str() == kind)?,
                    sha256: sha256.parse().ok()?,
                })
            };
            let key = key().with_context(|| {
                format!(
                    "{}, line {}: it is damaged; restore the file from a copy",
                    path.display(),
                    number + 1
                )
            })?;
            keys.insert(key);
        }
        Ok(Self(keys))
    }

    /// Writes the list into `root`, whole or not at all.
    ///
    /// # Errors
    ///
    /// If the disk refuses it.
    pub fn save(&self, root: &Path) -> Result<()> {
        let lines: String = self.0.iter().map(|key| format!("{key}\n")).collect();
        Ok(write_atomically(
            &root.join(FORGOTTEN_NAME),
            lines.as_bytes(),
        )?)
    }

    /// Adds a thing.
    pub fn insert(&mut self, key: Key) {
        self.0.insert(key);
    }

    /// Whether nothing is to be forgotten.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether what stands there is to be forgotten.
    #[must_use]
    pub fn has_url(&self, url: &Url) -> bool {
        !self.is_empty() && Key::all_of(url).iter().any(|key| self.0.contains(key))
    }

    /// The same of a URL as it stood in a list.
    #[must_use]
    pub fn has_text(&self, text: &str) -> bool {
        !self.is_empty() && Url::parse(text.trim()).is_ok_and(|url| self.has_url(&url))
    }

    /// Whether one of a picture's own URLs, or that of the video it is from, is to be forgotten;
    /// the page that it links to is not asked.
    #[must_use]
    pub fn has_reference(&self, reference: &ImageRef) -> bool {
        !self.is_empty() && urls(reference).any(|url| self.has_url(url))
    }

    /// Whether a picture is to be forgotten, by its URLs or by its bytes.
    #[must_use]
    pub fn has_picture(&self, image: &Image) -> bool {
        !self.is_empty()
            && (hashes(image).iter().any(|key| self.0.contains(key))
                || self.has_reference(&image.reference))
    }

    /// Whether a document is to be forgotten whole, whatever its pictures.
    #[must_use]
    pub fn has_page<I>(&self, document: &Document<I>) -> bool {
        self.has_url(&document.url) || self.has_url(&document.final_url)
    }

    /// Whether anything of an outcome is to be forgotten.
    #[must_use]
    pub fn touches(
        &self,
        text: &str,
        dropped: &[ImageDrop],
        document: Option<&Document<Image>>,
    ) -> bool {
        !self.is_empty()
            && (self.has_text(text)
                || dropped.iter().any(|drop| self.has_text(&drop.url))
                || document.is_some_and(|document| {
                    self.has_page(document)
                        || document.images().any(|image| self.has_picture(image))
                }))
    }

    /// Takes out of an outcome what is to be forgotten. Of an input that goes whole nothing is left
    /// but its number, the reason, and the hash of what stood in the list; a pair goes with its
    /// picture, and a page that is left with fewer than `min_images` as in a build.
    ///
    /// Done twice, it is as done once.
    pub fn apply(&self, outcome: &mut Outcome, unit: Unit, min_images: usize) {
        let document = outcome.document.as_ref();
        if !self.touches(&outcome.text, &outcome.images_dropped, document) {
            return;
        }
        let goes = self.has_text(&outcome.text)
            || document.is_some_and(|document| {
                self.has_page(document)
                    || (unit == Unit::Pair
                        && document.images().any(|image| self.has_picture(image)))
            });
        if goes {
            *outcome = Self::tombstone(outcome.input, &outcome.text);
            return;
        }
        for drop in &mut outcome.images_dropped {
            if self.has_text(&drop.url) {
                *drop = Self::hidden_drop(&drop.url);
            }
        }
        let Some(document) = outcome.document.take() else {
            return;
        };
        let mut dropped = Vec::new();
        let document = document.filter_map_images(|image| {
            let is_forgotten = self.has_picture(&image);
            if is_forgotten {
                dropped.push(Self::hidden_drop(image.reference.url.as_str()));
            }
            (!is_forgotten).then_some(image)
        });
        let has_lost = !dropped.is_empty();
        outcome.images_dropped.extend(dropped);
        match enough_images(&document, min_images) {
            Err(reason) if has_lost => {
                outcome.measured = Measured::of(&document);
                outcome.dropped = Some(reason);
            }
            _ => outcome.document = Some(document),
        }
    }

    /// What is left of an input.
    #[must_use]
    pub fn tombstone(input: u64, text: &str) -> Outcome {
        Outcome {
            dropped: Some(FORGOTTEN),
            ..Outcome::of(input, hidden(text))
        }
    }

    /// What is left of a picture.
    #[must_use]
    pub fn hidden_drop(url: &str) -> ImageDrop {
        ImageDrop {
            url: hidden(url),
            reason: FORGOTTEN,
        }
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

/// What is to be forgotten of one document, and by which of the things named.
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

/// A URL that is no longer named: who knows it can tell that it was this one.
fn hidden(text: &str) -> String {
    if text.starts_with(HIDDEN) {
        return text.to_owned();
    }
    format!("{HIDDEN}{}", Sha256::of(text.as_bytes()))
}
