//! The whole road: pages, shards, training, an answer.

use std::path::Path;

use m3w::answer::answer_pieces;
use m3w::demo::{build_pairs, build_site, captions, report, train_tiny};
use m3w::document::{Document, Element, Image, TextRole};
use m3w::model::{GenerateOptions, WeightType};
use m3w::prompt::read_prompt;
use m3w::shards::{DocumentReader, Manifest, SequenceReader};
use m3w::trained::{Running, TrainedModel};
use serde_json::json;

use super::clips::{has_ffmpeg, video};
use super::site::{m3w, never, shared_corpus};

fn documents() -> Vec<Document<Image>> {
    let mut paths: Vec<_> = std::fs::read_dir(shared_corpus().join("documents"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    paths.sort();
    paths
        .iter()
        .flat_map(|path| DocumentReader::open(path).unwrap())
        .map(Result::unwrap)
        .collect()
}

fn document(name: &str) -> Document<Image> {
    documents()
        .into_iter()
        .find(|document| document.url.path().ends_with(name))
        .unwrap_or_else(|| panic!("{name} is not in the corpus"))
}

fn picture_names(document: &Document<Image>) -> Vec<String> {
    document
        .images()
        .map(|image| {
            let path = image.reference.url.path();
            path.rsplit('/').next().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn every_figure_of_an_article_stands_at_its_place_with_its_caption() {
    let article = document("diamond-kites.html");
    assert_eq!(article.images().count(), 5);
    for pair in article.elements.windows(2) {
        if let Element::Image(image) = &pair[0] {
            let caption = pair[1].as_text().unwrap();
            assert_eq!(caption.role, TextRole::Caption);
            assert_eq!(image.reference.caption.as_ref(), Some(&caption.content));
        }
    }
}

#[test]
fn menus_banners_icons_and_trackers_stay_out() {
    let visit = document("visit.html");
    assert_eq!(visit.images().count(), 3, "{:?}", picture_names(&visit));
    let text: String = visit.texts().map(|text| text.content.as_str()).collect();
    assert!(!text.to_lowercase().contains("cookie"), "{text}");
}

#[test]
fn lazy_images_count_once_and_base_and_charset_are_obeyed() {
    let night = picture_names(&document("night.html"));
    let mut once = night.clone();
    once.sort();
    once.dedup();
    assert_eq!(night.len(), once.len(), "{night:?}");
    assert!(night.len() >= 4, "{night:?}");
    let balloons = document("balloons.html");
    assert!(
        balloons
            .images()
            .any(|image| image.reference.url.path().contains("/pictures/balloons/"))
    );
    let festival = document("festival.html");
    let text: String = festival.texts().map(|text| text.content.as_str()).collect();
    assert!(!text.contains('\u{fffd}') && text.contains('é'), "{text}");
}

#[test]
fn every_row_keeps_its_promises() {
    let mut rows = 0;
    for entry in std::fs::read_dir(shared_corpus().join("sequences")).unwrap() {
        let reader = SequenceReader::open(&entry.unwrap().path()).unwrap();
        let image_id = reader.info().special.image;
        for row in reader {
            let row = row.unwrap();
            let marks = row.tokens.iter().filter(|&&id| id == image_id).count();
            assert_eq!(row.tokens.len(), 256);
            assert_eq!(marks, row.images.len(), "{}", row.text);
            assert!((1..=5).contains(&marks), "{}", row.text);
            rows += 1;
        }
    }
    assert!(rows >= 14, "{rows}");
}

#[test]
fn the_demonstration_learns_goes_on_and_answers() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path();
    build_site(out, 2, &never()).unwrap();
    let pairs = build_pairs(out, 2, &never()).unwrap();
    assert!(pairs.tally.get("pair/kept") > 20, "{:?}", pairs.tally);
    let page = std::fs::read_to_string(report(out).unwrap()).unwrap();
    assert!(page.contains("diamond-kites.html") && page.contains("data:image/jpeg;base64,"));
    let first = train_tiny(out, Some(10), &never()).unwrap();
    assert_eq!(first.steps, 10);
    let second = train_tiny(out, Some(20), &never()).unwrap();
    assert_eq!(second.steps, 20);
    let (start, end) = (first.losses.unwrap().0, second.losses.unwrap().1);
    assert!(end < start - 0.5, "loss {start} -> {end}");
    let captions = captions(out, 3).unwrap();
    assert_eq!(captions.len(), 3);
    for caption in &captions {
        assert!(caption.picture.exists() && !caption.expected.is_empty());
        assert!(!caption.generated.is_empty());
    }
    let pictures: Vec<&Path> = captions.iter().map(|caption| &*caption.picture).collect();
    a_prompt_file_is_read(out, &pictures);
}

/// A picture, a clip of two frames and, where it can be made, a video, asked about in one prompt.
fn a_prompt_file_is_read(out: &Path, pictures: &[&Path]) {
    let names: Vec<&str> = pictures
        .iter()
        .map(|path| path.file_name().unwrap().to_str().unwrap())
        .collect();
    let mut parts = vec![
        json!({"image": names[0]}),
        json!({"text": "A picture."}),
        json!({"frames": &names[1..3]}),
        json!({"text": "A clip of"}),
    ];
    let has_video = has_ffmpeg();
    if has_video {
        video(&out.join("short.mp4"), 5, &["-c:v", "mpeg4"]);
        let video = json!({"video": "short.mp4", "start_s": 1, "end_s": 4, "most_frames": 3});
        parts.insert(0, video);
    }
    let file = out.join("prompt.json");
    std::fs::write(&file, serde_json::to_vec(&parts).unwrap()).unwrap();
    let pieces = read_prompt(&file).unwrap();
    let trained = TrainedModel::load(&out.join("run")).unwrap();
    let pixels = trained.pixels(&pieces).unwrap().unwrap();
    let frames = if has_video { 3 } else { 2 };
    let media = usize::from(has_video) + 2;
    assert_eq!(pixels.dims()[..3], [media, frames, 3]);
    let sums = pixels.abs().unwrap().sum((2, 3, 4)).unwrap();
    let is_shown: Vec<Vec<bool>> = sums
        .to_vec2::<f32>()
        .unwrap()
        .iter()
        .map(|clip| clip.iter().map(|sum| *sum > 0.0).collect())
        .collect();
    // As in training, frames that are not there are empty.
    let shown = |count: usize| -> Vec<bool> { (0..frames).map(|frame| frame < count).collect() };
    assert_eq!(is_shown[media - 2..], [shown(1), shown(2)]);
    let options = GenerateOptions {
        max_new_tokens: 4,
        ..GenerateOptions::default()
    };
    let mut said = String::new();
    let answer = answer_pieces(&trained, &pieces, &options, |text| {
        text.clone_into(&mut said);
    });
    assert_eq!(answer.unwrap(), said);
    // Weights of 16 bits answer too.
    let running = Running {
        weights: WeightType::Bf16,
        ..Running::default()
    };
    let half = TrainedModel::load_as(&out.join("run"), &running).unwrap();
    answer_pieces(&half, &pieces, &options, |_| {}).unwrap();
}

/// The loss of each step.
fn losses(run: &Path) -> Vec<String> {
    let metrics = std::fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let lines = metrics.lines();
    lines
        .map(|line| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            line["loss"].to_string()
        })
        .collect()
}

#[test]
fn training_on_fresh_windows_needs_no_rows_and_goes_on_as_if_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = folder.path().join("corpus");
    std::fs::create_dir_all(corpus.join("documents")).unwrap();
    // The documents alone.
    let mut manifest = Manifest::load(shared_corpus()).unwrap();
    for entry in &manifest.documents {
        let path = shared_corpus().join(&entry.path);
        std::fs::copy(path, corpus.join(&entry.path)).unwrap();
    }
    let tokenizer = shared_corpus().join("tokenizer.json");
    std::fs::copy(tokenizer, corpus.join("tokenizer.json")).unwrap();
    manifest.sequences.clear();
    manifest.save(&corpus).unwrap();

    let config = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/train-tiny.toml");
    let train = |out: &str, steps: usize| {
        let out = folder.path().join(out);
        let (data, steps) = (corpus.display().to_string(), format!("run.steps={steps}"));
        let output = m3w(&[
            &["train", "--quiet", "--config", config, "--data", &data],
            &["--set", "loader.fresh_windows={sequence_length=48}"][..],
            &["--set", "loader.shuffle_buffer=4", "--set", &steps],
            &["--out", &out.display().to_string()],
        ]
        .concat());
        assert!(output.status.success(), "{output:?}");
        losses(&out)
    };
    // Six steps of eight rows are more than one epoch.
    let whole = train("whole", 6);
    assert_eq!(whole.len(), 6);
    train("parts", 2);
    assert_eq!(train("parts", 6), whole);
}
