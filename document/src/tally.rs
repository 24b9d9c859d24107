//! Counts by name, merged without regard to order.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// How many times each thing happened: pages kept, images dropped for their size, and so on.
///
/// Tallies add up in any order to the same result, so the counts of a run do not depend on the
/// number of threads or on how often it was interrupted.
///
/// ```
/// use m3w_document::Tally;
///
/// let mut tally = Tally::default();
/// tally.add("page/kept", 2);
/// tally.add("image/filter/too-small", 1);
/// let mut total = tally.clone();
/// total.merge(&tally);
/// assert_eq!(total.get("page/kept"), 4);
/// ```
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Tally(BTreeMap<String, u64>);

impl Tally {
    /// Counts `count` more of `name`.
    pub fn add(&mut self, name: impl Into<String>, count: u64) {
        *self.0.entry(name.into()).or_default() += count;
    }

    /// How many of `name` were counted.
    #[must_use]
    pub fn get(&self, name: &str) -> u64 {
        self.0.get(name).copied().unwrap_or_default()
    }

    /// Adds all counts of `other`.
    pub fn merge(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            self.add(name, *count);
        }
    }

    /// Takes away what `other` counts, as if it had not been merged; a name that nothing is left of
    /// is gone.
    pub fn subtract(&mut self, other: &Self) {
        for (name, count) in &other.0 {
            if let Some(known) = self.0.get_mut(name) {
                *known = known.saturating_sub(*count);
                if *known == 0 {
                    self.0.remove(name);
                }
            }
        }
    }

    /// Names and counts, in the names' order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, u64)> {
        self.0.iter().map(|(name, count)| (name.as_str(), *count))
    }

    /// Names and counts of those under `step/`, most frequent first.
    #[must_use]
    pub fn step(&self, step: &str) -> Vec<(&str, u64)> {
        let mut rows: Vec<_> = self
            .iter()
            .filter(|(name, _)| name.split('/').next() == Some(step))
            .collect();
        rows.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
        rows
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
