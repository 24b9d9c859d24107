//! Character references: `&amp;`, `&#8217;`, `&notin`.
//!
//! Source: HTML standard, "character reference state" and those after it. The names are html5ever's
//! table, which also holds each beginning of a name, mapped to zero.

use html5ever::data::{C1_REPLACEMENTS, NAMED_ENTITIES};

/// A character reference that was read.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The character it stands for, and a second one for some names.
    pub(crate) characters: (char, Option<char>),
    /// Its length in bytes, from the `&`.
    pub(crate) length: usize,
}

/// Reads the reference at the start of `text`, which is a `&`; `None` if the `&` is just that.
pub(crate) fn read(text: &str, is_in_attribute: bool) -> Option<Reference> {
    match text.as_bytes().get(1)? {
        b'#' => numeric(text),
        byte if byte.is_ascii_alphanumeric() => named(text, is_in_attribute),
        _ => None,
    }
}

fn named(text: &str, is_in_attribute: bool) -> Option<Reference> {
    let name = &text[1..];
    let letters = name
        .bytes()
        .take_while(u8::is_ascii_alphanumeric)
        .take(MAX_NAME_BYTES)
        .count();
    // No name is the beginning of another one past its semicolon, so that this one is the longest.
    if name.as_bytes().get(letters) == Some(&b';')
        && let Some(found) = entity(&name[..=letters])
    {
        return Some(reference(found, letters + 2));
    }
    // Some names may stand without a semicolon: the longest that fits counts.
    let (length, found) = (1..=letters)
        .rev()
        .find_map(|length| Some((length, entity(&name[..length])?)))?;
    // `?a=b&copy=1` is a URL.
    let next = name.as_bytes().get(length);
    if is_in_attribute && next.is_some_and(|next| *next == b'=' || next.is_ascii_alphanumeric()) {
        return None;
    }
    Some(reference(found, length + 1))
}

/// The longest name is `CounterClockwiseContourIntegral;`.
const MAX_NAME_BYTES: usize = 32;

fn entity(name: &str) -> Option<(u32, u32)> {
    let found = NAMED_ENTITIES.get(name).copied();
    found.filter(|(first, _)| *first != 0)
}

fn reference((first, second): (u32, u32), length: usize) -> Reference {
    let first = char::from_u32(first).unwrap_or(char::REPLACEMENT_CHARACTER);
    let second = char::from_u32(second).filter(|second| *second != '\0');
    Reference {
        characters: (first, second),
        length,
    }
}

fn numeric(text: &str) -> Option<Reference> {
    let is_hexadecimal = matches!(text.as_bytes().get(2), Some(b'x' | b'X'));
    let (start, radix) = if is_hexadecimal { (3, 16) } else { (2, 10) };
    let mut number = 0_u32;
    let mut end = start;
    while let Some(digit) = text.as_bytes().get(end).map(|byte| char::from(*byte))
        && let Some(digit) = digit.to_digit(radix)
    {
        number = number.saturating_mul(radix).saturating_add(digit);
        end += 1;
    }
    if end == start {
        return None;
    }
    let character = match number {
        0 => char::REPLACEMENT_CHARACTER,
        // What windows-1252 has there.
        0x80..=0x9F => C1_REPLACEMENTS[number as usize - 0x80]
            .or(char::from_u32(number))
            .unwrap_or(char::REPLACEMENT_CHARACTER),
        _ => char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER),
    };
    let has_semicolon = text.as_bytes().get(end) == Some(&b';');
    Some(Reference {
        characters: (character, None),
        length: end + usize::from(has_semicolon),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_as(text: &str, is_in_attribute: bool) -> String {
        let Some(reference) = read(text, is_in_attribute) else {
            return text.to_owned();
        };
        let (first, second) = reference.characters;
        let mut out = String::from(first);
        out.extend(second);
        out + &text[reference.length..]
    }

    #[test]
    fn names_are_read_with_and_without_semicolon() {
        assert_eq!(read_as("&amp;amp;", false), "&amp;");
        assert_eq!(read_as("&notit;", false), "¬it;");
        assert_eq!(read_as("&notin;", false), "∉");
        assert_eq!(read_as("&NotEqualTilde;x", false), "≂\u{338}x");
        assert_eq!(read_as("&nosuch;", false), "&nosuch;");
        assert_eq!(read_as("&", false), "&");
        assert_eq!(
            read_as("&CounterClockwiseContourIntegral;", false),
            "\u{2233}"
        );
    }

    #[test]
    fn in_an_attribute_a_name_without_semicolon_may_be_a_parameter() {
        assert_eq!(read_as("&copy=1", true), "&copy=1");
        assert_eq!(read_as("&copy1", true), "&copy1");
        assert_eq!(read_as("&copy 1", true), "© 1");
        assert_eq!(read_as("&copy=1", false), "©=1");
    }

    #[test]
    fn numbers_are_read_as_browsers_do() {
        assert_eq!(read_as("&#8217;s", false), "’s");
        assert_eq!(read_as("&#x2019s", false), "’s");
        assert_eq!(read_as("&#x92;&#0;", false), "’&#0;");
        assert_eq!(read_as("&#0;", false), "\u{fffd}");
        assert_eq!(read_as("&#xD800;&", false), "\u{fffd}&");
        assert_eq!(read_as("&#99999999999;", false), "\u{fffd}");
        assert_eq!(read_as("&#x;", false), "&#x;");
    }
}
