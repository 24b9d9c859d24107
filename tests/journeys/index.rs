//! Pages taken out of WARC files by an index.

use m3w::crawler::warc::WarcReader;
use m3w::source::Source;

use super::site::{Site, run};

#[test]
fn the_records_that_an_index_names_become_the_same_documents() {
    let site = Site::start();
    let archive = site.folder.path().join("archive");
    let mut first = site.options("first", 2);
    first.archives.out = Some(archive.clone());
    let expected = run(&first);
    let records = WarcReader::open(&archive.join("m3w-00000.warc.gz"), 10 << 20).unwrap();
    let mut lines = String::new();
    for record in records.map(Result::unwrap) {
        let (kind, target) = (record.kind(), record.header("WARC-Target-URI"));
        let is_page = String::from_utf8_lossy(&record.block).contains("text/html");
        if let ("response", Some(url), Some(place), true) =
            (kind, target, &record.location, is_page)
        {
            lines.push_str(&format!(
                "key 20250101000000 {{\"url\": \"{url}\", \"filename\": \"{}\", \"offset\": {}, \
                 \"length\": {}}}\n",
                place.file, place.offset, place.length
            ));
        }
    }
    lines.push_str(
        "key 20250101000000 {\"filename\": \"gone.warc.gz\", \"offset\": 0, \"length\": 9}\n",
    );
    let path = site.folder.path().join("pages.cdxj");
    std::fs::write(&path, lines).unwrap();
    let mut second = site.options("second", 2);
    second.source = Source::Index {
        path,
        base: archive.display().to_string(),
    };
    let found = run(&second);
    assert!(found.tally.get("page/kept") > 0);
    for name in ["page/kept", "image/kept", "content/words"] {
        assert_eq!(found.tally.get(name), expected.tally.get(name), "{name}");
    }
    assert_eq!(found.tally.get("page/fetch/not-archived"), 1);
}
