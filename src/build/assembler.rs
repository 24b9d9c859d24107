//! Outcomes in any order to shards in order.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use anyhow::Result;
use m3w_document::{DocumentId, Tally};
use m3w_shards::{DocumentWriter, write_atomically};

use super::shard_info;
use crate::bits::Bits;
use crate::config::BuildConfig;
use crate::corpus::{Corpus, Part, document_ids, file_entry};
use crate::journal::{Journal, Outcome};
use crate::outcomes::OutcomeLine;

/// Takes outcomes in any order and publishes parts in order.
pub(super) struct Assembler<'a> {
    corpus: &'a Corpus,
    config: &'a BuildConfig,
    total: u64,
    finished: Vec<Part>,
    /// Parts that miss outcomes.
    open: BTreeMap<u64, Journal>,
    /// Parts that miss none, and wait for those before them.
    whole: BTreeSet<u64>,
    /// Parts whose shards are there, but not those of all before them: the corpus was opened again
    /// for what had failed.
    published: BTreeSet<u64>,
    seen: HashSet<DocumentId>,
}

impl<'a> Assembler<'a> {
    pub(super) fn open(corpus: &'a Corpus, config: &'a BuildConfig, total: u64) -> Result<Self> {
        let mut finished = Vec::new();
        let mut published = BTreeSet::new();
        let mut seen = HashSet::new();
        let parts = total.div_ceil(config.inputs_per_shard as u64);
        for number in 0..parts {
            let Some(mut part) = corpus.part(usize::try_from(number)?)? else {
                continue;
            };
            seen.extend(document_ids(&part)?);
            part.ids = Vec::new();
            if finished.len() as u64 == number {
                finished.push(part);
            } else {
                published.insert(number);
            }
        }
        let mut assembler = Self {
            corpus,
            config,
            total,
            open: BTreeMap::new(),
            whole: BTreeSet::new(),
            published,
            seen,
            finished,
        };
        for number in 0..assembler.part_count() {
            let path = corpus.journal_path(usize::try_from(number)?);
            if !path.exists() {
                continue;
            }
            let journal = Journal::open(&path)?;
            let is_published = assembler.published.contains(&number);
            if is_published || number < assembler.finished.len() as u64 {
                // The build was stopped between publishing the part and this.
                journal.remove()?;
            } else {
                assembler.keep(number, journal);
            }
        }
        assembler.publish_ready()?;
        Ok(assembler)
    }

    fn inputs_per_shard(&self) -> u64 {
        self.config.inputs_per_shard as u64
    }

    fn part_count(&self) -> u64 {
        self.total.div_ceil(self.inputs_per_shard())
    }

    fn inputs_of(&self, part: u64) -> u64 {
        self.inputs_per_shard()
            .min(self.total - part * self.inputs_per_shard())
    }

    /// How many inputs have no outcome.
    pub(super) fn remaining(&self) -> u64 {
        let finished = 0..self.finished.len() as u64;
        let parts = finished.chain(self.whole.iter().chain(&self.published).copied());
        let in_parts: u64 = parts.map(|part| self.inputs_of(part)).sum();
        let journaled: u64 = self.open.values().map(|journal| journal.len() as u64).sum();
        self.total - in_parts - journaled
    }

    /// The inputs that have an outcome.
    pub(super) fn done(&self) -> Bits {
        let mut done = Bits::default();
        let finished = 0..self.finished.len() as u64;
        for part in finished.chain(self.whole.iter().chain(&self.published).copied()) {
            let first = part * self.inputs_per_shard();
            (first..first + self.inputs_of(part)).for_each(|input| done.insert(input));
        }
        let journaled = self.open.values().flat_map(Journal::inputs);
        journaled.for_each(|input| done.insert(input));
        done
    }

    pub(super) fn add(&mut self, outcome: &Outcome) -> Result<()> {
        let part = outcome.input / self.inputs_per_shard();
        let mut journal = match self.open.remove(&part) {
            Some(journal) => journal,
            None => Journal::open(&self.corpus.journal_path(usize::try_from(part)?))?,
        };
        journal.append(outcome)?;
        self.keep(part, journal);
        self.publish_ready()
    }

    /// Remembers a journal: what is in it while outcomes are missing, only that it is whole then.
    fn keep(&mut self, part: u64, journal: Journal) {
        if journal.len() as u64 == self.inputs_of(part) {
            self.whole.insert(part);
        } else {
            self.open.insert(part, journal);
        }
    }

    /// Writes the shards of the parts that are next in order and whole.
    fn publish_ready(&mut self) -> Result<()> {
        loop {
            let number = self.finished.len();
            if self.published.remove(&(number as u64))
                && let Some(mut part) = self.corpus.part(number)?
            {
                part.ids = Vec::new();
                self.finished.push(part);
                continue;
            }
            if !self.whole.remove(&(number as u64)) {
                return Ok(());
            }
            let journal = Journal::open(&self.corpus.journal_path(number))?;
            let mut part = self.write_part(number, &journal)?;
            self.corpus.publish(number, &part)?;
            // They are in the set of those seen, and on disk.
            part.ids = Vec::new();
            self.finished.push(part);
            journal.remove()?;
        }
    }

    fn write_part(&mut self, number: usize, journal: &Journal) -> Result<Part> {
        let documents_name = Corpus::documents_name(number);
        let path = self.corpus.root().join(&documents_name);
        let mut writer = DocumentWriter::create(&path, &shard_info(self.config))?;
        let mut outcome_lines = Vec::new();
        let mut tally = Tally::default();
        let mut ids = Vec::new();
        for outcome in journal.outcomes()? {
            let mut outcome = outcome?;
            if let Some(document) = &outcome.document {
                if self.seen.insert(document.id) {
                    writer.write(document)?;
                    ids.push(document.id.to_string());
                } else {
                    outcome.drop_as_seen(self.config.unit());
                }
            }
            outcome.count(self.config.unit(), &mut tally);
            outcome_lines.extend(OutcomeLine::of(&outcome).text()?.into_bytes());
            outcome_lines.push(b'\n');
        }
        let documents = writer.finish()?.in_folder("documents");
        let outcomes_name = Corpus::outcomes_name(number);
        write_atomically(&self.corpus.root().join(&outcomes_name), &outcome_lines)?;
        let rows = self.inputs_of(number as u64);
        Ok(Part {
            documents,
            outcomes: file_entry(self.corpus.root(), &outcomes_name, rows)?,
            tally,
            ids,
        })
    }

    pub(super) fn finish(self) -> Result<Vec<Part>> {
        let missing = self.remaining();
        anyhow::ensure!(
            missing == 0,
            "{missing} inputs have no outcome: give the same command again"
        );
        Ok(self.finished)
    }
}
