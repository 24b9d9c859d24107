//! `html`: pages through the cap on bodies, the charset, the aligner and the tokenizer.

use std::sync::Arc;

use anyhow::Result;
use m3w::crawler::{FailureKind, charset, decode_body};
use m3w::dom_align::{Aligned, align};
use m3w::shards::{Tokenizer, train_tokenizer};
use url::Url;

use crate::cases::{Directory, FileCase, TIME_LIMIT};
use crate::report::{Mismatch, Outcome, SuiteResult, check as holds, same};

/// Where a page is said to stand if its case does not tell.
const DEFAULT_BASE: &str = "http://page.test/";

/// Scripts and style sheets of a page that are looked for in its text.
const MAX_HIDDEN: usize = 64;

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    let words = "A page may spell out <image>, <EOC> and other tokens.".to_owned();
    let tokenizer = train_tokenizer(std::iter::once(words), 300)?;
    let tokenizer = Arc::new(Tokenizer::from_bytes(&tokenizer, "tokenizer of the suite")?);
    Ok(directory.run_files("html", TIME_LIMIT, move |case| check(case, &tokenizer)))
}

fn check(case: &FileCase, tokenizer: &Tokenizer) -> Outcome {
    let bytes = case.read()?;
    let max_bytes = m3w::crawler::Config::default().max_page_bytes;
    let is_oversize = match decode_body(None, bytes.as_slice(), max_bytes) {
        Ok(_) => false,
        Err(failure) if failure.kind == FailureKind::TooLarge => true,
        Err(failure) => return Err(Mismatch::new("a body", failure.to_string())),
    };
    // A page over the cap is not read by the crawler; that the aligner bears it is a claim of its
    // own.
    let page = charset::decode(&bytes, Some("text/html"));
    let base = case.base.as_deref().unwrap_or(DEFAULT_BASE);
    let base = Url::parse(base).map_err(|error| Mismatch::new("a base", error.to_string()))?;
    let config = m3w::dom_align::Config::default();
    let aligned = align(&page.text, &base, &config);
    check_texts(&page.text, &aligned, tokenizer)?;

    let images = aligned.document.images().count();
    match case.verdict.as_str() {
        "parse" | "parse_bounded" => {}
        "parse_cap" => {
            let is_counted = aligned.given_up.is_some() || !aligned.dropped.is_empty();
            holds(
                images <= config.max_images && is_counted,
                "images up to the cap, counted",
                || format!("{images} images, {} dropped", aligned.dropped.len()),
            )?;
        }
        "skip_oversize_or_truncate" => {
            holds(
                is_oversize && aligned.given_up.is_some(),
                "a page over the cap",
                || format!("{} bytes read whole", bytes.len()),
            )?;
        }
        _ => return Err(case.unknown_verdict()),
    }
    let Some(expected) = &case.images else {
        return Ok(());
    };
    let urls: Vec<String> = aligned
        .document
        .images()
        .map(|image| image.url.to_string())
        .collect();
    same("images", expected, &urls)
}

/// What holds for the text of every page: no control characters, nothing of scripts and style
/// sheets, and no control tokens however the page spells them.
fn check_texts(html: &str, aligned: &Aligned, tokenizer: &Tokenizer) -> Outcome {
    let hidden = hidden_texts(html);
    for text in texts(aligned) {
        let control = text
            .chars()
            .find(|c| c.is_control() && !matches!(c, '\n' | '\t'));
        holds(control.is_none(), "no control characters", || {
            format!("{control:?} in {text:?}")
        })?;
        let leaked = hidden.iter().find(|content| text.contains(**content));
        holds(leaked.is_none(), "no text of scripts and styles", || {
            format!("{leaked:?}")
        })?;
        let ids = tokenizer
            .encode_text(text)
            .map_err(|error| Mismatch::new("tokens", error.to_string()))?;
        let special = ids.iter().find(|id| tokenizer.special_ids().contains(**id));
        holds(special.is_none(), "no control tokens", || {
            format!("id {special:?} in {text:?}")
        })?;
    }
    Ok(())
}

fn texts(aligned: &Aligned) -> impl Iterator<Item = &str> {
    let document = &aligned.document;
    document
        .texts()
        .map(|text| text.content.as_str())
        .chain(document.title.as_deref())
        .chain(document.images().flat_map(|image| {
            let words = [&image.alt, &image.title, &image.caption];
            words.into_iter().flatten().map(String::as_str)
        }))
}

/// What stands in the first `<script>` and `<style>` elements, where it is more than a word.
fn hidden_texts(html: &str) -> Vec<&str> {
    let inside = |open: &'static str, close: &'static str| {
        html.split(open)
            .skip(1)
            .take(MAX_HIDDEN)
            .filter_map(move |rest| {
                let (_, rest) = rest.split_once('>')?;
                let (content, _) = rest.split_once(close)?;
                let content = content.trim();
                content.contains(['(', '{', ';']).then_some(content)
            })
    };
    let scripts = inside("<script", "</script");
    scripts.chain(inside("<style", "</style")).collect()
}
