//! Whether a word is an address, which stays whole.

use super::classes::is_lower;

/// Whether all of `word` is an address: an optional scheme, an optional user, a domain name with a
/// top-level domain in small letters or a public IPv4 address, an optional port and path.
pub(super) fn is_url(word: &str) -> bool {
    // Every address has a dot between two characters.
    if !word.as_bytes()[1..].contains(&b'.') {
        return false;
    }
    let after_scheme = word
        .find("://")
        .filter(|&end| word[..end].chars().count() >= 2 && word[..end].chars().all(is_scheme));
    let starts = [Some(0), after_scheme.map(|end| end + "://".len())];
    starts.into_iter().flatten().any(|start| {
        let rest = &word[start..];
        let after_users = rest
            .match_indices('@')
            .map(|(at, _)| at)
            .filter(|&at| at > 0);
        is_address(rest)
            || after_users
                .into_iter()
                .any(|at| is_address(&rest[at + 1..]))
    })
}

fn is_scheme(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '+' | '-' | '.')
}

/// A host, and what may follow it.
fn is_address(text: &str) -> bool {
    let end = text.find([':', '/', '?', '#']).unwrap_or(text.len());
    let (host, rest) = text.split_at(end);
    (is_domain(host) || is_public_ipv4(host)) && is_tail(rest)
}

/// An optional port of two to five digits, and an optional path.
fn is_tail(rest: &str) -> bool {
    let rest = rest.strip_prefix(':').map_or(Some(rest), |port| {
        let digits = port.bytes().take_while(u8::is_ascii_digit).count();
        (2..=5).contains(&digits).then(|| &port[digits..])
    });
    rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?', '#']))
}

fn is_domain(host: &str) -> bool {
    let Some((labels, top)) = host.rsplit_once('.') else {
        return false;
    };
    (2..=63).contains(&top.chars().count())
        && top.chars().all(is_lower)
        && labels.split('.').all(is_label)
}

fn is_label(label: &str) -> bool {
    let is_inner = |c: char| c.is_ascii_alphanumeric() || ('\u{a1}'..='\u{ffff}').contains(&c);
    label.starts_with(is_inner)
        && label.ends_with(is_inner)
        && label.chars().count() <= 64
        && label.chars().all(|c| is_inner(c) || matches!(c, '_' | '-'))
}

fn is_public_ipv4(host: &str) -> bool {
    let mut octets = [0_u8; 4];
    let mut parts = host.split('.');
    for octet in &mut octets {
        let part = parts.next().filter(|part| {
            (1..=3).contains(&part.len()) && part.bytes().all(|byte| byte.is_ascii_digit())
        });
        let Some(value) = part.and_then(|part| part.parse().ok()) else {
            return false;
        };
        *octet = value;
    }
    if parts.next().is_some() {
        return false;
    }
    match octets {
        [10 | 127, ..] | [169, 254, ..] | [192, 168, ..] | [172, 16..=31, ..] => false,
        [first, _, _, last] => (1..=223).contains(&first) && (1..=254).contains(&last),
    }
}
