//! Files of answers, judged against files of references.

use std::borrow::Cow;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};

use super::cider::{Captioned, cider};
use super::json::Json;
use super::keyed::{Groups, Id, Keyed, read_text};
use super::ranking::{Depth, Segment, mwap, ndcg, roc_auc};
use super::vqa::{PersonsAnswer, VqaRules, vqa_accuracy};
use super::wordnet::WordNet;
use super::wups::wups;

/// What is measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Metric {
    /// CIDEr-D of captions, as `pycocoevalcap` gives it
    Cider,
    /// Accuracy of short answers, as the VQA challenge counts it, in percent
    Vqa,
    /// Share of answers that are the reference, letter for letter
    Top1,
    /// Area under the curve of true against false positives
    RocAuc,
    /// Relevance gathered by a ranking, as the VisDial challenge counts it
    Ndcg,
    /// Nearness of words in WordNet, as NExT-QA counts it
    Wups,
    /// RareAct's mean weighted average precision
    Mwap,
}

/// How to measure.
#[derive(Debug, Clone)]
pub struct ScoreOptions {
    /// What is measured.
    pub metric: Metric,
    /// What the model said.
    pub predictions: PathBuf,
    /// What is right.
    pub references: PathBuf,
    /// How answers are compared under [`Metric::Vqa`].
    pub vqa_rules: VqaRules,
    /// How far down rankings [`Metric::Ndcg`] looks.
    pub depth: Depth,
    /// Folder of WordNet's files, for [`Metric::Wups`].
    pub wordnet: Option<PathBuf>,
    /// Nearness below which words count a tenth under [`Metric::Wups`].
    pub threshold: f64,
}

/// A measure of all examples, and of each where there is one.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// The measure.
    pub score: f64,
    /// The examples that count.
    pub count: usize,
    /// Ids with the measure of each.
    pub examples: Vec<(String, f64)>,
    /// References that no prediction was made for, and that do not count.
    pub without_prediction: usize,
}

/// Measures.
///
/// # Errors
///
/// If a file cannot be read, an entry of it has another form, or a prediction has no reference; the
/// message names file and id.
pub fn score(options: &ScoreOptions) -> Result<Score> {
    if options.metric == Metric::Mwap {
        return score_mwap(&options.predictions, &options.references);
    }
    let predictions = read_text(&options.predictions)?;
    let references = read_text(&options.references)?;
    let predictions = Keyed::parse(&options.predictions, &predictions)?.flat();
    let references = Keyed::parse(&options.references, &references)?.flat();
    let groups = references.grouped();
    score_pairs(options, &Pairs::new(&predictions, &references, &groups)?)
}

fn score_pairs(options: &ScoreOptions, pairs: &Pairs<'_>) -> Result<Score> {
    match options.metric {
        Metric::Mwap => bail!("this measure has no pairs of answers and references"),
        Metric::Wups => {
            let Some(folder) = &options.wordnet else {
                bail!(
                    "WUPS needs WordNet: give --wordnet the folder of its database files, like \
                     /usr/share/wordnet of the Debian package wordnet-base"
                );
            };
            let wordnet = WordNet::read(folder)?;
            pairs.mean(|prediction, references| {
                let answer = text(prediction)?;
                let truths = texts(references)?;
                let scores = truths
                    .iter()
                    .map(|truth| wups(&wordnet, &answer, truth, options.threshold));
                Ok(scores.fold(0.0, f64::max))
            })
        }
        Metric::Cider => {
            let images = pairs.map(|prediction, references| {
                Ok(Captioned {
                    caption: text(prediction)?,
                    references: texts(references)?,
                })
            })?;
            warn_of_line_breaks(&images);
            let scores = cider(&images)?;
            let mean = mean(&scores);
            Ok(pairs.scored(mean, scores))
        }
        Metric::Vqa => pairs.mean(|prediction, references| {
            let people = people(references)?;
            let accuracy = vqa_accuracy(&text(prediction)?, &people, options.vqa_rules);
            Ok(100.0 * accuracy)
        }),
        Metric::Top1 => pairs.mean(|prediction, references| {
            let truths = texts(references)?;
            Ok(f64::from(u8::from(truths.contains(&text(prediction)?))))
        }),
        Metric::RocAuc => {
            let read = pairs.map(|prediction, references| {
                let [reference] = references else {
                    bail!("there are {} labels", references.len());
                };
                let score = number(prediction, &["score", "proba", "prob"])?;
                Ok((label(reference)?, score))
            })?;
            let (labels, scores): (Vec<bool>, Vec<f64>) = read.into_iter().unzip();
            let area = roc_auc(&labels, &scores)?;
            Ok(pairs.scored(area, Vec::new()))
        }
        Metric::Ndcg => pairs.mean(|prediction, references| {
            let [reference] = references else {
                bail!("there are {} lists of relevance", references.len());
            };
            let relevance = numbers(reference, &["gt_relevance", "relevance"])?;
            let scores = match prediction.get("ranks") {
                // The first rank is 1 and the best.
                Some(_) => numbers(prediction, &["ranks"])?
                    .iter()
                    .map(|rank| -rank)
                    .collect(),
                None => numbers(prediction, &["scores", "score"])?,
            };
            ndcg(&relevance, &scores, options.depth)
        }),
    }
}

/// Predictions beside their references, in the order of the references.
struct Pairs<'k> {
    files: [&'k Path; 2],
    pairs: Vec<Pair<'k>>,
    without_prediction: usize,
}

struct Pair<'k> {
    id: &'k Id<'k>,
    prediction: &'k Json<'k>,
    references: &'k [&'k Json<'k>],
}

impl<'k> Pairs<'k> {
    fn new(
        predictions: &'k Keyed<'k>,
        references: &'k Keyed<'k>,
        groups: &'k Groups<'k, 'k>,
    ) -> Result<Self> {
        let mut found = predictions.single()?;
        let mut without_prediction = 0;
        let mut pairs = Vec::with_capacity(found.len());
        for (id, references) in groups.iter() {
            match found.remove(id) {
                Some(prediction) => pairs.push(Pair {
                    id,
                    prediction,
                    references,
                }),
                None => without_prediction += 1,
            }
        }
        let files = [predictions.path(), references.path()];
        let mut all = predictions.entries().iter();
        if let Some((stray, _)) = all.find(|(id, _)| found.contains_key(id)) {
            let [predictions, references] = files.map(Path::display);
            bail!("{predictions} has {stray}, which {references} has no reference for");
        }
        ensure!(
            !pairs.is_empty(),
            "{} has no predictions",
            files[0].display()
        );
        Ok(Self {
            files,
            pairs,
            without_prediction,
        })
    }

    /// Something of each prediction and its references.
    fn map<T>(&self, of: impl Fn(&Json<'k>, &[&Json<'k>]) -> Result<T>) -> Result<Vec<T>> {
        let all = self.pairs.iter();
        all.map(|pair| {
            of(pair.prediction, pair.references).with_context(|| {
                let [predictions, references] = self.files.map(Path::display);
                format!("{} in {predictions} and {references}", pair.id)
            })
        })
        .collect()
    }

    fn mean(&self, of: impl Fn(&Json<'k>, &[&Json<'k>]) -> Result<f64>) -> Result<Score> {
        let scores = self.map(of)?;
        let mean = mean(&scores);
        Ok(self.scored(mean, scores))
    }

    fn scored(&self, score: f64, scores: Vec<f64>) -> Score {
        let ids = self.pairs.iter().map(|pair| pair.id.to_string());
        Score {
            score,
            count: self.pairs.len(),
            examples: ids.zip(scores).collect(),
            without_prediction: self.without_prediction,
        }
    }
}

fn mean(scores: &[f64]) -> f64 {
    scores.iter().sum::<f64>() / scores.len() as f64
}

/// The names that words of an entry go by.
const TEXTS: [&str; 6] = [
    "caption",
    "answer",
    "prediction",
    "label",
    "text",
    "pred_answer",
];
/// The names that a list of references goes by.
const LISTS: [&str; 5] = ["references", "captions", "answers", "enCap", "labels"];

fn text<'t>(value: &Json<'t>) -> Result<Cow<'t, str>> {
    if let Some(text) = value.words() {
        return Ok(text);
    }
    if let Json::List(list) = value
        && let [only] = list.as_slice()
    {
        return text(only);
    }
    let named = TEXTS.iter().find_map(|name| value.get(name)?.words());
    named.with_context(|| format!("{value} has no words; name them `{}`", TEXTS.join("`, `")))
}

/// The references in an entry: those of its list, or itself.
fn listed<'v, 't>(value: &'v Json<'t>) -> &'v [Json<'t>] {
    let named = || LISTS.iter().find_map(|name| value.get(name)?.list());
    let list = value.list().or_else(named);
    list.unwrap_or_else(|| std::slice::from_ref(value))
}

fn texts<'t>(values: &[&Json<'t>]) -> Result<Vec<Cow<'t, str>>> {
    let all = values.iter().flat_map(|value| listed(value));
    let found: Vec<Cow<'t, str>> = all.map(text).collect::<Result<_>>()?;
    ensure!(!found.is_empty(), "there are no references");
    Ok(found)
}

/// What people answered.
pub(crate) fn people<'t>(values: &[&Json<'t>]) -> Result<Vec<PersonsAnswer<'t>>> {
    let all: Vec<&Json<'t>> = values.iter().flat_map(|value| listed(value)).collect();
    let mut found: Vec<PersonsAnswer<'t>> = Vec::with_capacity(all.len());
    for (number, value) in all.iter().enumerate() {
        let alike = all[..number]
            .iter()
            .position(|other| is_alike(other, value));
        found.push(PersonsAnswer {
            answer: text(value)?,
            kind: alike.map_or(number, |first| found[first].kind),
        });
    }
    ensure!(!found.is_empty(), "there are no answers of people");
    Ok(found)
}

/// Whether all but the answer is the same. A bare list says no more than the answers; its entries
/// are people all the same, and not alike.
fn is_alike(one: &Json<'_>, other: &Json<'_>) -> bool {
    let (Json::Object(one), Json::Object(other)) = (one, other) else {
        return false;
    };
    let mut rest = one.iter().filter(|(name, _)| name != "answer");
    one.len() == other.len()
        && rest.all(|(name, value)| {
            other
                .iter()
                .any(|(other_name, other_value)| other_name == name && other_value == value)
        })
}

fn number(value: &Json<'_>, names: &[&str]) -> Result<f64> {
    let named = || names.iter().find_map(|name| value.get(name)?.number());
    let number = value.number().or_else(named);
    number.with_context(|| format!("{value} has no number; name it `{}`", names.join("`, `")))
}

fn numbers(value: &Json<'_>, names: &[&str]) -> Result<Vec<f64>> {
    let named = || names.iter().find_map(|name| value.get(name)?.list());
    let list = value.list().or_else(named);
    let numbers = list.and_then(|list| list.iter().map(Json::number).collect());
    numbers.with_context(|| {
        format!(
            "there is no list of numbers; name it `{}`",
            names.join("`, `")
        )
    })
}

fn label(value: &Json<'_>) -> Result<bool> {
    match value.get("label").unwrap_or(value) {
        Json::Bool(label) => Ok(*label),
        Json::Number(label) if label.as_f64() == Some(0.0) => Ok(false),
        Json::Number(label) if label.as_f64() == Some(1.0) => Ok(true),
        _ => bail!("{value} has no `label` of 0 or 1"),
    }
}

/// The original counts any line break as the end of a caption.
fn warn_of_line_breaks(images: &[Captioned<'_>]) {
    let breaks = |text: &Cow<'_, str>| {
        text.contains(['\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'])
    };
    let is_broken =
        |image: &Captioned<'_>| breaks(&image.caption) || image.references.iter().any(breaks);
    let count = images.iter().filter(|image| is_broken(image)).count();
    if count > 0 {
        tracing::warn!(
            "captions of {count} images have line breaks inside; the official tokenizer takes each \
             for the end of a caption, and so do we: replace them with spaces"
        );
    }
}

fn score_mwap(predictions: &Path, references: &Path) -> Result<Score> {
    let segments = segments(references)?;
    let text = read_text(predictions)?;
    let scores: Vec<Vec<f64>> = serde_json::from_str(&text).with_context(|| {
        format!(
            "{} is no JSON list with a list of scores for each row of {}",
            predictions.display(),
            references.display()
        )
    })?;
    Ok(Score {
        score: mwap(&segments, &scores)?,
        count: segments.len(),
        examples: Vec::new(),
        without_prediction: 0,
    })
}

/// Reads RareAct's `rareact.csv`.
///
/// # Errors
///
/// If it cannot be read, or a row has another form.
pub(crate) fn segments(path: &Path) -> Result<Vec<Segment>> {
    #[derive(serde::Deserialize)]
    struct Row {
        video_id: String,
        class_id: usize,
        verb: String,
        noun: String,
        annotation: u8,
    }
    let name = path.display();
    let mut reader = csv::Reader::from_path(path).with_context(|| format!("cannot read {name}"))?;
    let rows = reader.deserialize().enumerate();
    rows.map(|(number, row)| {
        let row: Row = row.with_context(|| format!("{name}, row {}", number + 1))?;
        Ok(Segment {
            video: row.video_id,
            class: row.class_id,
            verb: row.verb,
            noun: row.noun,
            annotation: row.annotation,
        })
    })
    .collect()
}
