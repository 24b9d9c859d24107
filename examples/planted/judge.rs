//! What was found of what is planted.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::Path;

use anyhow::{Context, Result};

use super::corpus::{GROUP, Plant, id, plant};

/// Found and planted of each kind, and what went besides.
#[derive(Debug, Default)]
pub(crate) struct Report {
    pub(crate) kinds: BTreeMap<String, (u64, u64)>,
    /// Documents that went and are no repetition, and all.
    pub(crate) false_documents: (u64, u64),
    /// The same of pictures.
    pub(crate) false_images: (u64, u64),
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (kind, (found, all)) in &self.kinds {
            let share = *found as f64 / *all as f64;
            writeln!(f, "{kind:<28} {found:>7} of {all:>7}, recall {share:.4}")?;
        }
        for (what, (gone, all)) in [
            ("documents", self.false_documents),
            ("images", self.false_images),
        ] {
            let share = 100.0 * gone as f64 / all as f64;
            writeln!(
                f,
                "{what} that are no repetition: {gone} gone of {all}, {share:.4} %"
            )?;
        }
        Ok(())
    }
}

/// Compares the list of what goes with what is planted in so many documents.
pub(crate) fn judge(list: &Path, count: u64) -> Result<Report> {
    let numbers: HashMap<String, u64> = (0..count)
        .map(|number| Ok((id(number)?, number)))
        .collect::<Result<_>>()?;
    // What of each document went: `document` or the number of an image, with the reason.
    let mut gone: HashMap<u64, BTreeMap<Option<u64>, String>> = HashMap::new();
    let file = File::open(list).with_context(|| format!("cannot read {}", list.display()))?;
    for line in BufReader::new(file).lines() {
        let line: serde_json::Value = serde_json::from_str(&line?)?;
        let document = line["document_id"].as_str().unwrap_or_default();
        let number = numbers
            .get(document)
            .context("a document that was not planted")?;
        let reason = line["reason"]["name"].as_str().unwrap_or_default();
        let image = line["number"].as_u64();
        gone.entry(*number)
            .or_default()
            .insert(image, reason.to_owned());
    }
    let has_gone = |number: u64, what: Option<u64>, reasons: &[&str]| {
        let reason = gone.get(&number).and_then(|gone| gone.get(&what));
        reason.is_some_and(|reason| reasons.contains(&reason.as_str()))
    };
    let mut report = Report::default();
    for number in 0..count {
        let plant = plant(number);
        let texts = ["dedup/same-text", "dedup/near-text"];
        let is_document_gone = gone
            .get(&number)
            .is_some_and(|gone| gone.contains_key(&None));
        let image_gone = |image: u64| {
            gone.get(&number)
                .is_some_and(|gone| gone.contains_key(&Some(image)))
        };
        let is_text_gone = has_gone(number, None, &texts);
        let found = match plant {
            Plant::SameText | Plant::NearText => {
                Some(is_text_gone || has_gone(number - 1, None, &texts))
            }
            Plant::Twice(_) => Some(has_gone(number, Some(1), &["dedup/same-image"])),
            Plant::Protected(_) => Some(has_gone(number, Some(0), &["protect/image"])),
            Plant::Frequent(_) => {
                // The last group may be of too few documents.
                let is_whole = (number / 20 / GROUP + 1) * GROUP * 20 <= count;
                is_whole.then(|| has_gone(number, Some(0), &["dedup/frequent-image"]))
            }
            Plant::Question => Some(has_gone(number, None, &["protect/text"])),
            Plant::Plain | Plant::Original | Plant::Related => None,
        };
        if let Some(found) = found {
            let kind = report.kinds.entry(format!("{plant:?}")).or_default();
            kind.0 += u64::from(found);
            kind.1 += 1;
        }
        let may_go = match plant {
            Plant::Original => true,
            Plant::SameText | Plant::NearText => !has_gone(number - 1, None, &texts),
            Plant::Question => has_gone(number, None, &["protect/text"]),
            _ => false,
        };
        report.false_documents.0 += u64::from(is_document_gone && !may_go);
        report.false_documents.1 += 1;
        let planted = match plant {
            Plant::Twice(_) => Some(1),
            Plant::Protected(_) | Plant::Frequent(_) => Some(0),
            _ => None,
        };
        for image in 0..1 + u64::from(planted.is_some()) {
            if planted != Some(image) {
                report.false_images.0 += u64::from(image_gone(image));
                report.false_images.1 += 1;
            }
        }
    }
    Ok(report)
}
