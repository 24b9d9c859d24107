//! The two encoders with their maps to one space, and the loss over a batch of pairs.

use std::collections::BTreeMap;

use candle_core::{D, DType, Tensor, Var};

use super::ContrastiveConfig;
use super::text::TextEncoder;
use crate::compute::Compute;
use crate::group::Group;
use crate::init::{Init, ParameterStore};
use crate::linear::Linear;
use crate::loss::cross_entropy;
use crate::vision::VisionEncoder;
use crate::{Error, Result};

/// Keeps the length of a vector of zeros from dividing by zero.
const LENGTH_EPSILON: f64 = 1e-12;

/// The learnt inverse temperature, as a logarithm (CLIP's name for it).
pub(super) const LOGIT_SCALE: &str = "logit_scale";

/// Pictures and their captions.
pub struct Pairs {
    /// `[B, 3, H, W]`: normalised pixels.
    pub pixels: Tensor,
    /// B captions as token ids, at least one each.
    pub captions: Vec<Vec<u32>>,
}

/// A vision encoder and a text encoder, both averaged over their tokens and mapped to vectors of
/// length 1 in one space.
pub struct DualEncoder {
    config: ContrastiveConfig,
    compute: Compute,
    parameters: BTreeMap<String, Tensor>,
    variables: BTreeMap<String, Var>,
    vision: VisionEncoder,
    text: TextEncoder,
    vision_map: Linear,
    text_map: Linear,
    logit_scale: Tensor,
}

impl DualEncoder {
    /// Builds the encoders, all of them frozen; `temperature` is the first one where it is drawn.
    ///
    /// # Errors
    /// The configuration cannot be built, or the store does not hold what it asks for.
    pub fn new(
        config: &ContrastiveConfig,
        temperature: f64,
        mut parameters: ParameterStore,
    ) -> Result<Self> {
        config.validate()?;
        let store = &mut parameters;
        let vision = VisionEncoder::new(&config.vision, store, "vision_encoder")?;
        let text = TextEncoder::new(&config.text, store, "text_encoder")?;
        let mut map =
            |name: &str, width| Linear::without_bias(store, name, [config.joint_width, width], 1.0);
        let vision_map = map("visual_projection", config.vision.width)?;
        let text_map = map("text_projection", config.text.width)?;
        let value = -temperature.ln();
        let logit_scale = store.get(LOGIT_SCALE, &[], Init::Constant { value })?;
        let compute = parameters.compute().clone();
        let (parameters, variables) = parameters.into_parts();
        Ok(Self {
            config: config.clone(),
            compute,
            parameters,
            variables,
            vision,
            text,
            vision_map,
            text_map,
            logit_scale,
        })
    }

    /// The same weights, all of them as variables with gradients.
    pub(super) fn trainable(self) -> Result<Self> {
        let store = ParameterStore::from_tensors(self.parameters, "encoders").on(&self.compute);
        Self::new(&self.config, 1.0, store.trainable(&Group::ALL))
    }

    /// The sizes it was built with.
    #[must_use]
    pub fn config(&self) -> &ContrastiveConfig {
        &self.config
    }

    /// Every parameter by its name.
    #[must_use]
    pub fn parameters(&self) -> &BTreeMap<String, Tensor> {
        &self.parameters
    }

    /// The parameters that are trained, by name.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.variables
    }

    /// What similarities are divided by.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn temperature(&self) -> Result<f64> {
        Ok((-f64::from(self.logit_scale.to_scalar::<f32>()?)).exp())
    }

    /// Pictures `[B, 3, H, W]` to vectors of length 1, `[B, joint]` f32.
    ///
    /// # Errors
    /// The pictures have another size than the encoder.
    pub fn embed_pictures(&self, pixels: &Tensor) -> Result<Tensor> {
        let tokens = self.vision.forward(&self.compute.take(pixels)?)?; // [B, tokens, width]
        of_length_one(&self.vision_map.forward(&tokens.mean(1)?)?)
    }

    /// Captions to vectors of length 1, `[B, joint]`.
    ///
    /// # Errors
    /// A caption is empty, or has an id beyond the vocabulary.
    pub fn embed_captions(&self, captions: &[Vec<u32>]) -> Result<Tensor> {
        of_length_one(&self.text_map.forward(&self.text.forward(captions)?)?)
    }

    /// The sum of two mean cross entropies in nats, a scalar: which caption of the batch is a
    /// picture's own, and which picture a caption's own. `label_smoothing` of each target is spread
    /// evenly over the batch.
    ///
    /// # Errors
    /// Pictures and captions are not as many, or do not fit the encoders.
    pub fn loss(&self, pairs: &Pairs, label_smoothing: f64) -> Result<Tensor> {
        let (pictures, captions) = (pairs.pixels.dim(0)?, pairs.captions.len());
        if pictures != captions {
            return Err(Error::Input {
                what: "pairs",
                expected: format!("{pictures} captions, one a picture"),
                found: captions.to_string(),
            });
        }
        let pictures = self.embed_pictures(&pairs.pixels)?;
        let captions = self.embed_captions(&pairs.captions)?;
        let scale = self.logit_scale.exp()?;
        let scores = pictures.matmul(&captions.t()?)?.broadcast_mul(&scale)?; // [B, B]
        let own: Vec<u32> = (0..pairs.captions.len() as u32).collect();
        let by_picture = cross_entropy(&scores, &own)?;
        let by_caption = cross_entropy(&scores.t()?, &own)?;
        // Targets enter a cross entropy linearly: smoothed ones take the mean score's part from
        // that of the right score, the same in both directions.
        let right = (pictures * captions)?
            .sum(D::Minus1)?
            .broadcast_mul(&scale)?;
        let smoothed = ((right.mean_all()? - scores.mean_all()?)? * (2.0 * label_smoothing))?;
        Ok(((by_picture + by_caption)? + smoothed)?)
    }

    /// Sets the inverse temperature's logarithm to at most `most`.
    pub(super) fn limit_logit_scale(&self, most: f32) -> Result<()> {
        if let Some(variable) = self.variables.get(LOGIT_SCALE)
            && variable.to_scalar::<f32>()? > most
        {
            variable.set(&Tensor::new(most, variable.device())?)?;
        }
        Ok(())
    }
}

/// Rows `[B, width]` divided by their lengths.
fn of_length_one(rows: &Tensor) -> Result<Tensor> {
    let rows = rows.to_dtype(DType::F32)?;
    let squares = rows.sqr()?.sum_keepdim(D::Minus1)?;
    Ok(rows.broadcast_div(&(squares + LENGTH_EPSILON)?.sqrt()?)?)
}
