//! Flamingo in candle: tensors in, tensors out.
//!
//! A [`Flamingo`] (Alayrac et al. 2022, arXiv 2204.14198) reads rows of text with pictures between
//! the words. A vision encoder turns each picture into patch tokens, the Perceiver Resampler turns
//! those into a fixed number of latents, and gated cross-attention blocks between the layers of a
//! language model let each text token read the latents of the image it belongs to. The gates
//! start closed, so training starts from the language model as it was.
//!
//! - [`Config`] says how large everything is; one set of modules covers the settings of the
//!   paper, of OpenFlamingo and of Idefics, and parameters have OpenFlamingo's names.
//! - [`Inputs`] is a batch, its shapes checked. Which image a token reads is an explicit index
//!   per token; 0, or an index beyond the images, reads nothing.
//! - [`Flamingo::forward`] gives scores, [`Flamingo::loss`] the training loss, [`generate()`]
//!   continues a prompt.
//! - [`train::Trainer`] takes steps and can be saved and resumed bit for bit on the CPU.
//! - [`ContrastiveTrainer`] pretrains a vision encoder on pictures and captions.
//! - [`Checkpoint`] is a model on disk: weights as safetensors and the configuration as TOML.
//! - [`GgufLanguage`] is a language model in a GGUF file, read tensor by tensor.
//!
//! Models compute in f32 on the CPU, by operations of this crate, or where [`Compute`] says, by candle's;
//! frozen weights may be held in fewer bits ([`WeightType`]). A program that trains should call
//! [`keep_freed_memory`] first thing, and [`leave_cores_to_layers`] before it.
//!
//! ```
//! use candle_core::{DType, Device, Tensor};
//! use m3w_model::{Config, Flamingo, Inputs, ParameterStore, SpecialTokens};
//!
//! let config: Config = toml::from_str(
//!     "vision = { image_side_px = 8, patch_side_px = 4, width = 8, layers = 1, heads = 2 }
//!      resampler = { latents = 2, layers = 1, heads = 2, head_dim = 4 }
//!      cross_attention = { every = 1, heads = 2, head_dim = 4 }
//!      language = { width = 8, layers = 2, heads = 2 }",
//! )?;
//! let special =
//!     SpecialTokens { image: 4, end_of_chunk: 3, bos: 1, eos: 2, pad: 0, around_image: None };
//! let model = Flamingo::new(&config.with_vocabulary(10), special, ParameterStore::seeded(1))?;
//! let tokens = Tensor::new(&[[1_u32, 4, 7, 8, 3]], &Device::Cpu)?;
//! let pixels = Tensor::zeros((1, 1, 1, 3, 8, 8), DType::F32, &Device::Cpu)?;
//! let logits = model.forward(&Inputs::new(tokens, None, pixels, None)?)?;
//! assert_eq!(logits.dims(), [1, 5, 10]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod compute;
mod config;
mod config_json;
mod contrastive;
mod cores;
mod describe;
mod error;
mod feed_forward;
mod flamingo;
mod fused;
mod gated_xattn;
mod generate;
mod gguf;
mod group;
mod import;
mod init;
mod inputs;
mod language;
mod linear;
mod loss;
mod low_rank;
mod media;
mod media_mask;
mod memory;
mod norm;
mod ops;
mod plain;
mod preprocess;
mod recomputed;
mod resampler;
mod score;
mod special_tokens;
mod table;
mod tensor_file;
mod torch;
pub mod train;
mod vision;
mod weight_type;

pub use compute::{Compute, DeviceName, Precision};
pub use config::{
    Activation, Attend, Config, CrossAttentionConfig, NfnetConfig, NormKind, Placement,
    ResamplerConfig, VisionConfig,
};
pub use contrastive::{
    ContrastiveConfig, ContrastiveTrainer, DualEncoder, Pairs, PretrainConfig, PretrainReport,
    Retrieval, TextConfig, retrieval,
};
pub use cores::leave_cores_to_layers;
pub use describe::{DescribedParameter, Description, parameter_counts, preset, preset_names};
pub use error::{Error, Result};
pub use flamingo::{Flamingo, Place};
pub use gated_xattn::{GatedBlock, MaskedCrossAttention, MediaKeysValues};
pub use generate::{
    Continuation, GenerateOptions, Generated, MAX_BEAMS, generate, generate_batch,
    log_probabilities,
};
pub use group::Group;
pub use import::{
    Assembled, ImportSummary, Published, StoredTensor, assemble, assemble_idefics, language_name,
    read_folder, read_vision, read_weights, reference_name, vision_sizes,
};
pub use init::ParameterStore;
pub use inputs::{Inputs, chunk_targets};
pub use language::{
    Biases, Decoder, Family, GgufLanguage, LanguageConfig, LanguageModel, LayerCache, LoraConfig,
    LoraTarget, Positions,
};
pub use loss::cross_entropy;
pub use media_mask::MediaMask;
pub use memory::keep_freed_memory;
pub use preprocess::{Picture, Preprocess};
pub use resampler::Resampler;
pub use score::score_candidates;
pub use special_tokens::SpecialTokens;
pub use torch::read_torch;
pub use train::Checkpoint;
pub use vision::{ImageClassifier, Nfnet, VisionEncoder, VisionTransformer};
pub use weight_type::WeightType;
