//! html5ever's parse with nothing of a tree kept: what a tree by the standard costs at least.

use std::borrow::Cow;
use std::cell::RefCell;

use html5ever::interface::{ElemName, ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::{StrTendril, TendrilSink};
use html5ever::{Attribute, LocalName, Namespace, QualName};

/// Parses the page; gives the number of its elements.
pub(crate) fn parse(html: &str) -> usize {
    html5ever::parse_document(Empty::default(), Default::default()).one(html)
}

/// A sink that knows the names of elements, as the tree builder must ask for them, and no tree.
#[derive(Default)]
struct Empty(RefCell<Vec<(Namespace, LocalName)>>);

#[derive(Debug)]
struct Name(Namespace, LocalName);

impl ElemName for Name {
    fn ns(&self) -> &Namespace {
        &self.0
    }

    fn local_name(&self) -> &LocalName {
        &self.1
    }
}

impl Empty {
    fn create(&self, namespace: Namespace, name: LocalName) -> usize {
        self.0.borrow_mut().push((namespace, name));
        self.0.borrow().len()
    }
}

impl TreeSink for Empty {
    type Handle = usize;
    type Output = usize;
    type ElemName<'a> = Name;

    fn finish(self) -> usize {
        self.0.borrow().len()
    }

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> usize {
        0
    }

    fn elem_name<'a>(&'a self, target: &'a usize) -> Name {
        let names = self.0.borrow();
        let (namespace, name) = &names[*target - 1];
        Name(namespace.clone(), name.clone())
    }

    fn create_element(&self, name: QualName, _: Vec<Attribute>, _: ElementFlags) -> usize {
        self.create(name.ns, name.local)
    }

    fn create_comment(&self, _: StrTendril) -> usize {
        self.create(Namespace::default(), LocalName::default())
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> usize {
        self.create(Namespace::default(), LocalName::default())
    }

    fn append(&self, _: &usize, _: NodeOrText<usize>) {}

    fn append_based_on_parent_node(&self, _: &usize, _: &usize, _: NodeOrText<usize>) {}

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    fn get_template_contents(&self, target: &usize) -> usize {
        *target
    }

    fn same_node(&self, x: &usize, y: &usize) -> bool {
        x == y
    }

    fn set_quirks_mode(&self, _: QuirksMode) {}

    fn append_before_sibling(&self, _: &usize, _: NodeOrText<usize>) {}

    fn add_attrs_if_missing(&self, _: &usize, _: Vec<Attribute>) {}

    fn remove_from_parent(&self, _: &usize) {}

    fn reparent_children(&self, _: &usize, _: &usize) {}
}
