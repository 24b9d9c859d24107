//! Single texts, listed words and what pictures look like: measured, dropped, and tried again.

use std::collections::HashMap;
use std::path::Path;

use candle_core::{Device, Tensor};
use m3w::build::BuildOptions;
use m3w::corpus::Corpus;
use m3w::document::{Document, Image, Tally};
use m3w::repair::run_of;
use m3w::shards::{DocumentReader, Manifest};
use m3w::survival::survival;
use m3w::what_if::{NO_PLACE, NO_TEXTS, WhatIf, what_if, with_filters};

use super::site::{Site, complaint, run};

fn documents(options: &BuildOptions, manifest: &Manifest) -> Vec<Document<Image>> {
    let parts = manifest.documents.iter();
    let rows = parts.flat_map(|part| DocumentReader::open(&options.out.join(&part.path)).unwrap());
    rows.map(Result::unwrap).collect()
}

fn tried(options: &BuildOptions, manifest: &Manifest, settings: &[&str]) -> WhatIf {
    let found = run_of(&Corpus::at(&options.out)).unwrap();
    let settings: Vec<String> = settings.iter().map(|&one| one.to_owned()).collect();
    let filter = with_filters(&found.config, None, &settings).unwrap();
    what_if(&options.out, manifest, &found, &filter).unwrap()
}

/// A folder with a tiny classifier of pictures, as it would be published.
fn classifier(folder: &Path) -> String {
    const MODEL: &[u8] = include_bytes!("../../model/tests/goldens/classifier.safetensors");
    let golden = candle_core::safetensors::load_buffer(MODEL, &Device::Cpu).unwrap();
    let weights: HashMap<String, Tensor> = golden
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix("weight.")?.to_owned(), tensor)))
        .collect();
    let folder = folder.join("classifier");
    std::fs::create_dir(&folder).unwrap();
    candle_core::safetensors::save(&weights, folder.join("model.safetensors")).unwrap();
    let config = serde_json::json!({
        "model_type": "vit", "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2,
        "num_attention_heads": 3, "patch_size": 4, "image_size": 12,
        "id2label": { "0": "normal", "1": "nsfw", "2": "drawing" },
    });
    std::fs::write(folder.join("config.json"), config.to_string()).unwrap();
    folder.display().to_string()
}

fn step(tally: &Tally, step: &str) -> Vec<(String, u64)> {
    let counts = tally.step(step).into_iter();
    counts
        .map(|(name, count)| (name.to_owned(), count))
        .collect()
}

#[test]
fn short_texts_go_and_come_back_as_far_as_is_known() {
    let site = Site::start();
    let whole = site.options("whole", 2);
    let all = run(&whole);
    let mut shorter = site.options("shorter", 2);
    shorter.config.filter.paragraph.min_words = Some(4.0);
    let some = run(&shorter);
    let gone = some.tally.get("text/filter/too-few-words");
    assert!(gone > 0);
    assert_eq!(all.tally.get("text/filter/too-few-words"), 0);
    for document in documents(&shorter, &some) {
        for text in document.texts() {
            let words = text.content.split_whitespace().count();
            assert!(words >= 4, "{}", text.content);
        }
    }

    let shown = survival(&Corpus::at(&shorter.out), &some, 1).unwrap();
    let texts = shown
        .iter()
        .find(|one| one.what == "texts left out")
        .unwrap();
    let example = &texts.ends[0].examples[0];
    assert_eq!(example.threshold, Some(4.0));
    assert!(!example.url.is_empty() && example.measured < Some(4.0));

    let told = tried(&whole, &all, &["filter.paragraph.min_words=4"]);
    assert_eq!(told.after.get("page/kept"), some.tally.get("page/kept"));
    assert_eq!(told.after.get("image/kept"), some.tally.get("image/kept"));
    assert_eq!(told.after.get("text/filter/too-few-words"), gone);

    let back = tried(&shorter, &some, &["filter.paragraph.min_words=1"]);
    assert_eq!(step(&back.before, "text"), step(&some.tally, "text"));
    assert_eq!(back.after.get(&format!("text/{NO_PLACE}")), gone);
    // No page of this site went for its text.
    assert_eq!(back.after.get(&format!("page/{NO_TEXTS}")), 0);
}

#[test]
fn listed_words_are_counted_in_their_language_and_lists_cannot_change() {
    let site = Site::start();
    let list = site.folder.path().join("flagged.txt");
    std::fs::write(&list, "# of no use\nThe\n").unwrap();
    let mut options = site.options("flagged", 2);
    let text = &mut options.config.filter.text;
    text.flagged_words = [("en".to_owned(), list.clone())].into();
    let manifest = run(&options);
    let documents = documents(&options, &manifest);
    let mut counted = 0;
    for document in &documents {
        let is_english = document
            .language
            .as_deref()
            .is_some_and(|tag| tag.starts_with("en"));
        let score = document.scores.get("flagged_words");
        assert_eq!(score.is_some(), is_english, "{:?}", document.language);
        assert_eq!(document.scores.get("spam_words"), None);
        counted += usize::from(score.is_some_and(|share| *share > 0.0));
    }
    assert!(counted > 0);
    let told = tried(&options, &manifest, &["filter.text.max_flagged_words=0"]);
    assert_eq!(told.after.get("page/filter/flagged-words"), counted as u64);

    let [urls, out, list] = [&site.list, &site.folder.path().join("other"), &list]
        .map(|path| path.display().to_string());
    let setting = format!("filter.text.spam_words={{ en = '{list}' }}");
    std::fs::write(&list, "buy\nbuy now\n").unwrap();
    let said = complaint(&["build", "--urls", &urls, "--out", &out, "--set", &setting]);
    assert!(
        said.contains("flagged.txt") && said.contains("`buy now` is not one word"),
        "{said}"
    );
    std::fs::remove_file(&list).unwrap();
    let said = complaint(&["build", "--urls", &urls, "--out", &out, "--set", &setting]);
    assert!(
        said.contains("cannot read") && said.contains("flagged.txt"),
        "{said}"
    );
}

#[test]
fn pictures_are_measured_and_other_thresholds_tell_what_a_build_would_drop() {
    let site = Site::start();
    let mut lenient = site.options("lenient", 2);
    lenient.config.images.qr_codes = true;
    let manifest = run(&lenient);
    let mut sharpness = Vec::new();
    for document in documents(&lenient, &manifest) {
        for image in document.images() {
            assert!(image.fetched_format.is_some());
            for name in ["bytes", "main_colour", "entropy", "sharpness", "qr"] {
                assert!(
                    image.scores.contains_key(name),
                    "{name}: {:?}",
                    image.scores
                );
            }
            sharpness.push(image.scores["sharpness"]);
        }
    }
    sharpness.sort_by(f64::total_cmp);
    let middle = sharpness[sharpness.len() / 2];
    let setting = format!("filter.image.min_sharpness={middle}");
    let told = tried(&lenient, &manifest, &[&setting]);
    let mut strict = site.options("strict", 2);
    strict.config.filter.image.min_sharpness = Some(middle);
    let built = run(&strict);
    assert!(built.tally.get("image/filter/blurred") > 0);
    for name in [
        "image/kept",
        "image/filter/blurred",
        "page/kept",
        "page/filter/too-few-images",
    ] {
        assert_eq!(told.after.get(name), built.tally.get(name), "{name}");
    }
    let formats = tried(&lenient, &manifest, &["filter.image.formats=['gif']"]);
    assert!(formats.after.get("image/filter/format") > 0);

    let [urls, out] =
        [&site.list, &site.folder.path().join("qr")].map(|path| path.display().to_string());
    let setting = "filter.image.max_qr=0.1";
    let said = complaint(&["build", "--urls", &urls, "--out", &out, "--set", setting]);
    assert!(said.contains("images.qr_codes"), "{said}");
}

#[test]
fn a_classifier_that_is_named_sees_every_picture() {
    let site = Site::start();
    let model = classifier(site.folder.path());
    let mut lenient = site.options("lenient", 2);
    lenient.config.filter.image.nsfw_model = Some(model.clone().into());
    let manifest = run(&lenient);
    let kept = documents(&lenient, &manifest);
    let images = kept.iter().flat_map(Document::images);
    let mut scores: Vec<f64> = images.map(|image| image.scores["nsfw"]).collect();
    scores.sort_by(f64::total_cmp);
    assert!(
        scores[0] > 0.0 && scores[scores.len() - 1] < 1.0,
        "{scores:?}"
    );
    let most = scores[scores.len() / 2];
    let told = tried(
        &lenient,
        &manifest,
        &[&format!("filter.image.max_nsfw={most}")],
    );
    let mut strict = site.options("strict", 2);
    strict.config = lenient.config.clone();
    strict.config.filter.image.max_nsfw = Some(most);
    let built = run(&strict);
    assert!(built.tally.get("image/filter/nsfw") > 0);
    for name in ["image/kept", "image/filter/nsfw", "page/kept"] {
        assert_eq!(told.after.get(name), built.tally.get(name), "{name}");
    }

    let [urls, out] =
        [&site.list, &site.folder.path().join("other")].map(|path| path.display().to_string());
    let said = |settings: &[&str]| {
        let mut arguments = vec!["build", "--urls", &urls, "--out", &out];
        arguments.extend(settings.iter().flat_map(|setting| ["--set", *setting]));
        complaint(&arguments)
    };
    let model = format!("filter.image.nsfw_model={model}");
    let unnamed = said(&["filter.image.max_nsfw=0.8"]);
    assert!(unnamed.contains("nsfw_model"), "{unnamed}");
    let unlabelled = said(&[&model, "filter.image.nsfw_label=unsafe"]);
    assert!(
        unlabelled.contains("but normal, nsfw, drawing"),
        "{unlabelled}"
    );
    let absent = said(&["filter.image.nsfw_model=nowhere"]);
    assert!(absent.contains("nowhere"), "{absent}");
}
