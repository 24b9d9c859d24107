//! Pages in files, read by `m3w align`.

use std::io::Write;
use std::path::Path;

use serde_json::Value;

use super::site::{complaint, m3w};

const PAGE: &str = "<meta charset=utf-8><nav><a href=/>Home</a></nav><main><p>A robin sits:\
    <figure><img src=robin.jpg alt=Robin><figcaption>In winter</figcaption></figure>\
    <p>Then it flies.</main>";

/// A folder with a manifest of two pages, one of them compressed.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.html"), PAGE).unwrap();
    let file = std::fs::File::create(folder.path().join("b.html.gz")).unwrap();
    let mut file = flate2::write::GzEncoder::new(file, flate2::Compression::fast());
    file.write_all(PAGE.replace("robin", "wren").as_bytes())
        .unwrap();
    file.finish().unwrap();
    folder
}

fn align(folder: &Path, manifest: &str) -> std::process::Output {
    let path = folder.join("manifest.jsonl");
    std::fs::write(&path, manifest).unwrap();
    m3w(&[
        "align",
        "--manifest",
        &path.display().to_string(),
        "--pages",
        &folder.display().to_string(),
        "--format",
        "jsonl",
    ])
}

#[test]
fn each_page_of_a_manifest_is_one_line_in_its_order() {
    let folder = folder();
    let output = align(
        folder.path(),
        "{\"id\": \"b\", \"url\": \"https://b.test/x/\"}\n\n{\"id\": \"a\", \"url\": null, \
         \"base\": \"https://a.test/y/\"}\n",
    );
    assert!(output.status.success(), "{output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    let pages: Vec<Value> = text
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(
        pages[0],
        serde_json::json!({"id": "b", "items": [
            {"text": "A wren sits:", "role": "paragraph"},
            {"image": "https://b.test/x/wren.jpg", "alt": "Robin", "caption": "In winter"},
            {"text": "In winter", "role": "caption"},
            {"text": "Then it flies.", "role": "paragraph"},
        ]})
    );
    assert_eq!(pages[1]["items"][1]["image"], "https://a.test/y/robin.jpg");
    assert_eq!(pages.len(), 2);
}

#[test]
fn a_page_that_cannot_be_read_is_named_and_the_others_are_written() {
    let folder = folder();
    let output = align(
        folder.path(),
        "{\"id\": \"none\", \"url\": \"https://a.test/\"}\nnot json\n\
         {\"id\": \"../b\", \"url\": \"https://a.test/\"}\n{\"id\": \"a\"}\n\
         {\"id\": \"a\", \"url\": \"https://a.test/\"}\n",
    );
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(output.stdout.iter().filter(|&&b| b == b'\n').count(), 1);
    let said = String::from_utf8(output.stderr).unwrap();
    for problem in [
        "none.html",
        "line 2",
        "`../b` is no name",
        "neither `url` nor `base`",
        "4 of 5 pages",
    ] {
        assert!(said.contains(problem), "{problem}: {said}");
    }
}

#[test]
fn a_single_page_is_shown_as_text_with_what_was_left_out() {
    let folder = folder();
    let page = folder.path().join("c.html");
    std::fs::write(&page, format!("{PAGE}<img src=a.gif width=1 height=1>")).unwrap();
    let output = m3w(&[
        "align",
        &page.display().to_string(),
        "--base-url",
        "https://a.test/",
        "--mode",
        "everything",
    ]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("[image] https://a.test/robin.jpg alt \"Robin\"\n[caption] In winter"));
    assert!(text.contains("left out: https://a.test/a.gif: align/tracking-pixel"));
    assert!(text.contains("Home"), "{text}");
    let said = complaint(&[
        "align",
        &folder.path().join("no.html").display().to_string(),
    ]);
    assert!(said.contains("no.html"), "{said}");
}
