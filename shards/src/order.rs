//! The order of rows in an epoch, computed and not remembered.

use rand::seq::SliceRandom;

use crate::randomness::generator;

/// A row group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Group {
    /// Index of its shard.
    pub(crate) shard: usize,
    /// Its index in the shard.
    pub(crate) index: usize,
    /// Number of its first row in the corpus.
    pub(crate) first_row: u64,
    /// Its rows.
    pub(crate) rows: usize,
}

/// The order of one epoch: row groups are shuffled and cut into blocks of at least a shuffle
/// buffer's rows; within a block, rows are shuffled.
///
/// A sliding buffer would mix a little better, but its content depends on all rows before, so a
/// loader that resumes would have to read them again.
#[derive(Debug)]
pub(crate) struct EpochOrder {
    groups: Vec<Group>,
    /// First group and first position of each block, and their ends.
    blocks: Vec<(usize, u64)>,
    is_shuffled: bool,
    seed: u64,
    epoch: u64,
}

impl EpochOrder {
    pub(crate) fn new(groups: &[Group], shuffle_buffer: usize, seed: u64, epoch: u64) -> Self {
        let mut groups: Vec<Group> = groups
            .iter()
            .copied()
            .filter(|group| group.rows > 0)
            .collect();
        if shuffle_buffer > 0 {
            groups.shuffle(&mut generator(
                seed,
                "order of row groups",
                &[&epoch.to_le_bytes()],
            ));
        }
        let mut blocks = Vec::new();
        let mut position = 0;
        let mut rows_in_block = 0;
        for (index, group) in groups.iter().enumerate() {
            if index == 0 || rows_in_block >= shuffle_buffer {
                blocks.push((index, position));
                rows_in_block = 0;
            }
            rows_in_block += group.rows;
            position += group.rows as u64;
        }
        Self {
            groups,
            blocks,
            is_shuffled: shuffle_buffer > 0,
            seed,
            epoch,
        }
    }

    /// The block that holds a position of the epoch, and the block's first position.
    pub(crate) fn block_at(&self, position: u64) -> (usize, u64) {
        let number = self
            .blocks
            .partition_point(|(_, first)| *first <= position)
            .saturating_sub(1);
        (number, self.blocks.get(number).map_or(0, |block| block.1))
    }

    /// The row groups of a block.
    pub(crate) fn groups(&self, number: usize) -> &[Group] {
        let start = self.blocks.get(number).map_or(0, |block| block.0);
        let end = self
            .blocks
            .get(number + 1)
            .map_or(self.groups.len(), |block| block.0);
        &self.groups[start..end]
    }

    /// Puts the rows of a block, read in the order of its groups, into the epoch's order.
    pub(crate) fn shuffle<T>(&self, number: usize, rows: &mut [T]) {
        if self.is_shuffled {
            rows.shuffle(&mut generator(
                self.seed,
                "order of rows",
                &[&self.epoch.to_le_bytes(), &(number as u64).to_le_bytes()],
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn groups() -> Vec<Group> {
        [3, 0, 5, 2, 7]
            .into_iter()
            .scan(0, |first_row, rows| {
                let group = Group {
                    shard: 0,
                    index: 0,
                    first_row: *first_row,
                    rows,
                };
                *first_row += rows as u64;
                Some(group)
            })
            .collect()
    }

    fn epoch(buffer: usize, seed: u64, epoch: u64) -> Vec<u64> {
        let order = EpochOrder::new(&groups(), buffer, seed, epoch);
        (0..17)
            .map(|position| {
                let (number, first) = order.block_at(position);
                let mut rows: Vec<u64> = order
                    .groups(number)
                    .iter()
                    .flat_map(|group| group.first_row..group.first_row + group.rows as u64)
                    .collect();
                order.shuffle(number, &mut rows);
                rows[(position - first) as usize]
            })
            .collect()
    }

    #[test]
    fn every_epoch_has_every_row_once_in_an_order_of_its_own() {
        for buffer in [1, 4, 100] {
            let first = epoch(buffer, 7, 0);
            let mut sorted = first.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, (0..17).collect::<Vec<_>>(), "buffer {buffer}");
            assert_ne!(first, epoch(buffer, 7, 1));
            assert_ne!(first, epoch(buffer, 8, 0));
            assert_eq!(first, epoch(buffer, 7, 0));
        }
    }

    #[test]
    fn without_a_buffer_rows_keep_their_order() {
        assert_eq!(epoch(0, 7, 3), (0..17).collect::<Vec<_>>());
    }
}
