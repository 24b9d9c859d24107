//! The shards in the hands of other people's readers.

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
    assert_eq!(said.matches(" samples").count(), 5, "{said}");
}
