//! Affine maps, alone and with what stands around them.
//!
//! Where nothing has a gradient and there are enough rows, a map is taken together with the norm before
//! it, the non-linearity and the sum behind it; else out of steps that keep gradients. Both come to
//! the same numbers but for the order of sums.

use candle_core::{DType, Tensor};

use crate::Result;
use crate::fused::{
    self, Affine, FrozenAffine, FrozenProduct, Map, Norm, TrainedProduct, takes_tiles,
};
use crate::init::{Init, ParameterStore};
use crate::language::LoraConfig;
use crate::low_rank::LowRank;
use crate::norm::RowNorm;
use crate::ops::split_heads;
use crate::plain;

/// An affine map over the last axis; the weight is `[out, in]` as in PyTorch.
pub(crate) struct Linear {
    weight: Tensor,
    bias: Option<Tensor>,
    /// On the heap: few maps have one.
    update: Option<Box<LowRank>>,
}

/// `x * W^T` for rows `[M, in]` and a weight `[out, in]`.
pub(crate) fn product(rows: &Tensor, weight: &Tensor) -> Result<Tensor> {
    if !fused::takes(rows) {
        return plain::product(rows, weight);
    }
    Ok(if weight.track_op() {
        rows.apply_op2(weight, TrainedProduct)?
    } else {
        rows.apply_op2(weight, FrozenProduct)?
    })
}

impl Linear {
    pub(crate) fn new(weight: Tensor, bias: Option<Tensor>) -> Self {
        Self {
            weight,
            bias,
            update: None,
        }
    }

    /// A map without a bias, its weight drawn with variance `scale^2 / inputs`.
    pub(crate) fn without_bias(
        parameters: &mut ParameterStore,
        name: &str,
        [outputs, inputs]: [usize; 2],
        scale: f64,
    ) -> Result<Self> {
        let weight = parameters.get_map(
            &format!("{name}.weight"),
            &[outputs, inputs],
            Init::fan_in(inputs, scale),
        )?;
        Ok(Self::new(weight, None))
    }

    /// As [`Self::without_bias`], with a bias that starts at zero.
    pub(crate) fn with_bias(
        parameters: &mut ParameterStore,
        name: &str,
        shape: [usize; 2],
        scale: f64,
    ) -> Result<Self> {
        let mut linear = Self::without_bias(parameters, name, shape, scale)?;
        linear.add_bias(parameters, name)?;
        Ok(linear)
    }

    /// Gives it the bias called `name`, which starts at zero.
    pub(crate) fn add_bias(&mut self, parameters: &mut ParameterStore, name: &str) -> Result<()> {
        let outputs = self.weight.dim(0)?;
        self.bias = Some(parameters.get(&format!("{name}.bias"), &[outputs], Init::Zeros)?);
        Ok(())
    }

    /// Gives the map called `name` an update of low rank.
    pub(crate) fn add_update(
        &mut self,
        parameters: &mut ParameterStore,
        name: &str,
        inputs: usize,
        lora: &LoraConfig,
    ) -> Result<()> {
        let shape = [self.weight.dim(0)?, inputs];
        self.update = Some(Box::new(LowRank::new(parameters, name, shape, lora)?));
        Ok(())
    }

    /// The map to outputs `start .. start + count` alone. Shares the weight: splitting the product
    /// instead would copy activations at every step.
    pub(crate) fn rows(&self, start: usize, count: usize) -> Result<Self> {
        let (bias, update) = (self.bias.as_ref(), self.update.as_ref());
        let update = update.map(|update| update.rows(start, count).map(Box::new));
        Ok(Self {
            weight: self.weight.narrow(0, start, count)?,
            bias: bias.map(|bias| bias.narrow(0, start, count)).transpose()?,
            update: update.transpose()?,
        })
    }

    /// `[..., in]` to `[..., out]`.
    pub(crate) fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let rows = self.rows_of(input)?;
        let output = match &self.bias {
            Some(bias) if fused::takes(&rows) && !self.weight.track_op() && !bias.track_op() => {
                rows.apply_op3(&self.weight, bias, FrozenAffine)?
            }
            Some(bias) => {
                let output = product(&rows, &self.weight)?;
                output.broadcast_add(&bias.to_dtype(output.dtype())?)?
            }
            None => product(&rows, &self.weight)?,
        };
        let output = match &self.update {
            Some(update) => (output + update.forward(&rows)?)?,
            None => output,
        };
        Ok(output.reshape(self.output_shape(input)?)?)
    }

    /// What [`Self::forward`] gives for `norm` of `input`.
    pub(crate) fn of_normal(&self, norm: &impl RowNorm, input: &Tensor) -> Result<Tensor> {
        match norm.fixed() {
            Some(norm) if self.is_fixed(input) => {
                let affine = self.affine(Some(norm), 1.0);
                let output = self.rows_of(input)?.apply_op1_no_bwd(&affine)?;
                Ok(output.reshape(self.output_shape(input)?)?)
            }
            _ => self.forward(&norm.forward(input)?),
        }
    }

    /// `residual` `[..., out]` plus what [`Self::forward`] gives.
    pub(crate) fn added_to(&self, residual: &Tensor, input: &Tensor) -> Result<Tensor> {
        if !self.is_fixed(input) || residual.track_op() {
            return Ok((residual + self.forward(input)?)?);
        }
        self.added_by(residual, input, 1.0)
    }

    /// The weight `[out, in]`, a variable where it is trained.
    pub(crate) fn weight(&self) -> &Tensor {
        &self.weight
    }

    /// The bias `[out]`, if it has one.
    pub(crate) fn bias(&self) -> Option<&Tensor> {
        self.bias.as_ref()
    }

    /// `residual` `[..., out]` plus what [`Self::forward`] gives times `gate`, `[1]` or `[out]`.
    pub(crate) fn gated_onto(
        &self,
        residual: &Tensor,
        input: &Tensor,
        gate: &Tensor,
    ) -> Result<Tensor> {
        let is_tracked = residual.track_op() || gate.track_op();
        if !self.is_fixed(input) || is_tracked || gate.elem_count() > 1 {
            let output = self.forward(input)?;
            let gate = gate.to_dtype(output.dtype())?;
            return Ok((residual + output.broadcast_mul(&gate)?)?);
        }
        self.added_by(residual, input, gate.to_vec1::<f32>()?[0])
    }

    fn added_by(&self, residual: &Tensor, input: &Tensor, factor: f32) -> Result<Tensor> {
        let rows = self.rows_of(input)?;
        let residual = residual.contiguous()?;
        let output = rows.apply_op2_no_bwd(&residual, &self.affine(None, factor))?;
        Ok(output.reshape(residual.shape())?)
    }

    /// The rows of `[..., in]`, `[M, in]`: one large two-dimensional product is faster than a batch of
    /// small ones, and a batch would materialise the weight once per row.
    pub(crate) fn rows_of(&self, input: &Tensor) -> Result<Tensor> {
        let inputs = input.dims().last().copied().unwrap_or_default();
        Ok(input.reshape(((), inputs))?)
    }

    pub(crate) fn output_shape(&self, input: &Tensor) -> Result<Vec<usize>> {
        let mut shape = input.dims().to_vec();
        shape.pop();
        shape.push(self.weight.dim(0)?);
        Ok(shape)
    }

    /// Whether the map of `input` is one of these weights alone, has no gradient, and so many rows
    /// that it is taken in tiles.
    pub(crate) fn is_fixed(&self, input: &Tensor) -> bool {
        let bias = self.bias.as_ref();
        let is_apart = self.update.is_some()
            || input.track_op()
            || self.weight.track_op()
            || bias.is_some_and(Tensor::track_op);
        let inputs = input.dims().last().copied().unwrap_or_default().max(1);
        let is_large = takes_tiles(input.elem_count() / inputs);
        !is_apart && is_large && self.weight.is_contiguous() && fused::takes(input)
    }

    /// Whether the map is its weight and a frozen bias alone, and the product of it with so many rows as
    /// `input` has is taken in tiles, its gradients too.
    pub(crate) fn is_plain(&self, input: &Tensor) -> bool {
        let inputs = input.dims().last().copied().unwrap_or_default().max(1);
        self.update.is_none()
            && !self.bias.as_ref().is_some_and(Tensor::track_op)
            && takes_tiles(input.elem_count() / inputs)
            && fused::takes(input)
            && self.weight.is_contiguous()
            && self.weight.dtype() != DType::U8
    }

    pub(crate) fn map(&self) -> Map {
        Map {
            weight: self.weight.clone(),
            bias: self.bias.clone(),
        }
    }

    fn affine(&self, norm: Option<Norm>, factor: f32) -> Affine {
        Affine {
            norm,
            map: self.map(),
            factor,
        }
    }
}

/// Maps whose weights lie one above the other, of equally many outputs.
pub(crate) struct Stacked<const N: usize> {
    all: Linear,
    /// Views of it.
    parts: [Linear; N],
}

impl<const N: usize> Stacked<N> {
    /// What the maps make of `norm` of `[B, T, in]`, side by side, `[B, T, N * out]`, for an operation that
    /// reads it so; `None` where nothing has a gradient, or operations are not our own.
    pub(crate) fn joined<R: RowNorm>(
        &self,
        norm: Option<&R>,
        input: &Tensor,
    ) -> Result<Option<Tensor>> {
        if self.all.is_fixed(input) || !fused::takes(input) {
            return Ok(None);
        }
        let all = match norm {
            Some(norm) => self.all.forward(&norm.forward(input)?)?,
            None => self.all.forward(input)?,
        };
        Ok(Some(all))
    }
}

impl Stacked<2> {
    /// As [`Self::joined`], of tokens and of those behind them, as in [`Self::heads_of_both`].
    pub(crate) fn joined_of_both(
        [first, last]: [&Self; 2],
        norms: [&impl RowNorm; 2],
        [tokens, behind]: [&Tensor; 2],
    ) -> Result<Option<Tensor>> {
        let is_fixed = first.all.is_fixed(tokens) && last.all.is_fixed(behind);
        if is_fixed || !fused::takes(tokens) {
            return Ok(None);
        }
        let tokens = first.all.forward(&norms[0].forward(tokens)?)?;
        let behind = last.all.forward(&norms[1].forward(behind)?)?;
        Ok(Some(tokens.apply_op2(&behind, fused::Join)?))
    }

    /// The maps to each half of the outputs of `all`.
    pub(crate) fn halves(all: Linear) -> Result<Self> {
        let count = all.weight.dim(0)? / 2;
        let parts = [all.rows(0, count)?, all.rows(count, count)?];
        Ok(Self { all, parts })
    }

    /// What the maps make of `[B, T, in]`, in heads, `[B, heads, T, head_dim]` each. Where nothing has a
    /// gradient they are views of one product; else they are apart, since the gradient of a view is
    /// filled up with zeros to the size of the whole.
    pub(crate) fn heads(&self, input: &Tensor, heads: usize) -> Result<[Tensor; 2]> {
        if self.all.is_fixed(input) {
            let all = self.all.forward(input)?;
            return Ok([part(&all, 2, heads, 0)?, part(&all, 2, heads, 1)?]);
        }
        let [first, second] = &self.parts;
        Ok([
            split_heads(&first.forward(input)?, heads)?,
            split_heads(&second.forward(input)?, heads)?,
        ])
    }

    /// What the maps make of `norms` of tokens `[B, S, in]` and, behind them in each row, of
    /// `[B or 1, T, in]`, by maps of their own, in heads, `[B, heads, S + T, head_dim]` each.
    pub(crate) fn heads_of_both(
        [first, last]: [&Self; 2],
        norms: [&impl RowNorm; 2],
        [tokens, behind]: [&Tensor; 2],
        heads: usize,
    ) -> Result<[Tensor; 2]> {
        if first.all.is_fixed(tokens) && last.all.is_fixed(behind) {
            let tokens = first.all.of_normal(norms[0], tokens)?;
            let behind = last.all.of_normal(norms[1], behind)?;
            let all = tokens.apply_op2_no_bwd(&behind, &fused::Join)?;
            return Ok([part(&all, 2, heads, 0)?, part(&all, 2, heads, 1)?]);
        }
        let count = tokens.dim(0)?;
        let (tokens, behind) = (norms[0].forward(tokens)?, norms[1].forward(behind)?);
        let both = |first: &Linear, last: &Linear| -> Result<Tensor> {
            let behind = last.forward(&behind)?;
            let (_, length, width) = behind.dims3()?;
            let behind = behind.broadcast_as((count, length, width))?.contiguous()?;
            split_heads(
                &Tensor::cat(&[&first.forward(&tokens)?, &behind], 1)?,
                heads,
            )
        };
        Ok([
            both(&first.parts[0], &last.parts[0])?,
            both(&first.parts[1], &last.parts[1])?,
        ])
    }
}

impl Stacked<3> {
    /// The maps to each third of the outputs of `all`.
    pub(crate) fn thirds(all: Linear) -> Result<Self> {
        let count = all.weight.dim(0)? / 3;
        let part = |part: usize| all.rows(part * count, count);
        let parts = [part(0)?, part(1)?, part(2)?];
        Ok(Self { all, parts })
    }

    pub(crate) fn parts(&self) -> &[Linear; 3] {
        &self.parts
    }

    /// As of two, of `norm` of `input`.
    pub(crate) fn heads(
        &self,
        norm: &impl RowNorm,
        input: &Tensor,
        heads: usize,
    ) -> Result<[Tensor; 3]> {
        if self.all.is_fixed(input) && norm.fixed().is_some() {
            let all = self.all.of_normal(norm, input)?;
            let part = |at: usize| part(&all, 3, heads, at);
            return Ok([part(0)?, part(1)?, part(2)?]);
        }
        let normal = norm.forward(input)?;
        let part = |part: &Linear| split_heads(&part.forward(&normal)?, heads);
        let [first, second, third] = &self.parts;
        Ok([part(first)?, part(second)?, part(third)?])
    }
}

/// One of `parts` parts of `[B, T, parts * heads * head_dim]`, `[B, heads, T, head_dim]`: a view.
fn part(all: &Tensor, parts: usize, heads: usize, at: usize) -> Result<Tensor> {
    let (batch, tokens, _) = all.dims3()?;
    let all = all.reshape((batch, tokens, parts, heads, ()))?;
    Ok(all.narrow(2, at, 1)?.squeeze(2)?.transpose(1, 2)?)
}
