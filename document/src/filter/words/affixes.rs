//! What comes off a word at either end, and what parts it in the middle.

use super::classes::{
    is_alpha, is_currency, is_icon, is_lower, is_punctuation, is_quote, is_upper,
};

/// Length in bytes of what is split off the front, or 0.
pub(super) fn prefix(word: &str) -> usize {
    let mut chars = word.chars();
    let Some(first) = chars.next() else {
        return 0;
    };
    if first.is_ascii_alphanumeric() {
        // "US$5": dollars are told by their country.
        return ["US$", "C$", "A$"]
            .into_iter()
            .find(|dollar| word.starts_with(dollar))
            .map_or(0, str::len);
    }
    match first {
        '§' | '%' | '=' | '—' | '–' => first.len_utf8(),
        '+' if !chars.next().is_some_and(|next| next.is_ascii_digit()) => 1,
        '.' => dots(word.bytes()),
        _ if splits_off(first) || is_currency(first) => first.len_utf8(),
        _ => 0,
    }
}

/// Length in bytes of what is split off the end, or 0.
pub(super) fn suffix(word: &str) -> usize {
    let mut chars = word.chars().rev();
    let Some(last) = chars.next() else {
        return 0;
    };
    let before = chars.next();
    let is_digit = |c: char| c.is_ascii_digit();
    match last {
        's' | 'S' if before == Some('\'') => 2,
        's' | 'S' if before == Some('’') => 1 + '’'.len_utf8(),
        '—' | '–' => last.len_utf8(),
        '+' if before.is_some_and(is_digit) => 1,
        '.' => full_stop(word, before, chars.next()),
        '…' if before == Some('…') => 2 * '…'.len_utf8(),
        '$' => ["US$", "C$", "A$", "$"]
            .into_iter()
            .find(|dollar| is_behind_digit(word, dollar))
            .map_or(0, str::len),
        _ if splits_off(last) => last.len_utf8(),
        _ if is_currency(last) && before.is_some_and(is_digit) => last.len_utf8(),
        _ => unit(word, last),
    }
}

fn full_stop(word: &str, before: Option<char>, second: Option<char>) -> usize {
    let Some(before) = before else {
        return 0;
    };
    let ends_word = || {
        before.is_ascii_digit()
            || is_lower(before)
            || matches!(before, '%' | '²' | '-' | '+' | '|' | '(' | '?' | ':' | ')')
            || is_punctuation(before)
            || is_quote(before)
    };
    let ends_capitals = || is_upper(before) && second.is_some_and(is_upper);
    let ends_degrees =
        || matches!(before, 'F' | 'f' | 'C' | 'c' | 'K' | 'k') && second == Some('°');
    match before {
        '.' => dots(word.bytes().rev()),
        _ if ends_word() || ends_capitals() || ends_degrees() => 1,
        _ => 0,
    }
}

/// Length of the run of dots in front, where there are two or more.
fn dots(bytes: impl Iterator<Item = u8>) -> usize {
    let run = bytes.take_while(|&byte| byte == b'.').count();
    if run >= 2 { run } else { 0 }
}

fn splits_off(c: char) -> bool {
    is_punctuation(c) || is_quote(c) || is_icon(c)
}

fn is_behind_digit(word: &str, end: &str) -> bool {
    word.strip_suffix(end)
        .is_some_and(|number| number.ends_with(|c: char| c.is_ascii_digit()))
}

/// Length of a unit right behind a digit: "10km".
fn unit(word: &str, last: char) -> usize {
    if !word.bytes().any(|byte| byte.is_ascii_digit()) || last.is_ascii_digit() {
        return 0;
    }
    UNITS
        .iter()
        .find(|unit| is_behind_digit(word, unit))
        .map_or(0, |unit| unit.len())
}

/// The next infix at or after byte `from`: its first byte and the one behind its last.
pub(super) fn infix(word: &str, from: usize) -> Option<(usize, usize)> {
    let mut before = word[..from].chars().next_back();
    for (at, c) in word[from..].char_indices() {
        let at = from + at;
        // Letters and digits are most of a text.
        if !c.is_ascii_alphanumeric() {
            let length = infix_length(&word[at..], c, before);
            if length > 0 {
                return Some((at, at + length));
            }
        }
        before = Some(c);
    }
    None
}

fn infix_length(rest: &str, c: char, before: Option<char>) -> usize {
    let behind = |length: usize| rest[length..].chars().next();
    let after = |is: fn(char) -> bool| before.is_some_and(is);
    let ahead = |is: fn(char) -> bool| behind(c.len_utf8()).is_some_and(is);
    let is_digit = |c: char| c.is_ascii_digit();
    let is_alnum = |c: char| is_alpha(c) || c.is_ascii_digit();
    match c {
        '.' if rest.starts_with("..") => dots(rest.bytes()),
        '…' => c.len_utf8(),
        '+' | '*' | '^' if after(is_digit) && ahead(|c| c.is_ascii_digit() || c == '-') => 1,
        '-' if after(is_digit) && ahead(|c| c.is_ascii_digit() || c == '-') => 1,
        '.' if after(|c| is_lower(c) || is_quote(c)) && ahead(|c| is_upper(c) || is_quote(c)) => 1,
        ',' if after(is_alpha) && ahead(is_alpha) => 1,
        '-' | '–' | '—' | '~' if after(is_alnum) => ["-", "–", "—", "--", "---", "——", "~"]
            .into_iter()
            .filter(|hyphen| rest.starts_with(hyphen))
            .map(str::len)
            .find(|&length| behind(length).is_some_and(is_alpha))
            .unwrap_or(0),
        ':' | '<' | '>' | '=' | '/' if after(is_alnum) && ahead(is_alpha) => 1,
        _ if is_icon(c) => c.len_utf8(),
        _ => 0,
    }
}

/// Units of measure that are written right behind a number.
#[rustfmt::skip]
const UNITS: &[&str] = &[
    "km", "km²", "km³", "m", "m²", "m³", "dm", "dm²", "dm³", "cm", "cm²", "cm³", "mm", "mm²",
    "mm³", "ha", "µm", "nm", "yd", "in", "ft", "kg", "g", "mg", "µg", "t", "lb", "oz", "m/s",
    "km/h", "kmh", "mph", "hPa", "Pa", "mbar", "mb", "MB", "kb", "KB", "gb", "GB", "tb", "TB", "T",
    "G", "M", "K", "%", "км", "км²", "км³", "м", "м²", "м³", "дм", "дм²", "дм³", "см", "см²",
    "см³", "мм", "мм²", "мм³", "нм", "кг", "г", "мг", "м/с", "км/ч", "кПа", "Па", "мбар", "Кб",
    "КБ", "кб", "Мб", "МБ", "мб", "Гб", "ГБ", "гб", "Тб", "ТБ", "тб", "كم", "كم²", "كم³", "م",
    "م²", "م³", "سم", "سم²", "سم³", "مم", "مم²", "مم³", "غرام", "جرام", "جم", "كغ", "ملغ", "كوب",
    "اكواب",
];
