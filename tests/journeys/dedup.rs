//! Repetitions that were planted in a corpus, found and taken out.

use std::collections::BTreeSet;
use std::path::Path;

use m3w::corpus::Corpus;
use m3w::dedup::{DedupConfig, DedupOptions, Deduplicated, dedup};
use m3w::verify::verify;

use super::planted::corpus::{make, write};
use super::planted::judge::judge;
use super::site::{copy_shared_corpus, files, kill_after, m3w, never};

/// Documents of which a whole group shares a picture.
const DOCUMENTS: u64 = 240;

fn options(folder: &Path) -> DedupOptions {
    DedupOptions {
        corpus: folder.join("corpus"),
        config: DedupConfig::default(),
        protect: vec![folder.join("protect")],
        list: Some(folder.join("gone.jsonl")),
        dry_run: false,
        threads: 2,
        is_quiet: true,
    }
}

fn problems(corpus: &Path) -> Vec<String> {
    let findings = verify(&Corpus::at(corpus), true).unwrap();
    findings.problems.into_iter().map(|one| one.what).collect()
}

/// What goes, whatever the order in which it is listed.
fn listed(folder: &Path) -> BTreeSet<String> {
    let list = std::fs::read_to_string(folder.join("gone.jsonl")).unwrap();
    // Protected things are named by their path.
    let list = list.replace(&folder.display().to_string(), "");
    list.lines().map(str::to_owned).collect()
}

#[test]
fn what_is_planted_is_found_and_nothing_else_and_a_second_call_finds_nothing() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path(), DOCUMENTS).unwrap();
    let options = options(folder.path());
    let before = files(&options.corpus);
    let dry = DedupOptions {
        dry_run: true,
        ..options.clone()
    };
    let would = dedup(&dry, &never()).unwrap();
    assert!(files(&options.corpus) == before);

    let found = dedup(&options, &never()).unwrap();
    assert_eq!(found, would);
    let report = judge(&folder.path().join("gone.jsonl"), DOCUMENTS).unwrap();
    assert_eq!(report.kinds.len(), 13, "{report}");
    for (kind, (found, all)) in &report.kinds {
        assert_eq!(found, all, "{kind}\n{report}");
    }
    assert_eq!(report.false_documents.0, 0, "{report}");
    assert_eq!(report.false_images.0, 0, "{report}");

    assert_eq!(problems(&options.corpus), Vec::<String>::new());
    let manifest = Corpus::at(&options.corpus).manifest().unwrap();
    let gone: u64 = found.dropped.step("page").iter().map(|row| row.1).sum();
    assert_eq!(manifest.tally.get("page/kept"), DOCUMENTS - gone);
    // Each that goes names one that stays.
    let outcomes = std::fs::read_to_string(options.corpus.join("outcomes/part-00000.jsonl"));
    let lines: Vec<serde_json::Value> = outcomes
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let kept: BTreeSet<&str> = lines
        .iter()
        .filter_map(|line| line["document_id"].as_str())
        .collect();
    for line in &lines {
        let reason = &line["dropped"];
        if reason["name"] == "dedup/near-text" {
            assert!(reason["measured"].as_f64().unwrap() >= 0.8, "{line}");
            assert!(
                kept.contains(reason["duplicate_of"].as_str().unwrap()),
                "{line}"
            );
        }
    }

    let after = files(&options.corpus);
    let again = dedup(&options, &never()).unwrap();
    assert!(again.dropped.is_empty(), "{again:?}");
    assert!(files(&options.corpus) == after);
}

#[test]
fn what_goes_does_not_depend_on_order_shards_threads_or_memory() {
    let ordered = tempfile::tempdir().unwrap();
    let numbers: Vec<u64> = (0..DOCUMENTS).collect();
    write(ordered.path(), &numbers, 100).unwrap();
    let one = options(ordered.path());
    let first: Deduplicated = dedup(&one, &never()).unwrap();
    for (shard, stride) in [(70, 7), (240, 239)] {
        let folder = tempfile::tempdir().unwrap();
        let shuffled: Vec<u64> = (0..DOCUMENTS).map(|at| at * stride % DOCUMENTS).collect();
        write(folder.path(), &shuffled, shard).unwrap();
        let mut other = options(folder.path());
        other.threads = 1 + shard % 3;
        other.config.memory_mib = 1;
        assert_eq!(dedup(&other, &never()).unwrap(), first);
        let (one, two) = (listed(folder.path()), listed(ordered.path()));
        let differing: Vec<&String> = one.symmetric_difference(&two).collect();
        assert!(differing.is_empty(), "{differing:?}");
    }
}

#[test]
fn killed_at_any_moment_it_goes_on_and_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let numbers: Vec<u64> = (0..DOCUMENTS).collect();
    write(folder.path(), &numbers, 40).unwrap();
    let corpus = folder.path().join("corpus");
    let whole = files(&corpus);
    dedup(&options(folder.path()), &never()).unwrap();
    let expected = files(&corpus);
    assert!(expected != whole);
    let [data, protect] = [&corpus, &folder.path().join("protect")];
    let [data, protect] = [data, protect].map(|path| path.display().to_string());
    let arguments = ["dedup", &data, "--quiet", "--protect", &protect];
    for milliseconds in [20, 150, 400, 800] {
        std::fs::remove_dir_all(&corpus).unwrap();
        for (name, bytes) in &whole {
            let path = corpus.join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, bytes).unwrap();
        }
        for _ in 0..2 {
            kill_after(milliseconds, &arguments);
        }
        let output = m3w(&arguments);
        assert!(output.status.success(), "{output:?}");
        assert!(files(&corpus) == expected, "after {milliseconds} ms");
    }
}

#[test]
fn a_corpus_that_was_built_is_packed_anew_and_stays_whole() {
    let folder = tempfile::tempdir().unwrap();
    copy_shared_corpus(folder.path());
    let data = folder.path().display().to_string();
    let before = Corpus::at(folder.path()).manifest().unwrap();
    // On a site without repetitions what is on two pages has to do for them.
    let setting = "paragraphs.min_documents=2";
    let output = m3w(&["dedup", &data, "--quiet", "--set", setting]);
    assert!(output.status.success(), "{output:?}");
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(said.starts_with("documents"), "{said}");
    assert_eq!(problems(folder.path()), Vec::<String>::new());
    let after = Corpus::at(folder.path()).manifest().unwrap();
    let is_smaller = |name: &str| after.tally.get(name) < before.tally.get(name);
    assert!(is_smaller("content/words"), "{said}");
    assert_eq!(after.tokenizer_sha256, before.tokenizer_sha256);
    for command in ["stats", "what-if", "verify"] {
        let output = m3w(&[command, &data]);
        assert!(output.status.success(), "{output:?}");
    }
    let said = String::from_utf8(m3w(&["stats", &data]).stdout).unwrap();
    assert!(said.contains("dedup/frequent-paragraph"), "{said}");
}
