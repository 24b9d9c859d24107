//! The parts of a page's source that the parser is given.
//!
//! Scripts, style sheets and comments are half of many pages, and nothing of them reaches a
//! document: cutting them out before parsing is cheaper than parsing them. It is also where a
//! hostile page is disarmed that would make the tokenizer compare each attribute of a tag with all
//! before it: attributes beyond a bound are cut out as well. One pass, linear in the page.
//!
//! The pass follows the tokenizer's states as far as they decide where a tag, a comment or a raw
//! text ends. Where the two could disagree (raw text elements inside SVG), what is fed holds no
//! markup, so that a page cannot hide attributes from the bound.

use html5ever::tendril::StrTendril;

/// Elements whose content is text for the tokenizer and nothing for a reader.
const RAW_TEXT: [&str; 6] = [
    "script", "style", "textarea", "iframe", "noembed", "noframes",
];

/// Bytes of a title that are read.
const MAX_TITLE_BYTES: usize = 4 << 10;

/// A page's source, cut into the runs to feed, in order.
pub(crate) struct Feed {
    source: StrTendril,
    runs: Vec<Run>,
    /// Tags of which attributes were cut out.
    pub(crate) cut_tags: usize,
}

enum Run {
    Source {
        start: usize,
        end: usize,
    },
    /// A `<` that must not open a tag.
    EscapedLessThan,
}

impl Feed {
    /// Cuts `html`, which is at most `u32::MAX` bytes long.
    pub(crate) fn new(html: &str, max_attributes: usize) -> Self {
        let mut cutter = Cutter {
            html: html.as_bytes(),
            runs: Vec::new(),
            start: 0,
            at: 0,
            cut_tags: 0,
        };
        cutter.cut(max_attributes);
        Self {
            source: StrTendril::from_slice(html),
            runs: cutter.runs,
            cut_tags: cutter.cut_tags,
        }
    }

    /// The pieces to feed, none longer than `max_bytes` by more than a character.
    pub(crate) fn pieces(&self, max_bytes: usize) -> impl Iterator<Item = StrTendril> {
        self.runs.iter().flat_map(move |run| {
            let (mut start, end, escaped) = match *run {
                Run::Source { start, end } => (start, end, None),
                Run::EscapedLessThan => (0, 0, Some(StrTendril::from_slice("&lt;"))),
            };
            let source = &self.source;
            let cut = std::iter::from_fn(move || {
                if start >= end {
                    return None;
                }
                let mut stop = end.min(start + max_bytes.max(1));
                while !source.is_char_boundary(stop) {
                    stop += 1;
                }
                let piece = source.subtendril(offset(start), offset(stop - start));
                start = stop;
                Some(piece)
            });
            escaped.into_iter().chain(cut)
        })
    }
}

fn offset(bytes: usize) -> u32 {
    u32::try_from(bytes).expect("pages are cut to fewer than 2^32 bytes")
}

struct Cutter<'a> {
    html: &'a [u8],
    runs: Vec<Run>,
    /// Where the current run starts.
    start: usize,
    at: usize,
    cut_tags: usize,
}

impl Cutter<'_> {
    fn cut(&mut self, max_attributes: usize) {
        while let Some(open) = self.find(b'<', self.at) {
            self.at = open + 1;
            match self.byte(self.at) {
                Some(b'!') if self.starts_with(b"!--") => self.comment(open),
                Some(b'!') if self.starts_with(b"!doctype") => {
                    self.at = self.after(b'>', self.at);
                }
                Some(b'!' | b'?') => {
                    self.at = self.after(b'>', self.at);
                    self.skip(open, self.at);
                }
                Some(b'/') => match self.byte(self.at + 1) {
                    Some(byte) if byte.is_ascii_alphabetic() => {
                        self.tag(max_attributes);
                    }
                    _ => {
                        self.at = self.after(b'>', self.at);
                        self.skip(open, self.at);
                    }
                },
                Some(byte) if byte.is_ascii_alphabetic() => {
                    let name_start = self.at;
                    let name_end = self.tag(max_attributes);
                    self.raw_text(name_start, name_end);
                }
                _ => {}
            }
        }
        self.skip(self.html.len(), self.html.len());
    }

    fn byte(&self, at: usize) -> Option<u8> {
        self.html.get(at).copied()
    }

    fn find(&self, byte: u8, from: usize) -> Option<usize> {
        let rest = self.html.get(from..)?;
        rest.iter()
            .position(|b| *b == byte)
            .map(|index| from + index)
    }

    fn after(&self, byte: u8, from: usize) -> usize {
        self.find(byte, from)
            .map_or(self.html.len(), |index| index + 1)
    }

    fn starts_with(&self, lowercase: &[u8]) -> bool {
        starts_with(&self.html[self.at..], lowercase)
    }

    /// Ends the current run at `from`; the next starts at `to`.
    fn skip(&mut self, from: usize, to: usize) {
        if self.start < from {
            self.runs.push(Run::Source {
                start: self.start,
                end: from,
            });
        }
        self.start = to;
    }

    fn comment(&mut self, open: usize) {
        self.at = open + 4;
        let end = if self.starts_with(b">") {
            self.at + 1
        } else if self.starts_with(b"->") {
            self.at + 2
        } else {
            self.comment_end()
        };
        self.at = end;
        self.skip(open, end);
    }

    fn comment_end(&self) -> usize {
        let mut from = self.at;
        while let Some(close) = self.find(b'>', from) {
            let before = &self.html[self.at..close];
            if before.ends_with(b"--") || before.ends_with(b"--!") {
                return close + 1;
            }
            from = close + 1;
        }
        self.html.len()
    }

    /// Reads a tag whose name starts at `self.at` (or one byte later, in an end tag) up to after
    /// its `>`, cuts out attributes beyond the bound, and gives the end of its name.
    fn tag(&mut self, max_attributes: usize) -> usize {
        let html = self.html;
        let mut at = self.at + 1;
        while at < html.len() && !is_space(html[at]) && html[at] != b'/' && html[at] != b'>' {
            at += 1;
        }
        let name_end = at;
        let mut attributes = 0;
        let mut excess_start = None;
        loop {
            while at < html.len() && (is_space(html[at]) || html[at] == b'/') {
                at += 1;
            }
            if at >= html.len() || html[at] == b'>' {
                break;
            }
            attributes += 1;
            if attributes > max_attributes {
                excess_start.get_or_insert(at);
            }
            at = attribute_end(html, at);
        }
        if let Some(start) = excess_start {
            self.cut_tags += 1;
            self.skip(start, at);
        }
        self.at = (at + 1).min(html.len());
        name_end
    }

    /// After the start tag of a raw text element: skips its content.
    fn raw_text(&mut self, name_start: usize, name_end: usize) {
        let name = &self.html[name_start..name_end];
        if name.eq_ignore_ascii_case(b"title") {
            let end = self.raw_text_end(b"title", false);
            let mut kept = end.min(self.at + MAX_TITLE_BYTES);
            while kept < end && self.html[kept] & 0xC0 == 0x80 {
                kept += 1;
            }
            while let Some(less_than) = self.find(b'<', self.at).filter(|index| *index < kept) {
                self.skip(less_than, less_than + 1);
                self.runs.push(Run::EscapedLessThan);
                self.at = less_than + 1;
            }
            self.skip(kept, end);
            self.at = end;
            return;
        }
        let raw = RAW_TEXT
            .into_iter()
            .find(|raw| name.eq_ignore_ascii_case(raw.as_bytes()));
        if let Some(raw) = raw {
            let end = self.raw_text_end(raw.as_bytes(), raw == "script");
            self.skip(self.at, end);
            self.at = end;
        }
    }

    /// Where the end tag of a raw text element starts. In a script, `<!-- <script>` hides the next
    /// `</script>` (the standard's "script data double escaped state").
    fn raw_text_end(&self, name: &[u8], is_script: bool) -> usize {
        let (mut is_escaped, mut is_double_escaped) = (false, false);
        let mut at = self.at;
        while at < self.html.len() {
            let rest = &self.html[at..];
            match rest[0] {
                b'<' if is_end_tag(rest, name) => {
                    if !is_double_escaped {
                        return at;
                    }
                    is_double_escaped = false;
                }
                b'<' if is_script && rest.starts_with(b"<!--") => {
                    is_escaped = true;
                    // The dashes may be those of the closing `-->` as well.
                    at += 1;
                }
                b'<' if is_escaped && is_end_tag_or_space(rest, 1, b"script") => {
                    is_double_escaped = true;
                }
                b'-' if is_escaped && rest.starts_with(b"-->") => {
                    (is_escaped, is_double_escaped) = (false, false);
                }
                _ => {}
            }
            at += 1;
        }
        self.html.len()
    }
}

/// Where the attribute that starts at `at` ends.
fn attribute_end(html: &[u8], mut at: usize) -> usize {
    // A `=` in the first place belongs to the name.
    at += 1;
    while at < html.len() && !is_space(html[at]) && !matches!(html[at], b'/' | b'>' | b'=') {
        at += 1;
    }
    let mut value = at;
    while value < html.len() && is_space(html[value]) {
        value += 1;
    }
    if html.get(value) != Some(&b'=') {
        return at;
    }
    value += 1;
    while value < html.len() && is_space(html[value]) {
        value += 1;
    }
    match html.get(value) {
        Some(quote @ (b'"' | b'\'')) => {
            let rest = &html[value + 1..];
            let length = rest.iter().position(|byte| byte == quote);
            length.map_or(html.len(), |length| value + 1 + length + 1)
        }
        _ => {
            while value < html.len() && !is_space(html[value]) && html[value] != b'>' {
                value += 1;
            }
            value
        }
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\x0c' | b'\r')
}

fn starts_with(text: &[u8], lowercase: &[u8]) -> bool {
    text.get(..lowercase.len())
        .is_some_and(|start| start.eq_ignore_ascii_case(lowercase))
}

fn is_end_tag(text: &[u8], name: &[u8]) -> bool {
    text.get(1) == Some(&b'/') && is_end_tag_or_space(text, 2, name)
}

fn is_end_tag_or_space(text: &[u8], from: usize, name: &[u8]) -> bool {
    starts_with(&text[from..], name)
        && text
            .get(from + name.len())
            .is_some_and(|byte| is_space(*byte) || matches!(byte, b'/' | b'>'))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(html: &str, max_attributes: usize) -> String {
        Feed::new(html, max_attributes)
            .pieces(7)
            .map(|piece| piece.to_string())
            .collect()
    }

    #[test]
    fn scripts_styles_and_comments_are_not_fed() {
        let html =
            "<p>a<script src=x>if (a<b) '<p>'</script >b<!-- c -- > d --!>e<style>f</style><!-->g";
        assert_eq!(
            fed(html, 9),
            "<p>a<script src=x></script >be<style></style>g"
        );
    }

    #[test]
    fn an_open_comment_or_script_swallows_the_rest() {
        assert_eq!(fed("a<!-- b <p> c", 9), "a");
        assert_eq!(fed("a<script>b</scripty>c", 9), "a<script>");
        assert_eq!(fed("a<!", 9), "a");
    }

    #[test]
    fn a_double_escaped_script_ends_at_its_second_end_tag() {
        let html = "<script><!-- <script> a </script> b --></script>c";
        assert_eq!(fed(html, 9), "<script></script>c");
        assert_eq!(fed("<script><!-- a </script>c", 9), "<script></script>c");
    }

    #[test]
    fn attributes_beyond_the_bound_are_cut_out() {
        assert_eq!(fed("<a b c='>' d=\"e f\" =g h>i", 2), "<a b c='>' >i");
        assert_eq!(
            fed("<a b=c/d e / f>i</a g h i>", 2),
            "<a b=c/d e / >i</a g h >"
        );
        assert_eq!(Feed::new("<a b c><a b>", 1).cut_tags, 1);
    }

    #[test]
    fn a_title_is_text_even_if_it_names_a_script() {
        assert_eq!(
            fed("<title>The <script> tag</title><p>a", 9),
            "<title>The &lt;script> tag</title><p>a"
        );
    }
}
