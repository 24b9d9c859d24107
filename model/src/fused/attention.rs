//! Attention of many heads, a block of queries at a time.
//!
//! Scores and weights of one block fit into the cache and are never written to memory; the backward
//! pass computes them again (Dao et al. 2022). Queries, keys and values are read where the maps
//! before them wrote them. Keys that no query of a block sees, later ones or those of other images,
//! cost nothing.

use std::mem::MaybeUninit;
use std::ops::Range;

use candle_core::{CpuStorage, CustomOp3, Layout, Result, Shape, Tensor, bail};
use rayon::prelude::*;

use super::attention_bias::{BLOCK, Bias};
use super::attention_tiles::{QUERIES, Space};
use super::contiguous;
use super::matrix::{Matrix, multiply};
use super::product::takes_tiles;
use super::softmax::{slope, softmax_in_place};

/// `softmax(scale * queries * keys^T + bias) * values` of queries `[B, H, T, D]` and keys and values
/// `[B, G, S, D]`, to `[B, T, H * D]`. Each `H / G` heads of queries share one of keys and values.
///
/// The channels of a head lie side by side, all else anywhere. The bias, `[B or 1, H or 1, T, S]`,
/// gets no gradient. A query all of whose keys are masked gets numbers without meaning.
pub(crate) struct Attention {
    pub(crate) scale: f32,
    pub(crate) bias: Option<Tensor>,
}

/// Heads `[B, H, T, D]` in memory.
#[derive(Clone, Copy)]
struct Heads<'a> {
    values: &'a [f32],
    sizes: [usize; 4],
    strides: [usize; 3],
}

impl<'a> Heads<'a> {
    fn new(storage: &'a CpuStorage, layout: &Layout) -> Result<Self> {
        let sizes: [usize; 4] = layout.shape().dims4()?.into();
        let [batch, heads, tokens, last] = layout.stride() else {
            bail!("attention needs four axes");
        };
        if *last != 1 && sizes[3] > 1 {
            bail!("attention needs the channels of a head side by side");
        }
        Ok(Self {
            values: &storage.as_slice::<f32>()?[layout.start_offset()..],
            sizes,
            strides: [*batch, *heads, *tokens],
        })
    }

    fn head(&self, row: usize, head: usize) -> Matrix<'a> {
        let [batch, heads, tokens] = self.strides;
        Matrix {
            values: &self.values[row * batch + head * heads..],
            rows: self.sizes[2],
            columns: self.sizes[3],
            row_stride: tokens,
            column_stride: 1,
        }
    }
}

/// Makes zeros of these places.
fn zeros(places: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    places.fill(MaybeUninit::new(0.0));
    // SAFETY: all of them have just been written, and a number lies as its place does.
    unsafe { std::slice::from_raw_parts_mut(places.as_mut_ptr().cast(), places.len()) }
}

/// Everything that both directions read.
pub(super) struct Operands<'a> {
    queries: Heads<'a>,
    keys: Heads<'a>,
    values: Heads<'a>,
    bias: Option<Bias<'a>>,
    scale: f32,
}

impl Operands<'_> {
    /// Heads of queries for each of keys.
    fn repeats(&self) -> usize {
        self.queries.sizes[1] / self.keys.sizes[1]
    }

    fn check(&self) -> Result<()> {
        let [batch, heads, _, channels] = self.queries.sizes;
        let [key_batch, key_heads, sources, key_channels] = self.keys.sizes;
        let fits = self.values.sizes == self.keys.sizes
            && (batch, channels) == (key_batch, key_channels)
            && key_heads > 0
            && heads.is_multiple_of(key_heads)
            && sources > 0
            && channels > 0;
        if !fits {
            let [queries, keys, values] = [self.queries, self.keys, self.values].map(|a| a.sizes);
            bail!("attention of queries {queries:?} to keys {keys:?} and values {values:?}");
        }
        Ok(())
    }

    /// The keys that some query of this block sees.
    fn seen(&self, row: usize, head: usize, queries: &Range<usize>) -> Range<usize> {
        let all = 0..self.keys.sizes[2];
        let bias = self.bias.as_ref();
        bias.map_or(all, |bias| bias.seen(row, head, queries.start / BLOCK))
    }

    /// Writes the weights of these queries into `weights` and says for which keys.
    fn weigh(
        &self,
        weights: &mut Vec<f32>,
        row: usize,
        head: usize,
        queries: Range<usize>,
    ) -> Range<usize> {
        let bias = self.bias.as_ref();
        let seen = self.seen(row, head, &queries);
        let width = seen.len();
        weights.resize(queries.len() * width, 0.0);
        if width == 0 {
            return seen;
        }
        let keys = self.keys.head(row, head / self.repeats());
        let left = self.queries.head(row, head).rows(queries.clone());
        multiply(
            weights,
            width,
            left,
            keys.rows(seen.clone()).turned(),
            false,
        );
        for (query, weights) in queries.zip(weights.chunks_mut(width)) {
            let bias = bias.map_or(&[][..], |bias| &bias.row(row, head, query)[seen.clone()]);
            softmax_in_place(weights, bias, self.scale);
        }
        seen
    }

    /// `[B, T, H * D]`.
    pub(super) fn attend(&self) -> Vec<f32> {
        let [batch, heads, tokens, channels] = self.queries.sizes;
        let width = heads * channels;
        let total = batch * tokens * width;
        let mut output = Vec::with_capacity(total);
        if total == 0 {
            return output;
        }
        let places = &mut output.spare_capacity_mut()[..total];
        let rows = places.par_chunks_mut(tokens * width).enumerate();
        let blocks = rows.flat_map(|(row, output)| {
            let blocks = output.par_chunks_mut(BLOCK * width).enumerate();
            blocks.map(move |(block, output)| (row, block * BLOCK, output))
        });
        blocks.for_each_init(
            <(Space, Vec<f32>)>::default,
            |space, (row, start, places)| {
                let output = zeros(places);
                let queries = start..start + output.len() / width;
                if takes_tiles(queries.len()) {
                    self.attend_in_tiles(&mut space.0, output, row, queries);
                } else {
                    self.attend_in_general(&mut space.1, output, row, queries);
                }
            },
        );
        // SAFETY: so many were asked for, and the blocks, each made of zeros first, are all of them.
        unsafe { output.set_len(total) };
        output
    }

    /// Writes the rows of these queries, `[T, H * D]`.
    fn attend_in_tiles(
        &self,
        space: &mut Space,
        output: &mut [f32],
        row: usize,
        queries: Range<usize>,
    ) {
        let [_, heads, _, channels] = self.queries.sizes;
        let width = heads * channels;
        for (part, output) in output.chunks_mut(QUERIES * width).enumerate() {
            let start = queries.start + part * QUERIES;
            let part = start..start + output.len() / width;
            for head in 0..heads {
                let seen = self.seen(row, head, &queries);
                if seen.is_empty() {
                    continue;
                }
                let bias = self.bias.as_ref();
                // One bias for all heads is laid out once.
                if head == 0 || bias.is_some_and(Bias::is_by_head) {
                    space.set_bias(bias.map(|bias| bias.part(row, head, part.clone(), &seen)));
                }
                let [keys, values] = [self.keys, self.values]
                    .map(|heads| heads.head(row, head / self.repeats()).rows(seen.clone()));
                let operands = [
                    self.queries.head(row, head).rows(part.clone()),
                    keys,
                    values,
                ];
                let output = &mut output[head * channels..];
                space.attend(output, width, operands, self.scale);
            }
        }
    }

    /// As [`Self::attend_in_tiles`], for few queries and on any processor.
    fn attend_in_general(
        &self,
        weights: &mut Vec<f32>,
        output: &mut [f32],
        row: usize,
        queries: Range<usize>,
    ) {
        let [_, heads, _, channels] = self.queries.sizes;
        let width = heads * channels;
        for head in 0..heads {
            let seen = self.weigh(weights, row, head, queries.clone());
            if seen.is_empty() {
                continue;
            }
            let values = self
                .values
                .head(row, head / self.repeats())
                .rows(seen.clone());
            let weights = Matrix::packed(weights, seen.len());
            let output = &mut output[head * channels..];
            multiply(output, width, weights, values, false);
        }
    }

    /// Gradients of queries `[B, H, T, D]`, keys and values `[B, G, S, D]`, from that of the result.
    pub(super) fn slopes(&self, gradient: &[f32]) -> [Vec<f32>; 3] {
        let [batch, heads, tokens, channels] = self.queries.sizes;
        let [_, key_heads, sources, _] = self.keys.sizes;
        let (width, repeats) = (heads * channels, self.repeats());
        let zeros = |heads: usize, tokens: usize| vec![0.0; batch * heads * tokens * channels];
        let mut queries = zeros(heads, tokens);
        let (mut keys, mut values) = (zeros(key_heads, sources), zeros(key_heads, sources));
        let parts = queries
            .par_chunks_mut(repeats * tokens * channels)
            .zip(keys.par_chunks_mut(sources * channels))
            .zip(values.par_chunks_mut(sources * channels))
            .enumerate();
        parts.for_each_init(
            || [const { Vec::new() }; 3],
            |[weights, by_weight, by_score], (part, ((of_queries, of_keys), of_values))| {
                let (row, key_head) = (part / key_heads, part % key_heads);
                let blocks = of_queries.chunks_mut(tokens * channels).enumerate();
                for (repeat, of_queries) in blocks {
                    let head = key_head * repeats + repeat;
                    for (block, of_queries) in of_queries.chunks_mut(BLOCK * channels).enumerate() {
                        let start = block * BLOCK;
                        let asking = start..start + of_queries.len() / channels;
                        let seen = self.weigh(weights, row, head, asking.clone());
                        if seen.is_empty() {
                            continue;
                        }
                        let gradient = Matrix {
                            values: &gradient[row * tokens * width + head * channels..],
                            rows: tokens,
                            columns: channels,
                            row_stride: width,
                            column_stride: 1,
                        };
                        let gradient = gradient.rows(asking.clone());
                        let weight = Matrix::packed(weights, seen.len());
                        let of_seen = seen.start * channels..seen.end * channels;
                        let of_values = &mut of_values[of_seen.clone()];
                        multiply(of_values, channels, weight.turned(), gradient, true);
                        by_weight.resize(weights.len(), 0.0);
                        by_score.resize(weights.len(), 0.0);
                        let values = self.values.head(row, key_head).rows(seen.clone());
                        multiply(by_weight, seen.len(), gradient, values.turned(), false);
                        let rows = weights.chunks(seen.len()).zip(by_weight.chunks(seen.len()));
                        for (by_score, (weights, by_weight)) in
                            by_score.chunks_mut(seen.len()).zip(rows)
                        {
                            slope(by_score, weights, by_weight, self.scale);
                        }
                        let by_score = Matrix::packed(by_score, seen.len());
                        let keys = self.keys.head(row, key_head).rows(seen);
                        multiply(of_queries, channels, by_score, keys, false);
                        let queries = self.queries.head(row, head).rows(asking);
                        let of_keys = &mut of_keys[of_seen];
                        multiply(of_keys, channels, by_score.turned(), queries, true);
                    }
                }
            },
        );
        [queries, keys, values]
    }
}

impl Attention {
    /// Runs `work` on the operands.
    pub(super) fn with_operands<T>(
        &self,
        [queries, keys, values]: [(&CpuStorage, &Layout); 3],
        work: impl FnOnce(&Operands<'_>) -> T,
    ) -> Result<T> {
        let (queries, keys, values) = (
            Heads::new(queries.0, queries.1)?,
            Heads::new(keys.0, keys.1)?,
            Heads::new(values.0, values.1)?,
        );
        let bias = match &self.bias {
            Some(bias) => Some(bias.contiguous()?),
            None => None,
        };
        let guarded = bias.as_ref().map(Tensor::storage_and_layout);
        let bias = match &guarded {
            Some((storage, layout)) => {
                let storage = cpu(storage)?;
                Some(Bias::new(storage, layout, queries.sizes[2], keys.sizes[2])?)
            }
            None => None,
        };
        let operands = Operands {
            queries,
            keys,
            values,
            bias,
            scale: self.scale,
        };
        operands.check()?;
        Ok(work(&operands))
    }
}

pub(super) fn cpu(storage: &candle_core::Storage) -> Result<&CpuStorage> {
    match storage {
        candle_core::Storage::Cpu(storage) => Ok(storage),
        _ => bail!("attention runs on the CPU"),
    }
}

impl CustomOp3 for Attention {
    fn name(&self) -> &'static str {
        "attention"
    }

    fn cpu_fwd(
        &self,
        queries: &CpuStorage,
        queries_layout: &Layout,
        keys: &CpuStorage,
        keys_layout: &Layout,
        values: &CpuStorage,
        values_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let operands = [
            (queries, queries_layout),
            (keys, keys_layout),
            (values, values_layout),
        ];
        #[expect(
            clippy::redundant_closure_for_method_calls,
            reason = "the method alone fits operands of one lifetime only"
        )]
        let output = self.with_operands(operands, |operands| operands.attend())?;
        let (batch, heads, tokens, channels) = queries_layout.shape().dims4()?;
        let shape = Shape::from((batch, tokens, heads * channels));
        Ok((CpuStorage::F32(output), shape))
    }

    fn bwd(
        &self,
        queries: &Tensor,
        keys: &Tensor,
        values: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let gradient = gradient.contiguous()?;
        let (gradient_storage, gradient_layout) = gradient.storage_and_layout();
        let gradient = contiguous(cpu(&gradient_storage)?, gradient_layout, self.name())?;
        let guarded = [queries, keys, values].map(Tensor::storage_and_layout);
        let [(q, q_layout), (k, k_layout), (v, v_layout)] = &guarded;
        let operands = [
            (cpu(q)?, *q_layout),
            (cpu(k)?, *k_layout),
            (cpu(v)?, *v_layout),
        ];
        let [of_queries, of_keys, of_values] =
            self.with_operands(operands, |operands| operands.slopes(gradient))?;
        let tensor = |values, like: &Tensor| Tensor::from_vec(values, like.shape(), like.device());
        Ok((
            Some(tensor(of_queries, queries)?),
            Some(tensor(of_keys, keys)?),
            Some(tensor(of_values, values)?),
        ))
    }
}
