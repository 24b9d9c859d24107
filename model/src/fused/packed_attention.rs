//! Attention of heads that lie where one map wrote all of them.
//!
//! As [`Attention`], without the steps that part a product into heads: their gradients would be copied
//! from one order to another, several times each.

use candle_core::{CpuStorage, CustomOp1, CustomOp2, Device, Layout, Result, Shape, Tensor, bail};

use super::attention::{Attention, Operands, cpu};
use super::{contiguous, fill_rows};

/// Attention of tokens `[B, T, 3 * H * D]`, which hold queries, then keys, then values, to each other; or of
/// queries `[B or 1, T, H * D]`, 1 where all rows ask alike, to keys and values `[B, S, 2 * H * D]`. Gives
/// `[B, T, H * D]`.
pub(crate) struct PackedAttention {
    pub(crate) heads: usize,
    pub(crate) attention: Attention,
}

/// Where queries, keys or values lie in a tensor: `[B, H, T, D]`.
fn part(layout: &Layout, [at, parts]: [usize; 2], heads: usize, batch: usize) -> Result<Layout> {
    let (rows, tokens, width) = layout.shape().dims3()?;
    let Some((start, _)) = layout.contiguous_offsets() else {
        bail!("{NAME} needs a contiguous tensor");
    };
    if heads == 0 || width % (parts * heads) != 0 || (rows != batch && rows != 1) {
        bail!(
            "{NAME}: {parts} parts of {heads} heads in {:?}",
            layout.dims()
        );
    }
    let channels = width / parts / heads;
    let of_row = if rows == batch { tokens * width } else { 0 };
    let strides = vec![of_row, channels, width, 1];
    let shape = Shape::from((batch, heads, tokens, channels));
    Ok(Layout::new(shape, strides, start + at * heads * channels))
}

/// `[B, T, parts * H * D]` from parts `[B, H, T, D]`; of one row that all asked with, the sum.
fn pack(parts: &[Vec<f32>], layout: &Layout, heads: usize, batch: usize) -> Result<Tensor> {
    let (rows, tokens, width) = layout.shape().dims3()?;
    let channels = width / parts.len() / heads;
    let mut packed = vec![0.0; rows * tokens * width];
    fill_rows(&mut packed, width, |row, packed| {
        let (row, token) = (row / tokens, row % tokens);
        let sources = if rows == batch {
            row..row + 1
        } else {
            0..batch
        };
        for source in sources {
            for (at, packed) in packed.chunks_exact_mut(channels).enumerate() {
                let (part, head) = (at / heads, at % heads);
                let start = ((source * heads + head) * tokens + token) * channels;
                let numbers = &parts[part][start..start + channels];
                let sums = packed.iter_mut().zip(numbers);
                sums.for_each(|(sum, number)| *sum += number);
            }
        }
    });
    Tensor::from_vec(packed, layout.shape(), &Device::Cpu)
}

impl PackedAttention {
    fn attend(&self, operands: [(&CpuStorage, &Layout); 3]) -> Result<(CpuStorage, Shape)> {
        let (batch, heads, tokens, channels) = operands[0].1.shape().dims4()?;
        let attend = |operands: &Operands<'_>| operands.attend();
        let output = self.attention.with_operands(operands, attend)?;
        let shape = Shape::from((batch, tokens, heads * channels));
        Ok((CpuStorage::F32(output), shape))
    }

    /// Gradients `[B, H, T, D]` of queries, keys and values.
    fn slopes(
        &self,
        operands: [(&CpuStorage, &Layout); 3],
        gradient: &Tensor,
    ) -> Result<[Vec<f32>; 3]> {
        let gradient = gradient.contiguous()?;
        let (storage, layout) = gradient.storage_and_layout();
        let gradient = contiguous(cpu(&storage)?, layout, NAME)?;
        let slopes = |operands: &Operands<'_>| operands.slopes(gradient);
        self.attention.with_operands(operands, slopes)
    }

    fn of_three(&self, layout: &Layout) -> Result<[Layout; 3]> {
        let batch = layout.shape().dims3()?.0;
        let part = |at| part(layout, [at, 3], self.heads, batch);
        Ok([part(0)?, part(1)?, part(2)?])
    }

    fn of_two(&self, queries: &Layout, others: &Layout) -> Result<[Layout; 3]> {
        let batch = others.shape().dims3()?.0;
        let other = |at| part(others, [at, 2], self.heads, batch);
        let queries = part(queries, [0, 1], self.heads, batch)?;
        Ok([queries, other(0)?, other(1)?])
    }
}

const NAME: &str = "packed-attention";

impl CustomOp1 for PackedAttention {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(&self, all: &CpuStorage, layout: &Layout) -> Result<(CpuStorage, Shape)> {
        let layouts = self.of_three(layout)?;
        self.attend([(all, &layouts[0]), (all, &layouts[1]), (all, &layouts[2])])
    }

    fn bwd(&self, all: &Tensor, _: &Tensor, gradient: &Tensor) -> Result<Option<Tensor>> {
        let (storage, layout) = all.storage_and_layout();
        let storage = cpu(&storage)?;
        let layouts = self.of_three(layout)?;
        let parts = layouts.each_ref().map(|layout| (storage, layout));
        let slopes = self.slopes(parts, gradient)?;
        let batch = layout.shape().dims3()?.0;
        Ok(Some(pack(&slopes, layout, self.heads, batch)?))
    }
}

impl CustomOp2 for PackedAttention {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        queries: &CpuStorage,
        queries_layout: &Layout,
        others: &CpuStorage,
        others_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let [of_queries, of_keys, of_values] = self.of_two(queries_layout, others_layout)?;
        self.attend([
            (queries, &of_queries),
            (others, &of_keys),
            (others, &of_values),
        ])
    }

    fn bwd(
        &self,
        queries: &Tensor,
        others: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let (asking, asking_layout) = queries.storage_and_layout();
        let (other, other_layout) = others.storage_and_layout();
        let [of_queries, of_keys, of_values] = self.of_two(asking_layout, other_layout)?;
        let operands = [
            (cpu(&asking)?, &of_queries),
            (cpu(&other)?, &of_keys),
            (cpu(&other)?, &of_values),
        ];
        let [of_queries, of_keys, of_values] = self.slopes(operands, gradient)?;
        let batch = other_layout.shape().dims3()?.0;
        let of_queries = pack(&[of_queries], asking_layout, self.heads, batch)?;
        let of_others = pack(&[of_keys, of_values], other_layout, self.heads, batch)?;
        Ok((Some(of_queries), Some(of_others)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::super::tests::{assert_close, numbers};
    use super::*;

    #[test]
    fn attention_of_packed_heads_is_that_of_parted_ones() {
        let (heads, channels, scale) = (3, 4, 0.5);
        let width = heads * channels;
        let part = |all: &Tensor, parts: usize, at: usize| {
            let part = all.narrow(2, at * width, width).unwrap();
            assert_eq!(all.dim(2).unwrap(), parts * width);
            crate::ops::split_heads(&part.contiguous().unwrap(), heads).unwrap()
        };
        let packed = || PackedAttention {
            heads,
            attention: Attention { scale, bias: None },
        };
        let parted = |queries: &Tensor, keys: &Tensor, values: &Tensor| {
            let attention = Attention { scale, bias: None };
            queries.apply_op3(keys, values, attention).unwrap()
        };
        let compare = |vars: &[&Var], found: &Tensor, expected: &Tensor| {
            assert_close("result", found, expected);
            let uneven = numbers(1, found.elem_count(), 0.4);
            let uneven = uneven.reshape(found.shape()).unwrap();
            let gradients = |output: &Tensor| {
                let sum = (output * &uneven).unwrap().sum_all().unwrap();
                sum.backward().unwrap()
            };
            let (found, expected) = (gradients(found), gradients(expected));
            for var in vars {
                let apart = (found.get(var).unwrap() - expected.get(var).unwrap()).unwrap();
                let apart = apart.abs().unwrap().max_all().unwrap();
                assert!(apart.to_scalar::<f32>().unwrap() < 2e-5);
            }
        };
        let var = numbers(2 * 70, 3 * width, 0.1);
        let all = var.reshape((2, 70, 3 * width)).unwrap();
        let [queries, keys, values] = [0, 1, 2].map(|at| part(&all, 3, at));
        let found = all.apply_op1(packed()).unwrap();
        compare(&[&var], &found, &parted(&queries, &keys, &values));
        // Queries of each row, and of all rows alike.
        let other_var = numbers(2 * 9, 2 * width, 0.6);
        let others = other_var.reshape((2, 9, 2 * width)).unwrap();
        let [keys, values] = [0, 1].map(|at| part(&others, 2, at));
        for rows in [1, 2] {
            let var = numbers(rows * 20, width, 0.3);
            let queries = var.reshape((rows, 20, width)).unwrap();
            let found = queries.apply_op2(&others, packed()).unwrap();
            let spread = queries.broadcast_as((2, 20, width)).unwrap();
            let queries = part(&spread, 1, 0);
            compare(
                &[&var, &other_var],
                &found,
                &parted(&queries, &keys, &values),
            );
        }
    }
}
