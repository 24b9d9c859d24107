//! Accuracy of short answers, as the VQA challenge counts it (Antol et al. 2015).

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

/// Which of the evaluations in use is followed. They differ in what is brought to a common form
/// before answers are compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum VqaRules {
    /// The challenge's own as it is now: all answers, but where all people answered the same, none.
    #[default]
    Official,
    /// The challenge's own as it was before: always the answer that is judged; those of people
    /// without changing numbers, articles and contractions.
    Earlier,
    /// OpenFlamingo's: always all answers.
    Openflamingo,
}

/// What a person answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PersonsAnswer<'t> {
    /// The words.
    pub answer: Cow<'t, str>,
    /// The same number for people of whom nothing else is known that differs. Their answers, where
    /// alike, count as one when one of them is set aside.
    pub kind: usize,
}

/// The share, from 0 to 1, of `answer`'s agreement with people's: each person is set aside in turn,
/// and three others who said the same make it right.
#[must_use]
pub fn vqa_accuracy(answer: &str, people: &[PersonsAnswer<'_>], rules: VqaRules) -> f64 {
    if people.is_empty() {
        return 0.0;
    }
    let mut answer = flat(answer);
    let flattened: Vec<Cow<'_, str>> = people
        .iter()
        .map(|person| match rules {
            VqaRules::Earlier => Cow::Borrowed(person.answer.as_ref()),
            VqaRules::Official | VqaRules::Openflamingo => flat(&person.answer),
        })
        .collect();
    let all_agree = flattened.iter().all(|other| *other == flattened[0]);
    if !all_agree || rules != VqaRules::Official {
        answer = Cow::Owned(settled(&without_punctuation(&answer)));
    }
    let others = if !all_agree || rules == VqaRules::Openflamingo {
        let mut others: Vec<Cow<'_, str>> = Vec::with_capacity(flattened.len());
        for (at, other) in flattened.iter().enumerate() {
            // People often say the same.
            let same = flattened[..at].iter().position(|earlier| earlier == other);
            others.push(match (same, rules) {
                (Some(same), _) => others[same].clone(),
                (None, VqaRules::Earlier) => without_punctuation(other),
                (None, VqaRules::Official | VqaRules::Openflamingo) => {
                    Cow::Owned(settled(&without_punctuation(other)))
                }
            });
        }
        others
    } else {
        flattened
    };
    let is_right: Vec<bool> = others.iter().map(|other| *other == answer).collect();
    let right = is_right.iter().filter(|is_right| **is_right).count();
    let sum: f64 = (0..others.len())
        .map(|aside| {
            let same = (0..others.len()).filter(|other| {
                is_right[*other]
                    && others[*other] == others[aside]
                    && people[*other].kind == people[aside].kind
            });
            let left = right - if is_right[aside] { same.count() } else { 0 };
            (left as f64 / 3.0).min(1.0)
        })
        .sum();
    sum / others.len() as f64
}

/// Line breaks and tabs as spaces, none around.
fn flat(answer: &str) -> Cow<'_, str> {
    let trimmed = answer.trim_matches(is_space);
    if trimmed.contains(['\n', '\t']) {
        Cow::Owned(trimmed.replace(['\n', '\t'], " "))
    } else {
        Cow::Borrowed(trimmed)
    }
}

/// What Python takes for space.
fn is_space(character: char) -> bool {
    character.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&character)
}

/// Signs that go.
const PUNCTUATION: [char; 21] = [
    ';', '/', '[', ']', '"', '{', '}', '(', ')', '=', '+', '\\', '_', '-', '>', '<', '@', '`', ',',
    '?', '!',
];

/// The original hands its flag for Unicode to where the most points to take away are named.
const MOST_POINTS: usize = 32;

/// Signs taken away, or made spaces where they part words; points too that stand before no digit.
fn without_punctuation(answer: &str) -> Cow<'_, str> {
    let is_sign = |character: char| character == '.' || PUNCTUATION.contains(&character);
    if answer
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b' ')
        || !answer.contains(is_sign)
    {
        return Cow::Borrowed(answer);
    }
    let characters: Vec<char> = answer.chars().collect();
    let is_digit = |at: usize| characters.get(at).is_some_and(|c| is_decimal(*c));
    let has_thousands = (1..characters.len())
        .any(|at| characters[at] == ',' && is_digit(at - 1) && is_digit(at + 1));
    let mut beside_space = [false; PUNCTUATION.len()];
    for pair in characters.windows(2) {
        for (first, second) in [(pair[0], pair[1]), (pair[1], pair[0])] {
            if second == ' '
                && let Some(at) = PUNCTUATION.iter().position(|sign| *sign == first)
            {
                beside_space[at] = true;
            }
        }
    }
    let mut bare: Vec<char> = Vec::with_capacity(characters.len());
    for character in characters {
        match PUNCTUATION.iter().position(|sign| *sign == character) {
            Some(at) if beside_space[at] || has_thousands => {}
            Some(_) => bare.push(' '),
            None => bare.push(character),
        }
    }
    let mut points = 0;
    let mut kept = String::with_capacity(bare.len());
    for (at, character) in bare.iter().enumerate() {
        let before_digit = bare.get(at + 1).is_some_and(|c| is_decimal(*c));
        if *character == '.' && !before_digit && points < MOST_POINTS {
            points += 1;
        } else {
            kept.push(*character);
        }
    }
    Cow::Owned(kept)
}

/// Whether it is a decimal digit of any script, as `\d` is for Python.
fn is_decimal(character: char) -> bool {
    character.is_ascii_digit() || (!character.is_ascii() && DECIMALS.contains(&character))
}

/// Decimal digits outside ASCII. Scripts have ten in a row from a zero on.
static DECIMALS: LazyLock<HashSet<char>> = LazyLock::new(|| {
    let zeros = include_str!("vqa/decimal_zeros.txt").split_whitespace();
    let zeros = zeros.filter_map(|zero| u32::from_str_radix(zero, 16).ok());
    zeros
        .flat_map(|zero| (zero..zero + 10).filter_map(char::from_u32))
        .collect()
});

/// Contractions without their apostrophe, and the words for them.
static CONTRACTIONS: LazyLock<HashMap<&str, &str>> = LazyLock::new(|| {
    let lines = include_str!("vqa/contractions.txt").lines();
    lines.filter_map(|line| line.split_once('\t')).collect()
});

/// Small letters, words for numbers as digits, articles left out, apostrophes put into contractions.
fn settled(answer: &str) -> String {
    let lower = answer.to_lowercase();
    let words = lower.split(is_space).filter(|word| !word.is_empty());
    let mut settled = String::with_capacity(lower.len());
    for word in words {
        let word = match word {
            "a" | "an" | "the" => continue,
            "none" | "zero" => "0",
            "one" => "1",
            "two" => "2",
            "three" => "3",
            "four" => "4",
            "five" => "5",
            "six" => "6",
            "seven" => "7",
            "eight" => "8",
            "nine" => "9",
            "ten" => "10",
            other => CONTRACTIONS.get(other).copied().unwrap_or(other),
        };
        if !settled.is_empty() {
            settled.push(' ');
        }
        settled.push_str(word);
    }
    settled
}

/// The answer as it is compared, for people who look at results.
#[must_use]
pub fn vqa_form(answer: &str) -> Cow<'_, str> {
    Cow::Owned(settled(&without_punctuation(&flat(answer))))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn people<'t>(answers: &[&'t str]) -> Vec<PersonsAnswer<'t>> {
        let numbered = answers.iter().enumerate();
        let each = numbered.map(|(kind, answer)| PersonsAnswer {
            answer: Cow::Borrowed(*answer),
            kind,
        });
        each.collect()
    }

    #[test]
    fn answers_are_compared_in_a_common_form() {
        for (answer, form) in [
            ("The Two dogs.", "2 dogs"),
            ("isnt", "isn't"),
            ("black-and-white", "black and white"),
            ("yes , sir", "yes sir"),
            ("1,000", "1000"),
            ("3.5", "3.5"),
            ("a\tb\n", "b"),
            ("", ""),
        ] {
            assert_eq!(vqa_form(answer), form, "{answer}");
        }
    }

    #[test]
    fn three_others_make_an_answer_right() {
        let answers = people(&["cat", "cat", "dog", "a cat", "bird"]);
        // Of the three cats two are left where one of them is set aside.
        let expected = (3.0 * (2.0 / 3.0) + 2.0) / 5.0;
        assert!((vqa_accuracy("Cat", &answers, VqaRules::Official) - expected).abs() < 1e-12);
    }

    #[test]
    fn where_all_people_agree_only_the_official_rules_leave_answers_as_they_are() {
        let answers = people(&["the cat"; 10]);
        let accuracy = |answer, rules| vqa_accuracy(answer, &answers, rules);
        assert_eq!(accuracy("the cat", VqaRules::Official), 1.0);
        assert_eq!(accuracy("cat", VqaRules::Official), 0.0);
        assert_eq!(accuracy("cat", VqaRules::Openflamingo), 1.0);
        assert_eq!(accuracy("the cat", VqaRules::Earlier), 0.0);
    }

    #[test]
    fn answers_alike_in_everything_are_set_aside_together() {
        let mut answers = people(&["cat", "cat", "dog"]);
        answers.iter_mut().for_each(|person| person.kind = 0);
        let found = vqa_accuracy("cat", &answers, VqaRules::Official);
        assert!((found - (2.0 / 3.0) / 3.0).abs() < 1e-12, "{found}");
    }
}
