//! Models and training runs on disk.
//!
//! A checkpoint is a directory: `model.safetensors` (every parameter, by its name),
//! `config.toml` (sizes and special token ids), and, to go on training, `optimizer.safetensors` and
//! `training.json`. An imported one may have `language.gguf`, with the language model's weights. It is written beside its place and renamed, so that a directory under its
//! final name is always whole.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use serde::{Deserialize, Serialize};

use super::{TrainConfig, Trainer};
use crate::compute::Compute;
use crate::config::Config;
use crate::flamingo::Flamingo;
use crate::init::ParameterStore;
use crate::language::GgufLanguage;
use crate::special_tokens::SpecialTokens;
use crate::tensor_file::read_tensors;
use crate::train::optimizer::AdamW;
use crate::weight_type::WeightType;
use crate::{Error, Result};

pub(crate) const MODEL_FILE: &str = "model.safetensors";
pub(crate) const LANGUAGE_FILE: &str = "language.gguf";
pub(crate) const CONFIG_FILE: &str = "config.toml";
pub(crate) const OPTIMIZER_FILE: &str = "optimizer.safetensors";
pub(crate) const TRAINING_FILE: &str = "training.json";

/// What `config.toml` of a checkpoint holds: all that is needed, beside the weights and
/// the tokenizer, to run the model.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Token ids that mean something to the model.
    pub special_tokens: SpecialTokens,
    /// Sizes, the vocabulary included.
    pub model: Config,
}

/// What `training.json` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TrainingState {
    /// Of the program that wrote it.
    #[serde(default)]
    version: String,
    steps: usize,
    optimizer_updates: usize,
    train: TrainConfig,
}

impl Checkpoint {
    /// Reads a checkpoint's configuration.
    ///
    /// # Errors
    /// The file is missing or is not such a configuration.
    pub fn read(directory: &Path) -> Result<Self> {
        let path = directory.join(CONFIG_FILE);
        let text = fs::read_to_string(&path).map_err(file_error(&path))?;
        toml::from_str(&text).map_err(content_error(&path))
    }

    /// Opens a checkpoint's weights. Memory holds none of them before they are asked for.
    ///
    /// # Errors
    /// A file is missing or damaged.
    pub fn parameters(directory: &Path) -> Result<ParameterStore> {
        let parameters = ParameterStore::from_file(&directory.join(MODEL_FILE))?;
        let language = directory.join(LANGUAGE_FILE);
        Ok(if language.is_file() {
            parameters.with_language(GgufLanguage::open(&language)?)
        } else {
            parameters
        })
    }
}

impl Flamingo {
    /// Loads a model to run it, all of it frozen.
    ///
    /// # Errors
    /// A file is missing or damaged, weights are not finite, or weights and configuration do not
    /// fit together.
    pub fn load(directory: &Path) -> Result<Self> {
        Self::load_as(directory, WeightType::F32, &Compute::default())
    }

    /// As [`Self::load`], with matrices and tables held in a type of their own, to compute where
    /// `compute` says.
    ///
    /// # Errors
    /// As [`Self::load`], and where those weights are not for that device.
    pub fn load_as(directory: &Path, weights: WeightType, compute: &Compute) -> Result<Self> {
        let checkpoint = Checkpoint::read(directory)?;
        let parameters = finite_parameters(directory)?;
        let parameters = parameters.frozen_as(weights).on(compute);
        Self::new(&checkpoint.model, checkpoint.special_tokens, parameters)
    }

    /// Saves the model to run it elsewhere; replaces `directory` if it exists.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        replace_directory(directory, |partial| self.write(partial))
    }

    fn write(&self, directory: &Path) -> Result<()> {
        let special = *self.special_tokens();
        write_parts(directory, self.config(), special, self.parameters())
    }
}

/// The weights of a checkpoint, all of them numbers.
fn finite_parameters(directory: &Path) -> Result<ParameterStore> {
    let parameters = Checkpoint::parameters(directory)?;
    parameters.check_finite()?;
    Ok(parameters)
}

/// Saves the parts of a model as a checkpoint, tensors in the types they have and a copy of the
/// language model's file if it has one; replaces `directory` if it exists.
pub(crate) fn save_parts(
    directory: &Path,
    config: &Config,
    special_tokens: SpecialTokens,
    tensors: &BTreeMap<String, Tensor>,
    language: Option<&Path>,
) -> Result<()> {
    replace_directory(directory, |partial| {
        if let Some(language) = language {
            let copy = partial.join(LANGUAGE_FILE);
            fs::copy(language, &copy).map_err(file_error(language))?;
            sync(&copy)?;
        }
        write_parts(partial, config, special_tokens, tensors)
    })
}

fn write_parts(
    directory: &Path,
    config: &Config,
    special_tokens: SpecialTokens,
    tensors: &BTreeMap<String, Tensor>,
) -> Result<()> {
    if tensors.values().any(|tensor| tensor.dtype() == DType::U8) {
        return Err(Error::Input {
            what: "weights",
            expected: "f32 or bf16".to_owned(),
            found: "8 bits: save the model they were made of".to_owned(),
        });
    }
    write_tensors(&directory.join(MODEL_FILE), tensors)?;
    let path = directory.join(CONFIG_FILE);
    let checkpoint = Checkpoint {
        special_tokens,
        model: config.clone(),
    };
    let text = toml::to_string(&checkpoint).map_err(content_error(&path))?;
    write_file(&path, text.as_bytes())
}

impl Trainer {
    /// Saves model and training state; replaces `directory` if it exists.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save(&self, directory: &Path) -> Result<()> {
        self.save_with(directory, &[])
    }

    /// As [`Self::save`], with more files in the directory, by their names.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn save_with(&self, directory: &Path, more: &[(&str, &[u8])]) -> Result<()> {
        replace_directory(directory, |partial| {
            for (name, bytes) in more {
                write_file(&partial.join(name), bytes)?;
            }
            self.model.write(partial)?;
            let moments = self.optimizer.tensors(self.model.variables())?;
            write_tensors(&partial.join(OPTIMIZER_FILE), &moments)?;
            let path = partial.join(TRAINING_FILE);
            let state = TrainingState {
                version: env!("CARGO_PKG_VERSION").to_owned(),
                steps: self.steps,
                optimizer_updates: self.optimizer.updates(),
                train: self.config.clone(),
            };
            let text = serde_json::to_vec_pretty(&state).map_err(content_error(&path))?;
            write_file(&path, &text)
        })
    }

    /// Goes on from a saved state, under the training configuration saved with it, on any device. On
    /// the CPU, steps after this give the same bits as if training had never stopped there.
    ///
    /// # Errors
    /// A file is missing or damaged, or the files do not fit together.
    pub fn load(directory: &Path, compute: &Compute) -> Result<Self> {
        let path = directory.join(TRAINING_FILE);
        let bytes = fs::read(&path).map_err(file_error(&path))?;
        let state: TrainingState = serde_json::from_slice(&bytes).map_err(content_error(&path))?;
        let checkpoint = Checkpoint::read(directory)?;
        let parameters = finite_parameters(directory)?.on(compute);
        let parameters = parameters.trainable(&state.train.trainable);
        let model = Flamingo::new(&checkpoint.model, checkpoint.special_tokens, parameters)?;
        let mut trainer = Self::new(model, state.train)?;
        let path = directory.join(OPTIMIZER_FILE);
        trainer.optimizer = AdamW::from_tensors(
            state.optimizer_updates,
            trainer.model.variables(),
            &trainer.averages(read_tensors(&path)?)?,
            &path.display().to_string(),
            compute,
        )?;
        trainer.steps = state.steps;
        Ok(trainer)
    }

    /// The optimiser's averages of what is trained. Where embeddings are trained beside a frozen language
    /// model, they are those of two rows; in files of before, of the whole table, which are read too.
    fn averages(&self, mut tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
        let rows = self.model.special_tokens().trained_rows();
        for (name, variable) in self.model.variables() {
            let Some(table) = self.model.parameters().get(name) else {
                continue;
            };
            for which in ["first", "second"] {
                let Some(tensor) = tensors.get_mut(&format!("{which}.{name}")) else {
                    continue;
                };
                if tensor.dims() == variable.dims() {
                    continue;
                }
                let of_rows = [rows.len(), table.dims().last().copied().unwrap_or_default()];
                let rows = Tensor::from_slice(&rows, rows.len(), tensor.device())?;
                if variable.dims() == of_rows && tensor.dims() == table.dims() {
                    *tensor = tensor.index_select(&rows, 0)?;
                }
            }
        }
        Ok(tensors)
    }
}

/// Lets `write` fill a directory beside `directory`, then puts it in that place.
///
/// Where the file system can exchange two names at once, a process may be killed at any time and
/// leaves one of the two directories, whole, under the final name.
pub(crate) fn replace_directory(
    directory: &Path,
    write: impl FnOnce(&Path) -> Result<()>,
) -> Result<()> {
    let partial = beside(directory, "partial");
    remove_directory(&partial)?;
    fs::create_dir_all(&partial).map_err(file_error(&partial))?;
    write(&partial)?;
    if !directory.exists() {
        fs::rename(&partial, directory).map_err(file_error(directory))?;
    } else if exchange(&partial, directory) {
        remove_directory(&partial)?;
    } else {
        let previous = beside(directory, "previous");
        remove_directory(&previous)?;
        fs::rename(directory, &previous).map_err(file_error(directory))?;
        fs::rename(&partial, directory).map_err(file_error(directory))?;
        remove_directory(&previous)?;
    }
    match directory.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => sync(parent),
        _ => Ok(()),
    }
}

/// Exchanges two names at once; false where that cannot be done.
#[cfg(target_os = "linux")]
fn exchange(one: &Path, other: &Path) -> bool {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    renameat_with(CWD, one, CWD, other, RenameFlags::EXCHANGE).is_ok()
}

/// Exchanges two names at once; no such call here.
#[cfg(not(target_os = "linux"))]
fn exchange(_: &Path, _: &Path) -> bool {
    false
}

fn beside(directory: &Path, ending: &str) -> PathBuf {
    let mut name = directory.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(ending);
    directory.with_file_name(name)
}

fn remove_directory(path: &Path) -> Result<()> {
    match fs::remove_dir_all(path) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => Err(Error::File {
            path: path.to_owned(),
            source,
        }),
        _ => Ok(()),
    }
}

pub(crate) fn write_tensors(path: &Path, tensors: &BTreeMap<String, Tensor>) -> Result<()> {
    let tensors: HashMap<&str, Tensor> = tensors
        .iter()
        .map(|(name, tensor)| (name.as_str(), tensor.clone()))
        .collect();
    candle_core::safetensors::save(&tensors, path).map_err(content_error(path))?;
    sync(path)
}

pub(crate) fn write_file(path: &Path, bytes: &[u8]) -> Result<()> {
    fs::write(path, bytes).map_err(file_error(path))?;
    sync(path)
}

/// Puts a file on the disk before a rename makes it count.
fn sync(path: &Path) -> Result<()> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(file_error(path))
}

pub(crate) fn file_error(path: &Path) -> impl FnOnce(std::io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::File { path, source }
}

pub(crate) fn content_error<E: std::fmt::Display>(path: &Path) -> impl FnOnce(E) -> Error {
    let path = path.to_owned();
    move |cause| Error::Content {
        path,
        cause: cause.to_string(),
    }
}
