//! The encoder of captions, under BERT's tensor names in `transformers`.

use candle_core::Tensor;

use super::TextConfig;
use crate::compute::Compute;
use crate::config::Activation;
use crate::init::{Init, ParameterStore};
use crate::linear::Linear;
use crate::norm::{LayerNorm, RowNorm};
use crate::ops::{MASKED_SCORE, activate, attend, score_scale, split_heads};
use crate::{Error, Result};

/// Added under the root of a norm, as in BERT.
const NORM_EPSILON: f32 = 1e-12;

/// Deviation of the first embeddings, as in BERT.
const EMBEDDING_DEVIATION: f64 = 0.02;

/// The encoder: captions to one token vector each, the mean over their tokens.
pub(super) struct TextEncoder {
    config: TextConfig,
    compute: Compute,
    words: Tensor,
    positions: Tensor,
    norm: LayerNorm,
    layers: Vec<Layer>,
}

struct Layer {
    queries: Linear,
    keys: Linear,
    values: Linear,
    output: Linear,
    attention_norm: LayerNorm,
    rise: Linear,
    fall: Linear,
    feed_forward_norm: LayerNorm,
    heads: usize,
}

impl TextEncoder {
    /// Builds the encoder from parameters under `prefix`.
    pub(super) fn new(
        config: &TextConfig,
        parameters: &mut ParameterStore,
        prefix: &str,
    ) -> Result<Self> {
        let width = config.width;
        let mut table = |name: &str, rows| {
            let deviation = EMBEDDING_DEVIATION;
            let name = format!("{prefix}.embeddings.{name}.weight");
            parameters.get(&name, &[rows, width], Init::Normal { deviation })
        };
        let words = table("word_embeddings", config.vocabulary)?;
        let positions = table("position_embeddings", config.max_tokens)?;
        let norm = norm(parameters, &format!("{prefix}.embeddings"), width)?;
        let layers = (0..config.layers)
            .map(|layer| {
                let name = format!("{prefix}.encoder.layer.{layer}");
                Layer::new(config, parameters, &name)
            })
            .collect::<Result<_>>()?;
        Ok(Self {
            config: config.clone(),
            compute: parameters.compute().clone(),
            words,
            positions,
            norm,
            layers,
        })
    }

    /// Captions to `[B, width]`; of each the first `max_tokens` count.
    ///
    /// Holds `B * T * T` numbers of a mask, T tokens being the longest caption.
    ///
    /// # Errors
    /// A caption is empty, or has an id beyond the vocabulary.
    pub(super) fn forward(&self, captions: &[Vec<u32>]) -> Result<Tensor> {
        let kept = |caption: &Vec<u32>| caption.len().min(self.config.max_tokens);
        let lengths: Vec<usize> = captions.iter().map(kept).collect();
        let longest = lengths.iter().copied().max().unwrap_or_default();
        self.check(captions)?;
        let batch = captions.len();
        let mut ids = vec![0_u32; batch * longest];
        let mut shares = vec![0.0_f32; batch * longest];
        let mut bias = vec![MASKED_SCORE; batch * longest];
        for (row, (caption, length)) in captions.iter().zip(&lengths).enumerate() {
            let place = row * longest..row * longest + length;
            ids[place.clone()].copy_from_slice(&caption[..*length]);
            shares[place.clone()].fill(1.0 / *length as f32);
            bias[place].fill(0.0);
        }
        let device = self.compute.device();
        let ids = Tensor::from_vec(ids, batch * longest, device)?;
        let shares = Tensor::from_vec(shares, (batch, longest, 1), device)?;
        let bias = Tensor::from_vec(bias, (batch, 1, 1, longest), device)?
            .broadcast_as((batch, 1, longest, longest))?
            .contiguous()?;
        let words = self.words.index_select(&ids, 0)?;
        let words = words.reshape((batch, longest, self.config.width))?;
        let positions = self.positions.narrow(0, 0, longest)?;
        let words = self.compute.take(&words.broadcast_add(&positions)?)?;
        let mut hidden = self.norm.forward(&words)?;
        for layer in &self.layers {
            hidden = layer.forward(&hidden, &bias)?;
        }
        // The mean over a caption's own tokens.
        Ok(hidden.broadcast_mul(&self.compute.take(&shares)?)?.sum(1)?)
    }

    fn check(&self, captions: &[Vec<u32>]) -> Result<()> {
        let refuse = |expected: String, found: String| {
            Err(Error::Input {
                what: "captions",
                expected,
                found,
            })
        };
        if captions.is_empty() || captions.iter().any(Vec::is_empty) {
            return refuse("at least one token in each".to_owned(), "none".to_owned());
        }
        let vocabulary = self.config.vocabulary;
        match captions.iter().flatten().max() {
            Some(largest) if *largest as usize >= vocabulary => refuse(
                format!("ids below {vocabulary}, the encoder's vocabulary"),
                format!("id {largest}: use the tokenizer it was trained with"),
            ),
            _ => Ok(()),
        }
    }
}

fn norm(parameters: &mut ParameterStore, name: &str, width: usize) -> Result<LayerNorm> {
    let name = format!("{name}.LayerNorm");
    LayerNorm::with(parameters, &name, width, NORM_EPSILON, true)
}

impl Layer {
    fn new(config: &TextConfig, parameters: &mut ParameterStore, name: &str) -> Result<Self> {
        let width = config.width;
        let inner = width * config.feed_forward_multiple;
        let mut map = |part: &str, shape| {
            Linear::with_bias(parameters, &format!("{name}.{part}"), shape, 1.0)
        };
        Ok(Self {
            queries: map("attention.self.query", [width, width])?,
            keys: map("attention.self.key", [width, width])?,
            values: map("attention.self.value", [width, width])?,
            output: map("attention.output.dense", [width, width])?,
            rise: map("intermediate.dense", [inner, width])?,
            fall: map("output.dense", [width, inner])?,
            attention_norm: norm(parameters, &format!("{name}.attention.output"), width)?,
            feed_forward_norm: norm(parameters, &format!("{name}.output"), width)?,
            heads: config.heads,
        })
    }

    /// `[B, T, width]` to the same shape.
    fn forward(&self, hidden: &Tensor, bias: &Tensor) -> Result<Tensor> {
        let queries = split_heads(&self.queries.forward(hidden)?, self.heads)?;
        let attended = attend(
            &queries,
            &split_heads(&self.keys.forward(hidden)?, self.heads)?,
            &split_heads(&self.values.forward(hidden)?, self.heads)?,
            Some(bias),
            score_scale(&queries)?,
        )?;
        let hidden = (hidden + self.output.forward(&attended)?)?;
        let hidden = self.attention_norm.forward(&hidden)?;
        let inner = activate(Activation::Gelu, &self.rise.forward(&hidden)?)?;
        let sum = (&hidden + self.fall.forward(&inner)?)?;
        self.feed_forward_norm.forward(&sum)
    }
}
