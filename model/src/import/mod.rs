//! Putting a model together from published files: an OpenFlamingo checkpoint, which holds what was
//! trained, and the language model and vision encoder it was trained on; or the folder of an Idefics,
//! which has all of it.

mod folder;
mod idefics;
mod names;
mod sizes;
mod vision;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use candle_core::{DType, Device, Tensor};

use crate::Error;
use crate::config::{Config, VisionConfig};
use crate::describe::Description;
use crate::group::Group;
use crate::language::{GgufLanguage, LanguageConfig};
use crate::special_tokens::SpecialTokens;
use crate::tensor_file::read_tensors;

type Result<T, E = Error> = std::result::Result<T, E>;

pub use folder::{StoredTensor, read_folder};
pub use idefics::assemble_idefics;
pub use names::{language_name, reference_name};
pub use sizes::vision_sizes;
pub use vision::read_vision;

/// Where tensors are from that stay in a file of the language model.
const IN_FILE: &str = "language file";

/// The files' contents.
pub struct Published {
    /// Tensors of the OpenFlamingo checkpoint, under its names.
    pub checkpoint: BTreeMap<String, Tensor>,
    /// The language model, as its `config.json` says.
    pub language_config: LanguageConfig,
    /// Tensors of the language model, under the names of its repository; none where it is a file.
    pub language: BTreeMap<String, Tensor>,
    /// The language model, where it is a GGUF file: its weights stay there.
    pub language_file: Option<GgufLanguage>,
    /// The vision encoder, where a `config.json` says; else its sizes are read from shapes.
    pub vision_config: Option<VisionConfig>,
    /// Tensors of the vision encoder, under open_clip's names, with or without `visual.`, or those of
    /// `transformers`' CLIP and SigLIP; a text encoder beside it is left alone.
    pub vision: BTreeMap<String, Tensor>,
}

/// A model put together.
pub struct Assembled {
    /// Its sizes.
    pub config: Config,
    /// Its tensors by their names here, in the types of the files; without those of `language_file`.
    pub tensors: BTreeMap<String, Tensor>,
    /// The file that the language model's own weights stay in, if they are in one.
    pub language_file: Option<GgufLanguage>,
    /// What came from where.
    pub summary: ImportSummary,
}

/// What of a model was in the files.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ImportSummary {
    /// Tensors and numbers found, by group and file (`checkpoint`, `language`, `language file`,
    /// `vision`).
    pub found: BTreeMap<(Group, &'static str), (usize, usize)>,
    /// Names and shapes of tensors that no file has.
    pub missing: Vec<(String, Vec<usize>)>,
    /// Names and shapes in the checkpoint that the model has no place for.
    pub unused: Vec<(String, Vec<usize>)>,
}

/// Reads every tensor of a model's folder (see [`read_folder`]), or of one file.
///
/// # Errors
/// There is no such file, or one is damaged.
pub fn read_weights(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let metadata = std::fs::metadata(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })?;
    if !metadata.is_dir() {
        return read_tensors(path);
    }
    let stored = read_folder(path)?.into_iter();
    Ok(stored.map(|(name, stored)| (name, stored.tensor)).collect())
}

/// Names the tensors of all files as here and finds the sizes of the model they make. Where several
/// have a tensor, the checkpoint's counts.
///
/// Sizes are read from shapes; what shapes do not say is as in OpenFlamingo (heads of 64 channels).
/// `adjust` may change the result before tensors are looked for.
///
/// # Errors
/// A tensor that sizes are read from is missing or has an impossible shape, or `adjust` fails.
pub fn assemble<E: From<Error>>(
    published: Published,
    adjust: impl FnOnce(Config) -> Result<Config, E>,
) -> Result<Assembled, E> {
    let Published {
        checkpoint,
        language_config,
        language,
        language_file,
        vision_config,
        vision,
    } = published;
    let family = language_config.family;
    let mut tensors = BTreeMap::new();
    let mut origins = BTreeMap::new();
    for (name, tensor) in vision::named(vision)? {
        origins.insert(name.clone(), "vision");
        tensors.insert(name, tensor);
    }
    for (name, tensor) in language {
        let name = language_name(&name, family);
        origins.insert(name.clone(), "language");
        tensors.insert(name, tensor);
    }
    for (name, shape) in language_file.iter().flat_map(GgufLanguage::shapes) {
        origins.insert(name.to_owned(), IN_FILE);
        // One number in the tensor's shape.
        let shown = Tensor::zeros((), DType::F32, &Device::Cpu).map_err(Error::from)?;
        let shown = shown.broadcast_as(shape).map_err(Error::from)?;
        tensors.insert(name.to_owned(), shown);
    }
    let mut from_checkpoint = BTreeSet::new();
    for (name, tensor) in checkpoint {
        let name = reference_name(&name, family);
        from_checkpoint.insert(name.clone());
        origins.insert(name.clone(), "checkpoint");
        tensors.insert(name, tensor);
    }
    let config = adjust(sizes::whole(&tensors, language_config, vision_config)?)?;
    let mut summary = ImportSummary::default();
    let mut kept = BTreeMap::new();
    for parameter in Description::of(&config)?.parameters {
        let Some(tensor) = tensors.remove(&parameter.name) else {
            summary.missing.push((parameter.name, parameter.shape));
            continue;
        };
        if tensor.dims() != parameter.shape {
            return Err(Error::TensorShape {
                file: origins[&parameter.name].to_owned(),
                name: parameter.name,
                expected: parameter.shape,
                found: tensor.dims().to_vec(),
            }
            .into());
        }
        let place = (parameter.group, origins[&parameter.name]);
        let (count, numbers) = summary.found.entry(place).or_default();
        *count += 1;
        *numbers += tensor.elem_count();
        if origins[&parameter.name] != IN_FILE {
            kept.insert(parameter.name, tensor);
        }
    }
    summary.unused = tensors
        .into_iter()
        .filter(|(name, _)| from_checkpoint.contains(name))
        .map(|(name, tensor)| (name, tensor.dims().to_vec()))
        .collect();
    Ok(Assembled {
        config,
        tensors: kept,
        language_file,
        summary,
    })
}

impl Assembled {
    /// Saves the model as a checkpoint that [`Flamingo::load`](crate::Flamingo::load) reads, with a
    /// copy of the language model's file; replaces `directory` if it exists.
    ///
    /// # Errors
    /// [`Error::MissingTensor`] names the first tensor that no file had; a file cannot be written.
    pub fn save(&self, special: SpecialTokens, directory: &Path) -> Result<()> {
        if let Some((name, _)) = self.summary.missing.first() {
            return Err(Error::MissingTensor {
                file: "the files given".to_owned(),
                name: name.clone(),
            });
        }
        let file = self.language_file.as_ref().map(GgufLanguage::path);
        crate::train::save_parts(directory, &self.config, special, &self.tensors, file)
    }
}
