//! Atoms of tags and attributes: a table in front of html5ever's atoms, and which attributes any
//! rule reads.
//!
//! Making an atom of a name means hashing it for a table of all known names, and for the others
//! taking a lock; a page uses the same few names over and over.

use std::collections::HashSet;

use html5ever::{LocalName, local_name};

/// Places of the table: a page has some forty names. A power of two.
const SLOTS: usize = 256;

/// Longest name that an atom holds in itself.
const MAX_INLINE_BYTES: usize = 7;

/// Names of a page's own making that are told apart. html5ever keeps the atoms of all pages in one
/// table of fixed size, in which each look-up passes what a hostile page has put there: 400,000
/// attributes with names of their own took 8 s. Real pages have fewer than 300.
const MAX_OWN_NAMES: usize = 4_096;

/// Attributes that some rule reads on elements of all kinds, or the tree builder does.
///
/// The others are left out of the tree, but for elements that keep all
/// ([`keeps_all_attributes`]): a third of a page's attributes serve scripts. Reading an attribute
/// that is not listed is a mistake that `Node::attribute` reports in tests.
const LISTED: [&str; 55] = [
    "alt",
    "aria-describedby",
    "aria-expanded",
    "aria-hidden",
    "aria-label",
    "aria-labelledby",
    "aria-modal",
    "class",
    "cite",
    "colspan",
    "content",
    "data-bg",
    "data-nosnippet",
    "data-poster",
    "data-src",
    "datetime",
    "dir",
    "encoding",
    "for",
    "form",
    "headers",
    "height",
    "hidden",
    "href",
    "hreflang",
    "id",
    "itemid",
    "itemprop",
    "itemscope",
    "itemtype",
    "label",
    "lang",
    "media",
    "name",
    "open",
    "poster",
    "property",
    "rel",
    "role",
    "rowspan",
    "scope",
    "shadowrootmode",
    "sizes",
    "src",
    "srcset",
    "start",
    "style",
    "summary",
    "tabindex",
    "title",
    "type",
    "typeof",
    "value",
    "width",
    "xml:lang",
];

/// Whether attributes of this name are kept on elements of all kinds.
pub(crate) fn is_listed(name: &str) -> bool {
    LISTED.contains(&name)
}

/// Whether elements of this name keep all attributes.
///
/// Pictures keep their URLs in attributes of any name; of two formatting elements the tree builder
/// asks whether their attributes are the same ("Noah's Ark clause").
pub(crate) fn keeps_all_attributes(tag: &LocalName) -> bool {
    crate::tags::is_formatting(tag)
        || matches!(
            *tag,
            local_name!("img")
                | local_name!("image")
                | local_name!("source")
                | local_name!("video")
        )
        || tag.starts_with("amp-")
}

/// Atoms of the names that a page uses.
pub(crate) struct Atoms {
    /// Name and whether it is listed, at the place that [`Atoms::slot`] gives.
    slots: Vec<(LocalName, bool)>,
    /// Names that html5ever does not know.
    own_names: HashSet<Box<str>>,
    keeps_all: bool,
}

impl Atoms {
    pub(crate) fn new() -> Self {
        Self {
            slots: vec![(LocalName::default(), false); SLOTS],
            own_names: HashSet::new(),
            keeps_all: false,
        }
    }

    /// A table for which all attributes are listed.
    #[cfg(test)]
    pub(crate) fn keeping_all() -> Self {
        Self {
            keeps_all: true,
            ..Self::new()
        }
    }

    /// The atom of a tag's name as the page spells it. After too many names of the page's own all
    /// further ones are the same.
    pub(crate) fn tag(&mut self, name: &str) -> LocalName {
        self.get(name)
            .map_or_else(|| LocalName::from("x"), |(atom, _)| atom)
    }

    /// The atom of an attribute's name as the page spells it, and whether it is listed; `None` after
    /// too many names of the page's own.
    pub(crate) fn attribute(&mut self, name: &str) -> Option<(LocalName, bool)> {
        self.get(name)
    }

    fn get(&mut self, name: &str) -> Option<(LocalName, bool)> {
        let is_plain = |byte: u8| !byte.is_ascii_uppercase() && byte != 0;
        if name.bytes().all(is_plain) {
            self.get_lowercase(name)
        } else {
            let lowercase = name.to_ascii_lowercase().replace('\0', "\u{fffd}");
            self.get_lowercase(&lowercase)
        }
    }

    fn get_lowercase(&mut self, name: &str) -> Option<(LocalName, bool)> {
        let slot = Self::slot(name.as_bytes());
        if *self.slots[slot].0 != *name {
            let atom = self.atom(name)?;
            self.slots[slot] = (atom, self.keeps_all || is_listed(name));
        }
        Some(self.slots[slot].clone())
    }

    fn atom(&mut self, name: &str) -> Option<LocalName> {
        if let Some(known) = LocalName::try_static(name) {
            return Some(known);
        }
        if name.len() > MAX_INLINE_BYTES && !self.own_names.contains(name) {
            if self.own_names.len() >= MAX_OWN_NAMES {
                return None;
            }
            self.own_names.insert(name.into());
        }
        Some(LocalName::from(name))
    }

    /// Place of a name: its length and both ends tell most names apart.
    fn slot(name: &[u8]) -> usize {
        let end = |byte: Option<&u8>| byte.map_or(0, |byte| usize::from(*byte));
        let middle = end(name.get(name.len() / 2));
        let (first, last) = (end(name.first()), end(name.last()));
        (name.len() * 37 + first * 5 + middle * 17 + last * 3) % SLOTS
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_lowercased_and_told_apart_in_one_slot() {
        let mut atoms = Atoms::new();
        assert_eq!(&*atoms.tag("DIV"), "div");
        assert_eq!(&*atoms.tag("a\0É"), "a\u{fffd}É");
        for _ in 0..2 {
            for number in 0..2 * SLOTS {
                let name = format!("x-long-{number}");
                assert_eq!(*atoms.tag(&name), *name);
            }
        }
        let mut is_listed = |name| atoms.attribute(name).unwrap().1;
        assert!(is_listed("href") && !is_listed("onclick"));
    }

    #[test]
    fn names_without_end_become_one() {
        let mut atoms = Atoms::new();
        for number in 0..MAX_OWN_NAMES {
            assert!(atoms.attribute(&format!("data-{number:05}")).is_some());
        }
        assert!(atoms.attribute("data-one-more").is_none());
        assert_eq!(&*atoms.tag("one-more"), "x");
        assert!(atoms.attribute("data-00000").is_some());
        assert!(atoms.attribute("class").is_some());
    }
}
