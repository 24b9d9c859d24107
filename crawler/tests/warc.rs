//! WARC files of every form, whole and damaged.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of these tests fail as the tests do"
)]

use std::io::Write;
use std::path::PathBuf;

use m3w_crawler::warc::{WarcItem, pages};
use m3w_crawler::{Config, Error};
use tempfile::TempDir;

fn record(kind: &str, url: &str, block: &[u8]) -> Vec<u8> {
    let length = block.len();
    let head = format!(
        "WARC/1.0\r\nWARC-Type: {kind}\r\nWARC-Target-URI: {url}\r\nWARC-Date: 2025-01-01T00:00:00Z\r\nContent-Length: {length}\r\n\r\n"
    );
    [head.as_bytes(), block, b"\r\n\r\n"].concat()
}

fn response(url: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let head = format!("HTTP/1.1 200 OK\r\n{headers}\r\n");
    record("response", url, &[head.as_bytes(), body].concat())
}

fn page(number: usize) -> Vec<u8> {
    let url = format!("http://h.test/{number}");
    let body = format!("<p>page {number}</p>");
    response(&url, "Content-Type: text/html\r\n", body.as_bytes())
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

struct Archive {
    _folder: TempDir,
    path: PathBuf,
}

fn archive(parts: &[Vec<u8>]) -> Archive {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.warc");
    std::fs::write(&path, parts.concat()).unwrap();
    Archive {
        _folder: folder,
        path,
    }
}

/// One word per item: a page's text, a resource's type, the reason of a skip, or `damaged`.
fn words(parts: &[Vec<u8>]) -> Vec<String> {
    let archive = archive(parts);
    pages(&archive.path, &Config::default())
        .unwrap()
        .map(|item| match item {
            Ok(WarcItem::Page(page)) => page.html,
            Ok(WarcItem::Resource(resource)) => resource.content_type.unwrap(),
            Ok(WarcItem::Skipped(failure)) => failure.reason().into_owned(),
            Err(Error::Damaged { .. }) => "damaged".to_owned(),
            Err(error) => panic!("{error}"),
        })
        .collect()
}

const THREE: [&str; 3] = ["<p>page 0</p>", "<p>page 1</p>", "<p>page 2</p>"];

#[test]
fn every_form_of_file_gives_the_same_pages() {
    let plain: Vec<_> = (0..3).map(page).collect();
    let gzipped: Vec<_> = plain.iter().map(|record| gzip(record)).collect();
    let zstd: Vec<_> = plain
        .iter()
        .map(|record| zstd::encode_all(record.as_slice(), 3).unwrap())
        .collect();
    let in_one_member = [gzip(&plain.concat())];
    assert_eq!(words(&plain), THREE);
    assert_eq!(words(&gzipped), THREE);
    assert_eq!(words(&zstd), THREE);
    assert_eq!(words(&in_one_member), THREE);
    assert!(words(&[]).is_empty());
}

#[test]
fn a_zstd_file_may_bring_its_dictionary() {
    let dictionary =
        b"WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://h.test/".repeat(4);
    let mut frame = vec![0x5d, 0x2a, 0x4d, 0x18];
    frame.extend(u32::try_from(dictionary.len()).unwrap().to_le_bytes());
    frame.extend(&dictionary);
    let mut encoder = zstd::Encoder::with_dictionary(Vec::new(), 3, &dictionary).unwrap();
    encoder.write_all(&page(0)).unwrap();
    assert_eq!(words(&[frame, encoder.finish().unwrap()]), THREE[..1]);
}

#[test]
fn a_location_is_where_the_record_can_be_read_alone() {
    let parts = [gzip(&page(0)), gzip(&page(1))];
    let archive = archive(&parts);
    let items = pages(&archive.path, &Config::default()).unwrap();
    let locations: Vec<_> = items
        .map(|item| match item.unwrap() {
            WarcItem::Page(page) => page.warc.unwrap(),
            other => panic!("{other:?}"),
        })
        .collect();
    let lengths = parts.map(|part| part.len() as u64);
    assert_eq!(locations[0].file, "a.warc");
    assert_eq!((locations[0].offset, locations[0].length), (0, lengths[0]));
    assert_eq!(
        (locations[1].offset, locations[1].length),
        (lengths[0], lengths[1])
    );
}

#[test]
fn damage_is_reported_once_and_the_rest_is_read() {
    let garbage = b"no member at all".to_vec();
    let gzipped = [gzip(&page(0)), garbage, gzip(&page(1))];
    assert_eq!(words(&gzipped), [THREE[0], "damaged", THREE[1]]);
    let mut cut = gzip(&page(1));
    cut.truncate(cut.len() - 6);
    assert_eq!(words(&[gzip(&page(0)), cut]), [THREE[0], "damaged"]);
    let negative = String::from_utf8(page(1))
        .unwrap()
        .replace("Length: ", "Length: -");
    assert_eq!(
        words(&[page(0), negative.into_bytes(), page(2)]),
        [THREE[0], "damaged", THREE[2]]
    );
    let endless = String::from_utf8(page(1))
        .unwrap()
        .replace("Length: ", "Length: 9999999");
    assert_eq!(
        words(&[page(0), endless.into_bytes()]),
        [THREE[0], "damaged"]
    );
}

#[test]
fn a_record_beyond_the_cap_is_skipped() {
    let url = "http://h.test/bomb";
    let bomb = response(url, "Content-Type: text/html\r\n", &vec![b' '; 30 << 20]);
    assert_eq!(
        words(&[gzip(&bomb), gzip(&page(0))]),
        ["too-large", THREE[0]]
    );
}

#[test]
fn bodies_are_taken_as_they_are_when_their_headers_lie() {
    let html = "Content-Type: text/html\r\n";
    let body = b"<p>body</p>";
    let chunked = format!("{html}Transfer-Encoding: chunked\r\n");
    let coded = format!("{html}Content-Encoding: gzip\r\n");
    let parts = [
        response(
            "http://h.test/1",
            &chunked,
            b"b\r\n<p>body</p>\r\n0\r\n\r\n",
        ),
        response("http://h.test/2", &chunked, body),
        response("http://h.test/3", &coded, &gzip(body)),
        response("http://h.test/4", &coded, body),
    ];
    assert_eq!(words(&parts), ["<p>body</p>"; 4]);
}

#[test]
fn what_is_no_page_is_a_resource_or_has_its_reason() {
    let html = "Content-Type: text/html\r\n";
    let closed = format!("{html}X-Robots-Tag: noai\r\n");
    let missing = b"HTTP/1.1 404 Not Found\r\n\r\n";
    let parts = [
        record("warcinfo", "", b"format: x"),
        record("request", "http://h.test/", b"GET / HTTP/1.1\r\n\r\n"),
        response(
            "http://h.test/a.png",
            "Content-Type: image/png\r\n",
            b"\x89PNG",
        ),
        response("http://h.test/a.css", "Content-Type: text/css\r\n", b"a {}"),
        response("http://h.test/", &closed, b"<p>"),
        record("response", "http://h.test/", missing),
        record("revisit", "http://h.test/", b""),
        response("dns:h.test", "", b"1.2.3.4"),
    ];
    assert_eq!(
        words(&parts),
        ["image/png", "not-html", "consent", "http-404", "revisit"]
    );
}

#[test]
fn a_record_with_a_wrong_digest_is_no_page() {
    let right = "sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ";
    let with = |header: &str, digest: &str| {
        let text = String::from_utf8(page(0)).unwrap();
        let line = format!("{header}: {digest}\r\nContent-Length");
        text.replacen("Content-Length", &line, 1).into_bytes()
    };
    assert_eq!(words(&[with("WARC-Block-Digest", right)]), ["digest"]);
    assert_eq!(words(&[with("WARC-Payload-Digest", right)]), ["digest"]);
    assert_eq!(words(&[with("WARC-Payload-Digest", "md5:x")]), THREE[..1]);
}
