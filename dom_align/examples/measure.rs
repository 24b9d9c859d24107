//! Writes what is measured of each block of text of stored pages, for `train/train.py`.
//!
//! ```text
//! cargo run --release -p m3w-dom-align --example measure -- MANIFEST.jsonl PAGES_DIR OUT_DIR [LIKELIHOODS]
//! ```
//!
//! With the likelihoods of all blocks, which the training writes, it measures the images.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::Path;

use m3w_dom_align::{Config, training};
use serde_json::{Value, json};
use url::Url;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [manifest, pages, out, likelihoods @ ..] = arguments.as_slice() else {
        return Err("usage: measure MANIFEST.jsonl PAGES_DIR OUT_DIR [LIKELIHOODS]".into());
    };
    if let [likelihoods] = likelihoods {
        return measure_images(manifest, pages, out, likelihoods);
    }
    let out = Path::new(out);
    let mut values = BufWriter::new(File::create(out.join("values.f32"))?);
    let mut texts = BufWriter::new(File::create(out.join("blocks.jsonl"))?);
    let mut all_names = Vec::new();
    for line in BufReader::new(File::open(manifest)?).lines() {
        let Page { id, base, html } = page(&line?, Path::new(pages))?;
        let (names, blocks) = training::blocks(&html, &base, &Config::default());
        if all_names.is_empty() {
            all_names = names;
        }
        for value in blocks.iter().flat_map(|block| &block.values) {
            values.write_all(&value.to_le_bytes())?;
        }
        let held: Vec<&str> = blocks.iter().map(|block| block.text.as_str()).collect();
        writeln!(texts, "{}", json!({ "id": id, "texts": held }))?;
    }
    std::fs::write(out.join("names.json"), serde_json::to_string(&all_names)?)?;
    Ok(())
}

/// The second pass: images, with the likelihoods of the blocks that the first pass wrote.
fn measure_images(
    manifest: &str,
    pages: &str,
    out: &str,
    likelihoods: &str,
) -> Result<(), Box<dyn std::error::Error>> {
    let out = Path::new(out);
    let mut values = BufWriter::new(File::create(out.join("image_values.f32"))?);
    let mut urls = BufWriter::new(File::create(out.join("images.jsonl"))?);
    let mut all_names = Vec::new();
    let bytes = std::fs::read(likelihoods)?;
    let mut likelihoods = bytes
        .chunks_exact(4)
        .map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]]));
    for line in BufReader::new(File::open(manifest)?).lines() {
        let Page { id, base, html } = page(&line?, Path::new(pages))?;
        let (_, blocks) = training::blocks(&html, &base, &Config::default());
        let held = likelihoods.by_ref().take(blocks.len()).collect();
        let (names, images) = training::images(&html, &base, &Config::default(), held);
        if all_names.is_empty() {
            all_names = names;
        }
        for value in images.iter().flat_map(|image| &image.values) {
            values.write_all(&value.to_le_bytes())?;
        }
        let held: Vec<&Vec<String>> = images.iter().map(|image| &image.urls).collect();
        writeln!(urls, "{}", json!({ "id": id, "images": held }))?;
    }
    std::fs::write(
        out.join("image_names.json"),
        serde_json::to_string(&all_names)?,
    )?;
    Ok(())
}

/// A stored page.
struct Page {
    id: String,
    base: Url,
    html: String,
}

/// The page that a line of the manifest names.
fn page(line: &str, pages: &Path) -> Result<Page, Box<dyn std::error::Error>> {
    let line: Value = serde_json::from_str(line)?;
    let id = line["id"]
        .as_str()
        .ok_or("a line of the manifest has no id")?;
    let base = line["base"]
        .as_str()
        .or(line["url"].as_str())
        .unwrap_or_default();
    Ok(Page {
        id: id.to_owned(),
        base: Url::parse(base).or_else(|_| Url::parse("http://localhost/"))?,
        html: decode(&read(pages, id)?),
    })
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
