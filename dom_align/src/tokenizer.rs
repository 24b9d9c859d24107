//! A page's source to tags and runs of text, by the HTML standard.
//!
//! html5ever's tokenizer takes a character at a time through buffers, which is half the time of a
//! parse. This one drives the same tree builder, over a page that is all there: it jumps from `<`
//! to `<`, hands out text and attribute values as views of the source, and looks names up in a
//! small table. Its tokens are those of html5ever (the tests at the end compare them), except for
//! what nobody reads here:
//!
//! - comments are skipped, and so is the text of [`UNREAD_TEXT`] elements, which with the comments
//!   is half of many pages;
//! - attributes are left out that [`atoms`](crate::atoms) does not list, and, so that a hostile tag
//!   does not have each attribute compared with all before it, those beyond a bound;
//! - end tags have no attributes, and errors are not told.
//!
//! Section names in the comments below are those of the standard's chapter "Tokenization".

use std::borrow::Cow;

use html5ever::buffer_queue::BufferQueue;
use html5ever::tendril::StrTendril;
use html5ever::tokenizer::states::RawKind;
use html5ever::tokenizer::{self, Tag, TagKind, Token, TokenSink, TokenSinkResult};
use html5ever::{Attribute, LocalName, QualName, local_name, ns};
use memchr::{memchr, memchr2};

use crate::atoms::Atoms;
use crate::references;

/// Elements whose content is text for the tokenizer and nothing for a reader.
const UNREAD_TEXT: [LocalName; 6] = [
    local_name!("script"),
    local_name!("style"),
    local_name!("textarea"),
    local_name!("iframe"),
    local_name!("noembed"),
    local_name!("noframes"),
];

/// Bytes of a title that are read.
const MAX_TITLE_BYTES: usize = 4 << 10;

/// Number of each token's line: it is for messages only, and nobody reads them.
const LINE: u64 = 1;

/// The source in the form that [`tokenize`] reads: line ends are `\n`, a byte-order mark is gone
/// ("preprocessing the input stream").
pub(crate) fn preprocessed(html: &str) -> StrTendril {
    let html = html.strip_prefix('\u{feff}').unwrap_or(html);
    let length = u32::try_from(html.len()).expect("pages are cut to fewer than 2^32 bytes");
    let mut source = StrTendril::with_capacity(length);
    let mut rest = html;
    while let Some(index) = memchr(b'\r', rest.as_bytes()) {
        source.push_slice(&rest[..index]);
        rest = &rest[index + 1..];
        if !rest.starts_with('\n') {
            source.push_slice("\n");
        }
    }
    source.push_slice(rest);
    source
}

/// Gives the tokens of `source` to `sink`, the end of the file last. Returns the number of tags
/// that had more than `max_attributes` attributes, which lost those beyond.
pub(crate) fn tokenize<S: TokenSink>(
    source: &StrTendril,
    sink: &S,
    atoms: Atoms,
    max_attributes: usize,
) -> usize {
    let mut tokenizer = Tokenizer {
        source,
        html: source.as_bytes(),
        at: 0,
        sink,
        atoms,
        attributes: Vec::new(),
        max_attributes,
        cut_tags: 0,
    };
    tokenizer.run();
    tokenizer.emit(Token::EOFToken);
    sink.end();
    tokenizer.cut_tags
}

struct Tokenizer<'a, S> {
    source: &'a StrTendril,
    /// The bytes of `source`.
    html: &'a [u8],
    at: usize,
    sink: &'a S,
    atoms: Atoms,
    /// Attributes of the tag that is being read.
    attributes: Vec<Attribute>,
    max_attributes: usize,
    cut_tags: usize,
}

impl<S: TokenSink> Tokenizer<'_, S> {
    /// "Data state" and "tag open state".
    fn run(&mut self) {
        let mut text_start = 0;
        while let Some(open) = self.find(b'<', self.at) {
            self.at = open + 1;
            let next = self.byte(open + 1);
            let is_markup = match next {
                Some(b'/') => open + 2 < self.html.len(),
                Some(byte) => byte.is_ascii_alphabetic() || matches!(byte, b'!' | b'?'),
                None => false,
            };
            if !is_markup {
                continue;
            }
            self.text(text_start, open);
            match next {
                Some(b'/') => self.end_tag_open(),
                Some(b'!') => self.markup_declaration(),
                Some(b'?') => self.at = self.after(b'>', self.at),
                _ => self.tag(TagKind::StartTag),
            }
            text_start = self.at;
        }
        self.at = self.html.len();
        self.text(text_start, self.at);
    }

    /// Hands out a token from which nothing follows: all but a tag.
    fn emit(&self, token: Token) {
        let _ = self.sink.process_token(token, LINE);
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.html.get(at).copied()
    }

    fn find(&self, byte: u8, from: usize) -> Option<usize> {
        let index = memchr(byte, self.html.get(from..)?)?;
        Some(from + index)
    }

    fn after(&self, byte: u8, from: usize) -> usize {
        self.find(byte, from)
            .map_or(self.html.len(), |index| index + 1)
    }

    fn view(&self, start: usize, end: usize) -> StrTendril {
        // A page is shorter than 2^32 bytes, or `preprocessed` had not taken it.
        #[expect(clippy::cast_possible_truncation, reason = "see above")]
        self.source.subtendril(start as u32, (end - start) as u32)
    }

    /// Hands out a run of text outside raw text elements.
    fn text(&self, start: usize, end: usize) {
        if start == end {
            return;
        }
        if memchr2(b'&', 0, &self.html[start..end]).is_none() {
            self.emit(Token::CharacterTokens(self.view(start, end)));
            return;
        }
        let text = &self.source[start..end];
        for (place, part) in text.split('\0').enumerate() {
            if place > 0 {
                self.emit(Token::NullCharacterToken);
            }
            if !part.is_empty() {
                self.emit(Token::CharacterTokens(resolved(part, false)));
            }
        }
    }

    /// "End tag open state".
    fn end_tag_open(&mut self) {
        self.at += 1;
        match self.byte(self.at) {
            Some(byte) if byte.is_ascii_alphabetic() => self.tag(TagKind::EndTag),
            _ => self.at = self.after(b'>', self.at),
        }
    }

    /// "Markup declaration open state"; `self.at` is at the `!`.
    fn markup_declaration(&mut self) {
        let open = self.at - 1;
        let rest = &self.html[self.at + 1..];
        if rest.starts_with(b"--") {
            self.at = self.comment_end(self.at + 3);
        } else if starts_with(rest, b"doctype") {
            self.at = self.after(b'>', self.at);
            self.doctype(open);
        } else if rest.starts_with(b"[CDATA[")
            && self
                .sink
                .adjusted_current_node_present_but_not_in_html_namespace()
        {
            self.cdata(self.at + 8);
        } else {
            self.at = self.after(b'>', self.at);
        }
    }

    /// After the comment whose text starts at `start`.
    fn comment_end(&self, start: usize) -> usize {
        let rest = &self.html[start..];
        if rest.starts_with(b">") {
            return start + 1;
        }
        if rest.starts_with(b"->") {
            return start + 2;
        }
        let mut from = start;
        while let Some(close) = self.find(b'>', from) {
            let before = &self.html[start..close];
            if before.ends_with(b"--") || before.ends_with(b"--!") {
                return close + 1;
            }
            from = close + 1;
        }
        self.html.len()
    }

    /// A document type decides whether a table may stand in a paragraph. It ends at the first `>`
    /// whatever it holds and there is one a page: html5ever may read it.
    fn doctype(&self, open: usize) {
        let tokenizer = tokenizer::Tokenizer::new(DoctypeOnly(self.sink), Default::default());
        let queue = BufferQueue::default();
        queue.push_back(self.view(open, self.at));
        let _ = tokenizer.feed(&queue);
        if self.at == self.html.len() {
            tokenizer.end();
        }
    }

    /// "CDATA section state".
    fn cdata(&mut self, start: usize) {
        let length = memchr::memmem::find(&self.html[start..], b"]]>");
        let end = length.map_or(self.html.len(), |length| start + length);
        for (place, part) in self.source[start..end].split('\0').enumerate() {
            if place > 0 {
                self.emit(Token::NullCharacterToken);
            }
            if !part.is_empty() {
                self.emit(Token::CharacterTokens(StrTendril::from_slice(part)));
            }
        }
        self.at = (end + 3).min(self.html.len());
    }

    /// "Tag name state" up to where the tag is handed out; `self.at` is at the first letter. A tag
    /// that the page's end cuts off is none.
    fn tag(&mut self, kind: TagKind) {
        let html = self.html;
        let name_start = self.at;
        let mut at = name_start + 1;
        while at < html.len() && !is_space(html[at]) && html[at] != b'/' && html[at] != b'>' {
            at += 1;
        }
        let name = self.atoms.tag(&self.source[name_start..at]);
        let keeps_all = kind == TagKind::StartTag && crate::atoms::keeps_all_attributes(&name);
        let mut count = 0;
        let mut self_closing = false;
        loop {
            match html.get(at) {
                None => {
                    self.at = at;
                    self.attributes.clear();
                    return;
                }
                Some(b'>') => break,
                Some(b'/') => self_closing = html.get(at + 1) == Some(&b'>'),
                Some(byte) if is_space(*byte) => {}
                Some(_) => {
                    count += 1;
                    let is_read = kind == TagKind::StartTag && count <= self.max_attributes;
                    at = self.attribute(at, is_read, keeps_all);
                    continue;
                }
            }
            at += 1;
        }
        self.at = at + 1;
        if count > self.max_attributes {
            self.cut_tags += 1;
        }
        // A vector with no room to spare: most of a tree's memory is here.
        let attrs = self.attributes.drain(..).collect();
        let token = Token::TagToken(Tag {
            kind,
            name: name.clone(),
            self_closing,
            attrs,
            had_duplicate_attributes: false,
        });
        match self.sink.process_token(token, LINE) {
            TokenSinkResult::RawData(kind) => self.raw_text(kind, &name),
            TokenSinkResult::Plaintext => self.raw_text_run(self.at, self.html.len()),
            _ => {}
        }
    }

    /// "Attribute name state" to "attribute value state"; gives where the attribute ends.
    fn attribute(&mut self, start: usize, is_read: bool, keeps_all: bool) -> usize {
        let html = self.html;
        // A `=` in the first place belongs to the name.
        let mut at = start + 1;
        while at < html.len() && !is_space(html[at]) && !matches!(html[at], b'/' | b'>' | b'=') {
            at += 1;
        }
        let name_end = at;
        while at < html.len() && is_space(html[at]) {
            at += 1;
        }
        let (mut value, mut end) = (name_end..name_end, name_end);
        if html.get(at) == Some(&b'=') {
            at += 1;
            while at < html.len() && is_space(html[at]) {
                at += 1;
            }
            match html.get(at) {
                Some(quote @ (b'"' | b'\'')) => {
                    let close = self.find(*quote, at + 1);
                    value = at + 1..close.unwrap_or(html.len());
                    end = close.map_or(html.len(), |close| close + 1);
                }
                _ => {
                    let value_start = at;
                    while at < html.len() && !is_space(html[at]) && html[at] != b'>' {
                        at += 1;
                    }
                    (value, end) = (value_start..at, at);
                }
            }
        }
        if is_read
            && let Some((name, is_listed)) = self.atoms.attribute(&self.source[start..name_end])
        {
            let is_new = |held: &Attribute| held.name.local != name;
            if (is_listed || keeps_all) && self.attributes.iter().all(is_new) {
                let value = match memchr2(b'&', 0, &html[value.clone()]) {
                    None => self.view(value.start, value.end),
                    Some(_) => resolved(&without_nulls(&self.source[value]), true),
                };
                self.attributes.push(Attribute {
                    name: QualName::new(None, ns!(), name),
                    value,
                });
            }
        }
        end
    }

    /// The text of a raw text element, up to its end tag.
    fn raw_text(&mut self, kind: RawKind, name: &LocalName) {
        let start = self.at;
        self.at = self.raw_text_end(name.as_bytes(), kind == RawKind::ScriptData);
        if UNREAD_TEXT.contains(name) {
            return;
        }
        if kind == RawKind::Rcdata {
            let end = self.source.floor_char_boundary(start + MAX_TITLE_BYTES);
            let text = without_nulls(&self.source[start..self.at.min(end)]);
            if !text.is_empty() {
                self.emit(Token::CharacterTokens(resolved(&text, false)));
            }
        } else {
            self.raw_text_run(start, self.at);
        }
    }

    fn raw_text_run(&mut self, start: usize, end: usize) {
        if start < end {
            let text = without_nulls(&self.source[start..end]);
            self.emit(Token::CharacterTokens(StrTendril::from_slice(&text)));
        }
        self.at = end;
    }

    /// Where the end tag of a raw text element starts. In a script, `<!-- <script>` hides the next
    /// `</script>` ("script data double escaped state").
    fn raw_text_end(&self, name: &[u8], is_script: bool) -> usize {
        let (mut is_escaped, mut is_double_escaped) = (false, false);
        let mut at = self.at;
        loop {
            let rest = self.html.get(at..).unwrap_or_default();
            let found = if is_escaped {
                memchr2(b'<', b'-', rest)
            } else {
                memchr(b'<', rest)
            };
            let Some(index) = found else {
                return self.html.len();
            };
            at += index;
            let rest = &self.html[at..];
            if rest[0] == b'-' {
                if rest.starts_with(b"-->") {
                    (is_escaped, is_double_escaped) = (false, false);
                }
            } else if rest.get(1) == Some(&b'/') && is_name_at(rest, 2, name) {
                if !is_double_escaped {
                    return at;
                }
                is_double_escaped = false;
            } else if is_script && rest.starts_with(b"<!--") {
                is_escaped = true;
                // The dashes may be those of the closing `-->` as well.
                at += 1;
            } else if is_escaped && is_name_at(rest, 1, b"script") {
                is_double_escaped = true;
            }
            at += 1;
        }
    }
}

/// A sink for the one token that is not read here.
struct DoctypeOnly<'a, S>(&'a S);

impl<S: TokenSink> TokenSink for DoctypeOnly<'_, S> {
    type Handle = S::Handle;

    fn process_token(&self, token: Token, line: u64) -> TokenSinkResult<S::Handle> {
        match token {
            Token::DoctypeToken(_) => self.0.process_token(token, line),
            _ => TokenSinkResult::Continue,
        }
    }
}

/// Text with its character references resolved.
fn resolved(text: &str, is_in_attribute: bool) -> StrTendril {
    let mut out = StrTendril::new();
    let mut rest = text;
    while let Some(index) = memchr(b'&', rest.as_bytes()) {
        out.push_slice(&rest[..index]);
        rest = &rest[index..];
        match references::read(rest, is_in_attribute) {
            Some(reference) => {
                out.push_char(reference.characters.0);
                if let Some(second) = reference.characters.1 {
                    out.push_char(second);
                }
                rest = &rest[reference.length..];
            }
            None => {
                out.push_slice("&");
                rest = &rest[1..];
            }
        }
    }
    out.push_slice(rest);
    out
}

fn without_nulls(text: &str) -> Cow<'_, str> {
    if memchr(0, text.as_bytes()).is_some() {
        Cow::Owned(text.replace('\0', "\u{fffd}"))
    } else {
        Cow::Borrowed(text)
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\x0c')
}

fn starts_with(text: &[u8], lowercase: &[u8]) -> bool {
    text.get(..lowercase.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(lowercase))
}

/// Whether a tag's whole name stands at `from`.
fn is_name_at(text: &[u8], from: usize, name: &[u8]) -> bool {
    starts_with(&text[from..], name)
        && text
            .get(from + name.len())
            .is_some_and(|byte| is_space(*byte) || matches!(byte, b'/' | b'>'))
}

#[cfg(test)]
#[path = "tokenizer_tests.rs"]
mod tests;
