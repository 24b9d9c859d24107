//! Language models as `llama.cpp` and its kin keep them: one GGUF file, under names of their own.

mod keys;
mod layout;
mod named;

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{Device, Tensor};

use super::config::LanguageConfig;
use super::decoder::Decoder;
use crate::gguf::{GgufFile, Place, is_gguf};
use crate::init::ParameterStore;
use crate::{Error, Result};

use layout::Order;

/// Where the language model stands among the parameters.
const PREFIX: &str = "lang_encoder.";

/// A language model in a GGUF file, of the architectures `llama` (LLaMA, Mistral), `qwen2`, `gpt2`,
/// `gptneox` and `mpt`.
///
/// Its sizes are those of the file's metadata; its weights have the names and order of those that
/// `transformers` publishes, and are read one by one when they are asked for. The tokenizer in the
/// file is not read.
pub struct GgufLanguage {
    file: GgufFile,
    config: LanguageConfig,
    weights: BTreeMap<String, Weight>,
}

/// A weight by its name here.
struct Weight {
    /// Its name in the file.
    name: String,
    place: Place,
    order: Order,
}

impl GgufLanguage {
    /// Whether a path is a file that begins as GGUF files do.
    ///
    /// # Errors
    /// There is no such file, or it cannot be read.
    pub fn is_at(path: &Path) -> Result<bool> {
        is_gguf(path)
    }

    /// Opens a file and checks that all weights are there, in the shapes that its metadata asks for,
    /// and none that has no place. Memory holds its header without lists and long texts.
    ///
    /// # Errors
    /// The file is damaged, of an architecture that is not built, or lacks something; the message
    /// names the key or tensor.
    pub fn open(path: &Path) -> Result<Self> {
        let file = GgufFile::open(path)?;
        let config = keys::config(&file)?;
        let weights = named::weights(&file, &config)?;
        let language = Self {
            file,
            config,
            weights,
        };
        language.check()?;
        Ok(language)
    }

    /// The sizes and choices that the metadata tells; what it does not tell is as in the models that
    /// such files are made of.
    #[must_use]
    pub fn config(&self) -> &LanguageConfig {
        &self.config
    }

    /// The file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// How many tokens the file's own tokenizer has, if it has one.
    #[must_use]
    pub fn token_count(&self) -> Option<u64> {
        keys::token_count(&self.file)
    }

    /// Names here and shapes of all weights.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, Vec<usize>)> {
        let weights = self.weights.iter();
        weights.map(|(name, weight)| (name.as_str(), weight.shape()))
    }

    /// The shape of the weight of this name, if there is one.
    pub(crate) fn shape(&self, name: &str) -> Option<Vec<usize>> {
        self.weights.get(name).map(Weight::shape)
    }

    /// The weight of this name, if there is one: F32, F16 and BF16 as they are, blocks as f32. Takes
    /// the bytes of the file beside the tensor while it runs.
    pub(crate) fn tensor(&self, name: &str) -> Result<Option<Tensor>> {
        let Some(weight) = self.weights.get(name) else {
            return Ok(None);
        };
        let place = &weight.place;
        let bytes = self.file.bytes(place)?;
        let bytes = weight.order.rows(bytes, place.shape[0]);
        let tensor = place.kind.tensor(&bytes, &place.shape)?;
        Ok(Some(match weight.order {
            Order::Turned => tensor.t()?,
            _ => tensor,
        }))
    }

    /// The weight of this name as blocks of 8 bits, `[out, bytes of a row]`, if that is how it lies in
    /// the file.
    pub(crate) fn blocks(&self, name: &str) -> Result<Option<Tensor>> {
        let Some(weight) = self.weights.get(name) else {
            return Ok(None);
        };
        let place = &weight.place;
        let [outputs, _] = *place.shape else {
            return Ok(None);
        };
        if !place.kind.is_eight_bits() {
            return Ok(None);
        }
        let bytes = weight.order.rows(self.file.bytes(place)?, outputs);
        let shape = (outputs, bytes.len() / outputs);
        Ok(Some(Tensor::from_vec(bytes, shape, &Device::Cpu)?))
    }

    /// Compares what is there with what a decoder of these sizes asks for.
    fn check(&self) -> Result<()> {
        let file = self.file.path.display().to_string();
        let mut store = ParameterStore::describing();
        Decoder::new(&self.config, &mut store, PREFIX)?;
        let (expected, _) = store.into_parts();
        for (name, expected) in &expected {
            let Some(weight) = self.weights.get(name) else {
                return Err(Error::MissingTensor {
                    file,
                    name: named::in_file(name, self.config.family),
                });
            };
            if weight.shape() != expected.dims() {
                return Err(Error::TensorShape {
                    file,
                    name: weight.name.clone(),
                    expected: expected.dims().to_vec(),
                    found: weight.shape(),
                });
            }
        }
        let without_place = self
            .weights
            .iter()
            .find(|(name, _)| !expected.contains_key(*name));
        match without_place {
            None => Ok(()),
            Some((_, weight)) => Err(self.without_place(&weight.name)),
        }
    }

    fn without_place(&self, name: &str) -> Error {
        Error::Content {
            path: self.file.path.clone(),
            cause: named::without_place(name, self.config.family),
        }
    }
}

impl Weight {
    fn shape(&self) -> Vec<usize> {
        let mut shape = self.place.shape.clone();
        if self.order == Order::Turned {
            shape.reverse();
        }
        shape
    }
}
