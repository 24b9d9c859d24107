//! Opens a finished corpus again for what failed, and for nothing else.
//!
//! Inputs whose page or one of whose images failed in a way that another day may mend lose their
//! outcome; all others keep theirs. The build then goes on as any build that was interrupted: it
//! fetches what has no outcome, writes anew the shards that change, and packs again.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use m3w_crawler::FailureKind;
use m3w_document::{Document, Image, Reason, Tally};
use m3w_shards::DocumentReader;

use crate::corpus::{Corpus, Part, Run};
use crate::journal::{Journal, Outcome};
use crate::outcomes::{OutcomeLine, lines};
use crate::unit::Unit;

/// Which failures are worth another try.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Failures {
    /// Names of reasons (`timeout`, `http-503`), `*` at the end for any ending (`http-5*`). Empty:
    /// those of the way to the server and of the server, see [`FailureKind::is_transient`].
    pub reasons: Vec<String>,
}

impl Failures {
    fn has_hit(&self, line: &OutcomeLine) -> bool {
        let images = line.images_dropped.iter().map(|image| &image.reason);
        line.dropped
            .iter()
            .chain(images)
            .any(|reason| self.contains(reason))
    }

    fn contains(&self, reason: &Reason) -> bool {
        let Some(name) = reason.name.strip_prefix("fetch/") else {
            return false;
        };
        if self.reasons.is_empty() {
            return FailureKind::from_reason(name).is_some_and(FailureKind::is_transient);
        }
        self.reasons.iter().any(|wanted| {
            let wanted = wanted.strip_prefix("fetch/").unwrap_or(wanted);
            match wanted.strip_suffix('*') {
                Some(start) => name.starts_with(start),
                None => name == wanted,
            }
        })
    }
}

/// Reopens the corpus; says how many inputs have to be worked on again. A corpus that is not
/// finished is left as it is: it still tries what has no outcome.
///
/// Killed at any moment, the corpus is either as it was or reopened.
///
/// # Errors
///
/// If a shard or a list of outcomes cannot be read, or the disk refuses.
pub fn reopen(corpus: &Corpus, run: &Run, failures: &Failures) -> Result<u64> {
    if !corpus.root().join("manifest.json").exists() {
        return Ok(0);
    }
    let manifest = corpus.manifest()?;
    let mut touched = HashSet::new();
    let mut count = 0;
    for (number, entry) in manifest.outcomes.iter().enumerate() {
        let failed = lines(&corpus.root().join(&entry.path))?
            .filter(|line| line.as_ref().map_or(true, |line| failures.has_hit(line)));
        let before = count;
        for line in failed {
            line?;
            count += 1;
        }
        if count > before {
            touched.insert(number);
        }
    }
    if count == 0 {
        return Ok(0);
    }
    corpus.begin_again(run)?;
    for (number, (documents, outcomes)) in manifest
        .documents
        .iter()
        .zip(&manifest.outcomes)
        .enumerate()
    {
        let part = Stored {
            documents: corpus.root().join(&documents.path),
            outcomes: corpus.root().join(&outcomes.path),
        };
        if touched.contains(&number) {
            part.to_journal(&corpus.journal_path(number), failures)?;
        } else {
            let (tally, ids) = part.count(run.config.unit())?;
            let part = Part {
                documents: documents.clone(),
                outcomes: outcomes.clone(),
                tally,
                ids,
            };
            corpus.publish(number, &part)?;
        }
    }
    corpus.withdraw_manifest()?;
    Ok(count)
}

/// The files of a finished part.
pub(crate) struct Stored {
    pub(crate) documents: PathBuf,
    pub(crate) outcomes: PathBuf,
}

impl Stored {
    /// The part's outcomes with their documents, in input order, one at a time.
    pub(crate) fn outcomes(&self) -> Result<impl Iterator<Item = Result<(Outcome, OutcomeLine)>>> {
        let path = self.documents.clone();
        let mut documents = DocumentReader::open(&path)?;
        Ok(lines(&self.outcomes)?.map(move |line| {
            let line = line?;
            let document = match &line.document_id {
                Some(id) => Some(next_document(&mut documents, id, &path)?),
                None => None,
            };
            let outcome = Outcome {
                document,
                dropped: line.dropped.clone(),
                measured: line.measured.clone(),
                images_dropped: line.images_dropped.clone(),
                texts_dropped: line.texts_dropped.clone(),
                ..Outcome::of(line.input, line.url.clone())
            };
            Ok((outcome, line))
        }))
    }

    /// Writes the outcomes that stay into a journal, as if the others had not been reached.
    fn to_journal(&self, path: &Path, failures: &Failures) -> Result<()> {
        let mut journal = Journal::open(path)?;
        for outcome in self.outcomes()? {
            let (outcome, line) = outcome?;
            if !failures.has_hit(&line) {
                journal.append(&outcome)?;
            }
        }
        Ok(())
    }

    /// What is counted over the part, and the ids of its documents in their order.
    pub(crate) fn count(&self, unit: Unit) -> Result<(Tally, Vec<String>)> {
        let mut tally = Tally::default();
        let mut ids = Vec::new();
        for outcome in self.outcomes()? {
            let (outcome, line) = outcome?;
            outcome.count(unit, &mut tally);
            ids.extend(line.document_id);
        }
        Ok((tally, ids))
    }
}

/// The shard's next document, which has to be the one that the list of outcomes names.
fn next_document(documents: &mut DocumentReader, id: &str, path: &Path) -> Result<Document<Image>> {
    match documents.next() {
        Some(document) => {
            let document = document?;
            if document.id.to_string() == id {
                return Ok(document);
            }
            bail!(
                "{} does not hold the documents that its outcomes name: build the corpus anew",
                path.display()
            )
        }
        None => bail!(
            "{} holds fewer documents than its outcomes name: build the corpus anew",
            path.display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_worth_another_try_is_told_by_its_reason() {
        let transient = Failures::default();
        for (name, expected) in [
            ("fetch/timeout", true),
            ("fetch/http-503", true),
            ("fetch/http-404", false),
            ("fetch/robots", false),
            ("filter/too-small", false),
        ] {
            assert_eq!(transient.contains(&Reason::new(name)), expected, "{name}");
        }
        let named = Failures {
            reasons: vec!["http-4*".to_owned(), "dns".to_owned()],
        };
        assert!(named.contains(&Reason::new("fetch/http-404")));
        assert!(named.contains(&Reason::new("fetch/dns")));
        assert!(!named.contains(&Reason::new("fetch/timeout")));
    }
}
