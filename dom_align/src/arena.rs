//! The tree under construction: what html5ever's tree builder writes to.
//!
//! Nodes are linked by indices while they may still move (foster parenting, misnested formatting
//! elements); [`Arena::into_tree`] then lays them out in document order.

use std::borrow::Cow;
use std::cell::{Cell, Ref, RefCell};

use html5ever::interface::{ElemName, ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::StrTendril;
use html5ever::{Attribute, LocalName, Namespace, QualName};

use crate::dom::{Data, Node, Tree, characters, name_bit};
use crate::tags::{self, Kind};

/// Attributes that cost as much as a node.
const ATTRIBUTES_PER_NODE: usize = 4;

/// Places of the table of what names mean; a power of two.
const MEANINGS: usize = 128;

/// No node.
const NONE: u32 = u32::MAX;

/// A node while the tree is being built: linked, so that it can move.
struct Draft {
    parent: u32,
    first_child: u32,
    last_child: u32,
    previous: u32,
    next: u32,
    depth: u32,
    formatting_depth: u32,
    kind: Kind,
    is_formatting: bool,
    namespace: Namespace,
    name: LocalName,
    content: Content,
}

enum Content {
    Nothing,
    Text(StrTendril),
    Attributes(Box<[Attribute]>),
}

/// The tree under construction.
pub(crate) struct Arena {
    drafts: RefCell<Vec<Draft>>,
    attributes: Cell<usize>,
    /// Depth at which the next element would stand, as far as the last insertion tells.
    depth: Cell<usize>,
    /// Depth of what was inserted last.
    insertion_depth: Cell<usize>,
    /// Formatting elements (`<b>`, `<font>`, ...) around the place of the last insertion.
    formatting_depth: Cell<usize>,
    /// What names of HTML elements mean, at the place that their hash gives.
    meanings: RefCell<Vec<(LocalName, Kind, bool)>>,
}

impl Default for Arena {
    fn default() -> Self {
        Self::with_capacity(1)
    }
}

impl Arena {
    /// An arena that holds the document, and so many nodes without moving them.
    pub(crate) fn with_capacity(nodes: usize) -> Self {
        let arena = Self {
            drafts: RefCell::new(Vec::with_capacity(nodes)),
            attributes: Cell::new(0),
            depth: Cell::new(0),
            insertion_depth: Cell::new(0),
            formatting_depth: Cell::new(0),
            meanings: RefCell::new(vec![(LocalName::default(), Kind::Inline, false); MEANINGS]),
        };
        arena.create_nothing();
        arena
    }
}

/// Name of an element of the arena.
pub(crate) struct Name<'a>(Ref<'a, Draft>);

impl std::fmt::Debug for Name<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.name)
    }
}

impl ElemName for Name<'_> {
    fn ns(&self) -> &Namespace {
        &self.0.namespace
    }

    fn local_name(&self) -> &LocalName {
        &self.0.name
    }
}

fn index(node: u32) -> usize {
    node as usize
}

impl Arena {
    /// Nodes, and attributes as far as they cost as much.
    pub(crate) fn cost(&self) -> usize {
        self.drafts.borrow().len() + self.attributes.get() / ATTRIBUTES_PER_NODE
    }

    /// Depth at which the next element would stand.
    pub(crate) fn depth(&self) -> usize {
        self.depth.get()
    }

    /// Depth of what was inserted last.
    pub(crate) fn insertion_depth(&self) -> usize {
        self.insertion_depth.get()
    }

    /// Takes note that an element ends.
    pub(crate) fn leave(&self) {
        self.depth.set(self.depth.get().saturating_sub(1));
    }

    /// Formatting elements around the place of the last insertion.
    pub(crate) fn formatting_depth(&self) -> usize {
        self.formatting_depth.get()
    }

    fn create(&self, kind: Kind, is_formatting: bool, name: QualName, content: Content) -> u32 {
        let mut drafts = self.drafts.borrow_mut();
        let node = u32::try_from(drafts.len()).expect("nodes are bounded far below 2^32");
        drafts.push(Draft {
            parent: NONE,
            first_child: NONE,
            last_child: NONE,
            previous: NONE,
            next: NONE,
            depth: 0,
            formatting_depth: 0,
            kind,
            is_formatting,
            namespace: name.ns,
            name: name.local,
            content,
        });
        node
    }

    fn create_nothing(&self) -> u32 {
        self.create(Kind::Inline, false, no_name(), Content::Nothing)
    }

    /// Kind of an element, and whether it is a formatting element.
    fn meaning(&self, name: &QualName) -> (Kind, bool) {
        if name.ns != html5ever::ns!(html) {
            let is_formatting = tags::is_formatting(&name.local);
            return (tags::kind(&name.local, &name.ns), is_formatting);
        }
        let slot = name.local.get_hash() as usize % MEANINGS;
        let (held, kind, is_formatting) = &mut self.meanings.borrow_mut()[slot];
        if *held != name.local || held.is_empty() {
            *held = name.local.clone();
            *kind = tags::kind(&name.local, &name.ns);
            *is_formatting = tags::is_formatting(&name.local);
        }
        (*kind, *is_formatting)
    }

    fn detach(drafts: &mut [Draft], node: u32) {
        let Draft {
            parent,
            previous,
            next,
            ..
        } = drafts[index(node)];
        if previous != NONE {
            drafts[index(previous)].next = next;
        } else if parent != NONE {
            drafts[index(parent)].first_child = next;
        }
        if next != NONE {
            drafts[index(next)].previous = previous;
        } else if parent != NONE {
            drafts[index(parent)].last_child = previous;
        }
        let node = &mut drafts[index(node)];
        (node.parent, node.previous, node.next) = (NONE, NONE, NONE);
    }

    /// Puts a detached node under `parent`, before `next`, or last if that is `NONE`.
    fn attach(&self, drafts: &mut [Draft], parent: u32, node: u32, next: u32) {
        let previous = match next {
            NONE => std::mem::replace(&mut drafts[index(parent)].last_child, node),
            next => std::mem::replace(&mut drafts[index(next)].previous, node),
        };
        let above = &mut drafts[index(parent)];
        let (depth, formatting_depth) = (above.depth + 1, above.formatting_depth);
        match previous {
            NONE => above.first_child = node,
            previous => drafts[index(previous)].next = node,
        }
        let draft = &mut drafts[index(node)];
        let formatting_depth = formatting_depth + u32::from(draft.is_formatting);
        let is_element = matches!(draft.content, Content::Attributes(_));
        (draft.parent, draft.previous, draft.next) = (parent, previous, next);
        (draft.depth, draft.formatting_depth) = (depth, formatting_depth);
        self.depth
            .set(index(depth).saturating_sub(usize::from(!is_element)));
        self.insertion_depth.set(index(depth));
        self.formatting_depth.set(index(formatting_depth));
    }

    fn insert(&self, parent: u32, child: NodeOrText<u32>, next: u32) {
        let node = match child {
            NodeOrText::AppendNode(node) => {
                Self::detach(&mut self.drafts.borrow_mut(), node);
                node
            }
            NodeOrText::AppendText(text) => {
                let mut drafts = self.drafts.borrow_mut();
                let previous = match next {
                    NONE => drafts[index(parent)].last_child,
                    next => drafts[index(next)].previous,
                };
                let previous = drafts.get_mut(index(previous));
                if let Some(Content::Text(held)) = previous.map(|node| &mut node.content) {
                    held.push_tendril(&text);
                    return;
                }
                drop(drafts);
                self.create(Kind::Text, false, no_name(), Content::Text(text))
            }
        };
        self.attach(&mut self.drafts.borrow_mut(), parent, node, next);
    }

    /// The finished tree in document order; what was detached is gone.
    pub(crate) fn into_tree(self) -> Tree {
        let mut drafts = self.drafts.into_inner();
        let mut nodes: Vec<Node> = Vec::with_capacity(drafts.len());
        // Where each draft stands in the new order; filled before its children are visited.
        let mut places = vec![0; drafts.len()];
        let mut at = 0;
        loop {
            let place = nodes.len();
            places[at] = place;
            let draft = &mut drafts[at];
            let parent = places.get(index(draft.parent)).copied().unwrap_or(0);
            nodes.push(node(draft, parent, place));
            if draft.first_child != NONE {
                at = index(draft.first_child);
                continue;
            }
            loop {
                let draft = &drafts[at];
                nodes[places[at]].end = nodes.len();
                if draft.next != NONE {
                    at = index(draft.next);
                    break;
                }
                if draft.parent == NONE {
                    return Tree { nodes };
                }
                at = index(draft.parent);
            }
        }
    }
}

/// The finished form of a draft, which loses its content.
fn node(draft: &mut Draft, parent: usize, place: usize) -> Node {
    let mut attribute_bits = 0;
    let data = match std::mem::replace(&mut draft.content, Content::Nothing) {
        Content::Nothing => Data::Nothing,
        Content::Text(text) => Data::Text(text),
        Content::Attributes(attributes) => {
            for attribute in &attributes {
                attribute_bits |= name_bit(&attribute.name.local);
            }
            Data::Element {
                name: std::mem::take(&mut draft.name),
                attributes,
            }
        }
    };
    let characters = match &data {
        Data::Text(text) => characters(text),
        _ => 0,
    };
    Node {
        parent,
        end: place + 1,
        kind: draft.kind,
        characters,
        attribute_bits,
        data,
    }
}

fn no_name() -> QualName {
    QualName::new(None, Namespace::default(), LocalName::default())
}

impl TreeSink for Arena {
    type Handle = u32;
    type Output = Self;
    type ElemName<'a> = Name<'a>;

    fn finish(self) -> Self {
        self
    }

    fn parse_error(&self, _message: Cow<'static, str>) {}

    fn get_document(&self) -> u32 {
        0
    }

    fn elem_name<'a>(&'a self, target: &'a u32) -> Name<'a> {
        Name(Ref::map(self.drafts.borrow(), |drafts| {
            &drafts[index(*target)]
        }))
    }

    fn create_element(&self, name: QualName, attrs: Vec<Attribute>, _: ElementFlags) -> u32 {
        self.attributes.set(self.attributes.get() + attrs.len());
        let (kind, is_formatting) = self.meaning(&name);
        let content = Content::Attributes(attrs.into_boxed_slice());
        self.create(kind, is_formatting, name, content)
    }

    fn create_comment(&self, _text: StrTendril) -> u32 {
        self.create_nothing()
    }

    fn create_pi(&self, _target: StrTendril, _data: StrTendril) -> u32 {
        self.create_nothing()
    }

    fn append(&self, parent: &u32, child: NodeOrText<u32>) {
        self.insert(*parent, child, NONE);
    }

    fn append_based_on_parent_node(
        &self,
        element: &u32,
        previous_element: &u32,
        child: NodeOrText<u32>,
    ) {
        if self.drafts.borrow()[index(*element)].parent == NONE {
            self.append(previous_element, child);
        } else {
            self.append_before_sibling(element, child);
        }
    }

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    fn get_template_contents(&self, target: &u32) -> u32 {
        // What a template holds is not shown, so that it need not be told from children.
        *target
    }

    fn same_node(&self, x: &u32, y: &u32) -> bool {
        x == y
    }

    fn set_quirks_mode(&self, _mode: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &u32, new_node: NodeOrText<u32>) {
        let parent = self.drafts.borrow()[index(*sibling)].parent;
        if parent != NONE {
            self.insert(parent, new_node, *sibling);
        }
    }

    fn add_attrs_if_missing(&self, target: &u32, attrs: Vec<Attribute>) {
        let mut drafts = self.drafts.borrow_mut();
        let content = &mut drafts[index(*target)].content;
        if let Content::Attributes(attributes) = content {
            self.attributes.set(self.attributes.get() + attrs.len());
            let mut all = std::mem::take(attributes).into_vec();
            for attribute in attrs {
                if all.iter().all(|held| held.name != attribute.name) {
                    all.push(attribute);
                }
            }
            *attributes = all.into_boxed_slice();
        }
    }

    fn remove_from_parent(&self, target: &u32) {
        Self::detach(&mut self.drafts.borrow_mut(), *target);
    }

    fn reparent_children(&self, node: &u32, new_parent: &u32) {
        loop {
            let child = self.drafts.borrow()[index(*node)].first_child;
            if child == NONE {
                return;
            }
            self.insert(*new_parent, NodeOrText::AppendNode(child), NONE);
        }
    }
}
