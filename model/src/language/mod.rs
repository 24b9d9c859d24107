//! Language models, run layer by layer so that gated blocks can stand between.

mod config;
mod decoder;
mod gguf;
mod hugging_face;
mod layer;
mod maps;
mod names;
mod positions;
mod relative;

use candle_core::Tensor;

use crate::Result;

pub use config::{Biases, Family, LanguageConfig, LoraConfig, LoraTarget};
pub(crate) use config::{MOST_CHANNELS, MOST_LAYERS};
pub use decoder::Decoder;
pub use gguf::GgufLanguage;
pub use positions::Positions;

/// Room for tokens beyond the first ones: most answers are no longer.
const FIRST_ROOM: usize = 64;

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

    /// The last layer's output `[.., width]` to scores over the vocabulary `[.., V]` f32.
    ///
    /// # Errors
    /// The width does not fit.
    fn logits(&self, hidden: &Tensor) -> Result<Tensor>;

    /// Cross entropies, in nats, of `targets` under the scores of the last layer's output `[T, width]`,
    /// `[T]`.
    ///
    /// # Errors
    /// The width does not fit, or a target is not below V.
    fn losses(&self, hidden: &Tensor, targets: &[u32]) -> Result<Tensor>;
}

/// The keys and values of the tokens a layer has seen, `[B, heads, seen, head_dim]` each.
///
/// Holds at most twice as much as it has seen: room for further tokens is made ahead, so that
/// reading one does not copy all others.
#[derive(Default)]
pub struct LayerCache(Option<Seen>);

struct Seen {
    /// `[B, heads, room, head_dim]`, written in place; nobody else holds them.
    keys: Tensor,
    values: Tensor,
    count: usize,
}

impl LayerCache {
    /// Appends and gives everything seen so far, these included. What it gives are views of the
    /// cache, without gradients.
    ///
    /// # Errors
    /// Shapes differ from those before.
    pub fn extend(&mut self, keys: Tensor, values: Tensor) -> Result<(Tensor, Tensor)> {
        let new = keys.dim(2)?;
        let seen = match self.0.take() {
            Some(seen) if seen.count + new <= seen.keys.dim(2)? => seen,
            seen => {
                let count = seen.as_ref().map_or(0, |seen| seen.count);
                let room = if count == 0 {
                    new + FIRST_ROOM
                } else {
                    2 * (count + new)
                };
                let grown = |like: &Tensor, old: Option<&Tensor>| -> Result<Tensor> {
                    let (batch, heads, _, channels) = like.dims4()?;
                    let shape = (batch, heads, room, channels);
                    let grown = Tensor::zeros(shape, like.dtype(), like.device())?;
                    if let Some(old) = old {
                        grown.slice_set(&old.narrow(2, 0, count)?.contiguous()?, 2, 0)?;
                    }
                    Ok(grown)
                };
                Seen {
                    keys: grown(&keys, seen.as_ref().map(|seen| &seen.keys))?,
                    values: grown(&values, seen.as_ref().map(|seen| &seen.values))?,
                    count,
                }
            }
        };
        seen.keys.slice_set(&keys.contiguous()?, 2, seen.count)?;
        seen.values
            .slice_set(&values.contiguous()?, 2, seen.count)?;
        let count = seen.count + new;
        let all = (
            seen.keys.narrow(2, 0, count)?,
            seen.values.narrow(2, 0, count)?,
        );
        self.0 = Some(Seen { count, ..seen });
        Ok(all)
    }

    /// The cache of these rows, in this order; a row may come several times.
    ///
    /// # Errors
    /// A row is not there.
    pub fn select(&self, rows: &Tensor) -> Result<Self> {
        let select = |tensor: &Tensor| tensor.index_select(rows, 0);
        let selected = self.0.as_ref().map(|seen| -> Result<_> {
            Ok(Seen {
                keys: select(&seen.keys)?,
                values: select(&seen.values)?,
                count: seen.count,
            })
        });
        Ok(Self(selected.transpose()?))
    }

    /// A cache that goes on by itself.
    ///
    /// # Errors
    /// Allocation by candle fails.
    pub fn copy(&self) -> Result<Self> {
        let copied = self.0.as_ref().map(|seen| -> Result<_> {
            Ok(Seen {
                keys: seen.keys.copy()?,
                values: seen.values.copy()?,
                count: seen.count,
            })
        });
        Ok(Self(copied.transpose()?))
    }
}
