//! A web page that shows a corpus: what a person reads before trusting a number.
//!
//! The page is one file without scripts or outside references: the funnels, some documents with
//! every image at its place and its caption and alternative text beside it, and some training rows
//! as the model sees them. Memory is one document at a time; the pictures shown go into the file.

use std::fmt::Write as _;
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result};
use base64::prelude::{BASE64_STANDARD, Engine};
use m3w_document::{Document, Element, Image, Text, TextRole};
use m3w_shards::{DocumentReader, FileEntry, Manifest, SequenceReader, SequenceRow};

use crate::corpus::Corpus;
use crate::summary::funnels;

pub(crate) const STYLE: &str = include_str!("view/style.css");

/// How much of a corpus a report shows.
#[derive(Debug, Clone)]
pub struct ViewOptions {
    /// Documents, spread evenly over the corpus.
    pub documents: usize,
    /// Training rows, spread evenly over the corpus.
    pub sequences: usize,
}

/// Writes the report of a finished corpus to `out`.
///
/// # Errors
///
/// If the corpus cannot be read or the file not be written.
pub fn write_report(corpus: &Corpus, out: &Path, options: &ViewOptions) -> Result<()> {
    let manifest = corpus.manifest()?;
    let context = || format!("cannot write the report {}", out.display());
    let mut page = BufWriter::new(std::fs::File::create(out).with_context(context)?);
    let name = corpus.root().display().to_string();
    write!(page, "{}", head(&name, &manifest)).with_context(context)?;
    if options.documents > 0 && !manifest.documents.is_empty() {
        writeln!(page, "<h2 id=documents>Documents</h2>").with_context(context)?;
        for_spread(&manifest.documents, options.documents, |entry| {
            Ok(DocumentReader::open(&corpus.root().join(&entry.path))?)
        })?
        .try_for_each(|document| {
            write!(page, "{}", document_card(&document?)).with_context(context)
        })?;
    }
    if options.sequences > 0 {
        writeln!(page, "<h2 id=sequences>Training rows</h2>").with_context(context)?;
        for_spread(&manifest.sequences, options.sequences, |entry| {
            Ok(SequenceReader::open(&corpus.root().join(&entry.path))?)
        })?
        .try_for_each(|row| write!(page, "{}", sequence_card(&row?)).with_context(context))?;
    }
    writeln!(page, "</main>")
        .and_then(|()| page.flush())
        .with_context(context)
}

/// `wanted` items spread evenly over the rows of all files.
fn for_spread<'a, R, T, E>(
    files: &'a [FileEntry],
    wanted: usize,
    open: impl Fn(&'a FileEntry) -> Result<R> + 'a,
) -> Result<impl Iterator<Item = Result<T>> + 'a>
where
    R: Iterator<Item = Result<T, E>> + 'a,
    E: Into<anyhow::Error> + 'a,
    T: 'a,
{
    let total: u64 = files.iter().map(|file| file.rows).sum();
    let step = (total / wanted.max(1) as u64).max(1);
    let mut readers = Vec::new();
    let mut first = 0;
    for file in files {
        // Rows `first..` of this file whose number over all is a multiple of the step.
        let skip = (step - first % step) % step;
        first += file.rows;
        if skip < file.rows {
            readers.push((open(file)?, usize::try_from(skip)?));
        }
    }
    let step = usize::try_from(step)?;
    Ok(readers
        .into_iter()
        .flat_map(move |(reader, skip)| reader.skip(skip).step_by(step))
        .map(|row| row.map_err(Into::into))
        .take(wanted))
}

fn head(name: &str, manifest: &Manifest) -> String {
    let mut html = String::new();
    let title = escape(name);
    let _ = write!(
        html,
        "<!doctype html>\n<html lang=en><meta charset=utf-8><title>{title}</title>\n\
         <meta name=viewport content='width=device-width'>\n<style>\n{STYLE}</style>\n\
         <header><h1>{title}</h1><nav><a href=#documents>documents</a> \
         <a href=#sequences>training rows</a></nav></header>\n<main>\n<section class=funnels>\n"
    );
    for funnel in funnels(&manifest.tally) {
        let _ = writeln!(
            html,
            "<table><caption>{} {}</caption>",
            funnel.total, funnel.what
        );
        for (reason, count) in funnel.rows {
            #[expect(clippy::cast_precision_loss, reason = "a share to be read by people")]
            let share = 100.0 * count as f64 / funnel.total as f64;
            let class = if reason == "kept" { " class=kept" } else { "" };
            let _ = writeln!(
                html,
                "<tr{class}><th>{}<td>{count}<td><i style='width:{share:.1}%'></i> {share:.1} %",
                escape(reason)
            );
        }
        html.push_str("</table>\n");
    }
    html.push_str("</section>\n");
    html
}

fn document_card(document: &Document<Image>) -> String {
    let mut html = String::new();
    let title = document.title.as_deref().unwrap_or("(no title)");
    let url = escape(document.final_url.as_str());
    let _ = writeln!(
        html,
        "<article><h3>{}</h3><p class=about><a href=\"{url}\">{url}</a> · {} words · {} images{}",
        escape(title),
        document.word_count(),
        document.images().count(),
        document
            .language
            .as_deref()
            .map(|language| format!(" · {}", escape(language)))
            .unwrap_or_default(),
    );
    for element in &document.elements {
        match element {
            Element::Text(text) => html.push_str(&paragraph(text)),
            Element::Image(image) => html.push_str(&figure(image)),
        }
    }
    html.push_str("</article>\n");
    html
}

/// A text of a document, marked by its role.
pub(crate) fn paragraph(text: &Text) -> String {
    let (tag, class) = match text.role {
        TextRole::Heading => ("h4", ""),
        TextRole::Preformatted => ("pre", ""),
        TextRole::Caption => ("p", " class=caption"),
        TextRole::ListItem => ("p", " class=item"),
        TextRole::TableRow => ("p", " class=row"),
        TextRole::Paragraph => ("p", ""),
    };
    format!("<{tag}{class}>{}</{tag}>\n", escape(&text.content))
}

fn figure(image: &Image) -> String {
    let reference = &image.reference;
    let alt = reference.alt.as_deref().unwrap_or_default();
    format!(
        "<figure>{}<figcaption><b>alt</b> {} <b>size</b> {} x {}, stored {} x {} {}</figcaption>\
         </figure>\n",
        picture(&image.bytes, alt),
        if alt.is_empty() {
            "none".into()
        } else {
            escape(alt)
        },
        image.fetched_width_px,
        image.fetched_height_px,
        image.width_px,
        image.height_px,
        image.format.as_str(),
    )
}

/// A picture inside the page.
pub(crate) fn picture(bytes: &[u8], alt: &str) -> String {
    let kind = m3w_document::image::sniff(bytes).map_or("octet-stream", |format| format.as_str());
    format!(
        "<img alt=\"{}\" src=\"data:image/{kind};base64,{}\">",
        escape(alt),
        BASE64_STANDARD.encode(bytes)
    )
}

fn sequence_card(row: &SequenceRow) -> String {
    let mut html = String::new();
    let _ = write!(
        html,
        "<article class=window><p class=about>{} · {} · {} tokens from token {} · {} images<p>",
        escape(&row.source),
        escape(&row.id),
        row.token_count,
        row.window_start,
        row.frames_per_image.len()
    );
    let mut frames = row.images.iter();
    let mut clips = row.frames_per_image.iter();
    for (index, piece) in row.text.split("<image>").enumerate() {
        if index > 0 {
            html.push_str("<code>&lt;image&gt;</code>");
            for _ in 0..clips.next().copied().unwrap_or_default() {
                if let Some(frame) = frames.next() {
                    html.push_str(&picture(&frame.bytes, &frame.name));
                }
            }
        }
        html.push_str(&escape(piece).replace("&lt;EOC&gt;", "<code>&lt;EOC&gt;</code>"));
    }
    html.push_str("</article>\n");
    html
}

/// Words from outside as text, or as an attribute's value in quotes.
pub(crate) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

#[cfg(test)]
mod tests {
    use url::Url;

    use super::*;

    #[test]
    fn a_pages_own_markup_is_shown_and_not_obeyed() {
        let url = Url::parse("https://example.org/?q=%22%3E").unwrap();
        let mut document = Document::<Image>::new(url);
        let text = Text::paragraph("<script>alert('x')</script> & \"more\"");
        document.elements = vec![Element::Text(text)];
        let html = document_card(&document);
        assert!(!html.contains("<script>"), "{html}");
        assert!(
            html.contains("&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &amp;"),
            "{html}"
        );
    }
}
