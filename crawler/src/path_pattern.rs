//! Patterns of paths with `*` and `$`: RFC 9309, 2.2.3.

/// A path with `*` and `$` as [`matches`] takes it.
pub(crate) fn pattern(text: &str) -> String {
    upper_case_escapes(&escape(text))
}

/// Percent-encodes what is not ASCII; nothing is decoded.
fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for next in text.chars() {
        if next.is_ascii() {
            escaped.push(next);
            continue;
        }
        for byte in next.encode_utf8(&mut [0; 4]).bytes() {
            escaped.push_str(&format!("%{byte:02X}"));
        }
    }
    escaped
}

/// `%c3` and `%C3` are one octet (RFC 3986, 6.2.2.1).
pub(crate) fn upper_case_escapes(text: &str) -> String {
    let mut escape_left = 0;
    text.chars()
        .map(|next| {
            if next == '%' {
                escape_left = 2;
                return next;
            }
            if escape_left == 0 {
                return next;
            }
            escape_left -= 1;
            if next.is_ascii_hexdigit() {
                return next.to_ascii_uppercase();
            }
            escape_left = 0;
            next
        })
        .collect()
}

/// Path and query of an absolute URL, or of what is one already; never empty.
pub(crate) fn path_and_query(url: &str) -> String {
    let url = url.split('#').next().unwrap_or_default();
    let after_scheme = match url.find("//") {
        Some(0) => &url[2..],
        Some(position) if url[..position].ends_with(':') => &url[position + 2..],
        _ => url,
    };
    match after_scheme.find(['/', '?', ';']) {
        // A path that was given as one starts with its slash.
        _ if url.starts_with('/') && !url.starts_with("//") => url.to_owned(),
        Some(position) if after_scheme[position..].starts_with('/') => {
            after_scheme[position..].to_owned()
        }
        Some(position) => format!("/{}", &after_scheme[position..]),
        None => "/".to_owned(),
    }
}

/// Whether the pattern fits the path from its start on: `*` stands for any run of characters, `$`
/// at the end for the path's end. Each literal between wildcards takes its leftmost place, which
/// is always good enough and keeps the cost linear in path and pattern.
pub(crate) fn matches(pattern: &str, path: &str) -> bool {
    let (pattern, is_anchored) = match pattern.strip_suffix('$') {
        Some(pattern) => (pattern, true),
        None => (pattern, false),
    };
    let mut literals = pattern.split('*');
    let Some(mut rest) = literals.next().and_then(|first| path.strip_prefix(first)) else {
        return false;
    };
    let mut literals = literals.peekable();
    if literals.peek().is_none() {
        return !is_anchored || rest.is_empty();
    }
    while let Some(literal) = literals.next() {
        if is_anchored && literals.peek().is_none() {
            return rest.ends_with(literal);
        }
        let Some(position) = rest.find(literal) else {
            return false;
        };
        rest = &rest[position + literal.len()..];
    }
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Matching by trying every place for every wildcard: slow and plain.
    fn matches_plainly(pattern: &[u8], path: &[u8]) -> bool {
        match pattern {
            [] => true,
            [b'$'] => path.is_empty(),
            [b'*', rest @ ..] => {
                (0..=path.len()).any(|start| matches_plainly(rest, &path[start..]))
            }
            [first, rest @ ..] => path
                .split_first()
                .is_some_and(|(next, path)| next == first && matches_plainly(rest, path)),
        }
    }

    proptest! {
        #[test]
        fn the_quick_match_agrees_with_the_plain_one(
            pattern in "/[ab*]{0,8}[$]?",
            path in "/[ab]{0,10}",
        ) {
            prop_assert_eq!(
                matches(&pattern, &path),
                matches_plainly(pattern.as_bytes(), path.as_bytes())
            );
        }
    }
}
