//! Why each block and image of a page was kept or dropped.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use url::Url;

use crate::dom::{Node, Tree};
use crate::lines::Lines;
use crate::mark::Mark;
use crate::tags::Kind;
use crate::{Config, dom, image_url, prune, walk};

/// Bytes of a block's text that are shown.
const SHOWN_BYTES: usize = 160;

/// What was decided of a block or an image.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The block or image.
    pub subject: Subject,
    /// The element in which it stands, as a selector: `p.intro`.
    pub element: String,
    /// Whether it is in the document.
    pub is_kept: bool,
    /// The rule that decided; of what no rule objected to, `kept`.
    pub rule: Cow<'static, str>,
    /// What the rule measured, if it measures.
    pub value: Option<f64>,
    /// The bound it was held to. A `likelihood` at or above it is kept; a share of the page's text
    /// above it keeps a part in spite of its name.
    pub threshold: Option<f64>,
}

/// What is judged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Subject {
    /// The beginning of a text in one element.
    Block(String),
    /// An image, by its URL as far as there is one.
    Image(Option<String>),
}

/// Judges each block and image of the page `html` that was fetched from `url`, in document order.
///
/// A block of which a part was left out, say a share button within its line, is told once for each.
///
/// ```
/// use m3w_dom_align::{Config, Subject, explain};
/// use url::Url;
///
/// let url = Url::parse("https://example.org/")?;
/// let html = "<nav>Menu</nav><p>A robin sings in winter.</p><img src=a.png width=1 height=1>";
/// let judgements = explain(html, &url, &Config::default());
/// assert_eq!(judgements[0].rule, "tag-or-role");
/// assert!(judgements[1].is_kept);
/// assert_eq!(judgements[2].subject, Subject::Image(Some("https://example.org/a.png".to_owned())));
/// assert_eq!(judgements[2].rule, "tracking-pixel");
/// # Ok::<(), url::ParseError>(())
/// ```
#[must_use]
pub fn explain(html: &str, url: &Url, config: &Config) -> Vec<Judgement> {
    let (tree, _) = dom::parse(html, config);
    let base = image_url::base_url(&tree, url);
    let images = image_url::Images {
        tree: &tree,
        base: &base,
        config,
    };
    let mut kept = Vec::new();
    let mut marks = prune::decided(&tree, url, config.mode, Some(&mut kept));
    let found = walk::walk(&images, &marks);
    prune::inherit(&tree, &mut marks);
    let kept: HashMap<usize, Mark> = kept.into_iter().collect();
    let dropped: HashMap<usize, usize> = (0..)
        .zip(&found.dropped_nodes)
        .map(|(at, node)| (*node, at))
        .collect();
    let mut judgements = Vec::new();
    let mut told = HashSet::new();
    let mut gone_end = 0;
    for (index, node) in tree.nodes.iter().enumerate() {
        let is_image =
            node.kind == Kind::Image || (node.kind == Kind::Video && dropped.contains_key(&index));
        if is_image && index >= gone_end {
            let mark = marks[index].or(kept.get(&index).copied());
            let mut judgement = judged(&tree, index, mark, marks[index].is_none());
            judgement.subject = match dropped.get(&index) {
                Some(at) => {
                    let reason = &found.dropped[*at].reason;
                    judgement.is_kept = false;
                    if marks[index].is_none() {
                        let name = reason.name.trim_start_matches("align/");
                        judgement.rule = Cow::Owned(name.to_owned());
                        (judgement.value, judgement.threshold) =
                            (reason.measured, reason.threshold);
                    }
                    Subject::Image(found.dropped[*at].url.clone())
                }
                None => Subject::Image(match images.image(index) {
                    image_url::Outcome::Kept(image) => Some(image.url.to_string()),
                    image_url::Outcome::Dropped { url, .. } => url,
                }),
            };
            judgements.push(judgement);
        } else if matches!(node.kind, Kind::Invisible | Kind::Svg) {
            gone_end = gone_end.max(node.end);
        } else if index >= gone_end && node.text().is_some_and(|text| !text.trim().is_empty()) {
            let block = holder(&tree, index);
            let rule = marks[index].map(|mark| mark.rule.name());
            if told.insert((block, rule)) {
                let mark = marks[index].or(kept.get(&index).copied());
                let mut judgement = judged(&tree, block, mark, marks[index].is_none());
                judgement.subject = Subject::Block(beginning(&tree, block));
                judgements.push(judgement);
            }
        }
    }
    judgements
}

fn judged(tree: &Tree, index: usize, mark: Option<Mark>, is_kept: bool) -> Judgement {
    Judgement {
        subject: Subject::Image(None),
        element: selector(&tree.nodes[index]),
        is_kept,
        rule: Cow::Borrowed(mark.map_or("kept", |mark| mark.rule.name())),
        value: mark.map(|mark| mark.measured().0),
        threshold: mark.map(|mark| mark.measured().1),
    }
}

/// The nearest element around a text that breaks lines.
fn holder(tree: &Tree, index: usize) -> usize {
    tree.ancestors(index)
        .find(|above| {
            let kind = tree.nodes[*above].kind;
            kind.breaks_text() || kind == Kind::TableCell
        })
        .unwrap_or(0)
}

/// The beginning of the text that stands directly in a block.
fn beginning(tree: &Tree, block: usize) -> String {
    let mut lines = Lines::default();
    let mut length = 0;
    let mut index = block + 1;
    while index < tree.nodes[block].end && length < SHOWN_BYTES {
        let node = &tree.nodes[index];
        let is_other = node.kind.breaks_text()
            || matches!(node.kind, Kind::TableCell | Kind::Invisible | Kind::Svg);
        if let Some(text) = node.text() {
            lines.push(text, false);
            length += text.trim().len();
        }
        index = if is_other { node.end } else { index + 1 };
    }
    let mut text = lines.take().unwrap_or_default();
    text.truncate(text.floor_char_boundary(SHOWN_BYTES));
    text
}

/// Tag and first class of an element.
fn selector(node: &Node) -> String {
    let class = node.attribute("class").unwrap_or_default();
    match class.split_ascii_whitespace().next() {
        Some(class) => format!("{}.{class}", node.name()),
        None => node.name().to_owned(),
    }
}
