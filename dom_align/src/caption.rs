//! Which texts are captions.
//!
//! HTML has `<figcaption>`; much of the web writes captions otherwise: a `<div class="caption">`
//! under the picture (Doxygen, DocBook), a `<p class="title">` in a DocBook figure, the
//! `wp-caption-text` of weblogs. A class is believed only beside a picture.

use crate::dom::{Node, Tree};
use crate::tags::Kind;

/// Words of a class by which a caption is known.
const CAPTION_WORDS: [&str; 7] = [
    "caption",
    "figcaption",
    "captions",
    "legend",
    "cutline",
    "photocaption",
    "imagecaption",
];

/// Words of a class by which the box around a picture and its caption is known.
const FIGURE_WORDS: [&str; 8] = [
    "figure",
    "informalfigure",
    "mediaobject",
    "thumb",
    "image",
    "wp-caption",
    "photo",
    "img",
];

/// Whether the element is a caption wherever it stands.
pub(crate) fn is_figure_caption(node: &Node) -> bool {
    node.kind == Kind::FigureCaption
}

/// Whether the element would be a caption if it stood beside a picture.
pub(crate) fn is_like_caption(node: &Node) -> bool {
    node.is_element()
        && matches!(
            node.kind,
            Kind::Block | Kind::Inline | Kind::ListItem | Kind::TableCell
        )
        && class_words(node).any(|word| CAPTION_WORDS.contains(&word))
}

/// Whether the element is the title of a figure in the manner of DocBook.
pub(crate) fn is_figure_title(tree: &Tree, index: usize) -> bool {
    let node = &tree.nodes[index];
    let parent = &tree.nodes[node.parent];
    node.kind == Kind::Block
        && node.attribute("class") == Some("title")
        && class_words(parent).any(|word| word == "figure")
}

/// Whether the element is a box around pictures and their caption.
pub(crate) fn is_figure(node: &Node) -> bool {
    node.kind == Kind::Figure
        || (node.kind == Kind::Block && class_words(node).any(|word| FIGURE_WORDS.contains(&word)))
}

/// Levels between a caption and its figure at most.
const MAX_LEVELS: usize = 4;

/// The figure of which the element is the caption, if it is one.
pub(crate) fn figure_of(tree: &Tree, index: usize) -> Option<usize> {
    let node = &tree.nodes[index];
    if is_figure_title(tree, index) {
        return Some(node.parent);
    }
    if !is_figure_caption(node) && !is_like_caption(node) {
        return None;
    }
    tree.ancestors(index)
        .take(MAX_LEVELS)
        .find(|above| is_figure(&tree.nodes[*above]))
}

/// The words of the `class` attribute; those joined by `-` or `_` count singly and as a whole.
fn class_words(node: &Node) -> impl Iterator<Item = &str> {
    let classes = node.attribute("class").unwrap_or_default();
    classes.split_ascii_whitespace().flat_map(|class| {
        let parts = class
            .split(['-', '_'])
            .filter(move |part| part.len() < class.len());
        std::iter::once(class).chain(parts)
    })
}
