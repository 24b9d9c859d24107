//! Vision encoders: pictures in, patch tokens out.

mod classifier;
mod hugging_face;
mod nfnet;
mod vit;

use candle_core::Tensor;

use crate::config::VisionConfig;
use crate::init::ParameterStore;
use crate::{Error, Result};

pub use classifier::ImageClassifier;
pub use nfnet::Nfnet;
pub use vit::VisionTransformer;

/// The encoder of a configuration.
pub enum VisionEncoder {
    /// A vision transformer.
    Transformer(VisionTransformer),
    /// An NFNet.
    Nfnet(Nfnet),
}

impl VisionEncoder {
    /// Builds the encoder from parameters under `prefix`.
    ///
    /// # Errors
    /// A parameter is missing or has another shape.
    pub fn new(
        config: &VisionConfig,
        parameters: &mut ParameterStore,
        prefix: &str,
    ) -> Result<Self> {
        Ok(match &config.nfnet {
            None => Self::Transformer(VisionTransformer::new(config, parameters, prefix)?),
            Some(nfnet) => {
                let side = config.image_side_px;
                Self::Nfnet(Nfnet::new(nfnet, side, parameters, prefix)?)
            }
        })
    }

    /// `[M, 3, H, W]` normalised pixels to `[M, tokens, width]`, row by row of the picture.
    ///
    /// # Errors
    /// The pictures have another size than the encoder.
    pub fn forward(&self, pixels: &Tensor) -> Result<Tensor> {
        match self {
            Self::Transformer(encoder) => encoder.forward(pixels),
            Self::Nfnet(encoder) => encoder.forward(pixels),
        }
    }
}

/// Refuses pictures of another size than `side`.
fn check_size(pixels: &Tensor, side: usize) -> Result<()> {
    let (_, _, height, width) = pixels.dims4()?;
    if (height, width) == (side, side) {
        return Ok(());
    }
    Err(Error::Input {
        what: "pixels",
        expected: format!("pictures of {side} x {side}"),
        found: format!("{height} x {width}"),
    })
}
