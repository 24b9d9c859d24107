//! WUPS: agreement of answers by how near their words stand in WordNet (Malinowski and Fritz 2014),
//! as the open-ended NExT-QA counts it.

use super::wordnet::WordNet;

/// Words less alike than the threshold count a tenth.
const BELOW_THRESHOLD: f64 = 0.1;

/// WUPS of an answer, from 0 to 1: for each word the nearest one of the other side, the product of
/// these, and the lower of both sides. Words that nothing is near are passed over, as NExT-QA's
/// `metrics.py` does.
#[must_use]
pub fn wups(wordnet: &WordNet, answer: &str, truth: &str, threshold: f64) -> f64 {
    let (answer, truth) = (words(answer), words(truth));
    let one = one_sided(wordnet, &answer, &truth, threshold);
    let other = one_sided(wordnet, &truth, &answer, threshold);
    one.min(other)
}

fn one_sided(wordnet: &WordNet, words: &[&str], others: &[&str], threshold: f64) -> f64 {
    let nearest = words.iter().map(|word| {
        let near = others
            .iter()
            .map(|other| near(wordnet, word, other, threshold));
        near.fold(0.0, f64::max)
    });
    let found: Vec<f64> = nearest.filter(|nearness| *nearness > 0.0).collect();
    if found.is_empty() {
        return 0.0;
    }
    found.into_iter().product()
}

fn near(wordnet: &WordNet, word: &str, other: &str, threshold: f64) -> f64 {
    if word == other {
        return 1.0;
    }
    let nearness = wordnet.similarity(word, other).unwrap_or(0.0);
    if nearness < threshold {
        BELOW_THRESHOLD * nearness
    } else {
        nearness
    }
}

/// Words and signs, clitics apart, as NLTK's tokenizer parts an answer of a few words.
fn words(text: &str) -> Vec<&str> {
    let mut words = Vec::new();
    let text = text.trim_end();
    let (text, point) = match text.strip_suffix('.') {
        Some(rest) if !rest.ends_with('.') => (rest, Some(".")),
        _ => (text, None),
    };
    for mut rest in text.split_whitespace() {
        while !rest.is_empty() {
            let end = rest
                .char_indices()
                .find(|(_, c)| ",;:?!()[]{}<>@#$%&\"*".contains(*c))
                .map_or(rest.len(), |(at, _)| at);
            let (word, behind) = rest.split_at(end);
            if !word.is_empty() {
                clitics(word, &mut words);
            }
            let sign = behind.chars().next().map_or(0, char::len_utf8);
            if sign > 0 {
                words.push(&behind[..sign]);
            }
            rest = &behind[sign..];
        }
    }
    words.extend(point);
    words
}

fn clitics<'t>(word: &'t str, words: &mut Vec<&'t str>) {
    let endings = ["n't", "'s", "'m", "'d", "'ll", "'re", "'ve"];
    let split = endings.iter().find_map(|ending| {
        let at = word.len().checked_sub(ending.len())?;
        let is_ending = at > 0 && word.get(at..)?.eq_ignore_ascii_case(ending);
        is_ending.then_some(at)
    });
    match split {
        Some(at) => words.extend([&word[..at], &word[at..]]),
        None => words.push(word),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_clitics_and_the_last_point_are_words_of_their_own() {
        assert_eq!(
            words("He doesn't know, U.S. dogs' mother's."),
            [
                "He", "does", "n't", "know", ",", "U.S.", "dogs'", "mother", "'s", "."
            ]
        );
    }
}
