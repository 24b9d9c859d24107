//! Which picture an image element shows, and whether it is one a reader came for.
//!
//! The URL of a picture stands in many places: in `src`, in `srcset`, in the `<source>`s of a
//! `<picture>`, and, where a script loads pictures late, in attributes that the standard does not
//! know while `src` holds a placeholder. All are read; the best is chosen, the rest are kept as
//! alternatives.

use m3w_document::{ImageRef, Media, Reason};
use url::Url;

use crate::Config;
use crate::dom::{Node, Tree};
use crate::srcset::{self, Target};
use crate::tags::Kind;

/// Attributes in which scripts for late loading keep a picture's URL, in order of preference.
const LAZY_SOURCES: [&str; 36] = [
    "data-src",
    "data-lazy-src",
    "data-original",
    "data-original-src",
    "data-orig-file",
    "data-large-file",
    "data-full-url",
    "data-full-src",
    "data-fullsrc",
    "data-hi-res-src",
    "data-hires",
    "data-large",
    "data-lazy",
    "data-lazyload",
    "data-lazyload-src",
    "data-lazy-load-src",
    "data-ll-src",
    "data-echo",
    "data-url",
    "data-image",
    "data-image-src",
    "data-image-url",
    "data-img",
    "data-img-src",
    "data-img-url",
    "data-actualsrc",
    "data-cfsrc",
    "data-ezsrc",
    "data-defer-src",
    "data-deferred-src",
    "data-delayed-url",
    "data-flickity-lazyload",
    "data-fallback-src",
    "data-canonical-src",
    "data-medium-file",
    "nitro-lazy-src",
];

/// Attributes in which such scripts keep a `srcset`.
const LAZY_SOURCE_SETS: [&str; 6] = [
    "data-srcset",
    "data-lazy-srcset",
    "data-original-set",
    "data-src-set",
    "data-ll-srcset",
    "nitro-lazy-srcset",
];

/// Words of a file name by which a placeholder is known.
const PLACEHOLDER_WORDS: [&str; 12] = [
    "blank",
    "spacer",
    "placeholder",
    "transparent",
    "clear",
    "pixel",
    "1x1",
    "loading",
    "loader",
    "lazyload",
    "empty",
    "dummy",
];

/// MIME types of pictures that cannot be decoded downstream.
const UNSUPPORTED_TYPES: [&str; 6] = [
    "image/avif",
    "image/jxl",
    "image/svg+xml",
    "image/heic",
    "image/heif",
    "image/jp2",
];

/// File name extensions of drawings and icons.
const UNSUPPORTED_EXTENSIONS: [&str; 2] = ["svg", "svgz"];

/// File name extensions of pictures that not every decoder knows: taken where there is no other.
const LATE_EXTENSIONS: [&str; 4] = ["avif", "jxl", "heic", "heif"];

/// File name extensions of pictures that can.
const EXTENSIONS: [&str; 10] = [
    "jpg", "jpeg", "png", "webp", "gif", "bmp", "tif", "tiff", "jfif", "ico",
];

/// What became of an image element.
pub(crate) enum Outcome {
    Kept(Box<ImageRef>),
    Dropped { url: Option<String>, reason: Reason },
}

/// Where pictures are read from and joined to.
pub(crate) struct Images<'a> {
    pub(crate) tree: &'a Tree,
    pub(crate) base: &'a Url,
    pub(crate) config: &'a Config,
}

impl Images<'_> {
    /// The picture of an image element (`<img>`, `<amp-img>`).
    pub(crate) fn image(&self, index: usize) -> Outcome {
        let node = &self.tree.nodes[index];
        let mut sources = Vec::new();
        self.picture_sources(index, &mut sources);
        for name in LAZY_SOURCE_SETS {
            self.push_source_set(node.attribute(name), &mut sources);
        }
        self.push_source_set(node.attribute("srcset"), &mut sources);
        for name in LAZY_SOURCES {
            let value = node.attribute(name).filter(|value| looks_like_url(value));
            sources.extend(value.map(str::to_owned));
        }
        sources.extend(node.attribute("src").map(str::to_owned));
        if sources.iter().all(|source| is_placeholder(source)) {
            // Some script keeps the URL in an attribute of its own.
            let names_picture = |(name, value): &(&str, &str)| {
                name.starts_with("data-") && looks_like_url(value) && has_extension(value)
            };
            sources.extend(
                node.attributes()
                    .find(names_picture)
                    .map(|(_, value)| value.to_owned()),
            );
        }
        self.choose(index, sources, Media::Image)
    }

    /// The poster of a video.
    pub(crate) fn poster(&self, index: usize) -> Outcome {
        let node = &self.tree.nodes[index];
        let own = node.attribute("src").map(str::to_owned);
        let nested = self.tree.children(index).find_map(|child| {
            let child = &self.tree.nodes[child];
            (child.kind == Kind::PictureSource)
                .then(|| child.attribute("src"))
                .flatten()
        });
        let source = own
            .as_deref()
            .or(nested)
            .and_then(|source| self.join(source));
        let poster = node
            .attribute("poster")
            .or_else(|| node.attribute("data-poster"))
            .map(str::to_owned);
        self.choose(index, poster.into_iter().collect(), Media::Video { source })
    }

    /// The URL that `reference` names on this page, if it is of the web.
    pub(crate) fn join(&self, reference: &str) -> Option<Url> {
        let url = resolve(self.base, reference)?;
        matches!(url.scheme(), "http" | "https" | "data").then_some(url)
    }

    /// Candidates of the `<source>`s that stand before the image in its `<picture>`.
    fn picture_sources(&self, index: usize, sources: &mut Vec<String>) {
        let parent = self.tree.nodes[index].parent;
        if self.tree.nodes[parent].kind != Kind::Picture {
            return;
        }
        for child in self
            .tree
            .children(parent)
            .take_while(|child| *child < index)
        {
            let child = &self.tree.nodes[child];
            let is_unsupported = child.attribute("type").is_some_and(|kind| {
                UNSUPPORTED_TYPES
                    .iter()
                    .any(|name| name.eq_ignore_ascii_case(kind.trim()))
            });
            if child.kind != Kind::PictureSource || is_unsupported {
                continue;
            }
            for name in LAZY_SOURCE_SETS.into_iter().chain(["srcset"]) {
                self.push_source_set(child.attribute(name), sources);
            }
        }
    }

    fn push_source_set(&self, attribute: Option<&str>, sources: &mut Vec<String>) {
        let Some(attribute) = attribute else { return };
        let mut candidates = srcset::parse(attribute);
        candidates.retain(|candidate| !is_placeholder(&candidate.url));
        let target = Target::Width(self.config.target_width_px);
        sources.extend(srcset::pick(&candidates, target).map(|best| best.url.clone()));
    }

    fn choose(&self, index: usize, sources: Vec<String>, media: Media) -> Outcome {
        let node = &self.tree.nodes[index];
        let mut urls: Vec<Url> = Vec::new();
        let mut failure = None;
        for source in &sources {
            match self.accept(source) {
                Ok(url) if !urls.contains(&url) => urls.push(url),
                Ok(_) => {}
                Err(reason) => failure = failure.or(Some((source.clone(), reason))),
            }
        }
        // A `data:` picture is a fallback while there is a file.
        urls.sort_by_key(|url| {
            url.scheme() == "data"
                || extension(url.path()).is_some_and(|held| is_one_of(held, &LATE_EXTENSIONS))
        });
        let mut urls = urls.into_iter();
        let Some(url) = urls.next() else {
            let (url, reason) = match failure {
                Some((url, reason)) => (Some(shorten(url)), reason),
                None => (None, Reason::new("align/no-source")),
            };
            return Outcome::Dropped { url, reason };
        };
        let mut image = ImageRef::new(url);
        image.alternatives = urls.take(8).collect();
        image.alt = said(node.attribute("alt")).or_else(|| said(node.attribute("aria-label")));
        image.title = said(node.attribute("title"));
        image.declared_width_px = declared_px(node, "width");
        image.declared_height_px = declared_px(node, "height");
        image.link = self
            .tree
            .ancestors(index)
            .take_while(|ancestor| !self.tree.nodes[*ancestor].kind.breaks_text())
            .find(|ancestor| self.tree.nodes[*ancestor].kind == Kind::Anchor)
            .and_then(|anchor| self.tree.nodes[anchor].attribute("href"))
            .and_then(|href| self.join(href))
            .filter(|link| link.scheme() != "data");
        image.media = media;
        Outcome::Kept(Box::new(image))
    }

    /// The URL of a source that may be a picture.
    fn accept(&self, source: &str) -> Result<Url, Reason> {
        let source = source.trim();
        if source.is_empty() {
            return Err(Reason::new("align/no-source"));
        }
        if starts_with_data(source) {
            return self.accept_data(source);
        }
        let url = self.join(source).ok_or(Reason::new("align/bad-url"))?;
        if is_placeholder(source) {
            return Err(Reason::new("align/no-source"));
        }
        if extension(url.path()).is_some_and(|held| is_one_of(held, &UNSUPPORTED_EXTENSIONS)) {
            return Err(Reason::new("align/unsupported-format"));
        }
        Ok(url)
    }

    #[expect(clippy::cast_precision_loss, reason = "sizes far below 2^52")]
    fn accept_data(&self, source: &str) -> Result<Url, Reason> {
        let max = self.config.max_data_url_bytes;
        if source.len() > max {
            return Err(Reason::measured(
                "align/data-url-too-large",
                source.len() as f64,
                max as f64,
            ));
        }
        let bad = || Reason::new("align/bad-url");
        let data = data_url::DataUrl::process(source).map_err(|_| bad())?;
        let mime = data.mime_type();
        if mime.type_ != "image" || mime.subtype == "svg+xml" {
            return Err(Reason::new("align/unsupported-format"));
        }
        let bytes = data.decode_to_vec().map_err(|_| bad())?.0.len();
        let min = self.config.min_data_url_bytes;
        if bytes < min {
            return Err(Reason::measured(
                "align/data-url-too-small",
                bytes as f64,
                min as f64,
            ));
        }
        Url::parse(source).map_err(|_| bad())
    }
}

/// The `href` of the first `<base>` that has one, joined to the page's URL.
pub(crate) fn base_url(tree: &Tree, page: &Url) -> Url {
    tree.nodes
        .iter()
        .filter(|node| node.name() == "base")
        .find_map(|node| node.attribute("href"))
        .and_then(|href| resolve(page, href))
        .filter(|base| matches!(base.scheme(), "http" | "https"))
        .unwrap_or_else(|| page.clone())
}

/// Declared pixels of a side: the attribute, or the `style` property of that name.
pub(crate) fn declared_px(node: &Node, side: &str) -> Option<u32> {
    let attribute = node.attribute(side).and_then(pixels);
    attribute.or_else(|| {
        let style = node.attribute("style")?;
        // `width:0;min-width:100%` fills a box; the picture has no size of its own.
        let is_stretched = style_property(style, &format!("min-{side}")).is_some();
        if is_stretched {
            None
        } else {
            pixels(style_property(style, side)?)
        }
    })
}

/// The value of a property in a `style` attribute.
pub(crate) fn style_property<'a>(style: &'a str, property: &str) -> Option<&'a str> {
    style.split(';').find_map(|declaration| {
        let (name, value) = declaration.split_once(':')?;
        name.trim()
            .eq_ignore_ascii_case(property)
            .then(|| value.trim())
    })
}

/// `640` and `640px`, but no percentages: they say nothing of the picture.
fn pixels(text: &str) -> Option<u32> {
    let text = text.trim();
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let unit = text[digits..].trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let is_pixels = unit.is_empty() || unit.trim_start().to_ascii_lowercase().starts_with("px");
    is_pixels.then(|| text[..digits].parse().ok()).flatten()
}

/// What an attribute says, white space settled, if it says anything.
fn said(attribute: Option<&str>) -> Option<String> {
    let words: Vec<&str> = attribute?
        .split(|c: char| c.is_whitespace() || c.is_control())
        .filter(|word| !word.is_empty())
        .collect();
    (!words.is_empty()).then(|| words.join(" "))
}

fn starts_with_data(source: &str) -> bool {
    source
        .get(..5)
        .is_some_and(|scheme| scheme.eq_ignore_ascii_case("data:"))
}

/// A value that a script could use as a picture's URL, rather than a word, a number or JSON.
fn looks_like_url(value: &str) -> bool {
    let value = value.trim();
    !value.is_empty()
        && !value.contains(char::is_whitespace)
        && !value.starts_with(['{', '[', '#', '<'])
        && (value.contains('/') || has_extension(value))
}

fn has_extension(value: &str) -> bool {
    let path = value.split(['?', '#']).next().unwrap_or_default();
    extension(path).is_some_and(|held| is_one_of(held, &EXTENSIONS))
}

fn extension(path: &str) -> Option<&str> {
    path.rsplit('/')
        .next()?
        .rsplit_once('.')
        .map(|(_, extension)| extension)
}

fn is_one_of(word: &str, list: &[&str]) -> bool {
    list.iter().any(|held| held.eq_ignore_ascii_case(word))
}

/// Whether a source only keeps a picture's place: nothing, a small `data:` URL, or a file whose
/// name says so.
fn is_placeholder(source: &str) -> bool {
    let source = source.trim();
    if source.is_empty() || source.starts_with("about:") || source == "#" {
        return true;
    }
    if starts_with_data(source) {
        // Long enough for a picture, too long for a drawing that keeps a place.
        return source.len() < 2_000 || source.get(..14).is_some_and(|head| head.ends_with("svg"));
    }
    let path = source.split(['?', '#']).next().unwrap_or_default();
    let name = path.rsplit('/').next().unwrap_or_default();
    let stem = name.rsplit_once('.').map_or(name, |(stem, _)| stem);
    let mut words = stem
        .split(|c: char| !c.is_ascii_alphanumeric())
        .filter(|word| !word.is_empty());
    words.clone().count() <= 3 && words.any(|word| is_one_of(word, &PLACEHOLDER_WORDS))
}

fn shorten(mut url: String) -> String {
    url.truncate(url.floor_char_boundary(256));
    url
}
/// The URL that `reference` on a page at `base` leads to, by the URL standard; `None` if it is none.
///
/// ```
/// use url::Url;
///
/// let page = Url::parse("https://example.org/a/b.html")?;
/// let resolved = |reference| m3w_dom_align::resolve(&page, reference).map(String::from);
/// assert_eq!(resolved("../c.png").as_deref(), Some("https://example.org/c.png"));
/// assert_eq!(resolved("///cdn.test/c.png").as_deref(), Some("https://cdn.test/c.png"));
/// # Ok::<(), url::ParseError>(())
/// ```
#[must_use]
pub fn resolve(base: &Url, reference: &str) -> Option<Url> {
    let reference = reference.trim();
    // "Special authority ignore slashes" state: on the web further slashes before a host mean
    // nothing; the `url` crate takes the host to be empty and refuses.
    let host = reference.trim_start_matches(['/', '\\']);
    let slashes = reference.len() - host.len();
    if slashes > 2 && matches!(base.scheme(), "http" | "https") {
        return base.join(&format!("//{host}")).ok();
    }
    base.join(reference).ok()
}
