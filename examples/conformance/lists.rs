//! `lists`: lists of URLs with bad lines among the good ones.

use anyhow::Result;
use m3w::crawler::Config;
use m3w::source::{Item, Source};

use crate::cases::{Directory, FileCase, TIME_LIMIT};
use crate::report::{Mismatch, Outcome, SuiteResult, check as holds};

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    Ok(directory.run_files("lists", TIME_LIMIT, check))
}

fn check(case: &FileCase) -> Outcome {
    if case.verdict != "read_good_count_bad" {
        return Err(case.unknown_verdict());
    }
    let source = Source::Urls {
        path: case.path.clone(),
        column: "url".to_owned(),
    };
    let failed = |error: anyhow::Error| Mismatch::new("a list", format!("{error:#}"));
    let mut good = Vec::new();
    let mut refused = 0;
    let config = Config::default();
    let survey = source.survey(&config).map_err(failed)?;
    for entry in source.entries(&config, &survey.refusals).map_err(failed)? {
        match entry.map_err(failed)?.item {
            Item::Url(url) => good.push(url),
            Item::Refused(_) => refused += 1,
            Item::Page(_) | Item::Archived(_) | Item::Pair(_) | Item::Document(_) => {
                return Err(Mismatch::new("URLs", "a page"));
            }
        }
    }
    holds(refused > 0, "bad lines counted", || "none".to_owned())?;
    let expected = case.good_unique.unwrap_or_default();
    holds(good.len() == expected, &format!("{expected} URLs"), || {
        let urls: Vec<&str> = good
            .iter()
            .map(|url| &url.as_str()[..url.as_str().len().min(40)])
            .collect();
        format!("{}: {}", urls.len(), urls.join(" "))
    })
}
