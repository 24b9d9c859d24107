//! The bytes of a corpus depend on the input and the seed, and on nothing else.

use super::site::{Site, files, run};

#[test]
fn one_thread_and_eight_write_the_same_bytes() {
    let site = Site::start();
    let one = site.options("one", 1);
    let eight = site.options("eight", 8);
    run(&one);
    run(&eight);
    let (one, eight) = (files(&one.out), files(&eight.out));
    assert_eq!(
        one.keys().collect::<Vec<_>>(),
        eight.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in &one {
        assert!(bytes == &eight[name], "{name} differs");
    }
    assert!(
        one.contains_key("documents/part-00003.parquet"),
        "{:?}",
        one.keys()
    );
}

#[test]
fn another_seed_draws_other_windows_from_the_same_documents() {
    let site = Site::start();
    let first = site.options("first", 2);
    let mut second = site.options("second", 2);
    second.config.seed = 1;
    let (first, second) = (run(&first), run(&second));
    let hashes = |files: &[m3w::shards::FileEntry]| -> Vec<_> {
        files.iter().map(|file| file.sha256).collect()
    };
    assert_ne!(hashes(&first.sequences), hashes(&second.sequences));
    assert_eq!(
        first.tally.get("image/kept"),
        second.tally.get("image/kept")
    );
}
