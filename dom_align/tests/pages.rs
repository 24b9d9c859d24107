//! Each page in `pages/` beside what is read from it. Drop a page in and it is a test: run with
//! `M3W_BLESS=1` to write the expected text for it, and read what was written.

#![expect(
    clippy::unwrap_used,
    reason = "a read or write that fails fails the test"
)]

use std::fmt::Write as _;
use std::path::Path;

use m3w_document::{Element, Media};
use m3w_dom_align::{Aligned, Config, align};
use url::Url;

/// A page as one line an element.
fn written(aligned: &Aligned) -> String {
    let mut out = String::new();
    let document = &aligned.document;
    for (name, value) in [("title", &document.title), ("language", &document.language)] {
        if let Some(value) = value {
            writeln!(out, "{name}: {value}").unwrap();
        }
    }
    for element in &document.elements {
        match element {
            Element::Text(text) => {
                writeln!(out, "{}: {:?}", text.role.as_str(), text.content).unwrap();
            }
            Element::Image(image) => {
                write!(out, "image: {}", image.url).unwrap();
                for url in &image.alternatives {
                    write!(out, " or {url}").unwrap();
                }
                let said = [
                    ("alt", &image.alt),
                    ("title", &image.title),
                    ("caption", &image.caption),
                ];
                for (name, value) in said {
                    if let Some(value) = value {
                        write!(out, " {name}={value:?}").unwrap();
                    }
                }
                if let (Some(width), Some(height)) =
                    (image.declared_width_px, image.declared_height_px)
                {
                    write!(out, " size={width}x{height}").unwrap();
                }
                if let Some(link) = &image.link {
                    write!(out, " link={link}").unwrap();
                }
                if let Media::Video {
                    source: Some(source),
                } = &image.media
                {
                    write!(out, " video={source}").unwrap();
                }
                out.push('\n');
            }
        }
    }
    for dropped in &aligned.dropped {
        let url = dropped.url.as_deref().unwrap_or("nothing");
        writeln!(out, "dropped: {url}: {}", dropped.reason).unwrap();
    }
    if aligned.inline_svg > 0 {
        writeln!(out, "inline svg: {}", aligned.inline_svg).unwrap();
    }
    out
}

#[test]
fn every_page_reads_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/pages");
    let mut failures = String::new();
    let mut pages = 0;
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "html") {
            continue;
        }
        pages += 1;
        let html = std::fs::read_to_string(&path).unwrap();
        let url = Url::parse("https://example.org/folder/page.html").unwrap();
        let got = written(&align(&html, &url, &Config::default()));
        let expected_path = path.with_extension("txt");
        if std::env::var_os("M3W_BLESS").is_some() {
            std::fs::write(&expected_path, &got).unwrap();
        }
        let expected = std::fs::read_to_string(&expected_path).unwrap_or_default();
        if got != expected {
            write!(
                failures,
                "{}\nexpected:\n{expected}got:\n{got}\n",
                path.display()
            )
            .unwrap();
        }
    }
    assert!(pages > 0, "no pages in {}", folder.display());
    assert!(failures.is_empty(), "{failures}");
}
