//! Pages in files: each is aligned by itself, without any request.
//!
//! For pages that somebody else has fetched, for looking at single pages, and for scoring against
//! pages whose content is known.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail, ensure};
use flate2::read::MultiGzDecoder;
use m3w_crawler::charset;
use m3w_document::{Document, Element, ImageRef};
use m3w_dom_align::{Config, align};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use url::Url;

/// Pages aligned between two writes; they bound the memory.
const PAGES_AT_ONCE: usize = 256;

/// A line of a manifest; further fields are allowed.
#[derive(Debug, Deserialize)]
struct Line {
    id: String,
    url: Option<String>,
    base: Option<String>,
}

/// A page and its text and images in order, as one line of JSON.
#[derive(Debug, Serialize)]
struct PageLine<'a> {
    id: &'a str,
    items: Vec<Item<'a>>,
}

/// An element of a document; the fields tell which kind it is.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum Item<'a> {
    Text {
        text: &'a str,
        role: &'static str,
    },
    Image {
        image: &'a str,
        alt: Option<&'a str>,
        caption: Option<&'a str>,
    },
}

/// How many pages of a manifest were aligned, and how many could not be read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count {
    /// Pages written.
    pub aligned: usize,
    /// Lines whose page could not be read; each was told in the log.
    pub failed: usize,
}

/// Aligns the pages that `manifest` names and writes one JSON line for each, in its order:
/// `{"id", "items": [{"text", "role"} | {"image", "alt", "caption"}]}`.
///
/// A line of the manifest is `{"id", "url" | "base"}`; the page is `pages/<id>.html`, or the same
/// with `.gz`. `base`, where given, is what relative URLs are joined to. Pages are aligned on all
/// threads of the current rayon pool; memory is that of a few hundred pages.
///
/// # Errors
///
/// If the manifest cannot be read or `out` not be written. A line or a page that cannot be read is
/// told in the log and counted.
pub fn align_all(
    manifest: &Path,
    pages: &Path,
    config: &Config,
    mut out: impl Write,
) -> Result<Count> {
    let file = File::open(manifest)
        .with_context(|| format!("cannot read the manifest {}", manifest.display()))?;
    let mut count = Count::default();
    let mut lines = BufReader::new(file).lines().zip(1..);
    loop {
        let batch: Vec<(String, usize)> = lines
            .by_ref()
            .take(PAGES_AT_ONCE)
            .map(|(line, number)| Ok((line?, number)))
            .collect::<std::io::Result<_>>()
            .with_context(|| format!("cannot read the manifest {}", manifest.display()))?;
        if batch.is_empty() {
            break;
        }
        let written: Vec<Option<Result<Vec<u8>>>> = batch
            .par_iter()
            .map(|(line, number)| {
                (!line.trim().is_empty()).then(|| {
                    page_line(line, pages, config)
                        .with_context(|| format!("{}, line {number}", manifest.display()))
                })
            })
            .collect();
        for line in written.into_iter().flatten() {
            match line {
                Ok(line) => {
                    out.write_all(&line).context("cannot write the pages")?;
                    count.aligned += 1;
                }
                Err(error) => {
                    tracing::error!("{error:#}");
                    count.failed += 1;
                }
            }
        }
    }
    out.flush().context("cannot write the pages")?;
    if count == Count::default() {
        bail!("{} names no page", manifest.display());
    }
    Ok(count)
}

fn page_line(line: &str, pages: &Path, config: &Config) -> Result<Vec<u8>> {
    let line: Line = serde_json::from_str(line).context("not a line {\"id\", \"url\"}")?;
    let base = line.base.or(line.url);
    let base = base.ok_or_else(|| anyhow!("page {} has neither `url` nor `base`", line.id))?;
    let base =
        Url::parse(&base).with_context(|| format!("`{base}` of page {} is no URL", line.id))?;
    let html = read(&page_path(pages, &line.id)?, config.max_page_bytes)?;
    json_line(&line.id, &align(&html, &base, config).document)
}

/// Where the page of that id lies; an id that would lead out of the folder is refused.
fn page_path(pages: &Path, id: &str) -> Result<PathBuf> {
    let is_name = !id.is_empty() && !id.contains(['/', '\\', '\0']);
    ensure!(is_name, "the id `{id}` is no name of a file");
    let plain = pages.join(format!("{id}.html"));
    if plain.exists() {
        return Ok(plain);
    }
    let compressed = pages.join(format!("{id}.html.gz"));
    ensure!(
        compressed.exists(),
        "there is neither {} nor the same with .gz",
        plain.display()
    );
    Ok(compressed)
}

/// The document as the line that [`align_all`] writes for it.
///
/// # Errors
///
/// None that a document can cause.
pub fn json_line(id: &str, document: &Document<ImageRef>) -> Result<Vec<u8>> {
    let items = document
        .elements
        .iter()
        .map(|element| match element {
            Element::Text(text) => Item::Text {
                text: &text.content,
                role: text.role.as_str(),
            },
            Element::Image(image) => Item::Image {
                image: image.url.as_str(),
                alt: image.alt.as_deref(),
                caption: image.caption.as_deref(),
            },
        })
        .collect();
    let mut line = serde_json::to_vec(&PageLine { id, items }).context("cannot describe a page")?;
    line.push(b'\n');
    Ok(line)
}

/// The page in a file as text: unpacked if its name ends in `.gz`, decoded by what it declares.
///
/// # Errors
///
/// If the file cannot be read or unpacked, or unpacked has more than `max_bytes`.
pub fn read(path: &Path, max_bytes: usize) -> Result<String> {
    let context = || format!("cannot read the page {}", path.display());
    let file = File::open(path).with_context(context)?;
    let is_compressed = path.extension().is_some_and(|extension| extension == "gz");
    let mut reader: Box<dyn Read> = if is_compressed {
        Box::new(MultiGzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let mut bytes = Vec::new();
    reader
        .by_ref()
        .take(max_bytes as u64 + 1)
        .read_to_end(&mut bytes)
        .with_context(context)?;
    ensure!(
        bytes.len() <= max_bytes,
        "the page {} has more than {max_bytes} bytes: raise `max_page_bytes`",
        path.display()
    );
    Ok(charset::decode(&bytes, None).text)
}
