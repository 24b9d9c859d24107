//! Rows of a table that are trained, among others that are not.

use std::sync::Arc;

use candle_core::{CpuStorage, CustomOp2, Device, Layout, Result, Shape, Tensor, bail};

use super::{contiguous, fill_rows};

/// The rows of a table `[V, width]` for `tokens`, `[T, width]`. The second operand `[ids, width]`, the rows
/// `ids` as a variable, gets a gradient; the table holds what it holds.
pub(crate) struct TrainedRows {
    pub(crate) tokens: Vec<u32>,
    pub(crate) ids: Arc<[u32]>,
}

impl CustomOp2 for TrainedRows {
    fn name(&self) -> &'static str {
        "trained-rows"
    }

    fn cpu_fwd(
        &self,
        table: &CpuStorage,
        layout: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        let (vocabulary, width) = layout.shape().dims2()?;
        let table = contiguous(table, layout, self.name())?;
        if let Some(token) = self.tokens.iter().find(|id| **id as usize >= vocabulary) {
            bail!("{}: token {token} of {vocabulary}", self.name());
        }
        let mut output = vec![0.0; self.tokens.len() * width];
        fill_rows(&mut output, width, |row, output| {
            output.copy_from_slice(&table[self.tokens[row] as usize * width..][..width]);
        });
        let shape = Shape::from((self.tokens.len(), width));
        Ok((CpuStorage::F32(output), shape))
    }

    fn bwd(
        &self,
        _: &Tensor,
        rows: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        let width = rows.dim(1)?;
        let gradient = gradient.flatten_all()?.to_vec1::<f32>()?;
        let mut sums = vec![0.0; self.ids.len() * width];
        for (token, gradient) in self.tokens.iter().zip(gradient.chunks_exact(width)) {
            let Some(row) = self.ids.iter().position(|id| id == token) else {
                continue;
            };
            let sums = sums[row * width..].iter_mut().zip(gradient);
            sums.for_each(|(sum, slope)| *sum += slope);
        }
        let slope = Tensor::from_vec(sums, rows.shape(), &Device::Cpu)?;
        Ok((None, Some(slope)))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;

    use super::super::tests::{assert_close, numbers};
    use super::*;

    #[test]
    fn trained_rows_are_looked_up_in_their_table_and_alone_have_a_gradient() {
        let table = numbers(5, 3, 0.1).as_detached_tensor();
        let indices = Tensor::new(&[4_u32, 1], &Device::Cpu).unwrap();
        let rows = Var::from_tensor(&table.index_select(&indices, 0).unwrap()).unwrap();
        let tokens = [1_u32, 0, 4, 1];
        let lookup = TrainedRows {
            tokens: tokens.to_vec(),
            ids: [4, 1].into(),
        };
        let found = table.apply_op2(&rows, lookup).unwrap();
        let indices = Tensor::new(&tokens, &Device::Cpu).unwrap();
        assert_close("rows", &found, &table.index_select(&indices, 0).unwrap());
        let weights = numbers(4, 3, 0.4).as_detached_tensor();
        let gradients = (found * &weights)
            .unwrap()
            .sum_all()
            .unwrap()
            .backward()
            .unwrap();
        let of = |row: usize| weights.get(row).unwrap();
        let expected = Tensor::stack(&[of(2), (of(0) + of(3)).unwrap()], 0).unwrap();
        assert_close("gradient", gradients.get(&rows).unwrap(), &expected);
    }
}
