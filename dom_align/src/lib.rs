//! HTML and base URL in, text and images in document order out.
//!
//! A page becomes a [`Document`] of [`ImageRef`]s: blocks of text and images in the order in which
//! the DOM holds them, so that each image stands between exactly the words between which the page
//! shows it. This is what a visual language model learns from (Alayrac et al. 2022, section 2.4),
//! and it is lost easily: in lazy attributes, in `<picture>` and `<noscript>`, in figures, lists
//! and tables, in captions.
//!
//! The way of a page, module by module:
//!
//! 1. `tokenizer` reads tags and text, `references` what `&amp;` stands for, `atoms` which
//!    attributes are kept; scripts, styles and comments are jumped over.
//! 2. `dom` builds the tree by the HTML standard (html5ever's tree builder over `arena`) as a vector
//!    of nodes in document order. Depth and number of nodes are bounded; no pass recurses.
//! 3. `prune` marks what is not shown and, in [`Mode::Main`], what tag, role or name say is not
//!    content; `content` scores text against links and chooses the part that a reader came for.
//! 4. On pages of some length `likely` has the last word on each block and image: `block` and
//!    `measure` count what Readability and its like count, `names` reads classes and roles,
//!    `page_kind` what the page declares itself to be, and `forest` weighs all of it with the
//!    rules' opinion by the trees in `weights` (`train/train.py` grows them and states what they
//!    score on sites they have not seen).
//! 5. `walk` goes over what is left: `lines` joins inline text as a browser does, `image_url`
//!    finds each image's best URL ([`srcset`] reads candidates by the standard), `unwanted` knows
//!    icons and pixels, `caption` ties captions to their images.
//!
//! Nothing fails: bad HTML gives less. What is left out is told with its reason
//! ([`Aligned::dropped`], [`Aligned::given_up`]); [`explain()`] tells it of every block and image.
//!
//! ```
//! use m3w_dom_align::{Config, align};
//! use url::Url;
//!
//! let html = "<p>A robin:<img src=robin.jpg alt=Robin> it sings in winter.</p>";
//! let url = Url::parse("https://example.org/birds/")?;
//! let document = align(html, &url, &Config::default()).document;
//! assert_eq!(document.elements[0].as_text().unwrap().content, "A robin:");
//! assert_eq!(document.elements[1].as_image().unwrap().url.path(), "/birds/robin.jpg");
//! assert_eq!(document.elements[2].as_text().unwrap().content, "it sings in winter.");
//! # Ok::<(), url::ParseError>(())
//! ```

use m3w_document::{Document, ImageRef, Reason};
use url::Url;

mod arena;
mod atoms;
mod block;
mod caption;
mod config;
mod content;
mod dom;
mod explain;
mod forest;
mod image_url;
mod likely;
mod lines;
mod mark;
mod measure;
mod names;
mod page_kind;
mod prune;
mod references;
pub mod srcset;
mod tags;
mod tokenizer;
#[doc(hidden)]
pub mod training;
mod unwanted;
mod walk;
mod weights;

pub use config::{CaptionPlacement, Config, Mode};
pub use explain::{Judgement, Subject, explain};
pub use image_url::resolve;

/// A page as a document, and what was left out of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Aligned {
    /// Texts and images in document order.
    pub document: Document<ImageRef>,
    /// Images that were left out, in document order.
    pub dropped: Vec<Dropped>,
    /// The bound that the page went over, if it did; what was read up to there is in the document.
    pub given_up: Option<Reason>,
    /// Inline SVG drawings, which are counted and not kept.
    pub inline_svg: usize,
}

/// An image that was left out.
#[derive(Debug, Clone, PartialEq)]
pub struct Dropped {
    /// Its URL, as far as the page names one; long ones are cut to 256 bytes.
    pub url: Option<String>,
    /// Why.
    pub reason: Reason,
}

/// Reads the page `html` that was fetched from `url`.
///
/// Any text is a page: bad HTML gives less, never an error. Time is linear in the page's length up
/// to the bounds of `config`; memory is below 40 times the page's bytes.
#[must_use]
pub fn align(html: &str, url: &Url, config: &Config) -> Aligned {
    let (tree, given_up) = dom::parse(html, config);
    let base = image_url::base_url(&tree, url);
    let images = image_url::Images {
        tree: &tree,
        base: &base,
        config,
    };
    let removed = prune::decided(&tree, url, config.mode, None);
    let found = walk::walk(&images, &removed);
    let mut document = Document::new(url.clone());
    document.title = title(&tree);
    document.language = language(&tree);
    document.elements = found.elements;
    Aligned {
        document,
        dropped: found.dropped,
        given_up,
        inline_svg: found.inline_svg,
    }
}

/// The text of the first `<title>` that has any.
fn title(tree: &dom::Tree) -> Option<String> {
    let titles = tree
        .nodes
        .iter()
        .enumerate()
        .filter(|(_, node)| node.name() == "title" && node.kind == tags::Kind::Invisible);
    titles.into_iter().find_map(|(index, node)| {
        let mut lines = lines::Lines::default();
        for text in tree.nodes[index..node.end]
            .iter()
            .filter_map(dom::Node::text)
        {
            lines.push(text, false);
        }
        lines.take()
    })
}

/// The `lang` of `<html>`, if it is a tag and not a placeholder.
fn language(tree: &dom::Tree) -> Option<String> {
    let html = tree.nodes.iter().find(|node| node.name() == "html")?;
    let tag = html
        .attribute("lang")
        .or_else(|| html.attribute("xml:lang"))?
        .trim();
    let is_tag = !tag.is_empty()
        && tag.len() <= 35
        && tag
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
    is_tag.then(|| tag.to_owned())
}
