//! What attention adds to scores, and the keys that it leaves to be seen.

use std::ops::Range;

use candle_core::{CpuStorage, Layout, Result, bail};

use super::contiguous;
use super::matrix::Matrix;
use crate::ops::MASKED_SCORE;

/// Queries worked through together.
pub(super) const BLOCK: usize = 64;

/// A bias in memory, and what each block of queries sees under it.
pub(super) struct Bias<'a> {
    values: &'a [f32],
    /// 0 where an axis is broadcast.
    strides: [usize; 3],
    keys: usize,
    heads: usize,
    blocks: usize,
    seen: Vec<Range<usize>>,
}

impl<'a> Bias<'a> {
    pub(super) fn new(
        storage: &'a CpuStorage,
        layout: &Layout,
        queries: usize,
        keys: usize,
    ) -> Result<Self> {
        let (rows, heads, tokens, sources) = layout.shape().dims4()?;
        if (tokens, sources) != (queries, keys) {
            bail!("attention of {queries} to {keys} tokens under a bias of {tokens} to {sources}");
        }
        if tokens == 0 || sources == 0 {
            bail!("attention of {queries} to {keys} tokens");
        }
        let values = contiguous(storage, layout, "attention")?;
        let blocks = tokens.div_ceil(BLOCK);
        let seen = values
            .chunks(tokens * sources)
            .flat_map(|head| head.chunks(BLOCK * sources))
            .map(|block| seen_keys(block, sources))
            .collect();
        let stride = |size: usize, stride: usize| if size == 1 { 0 } else { stride };
        Ok(Self {
            values,
            strides: [
                stride(rows, heads * tokens * sources),
                stride(heads, tokens * sources),
                sources,
            ],
            keys,
            heads,
            blocks,
            seen,
        })
    }

    /// Whether heads have biases of their own.
    pub(super) fn is_by_head(&self) -> bool {
        self.strides[1] > 0
    }

    /// The keys that some query of this block sees.
    pub(super) fn seen(&self, row: usize, head: usize, block: usize) -> Range<usize> {
        let row = if self.strides[0] == 0 { 0 } else { row };
        let head = if self.strides[1] == 0 { 0 } else { head };
        self.seen[(row * self.heads + head) * self.blocks + block].clone()
    }

    /// What these queries and keys have, `[queries, keys]`.
    pub(super) fn part(
        &self,
        row: usize,
        head: usize,
        queries: Range<usize>,
        keys: &Range<usize>,
    ) -> Matrix<'a> {
        let [rows, heads, tokens] = self.strides;
        let first = row * rows + head * heads + queries.start * tokens + keys.start;
        Matrix {
            values: &self.values[first..],
            rows: queries.len(),
            columns: keys.len(),
            row_stride: tokens,
            column_stride: 1,
        }
    }

    pub(super) fn row(&self, row: usize, head: usize, query: usize) -> &'a [f32] {
        let [rows, heads, tokens] = self.strides;
        &self.values[row * rows + head * heads + query * tokens..][..self.keys]
    }
}

/// From the first to the last key that is seen from a block of rows `[queries, keys]`.
fn seen_keys(block: &[f32], keys: usize) -> Range<usize> {
    let is_seen = |score: &f32| *score > MASKED_SCORE;
    let mut seen = keys..0;
    for row in block.chunks(keys) {
        if let Some(first) = row[..seen.start].iter().position(is_seen) {
            seen.start = first;
        }
        if let Some(last) = row[seen.end..].iter().rposition(is_seen) {
            seen.end += last + 1;
        }
    }
    if seen.start < seen.end { seen } else { 0..0 }
}
