//! What is left of a corpus's inputs and images after each step, with examples of what went.

use std::collections::BTreeMap;

use anyhow::Result;
use m3w_document::Reason;
use m3w_shards::Manifest;
use serde::Serialize;

use crate::corpus::Corpus;
use crate::outcomes::lines;
use crate::summary::funnels;
use crate::unit::Unit;

/// Characters of a text that went which are shown as an example.
const MOST_SHOWN: usize = 100;

/// One kind of thing, and what became of it.
#[derive(Debug, Serialize, PartialEq)]
pub struct Survival {
    /// Its name, plural: `pages`, `pairs`, `images`, `sequences`.
    pub what: &'static str,
    /// How many were seen.
    pub total: u64,
    /// Kept first, then reasons for drops, most frequent first.
    pub ends: Vec<End>,
}

/// What became of some of them.
#[derive(Debug, Serialize, PartialEq)]
pub struct End {
    /// `kept`, or the reason for which they went.
    pub name: String,
    /// How many.
    pub count: u64,
    /// As a share of all that were seen, from 0 to 1.
    pub share: f64,
    /// Some of those that went, as they come first in the lists of outcomes.
    pub examples: Vec<Example>,
}

/// Something that went.
#[derive(Debug, Clone, Serialize, PartialEq)]
pub struct Example {
    /// Its URL, or what stood in its place; of a text how it begins.
    pub url: String,
    /// The value that was measured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub measured: Option<f64>,
    /// The threshold that it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub threshold: Option<f64>,
}

/// The survival of a corpus, with up to `examples` examples of each reason. Without any, no list of
/// outcomes is read. Memory is the examples.
///
/// # Errors
///
/// If a list of outcomes cannot be read.
pub fn survival(corpus: &Corpus, manifest: &Manifest, examples: usize) -> Result<Vec<Survival>> {
    let mut found = Examples {
        most: examples,
        by_name: BTreeMap::new(),
    };
    for entry in manifest.outcomes.iter().filter(|_| examples > 0) {
        for line in lines(&corpus.root().join(&entry.path))? {
            let line = line?;
            if let Some(reason) = &line.dropped {
                for unit in Unit::ALL {
                    found.add(unit.step(), &line.url, reason);
                }
            }
            for drop in &line.images_dropped {
                found.add("image", &drop.url, &drop.reason);
            }
            for drop in &line.texts_dropped {
                let words: Vec<&str> = drop.text.split_whitespace().collect();
                let start: String = words.join(" ").chars().take(MOST_SHOWN).collect();
                found.add("text", &start, &drop.reason);
            }
        }
    }
    let of_funnel = |funnel: crate::summary::Funnel<'_>| {
        let step = funnel.step;
        let ends = funnel.rows.into_iter().map(|(name, count)| {
            #[expect(clippy::cast_precision_loss, reason = "a share to be read by people")]
            let share = count as f64 / funnel.total as f64;
            let examples = found.by_name.get(&format!("{step}/{name}"));
            End {
                name: name.to_owned(),
                count,
                share,
                examples: examples.cloned().unwrap_or_default(),
            }
        });
        Survival {
            what: funnel.what,
            total: funnel.total,
            ends: ends.collect(),
        }
    };
    Ok(funnels(&manifest.tally)
        .into_iter()
        .map(of_funnel)
        .collect())
}

struct Examples {
    most: usize,
    by_name: BTreeMap<String, Vec<Example>>,
}

impl Examples {
    fn add(&mut self, step: &str, url: &str, reason: &Reason) {
        let examples = self.by_name.entry(format!("{step}/{}", reason.name));
        let examples = examples.or_default();
        if examples.len() < self.most {
            examples.push(Example {
                url: url.to_owned(),
                measured: reason.measured,
                threshold: reason.threshold,
            });
        }
    }
}
