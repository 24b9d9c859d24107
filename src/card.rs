//! The description of a corpus for those who find it: a dataset card, a datasheet with what was
//! counted over it, and Croissant metadata.

use std::path::Path;

use anyhow::{Context, Result};
use m3w_shards::{FileEntry, Manifest, write_atomically};
use serde_json::json;

use crate::summary::funnels;

mod counts;
mod croissant;
mod datasheet;

use counts::{Counts, day};
use croissant::croissant;
use datasheet::datasheet;

/// Name of the card, as hosts of datasets show it.
pub const CARD_NAME: &str = "README.md";
/// Name of the datasheet.
pub const DATASHEET_NAME: &str = "DATASHEET.md";
/// Name of the Croissant file (<https://docs.mlcommons.org/croissant/docs/croissant-spec.html>).
pub const CROISSANT_NAME: &str = "croissant.json";

/// Writes `README.md`, `DATASHEET.md` and `croissant.json` for the corpus in `root`, over those that
/// are there.
///
/// Reads every document once; memory is one document and a count for each host.
///
/// # Errors
///
/// If a shard cannot be read or a file not be written.
pub fn write(root: &Path, manifest: &Manifest, name: &str, license: Option<&str>) -> Result<()> {
    let counts = Counts::of(root, manifest)?;
    let card = card(manifest, &counts, name, license);
    write_atomically(&root.join(CARD_NAME), card.as_bytes())?;
    let datasheet = datasheet(manifest, &counts, name, license);
    write_atomically(&root.join(DATASHEET_NAME), datasheet.as_bytes())?;
    let croissant = croissant(manifest, name, license);
    let text = serde_json::to_vec_pretty(&croissant).context("cannot write the Croissant file")?;
    Ok(write_atomically(&root.join(CROISSANT_NAME), &text)?)
}

fn card(manifest: &Manifest, counts: &Counts, name: &str, license: Option<&str>) -> String {
    let mut text = String::from("---\n");
    // Writing to a string does not fail, here and below.
    let mut line = |words: &str| {
        text.push_str(words);
        text.push('\n');
    };
    line(&format!("pretty_name: {}", json!(name)));
    line(&format!(
        "license: {}",
        license.map_or("unknown".into(), |license| json!(
            license.to_ascii_lowercase()
        )
        .to_string())
    ));
    let known = counts
        .languages
        .names()
        .filter(|language| language.len() == 2);
    let languages: Vec<&str> = known.collect();
    if !languages.is_empty() {
        line("language:");
        for language in languages {
            line(&format!("- {language}"));
        }
    }
    line("task_categories:\n- image-to-text\n- text-generation");
    line("configs:");
    for (config, files) in [
        ("documents", &manifest.documents),
        ("sequences", &manifest.sequences),
    ] {
        if !files.is_empty() {
            line(&format!(
                "- config_name: {config}\n  data_files: {config}/*.parquet"
            ));
        }
    }
    line("---\n");
    line(&format!("# {name}\n"));
    line(
        "Pages of the web with their images at the places where they stand in the text, made by \
         m3w after the recipe of Flamingo (arXiv 2204.14198). `documents` holds pages whole, \
         `sequences` training rows of tokens with their images; `manifest.json` lists every file \
         with its SHA-256 and the configuration that made it.\n",
    );
    line("## What is in it\n");
    line("| | |\n|---|---|");
    let rows = |files: &[FileEntry]| files.iter().map(|file| file.rows).sum::<u64>();
    let bytes = |files: &[FileEntry]| files.iter().map(|file| file.bytes).sum::<u64>();
    for (what, count) in [
        ("documents", rows(&manifest.documents)),
        ("words", counts.words),
        ("images", counts.formats.total()),
        ("sequences", rows(&manifest.sequences)),
        (
            "bytes",
            bytes(&manifest.documents) + bytes(&manifest.sequences),
        ),
        ("hosts", counts.hosts.distinct()),
    ] {
        line(&format!("| {what} | {count} |"));
    }
    if let (Some(first), Some(last)) = (counts.first_day, counts.last_day) {
        line(&format!("| fetched | {} to {} |", day(first), day(last)));
    }
    line("\n## How it was collected\n");
    line(
        "Pages were asked for with the rules of RFC 9309 (robots.txt) and left out where they, \
         their headers or their site reserve such use. Every input and image that was dropped is \
         in `outcomes` with its reason.\n",
    );
    for funnel in funnels(&manifest.tally) {
        line(&format!(
            "| {} | {} |\n|---|---|",
            funnel.what, funnel.total
        ));
        for (reason, count) in &funnel.rows {
            line(&format!("| {reason} | {count} |"));
        }
        line("");
    }
    for (title, counted) in [
        ("Languages, as declared or identified", &counts.languages),
        ("Hosts", &counts.hosts),
        (
            "Statements on reuse that came with pages that stayed",
            &counts.channels,
        ),
    ] {
        if counted.distinct() > 0 {
            line(&format!("## {title}\n\n{}", counted.table("documents")));
        }
    }
    line(&format!(
        "Sizes, licences and more are in [{DATASHEET_NAME}]({DATASHEET_NAME}).\n"
    ));
    line("## What to mind\n");
    line(
        "Texts and images belong to their authors; the licence above is of the collection, not of \
         what was collected. Addresses of pages and images are kept so that what is asked to go \
         can go. Nobody has looked at every picture.",
    );
    text
}
