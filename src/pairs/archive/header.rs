//! What the header of a member says.

use super::BLOCK;

/// A name without `.` and doubled separators.
pub(super) fn plain(name: &str) -> String {
    let parts: Vec<&str> = name
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    parts.join("/")
}

/// The `KEY=VALUE` of the first line of a list of properties.
pub(super) fn property(list: &[u8]) -> Option<&[u8]> {
    let digits = list.iter().take(8).position(|byte| *byte == b' ')?;
    let length: usize = std::str::from_utf8(&list[..digits]).ok()?.parse().ok()?;
    let line = list.get(digits + 1..length)?;
    line.strip_suffix(b"\n")
}

/// A number in a header: octal digits between spaces and zeros, or binary where the first bit is
/// set.
pub(super) fn number(field: &[u8]) -> Option<u64> {
    let (first, rest) = field.split_first()?;
    if first & 0x80 != 0 {
        let is_negative = first & 0x40 != 0;
        let mut bytes = std::iter::once(first & 0x3f).chain(rest.iter().copied());
        let value = bytes.try_fold(0_u64, |value, byte| {
            value.checked_mul(256)?.checked_add(u64::from(byte))
        });
        return value.filter(|_| !is_negative);
    }
    let text = std::str::from_utf8(field).ok()?;
    let digits = text.trim_matches(|c: char| c == ' ' || c == '\0');
    if digits.is_empty() {
        return Some(0);
    }
    digits
        .bytes()
        .all(|byte| byte.is_ascii_digit())
        .then(|| u64::from_str_radix(digits, 8).ok())
        .flatten()
}

/// The name in a header, of ustar with the folder that stands apart.
pub(super) fn header_name(header: &[u8; BLOCK]) -> Vec<u8> {
    let text = |field: &[u8]| {
        let end = field.iter().position(|byte| *byte == 0);
        field[..end.unwrap_or(field.len())].to_vec()
    };
    let name = text(&header[..100]);
    let folder = text(&header[345..500]);
    // GNU's headers have other things in the folder's place.
    if &header[257..263] != b"ustar\0" || folder.is_empty() {
        return name;
    }
    [folder, name].join(&b'/')
}
