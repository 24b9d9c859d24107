//! WARC files instead of the web.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use flate2::Compression;
use flate2::write::GzEncoder;
use m3w::shards::{DocumentReader, Manifest};
use m3w::source::Source;

use super::site::{Site, run};

/// Texts and image hashes of all documents, by path of the page.
fn contents(root: &Path, manifest: &Manifest) -> Vec<(String, Vec<String>, Vec<String>)> {
    let mut contents: Vec<_> = manifest
        .documents
        .iter()
        .flat_map(|entry| DocumentReader::open(&root.join(&entry.path)).unwrap())
        .map(|document| {
            let document = document.unwrap();
            (
                document.final_url.path().to_owned(),
                document.texts().map(|text| text.content.clone()).collect(),
                document
                    .images()
                    .map(|image| image.sha256_fetched.to_string())
                    .collect(),
            )
        })
        .collect();
    contents.sort();
    contents
}

/// Appends a response record, compressed by itself.
fn append(warc: &mut Vec<u8>, url: &str, content_type: &str, body: &[u8]) {
    let mut http = format!("HTTP/1.1 200 OK\r\nContent-Type: {content_type}\r\n");
    let _ = write!(http, "Content-Length: {}\r\n\r\n", body.len());
    let mut record = format!(
        "WARC/1.1\r\nWARC-Type: response\r\nWARC-Target-URI: {url}\r\n\
         WARC-Date: 2024-05-06T07:08:09Z\r\nWARC-Record-ID: <urn:x:{}>\r\n\
         Content-Type: application/http; msgtype=response\r\nContent-Length: {}\r\n\r\n",
        warc.len(),
        http.len() + body.len()
    );
    record.push_str(&http);
    let mut member = GzEncoder::new(warc, Compression::default());
    member.write_all(record.as_bytes()).unwrap();
    member.write_all(body).unwrap();
    member.write_all(b"\r\n\r\n").unwrap();
    member.finish().unwrap();
}

#[test]
fn pages_and_images_of_an_archive_give_the_documents_that_the_web_gives() {
    let site = Site::start();
    let from_web = site.options("web", 2);
    let web = run(&from_web);

    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/site");
    let mut archive = Vec::new();
    for (name, body) in super::site::files(&folder) {
        let content_type = match name.rsplit('.').next().unwrap() {
            "html" => "text/html",
            "jpg" => "image/jpeg",
            "png" => "image/png",
            "gif" => "image/gif",
            "webp" => "image/webp",
            _ => continue,
        };
        if name != "members.html" {
            append(
                &mut archive,
                &format!("http://kites.test/{name}"),
                content_type,
                &body,
            );
        }
    }
    let path = site.folder.path().join("site.warc.gz");
    std::fs::write(&path, &archive).unwrap();
    let mut from_archive = site.options("archive", 2);
    from_archive.source = Source::Warc(vec![path.clone()]);
    from_archive.fetch_missing_images = false;
    let archived = run(&from_archive);
    assert_eq!(archived.tally.get("page/kept"), web.tally.get("page/kept"));
    assert_eq!(
        contents(&from_archive.out, &archived),
        contents(&from_web.out, &web)
    );

    // A cut archive gives what stands before the cut, and counts the damage.
    std::fs::write(&path, &archive[..archive.len() / 2]).unwrap();
    from_archive.out = site.folder.path().join("cut");
    let cut = run(&from_archive);
    assert!(cut.tally.get("page/kept") < archived.tally.get("page/kept"));
    assert!(
        cut.tally.get("page/fetch/damaged-record") >= 1,
        "{:?}",
        cut.tally
    );
}
