//! WordNet's database files, and how near two words stand in it.
//!
//! The files are those of WordNet 3.0 (`data.noun`, `index.noun`, `noun.exc`, and so on for verbs,
//! adjectives and adverbs), in the forms of `wndb(5WN)`. What is computed from them is what `nltk`
//! computes.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// Parts of speech, in the order in which `nltk` looks for a word.
const PARTS: [(&str, char); 4] = [("noun", 'n'), ("verb", 'v'), ("adj", 'a'), ("adv", 'r')];

/// Longest file that is read; the longest of WordNet 3.0 has 16 MB.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Endings that a base form has another one for, by part of speech.
const ENDINGS: [&[(&str, &str)]; 4] = [
    &[
        ("s", ""),
        ("ses", "s"),
        ("ves", "f"),
        ("xes", "x"),
        ("zes", "z"),
        ("ches", "ch"),
        ("shes", "sh"),
        ("men", "man"),
        ("ies", "y"),
    ],
    &[
        ("s", ""),
        ("ies", "y"),
        ("es", "e"),
        ("es", ""),
        ("ed", "e"),
        ("ed", ""),
        ("ing", "e"),
        ("ing", ""),
    ],
    &[("er", ""), ("est", ""), ("er", "e"), ("est", "e")],
    &[],
];

/// A meaning: its part of speech and its place in the data file.
type Meaning = (usize, u32);

/// The database: some 40 MB while it is held.
pub struct WordNet {
    /// For each part of speech, the meanings of a word by their frequency.
    index: [HashMap<String, Vec<u32>>; 4],
    /// Base forms of words that no ending tells.
    exceptions: [HashMap<String, Vec<String>>; 4],
    meanings: HashMap<Meaning, Entry>,
}

struct Entry {
    /// Its first word, and its part of speech (`s` for a satellite).
    word: String,
    part: char,
    /// Those it is a kind of, then those it is an instance of.
    above: Vec<Meaning>,
}

impl WordNet {
    /// Reads the files in `folder`.
    ///
    /// # Errors
    ///
    /// If a file is missing, or a line of one has another form.
    pub fn read(folder: &Path) -> Result<Self> {
        let mut wordnet = Self {
            index: Default::default(),
            exceptions: Default::default(),
            meanings: HashMap::new(),
        };
        for (part, (name, _)) in PARTS.iter().enumerate() {
            for (file, take) in [
                (
                    format!("index.{name}"),
                    Self::take_index as fn(&mut Self, usize, &str) -> _,
                ),
                (format!("{name}.exc"), Self::take_exception),
                (format!("data.{name}"), Self::take_meaning),
            ] {
                let path = folder.join(file);
                for (number, line) in read(&path)?.lines().enumerate() {
                    // The licence stands indented before the data.
                    if line.starts_with(' ') || line.is_empty() {
                        continue;
                    }
                    let taken: Option<()> = take(&mut wordnet, part, line);
                    taken.with_context(|| {
                        format!(
                            "{}, line {}: this is no line of a WordNet file",
                            path.display(),
                            number + 1
                        )
                    })?;
                }
            }
        }
        Ok(wordnet)
    }

    fn take_index(&mut self, part: usize, line: &str) -> Option<()> {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let word = (*fields.first()?).to_owned();
        let count: usize = fields.get(2)?.parse().ok()?;
        let first = fields.len().checked_sub(count)?;
        let offsets = fields[first..].iter().map(|offset| offset.parse().ok());
        self.index[part].insert(word, offsets.collect::<Option<_>>()?);
        Some(())
    }

    fn take_exception(&mut self, part: usize, line: &str) -> Option<()> {
        let mut words = line.split_whitespace().map(str::to_owned);
        let word = words.next()?;
        self.exceptions[part].insert(word, words.collect());
        Some(())
    }

    fn take_meaning(&mut self, part: usize, line: &str) -> Option<()> {
        let data = line.split(" | ").next()?;
        let mut fields = data.split_whitespace();
        let offset: u32 = fields.next()?.parse().ok()?;
        let _file: u32 = fields.next()?.parse().ok()?;
        let sign = fields.next()?.chars().next()?;
        let words = usize::from_str_radix(fields.next()?, 16).ok()?;
        let first = fields.next()?.to_lowercase();
        // Each word has a number behind it, which the first one's is still to come.
        let mut fields = fields.skip((2 * words).checked_sub(1)?);
        let pointers: usize = fields.next()?.parse().ok()?;
        let (mut kinds, mut instances) = (Vec::new(), Vec::new());
        for _ in 0..pointers {
            let symbol = fields.next()?;
            let target: u32 = fields.next()?.parse().ok()?;
            let target_part = part_of(fields.next()?.chars().next()?)?;
            let source = fields.next()?;
            // Between words rather than meanings.
            if source != "0000" {
                continue;
            }
            match symbol {
                "@" => kinds.push((target_part, target)),
                "@i" => instances.push((target_part, target)),
                _ => {}
            }
        }
        kinds.extend(instances);
        let entry = Entry {
            word: without_marker(&first).to_owned(),
            part: sign,
            above: kinds,
        };
        self.meanings.insert((part, offset), entry);
        Some(())
    }

    /// The meanings of a word or of its base forms, nouns first, each part's by frequency.
    fn meanings(&self, word: &str) -> Vec<Meaning> {
        let word = word.to_lowercase();
        let mut meanings = Vec::new();
        for part in 0..PARTS.len() {
            for form in self.forms(&word, part) {
                let offsets = self.index[part].get(&form).into_iter().flatten();
                meanings.extend(offsets.map(|offset| (part, *offset)));
            }
        }
        meanings
    }

    /// The word and its base forms, as far as they are known.
    fn forms(&self, word: &str, part: usize) -> Vec<String> {
        let mut forms = vec![word.to_owned()];
        match self.exceptions[part].get(word) {
            Some(bases) => forms.extend(bases.iter().cloned()),
            None => forms.extend(ENDINGS[part].iter().filter_map(|(ending, base)| {
                Some(format!("{}{base}", word.strip_suffix(ending)?))
            })),
        }
        let mut known: Vec<String> = Vec::new();
        for form in forms {
            if self.index[part].contains_key(&form) && !known.contains(&form) {
                known.push(form);
            }
        }
        known
    }

    /// How near the most frequent meanings of two words stand, from 0 to 1: the depth of what they
    /// both are over their own (Wu and Palmer 1994). `None` where a word is not known.
    #[must_use]
    pub fn similarity(&self, one: &str, other: &str) -> Option<f64> {
        let one = *self.meanings(one).first()?;
        let other = *self.meanings(other).first()?;
        Some(self.wu_palmer(one, other).unwrap_or(0.0))
    }

    fn wu_palmer(&self, one: Meaning, other: Meaning) -> Option<f64> {
        // Nouns have one root; the others get one that all trees hang from.
        let needs_root = one.0 != 0 || other.0 != 0;
        let up_one = self.distances(one);
        let up_other = self.distances(other);
        let common: Vec<Meaning> = up_one
            .keys()
            .filter(|meaning| up_other.contains_key(*meaning))
            .copied()
            .collect();
        let shallowest = |meaning: &Meaning| self.depth(*meaning, false);
        let deepest = common.iter().map(shallowest).max();
        let root_is_lowest = needs_root && deepest.is_none_or(|depth| depth == 0);
        let lowest = common
            .iter()
            .filter(|meaning| Some(shallowest(meaning)) == deepest);
        let lowest: Vec<Meaning> = lowest.copied().collect();
        let named = lowest.iter().map(|meaning| (self.name(*meaning), *meaning));
        let first = named.min();
        let root = "*ROOT*";
        let chosen = if lowest.contains(&one) {
            Some(one)
        } else {
            match first {
                // The made-up root is among the candidates, and its name comes early.
                Some((name, _)) if root_is_lowest && root < name.as_str() => None,
                Some((_, meaning)) => Some(meaning),
                None if root_is_lowest => None,
                None => return None,
            }
        };
        let (depth, to_one, to_other) = match chosen {
            Some(meaning) => (
                self.depth(meaning, true) + 1,
                self.way(&up_one, meaning)?,
                self.way(&up_other, meaning)?,
            ),
            None => {
                let above =
                    |up: &HashMap<Meaning, u32>| up.values().max().map_or(0, |most| most + 1);
                (1, above(&up_one), above(&up_other))
            }
        };
        Some(2.0 * f64::from(depth) / f64::from(to_one + to_other + 2 * depth))
    }

    /// The steps up to all that a meaning is.
    fn distances(&self, meaning: Meaning) -> HashMap<Meaning, u32> {
        let mut distances = HashMap::new();
        let mut open = VecDeque::from([(meaning, 0)]);
        while let Some((meaning, distance)) = open.pop_front() {
            if distances.contains_key(&meaning) {
                continue;
            }
            distances.insert(meaning, distance);
            let above = self.meanings.get(&meaning).map(|entry| &entry.above);
            open.extend(
                above
                    .into_iter()
                    .flatten()
                    .map(|above| (*above, distance + 1)),
            );
        }
        distances
    }

    /// The steps of the shortest way between a meaning, of which what is above is known, and one that
    /// it is: by way of a third that both are, a shorter one may lead there.
    fn way(&self, up: &HashMap<Meaning, u32>, to: Meaning) -> Option<u32> {
        let steps = self.distances(to).into_iter();
        let ways = steps.filter_map(|(meaning, down)| Some(up.get(&meaning)? + down));
        ways.min()
    }

    /// The steps of the shortest or longest way up to a root. A ring in a file ends the way.
    fn depth(&self, meaning: Meaning, longest: bool) -> u32 {
        self.depth_beyond(meaning, longest, &mut BTreeSet::new())
    }

    fn depth_beyond(&self, meaning: Meaning, longest: bool, way: &mut BTreeSet<Meaning>) -> u32 {
        let Some(entry) = self.meanings.get(&meaning) else {
            return 0;
        };
        if !way.insert(meaning) {
            return 0;
        }
        let above = entry.above.iter();
        let depths: Vec<u32> = above
            .map(|above| self.depth_beyond(*above, longest, way))
            .collect();
        way.remove(&meaning);
        let depth = if longest {
            depths.into_iter().max()
        } else {
            depths.into_iter().min()
        };
        depth.map_or(0, |depth| depth + 1)
    }

    /// A meaning's name as `dog.n.01`, by which equals are put in order.
    fn name(&self, meaning: Meaning) -> String {
        let Some(entry) = self.meanings.get(&meaning) else {
            return String::new();
        };
        let senses = self.index[meaning.0].get(&entry.word);
        let sense = senses.and_then(|senses| senses.iter().position(|offset| *offset == meaning.1));
        let Entry { word, part, .. } = entry;
        format!("{word}.{part}.{:02}", sense.map_or(0, |sense| sense + 1))
    }
}

fn part_of(sign: char) -> Option<usize> {
    let sign = if sign == 's' { 'a' } else { sign };
    PARTS.iter().position(|(_, part)| *part == sign)
}

/// An adjective without the sign of where it may stand, as in `galore(ip)`.
fn without_marker(word: &str) -> &str {
    word.split('(').next().unwrap_or(word)
}

fn read(path: &Path) -> Result<String> {
    let size = fs::metadata(path)
        .with_context(|| {
            format!(
                "cannot read {}: give the folder of WordNet's database files",
                path.display()
            )
        })?
        .len();
    if size > MAX_FILE_BYTES {
        bail!(
            "{} has {size} bytes: no file of WordNet is as long",
            path.display()
        );
    }
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three nouns below one root, in the forms of the database.
    fn small() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        let data = "  1 A licence stands here.\n\
            00000001 03 n 01 entity 0 000 | what is\n\
            00000002 03 n 02 animal 0 beast 0 001 @ 00000001 n 0000 | it lives\n\
            00000003 03 n 01 dog 0 001 @ 00000002 n 0000 | it barks\n\
            00000004 03 n 01 cat 0 002 @ 00000002 n 0000 + 00000003 n 0101 | it does not\n";
        let index = "entity n 1 0 1 0 00000001\nanimal n 1 1 @ 1 0 00000002\n\
            dog n 1 1 @ 1 0 00000003\ncat n 1 1 @ 1 0 00000004\n";
        for (name, text) in [
            ("data.noun", data),
            ("index.noun", index),
            ("noun.exc", "kine cow\n"),
        ] {
            fs::write(folder.path().join(name), text).unwrap();
        }
        for part in ["verb", "adj", "adv"] {
            for name in [
                format!("data.{part}"),
                format!("index.{part}"),
                format!("{part}.exc"),
            ] {
                fs::write(folder.path().join(name), "").unwrap();
            }
        }
        folder
    }

    #[test]
    fn nearness_is_the_depth_of_what_both_are() {
        let wordnet = WordNet::read(small().path()).unwrap();
        // Both are animals, two deep; each is three deep.
        assert_eq!(wordnet.similarity("dogs", "Cat"), Some(2.0 * 2.0 / 6.0));
        assert_eq!(wordnet.similarity("dog", "entity"), Some(2.0 / 4.0));
        assert_eq!(wordnet.similarity("dog", "unknown"), None);
    }

    #[test]
    fn a_line_of_another_form_is_named() {
        let folder = small();
        fs::write(folder.path().join("index.noun"), "dog n 9 1 @\n").unwrap();
        let message = format!("{:#}", WordNet::read(folder.path()).err().unwrap());
        assert!(message.contains("index.noun, line 1"), "{message}");
    }
}
