//! The page's tree: html5ever's tree builder over an arena of our own, laid out in document order.
//!
//! After parsing, nodes stand in one vector in document order, each with the index at which its
//! subtree ends. Every later pass is a loop over that vector, so no pass recurses, however deep a
//! page is, and "skip this subtree" is an assignment.
//!
//! html5ever is quadratic in the depth of open elements and in the attributes of a tag, and builds
//! an unbounded number of nodes from unclosed formatting elements. [`Guard`] stands between the
//! tokenizer and the tree builder and holds depth and nodes to the configuration's bounds; the
//! attributes are bounded by [`Feed`].

use std::borrow::Cow;
use std::cell::{Cell, RefCell};

use html5ever::buffer_queue::BufferQueue;
use html5ever::interface::{
    ElemName, ElementFlags, NodeOrText, QuirksMode, TokenizerResult, TreeSink,
};
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{Tag, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer};
use html5ever::tree_builder::{TreeBuilder, TreeBuilderOpts};
use html5ever::{Attribute, LocalName, Namespace, QualName};
use m3w_document::Reason;

use crate::Config;
use crate::feed::Feed;
use crate::tags::{self, Kind};

/// Bytes fed to the tokenizer between two looks at the bounds.
const PIECE_BYTES: usize = 16 << 10;

/// Attributes that cost as much as a node.
const ATTRIBUTES_PER_NODE: usize = 4;

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
    pub(crate) data: Data,
}

/// What a node holds.
#[derive(Debug)]
pub(crate) enum Data {
    /// The document, or a comment or an instruction, which count as nothing.
    Nothing,
    Text(StrTendril),
    Element {
        name: LocalName,
        attributes: Vec<Attribute>,
    },
}

impl Node {
    /// The value of an attribute.
    pub(crate) fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes()
            .find(|(held, _)| *held == name)
            .map(|(_, value)| value)
    }

    /// Names and values of all attributes.
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
    let feed = Feed::new(html, config.max_attributes);
    let options = TreeBuilderOpts {
        // The content of `<noscript>` is markup: it often holds the picture that a script would load.
        scripting_enabled: false,
        drop_doctype: true,
        ..TreeBuilderOpts::default()
    };
    let guard = Guard {
        builder: TreeBuilder::new(Arena::default(), options),
        max_depth: config.max_depth,
        max_nodes: config.max_nodes,
        ignored_depth: Cell::new(0),
        flattened_tags: Cell::new(0),
    };
    let tokenizer = Tokenizer::new(guard, Default::default());
    let queue = BufferQueue::default();
    for piece in feed.pieces(PIECE_BYTES) {
        queue.push_back(piece);
        while !matches!(tokenizer.feed(&queue), TokenizerResult::Done) {}
        if tokenizer.sink.is_full() {
            break;
        }
    }
    tokenizer.end();
    let guard = tokenizer.sink;
    if guard.is_full() {
        given_up = Some(over(
            "align/too-many-nodes",
            guard.builder.sink.cost(),
            config.max_nodes,
        ));
    } else if given_up.is_none() && guard.flattened_tags.get() > 0 {
        let depth = config.max_depth + guard.flattened_tags.get();
        given_up = Some(over("align/too-deep", depth, config.max_depth));
    } else if given_up.is_none() && feed.cut_tags > 0 {
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
    builder: TreeBuilder<usize, Arena>,
    max_depth: usize,
    max_nodes: usize,
    /// Start tags that were ignored for their depth and whose end tags are still to come.
    ignored_depth: Cell<usize>,
    flattened_tags: Cell<usize>,
}

impl Guard {
    fn is_full(&self) -> bool {
        self.builder.sink.cost() >= self.max_nodes
    }

    /// Whether the tag may pass to the tree builder.
    fn admits(&self, tag: &Tag) -> bool {
        let sink = &self.builder.sink;
        match tag.kind {
            TagKind::StartTag => {
                let is_deep = sink.depth.get() >= self.max_depth
                    || (sink.formatting_depth.get() >= tags::MAX_FORMATTING_DEPTH
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
                sink.depth.set(sink.depth.get().saturating_sub(1));
                true
            }
        }
    }
}

impl TokenSink for Guard {
    type Handle = usize;

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<usize> {
        let passes = match &token {
            Token::TagToken(tag) => !self.is_full() && self.admits(tag),
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

/// No node.
const NONE: usize = usize::MAX;

/// A node while the tree is being built: linked, so that it can move.
struct Draft {
    parent: usize,
    first_child: usize,
    last_child: usize,
    previous: usize,
    next: usize,
    depth: usize,
    formatting_depth: usize,
    data: Data,
    namespace: Option<Namespace>,
}

/// The tree under construction.
struct Arena {
    nodes: RefCell<Vec<Draft>>,
    attributes: Cell<usize>,
    /// Depth at which the next element would stand, as far as the last insertion tells.
    depth: Cell<usize>,
    /// Formatting elements (`<b>`, `<font>`, ...) around the place of the last insertion.
    formatting_depth: Cell<usize>,
}

impl Default for Arena {
    fn default() -> Self {
        let arena = Self {
            nodes: RefCell::new(Vec::new()),
            attributes: Cell::new(0),
            depth: Cell::new(0),
            formatting_depth: Cell::new(0),
        };
        arena.create(Data::Nothing, None);
        arena
    }
}

/// Name of an element of the arena; a name is two words and cheap to clone.
#[derive(Debug)]
struct Name {
    namespace: Namespace,
    local: LocalName,
}

impl ElemName for Name {
    fn ns(&self) -> &Namespace {
        &self.namespace
    }

    fn local_name(&self) -> &LocalName {
        &self.local
    }
}

impl Arena {
    fn cost(&self) -> usize {
        self.nodes.borrow().len() + self.attributes.get() / ATTRIBUTES_PER_NODE
    }

    fn create(&self, data: Data, namespace: Option<Namespace>) -> usize {
        let mut nodes = self.nodes.borrow_mut();
        nodes.push(Draft {
            parent: NONE,
            first_child: NONE,
            last_child: NONE,
            previous: NONE,
            next: NONE,
            depth: 0,
            formatting_depth: 0,
            data,
            namespace,
        });
        nodes.len() - 1
    }

    fn detach(nodes: &mut [Draft], node: usize) {
        let Draft {
            parent,
            previous,
            next,
            ..
        } = nodes[node];
        if previous != NONE {
            nodes[previous].next = next;
        } else if parent != NONE {
            nodes[parent].first_child = next;
        }
        if next != NONE {
            nodes[next].previous = previous;
        } else if parent != NONE {
            nodes[parent].last_child = previous;
        }
        let node = &mut nodes[node];
        (node.parent, node.previous, node.next) = (NONE, NONE, NONE);
    }

    /// Puts a detached node under `parent`, before `next`, or last if that is `NONE`.
    fn attach(&self, nodes: &mut [Draft], parent: usize, node: usize, next: usize) {
        let previous = match next {
            NONE => std::mem::replace(&mut nodes[parent].last_child, node),
            next => std::mem::replace(&mut nodes[next].previous, node),
        };
        match previous {
            NONE => nodes[parent].first_child = node,
            previous => nodes[previous].next = node,
        }
        let depth = nodes[parent].depth + 1;
        let is_formatting = match &nodes[node].data {
            Data::Element { name, .. } => tags::is_formatting(name),
            _ => false,
        };
        let formatting_depth = nodes[parent].formatting_depth + usize::from(is_formatting);
        let is_element = nodes[node].namespace.is_some();
        self.depth.set(depth - usize::from(!is_element));
        self.formatting_depth.set(formatting_depth);
        let node = &mut nodes[node];
        (node.parent, node.previous, node.next) = (parent, previous, next);
        (node.depth, node.formatting_depth) = (depth, formatting_depth);
    }

    fn insert(&self, parent: usize, child: NodeOrText<usize>, next: usize) {
        let node = match child {
            NodeOrText::AppendNode(node) => {
                Self::detach(&mut self.nodes.borrow_mut(), node);
                node
            }
            NodeOrText::AppendText(text) => {
                let mut nodes = self.nodes.borrow_mut();
                let previous = match next {
                    NONE => nodes[parent].last_child,
                    next => nodes[next].previous,
                };
                if let Some(Data::Text(held)) = nodes.get_mut(previous).map(|node| &mut node.data) {
                    held.push_tendril(&text);
                    return;
                }
                drop(nodes);
                self.create(Data::Text(text), None)
            }
        };
        self.attach(&mut self.nodes.borrow_mut(), parent, node, next);
    }

    /// The finished tree in document order; what was detached is gone.
    fn into_tree(self) -> Tree {
        let mut drafts = self.nodes.into_inner();
        let mut nodes: Vec<Node> = Vec::with_capacity(drafts.len());
        // Where each draft stands in the new order; filled before its children are visited.
        let mut places = vec![NONE; drafts.len()];
        let mut at = 0;
        loop {
            let place = nodes.len();
            places[at] = place;
            let data = std::mem::replace(&mut drafts[at].data, Data::Nothing);
            let kind = match (&data, &drafts[at].namespace) {
                (Data::Text(_), _) => Kind::Text,
                (Data::Element { name, .. }, Some(namespace)) => tags::kind(name, namespace),
                _ => Kind::Inline,
            };
            let parent = places.get(drafts[at].parent).copied().unwrap_or(0);
            nodes.push(Node {
                parent,
                end: place + 1,
                kind,
                data,
            });
            if drafts[at].first_child != NONE {
                at = drafts[at].first_child;
                continue;
            }
            loop {
                let end = nodes.len();
                nodes[places[at]].end = end;
                if drafts[at].next != NONE {
                    at = drafts[at].next;
                    break;
                }
                if drafts[at].parent == NONE {
                    return Tree { nodes };
                }
                at = drafts[at].parent;
            }
        }
    }
}

impl TreeSink for Arena {
    type Handle = usize;
    type Output = Self;
    type ElemName<'a> = Name;

    fn finish(self) -> Self {
        self
    }

    fn parse_error(&self, _message: Cow<'static, str>) {}

    fn get_document(&self) -> usize {
        0
    }

    fn elem_name<'a>(&'a self, target: &'a usize) -> Name {
        let nodes = self.nodes.borrow();
        let node = &nodes[*target];
        let local = match &node.data {
            Data::Element { name, .. } => name.clone(),
            _ => LocalName::default(),
        };
        Name {
            namespace: node.namespace.clone().unwrap_or_default(),
            local,
        }
    }

    fn create_element(&self, name: QualName, attrs: Vec<Attribute>, _: ElementFlags) -> usize {
        self.attributes.set(self.attributes.get() + attrs.len());
        let data = Data::Element {
            name: name.local,
            attributes: attrs,
        };
        self.create(data, Some(name.ns))
    }

    fn create_comment(&self, _text: StrTendril) -> usize {
        self.create(Data::Nothing, None)
    }

    fn create_pi(&self, _target: StrTendril, _data: StrTendril) -> usize {
        self.create(Data::Nothing, None)
    }

    fn append(&self, parent: &usize, child: NodeOrText<usize>) {
        self.insert(*parent, child, NONE);
    }

    fn append_based_on_parent_node(
        &self,
        element: &usize,
        previous_element: &usize,
        child: NodeOrText<usize>,
    ) {
        if self.nodes.borrow()[*element].parent == NONE {
            self.append(previous_element, child);
        } else {
            self.append_before_sibling(element, child);
        }
    }

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    fn get_template_contents(&self, target: &usize) -> usize {
        // What a template holds is not shown, so that it need not be told from children.
        *target
    }

    fn same_node(&self, x: &usize, y: &usize) -> bool {
        x == y
    }

    fn set_quirks_mode(&self, _mode: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &usize, new_node: NodeOrText<usize>) {
        let parent = self.nodes.borrow()[*sibling].parent;
        if parent != NONE {
            self.insert(parent, new_node, *sibling);
        }
    }

    fn add_attrs_if_missing(&self, target: &usize, attrs: Vec<Attribute>) {
        let mut nodes = self.nodes.borrow_mut();
        if let Data::Element { attributes, .. } = &mut nodes[*target].data {
            self.attributes.set(self.attributes.get() + attrs.len());
            for attribute in attrs {
                if attributes.iter().all(|held| held.name != attribute.name) {
                    attributes.push(attribute);
                }
            }
        }
    }

    fn remove_from_parent(&self, target: &usize) {
        Self::detach(&mut self.nodes.borrow_mut(), *target);
    }

    fn reparent_children(&self, node: &usize, new_parent: &usize) {
        loop {
            let child = self.nodes.borrow()[*node].first_child;
            if child == NONE {
                return;
            }
            self.insert(*new_parent, NodeOrText::AppendNode(child), NONE);
        }
    }
}
