//! `robots`: what a `robots.txt` allows, and what follows from the way it is answered.

use anyhow::Result;
use m3w::crawler::robots::{Robots, is_valid_agent};
use serde::Deserialize;

use crate::cases::Directory;
use crate::report::{Mismatch, Outcome, SuiteResult, same};
use crate::robots_fetch;

#[derive(Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
enum Row {
    Match {
        robots: String,
        agent: String,
        url: String,
        allowed: bool,
    },
    ValidAgent {
        agent: String,
        valid: bool,
    },
    #[serde(other)]
    Unknown,
}

pub(crate) fn run(directory: &Directory) -> Result<SuiteResult> {
    let mut result = directory.run_table("robots/match.jsonl", check)?;
    result.merge(directory.run_table("robots/fetch.jsonl", robots_fetch::check)?);
    Ok(result)
}

fn check(row: Row) -> Outcome {
    match row {
        Row::Match {
            robots,
            agent,
            url,
            allowed,
        } => {
            let robots = Robots::parse(robots.as_bytes());
            same("allowed", &allowed, &robots.is_allowed(&agent, &url))
        }
        Row::ValidAgent { agent, valid } => same("valid", &valid, &is_valid_agent(&agent)),
        Row::Unknown => Err(Mismatch::new("a kind of row known here", "another")),
    }
}
