//! A crawl written down, and built again from what was written, with no server to ask.

use super::site::{Site, files, run};

#[test]
fn a_build_from_its_own_archive_is_the_same_byte_for_byte() {
    let site = Site::start();
    let archive = site.folder.path().join("archive");
    let mut first = site.options("first", 2);
    first.archives.out = Some(archive.clone());
    let manifest = run(&first);
    assert!(manifest.tally.get("page/kept") > 0);
    let mut second = site.options("second", 1);
    second.archives.replay = Some(archive.clone());
    let Site { folder, .. } = site.without_server();
    run(&second);
    let expected = files(&first.out);
    let found = files(&second.out);
    assert_eq!(
        found.keys().collect::<Vec<_>>(),
        expected.keys().collect::<Vec<_>>()
    );
    for (name, bytes) in &expected {
        assert!(bytes == &found[name], "{name} differs");
    }
    drop(folder);
}
