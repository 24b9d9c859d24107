//! What tells who a person is or how to reach them, taken out of texts.
//!
//! E-mail addresses, telephone numbers, IP addresses and numbers of payment cards give way to
//! `[EMAIL]`, `[PHONE]`, `[IP]` and `[CARD]`. Each is told by its form alone:
//!
//! - an e-mail address by RFC 5322's unquoted form, with a domain of two labels or more;
//! - a number of a telephone with its country's prefix (`+` and 8 to 15 digits, ITU-T E.164), or in
//!   the form of North America with its separators (`555-010-4477`, `(555) 010-4477`); others look
//!   like any number;
//! - an IP address of either version that the public Internet routes: `127.0.0.1` names nobody;
//! - a card's number by 13 to 19 digits in groups, a first digit of 2 to 6, and Luhn's check digit
//!   (ISO/IEC 7812-1).
//!
//! Placeholders hold nothing of these forms, so that a text scrubbed twice is as scrubbed once.

use std::net::{Ipv4Addr, Ipv6Addr};

use serde::{Deserialize, Serialize};

/// What is taken out; by default nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// E-mail addresses.
    pub emails: bool,
    /// Telephone numbers.
    pub phones: bool,
    /// Public IP addresses.
    pub ip_addresses: bool,
    /// Numbers of payment cards.
    pub cards: bool,
}

impl Config {
    /// Whether anything is taken out.
    #[must_use]
    pub fn is_on(self) -> bool {
        self.emails || self.phones || self.ip_addresses || self.cards
    }

    /// The kinds that are taken out, with the names of their counts.
    #[must_use]
    pub fn counted(self, counts: Counts) -> Vec<(&'static str, usize)> {
        [
            (self.emails, "pii_emails", counts.emails),
            (self.phones, "pii_phones", counts.phones),
            (self.ip_addresses, "pii_ip_addresses", counts.ip_addresses),
            (self.cards, "pii_cards", counts.cards),
        ]
        .into_iter()
        .filter(|(is_on, ..)| *is_on)
        .map(|(_, name, count)| (name, count))
        .collect()
    }
}

/// How many of each were taken out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// E-mail addresses.
    pub emails: usize,
    /// Telephone numbers.
    pub phones: usize,
    /// IP addresses.
    pub ip_addresses: usize,
    /// Numbers of payment cards.
    pub cards: usize,
}

/// Takes out of a text what the settings name, and counts it. Texts without any are left alone.
///
/// ```
/// use m3w_document::filter::pii::{Config, Counts, scrub};
///
/// let config = Config { emails: true, phones: true, ip_addresses: true, cards: true };
/// let mut text = "Ask jane@example.org or +44 20 7946 0958, not 4111 1111 1111 1112.".to_owned();
/// let mut counts = Counts::default();
/// scrub(&mut text, config, &mut counts);
/// assert_eq!(text, "Ask [EMAIL] or [PHONE], not 4111 1111 1111 1112.");
/// assert_eq!((counts.emails, counts.phones, counts.cards), (1, 1, 0));
/// ```
pub fn scrub(text: &mut String, config: Config, counts: &mut Counts) {
    let is_suspect = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'@' | b':');
    if !config.is_on() || !text.bytes().any(is_suspect) {
        return;
    }
    // What goes can lay bare what stood too near to it to be told.
    while pass(text, config, counts) {}
}

/// Takes out what can be told; whether anything was.
fn pass(text: &mut String, config: Config, counts: &mut Counts) -> bool {
    let mut out = String::new();
    let mut copied = 0;
    let mut at = 0;
    // The character before `at`: nothing begins in the middle of a word or number.
    let mut before = None;
    while let Some(c) = text[at..].chars().next() {
        match found(&text[at..], before, config) {
            Some((kind, length)) => {
                let (placeholder, count) = match kind {
                    Kind::Email => ("[EMAIL]", &mut counts.emails),
                    Kind::Phone => ("[PHONE]", &mut counts.phones),
                    Kind::Ip => ("[IP]", &mut counts.ip_addresses),
                    Kind::Card => ("[CARD]", &mut counts.cards),
                };
                *count += 1;
                out.push_str(&text[copied..at]);
                out.push_str(placeholder);
                at += length;
                copied = at;
                before = Some(']');
            }
            None => {
                before = Some(c);
                at += c.len_utf8();
            }
        }
    }
    if copied == 0 {
        return false;
    }
    out.push_str(&text[copied..]);
    *text = out;
    true
}

#[derive(Clone, Copy)]
enum Kind {
    Email,
    Phone,
    Ip,
    Card,
}

/// What begins here, and its length in bytes.
fn found(text: &str, before: Option<char>, config: Config) -> Option<(Kind, usize)> {
    let first = *text.as_bytes().first()?;
    let is_free = !before.is_some_and(char::is_alphanumeric);
    if config.cards
        && is_free
        && first.is_ascii_digit()
        && !matches!(before, Some('.' | '-'))
        && let Some(length) = card(text)
    {
        return Some((Kind::Card, length));
    }
    if config.ip_addresses
        && is_free
        && !matches!(before, Some('.' | ':'))
        && let Some(length) = ip_address(text)
    {
        return Some((Kind::Ip, length));
    }
    if config.phones
        && is_free
        && !matches!(before, Some('.' | '-' | '+' | '/'))
        && let Some(length) = phone(text)
    {
        return Some((Kind::Phone, length));
    }
    if config.emails && is_local(first) && !before.is_some_and(is_within_local) {
        return email(text).map(|length| (Kind::Email, length));
    }
    None
}

/// A byte that an address may begin with before its `@`.
fn is_local(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+/=?^_`{|}~-.".contains(&byte)
}

fn is_within_local(c: char) -> bool {
    u8::try_from(c).is_ok_and(is_local)
}

fn email(text: &str) -> Option<usize> {
    let bytes = text.as_bytes();
    // RFC 5321, 4.5.3.1: at most 64 before the sign.
    let local = bytes
        .iter()
        .take(65)
        .take_while(|byte| is_local(**byte))
        .count();
    if bytes.get(local) != Some(&b'@') || !bytes[..local].iter().any(u8::is_ascii_alphanumeric) {
        return None;
    }
    let start = local + 1;
    let is_host = |byte: &&u8| byte.is_ascii_alphanumeric() || matches!(**byte, b'-' | b'.');
    let length = bytes[start..].iter().take_while(is_host).count();
    let host = text[start..start + length].trim_end_matches(['.', '-']);
    let (rest, top) = host.rsplit_once('.')?;
    let is_named = top.len() >= 2 && top.bytes().any(|byte| byte.is_ascii_alphabetic());
    let is_whole = rest.split('.').all(|label| !label.is_empty());
    (is_named && is_whole).then_some(start + host.len())
}

/// Digits in groups that single separators part: the digits, and their length in the text.
fn digits(text: &str, separators: &str, most: usize) -> (Vec<u8>, usize) {
    let bytes = text.as_bytes();
    let (mut digits, mut length) = (Vec::new(), 0);
    for (index, byte) in bytes.iter().enumerate() {
        if byte.is_ascii_digit() {
            digits.push(byte - b'0');
            length = index + 1;
        } else if !separators.as_bytes().contains(byte) || index > length + 1 {
            break;
        }
        if digits.len() > most {
            break;
        }
    }
    (digits, length)
}

/// Whether what ends here is not the beginning of something longer.
fn is_end(text: &str, length: usize) -> bool {
    let mut after = text[length..].chars();
    match after.next() {
        Some('.' | '-') => !after.next().is_some_and(|c| c.is_ascii_digit()),
        after => !after.is_some_and(char::is_alphanumeric),
    }
}

fn card(text: &str) -> Option<usize> {
    let (digits, length) = digits(text, " -", 19);
    let is_issued = digits.first().is_some_and(|digit| (2..=6).contains(digit));
    let differ = digits.iter().any(|digit| Some(digit) != digits.first());
    let is_card = (13..=19).contains(&digits.len()) && is_issued && differ && passes_luhn(&digits);
    (is_card && is_end(text, length)).then_some(length)
}

/// ISO/IEC 7812-1, annex B: every second digit from the right doubled, the sum a multiple of ten.
fn passes_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| match (place % 2, u32::from(*digit) * 2) {
            (0, doubled) => doubled / 2,
            (_, doubled) => doubled / 10 + doubled % 10,
        })
        .sum();
    sum.is_multiple_of(10)
}

fn ip_address(text: &str) -> Option<usize> {
    let is_part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b'.' | b':');
    let bytes = text.as_bytes();
    // The longest form: eight groups of four, or six and an address of version 4.
    let length = bytes
        .iter()
        .take(46)
        .take_while(|byte| is_part(byte))
        .count();
    if length > 45 {
        return None;
    }
    let candidate = text[..length].trim_end_matches(['.', ':']);
    if !is_end(text, length) {
        return None;
    }
    if let Ok(address) = candidate.parse::<Ipv4Addr>() {
        return is_public(address).then_some(candidate.len());
    }
    // An address of version 4 with its port.
    if let Some((address, port)) = candidate.split_once(':')
        && !port.is_empty()
        && port.bytes().all(|byte| byte.is_ascii_digit())
        && let Ok(parsed) = address.parse::<Ipv4Addr>()
    {
        return is_public(parsed).then_some(address.len());
    }
    let address: Ipv6Addr = candidate.parse().ok()?;
    // 2000::/3, what is given out for the Internet, or documents.
    let first = address.segments()[0];
    (first & 0xe000 == 0x2000).then_some(candidate.len())
}

fn is_public(address: Ipv4Addr) -> bool {
    let [first, second, ..] = address.octets();
    let is_shared = first == 100 && (64..128).contains(&second);
    !(address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_documentation()
        || is_shared
        || first == 0
        || first >= 224)
}

fn phone(text: &str) -> Option<usize> {
    if let Some(rest) = text.strip_prefix('+') {
        let first = rest.bytes().next()?;
        if !(b'1'..=b'9').contains(&first) {
            return None;
        }
        // A prefix, with brackets around what is left out from abroad or around the area.
        let (mut count, mut length, mut apart) = (0, 0, 0);
        for (index, byte) in rest.bytes().enumerate() {
            match byte {
                b'0'..=b'9' => {
                    count += 1;
                    apart = 0;
                    length = index + 1;
                }
                b' ' | b'-' | b'.' | b'(' | b')' | b'/' if apart < 3 => apart += 1,
                _ => break,
            }
            if count > 15 {
                return None;
            }
        }
        let length = length + 1;
        return ((8..=15).contains(&count) && is_end(text, length)).then_some(length);
    }
    // (NPA) NXX-XXXX and NPA-NXX-XXXX of the North American Numbering Plan.
    let bytes = text.as_bytes();
    let is_open = bytes.first() == Some(&b'(');
    let mut at = usize::from(is_open);
    let group = |at: &mut usize, count: usize| {
        let end = *at + count;
        let is_group = bytes
            .get(*at..end)
            .is_some_and(|part| part.iter().all(u8::is_ascii_digit));
        *at = end;
        is_group
    };
    let separator = |at: &mut usize, allowed: &[u8]| {
        let found = bytes
            .get(*at)
            .filter(|byte| allowed.contains(byte))
            .copied();
        *at += usize::from(found.is_some());
        found
    };
    let starts_high = |at: usize| {
        bytes
            .get(at)
            .is_some_and(|byte| (b'2'..=b'9').contains(byte))
    };
    if !starts_high(at) || !group(&mut at, 3) {
        return None;
    }
    if is_open {
        separator(&mut at, b")")?;
        separator(&mut at, b" ");
    } else {
        separator(&mut at, b"-.")?;
    }
    if !group(&mut at, 3) {
        return None;
    }
    separator(&mut at, b"-. ")?;
    (group(&mut at, 4) && is_end(text, at)).then_some(at)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ALL: Config = Config {
        emails: true,
        phones: true,
        ip_addresses: true,
        cards: true,
    };

    fn scrubbed(text: &str) -> String {
        let mut text = text.to_owned();
        scrub(&mut text, ALL, &mut Counts::default());
        text
    }

    #[test]
    fn what_names_a_person_gives_way_to_what_it_was() {
        for (text, expected) in [
            ("a.b+c@mail.example.org, too", "[EMAIL], too"),
            ("<jo@example.co.uk>.", "<[EMAIL]>."),
            ("Mail jo@example.org.", "Mail [EMAIL]."),
            ("+1 (555) 010-4477 or", "[PHONE] or"),
            ("Tel.: +49 (0)30 901820", "Tel.: [PHONE]"),
            ("(555) 010-4477;", "[PHONE];"),
            ("call 555-210-4477.", "call [PHONE]."),
            ("4111-1111-1111-1111", "[CARD]"),
            ("378282246310005!", "[CARD]!"),
            ("from 8.8.8.8:53 and", "from [IP]:53 and"),
            ("2a00:1450:4001:81b::200e", "[IP]"),
        ] {
            assert_eq!(scrubbed(text), expected, "{text}");
        }
    }

    #[test]
    fn numbers_that_name_nobody_stay() {
        for text in [
            "4111 1111 1111 1112",
            "0000000000000000",
            "ISBN 978-3-16-148410-0",
            "127.0.0.1 and 192.168.0.7",
            "version 1.2.3",
            "at 12:30:45",
            "1789-1799",
            "2024-01-15",
            "5 000 000 000",
            "@home and me@localhost",
            "std::vec",
            "+5 degrees",
            "3.14159265358979",
            "1.555-210-4477",
        ] {
            assert_eq!(scrubbed(text), text);
        }
    }

    #[test]
    fn only_what_is_asked_for_goes_and_is_counted() {
        let config = Config {
            emails: true,
            ..Config::default()
        };
        let mut counts = Counts::default();
        let mut text = "jo@example.org at 8.8.8.8".to_owned();
        scrub(&mut text, config, &mut counts);
        assert_eq!(text, "[EMAIL] at 8.8.8.8");
        assert_eq!(config.counted(counts), [("pii_emails", 1)]);
    }

    proptest! {
        #[test]
        fn scrubbed_twice_is_as_scrubbed_once(text in "([a-c@.:+() 0-9-]{0,12}|é|4111111111111111|8\\.8\\.8\\.8){0,8}") {
            let once = scrubbed(&text);
            prop_assert_eq!(&scrubbed(&once), &once);
        }
    }
}
