//! The page's tree: html5ever's tree builder over an arena of our own, laid out in document order.
//!
//! After parsing, nodes stand in one vector in document order, each with the index at which its
//! subtree ends. Every later pass is a loop over that vector, so no pass recurses, however deep a
//! page is, and "skip this subtree" is an assignment.
//!
//! html5ever is quadratic in the depth of open elements, and builds an unbounded number of nodes
//! from unclosed formatting elements. [`Guard`] stands between the tokenizer and the tree builder
//! and holds depth and nodes to the configuration's bounds.

use std::cell::Cell;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{Tag, TagKind, Token, TokenSink, TokenSinkResult};
use html5ever::tree_builder::{TreeBuilder, TreeBuilderOpts};
use html5ever::{Attribute, LocalName, local_name};
use m3w_document::Reason;

use crate::Config;
use crate::arena::Arena;
use crate::atoms::{self, Atoms};
use crate::tags::{self, Kind};
use crate::tokenizer::{preprocessed, tokenize};

/// Open elements that the tree builder may look at: each tag may have it look at all, up to the
/// bound on depth. 100 of them take some microsecond, so that this is half a second; a page of
/// 300,000 tags at a depth of 50 takes 15 million.
const MAX_STEPS: usize = 50_000_000;

/// Bytes of a usual page for each of its nodes.
const BYTES_PER_NODE: usize = 50;

/// A page's nodes in document order; node 0 is the document.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) nodes: Vec<Node>,
}

/// An element, a text, or the document.
#[derive(Debug)]
pub(crate) struct Node {
    /// Index of the parent; the document is its own.
    pub(crate) parent: usize,
    /// Index after the last node of the subtree.
    pub(crate) end: usize,
    /// What the element's tag means here.
    pub(crate) kind: Kind,
    /// Characters of the text that are not white space; 0 for an element. Several rules count them.
    pub(crate) characters: usize,
    /// The [`name_bit`]s of the attributes: most look-ups ask for what an element does not have.
    pub(crate) attribute_bits: u32,
    pub(crate) data: Data,
}

/// One of 32 bits for an attribute's name.
#[inline]
pub(crate) fn name_bit(name: &str) -> u32 {
    let bytes = name.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return 1;
    };
    1 << ((bytes.len() * 5 + usize::from(*first) * 3 + usize::from(*last)) % 32)
}

/// What a node holds.
#[derive(Debug)]
pub(crate) enum Data {
    /// The document, or a comment or an instruction, which count as nothing.
    Nothing,
    Text(StrTendril),
    Element {
        name: LocalName,
        attributes: Box<[Attribute]>,
    },
}

/// Characters that are not white space.
pub(crate) fn characters(text: &str) -> usize {
    if text.is_ascii() {
        // Without a branch, so that many bytes are counted at once. 9 to 13 are `\t` to `\r`.
        let is_space = |byte: u8| (byte == b' ') | (byte.wrapping_sub(9) < 5);
        text.bytes().filter(|byte| !is_space(*byte)).count()
    } else {
        text.chars().filter(|c| !c.is_whitespace()).count()
    }
}

impl Node {
    /// The value of an attribute that [`atoms`] says is kept.
    #[inline]
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        debug_assert!(
            match &self.data {
                Data::Element { name: tag, .. } =>
                    atoms::is_listed(name) || atoms::keeps_all_attributes(tag),
                _ => true,
            },
            "{name} is no attribute that is kept: list it in `atoms`"
        );
        if self.attribute_bits & name_bit(name) == 0 {
            return None;
        }
        self.attributes()
            .find(|(held, _)| *held == name)
            .map(|(_, value)| value)
    }

    /// Atoms and values of all attributes.
    pub(crate) fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        let attributes: &[Attribute] = match &self.data {
            Data::Element { attributes, .. } => attributes,
            _ => &[],
        };
        attributes
            .iter()
            .map(|attribute| (&*attribute.name.local, &*attribute.value))
    }

    /// The tag's name; empty for what is not an element.
    pub(crate) fn name(&self) -> &str {
        match &self.data {
            Data::Element { name, .. } => name,
            _ => "",
        }
    }

    /// The text, if this is one.
    pub(crate) fn text(&self) -> Option<&str> {
        match &self.data {
            Data::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Whether this is an element.
    pub(crate) fn is_element(&self) -> bool {
        matches!(self.data, Data::Element { .. })
    }
}

impl Tree {
    /// Indices of the children, in order.
    pub(crate) fn children(&self, parent: usize) -> impl Iterator<Item = usize> {
        let end = self.nodes[parent].end;
        let mut next = parent + 1;
        std::iter::from_fn(move || {
            let child = next;
            (child < end).then(|| {
                next = self.nodes[child].end;
                child
            })
        })
    }

    /// Indices of parent, grandparent and so on, without the document.
    pub(crate) fn ancestors(&self, node: usize) -> impl Iterator<Item = usize> {
        let mut at = node;
        std::iter::from_fn(move || {
            at = self.nodes[at].parent;
            (at != 0).then_some(at)
        })
    }
}

/// Parses a page. The second value says which bound stopped the parser or cut the page, if one did.
pub(crate) fn parse(html: &str, config: &Config) -> (Tree, Option<Reason>) {
    let mut given_up = None;
    // The parser counts bytes in 32 bits.
    let max_bytes = config.max_page_bytes.min(u32::MAX as usize - 8);
    let mut html = html;
    if html.len() > max_bytes {
        given_up = Some(over("align/page-too-large", html.len(), max_bytes));
        html = &html[..html.floor_char_boundary(max_bytes)];
    }
    let source = preprocessed(html);
    let guard = Guard::new(config, source.len());
    let cut_tags = tokenize(&source, &guard, Atoms::new(), config.max_attributes);
    if guard.steps.get() >= MAX_STEPS {
        given_up = Some(over("align/too-slow", guard.steps.get(), MAX_STEPS));
    } else if guard.is_full() {
        given_up = Some(over(
            "align/too-many-nodes",
            guard.builder.sink.cost(),
            config.max_nodes,
        ));
    } else if given_up.is_none() && guard.flattened_tags.get() > 0 {
        let depth = config.max_depth + guard.flattened_tags.get();
        given_up = Some(over("align/too-deep", depth, config.max_depth));
    } else if given_up.is_none() && cut_tags > 0 {
        let attributes = config.max_attributes + 1;
        given_up = Some(over(
            "align/too-many-attributes",
            attributes,
            config.max_attributes,
        ));
    }
    (guard.builder.sink.into_tree(), given_up)
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^52")]
fn over(name: &'static str, measured: usize, threshold: usize) -> Reason {
    Reason::measured(name, measured as f64, threshold as f64)
}

/// Holds depth and number of nodes to their bounds.
struct Guard {
    builder: TreeBuilder<u32, Arena>,
    max_depth: usize,
    max_nodes: usize,
    /// Start tags that were ignored for their depth and whose end tags are still to come.
    ignored_depth: Cell<usize>,
    flattened_tags: Cell<usize>,
    /// Open elements at each tag that passed so far, summed up.
    steps: Cell<usize>,
}

impl Guard {
    fn new(config: &Config, html_bytes: usize) -> Self {
        let options = TreeBuilderOpts {
            // The content of `<noscript>` is markup: it often holds the picture that a script would
            // load.
            scripting_enabled: false,
            drop_doctype: true,
            ..TreeBuilderOpts::default()
        };
        let nodes = (html_bytes / BYTES_PER_NODE).min(config.max_nodes);
        Self {
            builder: TreeBuilder::new(Arena::with_capacity(nodes), options),
            max_depth: config.max_depth,
            max_nodes: config.max_nodes,
            ignored_depth: Cell::new(0),
            flattened_tags: Cell::new(0),
            steps: Cell::new(0),
        }
    }

    fn is_full(&self) -> bool {
        self.builder.sink.cost() >= self.max_nodes || self.steps.get() >= MAX_STEPS
    }

    /// Whether the tag may pass to the tree builder.
    fn admits(&self, tag: &Tag) -> bool {
        let sink = &self.builder.sink;
        match tag.kind {
            TagKind::StartTag => {
                let is_deep = sink.depth() >= self.max_depth
                    || (sink.formatting_depth() >= tags::MAX_FORMATTING_DEPTH
                        && tags::is_formatting(&tag.name));
                if !is_deep || tags::is_void(&tag.name) {
                    return true;
                }
                self.ignored_depth.set(self.ignored_depth.get() + 1);
                self.flattened_tags.set(self.flattened_tags.get() + 1);
                false
            }
            TagKind::EndTag if self.ignored_depth.get() > 0 => {
                self.ignored_depth.set(self.ignored_depth.get() - 1);
                false
            }
            TagKind::EndTag => {
                sink.leave();
                true
            }
        }
    }
}

impl TokenSink for Guard {
    type Handle = u32;

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<u32> {
        let passes = match &token {
            Token::TagToken(tag) => {
                if !self.is_full() && !self.admits(tag) {
                    // A script is no text, however deep it stands.
                    return raw_kind(tag)
                        .map_or(TokenSinkResult::Continue, TokenSinkResult::RawData);
                }
                let depth = self.builder.sink.insertion_depth();
                self.steps.set(self.steps.get() + depth);
                !self.is_full()
            }
            Token::CharacterTokens(_) | Token::NullCharacterToken => !self.is_full(),
            Token::CommentToken(_) | Token::ParseError(_) => false,
            Token::DoctypeToken(_) | Token::EOFToken => true,
        };
        if passes {
            self.builder.process_token(token, line)
        } else {
            TokenSinkResult::Continue
        }
    }

    fn end(&self) {
        self.builder.end();
    }

    fn adjusted_current_node_present_but_not_in_html_namespace(&self) -> bool {
        self.builder
            .adjusted_current_node_present_but_not_in_html_namespace()
    }
}

/// What the content of an element is for the tokenizer, if it is not markup.
fn raw_kind(tag: &Tag) -> Option<RawKind> {
    if tag.kind == TagKind::EndTag {
        return None;
    }
    match tag.name {
        local_name!("script") => Some(RawKind::ScriptData),
        local_name!("title") | local_name!("textarea") => Some(RawKind::Rcdata),
        local_name!("style")
        | local_name!("xmp")
        | local_name!("iframe")
        | local_name!("noembed")
        | local_name!("noframes") => Some(RawKind::Rawtext),
        _ => None,
    }
}
