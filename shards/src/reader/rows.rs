//! Rows of a shard, one after another.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;

use arrow::array::RecordBatch;
use arrow::datatypes::Schema;
use parquet::arrow::arrow_reader::{RowSelection, RowSelector};

use super::{BATCH_ROWS, Batches, Shard};
use crate::Error;
use crate::columns::Problem;
use crate::guard::catch_panic;

/// Rows of a shard, one at a time.
pub(super) struct Rows {
    path: Arc<Path>,
    pub(super) row_count: u64,
    batches: Batches,
    batch: Option<RecordBatch>,
    row_in_batch: usize,
    row: u64,
    /// Where only some rows are read, the numbers of those to come.
    numbers: Option<VecDeque<u64>>,
    has_failed: bool,
}

impl std::fmt::Debug for Rows {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Rows")
            .field("path", &self.path)
            .field("row", &self.row)
            .finish_non_exhaustive()
    }
}

impl Rows {
    pub(super) fn new(shard: Shard, expected: &Schema) -> Result<Self, Error> {
        let row_count = shard
            .group_rows()?
            .into_iter()
            .map(|rows| rows as u64)
            .sum();
        Ok(Self {
            path: Arc::from(shard.path.as_path()),
            row_count,
            batches: shard.batches(expected, None, BATCH_ROWS)?,
            batch: None,
            row_in_batch: 0,
            row: 0,
            numbers: None,
            has_failed: false,
        })
    }

    /// The same for rows with these numbers, which rise.
    pub(super) fn selected(
        shard: Shard,
        expected: &Schema,
        numbers: &[u64],
    ) -> Result<Self, Error> {
        let mut selectors = Vec::new();
        let mut next = 0;
        for number in numbers {
            let number = usize::try_from(*number).unwrap_or(usize::MAX);
            selectors.push(RowSelector::skip(number.saturating_sub(next)));
            selectors.push(RowSelector::select(1));
            next = number.saturating_add(1);
        }
        let selection = Some(RowSelection::from(selectors));
        let names = expected.fields().iter().map(|field| field.name().as_str());
        let batches = shard.selected(&names.collect::<Vec<_>>(), None, selection, BATCH_ROWS)?;
        Ok(Self {
            batches,
            numbers: Some(numbers.iter().copied().collect()),
            ..Self::new(shard, expected)?
        })
    }

    /// The next row, as `read` makes it of a batch and a row's index in it.
    pub(super) fn next_with<T>(
        &mut self,
        read: impl FnOnce(&RecordBatch, usize) -> Result<T, Problem>,
    ) -> Option<Result<T, Error>> {
        if self.has_failed {
            return None;
        }
        let result = self.try_next(read).transpose();
        self.has_failed = matches!(result, Some(Err(_)));
        result
    }

    fn try_next<T>(
        &mut self,
        read: impl FnOnce(&RecordBatch, usize) -> Result<T, Problem>,
    ) -> Result<Option<T>, Error> {
        let batch = loop {
            match self.batch.take() {
                Some(batch) if self.row_in_batch < batch.num_rows() => break batch,
                _ => {}
            }
            self.row_in_batch = 0;
            match self.batches.next() {
                Some(batch) => self.batch = Some(batch?),
                None => return Ok(None),
            }
        };
        if let Some(numbers) = &mut self.numbers {
            self.row = numbers.pop_front().unwrap_or(self.row);
        }
        // Damage that the Parquet library did not notice can still break an array's own rules.
        let value = catch_panic(|| read(&batch, self.row_in_batch))
            .and_then(|value| value)
            .map_err(|problem| Error::row(&self.path, self.row, problem))?;
        self.batch = Some(batch);
        self.row_in_batch += 1;
        self.row += 1;
        Ok(Some(value))
    }
}
