//! Norms of the last axis, which keep gradients.

use candle_core::Tensor;

use crate::Result;
use crate::config::NormKind;
use crate::fused::{self, Normalize, ScaledNorm};
use crate::init::{Init, ParameterStore};
use crate::plain;

/// Added under the square root of a layer norm, as in PyTorch.
const NORM_EPSILON: f32 = 1e-5;

/// A norm of the last axis.
pub(crate) trait RowNorm {
    /// `[..., width]` to the same.
    fn forward(&self, input: &Tensor) -> Result<Tensor>;

    /// What it does, where it has no gradient.
    fn fixed(&self) -> Option<fused::Norm>;
}

/// Normalisation of the last axis to mean 0 and variance 1, then scale and shift.
pub(crate) struct LayerNorm {
    weight: Tensor,
    bias: Option<Tensor>,
    epsilon: f32,
}

impl LayerNorm {
    pub(crate) fn new(parameters: &mut ParameterStore, name: &str, width: usize) -> Result<Self> {
        Self::with(parameters, name, width, NORM_EPSILON, true)
    }

    pub(crate) fn with(
        parameters: &mut ParameterStore,
        name: &str,
        width: usize,
        epsilon: f32,
        has_bias: bool,
    ) -> Result<Self> {
        Ok(Self {
            weight: parameters.get(&format!("{name}.weight"), &[width], Init::Ones)?,
            bias: has_bias
                .then(|| parameters.get(&format!("{name}.bias"), &[width], Init::Zeros))
                .transpose()?,
            epsilon,
        })
    }

    fn normalize(&self) -> Normalize {
        Normalize {
            is_centred: true,
            epsilon: self.epsilon,
        }
    }
}

impl RowNorm for LayerNorm {
    fn fixed(&self) -> Option<fused::Norm> {
        let is_tracked = self.weight.track_op() || self.bias.as_ref().is_some_and(Tensor::track_op);
        (!is_tracked).then(|| fused::Norm {
            how: self.normalize(),
            scale: self.weight.clone(),
            shift: self.bias.clone(),
        })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        let normalize = self.normalize();
        if !fused::takes(input) {
            return plain::norm(input, normalize, &self.weight, self.bias.as_ref());
        }
        let input = input.contiguous()?;
        if let Some(bias) = &self.bias {
            return Ok(input.apply_op3(&self.weight, bias, ScaledNorm(normalize))?);
        }
        let normal = input.apply_op1(normalize)?;
        Ok(normal.broadcast_mul(&self.weight)?)
    }
}

/// Division of the last axis by its root mean square, then scale (Zhang and Sennrich 2019).
pub(crate) struct RmsNorm {
    weight: Tensor,
    epsilon: f32,
}

impl RmsNorm {
    pub(crate) fn new(
        parameters: &mut ParameterStore,
        name: &str,
        width: usize,
        epsilon: f32,
    ) -> Result<Self> {
        Ok(Self {
            weight: parameters.get(&format!("{name}.weight"), &[width], Init::Ones)?,
            epsilon,
        })
    }

    fn normalize(&self) -> Normalize {
        Normalize {
            is_centred: false,
            epsilon: self.epsilon,
        }
    }
}

impl RowNorm for RmsNorm {
    fn fixed(&self) -> Option<fused::Norm> {
        (!self.weight.track_op()).then(|| fused::Norm {
            how: self.normalize(),
            scale: self.weight.clone(),
            shift: None,
        })
    }

    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        if !fused::takes(input) {
            return plain::norm(input, self.normalize(), &self.weight, None);
        }
        let normal = input.contiguous()?.apply_op1(self.normalize())?;
        Ok(normal.broadcast_mul(&self.weight)?)
    }
}

/// A norm of either kind.
pub(crate) enum Norm {
    Layer(LayerNorm),
    RootMeanSquare(RmsNorm),
}

impl Norm {
    /// The norm called `name`; a layer norm has a bias.
    pub(crate) fn new(
        kind: NormKind,
        parameters: &mut ParameterStore,
        name: &str,
        width: usize,
        epsilon: Option<f64>,
    ) -> Result<Self> {
        let epsilon = epsilon.map_or(NORM_EPSILON, |epsilon| epsilon as f32);
        Ok(match kind {
            NormKind::Layer => {
                Self::Layer(LayerNorm::with(parameters, name, width, epsilon, true)?)
            }
            NormKind::RootMeanSquare => {
                Self::RootMeanSquare(RmsNorm::new(parameters, name, width, epsilon)?)
            }
        })
    }
}

impl RowNorm for Norm {
    fn forward(&self, input: &Tensor) -> Result<Tensor> {
        match self {
            Self::Layer(norm) => norm.forward(input),
            Self::RootMeanSquare(norm) => norm.forward(input),
        }
    }

    fn fixed(&self) -> Option<fused::Norm> {
        match self {
            Self::Layer(norm) => norm.fixed(),
            Self::RootMeanSquare(norm) => norm.fixed(),
        }
    }
}

/// Norms of the queries and of the keys of each head, over its channels.
pub(crate) struct HeadNorms {
    queries: Norm,
    keys: Norm,
}

impl HeadNorms {
    /// The norms of heads of `channels` under `prefix` (ends in a dot), by Idefics' names.
    pub(crate) fn new(
        kind: NormKind,
        parameters: &mut ParameterStore,
        prefix: &str,
        channels: usize,
        epsilon: Option<f64>,
    ) -> Result<Self> {
        let mut norm = |name: &str| {
            let name = format!("{prefix}{name}");
            Norm::new(kind, parameters, &name, channels, epsilon)
        };
        Ok(Self {
            queries: norm("q_layer_norm")?,
            keys: norm("k_layer_norm")?,
        })
    }

    /// Queries in heads, `[B, H, T, D]`.
    pub(crate) fn of_queries(norms: Option<&Self>, queries: Tensor) -> Result<Tensor> {
        norms.map_or(Ok(queries.clone()), |norms| norms.queries.forward(&queries))
    }

    /// Keys in heads, `[B, H, S, D]`.
    pub(crate) fn of_keys(norms: Option<&Self>, keys: Tensor) -> Result<Tensor> {
        norms.map_or(Ok(keys.clone()), |norms| norms.keys.forward(&keys))
    }
}
