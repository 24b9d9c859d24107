//! Rows in the order of their epoch, batch by batch.

use crate::batch::{BatchMaker, RowPlace, RowProblem};
use crate::corpus::Corpus;
use crate::guard::catch_panic;
use crate::order::EpochOrder;
use crate::{Error, LoaderState};

/// Rows shuffled together: a run of positions of an epoch.
struct Block {
    number: usize,
    first: u64,
    /// `None` where a document turned out to have no such window, or belongs to another part.
    rows: Vec<Option<RowPlace>>,
}

/// What makes a batch of rows.
pub(crate) type Make<T> = fn(&BatchMaker, &[RowPlace]) -> Result<T, RowProblem>;

/// Makes batches, on the loader's thread.
pub(crate) struct Producer<T> {
    corpus: Corpus,
    maker: BatchMaker,
    pool: rayon::ThreadPool,
    state: LoaderState,
    order: Option<EpochOrder>,
    block: Option<Block>,
    make: Make<T>,
    /// Positions since the last one that held a row.
    empty: u64,
}

impl<T: Send> Producer<T> {
    pub(crate) fn new(
        corpus: Corpus,
        maker: BatchMaker,
        pool: rayon::ThreadPool,
        state: LoaderState,
        make: Make<T>,
    ) -> Self {
        Self {
            corpus,
            maker,
            pool,
            state,
            order: None,
            block: None,
            make,
            empty: 0,
        }
    }

    /// The next batch and the state behind it; `None` after the last epoch.
    pub(crate) fn next_batch(&mut self) -> Result<Option<(T, LoaderState)>, Error> {
        let config = &self.maker.config;
        let (size, share) = (config.batch_size, config.share);
        let own = share.rank * size..(share.rank + 1) * size;
        let mut rows = Vec::with_capacity(size);
        for place in 0..size * share.of {
            match self.next_row()? {
                Some(row) if own.contains(&place) => rows.push(row),
                Some(_) => {}
                // Processes that wait for each other must end after the same batch.
                None if share.of > 1 => return Ok(None),
                None => break,
            }
        }
        if rows.is_empty() {
            return Ok(None);
        }
        let made = catch_panic(|| self.pool.install(|| (self.make)(&self.maker, &rows)))
            .unwrap_or_else(|problem| Err((0, problem)));
        match made {
            Ok(batch) => Ok(Some((batch, self.state))),
            Err((index, problem)) => {
                let (path, row) = self.corpus.locate(rows[index].number);
                Err(Error::row(path, row, problem))
            }
        }
    }

    fn next_row(&mut self) -> Result<Option<RowPlace>, Error> {
        loop {
            match self.next_position()? {
                None => return Ok(None),
                Some(Some(row)) => {
                    self.empty = 0;
                    return Ok(Some(row));
                }
                Some(None) => self.empty += 1,
            }
            // Through the whole corpus and nothing found: another epoch would find no more.
            if self.empty >= 2 * self.corpus.rows {
                return Err(self.corpus.without_rows());
            }
        }
    }

    /// What stands at the next position of the epoch; `None` after the last epoch.
    fn next_position(&mut self) -> Result<Option<Option<RowPlace>>, Error> {
        let config = &self.maker.config;
        if config
            .epochs
            .is_some_and(|epochs| self.state.epoch >= epochs)
        {
            return Ok(None);
        }
        let epoch = self.state.epoch;
        let order = self.order.get_or_insert_with(|| {
            EpochOrder::new(
                &self.corpus.groups,
                config.shuffle_buffer,
                config.seed,
                epoch,
            )
        });
        let (number, first) = order.block_at(self.state.rows);
        if self
            .block
            .as_ref()
            .is_none_or(|block| block.number != number)
        {
            // Dropped first: two blocks at once would double the memory.
            self.block = None;
            let groups = order.groups(number);
            let mut rows = self.pool.install(|| self.corpus.read(groups, epoch))?;
            order.shuffle(number, &mut rows);
            for place in &mut rows {
                let has = place.as_ref().is_none_or(|row| self.maker.takes(row));
                if !has {
                    *place = None;
                }
            }
            self.block = Some(Block {
                number,
                first,
                rows,
            });
        }
        let row = self.block.as_ref().and_then(|block| {
            let index = usize::try_from(self.state.rows - block.first).ok()?;
            block.rows.get(index).cloned()
        });
        let row = row.flatten();
        self.state.rows += 1;
        if self.state.rows == self.corpus.rows {
            self.state.rows = 0;
            self.state.epoch += 1;
            self.order = None;
            self.block = None;
        }
        Ok(Some(row))
    }
}
