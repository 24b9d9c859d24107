//! The description of a corpus for those who find it: a dataset card and Croissant metadata.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use anyhow::{Context, Result};
use m3w_shards::{DocumentReader, FileEntry, Manifest, write_atomically};
use serde_json::{Value, json};

use crate::summary::funnels;

/// Name of the card, as hosts of datasets show it.
pub const CARD_NAME: &str = "README.md";
/// Name of the Croissant file (<https://docs.mlcommons.org/croissant/docs/croissant-spec.html>).
pub const CROISSANT_NAME: &str = "croissant.json";

/// Domains and languages listed; the rest is counted together.
const MOST_LISTED: usize = 20;

/// What is counted over the documents.
#[derive(Debug, Default)]
struct Counts {
    languages: BTreeMap<String, u64>,
    hosts: BTreeMap<String, u64>,
    formats: BTreeMap<&'static str, u64>,
    signals: BTreeMap<String, u64>,
    words: u64,
    first_day: Option<i64>,
    last_day: Option<i64>,
}

/// Writes `README.md` and `croissant.json` for the corpus in `root`, over those that are there.
///
/// Reads every document once; memory is one document and a count for each host.
///
/// # Errors
///
/// If a shard cannot be read or a file not be written.
pub fn write(root: &Path, manifest: &Manifest, name: &str, license: Option<&str>) -> Result<()> {
    let mut counts = Counts::default();
    for entry in &manifest.documents {
        for document in DocumentReader::open(&root.join(&entry.path))? {
            let document = document?;
            let language = document.language.as_deref().unwrap_or("unknown");
            // A page may say `en-GB`; the card asks for the language.
            let language = language.split(['-', '_']).next().unwrap_or(language);
            *counts
                .languages
                .entry(language.to_ascii_lowercase())
                .or_default() += 1;
            let host = document.final_url.host_str().unwrap_or_default().to_owned();
            *counts.hosts.entry(host).or_default() += 1;
            counts.words += document.word_count() as u64;
            for image in document.images() {
                *counts.formats.entry(image.format.as_str()).or_default() += 1;
            }
            for signal in &document.consent {
                *counts.signals.entry(signal.channel.clone()).or_default() += 1;
            }
            if let Some(time) = document.fetched_at {
                let day = time.div_euclid(86_400);
                counts.first_day = Some(counts.first_day.map_or(day, |first| first.min(day)));
                counts.last_day = Some(counts.last_day.map_or(day, |last| last.max(day)));
            }
        }
    }
    let card = card(manifest, &counts, name, license);
    write_atomically(&root.join(CARD_NAME), card.as_bytes())?;
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
        .keys()
        .filter(|language| language.len() == 2);
    let languages: Vec<&String> = known.collect();
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
        ("images", counts.formats.values().sum()),
        ("sequences", rows(&manifest.sequences)),
        (
            "bytes",
            bytes(&manifest.documents) + bytes(&manifest.sequences),
        ),
        ("hosts", counts.hosts.len() as u64),
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
            &counts.signals,
        ),
    ] {
        if !counted.is_empty() {
            line(&format!("## {title}\n\n{}", most_frequent(counted)));
        }
    }
    line("## What to mind\n");
    line(
        "Texts and images belong to their authors; the licence above is of the collection, not of \
         what was collected. Addresses of pages and images are kept so that what is asked to go \
         can go. Nobody has looked at every picture.",
    );
    text
}

fn most_frequent(counts: &BTreeMap<String, u64>) -> String {
    let mut sorted: Vec<(&String, &u64)> = counts.iter().collect();
    sorted.sort_by_key(|(name, count)| (std::cmp::Reverse(**count), *name));
    let mut text = String::from("| | documents |\n|---|---|\n");
    for (name, count) in sorted.iter().take(MOST_LISTED) {
        let _ = writeln!(text, "| {} | {} |", name.replace('|', "\\|"), count);
    }
    let rest: u64 = sorted
        .iter()
        .skip(MOST_LISTED)
        .map(|(_, count)| **count)
        .sum();
    if rest > 0 {
        let _ = writeln!(text, "| {} others | {} |", sorted.len() - MOST_LISTED, rest);
    }
    text
}

/// A day as `2026-11-25`.
fn day(days: i64) -> String {
    time::OffsetDateTime::from_unix_timestamp(days * 86_400)
        .map_or_else(|_| "?".to_owned(), |time| time.date().to_string())
}

/// Columns that a reader of Croissant 1.0 can yield: `mlcroissant` takes plain columns, and lists
/// of plain values, but no list of structs.
const DOCUMENT_FIELDS: [(&str, &str, bool); 5] = [
    ("id", "sc:Text", false),
    ("url", "sc:URL", false),
    ("language", "sc:Text", false),
    ("title", "sc:Text", false),
    ("texts", "sc:Text", true),
];
const SEQUENCE_FIELDS: [(&str, &str, bool); 5] = [
    ("id", "sc:Text", false),
    ("source", "sc:Text", false),
    ("tokens", "sc:Integer", true),
    ("token_count", "sc:Integer", false),
    ("text", "sc:Text", false),
];

fn croissant(manifest: &Manifest, name: &str, license: Option<&str>) -> Value {
    let mut distribution = Vec::new();
    let mut record_sets = Vec::new();
    for (kind, files, fields) in [
        ("documents", &manifest.documents, DOCUMENT_FIELDS),
        ("sequences", &manifest.sequences, SEQUENCE_FIELDS),
    ] {
        for file in files {
            distribution.push(json!({
                "@type": "cr:FileObject",
                "@id": file.path,
                "name": file.path,
                "contentUrl": file.path,
                "contentSize": format!("{} B", file.bytes),
                "encodingFormat": "application/x-parquet",
                "sha256": file.sha256.to_string(),
            }));
        }
        if files.is_empty() {
            continue;
        }
        // Without `containedIn` it is taken from the folder of the description.
        distribution.push(json!({
            "@type": "cr:FileSet",
            "@id": kind,
            "name": kind,
            "encodingFormat": "application/x-parquet",
            "includes": format!("{kind}/*.parquet"),
        }));
        let fields = fields.map(|(field, data_type, is_list)| {
            let mut described = json!({
                "@type": "cr:Field",
                "@id": format!("{kind}-records/{field}"),
                "name": field,
                "dataType": data_type,
                "source": {"fileSet": {"@id": kind}, "extract": {"column": field}},
            });
            if is_list {
                described["repeated"] = json!(true);
            }
            described
        });
        record_sets.push(json!({
            "@type": "cr:RecordSet",
            "@id": format!("{kind}-records"),
            "name": format!("{kind}-records"),
            "key": {"@id": format!("{kind}-records/id")},
            "field": fields,
        }));
    }
    json!({
        "@context": context(),
        "@type": "sc:Dataset",
        "name": name,
        "description": "Pages of the web with their images at their places in the text.",
        "conformsTo": "http://mlcommons.org/croissant/1.0",
        "license": license.unwrap_or("unknown"),
        "version": "1.0.0",
        "distribution": distribution,
        "recordSet": record_sets,
    })
}

/// The context that version 1.0 of the format prescribes.
fn context() -> Value {
    json!({
        "@language": "en",
        "@vocab": "https://schema.org/",
        "citeAs": "cr:citeAs",
        "column": "cr:column",
        "conformsTo": "dct:conformsTo",
        "cr": "http://mlcommons.org/croissant/",
        "rai": "http://mlcommons.org/croissant/RAI/",
        "data": {"@id": "cr:data", "@type": "@json"},
        "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
        "dct": "http://purl.org/dc/terms/",
        "equivalentProperty": "cr:equivalentProperty",
        "examples": {"@id": "cr:examples", "@type": "@json"},
        "extract": "cr:extract",
        "field": "cr:field",
        "fileProperty": "cr:fileProperty",
        "fileObject": "cr:fileObject",
        "fileSet": "cr:fileSet",
        "format": "cr:format",
        "includes": "cr:includes",
        "isLiveDataset": "cr:isLiveDataset",
        "jsonPath": "cr:jsonPath",
        "key": "cr:key",
        "md5": "cr:md5",
        "parentField": "cr:parentField",
        "path": "cr:path",
        "recordSet": "cr:recordSet",
        "references": "cr:references",
        "regex": "cr:regex",
        "repeated": "cr:repeated",
        "replace": "cr:replace",
        "samplingRate": "cr:samplingRate",
        "sc": "https://schema.org/",
        "separator": "cr:separator",
        "source": "cr:source",
        "subField": "cr:subField",
        "transform": "cr:transform"
    })
}
