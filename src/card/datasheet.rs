//! The datasheet: what a corpus consists of, where it came from and where the rest went, after the
//! questions of Gebru et al., "Datasheets for Datasets" (arXiv 1803.09010), as far as a program can
//! answer them.

use std::fmt::Write as _;

use m3w_shards::{FileEntry, Manifest};

use super::counts::{Counts, cell, day};
use crate::corpus::Run;
use crate::summary::funnels;

/// The datasheet in Markdown.
pub(super) fn datasheet(
    manifest: &Manifest,
    counts: &Counts,
    name: &str,
    license: Option<&str>,
) -> String {
    let mut text = String::new();
    // Writing to a string does not fail, here and below.
    let mut line = |words: &str| {
        let _ = writeln!(text, "{words}");
    };
    line(&format!("# Datasheet of {}\n", cell(name)));
    line(
        "Written by `m3w card` from the corpus itself; what only people can answer is at the end.\n",
    );
    line("## Composition\n");
    let rows = |files: &[FileEntry]| files.iter().map(|file| file.rows).sum::<u64>();
    line("| | |\n|---|---|");
    for (what, count) in [
        ("documents", counts.documents),
        ("words", counts.words),
        ("images", counts.formats.total()),
        ("images with an alternative text", counts.with_alt),
        ("images with a caption", counts.with_caption),
        ("captions in the text", counts.captions()),
        ("training rows", rows(&manifest.sequences)),
        ("hosts", counts.hosts.distinct()),
    ] {
        line(&format!("| {what} | {count} |"));
    }
    if counts.documents > 0 {
        line("\n### Words of a document\n");
        line(&counts.document_words.table("words"));
        line("### Images of a document\n");
        line(&counts.document_images.table("images"));
        line("### Texts by role\n");
        line(&counts.roles.table("texts"));
        line("### Languages, as declared or identified\n");
        line(&counts.languages.table("documents"));
        line("### Hosts\n");
        line(&counts.hosts.table("documents"));
        line("### Images\n\nWhat they are:\n");
        line(&counts.media.table("images"));
        line("Formats, as stored:\n");
        line(&counts.formats.table("images"));
        line("The shorter side as fetched:\n");
        line(&counts.short_sides.table("pixels"));
        line("The shorter side as stored:\n");
        line(&counts.stored_short_sides.table("pixels"));
    }
    line("## Collection\n");
    line(
        "Pages were asked for with the rules of RFC 9309 (robots.txt). Where the page, its headers \
         or its site reserve such use, it was left out. Each input and image that was dropped is in \
         `outcomes` with its reason and the value that was measured; by reason:\n",
    );
    for funnel in funnels(&manifest.tally) {
        line(&format!(
            "| {} | {} | |\n|---|---|---|",
            funnel.what, funnel.total
        ));
        for (reason, count) in &funnel.rows {
            #[expect(clippy::cast_precision_loss, reason = "a share to be read by people")]
            let share = 100.0 * *count as f64 / funnel.total as f64;
            line(&format!("| {reason} | {count} | {share:.1} % |"));
        }
        line("");
    }
    line("## Rights\n");
    let license = license.map_or_else(|| "not stated".to_owned(), cell);
    line(&format!("Licence of the collection: {license}.\n"));
    line("Licences that pages name (`rel=license` and `<meta name=license>`), as they stand:\n");
    if counts.licences.distinct() > 0 {
        line(&counts.licences.table("mentions"));
    }
    line(&format!(
        "{} of {} documents name none.\n",
        counts.without_licence, counts.documents
    ));
    if counts.statements.distinct() > 0 {
        line("Other statements on reuse that came with what was kept:\n");
        line(&counts.statements.table("statements"));
    }
    line("## Provenance\n");
    provenance(manifest, counts, &mut line);
    line("## What a program cannot answer\n");
    for question in [
        "For what purpose, by whom and with whose funding was the corpus made?",
        "What was looked at by people, and what did they find? `m3w audit` draws a sheet of documents \
         for that.",
        "Whom might it harm: people who are shown or named, groups that are missing or overdrawn?",
        "Who answers requests that something be taken out, and until when?",
    ] {
        line(&format!("- {question}"));
    }
    text
}

fn provenance(manifest: &Manifest, counts: &Counts, line: &mut impl FnMut(&str)) {
    line("| | |\n|---|---|");
    if let (Some(first), Some(last)) = (counts.first_day, counts.last_day) {
        line(&format!("| fetched | {} to {} |", day(first), day(last)));
    }
    line(&format!("| m3w | {} |", env!("CARGO_PKG_VERSION")));
    line(&format!("| schema version | {} |", manifest.schema_version));
    line(&format!("| seed | {} |", manifest.seed));
    line(&format!(
        "| SHA-256 of the settings | {} |",
        manifest.config_sha256
    ));
    if let Some(tokenizer) = manifest.tokenizer_sha256 {
        line(&format!("| SHA-256 of the tokenizer | {tokenizer} |"));
    }
    if let Ok(run) = serde_json::from_value::<Run>(manifest.run.clone()) {
        line(&format!(
            "| SHA-256 of the input | {} |",
            cell(&run.input_sha256)
        ));
        let contact = run.config.crawler.contact;
        let contact = contact.map_or_else(|| "none".to_owned(), |contact| cell(&contact));
        line(&format!("| contact in the user agent | {contact} |"));
    }
    line("");
    if counts.archives.distinct() > 0 {
        line("Archives that documents were taken from:\n");
        line(&counts.archives.table("documents"));
    }
    line(
        "`manifest.json` lists every file with its SHA-256 and holds all settings; `m3w verify` \
         compares.\n",
    );
}
