//! The shards in the hands of other people's readers.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::site::shared_corpus;

/// Needs an interpreter with pyarrow, DuckDB, polars, `datasets` and Pillow, named by `M3W_PYTHON`;
/// `.ci/check.sh` makes one.
#[test]
fn pyarrow_duckdb_polars_and_datasets_read_rows_and_pixels() {
    let Ok(python) = std::env::var("M3W_PYTHON") else {
        println!("skipped: M3W_PYTHON names no interpreter with the readers");
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/shards/tests/read_shards.py");
    let output = Command::new(python)
        .arg(script)
        .arg(shared_corpus())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{said}");
    for reader in ["pyarrow", "duckdb", "polars", "datasets"] {
        assert!(said.contains(reader), "{reader} said nothing: {said}");
    }
}

/// Needs `webdataset` besides.
#[test]
fn exports_hold_the_documents_for_the_readers_they_are_for() {
    let Ok(python) = std::env::var("M3W_PYTHON") else {
        println!("skipped: M3W_PYTHON names no interpreter with the readers");
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/shards/tests/read_exports.py");
    let mut read = Command::new(python);
    read.arg(script).arg(shared_corpus());
    for format in [
        "obelics",
        "obelics-images",
        "openflamingo",
        "openflamingo-text",
        "webdataset",
        "mds",
    ] {
        let out = folder.path().join(format);
        let export = Command::new(env!("CARGO_BIN_EXE_m3w"))
            .args(["export", "--to", format, "--samples-per-file", "5"])
            .args([shared_corpus(), &out])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&export.stderr).into_owned();
        assert!(export.status.success(), "{said}");
        read.arg(format).arg(out);
    }
    let output = read.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{said}");
    assert_eq!(said.matches(" samples").count(), 6, "{said}");
}

/// Needs `mlcroissant` besides.
#[test]
fn a_card_describes_the_corpus_to_datasets_and_to_croissant() {
    let folder = tempfile::tempdir().unwrap();
    let corpus = folder.path().join("corpus");
    copy_folder(shared_corpus(), &corpus);
    let card = Command::new(env!("CARGO_BIN_EXE_m3w"))
        .args(["card", "--name", "Kites: a site", "--license", "CC0-1.0"])
        .arg(&corpus)
        .output()
        .unwrap();
    assert!(card.status.success(), "{card:?}");
    let text = fs::read_to_string(corpus.join("README.md")).unwrap();
    assert!(text.starts_with("---\npretty_name: \"Kites: a site\"\nlicense: \"cc0-1.0\"\n"));
    let Ok(python) = std::env::var("M3W_PYTHON") else {
        println!("skipped: M3W_PYTHON names no interpreter with the readers");
        return;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/shards/tests/read_card.py");
    let output = Command::new(python)
        .arg(script)
        .arg(&corpus)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned()
        + &String::from_utf8_lossy(&output.stderr);
    println!("{said}");
    assert!(output.status.success(), "{said}");
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}
