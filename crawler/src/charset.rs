//! Bytes of a page to UTF-8, in the order of the WHATWG standards: byte-order mark, HTTP header,
//! `<meta>`, and then, as browsers do for pages that say nothing, detection: valid UTF-8, or what
//! the first 64 kB look like.

use chardetng::{EncodingDetector, Iso2022JpDetection, Utf8Detection};
use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

/// How far a `<meta>` is looked for. Browsers look at 1,024 bytes before they parse, but when they
/// meet a `<meta>` further on they start again with what it says (HTML standard, "changing the
/// encoding while parsing"); looking further at once comes to the same.
const PRESCAN_BYTES: usize = 64 * 1024;

/// How much of a page the detector sees: it is the slowest step of all, and more does not change
/// its mind.
const DETECTION_BYTES: usize = 64 * 1024;

/// A page's text and the encoding that it was in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decoded {
    /// The text; malformed bytes have become U+FFFD, the byte-order mark is gone.
    pub text: String,
    /// Name of the encoding by the WHATWG Encoding standard, e.g. `windows-1252`.
    pub encoding: &'static str,
}

/// Decodes a page. `content_type` is the HTTP header's value.
#[must_use]
pub fn decode(bytes: &[u8], content_type: Option<&str>) -> Decoded {
    let encoding = Encoding::for_bom(bytes)
        .map(|(encoding, _)| encoding)
        .or_else(|| content_type.and_then(from_content_type))
        .or_else(|| prescan(bytes))
        .unwrap_or_else(|| detect(bytes));
    let (text, _) = encoding.decode_with_bom_removal(bytes);
    Decoded {
        text: text.into_owned(),
        encoding: encoding.name(),
    }
}

/// The encoding that the bytes themselves declare, by byte-order mark or `<meta>`; `None` if they
/// do not.
#[must_use]
pub fn sniff(bytes: &[u8]) -> Option<&'static Encoding> {
    Encoding::for_bom(bytes)
        .map(|(encoding, _)| encoding)
        .or_else(|| prescan(bytes))
}

/// The encoding that a `Content-Type` header names: MIME Sniffing standard, "parse a MIME type".
/// The first well-formed `charset` counts, whether or not it is known.
#[must_use]
pub fn from_content_type(content_type: &str) -> Option<&'static Encoding> {
    let (_, mut rest) = content_type.split_once(';')?;
    loop {
        rest = rest.trim_start_matches(HTTP_SPACE);
        let name_end = rest.find([';', '=']).unwrap_or(rest.len());
        let (name, behind) = rest.split_at(name_end);
        let value;
        (value, rest) = match behind.strip_prefix('=') {
            Some(behind) => parameter_value(behind),
            None => (None, behind),
        };
        if let Some(value) = value
            && name.eq_ignore_ascii_case("charset")
        {
            return Encoding::for_label(value.as_bytes());
        }
        // Up to the next parameter, or no more.
        (_, rest) = rest.split_once(';')?;
    }
}

/// A parameter's value and what follows it; `None` for a value that is empty or has bytes that no
/// header may have.
fn parameter_value(text: &str) -> (Option<String>, &str) {
    let mut value = String::new();
    let mut rest = "";
    if let Some(quoted) = text.strip_prefix('"') {
        let mut characters = quoted.char_indices();
        while let Some((position, next)) = characters.next() {
            match next {
                '"' => {
                    rest = &quoted[position + 1..];
                    break;
                }
                '\\' => value.extend(characters.next().map(|(_, escaped)| escaped)),
                _ => value.push(next),
            }
        }
    } else {
        let (plain, behind) = text.split_at(text.find(';').unwrap_or(text.len()));
        value.push_str(plain.trim_end_matches(HTTP_SPACE));
        rest = behind;
    }
    let is_valid = !value.is_empty() && !value.contains(is_control);
    (is_valid.then_some(value), rest)
}

/// White space of HTTP, to which the form feed does not belong.
const HTTP_SPACE: [char; 4] = [' ', '\t', '\n', '\r'];

fn is_control(character: char) -> bool {
    character.is_ascii_control() && character != '\t'
}

/// The encoding of a page that declares none.
fn detect(bytes: &[u8]) -> &'static Encoding {
    if std::str::from_utf8(bytes).is_ok() {
        return UTF_8;
    }
    let end = bytes.len().min(DETECTION_BYTES);
    let mut detector = EncodingDetector::new(Iso2022JpDetection::Deny);
    let saw_non_ascii = detector.feed(&bytes[..end], end == bytes.len());
    if !saw_non_ascii {
        return WINDOWS_1252;
    }
    detector.guess(None, Utf8Detection::Allow)
}

/// HTML standard, "prescan a byte stream to determine its encoding".
fn prescan(bytes: &[u8]) -> Option<&'static Encoding> {
    let mut scanner = Prescan {
        bytes: &bytes[..bytes.len().min(PRESCAN_BYTES)],
        position: 0,
    };
    while scanner.position < scanner.bytes.len() {
        let rest = &scanner.bytes[scanner.position..];
        if rest.starts_with(b"<!--") {
            // The two dashes of the opening may be those of the end: `<!-->`.
            let end = find(&rest[2..], b"-->")?;
            scanner.position += 2 + end + 3;
        } else if is_tag(rest, b"<meta") {
            scanner.position += 5;
            if let Some(encoding) = scanner.meta() {
                return Some(encoding);
            }
        } else if is_tag_start(rest) {
            scanner.skip_until(|byte| is_space(byte) || byte == b'>');
            while scanner.attribute().is_some() {}
        } else if rest.starts_with(b"<!") || rest.starts_with(b"</") || rest.starts_with(b"<?") {
            scanner.skip_until(|byte| byte == b'>');
        } else {
            scanner.position += 1;
        }
    }
    None
}

struct Prescan<'a> {
    bytes: &'a [u8],
    position: usize,
}

impl Prescan<'_> {
    /// The attributes of a `<meta>`, and the encoding that they name together.
    fn meta(&mut self) -> Option<&'static Encoding> {
        let mut seen: Vec<Vec<u8>> = Vec::new();
        let mut got_pragma = false;
        // The pragma is needed for `content`, but not for `charset`.
        let mut need_pragma = None;
        let mut charset = None;
        while let Some((name, value)) = self.attribute() {
            if seen.contains(&name) {
                continue;
            }
            match name.as_slice() {
                b"http-equiv" => got_pragma |= value == b"content-type",
                b"content" if charset.is_none() => {
                    if let Some(encoding) = from_meta_content(&value) {
                        charset = Some(encoding);
                        need_pragma = Some(true);
                    }
                }
                b"charset" => {
                    charset = Encoding::for_label(&value);
                    need_pragma = Some(false);
                }
                _ => {}
            }
            seen.push(name);
        }
        if need_pragma? && !got_pragma {
            return None;
        }
        let encoding = charset?;
        // A page whose `<meta>` could be read byte by byte is not in UTF-16.
        if encoding == UTF_16BE || encoding == UTF_16LE {
            return Some(UTF_8);
        }
        if encoding.name() == "x-user-defined" {
            return Some(WINDOWS_1252);
        }
        Some(encoding)
    }

    /// HTML standard, "get an attribute": lower-case name and value, or `None` at the tag's end.
    fn attribute(&mut self) -> Option<(Vec<u8>, Vec<u8>)> {
        self.skip_while(|byte| is_space(byte) || byte == b'/');
        if self.peek()? == b'>' {
            self.position += 1;
            return None;
        }
        let mut name = Vec::new();
        loop {
            match self.peek()? {
                b'=' if !name.is_empty() => break,
                byte if is_space(byte) => {
                    self.skip_while(is_space);
                    if self.peek()? != b'=' {
                        return Some((name, Vec::new()));
                    }
                    break;
                }
                b'/' | b'>' => return Some((name, Vec::new())),
                byte => name.push(byte.to_ascii_lowercase()),
            }
            self.position += 1;
        }
        self.position += 1;
        self.skip_while(is_space);
        let mut value = Vec::new();
        let first = self.peek()?;
        if matches!(first, b'"' | b'\'') {
            self.position += 1;
            loop {
                let byte = self.peek()?;
                self.position += 1;
                if byte == first {
                    return Some((name, value));
                }
                value.push(byte.to_ascii_lowercase());
            }
        }
        loop {
            let byte = self.peek()?;
            if is_space(byte) || byte == b'>' {
                return Some((name, value));
            }
            value.push(byte.to_ascii_lowercase());
            self.position += 1;
        }
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.position).copied()
    }

    fn skip_while(&mut self, is_skipped: impl Fn(u8) -> bool) {
        while self.peek().is_some_and(&is_skipped) {
            self.position += 1;
        }
    }

    fn skip_until(&mut self, is_end: impl Fn(u8) -> bool) {
        self.skip_while(|byte| !is_end(byte));
    }
}

/// HTML standard, "extracting a character encoding from a meta element"; `content` in lower case.
fn from_meta_content(content: &[u8]) -> Option<&'static Encoding> {
    let mut rest = content;
    loop {
        rest = &rest[find(rest, b"charset")? + 7..];
        let after = rest.trim_ascii_start();
        let Some(value) = after.strip_prefix(b"=") else {
            continue;
        };
        let value = value.trim_ascii_start();
        let label = match value.first()? {
            quote @ (b'"' | b'\'') => {
                let inside = &value[1..];
                &inside[..inside.iter().position(|byte| byte == quote)?]
            }
            _ => {
                let end = value
                    .iter()
                    .position(|byte| is_space(*byte) || *byte == b';')
                    .unwrap_or(value.len());
                &value[..end]
            }
        };
        return Encoding::for_label(label);
    }
}

fn is_space(byte: u8) -> bool {
    matches!(byte, b'\t' | b'\n' | b'\x0c' | b'\r' | b' ')
}

fn is_tag(bytes: &[u8], name: &[u8]) -> bool {
    bytes.len() > name.len()
        && bytes[..name.len()].eq_ignore_ascii_case(name)
        && (is_space(bytes[name.len()]) || bytes[name.len()] == b'/')
}

fn is_tag_start(bytes: &[u8]) -> bool {
    match bytes {
        [b'<', b'/', letter, ..] | [b'<', letter, ..] => letter.is_ascii_alphabetic(),
        _ => false,
    }
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes
        .windows(wanted.len())
        .position(|window| window == wanted)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn encoding(bytes: &[u8], content_type: &str) -> &'static str {
        decode(bytes, Some(content_type)).encoding
    }

    #[test]
    fn the_byte_order_mark_wins_over_the_header_and_the_header_over_the_meta() {
        let page = b"\xef\xbb\xbf<meta charset=shift_jis>";
        assert_eq!(encoding(page, "text/html; charset=koi8-r"), "UTF-8");
        let page = b"<meta charset=shift_jis>";
        assert_eq!(encoding(page, "text/html; charset=\"koi8-r\""), "KOI8-R");
        assert_eq!(encoding(page, "text/html"), "Shift_JIS");
    }

    #[test]
    fn a_meta_needs_its_pragma_and_stands_outside_comments() {
        let without = b"<meta content='text/html; charset=koi8-r'>";
        assert_eq!(sniff(without), None);
        let with = b"<META content='text/html; charset=koi8-r' http-equiv=Content-Type>";
        assert_eq!(sniff(with).unwrap().name(), "KOI8-R");
        assert_eq!(sniff(b"<!-- <meta charset=koi8-r> -->"), None);
        assert_eq!(sniff(b"<a title='<meta charset=koi8-r>'>"), None);
    }

    #[test]
    fn a_charset_parameter_is_read_as_a_browser_reads_it() {
        let name = |text| from_content_type(text).map(Encoding::name);
        assert_eq!(
            name("text/html; a=b; Charset=gbk ; charset=utf-8"),
            Some("GBK")
        );
        assert_eq!(name("text/html;charset=\"g\\bk\";x"), Some("GBK"));
        assert_eq!(name("text/html;charset =gbk"), None);
        assert_eq!(name("text/html;charset=\"\x7f;\";charset=gbk"), Some("GBK"));
        assert_eq!(name("text/html;charset=';charset=gbk"), None);
        assert_eq!(name("text/html"), None);
    }

    #[test]
    fn a_meta_cannot_claim_utf_16() {
        assert_eq!(sniff(b"<meta charset=utf-16>").unwrap().name(), "UTF-8");
    }

    #[test]
    fn pages_that_say_nothing_are_told_by_their_bytes() {
        assert_eq!(encoding("naïve".as_bytes(), "text/html"), "UTF-8");
        let (russian, ..) =
            encoding_rs::WINDOWS_1251.encode("Привет, это простая русская страница");
        let decoded = decode(&russian, None);
        assert_eq!(decoded.encoding, "windows-1251");
        assert_eq!(decoded.text, "Привет, это простая русская страница");
    }

    #[test]
    fn malformed_bytes_become_replacement_characters() {
        assert_eq!(
            decode(b"a\xffb", Some("text/html;charset=utf-8")).text,
            "a\u{fffd}b"
        );
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = decode(&bytes, None);
            let _ = from_content_type(&String::from_utf8_lossy(&bytes));
            let _ = decode(&[b"<meta ", bytes.as_slice()].concat(), None);
        }
    }
}
