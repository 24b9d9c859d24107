//! Answers to a benchmark, judged by its own measure.

use std::path::Path;

use anyhow::{Context, Result, bail};

use super::benchmark::Judged;
use super::cider::{Captioned, cider};
use super::example::{Example, Truth};
use super::ranking::{Depth, Segment, mwap, ndcg, roc_auc};
use super::run::Answer;
use super::vqa::{VqaRules, vqa_accuracy, vqa_form};
use super::wordnet::WordNet;
use super::wups::wups;

/// The measure of answers, one to each question, in the order of the questions.
///
/// # Errors
///
/// If a question has no truth of the kind that is measured, or no measure can be had of such answers.
pub fn judge(
    judged: Judged,
    queries: &[Example],
    answers: &[Answer],
    wordnet: Option<&Path>,
) -> Result<f64> {
    let pairs = || queries.iter().zip(answers);
    match judged {
        Judged::Cider => {
            let captioned = pairs().map(|(query, answer)| {
                Ok(Captioned {
                    caption: words(answer)?.into(),
                    references: texts(query)?.iter().map(Into::into).collect(),
                })
            });
            let scores = cider(&captioned.collect::<Result<Vec<_>>>()?)?;
            Ok(scores.iter().sum::<f64>() / scores.len() as f64)
        }
        Judged::Vqa => percent(pairs().map(|(query, answer)| match &query.truth {
            Truth::People(people) => Ok(vqa_accuracy(words(answer)?, people, VqaRules::Official)),
            _ => no_truth(query),
        })),
        Judged::Exact => percent(pairs().map(|(query, answer)| {
            let said = words(answer)?.trim().to_lowercase();
            let is_right = texts(query)?
                .iter()
                .any(|text| text.trim().to_lowercase() == said);
            Ok(f64::from(u8::from(is_right)))
        })),
        Judged::TwoOfFive => percent(pairs().map(|(query, answer)| {
            let said = vqa_form(words(answer)?).into_owned();
            let same = texts(query)?.iter().filter(|text| *vqa_form(text) == said);
            Ok((same.count() as f64 / 2.0).min(1.0))
        })),
        Judged::Wups => {
            let folder = wordnet.context("WUPS needs the folder of WordNet's files")?;
            let wordnet = WordNet::read(folder)?;
            percent(pairs().map(|(query, answer)| {
                let said = words(answer)?.to_lowercase();
                let scores = texts(query)?
                    .iter()
                    .map(|text| wups(&wordnet, &said, &text.to_lowercase(), 0.0));
                Ok(scores.fold(0.0, f64::max))
            }))
        }
        Judged::Top1 => percent(pairs().map(|(query, answer)| match query.truth {
            Truth::Choice(right) => {
                let best = likeliest(scores(answer)?);
                Ok(f64::from(u8::from(best == Some(right))))
            }
            _ => no_truth(query),
        })),
        Judged::RocAuc => {
            let mut labels = Vec::new();
            let mut margins = Vec::new();
            for (query, answer) in pairs() {
                let (Truth::Label(label), [no, yes]) = (&query.truth, scores(answer)?) else {
                    return no_truth(query);
                };
                labels.push(*label);
                margins.push(yes - no);
            }
            Ok(100.0 * roc_auc(&labels, &margins)?)
        }
        Judged::Ndcg => percent(pairs().map(|(query, answer)| match &query.truth {
            Truth::Relevance(relevance) => ndcg(relevance, scores(answer)?, Depth::Relevant),
            _ => no_truth(query),
        })),
        Judged::Mwap => {
            let segments = queries.iter().map(|query| match &query.truth {
                Truth::Segment(segment) => Ok(segment.clone()),
                _ => no_truth(query),
            });
            let segments: Vec<Segment> = segments.collect::<Result<_>>()?;
            let rows = answers.iter().map(|answer| Ok(scores(answer)?.to_vec()));
            Ok(100.0 * mwap(&segments, &rows.collect::<Result<Vec<_>>>()?)?)
        }
    }
}

fn percent(scores: impl Iterator<Item = Result<f64>>) -> Result<f64> {
    let scores: Vec<f64> = scores.collect::<Result<_>>()?;
    Ok(100.0 * scores.iter().sum::<f64>() / scores.len() as f64)
}

/// The first of the likeliest.
fn likeliest(scores: &[f64]) -> Option<usize> {
    let places = scores.iter().enumerate();
    let best = places.reduce(|best, next| if next.1 > best.1 { next } else { best });
    best.map(|(place, _)| place)
}

fn words(answer: &Answer) -> Result<&str> {
    let words = answer.prediction.as_deref();
    words.with_context(|| format!("{} has no words", answer.id))
}

fn scores(answer: &Answer) -> Result<&[f64]> {
    let scores = answer.scores.as_deref();
    scores.with_context(|| format!("{} has no scores", answer.id))
}

fn texts(query: &Example) -> Result<&[String]> {
    match &query.truth {
        Truth::Texts(texts) => Ok(texts),
        _ => no_truth(query),
    }
}

fn no_truth<T>(query: &Example) -> Result<T> {
    bail!("{} has no truth of the kind that is measured", query.id)
}
