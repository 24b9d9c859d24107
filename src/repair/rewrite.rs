//! A part written anew.

use std::path::Path;

use anyhow::{Context, Result};
use m3w_shards::{DocumentWriter, FileEntry, ShardInfo, write_atomically};

use super::part::Part;
use crate::corpus::file_entry;
use crate::journal::Outcome;
use crate::outcomes::OutcomeLine;
use crate::staging::Staging;

/// Files of a part that were written anew.
#[derive(Debug, Default)]
pub(super) struct Written {
    pub(super) documents: Option<FileEntry>,
    pub(super) outcomes: Option<FileEntry>,
    /// Whether every row is proved to be what it was.
    pub(super) is_proved: bool,
}

impl Part<'_> {
    /// Writes anew what is damaged and can be written, without what is lost if `leave_out` says so.
    pub(super) fn write(
        &self,
        root: &Path,
        staging: &Staging,
        info: &ShardInfo,
        leave_out: bool,
    ) -> Result<Written> {
        let has_lines = !self.misses_lines()
            || (self.first..self.first + self.lines.len() as u64)
                .all(|input| self.line(input).is_some() || self.new_lines.contains_key(&input));
        let is_complete = self.lost.is_empty() && has_lines;
        let mut written = Written {
            is_proved: is_complete && self.new_lines.is_empty(),
            ..Written::default()
        };
        if !is_complete && !leave_out {
            return Ok(written);
        }
        // A shard that is whole holds documents whose inputs are not known: nothing may be left
        // out of it for the sake of a list.
        if self.documents_are_whole && !has_lines {
            return Ok(written);
        }
        let inputs = self.first..self.first + self.lines.len() as u64;
        let mut lines = Vec::new();
        for input in inputs.clone() {
            match (self.left_out(input), self.new_lines.get(&input)) {
                (Some(line), _) => lines.extend(line.text()?.into_bytes()),
                (None, Some(line)) => lines.extend(line.text()?.into_bytes()),
                (None, None) => {
                    let index = usize::try_from(input - self.first)?;
                    let known = self.lines[index].as_ref();
                    lines.extend(known.map_or("", |known| &known.text).as_bytes());
                }
            }
            lines.push(b'\n');
        }
        if !self.outcomes_are_whole || !self.lost.is_empty() {
            write_atomically(&staging.path(&self.outcomes.path), &lines)?;
            let entry = file_entry(
                &staging.path(""),
                &self.outcomes.path,
                self.lines.len() as u64,
            )?;
            written.outcomes = Some(entry);
        }
        if self.documents_are_whole {
            return Ok(written);
        }
        let mut writer = DocumentWriter::create(&staging.path(&self.documents.path), info)?;
        for input in inputs {
            let line = self.new_lines.get(&input).or(self.line(input));
            let is_kept = line.is_some_and(|line| line.document_id.is_some());
            if !is_kept || self.lost.contains_key(&input) {
                continue;
            }
            let outcome = self.journal.get(input)?;
            let document = outcome.and_then(|outcome| outcome.document);
            let document = document
                .with_context(|| format!("the journal in {} lacks a row", root.display()))?;
            writer.write(&document)?;
        }
        written.documents = Some(FileEntry {
            path: self.documents.path.clone(),
            ..writer.finish()?
        });
        Ok(written)
    }

    /// The line of an input that is left out.
    fn left_out(&self, input: u64) -> Option<OutcomeLine> {
        let lost = self.lost.get(&input)?;
        let line = self.line(input);
        let outcome = Outcome {
            dropped: Some(lost.reason.clone()),
            images_dropped: line.map_or_else(Vec::new, |line| line.images_dropped.clone()),
            ..Outcome::of(
                input,
                line.map_or_else(String::new, |line| line.url.clone()),
            )
        };
        Some(OutcomeLine::of(&outcome))
    }
}
