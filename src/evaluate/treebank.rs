//! Captions into words as `coco-caption` does: by the rules of the Penn Treebank as Stanford's
//! `PTBTokenizer` 3.4.1 applies them, in lower case, without punctuation.
//!
//! Scores of published captions depend on every corner of that tokenizer, so its effect is kept to
//! the letter: the longest rule that matches at a place wins, the earlier one of equal length, and
//! what stands behind a word counts as part of the match though it is read again. The rules are in
//! `treebank/rules.rs`; here is what drives them.

mod actions;
mod forms;
mod rules;

use anyhow::{Context as _, Result};
use regex_automata::hybrid::dfa::{Cache, DFA};
use regex_automata::util::primitives::PatternID;
use regex_automata::{Anchored, MatchKind, util::start};

use actions::{Action, Made};
use rules::{Behind, Rule, rules};

/// Tokens that `coco-caption` takes for punctuation and drops (`ptbtokenizer.py`).
///
/// The names of brackets stand in its list as well, but in capitals, and so are never dropped.
const PUNCTUATION: [&str; 13] = [
    "''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";",
];

/// Memory for the states of the automaton that are known, beyond which it forgets and begins anew.
const CACHE_BYTES: usize = 32 << 20;

/// The tokenizer: an automaton over all rules, whose states are made as texts need them.
///
/// Holds at most 32 MB of states, and a few MB of rules.
pub struct Treebank {
    all: DFA,
    states: Cache,
    rules: Vec<Prepared>,
}

struct Prepared {
    action: Action,
    behind: Split,
}

/// How the end of a word is found where a rule also says what must stand behind it.
enum Split {
    /// Nothing more than the word was matched.
    Nothing,
    /// What was matched behind it has this many characters.
    Characters(usize),
    /// The word is the longest start that leaves something which can stand behind it.
    Longest(Box<[Part; 2]>),
}

struct Part {
    automaton: DFA,
    states: Cache,
}

/// What a text consists of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token<'t> {
    /// A word, in lower case.
    Word(&'t str),
    /// The end of a line.
    Line,
}

impl Treebank {
    /// Prepares the rules.
    ///
    /// # Errors
    ///
    /// If there is no memory for them.
    pub fn new() -> Result<Self> {
        let rules = rules();
        let whole: Vec<String> = rules.iter().map(Rule::whole).collect();
        let all = automaton(&whole)?;
        let states = all.create_cache();
        let prepared = rules.into_iter().map(|rule| {
            let behind = match rule.behind {
                Behind::Nothing => Split::Nothing,
                Behind::Characters(count, _) => Split::Characters(count),
                Behind::Anything(behind) => {
                    Split::Longest(Box::new([Part::new(rule.word)?, Part::new(behind)?]))
                }
            };
            Ok(Prepared {
                action: rule.action,
                behind,
            })
        });
        let rules = prepared.collect::<Result<_>>()?;
        Ok(Self { all, states, rules })
    }

    /// Hands the words and line ends of a text to `emit`, punctuation left out.
    ///
    /// # Errors
    ///
    /// If the automaton finds no room for a single text's states.
    pub fn tokenize(&mut self, text: &str, mut emit: impl FnMut(Token<'_>)) -> Result<()> {
        let mut at = 0;
        let mut word = String::new();
        while at < text.len() {
            let Some((rule, end)) = longest(&self.all, &mut self.states, text, at)? else {
                // A character that no rule knows is left out.
                at += text[at..].chars().next().map_or(1, char::len_utf8);
                continue;
            };
            let rule = &mut self.rules[rule.as_usize()];
            let end = rule.behind.word_end(text, at, end)?;
            let (token, read) = rule.action.apply(&text[at..end], &mut word);
            at += read;
            match token {
                Made::Nothing => {}
                Made::Line => emit(Token::Line),
                Made::Word => {
                    lower(&mut word);
                    if !PUNCTUATION.contains(&word.as_str()) {
                        emit(Token::Word(&word));
                    }
                }
            }
        }
        Ok(())
    }
}

impl Part {
    fn new(pattern: String) -> Result<Self> {
        let automaton = automaton(&[pattern])?;
        let states = automaton.create_cache();
        Ok(Self { automaton, states })
    }

    /// Whether all of `text` is matched; `lengths` receives each length of a start that is.
    fn lengths(&mut self, text: &str, lengths: &mut Vec<usize>) -> Result<()> {
        walk(&self.automaton, &mut self.states, text, 0, |length, _| {
            lengths.push(length);
        })
    }
}

impl Split {
    fn word_end(&mut self, text: &str, start: usize, end: usize) -> Result<usize> {
        match self {
            Self::Nothing => Ok(end),
            Self::Characters(count) => {
                let behind = text[start..end].char_indices().rev().nth(*count - 1);
                Ok(start + behind.map_or(0, |(at, _)| at))
            }
            Self::Longest(parts) => {
                let [word, behind] = parts.as_mut();
                let mut ends = Vec::new();
                word.lengths(&text[start..end], &mut ends)?;
                let mut rest = Vec::new();
                for length in ends.into_iter().rev() {
                    rest.clear();
                    behind.lengths(&text[start + length..end], &mut rest)?;
                    if rest.contains(&(end - start - length)) {
                        return Ok(start + length);
                    }
                }
                Ok(end)
            }
        }
    }
}

fn automaton(patterns: &[String]) -> Result<DFA> {
    DFA::builder()
        .configure(
            DFA::config()
                .match_kind(MatchKind::All)
                .cache_capacity(CACHE_BYTES)
                .skip_cache_capacity_check(true),
        )
        .build_many(patterns)
        .context("the rules of the tokenizer cannot be prepared")
}

/// The longest match that begins at `start`: the earliest rule that has it, and its end.
fn longest(
    automaton: &DFA,
    states: &mut Cache,
    text: &str,
    start: usize,
) -> Result<Option<(PatternID, usize)>> {
    let mut found = None;
    walk(automaton, states, text, start, |end, rule| {
        found = Some((rule, end));
    })?;
    Ok(found)
}

/// Tells each end of a match that begins at `start`, shortest first, with the earliest rule of it.
fn walk(
    automaton: &DFA,
    states: &mut Cache,
    text: &str,
    start: usize,
    mut matched: impl FnMut(usize, PatternID),
) -> Result<()> {
    let config = start::Config::new().anchored(Anchored::Yes);
    let mut state = automaton.start_state(states, &config)?;
    let bytes = text.as_bytes();
    // Matches are told one byte late; the end of the text counts as a byte.
    for at in start..=bytes.len() {
        state = match bytes.get(at) {
            Some(byte) => automaton.next_state(states, state, *byte)?,
            None => automaton.next_eoi_state(states, state)?,
        };
        if state.is_tagged() {
            if state.is_match() {
                matched(at, earliest(automaton, states, state));
            } else if state.is_dead() || state.is_quit() {
                break;
            }
        }
    }
    Ok(())
}

fn earliest(
    automaton: &DFA,
    states: &Cache,
    state: regex_automata::hybrid::LazyStateID,
) -> PatternID {
    let count = automaton.match_len(states, state);
    let all = (0..count).map(|index| automaton.match_pattern(states, state, index));
    all.min().unwrap_or(PatternID::ZERO)
}

/// Makes a word lower case in place.
fn lower(word: &mut String) {
    if word.is_ascii() {
        word.make_ascii_lowercase();
    } else {
        *word = word.to_lowercase();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let mut lines = vec![String::new()];
        let mut treebank = Treebank::new().unwrap();
        treebank
            .tokenize(text, |token| match token {
                Token::Line => lines.push(String::new()),
                Token::Word(word) => {
                    if let Some(line) = lines.last_mut() {
                        line.push_str(if line.is_empty() { "" } else { " " });
                        line.push_str(word);
                    }
                }
            })
            .unwrap();
        lines
    }

    /// What `PTBTokenizer` 3.4.1 says of these, less the punctuation that `coco-caption` drops.
    #[test]
    fn captions_are_parted_as_the_original_parts_them() {
        for (caption, expected) in [
            (
                "A man's dog doesn't run, it CANNOT!",
                "a man 's dog does n't run it can not",
            ),
            ("", ""),
            (
                "\u{201c}na\u{ef}ve\u{201d} \u{2013} caf\u{e9} \u{1f44d}",
                "na\u{ef}ve caf\u{e9}",
            ),
            ("(foo) [bar]", "-lrb- foo -rrb- -lsb- bar -rsb-"),
            (
                "U.S. Mr. Smith, etc. 3.5 1,000 12:30",
                "u.s. mr. smith etc. 3.5 1,000 12:30",
            ),
            (
                "5$ US$ \u{a3}10 \u{20ac}20 \u{bd} 20%",
                "5 $ us$ # 10 $ 20 1/2 20 %",
            ),
            (
                "gonna y'all AT&amp;T <b>x</b>",
                "gon na y' all at&t <b> x </b>",
            ),
            (
                "well-known image.jpg www.foo.com a@b.com #tag @you",
                "well-known image.jpg www.foo.com a@b.com #tag @you",
            ),
            (
                "T-shirt c++ f# 24/7 1990-1991 -5",
                "t-shirt c++ f# 24/7 1990-1991 -5",
            ),
        ] {
            assert_eq!(lines(caption), [expected], "{caption}");
        }
    }

    #[test]
    fn the_next_line_decides_whether_a_letter_keeps_its_point() {
        assert_eq!(lines("so do I.\nThe dog"), ["so do i", "the dog"]);
        assert_eq!(lines("so do I.\na dog"), ["so do i.", "a dog"]);
    }
}
