//! `srcset`: its candidates, and the one that is chosen.

use anyhow::Result;
use m3w::dom_align::srcset::{Target, parse, pick};
use m3w::dom_align::{Config, align};
use serde::Deserialize;
use url::Url;

use crate::cases::Directory;
use crate::report::{Mismatch, Outcome, SuiteResult, same};

#[derive(Deserialize)]
struct Parse {
    srcset: String,
    /// Empty where there is no candidate.
    expect: String,
    density: f64,
}

#[derive(Deserialize)]
struct Candidates {
    srcset: String,
    base: String,
    expect_urls: Vec<String>,
    best_for_width: Option<u32>,
    best: Option<String>,
}

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    let mut result = directory.run_table("srcset/parse.jsonl", check_parse)?;
    result.merge(directory.run_table("srcset/candidates.jsonl", check_candidates)?);
    Ok(result)
}

fn check_parse(row: Parse) -> Outcome {
    let candidates = parse(&row.srcset);
    let picked = pick(&candidates, Target::Density(row.density));
    let url = picked.map_or("", |candidate| candidate.url.as_str());
    same("URL", &row.expect.as_str(), &url)
}

fn check_candidates(row: Candidates) -> Outcome {
    let base = Url::parse(&row.base).map_err(|error| Mismatch::new("a base", error.to_string()))?;
    let urls: Vec<String> = parse(&row.srcset)
        .iter()
        .filter_map(|candidate| Some(base.join(&candidate.url).ok()?.into()))
        .collect();
    same("candidates", &row.expect_urls, &urls)?;
    let Some(best) = row.best else {
        return Ok(());
    };
    let attribute = row.srcset.replace('&', "&amp;").replace('"', "&quot;");
    let html = format!("<p>A text.</p><img srcset=\"{attribute}\">");
    let mut config = Config::default();
    config.target_width_px = row.best_for_width.unwrap_or(config.target_width_px);
    let aligned = align(&html, &base, &config);
    let chosen = aligned.document.images().next();
    same(
        "choice",
        &Some(best),
        &chosen.map(|image| image.url.to_string()),
    )
}
