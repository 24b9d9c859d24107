//! Embedding tables, of which often a few rows are trained.

use std::sync::Arc;

use candle_core::{DType, Tensor, Var};

use crate::Result;
use crate::fused::{self, Head, TrainedRows, takes_tiles};
use crate::init::rows_of_table;
use crate::linear::product;
use crate::loss::token_losses;
use crate::plain;

/// A table `[V, width]`, for embedding tokens or for scoring them.
#[derive(Clone)]
pub(crate) struct Table {
    /// A variable where all of it is trained.
    pub(crate) weight: Tensor,
    rows: Option<Rows>,
}

/// Rows of a frozen table that are trained.
///
/// The table holds what they are too. A gradient of the whole table, almost all zeros, would be as large
/// as the largest part of the model, as would its averages in the optimiser.
#[derive(Clone)]
struct Rows {
    ids: Arc<[u32]>,
    /// `[ids, width]`.
    values: Var,
}

impl Table {
    /// A table that is trained as a whole or not at all.
    pub(crate) fn whole(weight: Tensor) -> Self {
        Self { weight, rows: None }
    }

    /// A table of which these rows are trained; gives the variable too. Copies the table, since
    /// training writes into it.
    pub(crate) fn with_rows(weight: &Tensor, ids: &Arc<[u32]>) -> Result<(Self, Var)> {
        let weight = weight.to_dtype(DType::F32)?.detach().copy()?;
        let indices = Tensor::from_slice(ids, ids.len(), weight.device())?;
        let values = Var::from_tensor(&weight.index_select(&indices, 0)?)?;
        let rows = Some(Rows {
            ids: Arc::clone(ids),
            values: values.clone(),
        });
        Ok((Self { weight, rows }, values))
    }

    /// Writes trained rows `[ids, width]` into their table.
    pub(crate) fn write(weight: &Tensor, ids: &[u32], values: &Tensor) -> Result<()> {
        for (row, id) in ids.iter().enumerate() {
            weight.slice_set(&values.narrow(0, row, 1)?, 0, *id as usize)?;
        }
        Ok(())
    }

    /// The rows of these tokens `[T]` u32, `[T, width]`.
    pub(crate) fn embed(&self, tokens: &Tensor, dtype: DType) -> Result<Tensor> {
        let Some(rows) = &self.rows else {
            return rows_of_table(&self.weight, tokens, dtype);
        };
        if fused::takes(&self.weight) && dtype == DType::F32 {
            let lookup = TrainedRows {
                tokens: tokens.to_vec1()?,
                ids: Arc::clone(&rows.ids),
            };
            return Ok(self.weight.apply_op2(&rows.values, lookup)?);
        }
        let found = rows_of_table(&self.weight, tokens, dtype)?;
        plain::replace_rows(&found, &rows.values, &rows.ids, &tokens.to_vec1()?)
    }

    /// Cross entropies, in nats, of `targets` under the scores of hidden states `[T, width]` with this
    /// table, `[T]`.
    pub(crate) fn losses(&self, hidden: &Tensor, targets: &[u32]) -> Result<Tensor> {
        let is_fused = takes_tiles(targets.len())
            && fused::takes(hidden)
            && self.weight.is_contiguous()
            && self.weight.dtype() != DType::U8
            && !self.weight.track_op();
        let hidden = hidden.contiguous()?;
        match &self.rows {
            Some(rows) if !fused::takes(&hidden) => {
                let scores = product(&hidden, &self.weight)?;
                let own = product(&hidden, &rows.values)?;
                token_losses(&plain::replace_columns(&scores, &own, &rows.ids)?, targets)
            }
            Some(rows) => {
                let head = Head::new(targets, &rows.ids, hidden.track_op());
                Ok(hidden.apply_op3(&self.weight, &rows.values, head)?)
            }
            None if is_fused => {
                let head = Head::new(targets, &Arc::from([]), hidden.track_op());
                Ok(hidden.apply_op2(&self.weight, head)?)
            }
            None => token_losses(&product(&hidden, &self.weight)?, targets),
        }
    }
}
