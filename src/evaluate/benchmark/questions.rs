//! Benchmarks in which questions are answered in free words.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::Value;

use super::files::{coco_name, csv, json, picture, video};
use crate::evaluate::example::{Example, Examples, Question, Truth};
use crate::evaluate::keyed::read_text;
use crate::evaluate::score::people;
use crate::evaluate::vqa::PersonsAnswer;
use crate::prompt::Piece;

fn example(id: String, medium: Piece, question: &str, answer: String, truth: Truth) -> Example {
    let question = question.trim();
    let mark = if question.ends_with('?') { "" } else { "?" };
    Example {
        id,
        medium,
        question: Question::Words(format!("{question}{mark}")),
        answer,
        choices: Vec::new(),
        truth,
    }
}

/// What most people answered, the first of equals.
fn most_frequent<'a>(answers: impl Iterator<Item = &'a str>) -> String {
    let answers: Vec<&str> = answers.collect();
    let mut best = (0, "");
    for answer in &answers {
        let count = answers.iter().filter(|other| *other == answer).count();
        if count > best.0 {
            best = (count, answer);
        }
    }
    best.1.to_owned()
}

fn words<'a>(people: &'a [PersonsAnswer<'_>]) -> impl Iterator<Item = &'a str> {
    people.iter().map(|person| person.answer.as_ref())
}

#[derive(Deserialize)]
struct VqaQuestions {
    questions: Vec<VqaQuestion>,
}

#[derive(Deserialize)]
struct VqaQuestion {
    question_id: u64,
    image_id: u64,
    question: String,
}

#[derive(Deserialize)]
struct VqaAnnotations {
    annotations: Vec<VqaAnnotation>,
}

#[derive(Deserialize)]
struct VqaAnnotation {
    question_id: u64,
    answers: Value,
}

/// `VQAv2`.
pub(super) fn vqav2(folder: &Path) -> Result<Examples> {
    of_coco(folder, "v2_")
}

/// OK-VQA.
pub(super) fn okvqa(folder: &Path) -> Result<Examples> {
    of_coco(folder, "")
}

fn of_coco(folder: &Path, prefix: &str) -> Result<Examples> {
    let split = |split: &str| -> Result<Vec<Example>> {
        let name = format!("{prefix}OpenEnded_mscoco_{split}_questions.json");
        let asked: VqaQuestions = json(&folder.join(name))?;
        let path = folder.join(format!("{prefix}mscoco_{split}_annotations.json"));
        let found: VqaAnnotations = json(&path)?;
        let answers = found.annotations.into_iter();
        let mut answers: HashMap<u64, Value> =
            answers.map(|row| (row.question_id, row.answers)).collect();
        let mut examples = Vec::with_capacity(asked.questions.len());
        for row in asked.questions {
            let id = row.question_id;
            let answers = answers.remove(&id);
            let answers =
                answers.with_context(|| format!("{} has no answers to {id}", path.display()))?;
            let people = people(&[&answers.into()])
                .with_context(|| format!("{}, question {id}", path.display()))?;
            let medium = picture(folder.join(coco_name(split, row.image_id)));
            let answer = most_frequent(words(&people));
            let truth = Truth::People(people);
            examples.push(example(
                id.to_string(),
                medium,
                &row.question,
                answer,
                truth,
            ));
        }
        Ok(examples)
    };
    Ok(Examples {
        supports: split("train2014")?,
        queries: split("val2014")?,
        classes: Vec::new(),
    })
}

#[derive(Deserialize)]
struct TextVqa {
    data: Vec<TextVqaQuestion>,
}

#[derive(Deserialize)]
struct TextVqaQuestion {
    question_id: u64,
    image_id: String,
    question: String,
    answers: Value,
}

/// `TextVQA`, whose validation pictures are among those for training.
pub(super) fn textvqa(folder: &Path) -> Result<Examples> {
    let split = |name: &str| -> Result<Vec<Example>> {
        let path = folder.join(name);
        let found: TextVqa = json(&path)?;
        let rows = found.data.into_iter().map(|row| {
            let people = people(&[&row.answers.into()])
                .with_context(|| format!("{}, question {}", path.display(), row.question_id))?;
            let file = folder
                .join("train_images")
                .join(format!("{}.jpg", row.image_id));
            let answer = most_frequent(words(&people));
            let id = row.question_id.to_string();
            Ok(example(
                id,
                picture(file),
                &row.question,
                answer,
                Truth::People(people),
            ))
        });
        rows.collect()
    };
    Ok(Examples {
        supports: split("TextVQA_0.5.1_train.json")?,
        queries: split("TextVQA_0.5.1_val.json")?,
        classes: Vec::new(),
    })
}

#[derive(Deserialize)]
struct VizWizQuestion {
    image: String,
    question: String,
    answers: Value,
}

/// `VizWiz`.
pub(super) fn vizwiz(folder: &Path) -> Result<Examples> {
    let split = |split: &str| -> Result<Vec<Example>> {
        let path = folder.join(format!("{split}.json"));
        let found: Vec<VizWizQuestion> = json(&path)?;
        let rows = found.into_iter().map(|row| {
            let people = people(&[&row.answers.into()])
                .with_context(|| format!("{}, {}", path.display(), row.image))?;
            let medium = picture(folder.join(split).join(&row.image));
            let answer = most_frequent(words(&people));
            Ok(example(
                row.image,
                medium,
                &row.question,
                answer,
                Truth::People(people),
            ))
        });
        rows.collect()
    };
    Ok(Examples {
        supports: split("train")?,
        queries: split("val")?,
        classes: Vec::new(),
    })
}

#[derive(Deserialize)]
struct VideoQuestion {
    id: u64,
    video_id: u64,
    question: String,
    answer: String,
}

/// MSVD-QA; `youtube_mapping.txt` tells which clip `vid7` is.
pub(super) fn msvdqa(folder: &Path) -> Result<Examples> {
    let path = folder.join("youtube_mapping.txt");
    let text = read_text(&path)?;
    let names: HashMap<&str, &str> = text
        .lines()
        .filter_map(|line| line.trim().rsplit_once(' '))
        .map(|(name, number)| (number, name))
        .collect();
    video_questions(folder, |number| {
        let name = names.get(format!("vid{number}").as_str());
        let name = name.with_context(|| format!("{} has no vid{number}", path.display()))?;
        Ok(format!("YouTubeClips/{name}.avi"))
    })
}

/// MSRVTT-QA.
pub(super) fn msrvttqa(folder: &Path) -> Result<Examples> {
    video_questions(folder, |number| Ok(format!("video/video{number}.mp4")))
}

fn video_questions(folder: &Path, file: impl Fn(u64) -> Result<String>) -> Result<Examples> {
    let split = |name: &str| -> Result<Vec<Example>> {
        let found: Vec<VideoQuestion> = json(&folder.join(name))?;
        let rows = found.into_iter().map(|row| {
            let medium = video(folder.join(file(row.video_id)?), None);
            let truth = Truth::Texts(vec![row.answer.clone()]);
            let id = row.id.to_string();
            Ok(example(id, medium, &row.question, row.answer, truth))
        });
        rows.collect()
    };
    Ok(Examples {
        supports: split("train_qa.json")?,
        queries: split("test_qa.json")?,
        classes: Vec::new(),
    })
}

#[derive(Deserialize)]
struct IvqaQuestion {
    video_id: String,
    start: f64,
    end: f64,
    question: String,
    answer1: String,
    answer2: String,
    answer3: String,
    answer4: String,
    answer5: String,
}

/// iVQA.
pub(super) fn ivqa(folder: &Path) -> Result<Examples> {
    let split = |name: &str| -> Result<Vec<Example>> {
        let found: Vec<IvqaQuestion> = csv(&folder.join(name))?;
        let rows = found.into_iter().enumerate().map(|(number, row)| {
            let file = folder.join("videos").join(format!("{}.mp4", row.video_id));
            let medium = video(file, Some((row.start, row.end)));
            let answers = [
                row.answer1,
                row.answer2,
                row.answer3,
                row.answer4,
                row.answer5,
            ];
            let answer = most_frequent(answers.iter().map(String::as_str));
            let id = format!("{}/{number}", row.video_id);
            example(
                id,
                medium,
                &row.question,
                answer,
                Truth::Texts(answers.to_vec()),
            )
        });
        Ok(rows.collect())
    };
    Ok(Examples {
        supports: split("train.csv")?,
        queries: split("test.csv")?,
        classes: Vec::new(),
    })
}

#[derive(Deserialize)]
struct NextQuestion {
    video: String,
    question: String,
    answer: String,
    qid: String,
}

/// NExT-QA with open answers; `add_reference_answer_test.json` adds a second one where it is there.
pub(super) fn nextqa(folder: &Path) -> Result<Examples> {
    let names: HashMap<String, String> = json(&folder.join("map_vid_vidorID.json"))?;
    let more = folder.join("add_reference_answer_test.json");
    let more: HashMap<String, HashMap<String, Value>> = if more.exists() {
        json(&more)?
    } else {
        HashMap::new()
    };
    let split = |name: &str| -> Result<Vec<Example>> {
        let path = folder.join(name);
        let found: Vec<NextQuestion> = csv(&path)?;
        let rows = found.into_iter().map(|row| {
            let file = names.get(&row.video).with_context(|| {
                format!(
                    "{}: map_vid_vidorID.json has no {}",
                    path.display(),
                    row.video
                )
            })?;
            let medium = video(folder.join("videos").join(format!("{file}.mp4")), None);
            let mut answers = vec![row.answer.clone()];
            let second = more
                .get(&row.video)
                .and_then(|answers| answers.get(&row.qid));
            answers.extend(second.and_then(Value::as_str).map(str::to_owned));
            let id = format!("{}/{}", row.video, row.qid);
            Ok(example(
                id,
                medium,
                &row.question,
                row.answer,
                Truth::Texts(answers),
            ))
        });
        rows.collect()
    };
    Ok(Examples {
        supports: split("train.csv")?,
        queries: split("test.csv")?,
        classes: Vec::new(),
    })
}
