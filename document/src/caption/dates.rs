//! Dates in captions.
//!
//! A date is found by its form, in digits or with the name of a month in seven languages. Text is
//! cut into atoms (runs of letters and digits, and single signs), and forms are tried at each.

/// Names of months: English with its short forms, German, French, Spanish, Italian, Portuguese,
/// Dutch. In lower case, sorted by nothing: the list is short.
const MONTHS: [&str; 79] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
    "jan",
    "feb",
    "mar",
    "apr",
    "jun",
    "jul",
    "aug",
    "sep",
    "sept",
    "oct",
    "nov",
    "dec",
    "januar",
    "februar",
    "märz",
    "mai",
    "juni",
    "juli",
    "oktober",
    "dezember",
    "janvier",
    "février",
    "mars",
    "avril",
    "juin",
    "juillet",
    "août",
    "septembre",
    "octobre",
    "novembre",
    "décembre",
    "enero",
    "febrero",
    "marzo",
    "abril",
    "mayo",
    "junio",
    "julio",
    "agosto",
    "septiembre",
    "octubre",
    "noviembre",
    "diciembre",
    "gennaio",
    "febbraio",
    "aprile",
    "maggio",
    "giugno",
    "luglio",
    "settembre",
    "ottobre",
    "dicembre",
    "janeiro",
    "fevereiro",
    "março",
    "maio",
    "junho",
    "julho",
    "setembro",
    "outubro",
    "novembro",
    "dezembro",
    "januari",
    "februari",
    "maart",
    "mei",
    "augustus",
];

/// Days of the week in English, and their short forms.
const WEEKDAYS: [&str; 14] = [
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
    "mon",
    "tue",
    "wed",
    "thu",
    "fri",
    "sat",
    "sun",
];

/// Words that lead to a date and say nothing without it.
const LEADS: [&str; 3] = ["on", "in", "dated"];
/// Words that stand between the parts of a date.
const LINKS: [&str; 4] = ["of", "de", "di", "del"];

/// Text without dates.
pub(super) fn strip(text: &str) -> String {
    let atoms = atoms(text);
    let mut stripped = String::with_capacity(text.len());
    let mut kept_from = 0;
    let mut at = 0;
    while at < atoms.len() {
        let Some(length) = date(&atoms[at..], at.checked_sub(1).map(|before| &atoms[before]))
        else {
            at += 1;
            continue;
        };
        let first = first_of(&atoms, at);
        if atoms[first].start >= kept_from {
            stripped.push_str(&text[kept_from..atoms[first].start]);
        }
        at += length;
        kept_from = atoms[at - 1].end;
    }
    stripped.push_str(&text[kept_from..]);
    stripped
}

/// Where what goes with the date at `at` begins: its weekday and the word that leads to it.
fn first_of(atoms: &[Atom<'_>], at: usize) -> usize {
    let mut first = at;
    let before = |index: usize, back: usize| index.checked_sub(back).map(|index| &atoms[index]);
    let is_weekday = |atom: Option<&Atom<'_>>| atom.is_some_and(|a| a.is_one_of(&WEEKDAYS));
    if is_weekday(before(first, 1)) {
        first -= 1;
    } else if before(first, 1).is_some_and(|a| a.is_sign(",.")) && is_weekday(before(first, 2)) {
        first -= 2;
    }
    if before(first, 1).is_some_and(|atom| atom.is_one_of(&LEADS)) {
        first -= 1;
    }
    first
}

/// A run of letters and digits, or a single sign.
#[derive(Debug, Clone, Copy)]
struct Atom<'a> {
    text: &'a str,
    start: usize,
    end: usize,
}

fn atoms(text: &str) -> Vec<Atom<'_>> {
    let mut atoms = Vec::new();
    let mut characters = text.char_indices().peekable();
    while let Some((start, character)) = characters.next() {
        if character.is_whitespace() {
            continue;
        }
        let mut end = start + character.len_utf8();
        if character.is_alphanumeric() {
            while let Some((_, next)) = characters.next_if(|(_, next)| next.is_alphanumeric()) {
                end += next.len_utf8();
            }
        }
        atoms.push(Atom {
            text: &text[start..end],
            start,
            end,
        });
    }
    atoms
}

impl Atom<'_> {
    /// The number, if these are so many digits and nothing else.
    fn number(&self, digits: std::ops::RangeInclusive<usize>) -> Option<u32> {
        let is_number = self.text.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && digits.contains(&self.text.len()))
            .then(|| self.text.parse().ok())
            .flatten()
    }

    fn year(&self) -> bool {
        self.number(4..=4)
            .is_some_and(|year| (1000..2200).contains(&year))
    }

    /// A day of a month, `12` or `12th`.
    fn day(&self) -> bool {
        let digits = self
            .text
            .strip_suffix("st")
            .or_else(|| self.text.strip_suffix("nd"))
            .or_else(|| self.text.strip_suffix("rd"))
            .or_else(|| self.text.strip_suffix("th"))
            .unwrap_or(self.text);
        let atom = Atom {
            text: digits,
            ..*self
        };
        atom.number(1..=2)
            .is_some_and(|day| (1..=31).contains(&day))
    }

    fn is_one_of(&self, words: &[&str]) -> bool {
        let lower = self.text.to_lowercase();
        words.contains(&lower.as_str())
    }

    fn is_month(&self) -> bool {
        self.is_one_of(&MONTHS)
    }

    fn is_capitalised(&self) -> bool {
        self.text.starts_with(char::is_uppercase)
    }

    fn is_sign(&self, signs: &str) -> bool {
        self.text.len() == 1 && signs.contains(self.text)
    }
}

/// How many atoms the date at the start has, if there is one.
fn date(atoms: &[Atom<'_>], before: Option<&Atom<'_>>) -> Option<usize> {
    in_digits(atoms, before)
        .or_else(|| day_first(atoms))
        .or_else(|| month_first(atoms))
}

/// `2019-05-12`, `2019-05-12T10:00:00Z`, `12/05/2019`, `12.5.2019`, `5/12/19`.
fn in_digits(atoms: &[Atom<'_>], before: Option<&Atom<'_>>) -> Option<usize> {
    let [first, sign, second, other_sign, third, ..] = atoms else {
        return None;
    };
    let parts = &atoms[..5];
    let is_one_word = parts.windows(2).all(|pair| pair[0].end == pair[1].start);
    if !is_one_word || !sign.is_sign("-/.") || sign.text != other_sign.text {
        return None;
    }
    let goes_on_before =
        before.is_some_and(|before| before.end == first.start && before.is_sign("-/."));
    let goes_on_after = atoms.get(5..7).is_some_and(|next| {
        next[0].start == third.end
            && next[0].is_sign("-/.")
            && next[1].start == next[0].end
            && next[1].number(1..=9).is_some()
    });
    if goes_on_before || goes_on_after {
        return None;
    }
    let second = second.number(1..=2)?;
    if first.year() {
        let (day, has_time) = match third.text.split_once('T') {
            Some((day, hour)) if hour.len() == 2 => (day, true),
            _ => (third.text, false),
        };
        let day: u32 = (day.len() <= 2).then(|| day.parse().ok()).flatten()?;
        let is_date = (1..=12).contains(&second) && (1..=31).contains(&day);
        let time = if has_time {
            time_length(&atoms[4..])
        } else {
            0
        };
        return is_date.then_some(5 + time);
    }
    let first = first.number(1..=2)?;
    let is_year = third.year() || (sign.text == "/" && third.number(2..=2).is_some());
    let is_day_and_month = (1..=31).contains(&first) && (1..=12).contains(&second)
        || (1..=12).contains(&first) && (1..=31).contains(&second);
    (is_year && is_day_and_month).then_some(5)
}

/// Atoms of `:30`, `:00Z` and the like that stick to the first.
fn time_length(atoms: &[Atom<'_>]) -> usize {
    let mut length = 0;
    while let [last, sign, part, ..] = &atoms[length..]
        && last.end == sign.start
        && sign.end == part.start
        && sign.is_sign(":.+-")
        && part.text.starts_with(|c: char| c.is_ascii_digit())
    {
        length += 2;
    }
    length
}

/// `12 May 2019`, `12th of May, 2019`, `12. Mai 2019`, `12 de mayo de 2019`, `12 May`.
fn day_first(atoms: &[Atom<'_>]) -> Option<usize> {
    let mut at = 1;
    if !atoms.first()?.day() {
        return None;
    }
    at += usize::from(atoms.get(at)?.is_sign("."));
    at += usize::from(atoms.get(at)?.is_one_of(&LINKS));
    let month = atoms.get(at)?;
    if !month.is_month() {
        return None;
    }
    at += 1;
    match year_after(&atoms[at..]) {
        Some(length) => Some(at + length),
        None => month.is_capitalised().then_some(at),
    }
}

/// `May 12, 2019`, `May 12th`, `May 2019`, `mayo de 2019`.
fn month_first(atoms: &[Atom<'_>]) -> Option<usize> {
    let month = atoms.first()?;
    if !month.is_month() {
        return None;
    }
    if let Some(length) = year_after(&atoms[1..]) {
        return Some(1 + length);
    }
    let mut at = 1;
    at += usize::from(atoms.get(at)?.is_sign("."));
    if !atoms.get(at)?.day() {
        return None;
    }
    at += 1;
    match year_after(&atoms[at..]) {
        Some(length) => Some(at + length),
        None => month.is_capitalised().then_some(at),
    }
}

/// Atoms up to a year that follows at once.
fn year_after(atoms: &[Atom<'_>]) -> Option<usize> {
    let mut at = 0;
    while atoms.get(at)?.is_sign(".,") && at < 2 {
        at += 1;
    }
    at += usize::from(atoms.get(at)?.is_one_of(&LINKS));
    atoms.get(at)?.year().then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_of_every_form_go() {
        for date in [
            "2019-05-12",
            "2019/5/12",
            "2019-05-12T10:30:00Z",
            "12/05/2019",
            "12.5.2019",
            "5/12/19",
            "12 May 2019",
            "12th of May, 2019",
            "May 12, 2019",
            "May 12th",
            "Sept. 3, 2019",
            "Monday, May 12, 2019",
            "Fri 3 January 1997",
            "12. Mai 2019",
            "12 de mayo de 2019",
            "août 2019",
            "March 2019",
            "on 12 May",
            "in May 2019",
        ] {
            assert_eq!(strip(&format!("a {date}| b")), "a | b", "{date}");
        }
    }

    #[test]
    fn what_only_resembles_a_date_stays() {
        for text in [
            "you may 12 people",
            "may contain 2019 nuts",
            "version 1.2.12",
            "10.1.12.2019",
            "99/99/2019",
            "31 times in 2019",
            "a march of 12 men",
            "12 mayors",
            "route 12-34-2019x",
            "the year 2019",
            "2019-13-45",
            "sun and sat",
        ] {
            assert_eq!(strip(text), text, "{text}");
        }
    }

    #[test]
    fn several_dates_go_one_after_the_other() {
        assert_eq!(strip("1 May 2019 - 2 May 2019 x"), " -  x");
        assert_eq!(strip("May 1 May 2"), " ");
    }
}
