//! The rules of the tokenizer, in the order in which they are preferred.
//!
//! What they recognise is that of `PTBLexer` in Stanford CoreNLP 3.4.1 (September 2014) with the
//! options of `coco-caption` (`-preserveLines -lowerCase`), put down anew: as `coco-caption` sees
//! only words in lower case, cases that come to the same words are one rule here.

/// A rule.
pub(super) struct Rule {
    /// What the word looks like, as a regular expression.
    pub(super) word: String,
    /// What must stand behind it.
    pub(super) behind: Behind,
    /// What becomes of the word.
    pub(super) action: Action,
}

/// What must stand behind a word.
pub(super) enum Behind {
    /// Anything or nothing.
    Nothing,
    /// This many characters that match this expression.
    Characters(usize, String),
    /// What matches this expression.
    Anything(String),
}

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

impl Rule {
    /// Word and what must stand behind it as one expression.
    pub(super) fn whole(&self) -> String {
        match &self.behind {
            Behind::Nothing => self.word.clone(),
            Behind::Characters(_, behind) | Behind::Anything(behind) => {
                format!("(?:{})(?:{behind})", self.word)
            }
        }
    }
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

// Characters.
const SPACE: &str = r"[ \t\u{a0}\u{2000}-\u{200a}\u{3000}]";
const NEWLINE: &str = r"(?:\r\n|[\r\n\u{2028}\u{2029}\u{b}\u{c}\u{85}])";
const SPACE_OR_LINE: &str =
    r"(?:[ \t\u{a0}\u{2000}-\u{200a}\u{3000}]|\r\n|[\r\n\u{2028}\u{2029}\u{b}\u{c}\u{85}])";
/// Letters as Unicode 6.1 had them, in the first plane.
const LETTER: &str = r"[[\p{L}\u{1885}\u{1886}]&&\p{age:6.1}&&[\u{0}-\u{19af}\u{19c1}-\u{19c7}\u{19ca}-\u{1cf1}\u{1cf4}-\u{ffff}]]";
const DIGIT: &str = r"[\p{Nd}&&\p{age:6.1}&&[\u{0}-\u{ffff}]]";
const APOSTROPHE: &str = r"(?:['\u{92}\u{2019}]|(?i:&apos;))";
const ANY_APOSTROPHE: &str = r"(?:['`\u{92}\u{2019}\u{91}\u{2018}\u{201b}]|(?i:&apos;))";
const IN_SENTENCE: &str = r"[,;:\u{3001}]";
const HYPHEN: &str = r"[-_\u{58a}\u{2010}\u{2011}]";

/// Letters, with marks and signs of scripts that belong to words, and `&eacute;` and the like.
fn letter() -> String {
    let marks = concat!(
        r"\u{ad}\u{237}-\u{24f}\u{2c2}-\u{2c5}\u{2d2}-\u{2df}\u{2e5}-\u{2ff}\u{300}-\u{36f}",
        r"\u{370}-\u{37d}\u{384}\u{385}\u{3cf}\u{3f6}\u{3fc}-\u{3ff}\u{483}-\u{487}\u{4cf}",
        r"\u{4f6}-\u{4ff}\u{510}-\u{525}\u{55a}-\u{55f}\u{591}-\u{5bd}\u{5bf}\u{5c1}\u{5c2}",
        r"\u{5c4}\u{5c5}\u{5c7}\u{615}-\u{61a}\u{63b}-\u{63f}\u{64b}-\u{65e}\u{670}",
        r"\u{6d6}-\u{6ef}\u{6fa}-\u{6ff}\u{70f}\u{711}\u{730}-\u{74f}\u{750}-\u{77f}",
        r"\u{7a6}-\u{7b1}\u{7ca}-\u{7f5}\u{7fa}\u{900}-\u{903}\u{93c}\u{93e}-\u{94e}",
        r"\u{951}-\u{955}\u{962}-\u{963}\u{981}-\u{983}\u{9bc}-\u{9c4}\u{9c7}\u{9c8}",
        r"\u{9cb}-\u{9cd}\u{9d7}\u{9e2}\u{9e3}\u{a01}-\u{a03}\u{a3c}\u{a3e}-\u{a4f}",
        r"\u{a81}-\u{a83}\u{abc}-\u{acf}\u{b82}\u{bbe}-\u{bc2}\u{bc6}-\u{bc8}\u{bca}-\u{bcd}",
        r"\u{c01}-\u{c03}\u{c3e}-\u{c56}\u{d3e}-\u{d44}\u{d46}-\u{d48}\u{e30}-\u{e3a}",
        r"\u{e47}-\u{e4e}\u{eb1}-\u{ebc}\u{ec8}-\u{ecd}",
    );
    format!(r"(?:[{LETTER}{marks}]|(?i:&[aeiou](?:acute|grave|uml);))")
}

/// All rules, the preferred one first where two match as much.
pub(super) fn rules() -> Vec<Rule> {
    let letter = letter();
    let plain = LETTER;
    let upper = r"[\p{Lu}&&\p{age:6.1}&&[\u{0}-\u{ffff}]]";
    let word = format!("{letter}(?:{letter}|{DIGIT})*(?:[.!?]{letter}(?:{letter}|{DIGIT})*)*");
    let clitic = format!("{APOSTROPHE}(?:[msdMSD]|(?i:re|ve|ll))");
    let negation = format!("(?i:n){ANY_APOSTROPHE}(?i:t)");
    let negated = r"[A-Za-z\u{ad}]*[A-MO-Za-mo-z]\u{ad}*";
    let elided = [
        format!("{APOSTROPHE}(?i:n)(?:{APOSTROPHE})?"),
        format!("[lLdDjJ]{APOSTROPHE}"),
        format!("(?i:dunkin|somethin|ol){APOSTROPHE}"),
        format!("{APOSTROPHE}(?i:em|till?|cause)"),
        format!("[A-HJ-XZn]{ANY_APOSTROPHE}{plain}{plain}+"),
        format!("{APOSTROPHE}[2-9]0(?i:s)"),
        format!("{plain}+[aeiouyAEIOUY]{ANY_APOSTROPHE}[aeiouA-Z]{plain}*"),
        r"(?i:cont'd)\.?".to_owned(),
        "(?i:nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l)".to_owned(),
        format!("(?i:o){ANY_APOSTROPHE}(?i:o)"),
    ]
    .join("|");
    let number = format!(r"(?:{DIGIT}+|{DIGIT}*(?:[.:,\u{{ad}}\u{{66b}}\u{{66c}}]{DIGIT}+)+)");
    let signed = format!("[-+]?{number}");
    let tag = tag();
    let acronym = concat!(
        r"(?:[A-Za-z](?:\.[A-Za-z])*|(?i:canada|sino|korean|eu|japan|non)-(?i:u\.s)",
        r"|(?i:u\.s\.-(?:u\.k|u\.s\.s\.r)))",
    );
    let long_acronym = concat!(
        r"(?:[A-Za-z](?:\.[A-Za-z])+|(?i:canada|sino|korean|eu|japan|non)-(?i:u\.s)",
        r"|(?i:u\.s\.-(?:u\.k|u\.s\.s\.r)))",
    );
    let ending = ending();
    let before_capital = titles(acronym);
    let hyphened = format!(
        r"[A-Za-z0-9][A-Za-z0-9.,\u{{ad}}]*(?:-(?:[A-Za-z0-9\u{{ad}}]+|{long_acronym}\.))+"
    );
    let alphanumeric = format!(r"(?:{plain}|{DIGIT})");
    let french = format!("(?:[dDoOlL]{ANY_APOSTROPHE}{alphanumeric})?");
    let thing = format!("{french}{alphanumeric}+(?:{HYPHEN}{french}{alphanumeric}+)*");
    let capitals = r"[A-Z]+(?:(?:[+&]|(?i:&amp;))[A-Z]+)+";
    let slashed = r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}";
    let double_quote = r#"(?:"|(?i:&quot;))"#;
    let spaced_dots = r"\.[ \u{a0}](?:\.[ \u{a0}])+\.";

    use Action::*;
    let keep = |word: &str| rule(word, Keep);
    vec![
        keep(r"(?i:c)(?:\+\+|#)|(?i:f)#"),
        rule("(?i:cannot|'twas)", Leave(3)),
        rule("(?i:'tis|gonna|gotta|lemme|gimme|wanna)", Leave(2)),
        rule(&tag, Unbroken),
        rule(
            r"(?i:&(?:md|mdash|ndash);)|[\u{96}\u{97}\u{2013}\u{2014}\u{2015}]",
            Become("--"),
        ),
        rule("(?i:&amp;)", Become("&")),
        keep("(?i:&(?:ht|tl|ur|lr|qc|ql|qr|odq|cdq|#[0-9]+);)"),
        before(&word, &clitic, Unhyphenate),
        before(negated, &negation, Unhyphenate),
        rule(&word, Unhyphenate),
        keep(&elided),
        one(&format!("(?i:y){APOSTROPHE}"), plain, Keep),
        keep(r#"(?i:https?://)[^ \t\n\u{c}\r"<>|()]+[^ \t\n\u{c}\r"<>|.!?(){},-]"#),
        keep(&address()),
        keep(
            r"(?:(?i:&lt;)|<)?[a-zA-Z0-9][^ \t\n\u{c}\r\x22<>|()\u{a0}{}]*@(?:[^ \t\n\u{c}\r\x22<>|(){}.\u{a0}]+\.)*[^ \t\n\u{c}\r\x22<>|(){}.\u{a0}]+(?:(?i:&gt;)|>)?",
        ),
        keep(&format!("@[a-zA-Z_][a-zA-Z_0-9]*|#{letter}+")),
        one(&clitic, "[^A-Za-z]", Close),
        one(&negation, "[^A-Za-z]", Close),
        keep(&format!(
            "{DIGIT}{{1,2}}[-/]{DIGIT}{{1,2}}[-/]{DIGIT}{{2,4}}"
        )),
        rule(&signed, Unhyphenate),
        keep(
            r"[\u{207a}\u{207b}\u{208a}\u{208b}]?(?:[\u{2070}\u{b9}\u{b2}\u{b3}\u{2074}-\u{2079}]+|[\u{2080}-\u{2089}]+)",
        ),
        rule(
            &format!(
                r"(?:{DIGIT}{{1,4}}[- \u{{a0}}])?{DIGIT}{{1,4}}(?:\\?/|\u{{2044}}){DIGIT}{{1,4}}"
            ),
            Unbroken,
        ),
        rule(r"[\u{bc}\u{bd}\u{be}\u{2153}-\u{215e}]", Fraction),
        rule(
            &format!(
                r"-(?i:rrb|lrb|rcb|lcb|rsb|lsb)-|(?i:c\.d\.s|pro-|anti-)|(?i:s(?:&|&amp;)p-500)|(?i:s(?:&|&amp;)ls)|(?i:cap){APOSTROPHE}(?i:n)|(?i:c){APOSTROPHE}(?i:est)"
            ),
            Ampersand,
        ),
        keep(slashed),
        keep(r"[A-Z]*\$|#"),
        rule(
            r"[\u{a2}\u{a3}\u{a4}\u{a5}\u{80}\u{20a0}\u{20ac}\u{60b}\u{e3f}\u{20a4}\u{ffe0}\u{ffe1}\u{ffe5}\u{ffe6}]",
            Currency,
        ),
        before(
            &format!(r"{acronym}\."),
            &format!("{SPACE_OR_LINE}+(?:{}|{tag}){SPACE_OR_LINE}", openings()),
            Acronym,
        ),
        before(&numbered(), &format!("{SPACE_OR_LINE}?{DIGIT}"), Keep),
        before(
            &ending,
            &format!("{SPACE_OR_LINE}(?:{SPACE_OR_LINE}|{upper}|{tag})"),
            Acronym,
        ),
        two(&ending, "(?s:.)(?s:.)", Keep),
        rule(&ending, Acronym),
        keep(&format!(r"(?:{before_capital})\.")),
        one(&before_capital, SPACE, Keep),
        before(acronym, SPACE_OR_LINE, Keep),
        before(&format!("{APOSTROPHE}[0-9][0-9]"), SPACE_OR_LINE, Keep),
        before(
            &file_name(&letter),
            &format!("{SPACE_OR_LINE}|[.?!,]"),
            Keep,
        ),
        one(&format!(r"(?:{word})\."), IN_SENTENCE, Unhyphenate),
        rule(&telephone(), Bracketed),
        one(double_quote, "[A-Za-z0-9$]", Open),
        rule(double_quote, Close),
        rule(r"\x7f", Skip),
        rule("<|(?i:&lt;)", Become("<")),
        rule(">|(?i:&gt;)", Become(">")),
        one(
            r"[<>]?[:;=][-o*']?[()DPdpO\\{@|\[\]]",
            "[^A-Za-z0-9]",
            Bracketed,
        ),
        rule(
            r"[\^x=~<>]\.\[\^x=~<>]|[-\^x=~<>']_[-\^x=~<>']|\([-\^x=~<>'][_.]?[-\^x=~<>']\)|\([\^x=~<>']-[\^x=~<>'`]\)",
            Bracketed,
        ),
        rule(r"\{", Become("-LCB-")),
        rule(r"\}", Become("-RCB-")),
        rule(r"\[", Become("-LSB-")),
        rule(r"\]", Become("-RSB-")),
        rule(r"\(", Become("-LRB-")),
        rule(r"\)", Become("-RRB-")),
        rule("-+", Dash),
        before(
            r"\.\.\.+|[\u{85}\u{2026}]",
            &format!(r"\.{SPACE_OR_LINE}+{plain}"),
            Become("..."),
        ),
        before(
            spaced_dots,
            &format!(r"{SPACE}\.{SPACE_OR_LINE}+{plain}"),
            Become("..."),
        ),
        rule(
            &format!(r"\.\.\.+|[\u{{85}}\u{{2026}}]|{spaced_dots}"),
            Become("..."),
        ),
        keep("@+|#+|_+"),
        keep(r"\*+|(?:\\\*){1,3}"),
        keep(IN_SENTENCE),
        keep("[?!]+"),
        keep(r"[.\u{a1}\u{bf}\u{37e}\u{589}\u{61f}\u{6d4}\u{700}-\u{702}\u{7fa}\u{3002}]"),
        keep("="),
        keep("/"),
        one(&format!(r"{hyphened}\."), IN_SENTENCE, Unhyphenate),
        rule(&hyphened, Unhyphenate),
        one(&format!(r"{thing}\."), IN_SENTENCE, Keep),
        keep(&thing),
        one(&format!(r"{capitals}\."), IN_SENTENCE, Ampersand),
        rule(capitals, Ampersand),
        two("'", r"[A-Za-z][^ \t\n\r\u{a0}]", Open),
        rule(&clitic, Close),
        rule(
            &format!(
                r"{APOSTROPHE}|''|[`\u{{2018}}-\u{{201f}}\u{{91}}-\u{{94}}\u{{2039}}\u{{203a}}\u{{ab}}\u{{bb}}]{{1,2}}"
            ),
            Close,
        ),
        keep("<<|>>"),
        keep(&symbols()),
        rule(
            r"\u{0}|[ \t\u{a0}\u{2000}-\u{200a}\u{3000}]+|[\u{200b}\u{200e}\u{200f}\u{feff}]",
            Skip,
        ),
        rule(NEWLINE, Line),
        rule("(?i:&nbsp;)", Skip),
    ]
}

fn rule(word: &str, action: Action) -> Rule {
    Rule {
        word: word.to_owned(),
        behind: Behind::Nothing,
        action,
    }
}

fn one(word: &str, behind: &str, action: Action) -> Rule {
    let behind = Behind::Characters(1, behind.to_owned());
    Rule {
        behind,
        ..rule(word, action)
    }
}

fn two(word: &str, behind: &str, action: Action) -> Rule {
    let behind = Behind::Characters(2, behind.to_owned());
    Rule {
        behind,
        ..rule(word, action)
    }
}

fn before(word: &str, behind: &str, action: Action) -> Rule {
    let behind = Behind::Anything(behind.to_owned());
    Rule {
        behind,
        ..rule(word, action)
    }
}

/// A tag of SGML.
fn tag() -> String {
    let name = r"[A-Za-z][A-Za-z0-9_:.\-]*";
    let value = format!(r#"(?:'[^']*'|"[^"]*"|{name})"#);
    format!(
        r"<(?:[!?][A-Za-z\-][^>\r\n]*|{name}(?: +(?:{name}|{name} *= *{value}))* */?|/{name}) *>"
    )
}

/// Addresses of the web without their scheme.
fn address() -> String {
    let part = r#"[^ \t\n\u{c}\r"<>|.!?(){},]"#;
    // From the comma to the underscore is a range here, as it is in the original.
    let host = r#"[^ \t\n\u{c}\r"`'<>|.!?(){},-_$]"#;
    let path = r#"(?:/[^ \t\n\u{c}\r"<>|()]+[^ \t\n\u{c}\r"<>|.!?(){},-])?"#;
    format!(r"(?:(?i:www\.)(?:{part}+\.)+[a-zA-Z]{{2,4}}|(?:{host}+\.)+(?i:com|net|org|edu)){path}")
}

/// Abbreviations that small letters follow mostly, with their point.
fn ending() -> String {
    let any_case = [
        "jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec",
        "mon|tue|tues|wed|thu|thurs|fri",
        "ala|ariz|calif|colo|conn|ct|dak|fla|ga|ind|kans?|ky|md|mich|minn|mo|mont|neb|nev|okla",
        "penn|tenn|va|vt|wisc?|wyo",
        "inc|cos?|corp|pp?t(?-i:[ye])s?|ltd|plc|rt|bancorp|bhd|assn|univ|intl|sys",
        "tel|est|ext|sq",
        "jr|sr|bros|blvd|rd|(?:ed|ph)\\.d|esq",
        "etc|al|seq|bldg",
    ]
    .join("|");
    let capitals = "A(?i:z)|A(?i:rk)|D(?i:el)|I(?i:ll)|L(?i:a)|M(?i:ass)|M(?i:iss)|O(?i:re)|P(?i:a)|T(?i:ex)|W(?i:ash)";
    format!(r"(?:(?i:{any_case})|{capitals})\.")
}

/// Abbreviations that capitals follow mostly, without their point.
fn titles(acronym: &str) -> String {
    let any_case = [
        "mr|mrs|ms|drs?|profs?|sens?|reps?|attys?|lt|col|gen|messrs|govs?|adm|rev|maj|sgt|cpl|pvt",
        "capt|ste?|ave|pres|lieut|rt|hon|brig|co?mdr|pfc|spc|supts?|det|mt|ft|adj|adv|asst|assoc",
        "ens|insp|mlle|mme|msgr|sfc",
        "vs|alex|wm|jos|cie|a\\.k\\.a|cf|treas|ph",
        "invt|elec|natl|m(?-i:[ft])g|dept",
    ]
    .join("|");
    format!("(?i:{any_case})|M(?i:iss)|{acronym}")
}

/// Abbreviations before numbers, with their point.
fn numbered() -> String {
    let any_case = "ca|figs?|prop|nos?|sect?s?|arts?|bldg|pp|op";
    format!(r"(?i:{any_case})\.")
}

/// Words that begin a sentence behind an abbreviation.
fn openings() -> String {
    let words = [
        "About",
        "According",
        "Additionally",
        "After",
        "An",
        "A",
        "As",
        "At",
        "But",
        "Did",
        "During",
        "Earlier",
        "He",
        "Her",
        "Here",
        "How",
        "However",
        "If",
        "In",
        "It",
        "Last",
        "Many",
        "More",
        "Mr\\.",
        "Ms\\.",
        "Now",
        "Once",
        "One",
        "Other",
        "Our",
        "She",
        "Since",
        "So",
        "Some",
        "Such",
        "That",
        "The",
        "Their",
        "Then",
        "There",
        "These",
        "They",
        "This",
        "We",
        "When",
        "While",
        "What",
        "Who",
        "Why",
        "Yet",
        "You",
    ];
    // Only the first letter must be a capital.
    let words = words.map(|word| format!("{}(?i:{})", &word[..1], &word[1..]));
    format!("(?:{})", words.join("|"))
}

/// Names of files, by their ending.
fn file_name(letter: &str) -> String {
    let endings = [
        "bat|bmp|c|class|cgi|cpp|dll|doc|docx|exe|gif|gz|h|htm|html|jar|java|jpeg|jpg|mov|mp3",
        "pdf|php|pl|png|ppt|ps|py|sql|tar|txt|wav|x|xml|zip",
    ]
    .join("|");
    let part = format!(r"(?:{letter}|{DIGIT})+");
    format!(r"{part}(?:\.{part})*\.(?i:{endings})")
}

/// Telephone numbers.
fn telephone() -> String {
    let space = r"[- \u{a0}]";
    format!(
        r"(?:\([0-9]{{2,3}}\)[ \u{{a0}}]?|(?:\+\+?)?(?:[0-9]{{2,4}}{space})?[0-9]{{2,4}}{space})[0-9]{{3,4}}{space}?[0-9]{{3,5}}|(?:(?:\+\+?)?[0-9]{{2,4}}\.)?[0-9]{{2,4}}\.[0-9]{{3,4}}\.[0-9]{{3,5}}"
    )
}

/// Signs that stand alone.
fn symbols() -> String {
    concat!(
        r"[+%&~^|\\\u{a6}\u{a7}\u{a8}\u{a9}\u{ac}\u{ae}\u{af}\u{b0}-\u{b3}\u{b4}-\u{ba}\u{d7}",
        r"\u{f7}\u{387}\u{5be}\u{5c0}\u{5c3}\u{5c6}\u{5f3}\u{5f4}\u{600}-\u{603}",
        r"\u{606}-\u{60a}\u{60c}\u{614}\u{61b}\u{61e}\u{66a}\u{66d}\u{703}-\u{70d}",
        r"\u{7f6}\u{7f7}\u{7f8}\u{964}\u{965}\u{e4f}\u{1fbd}\u{2016}\u{2017}",
        r"\u{2020}-\u{2023}\u{2030}-\u{2038}\u{203b}\u{203e}-\u{2042}\u{2044}",
        r"\u{207a}-\u{207f}\u{208a}-\u{208e}\u{2100}-\u{214f}\u{2190}-\u{21ff}",
        r"\u{2200}-\u{2bff}\u{3012}\u{30fb}\u{ff01}-\u{ff0f}\u{ff1a}-\u{ff20}",
        r"\u{ff3b}-\u{ff40}\u{ff5b}-\u{ff65}]",
    )
    .to_owned()
}
