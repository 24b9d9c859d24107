//! Files of answers, measured as the published implementations measure them.

use std::fs;
use std::path::Path;

use m3w::evaluate::ranking::Depth;
use m3w::evaluate::score::{Metric, ScoreOptions, score};
use m3w::evaluate::vqa::VqaRules;
use serde_json::{Value, json};

use super::site::{complaint, m3w};

fn options(folder: &Path, metric: Metric) -> ScoreOptions {
    ScoreOptions {
        metric,
        predictions: folder.join("p.json"),
        references: folder.join("r.json"),
        vqa_rules: VqaRules::Official,
        depth: Depth::Relevant,
        wordnet: None,
        threshold: 0.0,
    }
}

fn write(folder: &Path, predictions: &Value, references: &Value) {
    fs::write(folder.join("p.json"), predictions.to_string()).unwrap();
    fs::write(folder.join("r.json"), references.to_string()).unwrap();
}

/// The goldens are made by `benches/score_peers/compare.py --goldens`.
#[test]
fn measures_are_those_of_the_published_implementations() {
    let goldens = include_str!("../goldens/scores.json");
    let goldens: Vec<Value> = serde_json::from_str(goldens).unwrap();
    assert!(goldens.len() >= 5);
    for golden in goldens {
        let folder = tempfile::tempdir().unwrap();
        let name = golden["metric"].as_str().unwrap();
        let argument = golden["arguments"][0].as_str();
        write(folder.path(), &golden["predictions"], &golden["references"]);
        let metric = match name {
            "cider" => Metric::Cider,
            "vqa" => Metric::Vqa,
            "roc-auc" => Metric::RocAuc,
            _ => Metric::Ndcg,
        };
        let mut options = options(folder.path(), metric);
        if name == "vqa" {
            options.vqa_rules = VqaRules::Openflamingo;
        }
        if argument == Some("all") {
            options.depth = Depth::All;
        }
        let found = score(&options).unwrap();
        let expected = golden["score"].as_f64().unwrap();
        assert!(
            (found.score - expected).abs() < 1e-6,
            "{name}: {} instead of {expected}",
            found.score
        );
        let each = golden["each"].as_array().unwrap();
        for ((id, found), expected) in found.examples.iter().zip(each) {
            let expected = expected.as_f64().unwrap();
            assert!(
                (found - expected).abs() < 1e-6,
                "{name}, {id}: {found} instead of {expected}"
            );
        }
    }
}

#[test]
fn ids_and_lists_of_captions_are_a_form_too() {
    let folder = tempfile::tempdir().unwrap();
    let coco = json!({"images": [{"id": 1}, {"id": 2}], "annotations": [
        {"image_id": 2, "caption": "Two dogs run."}, {"image_id": 1, "caption": "A red bus"},
        {"image_id": 1, "caption": "a bus on a street"}]});
    let results =
        json!([{"image_id": 1, "caption": "a red bus"}, {"image_id": 2, "caption": "dogs"}]);
    write(folder.path(), &results, &coco);
    let official = score(&options(folder.path(), Metric::Cider)).unwrap();
    let plain = json!({"1": ["A red bus", "a bus on a street"], "2": ["Two dogs run."]});
    write(
        folder.path(),
        &json!({"1": "a red bus", "2": "dogs"}),
        &plain,
    );
    assert_eq!(
        score(&options(folder.path(), Metric::Cider)).unwrap(),
        official
    );
    assert!(official.score > 0.1);
}

#[test]
fn the_program_prints_a_measure_and_names_what_has_no_reference() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let truth = "{\"id\": 1, \"label\": 0}\n{\"id\": 2, \"label\": 1}\n{\"id\": 3, \"label\": 1}\n";
    fs::write(path("dev.jsonl"), truth).unwrap();
    let said = r#"[{"id": 1, "score": 0.2}, {"id": 2, "score": 0.9}]"#;
    fs::write(path("said.json"), said).unwrap();
    let (said, dev) = (path("said.json"), path("dev.jsonl"));
    let arguments = [
        "score",
        "--metric",
        "roc-auc",
        "--predictions",
        &said,
        "--references",
        &dev,
    ];
    let run = m3w(&arguments);
    assert!(run.status.success());
    assert_eq!(String::from_utf8_lossy(&run.stdout), "roc-auc 1 of 2\n");
    let talk = String::from_utf8_lossy(&run.stderr);
    assert!(talk.contains("1 references have no prediction"), "{talk}");

    fs::write(&said, r#"[{"id": 7, "score": 0.2}]"#).unwrap();
    let told = complaint(&arguments);
    assert!(told.contains("said.json has 7, which"), "{told}");
}
