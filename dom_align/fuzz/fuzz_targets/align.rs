//! What holds for every page, whatever its bytes: see the checks in [`check`].
#![no_main]

use std::borrow::Cow;
use std::cell::RefCell;
use std::time::{Duration, Instant};

use html5ever::interface::{ElemName, ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::{StrTendril, TendrilSink};
use html5ever::{Attribute, LocalName, Namespace, ParseOpts, QualName, ns};
use libfuzzer_sys::fuzz_target;
use m3w_document::TextRole;
use m3w_dom_align::{Config, Mode, align};
use url::Url;

/// Pages of the fuzzer have some kilobytes: a second is a thousand times what they should take.
const MAX_TIME: Duration = Duration::from_secs(1);

fuzz_target!(|bytes: &[u8]| {
    let html = String::from_utf8_lossy(bytes);
    let all_text = text_of(&html);
    for mode in [Mode::Main, Mode::Everything] {
        check(&html, &all_text, mode);
    }
});

fn check(html: &str, all_text: &str, mode: Mode) {
    let url = Url::parse("https://example.org/folder/page.html").expect("a URL");
    // Bounds low enough for the fuzzer to meet them.
    let config = Config {
        mode,
        max_depth: 64,
        max_nodes: 4_000,
        max_attributes: 8,
        ..Config::default()
    };
    let start = Instant::now();
    let aligned = align(html, &url, &config);
    assert!(start.elapsed() < MAX_TIME, "took {:?}", start.elapsed());
    assert_eq!(aligned, align(html, &url, &config), "twice the same page");

    if aligned.given_up.is_some() {
        // Tags were left out, and what is text may depend on them.
        return;
    }
    let title = aligned.document.title.iter().map(String::as_str);
    let texts = aligned.document.texts().map(|text| text.content.as_str());
    for text in title.chain(texts) {
        assert!(!text.trim().is_empty());
        assert!(text.chars().all(|c| !c.is_control() || "\n\t".contains(c)));
        for word in text.split_whitespace() {
            // What stands between the cells of a row is ours.
            assert!(
                word == "|" || is_within(word.chars(), all_text),
                "invented: {word:?}"
            );
        }
    }
    // Captions move to their image; what a table does not take moves before it.
    if !html.to_ascii_lowercase().contains("<t") {
        let texts = aligned.document.texts();
        let in_place = texts.filter(|text| text.role != TextRole::Caption);
        let characters = in_place.flat_map(|text| text.content.chars());
        assert!(
            is_within(characters.filter(|c| !c.is_whitespace()), all_text),
            "out of order"
        );
    }
}

/// Whether the characters stand in the text in this order; others may stand between, for there may
/// be hidden elements in the middle of a word.
fn is_within(mut characters: impl Iterator<Item = char>, text: &str) -> bool {
    let mut rest = text.chars();
    characters.all(|c| rest.any(|held| held == c))
}

/// All text of the page as html5ever reads it, in the order of the source, without what never reaches
/// a document: white space, control characters, soft hyphens.
fn text_of(html: &str) -> String {
    let mut options = ParseOpts::default();
    options.tree_builder.scripting_enabled = false;
    let texts = html5ever::parse_document(Texts::default(), options).one(html);
    let is_kept =
        |c: &char| !c.is_whitespace() && !c.is_control() && !matches!(c, '\u{ad}' | '\u{feff}');
    texts.chars().filter(is_kept).collect()
}

/// A tree of which only the text and the names of elements are kept.
#[derive(Default)]
struct Texts {
    text: RefCell<String>,
    names: RefCell<Vec<QualName>>,
}

#[derive(Debug)]
struct Name(QualName);

impl ElemName for Name {
    fn ns(&self) -> &Namespace {
        &self.0.ns
    }

    fn local_name(&self) -> &LocalName {
        &self.0.local
    }
}

impl Texts {
    fn create(&self, name: QualName) -> usize {
        self.names.borrow_mut().push(name);
        self.names.borrow().len()
    }

    fn read(&self, child: NodeOrText<usize>) {
        if let NodeOrText::AppendText(text) = child {
            self.text.borrow_mut().push_str(&text);
        }
    }
}

impl TreeSink for Texts {
    type Handle = usize;
    type Output = String;
    type ElemName<'a> = Name;

    fn finish(self) -> String {
        self.text.into_inner()
    }

    fn parse_error(&self, _: Cow<'static, str>) {}

    fn get_document(&self) -> usize {
        0
    }

    fn elem_name<'a>(&'a self, target: &'a usize) -> Name {
        Name(self.names.borrow()[*target - 1].clone())
    }

    fn create_element(&self, name: QualName, _: Vec<Attribute>, _: ElementFlags) -> usize {
        self.create(name)
    }

    fn create_comment(&self, _: StrTendril) -> usize {
        self.create(QualName::new(None, ns!(), LocalName::default()))
    }

    fn create_pi(&self, _: StrTendril, _: StrTendril) -> usize {
        self.create(QualName::new(None, ns!(), LocalName::default()))
    }

    fn append(&self, _: &usize, child: NodeOrText<usize>) {
        self.read(child);
    }

    fn append_based_on_parent_node(&self, _: &usize, _: &usize, child: NodeOrText<usize>) {
        self.read(child);
    }

    fn append_doctype_to_document(&self, _: StrTendril, _: StrTendril, _: StrTendril) {}

    fn get_template_contents(&self, target: &usize) -> usize {
        *target
    }

    fn same_node(&self, x: &usize, y: &usize) -> bool {
        x == y
    }

    fn set_quirks_mode(&self, _: QuirksMode) {}

    fn append_before_sibling(&self, _: &usize, child: NodeOrText<usize>) {
        self.read(child);
    }

    fn add_attrs_if_missing(&self, _: &usize, _: Vec<Attribute>) {}

    fn remove_from_parent(&self, _: &usize) {}

    fn reparent_children(&self, _: &usize, _: &usize) {}
}
