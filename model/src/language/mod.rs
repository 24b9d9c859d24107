//! Language models, run layer by layer so that gated blocks can stand between.

mod config;
mod decoder;
mod hugging_face;
mod layer;
mod names;
mod positions;

use candle_core::Tensor;

use crate::Result;

pub use config::{Biases, Family, LanguageConfig};
pub use decoder::Decoder;
pub use positions::Positions;

/// A decoder-only language model whose layers the caller steps through:
/// `positions`, `embed`, then `layer` 0, 1, …, then `logits`.
pub trait LanguageModel: Send + Sync {
    /// How many layers there are.
    fn layer_count(&self) -> usize;

    /// The longest sequence, in tokens.
    fn max_positions(&self) -> usize;

    /// Where `count` tokens behind `start` others stand, in rows that begin with `padding` tokens
    /// of padding each (empty for none).
    ///
    /// Holds B * heads * count * (start + count) numbers of four bytes under ALiBi, and a `heads`-th
    /// of that otherwise.
    ///
    /// # Errors
    /// They reach beyond [`Self::max_positions`].
    fn positions(&self, start: usize, count: usize, padding: &[usize]) -> Result<Positions>;

    /// Token ids `[B, T]` u32 to `[B, T, width]`.
    ///
    /// # Errors
    /// An id is not in the vocabulary.
    fn embed(&self, tokens: &Tensor, positions: &Positions) -> Result<Tensor>;

    /// One layer: `[B, T, width]` to the same shape, each token attending to itself, to those
    /// before it and to those in `cache`, which this call appends to.
    ///
    /// # Errors
    /// Shapes do not fit together.
    fn layer(
        &self,
        layer: usize,
        hidden: &Tensor,
        positions: &Positions,
        cache: Option<&mut LayerCache>,
    ) -> Result<Tensor>;

    /// The last layer's output `[.., width]` to scores over the vocabulary `[.., V]`.
    ///
    /// # Errors
    /// The width does not fit.
    fn logits(&self, hidden: &Tensor) -> Result<Tensor>;
}

/// The keys and values of the tokens a layer has seen, `[B, heads, seen, head_dim]` each.
#[derive(Clone, Default)]
pub struct LayerCache(Option<(Tensor, Tensor)>);

impl LayerCache {
    /// Appends and gives everything seen so far, these included.
    ///
    /// # Errors
    /// Shapes differ from those before.
    pub fn extend(&mut self, keys: Tensor, values: Tensor) -> Result<(Tensor, Tensor)> {
        let (keys, values) = match self.0.take() {
            None => (keys, values),
            Some((seen_keys, seen_values)) => (
                Tensor::cat(&[&seen_keys, &keys], 2)?,
                Tensor::cat(&[&seen_values, &values], 2)?,
            ),
        };
        self.0 = Some((keys.clone(), values.clone()));
        Ok((keys, values))
    }

    /// The cache of these rows, in this order; a row may come several times.
    ///
    /// # Errors
    /// A row is not there.
    pub fn select(&self, rows: &Tensor) -> Result<Self> {
        let select = |tensor: &Tensor| tensor.index_select(rows, 0);
        let selected = self.0.as_ref();
        let selected =
            selected.map(|(keys, values)| -> Result<_> { Ok((select(keys)?, select(values)?)) });
        Ok(Self(selected.transpose()?))
    }
}
