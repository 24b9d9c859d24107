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
