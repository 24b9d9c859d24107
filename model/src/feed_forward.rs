//! Feed-forward parts of layers.

use candle_core::Tensor;

use crate::Result;
use crate::config::Activation;
use crate::fused;
use crate::init::ParameterStore;
use crate::linear::Linear;
use crate::norm::{Norm, RowNorm};
use crate::ops::activate;

/// A layer's feed-forward part: `fall(activation(rise(norm(x))))`, or, where it has a gate,
/// `fall(activation(gate(norm(x))) * rise(norm(x)))` (Shazeer 2020).
pub(crate) struct FeedForward<'a, N> {
    /// None where what comes in is normalised.
    pub(crate) norm: Option<&'a N>,
    pub(crate) gate: Option<&'a Linear>,
    pub(crate) rise: &'a Linear,
    pub(crate) activation: Activation,
    pub(crate) fall: &'a Linear,
}

impl<N: RowNorm> FeedForward<'_, N> {
    /// What the part makes of what is normalised, in one operation that keeps gradients.
    fn rise_and_fall(&self, normal: &Tensor) -> Result<Tensor> {
        let biases = [self.rise, self.fall].map(|map| map.bias().cloned());
        let part = fused::RiseAndFall::new(self.activation, biases);
        let rows = self.rise.rows_of(normal)?;
        let output = rows.apply_op3(self.rise.weight(), self.fall.weight(), part)?;
        Ok(output.reshape(self.fall.output_shape(normal)?)?)
    }

    /// `residual` plus what the part makes of `input`, times `opening`, `[1]` or `[width]`, where there
    /// is one.
    pub(crate) fn added_to(
        &self,
        residual: &Tensor,
        input: &Tensor,
        opening: Option<&Tensor>,
    ) -> Result<Tensor> {
        let is_one = opening.is_none_or(|opening| opening.elem_count() == 1);
        let is_tracked = residual.track_op() || opening.is_some_and(Tensor::track_op);
        let norm = self.norm.map(RowNorm::fixed);
        let is_fixed = self.rise.is_fixed(input) && self.fall.is_fixed(input) && !is_tracked;
        let is_apart = self.gate.is_some() || !is_one || !is_fixed;
        if is_apart || matches!(norm, Some(None)) {
            return self.added_apart(residual, input, opening);
        }
        let part = fused::FeedForward {
            norm: norm.flatten(),
            rise: self.rise.map(),
            activation: self.activation,
            fall: self.fall.map(),
            factor: match opening {
                Some(opening) => opening.to_vec1::<f32>()?[0],
                None => 1.0,
            },
        };
        let residual = residual.contiguous()?;
        let output = self
            .rise
            .rows_of(input)?
            .apply_op2_no_bwd(&residual, &part)?;
        Ok(output.reshape(residual.shape())?)
    }

    /// As [`Self::added_to`], out of steps that keep gradients.
    fn added_apart(
        &self,
        residual: &Tensor,
        input: &Tensor,
        opening: Option<&Tensor>,
    ) -> Result<Tensor> {
        let normal = match self.norm {
            Some(norm) => norm.forward(input)?,
            None => input.clone(),
        };
        let inner = match self.gate {
            Some(gate) => {
                let open = activate(self.activation, &gate.forward(&normal)?)?;
                (open * self.rise.forward(&normal)?)?
            }
            None if self.rise.is_plain(&normal) && self.fall.is_plain(&normal) => {
                let output = self.rise_and_fall(&normal)?;
                return Ok(match opening {
                    Some(opening) => (residual + output.broadcast_mul(opening)?)?,
                    None => (residual + output)?,
                });
            }
            None => activate(self.activation, &self.rise.forward(&normal)?)?,
        };
        match opening {
            Some(opening) => self.fall.gated_onto(residual, &inner, opening),
            None => self.fall.added_to(residual, &inner),
        }
    }
}

/// The feed-forward part of the layers that are put to a language model and a vision encoder, without
/// biases.
pub(crate) struct NewFeedForward {
    norm: Norm,
    gate: Option<Linear>,
    rise: Linear,
    fall: Linear,
    activation: Activation,
}

impl NewFeedForward {
    /// Takes its maps from parameters under `name`, from `width` channels to `inner` and back.
    pub(crate) fn new(
        parameters: &mut ParameterStore,
        name: &str,
        [width, inner]: [usize; 2],
        activation: Activation,
        norm: impl FnOnce(&mut ParameterStore, &str) -> Result<Norm>,
        is_gated: bool,
    ) -> Result<Self> {
        // Names count the positions of a PyTorch `Sequential`; the non-linearity is number 2.
        let mut map = |part: &str, shape| {
            Linear::without_bias(parameters, &format!("{name}.{part}"), shape, 1.0)
        };
        Ok(Self {
            gate: is_gated.then(|| map("gate", [inner, width])).transpose()?,
            rise: map("1", [inner, width])?,
            fall: map("3", [width, inner])?,
            norm: norm(parameters, &format!("{name}.0"))?,
            activation,
        })
    }

    /// `[..., width]` plus what the part makes of it, times `opening`, `[1]` or `[width]`, where there is
    /// one.
    pub(crate) fn added_to(&self, input: &Tensor, opening: Option<&Tensor>) -> Result<Tensor> {
        let part = FeedForward {
            norm: Some(&self.norm),
            gate: self.gate.as_ref(),
            rise: &self.rise,
            activation: self.activation,
            fall: &self.fall,
        };
        part.added_to(input, input, opening)
    }
}
