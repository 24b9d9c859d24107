//! Benchmarks in which pictures and videos are described.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Deserialize;

use super::files::{json, picture, video};
use crate::evaluate::example::{Example, Examples, Question, Truth};
use crate::prompt::Piece;

fn example(id: String, medium: Piece, captions: Vec<String>) -> Example {
    Example {
        id,
        medium,
        question: Question::Describe,
        answer: captions.first().cloned().unwrap_or_default(),
        choices: Vec::new(),
        truth: Truth::Texts(captions),
    }
}

#[derive(Deserialize)]
struct Coco {
    images: Vec<CocoImage>,
    annotations: Vec<CocoCaption>,
}

#[derive(Deserialize)]
struct CocoImage {
    id: u64,
    file_name: String,
}

#[derive(Deserialize)]
struct CocoCaption {
    image_id: u64,
    caption: String,
}

/// COCO 2014. Where Karpathy's `dataset_coco.json` is there too, his test split is asked.
pub(super) fn coco(folder: &Path) -> Result<Examples> {
    let karpathy = folder.join("dataset_coco.json");
    if karpathy.exists() {
        return splits(&karpathy, |image| {
            let split = image.filepath.as_deref().unwrap_or("val2014");
            folder.join(split).join(&image.filename)
        });
    }
    let split = |split: &str| -> Result<Vec<Example>> {
        let path = folder.join(format!("annotations/captions_{split}.json"));
        let coco: Coco = json(&path)?;
        let mut captions: HashMap<u64, Vec<String>> = HashMap::new();
        for annotation in coco.annotations {
            let of_image = captions.entry(annotation.image_id).or_default();
            of_image.push(annotation.caption);
        }
        let images = coco.images.into_iter().filter_map(|image| {
            let captions = captions.remove(&image.id)?;
            let file = folder.join(split).join(image.file_name);
            Some(example(image.id.to_string(), picture(file), captions))
        });
        Ok(images.collect())
    };
    Ok(Examples {
        supports: split("train2014")?,
        queries: split("val2014")?,
        classes: Vec::new(),
    })
}

#[derive(Deserialize)]
struct Karpathy {
    images: Vec<KarpathyImage>,
}

#[derive(Deserialize)]
struct KarpathyImage {
    filename: String,
    filepath: Option<String>,
    split: String,
    imgid: u64,
    cocoid: Option<u64>,
    sentences: Vec<KarpathySentence>,
}

#[derive(Deserialize)]
struct KarpathySentence {
    raw: String,
}

/// Flickr30K by Karpathy's splits.
pub(super) fn flickr30k(folder: &Path) -> Result<Examples> {
    splits(&folder.join("dataset_flickr30k.json"), |image| {
        folder.join("flickr30k-images").join(&image.filename)
    })
}

fn splits(path: &Path, file: impl Fn(&KarpathyImage) -> std::path::PathBuf) -> Result<Examples> {
    let karpathy: Karpathy = json(path)?;
    let mut examples = Examples::default();
    for image in karpathy.images {
        let medium = picture(file(&image));
        let id = image.cocoid.unwrap_or(image.imgid).to_string();
        let captions = image.sentences.into_iter().map(|sentence| sentence.raw);
        let example = example(id, medium, captions.collect());
        match image.split.as_str() {
            // `restval` is what COCO's validation images are called that are trained on.
            "train" | "restval" => examples.supports.push(example),
            "test" => examples.queries.push(example),
            _ => {}
        }
    }
    Ok(examples)
}

#[derive(Deserialize)]
struct VatexVideo {
    #[serde(rename = "videoID")]
    id: String,
    #[serde(rename = "enCap")]
    captions: Vec<String>,
}

/// VATEX, its English captions.
pub(super) fn vatex(folder: &Path) -> Result<Examples> {
    let split = |name: &str| -> Result<Vec<Example>> {
        let videos: Vec<VatexVideo> = json(&folder.join(name))?;
        let examples = videos.into_iter().map(|found| {
            let file = folder.join("videos").join(format!("{}.mp4", found.id));
            example(found.id, video(file, None), found.captions)
        });
        Ok(examples.collect())
    };
    Ok(Examples {
        supports: split("vatex_training_v1.0.json")?,
        queries: split("vatex_validation_v1.0.json")?,
        classes: Vec::new(),
    })
}

#[derive(Deserialize)]
struct YouCook {
    // In the order of their names, so that the seed decides alone.
    database: BTreeMap<String, YouCookVideo>,
}

#[derive(Deserialize)]
struct YouCookVideo {
    subset: String,
    annotations: Vec<YouCookStep>,
}

#[derive(Deserialize)]
struct YouCookStep {
    id: u64,
    segment: (f64, f64),
    sentence: String,
}

/// `YouCook2`, each step of a recipe a clip.
pub(super) fn youcook2(folder: &Path) -> Result<Examples> {
    let path = folder.join("youcookii_annotations_trainval.json");
    let cooked: YouCook = json(&path).context("the list of recipes")?;
    let mut examples = Examples::default();
    for (name, found) in cooked.database {
        let file = folder.join("videos").join(format!("{name}.mp4"));
        let steps = found.annotations.into_iter().map(|step| {
            let medium = video(file.clone(), Some(step.segment));
            example(format!("{name}/{}", step.id), medium, vec![step.sentence])
        });
        match found.subset.as_str() {
            "training" => examples.supports.extend(steps),
            "validation" => examples.queries.extend(steps),
            _ => {}
        }
    }
    Ok(examples)
}
