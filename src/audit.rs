//! A sheet of documents drawn at random, for people to look at.
//!
//! Numbers tell what filters measured; whether pictures stand where they belong, and what should not
//! be in a corpus at all, a person has to see. The sheet is one web page without outside references:
//! each document whole, pictures made small at their places, all that is recorded of both, and boxes
//! to tick. The page's own policy allows one script, the one that is written here, so that nothing
//! in a document can be more than words, whatever a browser makes of it.
//!
//! Memory is one document and its pictures made small; 8 bytes for each document that is drawn.

use std::collections::BinaryHeap;
use std::fmt::Write as _;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, bail};
use base64::prelude::{BASE64_STANDARD, Engine};
use m3w_document::image::{Encoding, PrepareConfig, Resize, prepare};
use m3w_document::{ConsentSignal, Document, Element, Image, Media, Sha256};
use m3w_shards::{DocumentReader, MANIFEST_NAME, Manifest};
use url::Url;

use crate::corpus::Corpus;
use crate::view::{STYLE, escape, paragraph, picture};

const SHEET_STYLE: &str = include_str!("audit/sheet.css");
const SCRIPT: &str = include_str!("audit/sheet.js");

/// Side of the pictures in the sheet: what a corpus stores may be photographs of any size.
const SIDE_PX: u32 = 240;
const JPEG_QUALITY: u8 = 80;
/// Most characters of a text from outside that are shown where a line is expected.
const MOST_SHOWN: usize = 500;

/// What a reviewer may tick, by the name under which it is saved.
const TICKS: [(&str, &str); 9] = [
    ("good", "nothing is wrong"),
    ("text-missing", "text is missing or cut"),
    ("boilerplate", "text that is not the page's own"),
    ("image-misplaced", "a picture stands at a wrong place"),
    ("image-useless", "a picture that shows nothing"),
    ("caption-wrong", "a caption of another picture"),
    ("unsafe", "unsafe"),
    ("personal", "personal data"),
    ("rights", "rights are reserved"),
];

/// What is drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuditOptions {
    /// How many documents; all, if there are fewer.
    pub documents: usize,
    /// Seed of the draw: the same corpus and seed give the same sheet.
    pub seed: u64,
}

/// Writes the sheet of a finished corpus to `out`, whole or not at all.
///
/// # Errors
///
/// If the corpus holds no documents or cannot be read, or the file not be written.
pub fn write_sheet(corpus: &Corpus, out: &Path, options: &AuditOptions) -> Result<()> {
    let manifest = corpus.manifest()?;
    let total: u64 = manifest.documents.iter().map(|entry| entry.rows).sum();
    if total == 0 {
        bail!("{} holds no documents to look at", corpus.root().display());
    }
    let context = || format!("cannot write the sheet {}", out.display());
    let mut beside = out.as_os_str().to_owned();
    beside.push(".tmp");
    let beside = Path::new(&beside);
    let mut page = BufWriter::new(File::create(beside).with_context(context)?);
    let written = write_page(corpus, &manifest, total, options, &mut page)
        .and_then(|()| page.flush().with_context(context))
        .and_then(|()| std::fs::rename(beside, out).with_context(context));
    if written.is_err() {
        // The error in hand says more than one about the remains would.
        let _ = std::fs::remove_file(beside);
    }
    written
}

fn write_page(
    corpus: &Corpus,
    manifest: &Manifest,
    total: u64,
    options: &AuditOptions,
    page: &mut impl Write,
) -> Result<()> {
    let drawn = drawn_rows(total, options);
    let digest = std::fs::read(corpus.root().join(MANIFEST_NAME)).map(|bytes| Sha256::of(&bytes));
    let digest = digest.context("cannot read the manifest")?;
    let head = head(corpus, &digest, manifest, drawn.len(), total, options);
    page.write_all(head.as_bytes())?;
    let mut first = 0;
    let mut number = 0;
    for entry in &manifest.documents {
        let rows: Vec<u64> = drawn
            .iter()
            .filter(|row| (first..first + entry.rows).contains(*row))
            .map(|row| row - first)
            .collect();
        if !rows.is_empty() {
            let documents = DocumentReader::open_rows(&corpus.root().join(&entry.path), &rows)?;
            for (document, row) in documents.zip(&rows) {
                number += 1;
                page.write_all(card(&document?, number, first + row, &entry.path).as_bytes())?;
            }
        }
        first += entry.rows;
    }
    write!(page, "</main>\n<script>{SCRIPT}</script>\n")?;
    Ok(())
}

/// The rows that are drawn of so many, rising: those whose numbers, hashed with the seed, are the
/// least.
fn drawn_rows(total: u64, options: &AuditOptions) -> Vec<u64> {
    let mut least = BinaryHeap::new();
    for row in 0..total {
        let mut name = [0; 16];
        name[..8].copy_from_slice(&options.seed.to_le_bytes());
        name[8..].copy_from_slice(&row.to_le_bytes());
        least.push((Sha256::of(&name).0, row));
        if least.len() > options.documents {
            least.pop();
        }
    }
    let mut rows: Vec<u64> = least.into_iter().map(|(_, row)| row).collect();
    rows.sort_unstable();
    rows
}

fn head(
    corpus: &Corpus,
    digest: &Sha256,
    manifest: &Manifest,
    drawn: usize,
    total: u64,
    options: &AuditOptions,
) -> String {
    let script = BASE64_STANDARD.encode(Sha256::of(SCRIPT.as_bytes()).0);
    let root = corpus.root();
    let folder = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    let name = escape(&name);
    let seed = options.seed;
    format!(
        "<!doctype html>\n<html lang=en><meta charset=utf-8>\n\
         <meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src data:; \
         style-src 'unsafe-inline'; script-src 'sha256-{script}'; base-uri 'none'; \
         form-action 'none'\">\n<meta name=referrer content=no-referrer>\n\
         <meta name=viewport content='width=device-width'>\n<title>Audit of {name}</title>\n\
         <style>\n{STYLE}{SHEET_STYLE}</style>\n\
         <header><h1>Audit of {name}</h1><span>{drawn} of {total} documents, seed {seed}; corpus of \
         seed {}, settings {}</span><span id=progress></span>\
         <button id=save type=button>Save as JSON</button></header>\n\
         <main data-corpus={digest} data-seed={seed}>\n",
        manifest.seed, manifest.config_sha256,
    )
}

fn card(document: &Document<Image>, number: usize, row: u64, file: &str) -> String {
    let mut html = String::new();
    let title = document.title.as_deref().unwrap_or("(no title)");
    // Writing to a string does not fail, here and below.
    let _ = writeln!(
        html,
        "<article data-id={id} data-row={row} id=n{number}><h3 dir=auto>{number}. {}</h3>",
        shown(title),
        id = document.id
    );
    html.push_str("<table class=facts>\n");
    let mut fact = |name: &str, value: String| {
        let _ = writeln!(html, "<tr><th>{}<td dir=auto>{value}", escape(name));
    };
    fact("URL", link(&document.final_url));
    if document.url != document.final_url {
        fact("asked for as", link(&document.url));
    }
    fact(
        "document",
        format!("{} ({}, row {row} of all)", document.id, escape(file)),
    );
    if let Some(day) = document.fetched_at {
        let day = time::OffsetDateTime::from_unix_timestamp(day);
        fact(
            "fetched",
            day.map_or_else(|_| "?".to_owned(), |day| day.date().to_string()),
        );
    }
    if let Some(language) = &document.language {
        fact("language", shown(language));
    }
    if let Some(warc) = &document.warc {
        fact(
            "archive",
            format!("{} at {}", shown(&warc.file), warc.offset),
        );
    }
    fact(
        "holds",
        format!(
            "{} words, {} images",
            document.word_count(),
            document.images().count()
        ),
    );
    for (name, value) in &document.scores {
        fact(name, value.to_string());
    }
    fact("consent", consent(&document.consent));
    html.push_str("</table>\n");
    for element in &document.elements {
        match element {
            Element::Text(text) => html.push_str(&paragraph(text)),
            Element::Image(image) => html.push_str(&figure(image)),
        }
    }
    html.push_str("<fieldset><legend>Looked at</legend>\n");
    for (name, words) in TICKS {
        let _ = writeln!(
            html,
            "<label><input type=checkbox name={name}> {}</label>",
            escape(words)
        );
    }
    html.push_str("<textarea rows=2 placeholder=Notes></textarea></fieldset></article>\n");
    html
}

fn figure(image: &Image) -> String {
    let reference = &image.reference;
    let small = PrepareConfig {
        resize: Resize::Fit,
        side_px: SIDE_PX,
        encoding: Encoding::Jpeg,
        jpeg_quality: JPEG_QUALITY,
        keep_original: false,
        ..PrepareConfig::default()
    };
    let alt = reference.alt.as_deref().unwrap_or_default();
    let mut html = "<figure>".to_owned();
    match prepare(reference.clone(), &image.bytes, Vec::new(), &small) {
        Ok(small) => html.push_str(&picture(&small.bytes, alt)),
        Err(reason) => {
            let _ = write!(
                html,
                "<p>(cannot be shown: {})</p>",
                escape(&reason.to_string())
            );
        }
    }
    html.push_str("<figcaption><table class=facts>\n");
    let mut fact = |name: &str, value: String| {
        let _ = writeln!(html, "<tr><th>{name}<td dir=auto>{value}");
    };
    for (name, words) in [
        ("alt", &reference.alt),
        ("title", &reference.title),
        ("caption", &reference.caption),
    ] {
        if let Some(words) = words {
            fact(name, shown(words));
        }
    }
    fact("URL", link(&reference.url));
    match &reference.media {
        Media::Image => {}
        Media::Animation => fact("is", "the first frame of an animation".to_owned()),
        Media::Video { source } => {
            let source = source.as_ref().map_or_else(String::new, link);
            fact("is", format!("the poster of a video {source}"));
        }
        Media::Frame { source } => fact("is", format!("a frame of {}", link(source))),
    }
    fact(
        "size",
        format!(
            "{} x {} as fetched, {} x {} stored, {}",
            image.fetched_width_px,
            image.fetched_height_px,
            image.width_px,
            image.height_px,
            image.format.as_str()
        ),
    );
    fact("SHA-256", format!("{} as fetched", image.sha256_fetched));
    if !image.consent.is_empty() {
        fact("consent", consent(&image.consent));
    }
    html.push_str("</table></figcaption></figure>\n");
    html
}

fn consent(signals: &[ConsentSignal]) -> String {
    if signals.is_empty() {
        return "no statement on reuse".to_owned();
    }
    let statements: Vec<String> = signals
        .iter()
        .map(|signal| format!("{}: {}", shown(&signal.channel), shown(&signal.value)))
        .collect();
    statements.join("<br>")
}

/// Words from outside, of a length to be read.
fn shown(words: &str) -> String {
    match words.char_indices().nth(MOST_SHOWN) {
        Some((end, _)) => format!("{}...", escape(&words[..end])),
        None => escape(words),
    }
}

/// An address to follow, if it leads to the web.
fn link(url: &Url) -> String {
    let words = shown(url.as_str());
    if matches!(url.scheme(), "http" | "https") {
        let address = escape(url.as_str());
        format!(
            "<a rel='noopener noreferrer nofollow' target=_blank href=\"{address}\">{words}</a>"
        )
    } else {
        words
    }
}

#[cfg(test)]
mod tests {
    use m3w_document::{ImageRef, Text};

    use super::*;

    #[test]
    fn what_a_page_says_is_shown_and_never_obeyed() {
        let hostile = "</title></textarea></script><script>alert(1)</script>\"'><img src=x \
                       onerror=alert(2)><!--";
        let url = Url::parse("https://a.test/\"><script>alert(3)</script>?'onload=").unwrap();
        let mut document = Document::<Image>::new(url.clone());
        document.title = Some(hostile.to_owned());
        document.language = Some(hostile.to_owned());
        document.url = Url::parse("javascript:alert(4)").unwrap();
        document.scores.insert(hostile.to_owned(), 1.0);
        document.consent.push(ConsentSignal {
            channel: hostile.to_owned(),
            value: hostile.to_owned(),
            seen_at: None,
        });
        let image = Image {
            reference: ImageRef {
                alt: Some(hostile.to_owned()),
                title: Some(hostile.to_owned()),
                caption: Some(hostile.to_owned()),
                ..ImageRef::new(url)
            },
            bytes: hostile.as_bytes().into(),
            format: m3w_document::Format::Png,
            width_px: 1,
            height_px: 1,
            fetched_width_px: 1,
            fetched_height_px: 1,
            sha256_fetched: Sha256::of(b""),
            sha256_stored: Sha256::of(b""),
            dhash: 0,
            consent: document.consent.clone(),
            fetched_format: None,
            scores: Default::default(),
        };
        document.elements = vec![
            Element::Text(Text::paragraph(hostile)),
            Element::Image(image),
        ];
        let html = card(&document, 1, 0, "documents/part-00000.parquet");
        // Every tag that there is, is one that is written here.
        let tags = [
            "article",
            "h3",
            "table",
            "tr",
            "th",
            "td",
            "a",
            "p",
            "figure",
            "figcaption",
            "br",
            "fieldset",
            "legend",
            "label",
            "input",
            "textarea",
        ];
        for tag in html.split('<').skip(1) {
            let tag = tag.trim_start_matches('/');
            let end = tag.find(|c: char| !c.is_ascii_alphanumeric()).unwrap_or(0);
            assert!(tags.contains(&&tag[..end]), "<{tag}");
        }
        assert!(!html.contains("href=\"javascript"), "{html}");
        assert!(html.contains("&lt;script&gt;alert(1)"), "{html}");
        // No value ends its quotes.
        let quotes = html.matches('"').count();
        assert_eq!(quotes, 2 * html.matches("href=\"").count(), "{html}");
    }

    #[test]
    fn a_draw_is_fair_and_the_same_each_time() {
        let draw = |documents, seed| drawn_rows(1000, &AuditOptions { documents, seed });
        assert_eq!(draw(200, 1), draw(200, 1));
        assert_ne!(draw(200, 1), draw(200, 2));
        assert_eq!(draw(200, 1).len(), 200);
        assert_eq!(draw(5000, 1).len(), 1000);
        // A larger sheet holds a smaller one.
        let larger = draw(300, 1);
        assert!(draw(200, 1).iter().all(|row| larger.contains(row)));
        let mut counts = [0_u32; 1000];
        for seed in 0..500 {
            for row in draw(200, seed) {
                counts[usize::try_from(row).unwrap()] += 1;
            }
        }
        // 100 times each, with a deviation of 9.
        assert!(
            counts.iter().all(|count| (50..150).contains(count)),
            "{counts:?}"
        );
    }

    #[test]
    fn the_script_ends_no_script_element() {
        assert!(!SCRIPT.contains("</") && !SCRIPT.contains("<!--"));
    }
}
