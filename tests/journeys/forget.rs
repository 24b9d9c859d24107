//! Pages and pictures that have to go from a finished corpus, and do not come back.

use std::collections::BTreeMap;
use std::path::Path;

use m3w::corpus::Corpus;
use m3w::document::{Document, Image};
use m3w::outcomes::{OutcomeLine, lines};
use m3w::repair::repair;
use m3w::retry::Failures;
use m3w::shards::{DocumentReader, SequenceReader};

use super::repair::Built;
use super::site::{complaint, files, kill_after, m3w, never, run};

fn documents(root: &Path) -> Vec<Document<Image>> {
    let manifest = Corpus::at(root).manifest().unwrap();
    let files = manifest.documents.iter();
    let rows = files.flat_map(|entry| DocumentReader::open(&root.join(&entry.path)).unwrap());
    rows.map(Result::unwrap).collect()
}

fn outcomes(root: &Path) -> Vec<OutcomeLine> {
    let manifest = Corpus::at(root).manifest().unwrap();
    let files = manifest.outcomes.iter();
    let rows = files.flat_map(|entry| lines(&root.join(&entry.path)).unwrap());
    rows.map(Result::unwrap).collect()
}

/// Says what was printed.
fn forget(arguments: &[&str]) -> String {
    let output = m3w(&[&["forget"], arguments].concat());
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Whether any file of the corpus has these bytes somewhere.
fn is_somewhere(root: &Path, wanted: &[u8]) -> Vec<String> {
    files(root)
        .into_iter()
        .filter(|(_, bytes)| bytes.windows(wanted.len()).any(|part| part == wanted))
        .map(|(name, _)| name)
        .collect()
}

#[test]
fn what_is_forgotten_is_gone_from_every_file_and_nothing_brings_it_back() {
    let built = Built::new();
    let (root, web) = (built.out(), &built.web.address);
    let data = root.display().to_string();
    let before = documents(root);
    let picture = before[3].images().next().unwrap().clone();
    let sha256 = picture.sha256_stored.to_string();
    let page = format!("{web}/page/2#part");

    let said = forget(&[&data, "--url", &page, "--sha256", &sha256, "--quiet"]);
    assert!(
        said.contains(&format!("asked\turl {page}\tinputs 1\tpictures 0\n")),
        "{said}"
    );
    assert!(
        said.contains(&format!("asked\tsha256 {sha256}\tinputs 0\tpictures 1\n")),
        "{said}"
    );
    assert!(
        said.contains("documents\t6 -> 5\npictures\t12 -> 9\n"),
        "{said}"
    );
    assert!(
        said.contains("rewritten\tdocuments/part-00001.parquet\trows 2 -> 1\tsha256 "),
        "{said}"
    );

    // All that is left is whole, counted, and as it was.
    assert_eq!(built.problems(), Vec::<String>::new());
    let after = documents(root);
    let without = before[3]
        .clone()
        .filter_map_images(|image| (image.sha256_stored != picture.sha256_stored).then_some(image));
    assert_eq!(
        after,
        [&before[0], &before[1], &without, &before[4], &before[5]].map(Clone::clone)
    );
    let manifest = Corpus::at(root).manifest().unwrap();
    assert_eq!(manifest.tally.get("page/kept"), 5);
    assert_eq!(manifest.tally.get("page/forget/asked"), 1);
    assert_eq!(manifest.tally.get("image/forget/asked"), 1);
    assert_eq!(manifest.tally.get("image/kept"), 9);
    let images: usize = after.iter().map(|document| document.images().count()).sum();
    assert_eq!(images, 9);
    for entry in &manifest.sequences {
        for row in SequenceReader::open(&root.join(&entry.path)).unwrap() {
            let row = row.unwrap();
            assert!(row.images.iter().all(|image| image.bytes != picture.bytes));
            assert_ne!(row.document_id, Some(before[2].id));
        }
    }
    assert_eq!(is_somewhere(root, &picture.bytes), Vec::<String>::new());
    // Not even the page's address is left, and only its part was written anew.
    assert_eq!(
        is_somewhere(root, format!("{web}/page/2").as_bytes()),
        Vec::<String>::new()
    );
    let forgotten = files(root);
    for (name, bytes) in &built.whole {
        let is_touched = name.contains("part-00001") || name == "manifest.json";
        assert_eq!(bytes != &forgotten[name], is_touched, "{name}");
    }
    let lines = outcomes(root);
    let tombstone = &lines[2];
    assert_eq!(tombstone.dropped.as_ref().unwrap().name, "forget/asked");
    assert!(tombstone.url.starts_with("sha256:"), "{tombstone:?}");

    // Twice is as once.
    let said = forget(&[&data, "--url", &page, "--sha256", &sha256, "--quiet"]);
    assert!(
        said.contains("documents\t5 -> 5\npictures\t9 -> 9\n"),
        "{said}"
    );
    assert!(files(root) == forgotten);

    // A repair from the inputs makes what is left again, and no more.
    built.web.asked();
    for name in ["documents/part-00001.parquet", "outcomes/part-00001.jsonl"] {
        built.delete(name);
        let repaired = repair(&built.with_list(), &never()).unwrap();
        assert_eq!(repaired.left.len(), 0, "{name}: {repaired:?}");
        assert!(files(root) == forgotten, "{name}");
    }
    assert!(!built.web.asked().contains("/page/2"));

    // A build that tries again what failed asks for every page again here, but for that one.
    let mut options = built.options.clone();
    options.retry = Some(Failures {
        reasons: vec!["http-404".to_owned()],
    });
    built.web.answer_with("/picture/999999", Some(7));
    let manifest = run(&options);
    assert_eq!(manifest.tally.get("page/forget/asked"), 1);
    assert_eq!(manifest.tally.get("page/kept"), 5);
    let asked = built.web.asked();
    assert!(
        asked.contains("/page/3") && !asked.contains("/page/2"),
        "{asked:?}"
    );
    assert_eq!(is_somewhere(root, &picture.bytes), Vec::<String>::new());
    assert_eq!(built.problems(), Vec::<String>::new());
}

#[test]
fn a_domain_goes_with_all_that_came_from_it_by_a_list() {
    let built = Built::new();
    let root = built.out();
    let data = root.display().to_string();
    let list = built.list.with_file_name("asked.txt");
    std::fs::write(&list, "# a letter of the fifth\n\n127.0.0.1\nexample.org\n").unwrap();
    let said = forget(&[&data, "--list", &list.display().to_string(), "--quiet"]);
    assert!(
        said.contains("asked\tdomain 127.0.0.1\tinputs 6\tpictures 12\n"),
        "{said}"
    );
    assert!(
        said.contains("asked\tdomain example.org\tinputs 0\tpictures 0\n"),
        "{said}"
    );
    assert!(
        said.contains("documents\t6 -> 0\npictures\t12 -> 0\n"),
        "{said}"
    );
    assert_eq!(documents(root), []);
    assert_eq!(built.problems(), Vec::<String>::new());
    let manifest = Corpus::at(root).manifest().unwrap();
    let counts: BTreeMap<_, _> = manifest.tally.iter().collect();
    assert_eq!(counts, [("page/forget/asked", 6)].into());
}

#[test]
fn forgetting_killed_at_any_moment_goes_on_and_ends_the_same() {
    let built = Built::new();
    let root = built.out();
    let data = root.display().to_string();
    let [first, second] = [1, 4].map(|page| format!("{}/page/{page}", built.web.address));
    let arguments = [
        "forget", &data, "--url", &first, "--url", &second, "--quiet",
    ];
    let mut ends: Option<BTreeMap<String, Vec<u8>>> = None;
    for milliseconds in [1000, 1, 3, 6, 10, 15, 20, 30] {
        let there = files(root);
        for name in there.keys().filter(|name| !built.whole.contains_key(*name)) {
            built.delete(name);
        }
        for (name, bytes) in &built.whole {
            std::fs::write(root.join(name), bytes).unwrap();
        }
        kill_after(milliseconds, &arguments);
        let output = m3w(&arguments);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(built.problems(), Vec::<String>::new());
        let found = files(root);
        let expected = ends.get_or_insert_with(|| found.clone());
        assert!(&found == expected, "killed after {milliseconds} ms");
    }
}

#[test]
fn what_cannot_be_forgotten_is_said() {
    let built = Built::new();
    let data = built.out().display().to_string();
    let list = built.list.with_file_name("asked.txt");
    std::fs::write(&list, "example.org\nhttp://\n").unwrap();
    let list = list.display().to_string();
    for (arguments, expected) in [
        (["--url", "example.org/a"], "`example.org/a` is no URL"),
        (["--domain", "co.uk"], "`co.uk` is shared by many owners"),
        (["--domain", "https://a.test/"], "is no host"),
        (["--sha256", "12ab"], "`12ab` is no SHA-256"),
        (["--list", &list], "asked.txt, line 2"),
    ] {
        let said = complaint(&["forget", &data, arguments[0], arguments[1]]);
        assert!(said.contains(expected), "{arguments:?}: {said}");
    }
    assert!(complaint(&["forget", &data]).contains("say what is to be forgotten"));
    assert!(files(built.out()) == built.whole);
    // While new files take their places nothing else works on the corpus.
    let waiting = built.out().join(".m3w-repair");
    std::fs::create_dir(&waiting).unwrap();
    std::fs::write(waiting.join("manifest.json"), "").unwrap();
    let said = complaint(&["verify", &data]);
    assert!(said.contains("give it again"), "{said}");
}
