//! Benchmarks in which the likeliest of some candidates is the answer.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use super::files::{coco_name, csv, json, json_lines, picture, video};
use crate::evaluate::example::{Example, Examples, Question, Truth};
use crate::evaluate::keyed::read_text;
use crate::evaluate::ranking::Segment;

#[derive(Deserialize)]
struct StarQuestion {
    question_id: String,
    question: String,
    video_id: String,
    start: f64,
    end: f64,
    answer: String,
    choices: Vec<StarChoice>,
}

#[derive(Deserialize)]
struct StarChoice {
    choice: String,
}

/// STAR, each question with its four choices.
pub(super) fn star(folder: &Path) -> Result<Examples> {
    let split = |name: &str| -> Result<Vec<Example>> {
        let path = folder.join(name);
        let found: Vec<StarQuestion> = json(&path)?;
        let rows = found.into_iter().map(|row| {
            let choices: Vec<String> = row.choices.into_iter().map(|one| one.choice).collect();
            let right = choices.iter().position(|choice| *choice == row.answer);
            let right = right.with_context(|| {
                format!(
                    "{}, {}: the answer is none of the choices",
                    path.display(),
                    row.question_id
                )
            })?;
            let file = folder
                .join("Charades_v1_480")
                .join(format!("{}.mp4", row.video_id));
            Ok(Example {
                id: row.question_id,
                medium: video(file, Some((row.start, row.end))),
                question: Question::Words(row.question),
                answer: row.answer,
                choices,
                truth: Truth::Choice(right),
            })
        });
        rows.collect()
    };
    Ok(Examples {
        supports: split("STAR_train.json")?,
        queries: split("STAR_val.json")?,
        classes: Vec::new(),
    })
}

#[derive(Deserialize)]
struct VisDial {
    data: VisDialData,
}

#[derive(Deserialize)]
struct VisDialData {
    questions: Vec<String>,
    answers: Vec<String>,
    dialogs: Vec<Dialog>,
}

#[derive(Deserialize)]
struct Dialog {
    image_id: u64,
    caption: String,
    dialog: Vec<Turn>,
}

#[derive(Deserialize)]
struct Turn {
    question: usize,
    #[serde(default)]
    answer: Option<usize>,
    #[serde(default)]
    answer_options: Vec<usize>,
}

#[derive(Deserialize)]
struct Dense {
    image_id: u64,
    round_id: usize,
    gt_relevance: Vec<f64>,
}

/// `VisDial` 1.0. Supports are last rounds; asked are the rounds whose answers people weighed.
pub(super) fn visdial(folder: &Path) -> Result<Examples> {
    let path = folder.join("visdial_1.0_train.json");
    let train: VisDial = json(&path)?;
    let mut examples = Examples::default();
    for dialog in &train.data.dialogs {
        let round = dialog.dialog.len();
        let example = round_of(&train.data, dialog, round)
            .with_context(|| format!("{}, image {}", path.display(), dialog.image_id))?;
        let file = folder.join(coco_name("train2014", dialog.image_id));
        let file = if file.exists() {
            file
        } else {
            folder.join(coco_name("val2014", dialog.image_id))
        };
        examples.supports.push(Example {
            medium: picture(file),
            ..example
        });
    }
    let path = folder.join("visdial_1.0_val.json");
    let asked: VisDial = json(&path)?;
    let dialogs = asked.data.dialogs.iter();
    let dialogs: HashMap<u64, &Dialog> = dialogs.map(|dialog| (dialog.image_id, dialog)).collect();
    let dense: Vec<Dense> = json(&folder.join("visdial_1.0_val_dense_annotations.json"))?;
    for weighed in dense {
        let name = || format!("{}, image {}", path.display(), weighed.image_id);
        let dialog = dialogs.get(&weighed.image_id).with_context(name)?;
        let example = round_of(&asked.data, dialog, weighed.round_id).with_context(name)?;
        ensure!(
            example.choices.len() == weighed.gt_relevance.len(),
            "{} has {} answers to choose among, and {} are weighed",
            name(),
            example.choices.len(),
            weighed.gt_relevance.len()
        );
        let image = weighed.image_id;
        let file = format!("VisualDialog_val2018/VisualDialog_val2018_{image:012}.jpg");
        examples.queries.push(Example {
            medium: picture(folder.join(file)),
            truth: Truth::Relevance(weighed.gt_relevance),
            ..example
        });
    }
    Ok(examples)
}

/// A round of a dialogue, counted from 1, without its picture.
fn round_of(data: &VisDialData, dialog: &Dialog, round: usize) -> Result<Example> {
    let words = |list: &[String], place: usize| {
        let words = list.get(place).cloned();
        words.context("a number points beyond the list of questions or answers")
    };
    let place = round.checked_sub(1);
    let turn = place.and_then(|place| dialog.dialog.get(place));
    let turn = turn.with_context(|| format!("there is no round {round}"))?;
    let before = dialog.dialog.iter().take(round - 1);
    let turns = before.map(|turn| {
        let answer = turn.answer.context("a round has no answer")?;
        Ok((
            words(&data.questions, turn.question)?,
            words(&data.answers, answer)?,
        ))
    });
    let choices = turn
        .answer_options
        .iter()
        .map(|place| words(&data.answers, *place));
    let answer = turn
        .answer
        .map(|place| words(&data.answers, place))
        .transpose()?;
    Ok(Example {
        id: format!("{}/{round}", dialog.image_id),
        medium: crate::prompt::Piece::Text(String::new()),
        question: Question::Dialogue {
            caption: dialog.caption.clone(),
            turns: turns.collect::<Result<_>>()?,
            question: words(&data.questions, turn.question)?,
        },
        answer: answer.unwrap_or_default(),
        choices: choices.collect::<Result<_>>()?,
        truth: Truth::Relevance(Vec::new()),
    })
}

#[derive(Deserialize)]
struct Meme {
    id: u64,
    img: String,
    label: u8,
    text: String,
}

/// `HatefulMemes`.
pub(super) fn hateful_memes(folder: &Path) -> Result<Examples> {
    let classes = ["no", "yes"].map(str::to_owned);
    let split = |name: &str| -> Result<Vec<Example>> {
        let found: Vec<Meme> = json_lines(&folder.join(name))?;
        let rows = found.into_iter().map(|row| Example {
            id: row.id.to_string(),
            medium: picture(folder.join(row.img)),
            question: Question::Hateful(row.text),
            answer: classes[usize::from(row.label == 1)].clone(),
            choices: Vec::new(),
            truth: Truth::Label(row.label == 1),
        });
        Ok(rows.collect())
    };
    Ok(Examples {
        supports: split("train.jsonl")?,
        queries: split("dev_seen.jsonl")?,
        classes: classes.into(),
    })
}

#[derive(Deserialize)]
struct RareActRow {
    id: u64,
    video_id: String,
    start: f64,
    end: f64,
    class_id: usize,
    verb: String,
    noun: String,
    annotation: u8,
}

/// `RareAct`, which has nothing to train on: without supports.
pub(super) fn rareact(folder: &Path) -> Result<Examples> {
    let path = folder.join("rareact.csv");
    let found: Vec<RareActRow> = csv(&path)?;
    let count = found.iter().map(|row| row.class_id + 1).max().unwrap_or(0);
    // Classes are numbered densely; a number far beyond the rows is an error of the file.
    ensure!(
        count <= 10 * (found.len() + 1),
        "{}: the class {} is beyond its rows",
        path.display(),
        count - 1
    );
    let mut classes = vec![String::new(); count];
    for row in &found {
        classes[row.class_id] = format!("{} {}", row.verb, row.noun);
    }
    let queries = found.into_iter().map(|row| {
        let file = folder.join("videos").join(format!("{}.mp4", row.video_id));
        Example {
            id: row.id.to_string(),
            medium: video(file, Some((row.start, row.end))),
            question: Question::Describe,
            answer: format!("{} {}", row.verb, row.noun),
            choices: Vec::new(),
            truth: Truth::Segment(Segment {
                video: row.video_id,
                class: row.class_id,
                verb: row.verb,
                noun: row.noun,
                annotation: row.annotation,
            }),
        }
    });
    let queries = queries.collect();
    ensure!(
        classes.iter().all(|class| !class.is_empty()),
        "{}: a class has no row",
        path.display()
    );
    Ok(Examples {
        supports: Vec::new(),
        queries,
        classes,
    })
}

/// `ImageNet`: pictures in a folder for each class, and a line of names for each folder.
pub(super) fn imagenet(folder: &Path) -> Result<Examples> {
    let text = read_text(&folder.join("LOC_synset_mapping.txt"))?;
    let mut classes = Vec::new();
    let mut folders = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let (name, words) = line.split_once(' ').unwrap_or((line, line));
        folders.push(name.to_owned());
        // Of several names the first.
        classes.push(words.split(',').next().unwrap_or(words).trim().to_owned());
    }
    let split = |split: &str| -> Result<Vec<Example>> {
        let mut examples = Vec::new();
        for (class, name) in folders.iter().enumerate() {
            let path = folder.join(split).join(name);
            let entries = fs::read_dir(&path).with_context(|| {
                format!("cannot read {}: sort {split} by class", path.display())
            })?;
            let mut files = entries
                .map(|entry| Ok(entry?.path()))
                .collect::<std::io::Result<Vec<_>>>()?;
            files.sort();
            examples.extend(files.into_iter().map(|file| {
                Example {
                    id: file
                        .file_stem()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned(),
                    medium: picture(file),
                    question: Question::Describe,
                    answer: classes[class].clone(),
                    choices: Vec::new(),
                    truth: Truth::Choice(class),
                }
            }));
        }
        Ok(examples)
    };
    Ok(Examples {
        supports: split("train")?,
        queries: split("val")?,
        classes: classes.clone(),
    })
}

#[derive(Deserialize)]
struct KineticsRow {
    label: String,
    youtube_id: String,
    time_start: f64,
    time_end: f64,
}

/// Kinetics700, its clips named as its downloaders name them.
pub(super) fn kinetics(folder: &Path) -> Result<Examples> {
    let [train, val]: [Vec<KineticsRow>; 2] = [
        csv(&folder.join("train.csv"))?,
        csv(&folder.join("val.csv"))?,
    ];
    let mut classes: Vec<String> = train
        .iter()
        .chain(&val)
        .map(|row| row.label.clone())
        .collect();
    classes.sort();
    classes.dedup();
    let places: HashMap<&str, usize> = classes
        .iter()
        .enumerate()
        .map(|(place, class)| (class.as_str(), place))
        .collect();
    let split = |rows: Vec<KineticsRow>, split: &str| -> Vec<Example> {
        let rows = rows.into_iter().map(|row| {
            let KineticsRow {
                label,
                youtube_id,
                time_start,
                time_end,
            } = row;
            let name = format!("{youtube_id}_{time_start:06}_{time_end:06}");
            let file = folder.join(split).join(&label).join(format!("{name}.mp4"));
            Example {
                id: name,
                medium: video(file, None),
                question: Question::Describe,
                truth: Truth::Choice(places.get(label.as_str()).copied().unwrap_or(0)),
                answer: label,
                choices: Vec::new(),
            }
        });
        rows.collect()
    };
    Ok(Examples {
        supports: split(train, "train"),
        queries: split(val, "val"),
        classes: classes.clone(),
    })
}
