//! Atoms of tags and attributes: a table in front of html5ever's atoms, and which attributes any
//! rule reads.
//!
//! Making an atom of a name means hashing it for a table of all known names, and for the others
//! taking a lock; a page uses the same few names over and over.

use html5ever::{LocalName, local_name};

/// Places of the table: a page has some forty names. A power of two.
const SLOTS: usize = 256;

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
    keeps_all: bool,
    /// The name being read, if it is not in lower case.
    lowercase: String,
}

impl Atoms {
    pub(crate) fn new() -> Self {
        Self {
            slots: vec![(LocalName::default(), false); SLOTS],
            keeps_all: false,
            lowercase: String::new(),
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

    /// The atom of a name as the page spells it, and whether it is that of a listed attribute.
    pub(crate) fn get(&mut self, name: &str) -> (LocalName, bool) {
        if name
            .bytes()
            .any(|byte| byte.is_ascii_uppercase() || byte == 0)
        {
            self.lowercase.clear();
            self.lowercase.push_str(name);
            self.lowercase.make_ascii_lowercase();
            let lowercase = self.lowercase.replace('\0', "\u{fffd}");
            return self.get_lowercase(&lowercase);
        }
        self.get_lowercase(name)
    }

    fn get_lowercase(&mut self, name: &str) -> (LocalName, bool) {
        let slot = &mut self.slots[Self::slot(name.as_bytes())];
        if *slot.0 != *name {
            *slot = (LocalName::from(name), self.keeps_all || is_listed(name));
        }
        slot.clone()
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
        assert_eq!(&*atoms.get("DIV").0, "div");
        assert_eq!(&*atoms.get("a\0É").0, "a\u{fffd}É");
        for _ in 0..2 {
            for number in 0..2 * SLOTS {
                let name = format!("x-{number}");
                assert_eq!(*atoms.get(&name).0, *name);
            }
        }
        assert!(atoms.get("href").1 && !atoms.get("onclick").1);
    }
}
