//! The `<meta>` elements of a page, by a light scan.
//!
//! No tree is built: the page is walked once from tag to tag, and what is no tag to a browser
//! (comments, scripts, text inside `<title>` or `<textarea>`, attribute values) is passed over.

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
    walk(html, &["meta", "link", "a", "area"], |name, attributes| {
        if name == "meta" {
            found.push(Meta::new(attributes));
        } else {
            found.extend(license(attributes));
        }
    });
    found
}

/// What a link says of the licence of its page (HTML standard, "Link type `license`").
fn license(attributes: Vec<(String, String)>) -> Option<Meta> {
    let first = |wanted: &str| attributes.iter().find(|(name, _)| name == wanted);
    let (_, relations) = first("rel")?;
    let is_license = |relation: &str| relation.eq_ignore_ascii_case("license");
    if !relations.split_ascii_whitespace().any(is_license) {
        return None;
    }
    let (_, address) = first("href")?;
    Some(Meta {
        name: "license".to_owned(),
        content: address.trim().to_owned(),
        ..Meta::default()
    })
}

/// Calls `on_tag` with the name and the attributes of each start tag that is one of `wanted`, in
/// order. Names are in lower case.
pub(crate) fn walk(
    html: &str,
    wanted: &[&str],
    mut on_tag: impl FnMut(&str, Vec<(String, String)>),
) {
    let mut rest = html;
    while let Some(start) = rest.find('<') {
        rest = &rest[start + 1..];
        if let Some(comment) = rest.strip_prefix("!--") {
            rest = after_comment(comment);
        } else if rest.starts_with(['!', '?', '/']) {
            rest = after(rest, ">");
        } else if rest.starts_with(|next: char| next.is_ascii_alphabetic()) {
            let end = rest
                .find(|next: char| next.is_ascii_whitespace() || matches!(next, '/' | '>'))
                .unwrap_or(rest.len());
            let name = rest[..end].to_ascii_lowercase();
            let (attributes, behind) = attributes(&rest[end..]);
            rest = behind;
            if wanted.contains(&name.as_str()) {
                on_tag(&name, attributes);
            } else if name == "plaintext" {
                break;
            } else if TEXT_ELEMENTS.contains(&name.as_str()) {
                rest = after_text_element(rest, &name);
            }
        }
    }
}

impl Meta {
    fn new(attributes: Vec<(String, String)>) -> Self {
        let mut meta = Self::default();
        // The first of several attributes of one name counts; so the last is written first.
        for (name, value) in attributes.into_iter().rev() {
            match name.as_str() {
                "name" => meta.name = value.trim().to_ascii_lowercase(),
                "http-equiv" => meta.http_equiv = value.trim().to_ascii_lowercase(),
                "content" => meta.content = value,
                _ => {}
            }
        }
        meta
    }
}

fn after<'a>(text: &'a str, end: &str) -> &'a str {
    text.find(end)
        .map_or("", |position| &text[position + end.len()..])
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
        comment.find("-->").map(|at| at + 3),
        comment.find("--!>").map(|at| at + 4),
    ];
    let end = ends.into_iter().flatten().min().unwrap_or(comment.len());
    &comment[end..]
}

/// What follows the end tag of a text element; without one, its text goes on to the end.
fn after_text_element<'a>(text: &'a str, name: &str) -> &'a str {
    let mut rest = text;
    while let Some(start) = rest.find("</") {
        rest = &rest[start + 2..];
        let is_end = rest
            .get(..name.len())
            .is_some_and(|found| found.eq_ignore_ascii_case(name))
            && rest[name.len()..]
                .starts_with(|next: char| next.is_ascii_whitespace() || matches!(next, '/' | '>'));
        if is_end {
            return after(rest, ">");
        }
    }
    ""
}

/// Names (lower case) and values of a tag's attributes, and the text behind the tag.
fn attributes(tag: &str) -> (Vec<(String, String)>, &str) {
    let mut found = Vec::new();
    let mut rest = tag;
    loop {
        rest = rest.trim_start_matches(|next: char| next.is_ascii_whitespace() || next == '/');
        if rest.is_empty() {
            return (found, rest);
        }
        if let Some(behind) = rest.strip_prefix('>') {
            return (found, behind);
        }
        // A leading `=` belongs to the name, as browsers have it.
        let first = rest.chars().next().map_or(0, char::len_utf8);
        let end = rest[first..]
            .find(|next: char| next.is_ascii_whitespace() || matches!(next, '=' | '/' | '>'))
            .map_or(rest.len(), |end| first + end);
        let name = rest[..end].to_ascii_lowercase();
        rest = rest[end..].trim_ascii_start();
        let Some(value) = rest.strip_prefix('=') else {
            found.push((name, String::new()));
            continue;
        };
        let value = value.trim_ascii_start();
        let (value, behind) = match value.chars().next() {
            Some(quote @ ('"' | '\'')) => value[1..].split_once(quote).unwrap_or((&value[1..], "")),
            _ => {
                let end = value
                    .find(|next: char| next.is_ascii_whitespace() || next == '>')
                    .unwrap_or(value.len());
                value.split_at(end)
            }
        };
        found.push((name, unescape(value)));
        rest = behind;
    }
}

/// The character references that occur in addresses and keywords.
fn unescape(value: &str) -> String {
    if !value.contains('&') {
        return value.to_owned();
    }
    value
        .replace("&quot;", "\"")
        .replace("&#34;", "\"")
        .replace("&#39;", "'")
        .replace("&apos;", "'")
        .replace("&#x2F;", "/")
        .replace("&amp;", "&")
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
