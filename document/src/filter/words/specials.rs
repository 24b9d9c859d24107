//! Words that the rules for affixes would split wrongly: contractions, abbreviations, emoticons.

use std::collections::HashMap;
use std::hash::BuildHasherDefault;
use std::sync::LazyLock;

use crate::filter::grams::Hashed;

/// Longest of these words, in bytes.
pub(super) const LONGEST: usize = 40;

/// The parts of a word that has rules of its own, as lengths in bytes.
pub(super) fn parts(word: &str) -> Option<&'static [u8]> {
    let (lengths, specials) = &*SPECIALS;
    // Most words are told from all of these by their length and first letter.
    let first = usize::from(*word.as_bytes().first()?);
    if word.len() > LONGEST || lengths[first] & (1 << word.len()) == 0 {
        return None;
    }
    specials.get(word).map(Vec::as_slice)
}

/// Bit n is set for a first byte if a special word of n bytes begins so.
type Lengths = [u64; 256];

/// Words that stay whole.
const WHOLE: &[&str] = &[
    "'", "''", "’", "’’", "‘s", "‘S", "—", "\\\")", "\\n", "\\t", "<space>", "C++", "and/or",
    "w/o", // months, states and titles, as they are shortened
    "Adm.", "Ak.", "Ala.", "Apr.", "Ariz.", "Ark.", "Aug.", "Bros.", "Calif.", "Co.", "Colo.",
    "Conn.", "Corp.", "D.C.", "Dec.", "Del.", "Dr.", "E.G.", "E.g.", "Feb.", "Fla.", "Ga.", "Gen.",
    "Gov.", "I.E.", "I.e.", "Ia.", "Id.", "Ill.", "Inc.", "Ind.", "Jan.", "Jr.", "Jul.", "Jun.",
    "Kan.", "Kans.", "Ky.", "La.", "Ltd.", "Mar.", "Mass.", "Md.", "Messrs.", "Mich.", "Minn.",
    "Miss.", "Mo.", "Mont.", "Mr.", "Mrs.", "Ms.", "Mt.", "N.C.", "N.D.", "N.H.", "N.J.", "N.M.",
    "N.Y.", "Neb.", "Nebr.", "Nev.", "Nov.", "Oct.", "Okla.", "Ore.", "Pa.", "Ph.D.", "Prof.",
    "Rep.", "Rev.", "S.C.", "Sen.", "Sep.", "Sept.", "St.", "Tenn.", "Va.", "Wash.", "Wis.",
    "a.m.", "p.m.", "co.", "e.g.", "i.e.", "v.s.", "vs.", "ä.", "ö.", "ü.",
];

/// Faces; `'` may be the other apostrophe too.
const EMOTICONS: &[&str] = &[
    "(*_*)",
    "(-8",
    "(-:",
    "(-;",
    "(-_-)",
    "(._.)",
    "(:",
    "(;",
    "(=",
    "(>_<)",
    "(^_^)",
    "(o:",
    "(¬_¬)",
    "(ಠ_ಠ)",
    "(╯°□°）╯︵┻━┻",
    ")-:",
    "):",
    "-_-",
    "-__-",
    "._.",
    "0.0",
    "0.o",
    "0_0",
    "0_o",
    "8)",
    "8-)",
    "8-D",
    "8D",
    ":'(",
    ":')",
    ":'-(",
    ":'-)",
    ":(",
    ":((",
    ":(((",
    ":()",
    ":)",
    ":))",
    ":)))",
    ":*",
    ":-(",
    ":-((",
    ":-(((",
    ":-)",
    ":-))",
    ":-)))",
    ":-*",
    ":-/",
    ":-0",
    ":-3",
    ":->",
    ":-D",
    ":-O",
    ":-P",
    ":-X",
    ":-]",
    ":-o",
    ":-p",
    ":-x",
    ":-|",
    ":-}",
    ":/",
    ":0",
    ":1",
    ":3",
    ":>",
    ":D",
    ":O",
    ":P",
    ":X",
    ":]",
    ":o",
    ":o)",
    ":p",
    ":x",
    ":|",
    ":}",
    ";)",
    ";-)",
    ";-D",
    ";D",
    ";_;",
    "<.<",
    "</3",
    "<3",
    "<33",
    "<333",
    "=(",
    "=)",
    "=/",
    "=3",
    "=D",
    "=[",
    "=]",
    "=|",
    ">.<",
    ">.>",
    ">:(",
    ">:o",
    "><(((*>",
    "@_@",
    "O.O",
    "O.o",
    "O_O",
    "O_o",
    "V.V",
    "V_V",
    "XD",
    "XDD",
    "[-:",
    "[:",
    "[=",
    "]=",
    "^_^",
    "^__^",
    "^___^",
    "o.0",
    "o.O",
    "o.o",
    "o_0",
    "o_O",
    "o_o",
    "v.v",
    "v_v",
    "xD",
    "xDD",
    "¯\\(ツ)/¯",
    "ಠ_ಠ",
    "ಠ︵ಠ",
];

/// Words that have lost letters at an end and are written with an apostrophe there or without.
const CLIPPED_END: &[&str] = &[
    "doin", "goin", "havin", "lovin", "nothin", "nuthin", "ol", "somethin",
];
const CLIPPED_START: &[&str] = &["em", "ll", "nuff"];
const APOSTROPHE_START: &[&str] = &["bout", "cause", "cos", "coz", "cuz"];

const VERBS: &[&str] = &[
    "ca", "could", "did", "do", "does", "had", "may", "might", "must", "need", "ought", "sha",
    "should", "wo", "would",
];
const VERBS_WITHOUT_HAVE: &[&str] = &["ai", "are", "dare", "has", "have", "is", "was", "were"];
const BEFORE_HAVE: &[&str] = &["could", "might", "must", "not", "should", "would"];
const PRONOUNS: &[&str] = &["he", "i", "it", "she", "they", "we", "you"];
const ASKING: &[&str] = &[
    "how", "that", "there", "these", "this", "those", "what", "when", "where", "who", "why",
];

/// Written without an apostrophe these are words of their own.
const AMBIGUOUS: &[&str] = &[
    "hell", "ill", "its", "shed", "shell", "well", "were", "whore",
];

type Parts = HashMap<String, Vec<u8>, BuildHasherDefault<Hashed>>;

static SPECIALS: LazyLock<(Lengths, Parts)> = LazyLock::new(|| {
    let mut specials = Specials::default();
    for whole in WHOLE.iter().chain(EMOTICONS) {
        specials.whole(whole);
    }
    for whole in [":'(", ":')", ":'-(", ":'-)"] {
        specials.whole(&whole.replace('\'', "’"));
    }
    for letter in 'a'..='z' {
        specials.whole(&format!("{letter}."));
    }
    for word in CLIPPED_END {
        specials.with_case(&[word]);
        specials.with_apostrophes(&[&format!("{word}'")]);
    }
    for word in CLIPPED_START {
        specials.whole(word);
        specials.both_apostrophes(&[&format!("'{word}")]);
    }
    for word in APOSTROPHE_START {
        specials.both_apostrophes(&[&format!("'{word}")]);
        specials.both_apostrophes(&[&format!("'{}", capitalised(word))]);
    }
    for word in ["'S", "'d", "'re", "'s"] {
        specials.both_apostrophes(&[word]);
    }
    specials.with_apostrophes(&["ma'am"]);
    specials.with_apostrophes(&["o'clock"]);
    specials.contractions();
    for hour in 1..=12 {
        for period in ["a.m.", "am", "p.m.", "pm"] {
            specials.parts(&[&hour.to_string(), period]);
        }
    }
    for scale in ["C", "F", "K", "c", "f", "k"] {
        specials.parts(&["°", scale, "."]);
    }
    let mut lengths = [0; 256];
    for word in specials.0.keys() {
        lengths[usize::from(word.as_bytes()[0])] |= 1 << word.len();
    }
    (lengths, specials.0)
});

#[derive(Default)]
struct Specials(Parts);

impl Specials {
    fn contractions(&mut self) {
        for verb in VERBS.iter().chain(VERBS_WITHOUT_HAVE) {
            self.contraction(&[verb, "n't"]);
        }
        for verb in VERBS {
            self.contraction(&[verb, "n't", "'ve"]);
        }
        for verb in BEFORE_HAVE {
            self.contraction(&[verb, "'ve"]);
        }
        for word in PRONOUNS.iter().chain(ASKING) {
            self.contraction(&[word, "'ll"]);
            self.contraction(&[word, "'ll", "'ve"]);
            self.contraction(&[word, "'d"]);
            self.contraction(&[word, "'d", "'ve"]);
            let plural = matches!(*word, "these" | "those" | "they" | "we" | "you");
            let singular = matches!(*word, "that" | "this" | "he" | "she" | "it");
            if !singular && *word != "i" {
                self.contraction(&[word, "'re"]);
            }
            if !singular {
                self.contraction(&[word, "'ve"]);
            }
            if !plural && *word != "i" {
                self.contraction(&[word, "'s"]);
            }
        }
        self.contraction(&["i", "'m"]);
        self.contraction(&["i", "'m", "a"]);
        self.with_apostrophes(&["how", "'d", "'y"]);
        self.with_apostrophes(&["let", "'s"]);
        self.with_apostrophes(&["c'm", "on"]);
        self.both_apostrophes(&["y'", "all"]);
        self.parts(&["y", "all"]);
        for parts in [["can", "not"], ["gon", "na"], ["got", "ta"]] {
            self.with_case(&parts);
        }
    }

    /// With either apostrophe and with none, the first letter small or capital.
    fn contraction(&mut self, parts: &[&str]) {
        self.with_apostrophes(parts);
        let bare: Vec<String> = parts.iter().map(|part| part.replace('\'', "")).collect();
        if !AMBIGUOUS.contains(&bare.concat().as_str()) {
            self.with_case(&bare.iter().map(String::as_str).collect::<Vec<_>>());
        }
    }

    fn with_apostrophes(&mut self, parts: &[&str]) {
        self.both_apostrophes(parts);
        let mut capital: Vec<String> = parts.iter().map(|&part| part.to_owned()).collect();
        capital[0] = capitalised(&capital[0]);
        self.both_apostrophes(&capital.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn both_apostrophes(&mut self, parts: &[&str]) {
        self.parts(parts);
        let curly: Vec<String> = parts.iter().map(|part| part.replace('\'', "’")).collect();
        self.parts(&curly.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn with_case(&mut self, parts: &[&str]) {
        self.parts(parts);
        let mut capital: Vec<String> = parts.iter().map(|&part| part.to_owned()).collect();
        capital[0] = capitalised(&capital[0]);
        self.parts(&capital.iter().map(String::as_str).collect::<Vec<_>>());
    }

    fn whole(&mut self, word: &str) {
        self.parts(&[word]);
    }

    fn parts(&mut self, parts: &[&str]) {
        let lengths = parts
            .iter()
            .map(|part| u8::try_from(part.len()).unwrap_or(u8::MAX))
            .collect();
        self.0.insert(parts.concat(), lengths);
    }
}

fn capitalised(word: &str) -> String {
    let mut letters = word.chars();
    letters.next().map_or_else(String::new, |first| {
        first.to_uppercase().chain(letters).collect()
    })
}
