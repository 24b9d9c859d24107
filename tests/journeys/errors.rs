//! What a user gets wrong is said in one line that names it and what to do.

use std::path::Path;

use super::site::{Site, complaint, m3w, shared_corpus};

fn write(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.display().to_string()
}

#[test]
fn a_list_that_is_missing_or_empty_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out").display().to_string();
    let missing = folder.path().join("no.txt").display().to_string();
    let said = complaint(&["build", "--urls", &missing, "--out", &out]);
    assert!(said.contains("no.txt"), "{said}");
    let empty = write(folder.path(), "empty.txt", "# nothing\n\n");
    let said = complaint(&["build", "--urls", &empty, "--out", &out]);
    assert!(said.contains("empty.txt names no URL"), "{said}");
    assert!(!Path::new(&out).exists());
}

#[test]
fn lines_that_are_not_urls_are_counted_and_the_rest_is_built() {
    let site = Site::start();
    let urls = std::fs::read_to_string(&site.list).unwrap();
    let mixed = format!("not a url\nftp://a.test/\n{urls}\u{1}\njavascript:alert(1)\n");
    let list = write(site.folder.path(), "mixed.txt", &mixed);
    let mut options = site.options("mixed", 2);
    options.source = m3w::source::Source::Urls {
        path: list.into(),
        column: "url".to_owned(),
    };
    let manifest = super::site::run(&options);
    assert_eq!(manifest.tally.get("page/fetch/bad-url"), 4);
    assert_eq!(manifest.tally.get("page/fetch/robots"), 1);
    assert_eq!(manifest.tally.get("page/fetch/http-404"), 1);
    assert_eq!(manifest.tally.get("page/kept"), 14);
}

#[test]
fn private_addresses_are_refused_unless_allowed() {
    let site = Site::start();
    let mut options = site.options("refused", 2);
    options.config.crawler.allow_private_addresses = false;
    let manifest = super::site::run(&options);
    assert_eq!(manifest.tally.get("page/fetch/private-address"), 16);
    assert_eq!(manifest.tally.get("page/kept"), 0);
}

#[test]
fn an_unreadable_tokenizer_stops_the_build_before_it_begins() {
    let site = Site::start();
    let list = site.list.display().to_string();
    let out = site.folder.path().join("out").display().to_string();
    for (name, content) in [("cut.json", "{\"version\": \"1.0\""), ("other.json", "{}")] {
        let tokenizer = write(site.folder.path(), name, content);
        let said = complaint(&[
            "build",
            "--urls",
            &list,
            "--out",
            &out,
            "--tokenizer",
            &tokenizer,
        ]);
        assert!(said.contains(name), "{said}");
    }
    let said = complaint(&[
        "build",
        "--urls",
        &list,
        "--out",
        &out,
        "--tokenizer",
        "/no/such.json",
    ]);
    assert!(said.contains("/no/such.json"), "{said}");
    assert!(!Path::new(&out).exists());
}

#[test]
fn a_device_that_is_not_there_is_named_before_anything_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("run").display().to_string();
    let corpus = shared_corpus().display().to_string();
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("configs/train-tiny.toml");
    let config = config.display().to_string();
    let train = |more: &[&str]| {
        let run = [
            "train", "--config", &config, "--data", &corpus, "--out", &out,
        ];
        complaint(&[&run, more].concat())
    };
    let said = train(&["--device", "gpu"]);
    assert!(
        said.contains("`device` is gpu") && said.contains("cuda:N"),
        "{said}"
    );
    let said = train(&["--device", "cuda:99"]);
    assert!(said.contains("cuda:99"), "{said}");
    let said = train(&["--set", "run.precision=bf16"]);
    assert!(
        said.contains("`precision` is bf16") && said.contains("f32"),
        "{said}"
    );
    assert!(!Path::new(&out).exists());
}

#[test]
fn an_unknown_key_is_named() {
    let site = Site::start();
    let list = site.list.display().to_string();
    let config = write(
        site.folder.path(),
        "build.toml",
        "[filter.image]\nmin_side = 3\n",
    );
    let said = complaint(&["build", "--urls", &list, "--out", "x", "--config", &config]);
    assert!(
        said.contains("build.toml") && said.contains("min_side"),
        "{said}"
    );
    let said = complaint(&["build", "--urls", &list, "--out", "x", "--set", "sead=3"]);
    assert!(said.contains("sead"), "{said}");
}

#[test]
fn a_directory_of_another_build_is_left_alone() {
    let corpus = shared_corpus().display().to_string();
    let site = Site::start();
    let list = site.list.display().to_string();
    let said = complaint(&["build", "--urls", &list, "--out", &corpus]);
    assert!(said.contains("another input"), "{said}");
    let other = site.folder.path().display().to_string();
    let said = complaint(&["build", "--urls", &list, "--out", &other]);
    assert!(said.contains("is not empty"), "{said}");
}

#[test]
fn a_corpus_of_a_newer_schema_asks_for_a_newer_program() {
    let folder = tempfile::tempdir().unwrap();
    let manifest = std::fs::read_to_string(shared_corpus().join("manifest.json")).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_str(&manifest).unwrap();
    manifest["schema_version"] = 99.into();
    write(folder.path(), "manifest.json", &manifest.to_string());
    let folder = folder.path().display().to_string();
    let said = complaint(&["stats", &folder]);
    assert!(
        said.contains("schema version 99") && said.contains("update m3w"),
        "{said}"
    );
}

#[test]
fn a_flipped_bit_is_found_by_verify() {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in super::site::files(shared_corpus()) {
        let path = folder.path().join(&name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let root = folder.path().display().to_string();
    assert!(m3w(&["verify", &root]).status.success());
    let shard = folder.path().join("sequences/part-00001.parquet");
    let mut bytes = std::fs::read(&shard).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 4;
    std::fs::write(&shard, bytes).unwrap();
    let said = complaint(&["verify", &root]);
    assert!(said.contains("part-00001.parquet"), "{said}");
    std::fs::remove_file(&shard).unwrap();
    let said = complaint(&["verify", &root]);
    assert!(said.contains("part-00001.parquet"), "{said}");
}
