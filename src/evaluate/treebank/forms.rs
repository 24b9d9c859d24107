//! What words and signs look like, as regular expressions.

pub(super) const SPACE: &str = r"[ \t\u{a0}\u{2000}-\u{200a}\u{3000}]";
pub(super) const NEWLINE: &str = r"(?:\r\n|[\r\n\u{2028}\u{2029}\u{b}\u{c}\u{85}])";
pub(super) const SPACE_OR_LINE: &str =
    r"(?:[ \t\u{a0}\u{2000}-\u{200a}\u{3000}]|\r\n|[\r\n\u{2028}\u{2029}\u{b}\u{c}\u{85}])";
/// Letters as Unicode 6.1 had them, in the first plane.
pub(super) const LETTER: &str = r"[[\p{L}\u{1885}\u{1886}]&&\p{age:6.1}&&[\u{0}-\u{19af}\u{19c1}-\u{19c7}\u{19ca}-\u{1cf1}\u{1cf4}-\u{ffff}]]";
pub(super) const DIGIT: &str = r"[\p{Nd}&&\p{age:6.1}&&[\u{0}-\u{ffff}]]";
pub(super) const APOSTROPHE: &str = r"(?:['\u{92}\u{2019}]|(?i:&apos;))";
pub(super) const ANY_APOSTROPHE: &str = r"(?:['`\u{92}\u{2019}\u{91}\u{2018}\u{201b}]|(?i:&apos;))";
pub(super) const IN_SENTENCE: &str = r"[,;:\u{3001}]";
pub(super) const HYPHEN: &str = r"[-_\u{58a}\u{2010}\u{2011}]";

/// Letters, with marks and signs of scripts that belong to words, and `&eacute;` and the like.
pub(super) fn letter() -> String {
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

/// A tag of SGML.
pub(super) fn tag() -> String {
    let name = r"[A-Za-z][A-Za-z0-9_:.\-]*";
    let value = format!(r#"(?:'[^']*'|"[^"]*"|{name})"#);
    format!(
        r"<(?:[!?][A-Za-z\-][^>\r\n]*|{name}(?: +(?:{name}|{name} *= *{value}))* */?|/{name}) *>"
    )
}

/// Addresses of the web without their scheme.
pub(super) fn address() -> String {
    let part = r#"[^ \t\n\u{c}\r"<>|.!?(){},]"#;
    // From the comma to the underscore is a range here, as it is in the original.
    let host = r#"[^ \t\n\u{c}\r"`'<>|.!?(){},-_$]"#;
    let path = r#"(?:/[^ \t\n\u{c}\r"<>|()]+[^ \t\n\u{c}\r"<>|.!?(){},-])?"#;
    format!(r"(?:(?i:www\.)(?:{part}+\.)+[a-zA-Z]{{2,4}}|(?:{host}+\.)+(?i:com|net|org|edu)){path}")
}

/// Abbreviations that small letters follow mostly, with their point.
pub(super) fn ending() -> String {
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
pub(super) fn titles(acronym: &str) -> String {
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
pub(super) fn numbered() -> String {
    let any_case = "ca|figs?|prop|nos?|sect?s?|arts?|bldg|pp|op";
    format!(r"(?i:{any_case})\.")
}

/// Words that begin a sentence behind an abbreviation.
pub(super) fn openings() -> String {
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
pub(super) fn file_name(letter: &str) -> String {
    let endings = [
        "bat|bmp|c|class|cgi|cpp|dll|doc|docx|exe|gif|gz|h|htm|html|jar|java|jpeg|jpg|mov|mp3",
        "pdf|php|pl|png|ppt|ps|py|sql|tar|txt|wav|x|xml|zip",
    ]
    .join("|");
    let part = format!(r"(?:{letter}|{DIGIT})+");
    format!(r"{part}(?:\.{part})*\.(?i:{endings})")
}

/// Telephone numbers.
pub(super) fn telephone() -> String {
    let space = r"[- \u{a0}]";
    format!(
        r"(?:\([0-9]{{2,3}}\)[ \u{{a0}}]?|(?:\+\+?)?(?:[0-9]{{2,4}}{space})?[0-9]{{2,4}}{space})[0-9]{{3,4}}{space}?[0-9]{{3,5}}|(?:(?:\+\+?)?[0-9]{{2,4}}\.)?[0-9]{{2,4}}\.[0-9]{{3,4}}\.[0-9]{{3,5}}"
    )
}

/// Signs that stand alone.
pub(super) fn symbols() -> String {
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
