//! The `<meta>` elements of a page, by a light scan.
//!
//! No tree is built: the page is walked once from tag to tag, and what is no tag to a browser
//! (comments, scripts, text inside `<title>` or `<textarea>`, attribute values) is passed over.

use std::borrow::Cow;

use memchr::{memchr, memmem};

/// Elements whose content is text, whatever it looks like: HTML standard, "raw text" and
/// "escapable raw text" elements and those parsed like them.
const TEXT_ELEMENTS: [&str; 8] = [
    "script", "style", "title", "textarea", "iframe", "xmp", "noembed", "noframes",
];

/// One `<meta>` element; attribute values as they stand, with the common character references
/// resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Meta {
    /// Lower case.
    pub(crate) name: String,
    /// Lower case.
    pub(crate) http_equiv: String,
    pub(crate) content: String,
}

/// All `<meta>` elements of a page, in order; and links with the relation `license`, as if they were
/// `<meta name=license>` with their address.
pub(crate) fn metas(html: &str) -> Vec<Meta> {
    let mut found = Vec::new();
    walk(html, &["meta", "link", "a", "area"], |tag| {
        if tag.is("meta") {
            found.push(Meta::new(tag));
        } else {
            found.extend(license(tag));
        }
    });
    found
}

/// What a link says of the licence of its page (HTML standard, "Link type `license`").
fn license(tag: &Tag<'_>) -> Option<Meta> {
    let is_license = |relation: &str| relation.eq_ignore_ascii_case("license");
    if !tag.value("rel")?.split_ascii_whitespace().any(is_license) {
        return None;
    }
    Some(Meta {
        name: "license".to_owned(),
        content: tag.value("href")?.trim().to_owned(),
        ..Meta::default()
    })
}

/// A start tag, as it stands.
pub(crate) struct Tag<'a> {
    name: &'a str,
    attributes: Vec<(&'a str, &'a str)>,
}

impl<'a> Tag<'a> {
    /// Whether this is its name, which is given in lower case.
    pub(crate) fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }

    /// The value of an attribute, with the common character references resolved. Of several
    /// attributes of one name the first counts.
    pub(crate) fn value(&self, wanted: &str) -> Option<Cow<'a, str>> {
        let mut attributes = self.attributes.iter();
        let (_, value) = attributes.find(|(name, _)| name.eq_ignore_ascii_case(wanted))?;
        Some(unescape(value))
    }
}

/// Calls `on_tag` with each start tag that is one of `wanted` (lower case), in order.
pub(crate) fn walk(html: &str, wanted: &[&str], mut on_tag: impl FnMut(&Tag<'_>)) {
    let mut rest = html;
    let mut tag = Tag {
        name: "",
        attributes: Vec::new(),
    };
    while let Some(start) = memchr(b'<', rest.as_bytes()) {
        rest = &rest[start + 1..];
        match rest.as_bytes().first() {
            Some(b'!') if rest.starts_with("!--") => rest = after_comment(&rest[3..]),
            Some(b'!' | b'?' | b'/') => rest = after_byte(rest, b'>'),
            Some(first) if first.is_ascii_alphabetic() => {
                let end = rest
                    .bytes()
                    .position(|next| next.is_ascii_whitespace() || matches!(next, b'/' | b'>'))
                    .unwrap_or(rest.len());
                let name = &rest[..end];
                let is = |known: &&str| name.eq_ignore_ascii_case(known);
                let mut attributes = Attributes { rest: &rest[end..] };
                if wanted.iter().any(is) {
                    tag.name = name;
                    tag.attributes.clear();
                    tag.attributes.extend(&mut attributes);
                    on_tag(&tag);
                    rest = attributes.rest;
                } else {
                    rest = attributes.skip();
                    if name.eq_ignore_ascii_case("plaintext") {
                        break;
                    } else if TEXT_ELEMENTS.iter().any(is) {
                        rest = after_text_element(rest, name);
                    }
                }
            }
            _ => {}
        }
    }
}

impl Meta {
    fn new(tag: &Tag<'_>) -> Self {
        let value = |name| tag.value(name).unwrap_or_default();
        Self {
            name: value("name").trim().to_ascii_lowercase(),
            http_equiv: value("http-equiv").trim().to_ascii_lowercase(),
            content: value("content").into_owned(),
        }
    }
}

fn after_byte(text: &str, end: u8) -> &str {
    memchr(end, text.as_bytes()).map_or("", |position| &text[position + 1..])
}

fn after_comment(comment: &str) -> &str {
    // `<!-->` and `<!--->` are whole comments.
    if let Some(rest) = comment
        .strip_prefix('>')
        .or_else(|| comment.strip_prefix("->"))
    {
        return rest;
    }
    let ends = [
        memmem::find(comment.as_bytes(), b"-->").map(|at| at + 3),
        memmem::find(comment.as_bytes(), b"--!>").map(|at| at + 4),
    ];
    let end = ends.into_iter().flatten().min().unwrap_or(comment.len());
    &comment[end..]
}

/// What follows the end tag of a text element; without one, its text goes on to the end.
fn after_text_element<'a>(text: &'a str, name: &str) -> &'a str {
    let mut rest = text;
    while let Some(start) = memmem::find(rest.as_bytes(), b"</") {
        rest = &rest[start + 2..];
        let is_end = rest
            .get(..name.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(name))
            && rest[name.len()..]
                .starts_with(|next: char| next.is_ascii_whitespace() || matches!(next, '/' | '>'));
        if is_end {
            return after_byte(rest, b'>');
        }
    }
    ""
}

/// Names and values of a tag's attributes, as they stand; behind the last, `rest` is what follows
/// the tag.
struct Attributes<'a> {
    rest: &'a str,
}

impl<'a> Attributes<'a> {
    /// What follows the tag.
    fn skip(mut self) -> &'a str {
        // Most tags have no value that could hide an end.
        if self.rest.starts_with('>') {
            return &self.rest[1..];
        }
        self.by_ref().for_each(drop);
        self.rest
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (&'a str, &'a str);

    fn next(&mut self) -> Option<Self::Item> {
        let is_space = |byte: &u8| byte.is_ascii_whitespace();
        let bytes = self.rest.as_bytes();
        let start = bytes
            .iter()
            .position(|byte| !is_space(byte) && *byte != b'/');
        let Some(start) = start else {
            self.rest = "";
            return None;
        };
        if bytes[start] == b'>' {
            self.rest = &self.rest[start + 1..];
            return None;
        }
        // A leading `=` belongs to the name, as browsers have it.
        let ends_name = |byte: &u8| is_space(byte) || matches!(byte, b'=' | b'/' | b'>');
        let end = bytes[start + 1..].iter().position(ends_name);
        let end = end.map_or(bytes.len(), |end| start + 1 + end);
        let name = &self.rest[start..end];
        let behind = self.rest[end..].trim_ascii_start();
        let Some(value) = behind.strip_prefix('=') else {
            self.rest = behind;
            return Some((name, ""));
        };
        let value = value.trim_ascii_start();
        let (value, behind) = match value.as_bytes().first() {
            Some(&quote @ (b'"' | b'\'')) => {
                let value = &value[1..];
                match memchr(quote, value.as_bytes()) {
                    Some(end) => (&value[..end], &value[end + 1..]),
                    None => (value, ""),
                }
            }
            _ => {
                let ends_value = |byte: u8| byte.is_ascii_whitespace() || byte == b'>';
                let end = value.bytes().position(ends_value).unwrap_or(value.len());
                value.split_at(end)
            }
        };
        self.rest = behind;
        Some((name, value))
    }
}

/// The character references that occur in addresses and keywords.
fn unescape(value: &str) -> Cow<'_, str> {
    if !value.contains('&') {
        return Cow::Borrowed(value);
    }
    let text = value
        .replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&apos;", "'")
        .replace("&#x2F;", "/")
        .replace("&amp;", "&");
    Cow::Owned(text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn names(html: &str) -> Vec<String> {
        metas(html).into_iter().map(|meta| meta.name).collect()
    }

    #[test]
    fn attributes_are_read_in_any_order_and_quoting() {
        let html =
            "<META content=a,b/c NAME = 'Robots'><meta name=\"x\" name=y content=\"a&amp;b\"/>";
        let metas = metas(html);
        assert_eq!(
            (metas[0].name.as_str(), metas[0].content.as_str()),
            ("robots", "a,b/c")
        );
        assert_eq!(
            (metas[1].name.as_str(), metas[1].content.as_str()),
            ("x", "a&b")
        );
    }

    #[test]
    fn links_that_name_a_licence_are_found() {
        let html = "<link REL='alternate License' href=' /terms '><a rel=nofollow href=/x>\
                    <a rel=license href=https://creativecommons.org/licenses/by/4.0/>\
                    <!-- <a rel=license href=/no> --><a rel=license>";
        let found: Vec<String> = metas(html).into_iter().map(|meta| meta.content).collect();
        let by = "https://creativecommons.org/licenses/by/4.0/";
        assert_eq!(found, ["/terms", by]);
    }

    #[test]
    fn what_is_no_tag_to_a_browser_is_passed_over() {
        for html in [
            "<!-- <meta name=robots> -->",
            "<p>&lt;meta name=robots&gt;",
            "<script>'<meta name=robots>'</script >",
            "<title><meta name=robots></title>",
            "<a title='<meta name=robots>'>",
            "<textarea><meta name=robots>",
            "</meta name=robots>",
        ] {
            assert_eq!(names(html), Vec::<String>::new(), "{html}");
        }
        assert_eq!(
            names("<!--><meta name=a><script>x</script><meta name=b>"),
            ["a", "b"]
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(html in "[<>!a-cé/='\" -]{0,60}") {
            metas(&html);
            metas(&format!("<meta {html}"));
        }
    }
}
