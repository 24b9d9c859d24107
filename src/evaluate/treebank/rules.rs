//! The rules of the tokenizer, in the order in which they are preferred.
//!
//! What they recognise is that of `PTBLexer` in Stanford CoreNLP 3.4.1 (September 2014) with the
//! options of `coco-caption` (`-preserveLines -lowerCase`), put down anew: as `coco-caption` sees
//! only words in lower case, cases that come to the same words are one rule here.

use super::actions::Action;
use super::forms::{
    ANY_APOSTROPHE, APOSTROPHE, DIGIT, HYPHEN, IN_SENTENCE, LETTER, NEWLINE, SPACE, SPACE_OR_LINE,
    address, ending, file_name, letter, numbered, openings, symbols, tag, telephone, titles,
};

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
