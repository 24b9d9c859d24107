//! HTML in captions: tags and entities.

/// Longest tag; a `<` without a `>` within so many bytes is a sign like any other.
const MAX_TAG_BYTES: usize = 1000;
/// Longest name of an entity, `&` and `;` left out.
const MAX_ENTITY_BYTES: usize = 12;

/// Elements that stand inside a word as well as around it: their tags leave no space.
const INLINE: [&str; 12] = [
    "a", "abbr", "b", "em", "font", "i", "mark", "small", "span", "strong", "sub", "u",
];

/// Text without tags, comments, scripts and styles, entities replaced.
pub(super) fn strip(text: &str) -> String {
    let mut stripped = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find(['<', '&']) {
        stripped.push_str(&rest[..at]);
        rest = &rest[at..];
        let used = if rest.starts_with('<') {
            tag(rest).map(|(length, leaves_space)| {
                if leaves_space {
                    stripped.push(' ');
                }
                length
            })
        } else {
            entity(rest).map(|(length, character)| {
                stripped.push(character);
                length
            })
        };
        let used = used.unwrap_or_else(|| {
            stripped.push_str(&rest[..1]);
            1
        });
        rest = &rest[used..];
    }
    stripped.push_str(rest);
    stripped
}

/// Length of the tag at the start of the text, with what belongs to it, and whether it parts words.
fn tag(text: &str) -> Option<(usize, bool)> {
    if let Some(comment) = text.strip_prefix("<!--") {
        return comment.find("-->").map(|end| (4 + end + 3, true));
    }
    let inside = &text[1..];
    let name = inside.strip_prefix(['/', '!']).unwrap_or(inside);
    if !name.starts_with(|c: char| c.is_ascii_alphabetic()) {
        return None;
    }
    let length = text
        .bytes()
        .take(MAX_TAG_BYTES)
        .position(|byte| byte == b'>')?
        + 1;
    if text[1..length].contains('<') {
        return None;
    }
    let end = name.find(|c: char| !c.is_ascii_alphanumeric());
    let name = name[..end.unwrap_or(name.len())].to_ascii_lowercase();
    if matches!(name.as_str(), "script" | "style") && !inside.starts_with('/') {
        // Their content is no text; without an end it is all that follows.
        let end = format!("</{name}");
        let after = text[length..].to_ascii_lowercase().find(&end);
        return Some((after.map_or(text.len(), |at| length + at), true));
    }
    Some((length, !INLINE.contains(&name.as_str())))
}

/// Length of the entity at the start of the text, and what it stands for.
fn entity(text: &str) -> Option<(usize, char)> {
    let end = text
        .bytes()
        .take(MAX_ENTITY_BYTES + 2)
        .position(|byte| byte == b';')?;
    let name = &text[1..end];
    let character = match name.strip_prefix('#') {
        Some(number) => {
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16).ok()?,
                None => number.parse().ok()?,
            };
            char::from_u32(code)?
        }
        None => named(name)?,
    };
    Some((end + 1, character))
}

fn named(name: &str) -> Option<char> {
    if let Some((_, character)) = NAMED.iter().find(|(known, _)| *known == name) {
        return Some(*character);
    }
    let place = LATIN_1.iter().position(|known| *known == name)?;
    char::from_u32(0xa0 + u32::try_from(place).ok()?)
}

/// The entities of HTML 4 that captions hold, but for those of Latin-1.
const NAMED: [(&str, char); 20] = [
    ("amp", '&'),
    ("lt", '<'),
    ("gt", '>'),
    ("quot", '"'),
    ("apos", '\''),
    ("lsquo", '‘'),
    ("rsquo", '’'),
    ("sbquo", '‚'),
    ("ldquo", '“'),
    ("rdquo", '”'),
    ("bdquo", '„'),
    ("ndash", '–'),
    ("mdash", '—'),
    ("hellip", '…'),
    ("bull", '•'),
    ("trade", '™'),
    ("euro", '€'),
    ("OElig", 'Œ'),
    ("oelig", 'œ'),
    ("minus", '−'),
];

/// Names of the characters from U+00A0 to U+00FF (HTML 4.01, 24.2.1), in order.
const LATIN_1: [&str; 96] = [
    "nbsp", "iexcl", "cent", "pound", "curren", "yen", "brvbar", "sect", "uml", "copy", "ordf",
    "laquo", "not", "shy", "reg", "macr", "deg", "plusmn", "sup2", "sup3", "acute", "micro",
    "para", "middot", "cedil", "sup1", "ordm", "raquo", "frac14", "frac12", "frac34", "iquest",
    "Agrave", "Aacute", "Acirc", "Atilde", "Auml", "Aring", "AElig", "Ccedil", "Egrave", "Eacute",
    "Ecirc", "Euml", "Igrave", "Iacute", "Icirc", "Iuml", "ETH", "Ntilde", "Ograve", "Oacute",
    "Ocirc", "Otilde", "Ouml", "times", "Oslash", "Ugrave", "Uacute", "Ucirc", "Uuml", "Yacute",
    "THORN", "szlig", "agrave", "aacute", "acirc", "atilde", "auml", "aring", "aelig", "ccedil",
    "egrave", "eacute", "ecirc", "euml", "igrave", "iacute", "icirc", "iuml", "eth", "ntilde",
    "ograve", "oacute", "ocirc", "otilde", "ouml", "divide", "oslash", "ugrave", "uacute", "ucirc",
    "uuml", "yacute", "thorn", "yuml",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tags_go_and_part_words_where_they_break_a_line() {
        for (text, expected) in [
            ("<p>one</p><p>two</p>", " one  two "),
            ("<b>un</b>done", "undone"),
            ("a<br/>b<!-- <c> -->d", "a b d"),
            ("x<script>if (a<b) {}</script>y", "x  y"),
            ("x<style>never closed", "x "),
            ("3 < 4 and a<b", "3 < 4 and a<b"),
            ("<3 you", "<3 you"),
            ("<é>", "<é>"),
        ] {
            assert_eq!(strip(text), expected, "{text}");
        }
    }

    #[test]
    fn entities_become_what_they_stand_for_and_others_stay() {
        for (text, expected) in [
            ("R&amp;D &#169; &#xA9; &copy;", "R&D © © ©"),
            ("caf&eacute; &yuml;&nbsp;", "café ÿ\u{a0}"),
            (
                "AT&T; &unknown; & &; &#xD800; &#99999999999;",
                "AT&T; &unknown; & &; &#xD800; &#99999999999;",
            ),
        ] {
            assert_eq!(strip(text), expected, "{text}");
        }
    }
}
