//! What becomes of a word that a rule found.

/// What becomes of a word.
#[derive(Debug, Clone, Copy)]
pub(super) enum Action {
    /// It stays.
    Keep,
    /// It stays without soft hyphens; nothing but these becomes a hyphen.
    Unhyphenate,
    /// This many characters of its end are read again and are no part of it.
    Leave(usize),
    /// It becomes this.
    Become(&'static str),
    /// It becomes this, if it has three or four characters.
    Dash,
    /// Spaces in it become spaces that do not break.
    Unbroken,
    /// The same, and brackets become their names.
    Bracketed,
    /// `&amp;` in it becomes `&`.
    Ampersand,
    /// Quotes in it become those of LaTeX; straight ones opening ones.
    Open,
    /// Quotes in it become those of LaTeX; straight ones closing ones.
    Close,
    /// Signs of currencies become the three that the treebank has.
    Currency,
    /// Fractions of one character become three.
    Fraction,
    /// An abbreviation whose last point also ends the sentence; of one letter, it is none.
    Acronym,
    /// It ends a line.
    Line,
    /// It is left out.
    Skip,
}

/// What an action made.
pub(super) enum Made {
    Word,
    Line,
    Nothing,
}

impl Action {
    /// Puts what becomes of `matched` into `word`, and tells how many bytes of it are read.
    pub(super) fn apply(self, matched: &str, word: &mut String) -> (Made, usize) {
        word.clear();
        let mut read = matched.len();
        match self {
            Self::Skip => return (Made::Nothing, read),
            Self::Line => return (Made::Line, read),
            Self::Keep => word.push_str(matched),
            Self::Unhyphenate => {
                word.extend(matched.chars().filter(|character| *character != '\u{ad}'));
                if word.is_empty() {
                    word.push('-');
                }
            }
            Self::Leave(count) => {
                let kept = matched.char_indices().rev().nth(count - 1);
                read = kept.map_or(read, |(at, _)| at);
                word.push_str(&matched[..read]);
            }
            Self::Become(text) => word.push_str(text),
            Self::Dash => {
                let is_dash = (3..=4).contains(&matched.len());
                word.push_str(if is_dash { "--" } else { matched });
            }
            Self::Unbroken => replace(matched, word, |rest| {
                rest.starts_with(' ').then_some((1, "\u{a0}"))
            }),
            Self::Bracketed => {
                for character in matched.chars() {
                    match character {
                        ' ' => word.push('\u{a0}'),
                        '(' => word.push_str("-LRB-"),
                        ')' => word.push_str("-RRB-"),
                        other => word.push(other),
                    }
                }
            }
            Self::Ampersand => replace(matched, word, |rest| {
                let entity = rest.get(..5)?;
                entity.eq_ignore_ascii_case("&amp;").then_some((5, "&"))
            }),
            Self::Open => quotes(matched, word, ["`", "``"]),
            Self::Close => quotes(matched, word, ["'", "''"]),
            Self::Currency => replace(matched, word, |rest| {
                Some(match rest.chars().next()? {
                    '\u{a2}' => (2, "cents"),
                    '\u{a3}' => (2, "#"),
                    '\u{80}' | '\u{a4}' => (2, "$"),
                    '\u{20a0}' | '\u{20ac}' => (3, "$"),
                    _ => return None,
                })
            }),
            Self::Fraction => replace(matched, word, |rest| {
                Some(match rest.chars().next()? {
                    '¼' => (2, "1/4"),
                    '½' => (2, "1/2"),
                    '¾' => (2, "3/4"),
                    '⅓' => (3, "1/3"),
                    '⅔' => (3, "2/3"),
                    _ => return None,
                })
            }),
            Self::Acronym => {
                let spaces =
                    matched.trim_end_matches([' ', '\t', '\n', '\u{b}', '\u{c}', '\r', '\u{85}']);
                read = spaces.len() - 1;
                let kept = if spaces.chars().count() == 2 {
                    read
                } else {
                    spaces.len()
                };
                word.push_str(&spaces[..kept]);
            }
        }
        (Made::Word, read)
    }
}

/// Copies a text, what `found` tells at a place (its bytes) exchanged.
fn replace(text: &str, out: &mut String, found: impl Fn(&str) -> Option<(usize, &'static str)>) {
    let mut rest = text;
    while let Some(character) = rest.chars().next() {
        let (length, made) = match found(rest) {
            Some(found) => found,
            None => {
                out.push(character);
                (character.len_utf8(), "")
            }
        };
        out.push_str(made);
        rest = &rest[length..];
    }
}

fn quotes(text: &str, out: &mut String, [single, double]: [&'static str; 2]) {
    replace(text, out, |rest| {
        for (entity, made) in [("&apos;", single), ("&quot;", double)] {
            if rest.starts_with(entity) {
                return Some((entity.len(), made));
            }
        }
        let character = rest.chars().next()?;
        let made = match character {
            '\'' => single,
            '"' => double,
            '\u{91}' | '\u{2018}' | '\u{201b}' | '\u{2039}' => "`",
            '\u{92}' | '\u{2019}' | '\u{203a}' => "'",
            '\u{93}' | '\u{201c}' | '\u{ab}' => "``",
            '\u{94}' | '\u{201d}' | '\u{bb}' => "''",
            _ => return None,
        };
        Some((character.len_utf8(), made))
    });
}
