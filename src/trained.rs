//! A model on disk with what is needed to ask it something: one that was trained here, or one that
//! was imported.
//!
//! An imported model's directory:
//!
//! ```text
//! DIR/checkpoint/       weights (safetensors) and sizes
//! DIR/tokenizer.json    the tokenizer, with the tokens for images and ends of chunks
//! DIR/pixels.toml       how pictures become pixels
//! ```

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use candle_core::{Device, Tensor};
use m3w_document::image::{Limits, decode};
use m3w_model::{Compute, DeviceName, Flamingo, Picture, Precision, Preprocess, WeightType};
use m3w_shards::{LoaderConfig, Tokenizer, picture_pixels};
use serde::{Deserialize, Serialize};

use crate::prompt::Piece;
use crate::trainer::TrainFile;

/// Where an imported model's picture settings stand in its directory.
pub(crate) const PIXELS_FILE: &str = "pixels.toml";

/// A trained model with what is needed to ask it something.
pub struct TrainedModel {
    /// The model, frozen.
    pub model: Flamingo,
    /// Its tokenizer.
    pub tokenizer: Tokenizer,
    /// How pictures become pixels.
    pub pictures: Pictures,
}

/// Where a model is run, and in which numbers: f32 on the CPU unless said otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// The device, which is none of the answer.
    #[serde(skip)]
    pub device: DeviceName,
    /// What activations are.
    pub precision: Precision,
    /// What matrices are in memory.
    pub weights: WeightType,
}

/// How pictures become pixels.
pub enum Pictures {
    /// As our loader makes them.
    Loaded(Box<LoaderConfig>),
    /// As CLIP was shown them.
    Clip(Preprocess),
}

impl TrainedModel {
    /// Loads the model of a training run, or an imported one.
    ///
    /// # Errors
    ///
    /// If the directory holds neither, or a file of it is damaged.
    pub fn load(directory: &Path) -> Result<Self> {
        Self::load_as(directory, &Running::default())
    }

    /// As [`Self::load`], to be run in another way.
    ///
    /// # Errors
    ///
    /// As [`Self::load`], or if the device is not there or not for these numbers.
    pub fn load_as(directory: &Path, running: &Running) -> Result<Self> {
        let compute = Compute::new(running.device, running.precision)?;
        let run = directory.join("train.toml");
        let imported = directory.join(PIXELS_FILE);
        // Imported models may have more rows than their tokenizer has tokens.
        let mut may_have_more_rows = true;
        let pictures = if run.exists() {
            let file: TrainFile = read_toml(&run)?;
            may_have_more_rows = file.initial.model.is_some();
            Pictures::Loaded(Box::new(file.loader))
        } else if imported.exists() {
            Pictures::Clip(read_toml(&imported)?)
        } else {
            bail!(
                "{} holds no model: give the --out of an `m3w train` or an `m3w import`",
                directory.display()
            );
        };
        let trained = Self {
            model: Flamingo::load_as(&directory.join("checkpoint"), running.weights, &compute)?,
            tokenizer: Tokenizer::from_file(&directory.join("tokenizer.json"))?,
            pictures,
        };
        let rows = trained.model.config().language.vocabulary;
        let tokens = trained.tokenizer.vocabulary_size();
        ensure!(
            tokens == rows || (may_have_more_rows && tokens < rows),
            "{} is not the tokenizer that the model was trained with: take the one of its run",
            directory.join("tokenizer.json").display()
        );
        Ok(trained)
    }

    /// Whether it was trained on rows: they begin with `<BOS>`, and an `<EOC>` stands before the first
    /// picture too.
    #[must_use]
    pub fn begins_as_rows(&self) -> bool {
        matches!(self.pictures, Pictures::Loaded(_))
    }

    /// Pixels `[N, F, 3, side, side]` of the pictures and clips among `pieces`; `None` where there
    /// are none.
    ///
    /// F is the most frames of any, or as many as in training. Shorter clips and pictures are filled
    /// up as in training, with zeros; for an imported model, which saw no such frames, with their
    /// last frame.
    ///
    /// # Errors
    ///
    /// If a file cannot be read, is no picture, or a video cannot be cut.
    pub fn pixels(&self, pieces: &[Piece]) -> Result<Option<Tensor>> {
        let mut media = Vec::new();
        for piece in pieces.iter().filter(|piece| piece.is_medium()) {
            let mut frames = Vec::new();
            for (name, bytes) in piece.frames()? {
                let pixels = self.pictures.pixels(&bytes);
                frames.push(pixels.with_context(|| format!("{name} cannot be used"))?);
            }
            media.push(frames);
        }
        let Some(most) = media.iter().map(Vec::len).max() else {
            return Ok(None);
        };
        let most = match &self.pictures {
            Pictures::Loaded(loader) => most.max(loader.frames_per_image),
            Pictures::Clip(_) => most,
        };
        let mut clips = Vec::with_capacity(media.len());
        for mut frames in media {
            let Some(last) = frames.last() else {
                bail!("a clip has no frames");
            };
            let filler = match &self.pictures {
                Pictures::Loaded(_) => last.zeros_like()?,
                Pictures::Clip(_) => last.clone(),
            };
            frames.resize(most, filler);
            clips.push(Tensor::stack(&frames, 0)?);
        }
        Ok(Some(Tensor::stack(&clips, 0)?))
    }
}

impl Pictures {
    /// Pixels `[3, side, side]` of an encoded picture.
    fn pixels(&self, bytes: &[u8]) -> Result<Tensor> {
        match self {
            Self::Loaded(loader) => {
                let pixels = picture_pixels(bytes, loader).map_err(anyhow::Error::msg)?;
                let side = loader.image_side_px as usize;
                Ok(Tensor::from_vec(pixels, (3, side, side), &Device::Cpu)?)
            }
            Self::Clip(preprocess) => {
                let decoded = decode(bytes, &Limits::default());
                let decoded = decoded.map_err(|reason| anyhow::anyhow!("{reason}"))?;
                let picture = Picture {
                    values: &decoded.pixels,
                    width: decoded.width_px as usize,
                    height: decoded.height_px as usize,
                    channels: 3,
                };
                Ok(preprocess.pixels(picture)?)
            }
        }
    }
}

fn read_toml<C: serde::de::DeserializeOwned>(path: &Path) -> Result<C> {
    let text =
        fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    toml::from_str(&text).with_context(|| format!("cannot use {}", path.display()))
}
