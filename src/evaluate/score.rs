//! Files of answers, judged against files of references.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Map, Value};

use super::cider::{Captioned, cider};
use super::keyed::{Keyed, read_text, text_of};
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
    match options.metric {
        Metric::Mwap => score_mwap(&options.predictions, &options.references),
        Metric::Wups => {
            let Some(folder) = &options.wordnet else {
                bail!(
                    "WUPS needs WordNet: give --wordnet the folder of its database files, like \
                     /usr/share/wordnet of the Debian package wordnet-base"
                );
            };
            let wordnet = WordNet::read(folder)?;
            let pairs = Pairs::read(options)?;
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
            let pairs = Pairs::read(options)?;
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
        Metric::Vqa => {
            let pairs = Pairs::read(options)?;
            let scores = pairs.map(|prediction, references| {
                let people = people(references)?;
                let accuracy = vqa_accuracy(&text(prediction)?, &people, options.vqa_rules);
                Ok(100.0 * accuracy)
            })?;
            let mean = mean(&scores);
            Ok(pairs.scored(mean, scores))
        }
        Metric::Top1 => Pairs::read(options)?.mean(|prediction, references| {
            let truths = texts(references)?;
            Ok(f64::from(u8::from(truths.contains(&text(prediction)?))))
        }),
        Metric::RocAuc => {
            let pairs = Pairs::read(options)?;
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
        Metric::Ndcg => Pairs::read(options)?.mean(|prediction, references| {
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

/// Predictions beside their references.
struct Pairs {
    predictions: Keyed,
    references: Keyed,
    without_prediction: usize,
    ids: Vec<String>,
}

impl Pairs {
    fn read(options: &ScoreOptions) -> Result<Self> {
        let predictions = Keyed::read(&options.predictions)?;
        let references = Keyed::read(&options.references)?;
        let (predictions, references) = (predictions.flat(), references.flat());
        let found = predictions.single()?;
        let groups = references.grouped();
        let ids: Vec<String> = groups
            .iter()
            .filter(|(id, _)| found.contains_key(id))
            .map(|(id, _)| (*id).to_owned())
            .collect();
        if ids.len() < found.len() {
            let known: std::collections::HashSet<&str> = groups.iter().map(|(id, _)| *id).collect();
            let stray = predictions
                .entries()
                .iter()
                .find(|(id, _)| !known.contains(id.as_str()));
            bail!(
                "{} has {}, which {} has no reference for",
                predictions.path().display(),
                stray.map_or("", |(id, _)| id),
                references.path().display()
            );
        }
        ensure!(
            !ids.is_empty(),
            "{} has no predictions",
            predictions.path().display()
        );
        let without_prediction = groups.len() - ids.len();
        Ok(Self {
            predictions,
            references,
            without_prediction,
            ids,
        })
    }

    /// Something of each prediction and its references, in the order of the references.
    fn map<T>(&self, of: impl Fn(&Value, &[&Value]) -> Result<T>) -> Result<Vec<T>> {
        let found = self.predictions.single()?;
        let mut results = Vec::with_capacity(self.ids.len());
        for (id, references) in self.references.grouped() {
            if let Some(prediction) = found.get(id) {
                let result = of(prediction, &references);
                results.push(result.with_context(|| {
                    let [predictions, references] = [&self.predictions, &self.references];
                    let (predictions, references) = (predictions.path(), references.path());
                    format!(
                        "{id} in {} and {}",
                        predictions.display(),
                        references.display()
                    )
                })?);
            }
        }
        Ok(results)
    }

    fn mean(&self, of: impl Fn(&Value, &[&Value]) -> Result<f64>) -> Result<Score> {
        let scores = self.map(of)?;
        let mean = mean(&scores);
        Ok(self.scored(mean, scores))
    }

    fn scored(&self, score: f64, scores: Vec<f64>) -> Score {
        Score {
            score,
            count: self.ids.len(),
            examples: self.ids.iter().cloned().zip(scores).collect(),
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

fn text(value: &Value) -> Result<String> {
    if let Some(text) = text_of(value) {
        return Ok(text);
    }
    if let Value::Array(list) = value
        && let [only] = list.as_slice()
    {
        return text(only);
    }
    let named = TEXTS.iter().find_map(|name| text_of(value.get(name)?));
    named.with_context(|| format!("{value} has no words; name them `{}`", TEXTS.join("`, `")))
}

fn texts(values: &[&Value]) -> Result<Vec<String>> {
    let mut found = Vec::new();
    for value in values {
        let list = match value {
            Value::Array(list) => Some(list),
            other => LISTS.iter().find_map(|name| other.get(name)?.as_array()),
        };
        match list {
            Some(list) => {
                for value in list {
                    found.push(text(value)?);
                }
            }
            None => found.push(text(value)?),
        }
    }
    ensure!(!found.is_empty(), "there are no references");
    Ok(found)
}

/// What people answered.
pub(crate) fn people(values: &[&Value]) -> Result<Vec<PersonsAnswer>> {
    let mut found = Vec::new();
    for value in values {
        let list = match value {
            Value::Array(list) => Some(list),
            other => LISTS.iter().find_map(|name| other.get(name)?.as_array()),
        };
        let only = std::slice::from_ref(*value);
        for value in list.map_or(only, Vec::as_slice) {
            let mut rest = match value {
                Value::Object(members) => members.clone(),
                _ => Map::new(),
            };
            let answer = text(value)?;
            rest.remove("answer");
            // A bare list has no numbers; its entries are people all the same.
            if !value.is_object() {
                rest.insert("answer_id".to_owned(), found.len().into());
            }
            found.push(PersonsAnswer { answer, rest });
        }
    }
    ensure!(!found.is_empty(), "there are no answers of people");
    Ok(found)
}

fn number(value: &Value, names: &[&str]) -> Result<f64> {
    let number = value
        .as_f64()
        .or_else(|| names.iter().find_map(|name| value.get(name)?.as_f64()));
    number.with_context(|| format!("{value} has no number; name it `{}`", names.join("`, `")))
}

fn numbers(value: &Value, names: &[&str]) -> Result<Vec<f64>> {
    let list = value
        .as_array()
        .or_else(|| names.iter().find_map(|name| value.get(name)?.as_array()));
    let numbers = list.and_then(|list| list.iter().map(Value::as_f64).collect());
    numbers.with_context(|| {
        format!(
            "there is no list of numbers; name it `{}`",
            names.join("`, `")
        )
    })
}

fn label(value: &Value) -> Result<bool> {
    let label = value.get("label").unwrap_or(value);
    match (label.as_bool(), label.as_f64()) {
        (Some(label), _) => Ok(label),
        (_, Some(0.0)) => Ok(false),
        (_, Some(1.0)) => Ok(true),
        _ => bail!("{value} has no `label` of 0 or 1"),
    }
}

/// The original counts any line break as the end of a caption.
fn warn_of_line_breaks(images: &[Captioned]) {
    let breaks =
        |text: &String| text.contains(['\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}']);
    let is_broken =
        |image: &Captioned| breaks(&image.caption) || image.references.iter().any(breaks);
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
