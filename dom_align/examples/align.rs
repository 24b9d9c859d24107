//! Prints the text and images of stored pages, one JSON line a page.
//!
//! ```text
//! cargo run --release -p m3w-dom-align --example align -- MANIFEST.jsonl PAGES_DIR > predictions.jsonl
//! ```
//!
//! The manifest has lines `{"id", "url" | "base"}`; the page is `PAGES_DIR/<id>.html` or
//! `PAGES_DIR/<id>.html.gz`. Each output line is
//! `{"id", "items": [{"text"} | {"image", "alt", "caption"}], "dropped": [{"image", "reason"}]}`.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;

use m3w_document::Element;
use m3w_dom_align::{Config, align};
use serde_json::{Value, json};
use url::Url;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(manifest), Some(pages)) = (arguments.next(), arguments.next()) else {
        return Err("usage: align MANIFEST.jsonl PAGES_DIR".into());
    };
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for line in BufReader::new(File::open(manifest)?).lines() {
        let page: Value = serde_json::from_str(&line?)?;
        let id = page["id"]
            .as_str()
            .ok_or("a line of the manifest has no id")?;
        let base = page["base"]
            .as_str()
            .or(page["url"].as_str())
            .unwrap_or_default();
        let base = Url::parse(base).or_else(|_| Url::parse("http://localhost/"))?;
        let html = decode(&read(Path::new(&pages), id)?);
        let aligned = align(&html, &base, &Config::default());
        let items: Vec<Value> = aligned
            .document
            .elements
            .iter()
            .map(|element| match element {
                Element::Text(text) => json!({ "text": text.content }),
                Element::Image(image) => json!({
                    "image": image.url, "alt": image.alt, "caption": image.caption
                }),
            })
            .collect();
        let dropped: Vec<Value> = aligned
            .dropped
            .iter()
            .map(|image| json!({ "image": image.url, "reason": image.reason.to_string() }))
            .collect();
        writeln!(
            out,
            "{}",
            json!({ "id": id, "items": items, "dropped": dropped })
        )?;
    }
    Ok(())
}

fn read(pages: &Path, id: &str) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match File::open(pages.join(format!("{id}.html.gz"))) {
        Ok(file) => flate2::read::MultiGzDecoder::new(file).read_to_end(&mut bytes)?,
        Err(_) => File::open(pages.join(format!("{id}.html")))?.read_to_end(&mut bytes)?,
    };
    Ok(bytes)
}

/// UTF-8 where it is valid, else what the first `charset=` names, else windows-1252.
fn decode(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    let head = String::from_utf8_lossy(&bytes[..bytes.len().min(4096)]).to_ascii_lowercase();
    let label: Option<String> = head.split_once("charset=").map(|(_, rest)| {
        let rest = rest.trim_start_matches(['"', '\'']);
        rest.chars()
            .take_while(|c| c.is_ascii_alphanumeric() || "-_".contains(*c))
            .collect()
    });
    let encoding = label
        .and_then(|label| encoding_rs::Encoding::for_label(label.as_bytes()))
        .unwrap_or(encoding_rs::WINDOWS_1252);
    encoding.decode(bytes).0.into_owned()
}
