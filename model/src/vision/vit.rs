//! A vision transformer of CLIP's or SigLIP's type under open_clip's tensor names for CLIP.
//!
//! It gives the patch tokens of the last layer. CLIP's class token takes part in attention and is
//! dropped unless the configuration keeps it; the final `ln_post` is not applied to tokens unless the configuration says so, because
//! OpenFlamingo's checkpoints were trained without it (open_clip 2.20, `VisionTransformer.forward`).
//! `proj` and, unless it is applied, `ln_post` are not loaded; a file may hold them.

use candle_core::Tensor;

use super::check_size;
use crate::Result;
use crate::config::{Activation, VisionConfig};
use crate::feed_forward::FeedForward;
use crate::init::{Init, ParameterStore};
use crate::linear::{Linear, Stacked};
use crate::norm::{LayerNorm, RowNorm};
use crate::ops::{attend, score_scale};

/// The encoder: `[M, 3, H, W]` pictures to `[M, patches, width]` tokens.
pub struct VisionTransformer {
    config: VisionConfig,
    patch: Linear,
    class: Option<Tensor>,
    positions: Tensor,
    before: Option<LayerNorm>,
    layers: Vec<Layer>,
    after: Option<LayerNorm>,
}

struct Layer {
    attention_norm: LayerNorm,
    queries_keys_values: Stacked<3>,
    output: Linear,
    feed_forward_norm: LayerNorm,
    rise: Linear,
    fall: Linear,
    heads: usize,
    activation: Activation,
}

impl VisionTransformer {
    /// Builds the encoder from parameters under `prefix`.
    ///
    /// # Errors
    /// A parameter is missing or has another shape.
    pub fn new(
        config: &VisionConfig,
        parameters: &mut ParameterStore,
        prefix: &str,
    ) -> Result<Self> {
        let (width, side) = (config.width, config.patch_side_px);
        let patches = (config.image_side_px / side).pow(2);
        let patch = parameters
            .get(
                &format!("{prefix}.conv1.weight"),
                &[width, 3, side, side],
                Init::fan_in(3 * side * side, 1.0),
            )?
            .reshape((width, 3 * side * side))?;
        let mut patch = Linear::new(patch, None);
        if config.patch_bias {
            patch.add_bias(parameters, &format!("{prefix}.conv1"))?;
        }
        // OpenAI's CLIP draws both with the deviation width^-1/2.
        let mut drawn = |name: &str, shape: &[usize]| {
            let name = format!("{prefix}.{name}");
            parameters.get(&name, shape, Init::fan_in(width, 1.0))
        };
        let class = config
            .class_token
            .then(|| drawn("class_embedding", &[width]))
            .transpose()?;
        let places = patches + usize::from(config.class_token);
        let positions = drawn("positional_embedding", &[places, width])?;
        let before = config
            .norm_before
            .then(|| norm(config, parameters, &format!("{prefix}.ln_pre")))
            .transpose()?;
        let layers = (0..config.layers)
            .map(|layer| {
                let name = format!("{prefix}.transformer.resblocks.{layer}");
                Layer::new(config, parameters, &name)
            })
            .collect::<Result<_>>()?;
        let after = config
            .norm_after
            .then(|| norm(config, parameters, &format!("{prefix}.ln_post")))
            .transpose()?;
        Ok(Self {
            config: config.clone(),
            patch,
            class,
            positions,
            before,
            layers,
            after,
        })
    }

    /// `[M, 3, H, W]` normalised pixels to `[M, patches, width]` patch tokens, row by row of the
    /// picture, behind that of the class where it is kept.
    ///
    /// # Errors
    /// The pictures have another size than the encoder.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        let mut hidden = self.layers(pixels)?;
        if self.class.is_some() && !self.config.keeps_class_token {
            hidden = hidden.narrow(1, 1, hidden.dim(1)? - 1)?;
        }
        self.normal(hidden)
    }

    /// `[M, 3, H, W]` normalised pixels to the `[M, width]` class tokens, or the first patch's where there
    /// is none.
    pub(super) fn class(&self, pixels: &Tensor) -> Result<Tensor> {
        let first = self.layers(pixels)?.narrow(1, 0, 1)?;
        Ok(self.normal(first)?.squeeze(1)?)
    }

    fn normal(&self, hidden: Tensor) -> Result<Tensor> {
        match &self.after {
            Some(norm) => norm.forward(&hidden),
            None => Ok(hidden),
        }
    }

    /// All tokens behind the last layer, that of the class first.
    fn layers(&self, pixels: &Tensor) -> Result<Tensor> {
        let image_side = self.config.image_side_px;
        check_size(pixels, image_side)?;
        let count = pixels.dim(0)?;
        let side = self.config.patch_side_px;
        let grid = image_side / side;
        let seen = grid * side;
        let pixels = if seen < image_side {
            pixels.narrow(2, 0, seen)?.narrow(3, 0, seen)?
        } else {
            pixels.clone()
        };
        // A convolution whose stride is its size is one matrix product over cut-out patches.
        let patches = pixels
            .reshape(vec![count, 3, grid, side, grid, side])?
            .permute(vec![0, 2, 4, 1, 3, 5])?
            .reshape((count, grid * grid, 3 * side * side))?;
        let mut hidden = self.patch.forward(&patches)?; // [M, patches, width]
        if let Some(class) = &self.class {
            let class = class.reshape((1, 1, self.config.width))?;
            let class = class.to_dtype(hidden.dtype())?;
            let class = class.broadcast_as((count, 1, self.config.width))?;
            hidden = Tensor::cat(&[&class, &hidden], 1)?;
        }
        hidden = hidden.broadcast_add(&self.positions.to_dtype(hidden.dtype())?)?;
        if let Some(norm) = &self.before {
            hidden = norm.forward(&hidden)?;
        }
        for layer in &self.layers {
            hidden = layer.forward(&hidden)?;
        }
        Ok(hidden)
    }
}

/// Added under the root of a norm where a configuration does not say, as in CLIP.
const NORM_EPSILON: f64 = 1e-5;

fn norm(config: &VisionConfig, parameters: &mut ParameterStore, name: &str) -> Result<LayerNorm> {
    let epsilon = config.norm_epsilon.unwrap_or(NORM_EPSILON) as f32;
    LayerNorm::with(parameters, name, config.width, epsilon, true)
}

impl Layer {
    fn new(config: &VisionConfig, parameters: &mut ParameterStore, name: &str) -> Result<Self> {
        let width = config.width;
        let inner = config.feed_forward_channels();
        // Outputs into the residual stream shrink with depth (Radford et al. 2019, section 2.3).
        let residual = (2.0 * config.layers as f64).powf(-0.5);
        let in_weight = parameters.get_map(
            &format!("{name}.attn.in_proj_weight"),
            &[3 * width, width],
            Init::fan_in(width, 1.0),
        )?;
        let in_bias = parameters.get(
            &format!("{name}.attn.in_proj_bias"),
            &[3 * width],
            Init::Zeros,
        )?;
        let queries_keys_values = Stacked::thirds(Linear::new(in_weight, Some(in_bias)))?;
        Ok(Self {
            attention_norm: norm(config, parameters, &format!("{name}.ln_1"))?,
            queries_keys_values,
            output: Linear::with_bias(
                parameters,
                &format!("{name}.attn.out_proj"),
                [width, width],
                residual,
            )?,
            feed_forward_norm: norm(config, parameters, &format!("{name}.ln_2"))?,
            rise: Linear::with_bias(parameters, &format!("{name}.mlp.c_fc"), [inner, width], 1.0)?,
            fall: Linear::with_bias(
                parameters,
                &format!("{name}.mlp.c_proj"),
                [width, inner],
                residual,
            )?,
            heads: config.heads,
            activation: config.activation,
        })
    }

    fn forward(&self, hidden: &Tensor) -> Result<Tensor> {
        let maps = &self.queries_keys_values;
        let [queries, keys, values] = maps.heads(&self.attention_norm, hidden, self.heads)?;
        let attended = attend(&queries, &keys, &values, None, score_scale(&queries)?)?;
        let hidden = self.output.added_to(hidden, &attended)?;
        let feed_forward = FeedForward {
            norm: Some(&self.feed_forward_norm),
            gate: None,
            rise: &self.rise,
            activation: self.activation,
            fall: &self.fall,
        };
        feed_forward.added_to(&hidden, &hidden, None)
    }
}
