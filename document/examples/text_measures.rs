//! Measures texts by the rules of Gopher, FineWeb, C4 and OBELICS: one JSON array of values for each text.
//!
//!     text_measures FILE
//!
//! FILE has one JSON string on each line. The values come in the order of `NAMES`, which is the
//! first line of the output.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::error::Error;

use m3w_document::filter::c4::C4;
use m3w_document::filter::line::Lines;
use m3w_document::filter::obelics::Obelics;
use m3w_document::filter::quality::{Quality, STOP_WORDS};
use m3w_document::filter::repetition::Repetition;
use m3w_document::filter::words;

const NAMES: &[&str] = &[
    "words",
    "mean_word_length",
    "hashes_per_word",
    "ellipses_per_word",
    "bullet_lines",
    "ellipsis_lines",
    "alphabetic_words",
    "stop_words",
    "duplicate_lines",
    "duplicate_line_characters",
    "duplicate_paragraphs",
    "duplicate_paragraph_characters",
    "top_2_gram",
    "top_3_gram",
    "top_4_gram",
    "duplicate_5_grams",
    "duplicate_6_grams",
    "duplicate_7_grams",
    "duplicate_8_grams",
    "duplicate_9_grams",
    "duplicate_10_grams",
    "sentence_ends",
    "short_lines",
    "duplicate_characters",
    "breaks_per_word",
    "c4_lines",
    "lorem_ipsum",
    "curly_brackets",
    "c4_sentences",
    "bare_words",
    "character_repetition",
    "word_repetition",
    "special_characters",
    "stop_word_share",
    "punctuation",
];

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: text_measures FILE")?;
    let file = std::fs::read_to_string(path)?;
    let texts: Vec<String> = file
        .lines()
        .map(serde_json::from_str)
        .collect::<Result<_, _>>()?;
    let measured: Vec<Vec<f64>> = texts.iter().map(|text| measures(text)).collect();
    println!("{}", serde_json::to_string(&NAMES)?);
    for values in measured {
        println!("{}", serde_json::to_string(&values)?);
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "counts are small")]
fn measures(text: &str) -> Vec<f64> {
    let words = words(text);
    let quality = Quality::of(text, &words, &STOP_WORDS);
    let repetition = Repetition::of(text, &words);
    let lines = Lines::of(text, words.len());
    let mut values = vec![
        quality.words as f64,
        quality.mean_word_length,
        quality.hashes_per_word,
        quality.ellipses_per_word,
        quality.bullet_lines,
        quality.ellipsis_lines,
        quality.alphabetic_words,
        quality.stop_words as f64,
        repetition.duplicate_lines,
        repetition.duplicate_line_characters,
        repetition.duplicate_paragraphs,
        repetition.duplicate_paragraph_characters,
    ];
    values.extend(repetition.top_ngrams);
    values.extend(repetition.duplicate_ngrams);
    values.extend([
        lines.sentence_ends,
        lines.short,
        lines.duplicate_characters,
        lines.breaks_per_word,
    ]);
    let c4 = C4::of(text);
    values.push(c4.lines);
    let counts = [c4.lorem_ipsum, c4.curly_brackets, c4.sentences];
    values.extend(counts.map(|count| count as f64));
    let obelics = Obelics::of(text);
    values.extend([
        obelics.words as f64,
        obelics.character_repetition,
        obelics.word_repetition,
        obelics.special_characters,
        obelics.stop_words,
        obelics.punctuation,
    ]);
    values
}
