//! CIDEr-D: how alike a caption and its references are, by the words in a row that they share and
//! that few other images have (Vedantam et al. 2015).

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use anyhow::{Result, ensure};

use super::treebank::{Token, Treebank};

/// Words in a row that are compared, from one to this many.
const LONGEST: usize = 4;
/// Deviation of the penalty for captions of other length, in words (`cider.py`).
const DEVIATION: f64 = 6.0;

/// A caption with the captions that people gave the same image.
#[derive(Debug, Clone, PartialEq)]
pub struct Captioned<'t> {
    /// What is judged.
    pub caption: Cow<'t, str>,
    /// What it is compared with.
    pub references: Vec<Cow<'t, str>>,
}

/// CIDEr-D of each caption, as `pycocoevalcap` gives it: tokens by [`Treebank`], rarity by the
/// references of these very images. 10 is the most. The score of all is the mean.
///
/// Holds a number for each word and each sequence of up to four that the captions have.
///
/// # Errors
///
/// If an image has no references.
pub fn cider(images: &[Captioned<'_>]) -> Result<Vec<f64>> {
    let mut treebank = Treebank::new()?;
    let mut grams = Grams::default();
    let references = images.iter().flat_map(|image| &image.references);
    let references = sentences(&mut treebank, &mut grams, references)?;
    let captions = images.iter().map(|image| &image.caption);
    let captions = sentences(&mut treebank, &mut grams, captions)?;
    // A line break inside a caption ends it for the original, and all that follow move up.
    let nothing = Sentence::default();
    let mut places = references.chunked(images.iter().map(|image| image.references.len()));
    let mut frequencies = vec![0_u32; grams.count];
    let mut last_seen = vec![0_usize; grams.count];
    let groups: Vec<&[Sentence]> = images
        .iter()
        .map(|_| places.next().unwrap_or_default())
        .collect();
    for (number, group) in groups.iter().enumerate() {
        ensure!(
            !images[number].references.is_empty(),
            "image {} has no references",
            number + 1
        );
        for (gram, _) in group
            .iter()
            .flat_map(|sentence| sentence.grams.iter().flatten())
        {
            let seen = &mut last_seen[*gram as usize];
            if *seen != number + 1 {
                *seen = number + 1;
                frequencies[*gram as usize] += 1;
            }
        }
    }
    let all = (images.len() as f64).ln();
    let weights: Vec<f64> = frequencies
        .iter()
        .map(|frequency| all - f64::from((*frequency).max(1)).ln())
        .collect();
    let mut scores = Vec::with_capacity(images.len());
    for (number, (image, group)) in images.iter().zip(&groups).enumerate() {
        let caption = Vector::new(captions.0.get(number).unwrap_or(&nothing), &weights);
        let mut sum = 0.0;
        for reference in *group {
            sum += caption.likeness(&Vector::new(reference, &weights));
        }
        scores.push(10.0 * sum / image.references.len() as f64);
    }
    Ok(scores)
}

struct Sentences(Vec<Sentence>);

impl Sentences {
    /// As many sentences at a time as `sizes` says, while there are some.
    fn chunked<'s>(
        &'s self,
        sizes: impl Iterator<Item = usize> + 's,
    ) -> impl Iterator<Item = &'s [Sentence]> + 's {
        let mut at = 0;
        sizes.map(move |size| {
            let start = at.min(self.0.len());
            at += size;
            &self.0[start..at.min(self.0.len())]
        })
    }
}

/// How often a sentence has each sequence of words, by length and in the order of their numbers.
#[derive(Default)]
struct Sentence {
    grams: [Vec<(u32, u32)>; LONGEST],
    pairs: u32,
}

/// All captions in one text, each a line, as the original hands them to its tokenizer: what stands
/// on the next line can decide what becomes of a point.
fn sentences<'t>(
    treebank: &mut Treebank,
    grams: &mut Grams,
    captions: impl Iterator<Item = &'t Cow<'t, str>>,
) -> Result<Sentences> {
    let mut text = String::new();
    for caption in captions {
        text.extend(caption.chars().map(|c| if c == '\n' { ' ' } else { c }));
        text.push('\n');
    }
    // The last caption ends with the text.
    text.pop();
    let mut sentences = Vec::new();
    let mut words = Vec::new();
    treebank.tokenize(&text, |token| match token {
        // Tags and fractions have spaces, at which the original parts them.
        Token::Word(word) => words.extend(split(word).map(|word| grams.word(word))),
        Token::Line => {
            sentences.push(grams.sentence(&words));
            words.clear();
        }
    })?;
    sentences.push(grams.sentence(&words));
    Ok(Sentences(sentences))
}

/// Parts a text where Python's `split` does.
fn split(word: &str) -> impl Iterator<Item = &str> {
    word.split(|c: char| c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c))
        .filter(|part| !part.is_empty())
}

/// Numbers of words and of sequences of words: a sequence is the number of its start and a word.
#[derive(Default)]
struct Grams {
    words: HashMap<String, u32, BuildHasherDefault<Multiply>>,
    longer: HashMap<u64, u32, BuildHasherDefault<Multiply>>,
    count: usize,
}

impl Grams {
    fn word(&mut self, word: &str) -> u32 {
        if let Some(number) = self.words.get(word) {
            return *number;
        }
        let number = self.next();
        self.words.insert(word.to_owned(), number);
        number
    }

    fn next(&mut self) -> u32 {
        self.count += 1;
        self.count as u32 - 1
    }

    fn sentence(&mut self, words: &[u32]) -> Sentence {
        let mut sentence = Sentence::default();
        let mut grams = words.to_vec();
        for length in 0..LONGEST {
            if length > 0 {
                let shorter = std::mem::take(&mut grams);
                for (start, word) in shorter.iter().zip(words.iter().skip(length)) {
                    let key = u64::from(*start) << 32 | u64::from(*word);
                    let next = self.count;
                    let number = *self.longer.entry(key).or_insert(next as u32);
                    self.count += usize::from(number as usize == next);
                    grams.push(number);
                }
            }
            if length == 1 {
                sentence.pairs = grams.len() as u32;
            }
            let mut sorted = grams.clone();
            sorted.sort_unstable();
            let counted = &mut sentence.grams[length];
            for gram in sorted {
                match counted.last_mut() {
                    Some((last, count)) if *last == gram => *count += 1,
                    _ => counted.push((gram, 1)),
                }
            }
        }
        sentence
    }
}

/// A hash of numbers and words: one multiplication for eight bytes. What is hashed are captions,
/// not what someone chose in order to make hashes meet.
#[derive(Default)]
struct Multiply(u64);

impl Hasher for Multiply {
    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut eight = [0; 8];
            eight[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(eight));
        }
    }

    fn write_u64(&mut self, value: u64) {
        // An odd number with bits in all places (2^64 over the golden ratio).
        self.0 = (self.0.rotate_left(5) ^ value).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

/// A sentence as weights of its sequences.
struct Vector {
    weights: [Vec<(u32, f64)>; LONGEST],
    norms: [f64; LONGEST],
    pairs: u32,
}

impl Vector {
    fn new(sentence: &Sentence, rarity: &[f64]) -> Self {
        let mut norms = [0.0; LONGEST];
        let mut weights: [Vec<(u32, f64)>; LONGEST] = Default::default();
        for (length, grams) in sentence.grams.iter().enumerate() {
            let mut sum = 0.0;
            weights[length] = grams
                .iter()
                .map(|(gram, count)| {
                    let weight = f64::from(*count) * rarity[*gram as usize];
                    sum += weight * weight;
                    (*gram, weight)
                })
                .collect();
            norms[length] = f64::sqrt(sum);
        }
        Self {
            weights,
            norms,
            pairs: sentence.pairs,
        }
    }

    /// The mean over lengths of the cosine, in which the caption's weights count up to those of the
    /// reference, lowered where one is longer. Lengths are counted in pairs of words, as the
    /// original does.
    fn likeness(&self, reference: &Self) -> f64 {
        let mut sum = 0.0;
        for length in 0..LONGEST {
            let mut product = 0.0;
            let mut others = reference.weights[length].iter().peekable();
            for (gram, weight) in &self.weights[length] {
                while others.next_if(|(other, _)| other < gram).is_some() {}
                if let Some((_, other)) = others.next_if(|(other, _)| other == gram) {
                    product += weight.min(*other) * other;
                }
            }
            let norm = self.norms[length] * reference.norms[length];
            sum += if norm == 0.0 { product } else { product / norm };
        }
        let longer = f64::from(self.pairs) - f64::from(reference.pairs);
        let penalty = (-(longer * longer) / (2.0 * DEVIATION * DEVIATION)).exp();
        sum * penalty / LONGEST as f64
    }
}
