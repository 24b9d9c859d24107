//! Language models, run layer by layer so that gated blocks can stand between.

mod decoder;

use candle_core::{Device, Tensor};

use crate::Result;
use crate::ops::MASKED_SCORE;

pub use decoder::Decoder;

/// A decoder-only language model whose layers the caller steps through:
/// `embed`, then `layer` 0, 1, …, then `logits`.
pub trait LanguageModel: Send + Sync {
    /// How many layers there are.
    fn layer_count(&self) -> usize;

    /// The longest sequence, in tokens.
    fn max_positions(&self) -> usize;

    /// Token ids `[B, T]` u32 to `[B, T, width]`.
    ///
    /// # Errors
    /// An id is not in the vocabulary.
    fn embed(&self, tokens: &Tensor) -> Result<Tensor>;

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

/// Where T tokens stand in their sequence, and which tokens each of them may see.
pub struct Positions {
    /// Tokens before the first one here.
    pub start: usize,
    /// Tokens here (T).
    pub count: usize,
    /// `[T, start + T]`, added to attention scores: 0 for tokens at or before one's own place.
    /// `None` for a single token, which sees all.
    pub causal_bias: Option<Tensor>,
}

impl Positions {
    /// Positions `start .. start + count`.
    ///
    /// # Errors
    /// Allocation by candle fails.
    pub fn new(start: usize, count: usize) -> Result<Self> {
        let total = start + count;
        let causal_bias = (count > 1)
            .then(|| {
                let scores: Vec<f32> = (0..count)
                    .flat_map(|query| {
                        (0..total).map(move |key| {
                            if key <= start + query {
                                0.0
                            } else {
                                MASKED_SCORE
                            }
                        })
                    })
                    .collect();
                Tensor::from_vec(scores, (count, total), &Device::Cpu)
            })
            .transpose()?;
        Ok(Self {
            start,
            count,
            causal_bias,
        })
    }
}

/// The keys and values of the tokens a layer has seen, `[B, heads, seen, head_dim]` each.
#[derive(Default)]
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
}
