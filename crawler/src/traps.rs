//! Sites that lead on for ever, and where to stop.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};
use url::Url;

/// Bounds against sites that lead on for ever.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrapConfig {
    /// Longest path and query that are followed, in bytes.
    pub max_path_bytes: usize,
    /// Deepest path that is followed, in segments.
    pub max_segments: usize,
    /// How often one segment may stand in a path: `/a/a/a/` is a link that grows.
    pub max_repeats: usize,
    /// Pages of one host.
    pub max_pages_per_host: usize,
    /// Pages of one host whose URLs differ only in their digits and in the values of their query:
    /// calendars, counters, filters.
    pub max_pages_per_shape: usize,
}

impl Default for TrapConfig {
    fn default() -> Self {
        Self {
            max_path_bytes: 1_024,
            max_segments: 20,
            max_repeats: 2,
            max_pages_per_host: 100_000,
            max_pages_per_shape: 2_000,
        }
    }
}

/// Counts what was followed, and says where to stop.
///
/// Memory held is about 100 bytes for each host and each shape of URL.
#[derive(Debug)]
pub struct Traps {
    config: TrapConfig,
    by_host: HashMap<String, usize>,
    by_shape: HashMap<u64, usize>,
}

impl Traps {
    /// Nothing has been followed yet.
    #[must_use]
    pub fn new(config: TrapConfig) -> Self {
        Self {
            config,
            by_host: HashMap::new(),
            by_shape: HashMap::new(),
        }
    }

    /// Whether a URL that was not seen before may be followed; it is counted if it may.
    pub fn admit(&mut self, url: &Url) -> bool {
        if !self.has_sound_path(url) {
            return false;
        }
        let host = url.host_str().unwrap_or_default();
        let of_host = self.by_host.get(host).copied().unwrap_or_default();
        let shape = shape(url);
        let of_shape = self.by_shape.get(&shape).copied().unwrap_or_default();
        if of_host >= self.config.max_pages_per_host || of_shape >= self.config.max_pages_per_shape
        {
            return false;
        }
        self.by_host.insert(host.to_owned(), of_host + 1);
        self.by_shape.insert(shape, of_shape + 1);
        true
    }

    fn has_sound_path(&self, url: &Url) -> bool {
        let segments: Vec<&str> = url
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .collect();
        let mut counts: HashMap<&str, usize> = HashMap::new();
        for segment in &segments {
            *counts.entry(segment).or_default() += 1;
        }
        let length = url.path().len() + url.query().map_or(0, str::len);
        length <= self.config.max_path_bytes
            && segments.len() <= self.config.max_segments
            && counts
                .values()
                .all(|count| *count <= self.config.max_repeats)
    }
}

/// A hash of what a URL has in common with others of its kind: host, path without digits, names
/// of the query.
fn shape(url: &Url) -> u64 {
    use std::hash::{DefaultHasher, Hash, Hasher};

    let mut hasher = DefaultHasher::new();
    url.host_str().hash(&mut hasher);
    let mut in_digits = false;
    for byte in url.path().bytes() {
        let is_digit = byte.is_ascii_digit();
        if !is_digit || !in_digits {
            (if is_digit { b'0' } else { byte }).hash(&mut hasher);
        }
        in_digits = is_digit;
    }
    for (name, _) in url.query_pairs() {
        name.hash(&mut hasher);
    }
    // Pages that differ in a letter are of different kinds; only counters and queries are bounded.
    let counts = url.path().bytes().any(|byte| byte.is_ascii_digit()) || url.query().is_some();
    if !counts {
        url.as_str().hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leads_on_for_ever_is_left() {
        let mut traps = Traps::new(TrapConfig {
            max_pages_per_host: 30,
            max_pages_per_shape: 12,
            ..TrapConfig::default()
        });
        let mut admit =
            |path: &str| traps.admit(&Url::parse("http://h.test").unwrap().join(path).unwrap());
        assert!(admit("/a/b/a/"));
        assert!(!admit("/a/a/a/"));
        assert!(!admit(&format!("/{}", "x/".repeat(30))));
        assert!(!admit(&format!("/{}", "x".repeat(2000))));
        let months = (0..100)
            .filter(|month| admit(&format!("/calendar?m={month}")))
            .count();
        assert_eq!(months, 12);
        let numbers = (0..100)
            .filter(|number| admit(&format!("/n/{number}")))
            .count();
        assert_eq!(numbers, 12);
        let words = ["one", "two", "three", "four", "five", "six", "seven"];
        let words = words
            .iter()
            .filter(|word| admit(&format!("/w/{word}")))
            .count();
        assert_eq!(words, 30 - 1 - 12 - 12);
    }
}
