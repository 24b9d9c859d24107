//! Statements on reuse in files of their own: `/.well-known/tdmrep.json` and `/ai.txt`.
//!
//! Each origin is asked for them once, after its `robots.txt` and under its rules. What they say
//! of a URL becomes a [`Signal`] like that of a header.

use serde::Deserialize;
use url::Url;

use crate::PRODUCT_TOKEN;
use crate::consent::Signal;
use crate::path_pattern::{matches, path_and_query, pattern};
use crate::robots::{Robots, Rules};

/// Where they stand, in the order in which they are asked for.
pub(crate) const TDMREP_PATH: &str = "/.well-known/tdmrep.json";
pub(crate) const AI_TXT_PATH: &str = "/ai.txt";

/// How much of either is read.
pub(crate) const MAX_BYTES: usize = 256 * 1024;

/// Statements of a `tdmrep.json` that count; the file is for a few folders, not for each page.
const MAX_STATEMENTS: usize = 1000;

/// What an origin says about reuse in files of its own.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Reservations {
    statements: Vec<Statement>,
    ai_txt: Option<Rules>,
}

/// One entry of a `tdmrep.json`.
#[derive(Debug, Clone, PartialEq)]
struct Statement {
    pattern: String,
    reservation: u64,
}

impl Reservations {
    /// Reads both files; bytes that are no such file say nothing.
    #[must_use]
    pub fn parse(tdmrep: Option<&[u8]>, ai_txt: Option<&[u8]>) -> Self {
        Self {
            statements: tdmrep.map(statements).unwrap_or_default(),
            ai_txt: ai_txt.map(|bytes| Robots::parse(bytes).rules_for(PRODUCT_TOKEN)),
        }
    }

    /// What the files say of a URL: of `tdmrep.json` the first statement whose location matches
    /// (TDMRep, 4.3), of `ai.txt` whether it closes it.
    #[must_use]
    pub fn signals(&self, url: &Url) -> Vec<Signal> {
        let path = path_and_query(url.as_str());
        let stated = self
            .statements
            .iter()
            .find(|statement| matches(&statement.pattern, &path))
            .map(|statement| Signal {
                channel: "tdmrep.json".to_owned(),
                value: statement.reservation.to_string(),
            });
        let closed = self
            .ai_txt
            .as_ref()
            .filter(|rules| !rules.is_allowed(url.as_str()))
            .map(|_| Signal {
                channel: "ai.txt".to_owned(),
                value: "disallow".to_owned(),
            });
        stated.into_iter().chain(closed).collect()
    }

    /// Memory held, in bytes.
    pub(crate) fn size(&self) -> usize {
        let statements = self.statements.iter();
        let patterns: usize = statements
            .map(|statement| size_of::<Statement>() + statement.pattern.len())
            .sum();
        patterns + self.ai_txt.as_ref().map_or(0, Rules::size)
    }
}

/// The statements of a `tdmrep.json`: TDMRep, 4.3. Entries that are none are passed over.
fn statements(bytes: &[u8]) -> Vec<Statement> {
    #[derive(Deserialize)]
    struct Entry {
        location: String,
        #[serde(rename = "tdm-reservation")]
        reservation: u64,
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let entries: Vec<serde_json::Value> = serde_json::from_slice(bytes).unwrap_or_default();
    entries
        .into_iter()
        .take(MAX_STATEMENTS)
        .filter_map(|entry| serde_json::from_value::<Entry>(entry).ok())
        .map(|entry| Statement {
            pattern: pattern(&entry.location),
            reservation: entry.reservation,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::consent::decide;

    fn is_open(reservations: &Reservations, path: &str) -> bool {
        let url = Url::parse("https://h.test").unwrap().join(path).unwrap();
        decide(&reservations.signals(&url), PRODUCT_TOKEN).page_allowed
    }

    #[test]
    fn the_first_matching_location_decides() {
        let file = br#"[{"location":"/photos/*","tdm-reservation":1},
            {"location":"/","tdm-reservation":0}, {"location":"/x","tdm-reservation":1}, 7]"#;
        let reservations = Reservations::parse(Some(file), None);
        assert!(!is_open(&reservations, "/photos/a.jpg"));
        assert!(is_open(&reservations, "/text.html"));
        assert!(is_open(&reservations, "/x"));
    }

    #[test]
    fn ai_txt_closes_by_the_name_of_a_file() {
        let reservations = Reservations::parse(None, Some(b"User-Agent: *\nDisallow: *.jpg\n"));
        assert!(!is_open(&reservations, "/a/b.jpg"));
        assert!(is_open(&reservations, "/a/b.png"));
    }

    #[test]
    fn what_is_no_such_file_says_nothing() {
        let page = b"<!doctype html><title>Not found</title>";
        let reservations = Reservations::parse(Some(page), Some(page));
        assert!(is_open(&reservations, "/"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let reservations = Reservations::parse(Some(&bytes), Some(&bytes));
            is_open(&reservations, "/a");
        }
    }
}
