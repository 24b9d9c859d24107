//! Parameters by name: drawn from a seed, read from a file, frozen or trainable.
//!
//! Modules ask a [`ParameterStore`] for each weight by the name it has in published checkpoints.
//! A weight found in the store is checked and handed out; one that is not is drawn from
//! a generator seeded by (seed, name), so a model's first weights depend neither on the order of
//! construction nor on the machine (candle's own generator on the CPU cannot be seeded).

mod language_file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::safetensors::{Load, MmapedSafetensors};
use candle_core::{DType, Device, Tensor, Var};
use rand::{RngExt, SeedableRng};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};

use crate::compute::Compute;
use crate::language::GgufLanguage;
use crate::table::Table;
use crate::tensor_file::{is_safetensors, map_safetensors};
use crate::torch::read_torch;
use crate::weight_type::WeightType;
use crate::{Error, Result};

pub(crate) use language_file::rows_of_table;

/// How names of embedding tables end. An output table of its own belongs to the language model, as in
/// OpenFlamingo; that of our decoder, whose rows for `<image>` and `<EOC>` nobody trained before,
/// is one of them.
const EMBEDDINGS: [&str; 4] = [
    ".embed_tokens.weight",
    ".embed_in.weight",
    ".wte.weight",
    ".model.lm_head.weight",
];

/// A part of the model that is trained or frozen as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Group {
    /// The vision encoder.
    Vision,
    /// The Perceiver Resampler.
    Resampler,
    /// The gated cross-attention blocks.
    GatedXattn,
    /// The embedding rows of `<image>` and `<EOC>`; every row where `language` is trained too.
    Embeddings,
    /// The language model's own layers and its output layer.
    Language,
    /// Low-rank updates beside the language model's maps, where it has them.
    Lora,
}

impl Group {
    /// All groups, in the order a picture meets them.
    pub const ALL: [Self; 6] = [
        Self::Vision,
        Self::Resampler,
        Self::GatedXattn,
        Self::Embeddings,
        Self::Language,
        Self::Lora,
    ];

    /// The group a parameter belongs to, by its name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        if name.starts_with("vision_encoder.") {
            Self::Vision
        } else if name.starts_with("perceiver.") {
            Self::Resampler
        } else if name.contains(".gated_cross_attn_layer.") {
            Self::GatedXattn
        } else if name.contains(".lora_") {
            Self::Lora
        } else if EMBEDDINGS.iter().any(|ending| name.ends_with(ending)) {
            Self::Embeddings
        } else {
            Self::Language
        }
    }

    /// The name in configurations.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Vision => "vision",
            Self::Resampler => "resampler",
            Self::GatedXattn => "gated_xattn",
            Self::Embeddings => "embeddings",
            Self::Language => "language",
            Self::Lora => "lora",
        }
    }
}

/// How a parameter that no file holds begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Init {
    Zeros,
    Ones,
    Constant { value: f64 },
    Normal { deviation: f64 },
}

impl Init {
    /// Normal draws that keep the variance of `inputs` independent inputs, times `scale`.
    pub(crate) fn fan_in(inputs: usize, scale: f64) -> Self {
        Self::Normal {
            deviation: scale / (inputs as f64).sqrt(),
        }
    }
}

/// Parameters by name, and the rule for those that are missing.
#[derive(Clone)]
pub struct ParameterStore {
    tensors: BTreeMap<String, Tensor>,
    /// A file whose tensors are read one by one, as they are asked for.
    mapped: Option<Arc<MmapedSafetensors>>,
    /// A file of the language model's weights, which are read as those are.
    language: Option<Arc<GgufLanguage>>,
    missing: Missing,
    frozen_as: WeightType,
    compute: Compute,
    trainable: Vec<Group>,
    /// Rows of embedding tables that are trained where not all are.
    rows_alone: Option<Arc<[u32]>>,
    /// Where the tensors came from, for messages.
    origin: String,
    handed_out: BTreeMap<String, Tensor>,
    variables: BTreeMap<String, Var>,
}

/// What to do about a parameter that the store does not hold.
#[derive(Clone, Copy)]
enum Missing {
    Refuse,
    Draw(u64),
    /// Hand out a tensor of the right shape that holds one number: enough to count.
    Describe,
}

impl ParameterStore {
    /// Every parameter is drawn from `seed`.
    #[must_use]
    pub fn seeded(seed: u64) -> Self {
        Self::new(BTreeMap::new(), Missing::Draw(seed), "seed".to_owned())
    }

    /// Every parameter comes from `tensors`, which `origin` names in messages.
    #[must_use]
    pub fn from_tensors(tensors: BTreeMap<String, Tensor>, origin: impl Into<String>) -> Self {
        Self::new(tensors, Missing::Refuse, origin.into())
    }

    /// Every parameter comes from a safetensors file or a PyTorch checkpoint (see
    /// [`read_torch`](crate::read_torch)). Memory holds the weights once: safetensors are mapped, and
    /// each tensor is read when it is asked for.
    ///
    /// # Errors
    /// The file cannot be read, or is neither.
    pub fn from_file(path: &Path) -> Result<Self> {
        let origin = path.display().to_string();
        if !is_safetensors(path)? {
            return Ok(Self::from_tensors(read_torch(path)?, origin));
        }
        let mapped = map_safetensors(path)?;
        for (name, view) in mapped.tensors() {
            if DType::try_from(view.dtype()).is_err() {
                return Err(Error::TensorType {
                    file: origin,
                    name,
                    found: format!("{:?}", view.dtype()),
                });
            }
        }
        let mut store = Self::from_tensors(BTreeMap::new(), origin);
        store.mapped = Some(Arc::new(mapped));
        Ok(store)
    }

    /// These tensors too, in place of others of the same names.
    #[must_use]
    pub fn with_tensors(mut self, tensors: BTreeMap<String, Tensor>) -> Self {
        self.tensors.extend(tensors);
        self
    }

    /// Parameters are handed out where `compute` computes. Under [`Precision::Bf16`](crate::Precision)
    /// matrices that are not trained are held in that type, whatever [`Self::frozen_as`] says.
    #[must_use]
    pub fn on(mut self, compute: &Compute) -> Self {
        self.compute = compute.clone();
        self
    }

    /// Where models built from it compute.
    pub(crate) fn compute(&self) -> &Compute {
        &self.compute
    }

    /// How matrices that are not trained are held.
    fn frozen_type(&self) -> Result<WeightType> {
        if self.compute.is_ours() {
            return Ok(self.frozen_as);
        }
        match self.frozen_as {
            WeightType::Int8 => Err(Error::Setting {
                setting: "weights".to_owned(),
                found: "int8".to_owned(),
                must: "such weights are for f32 on the CPU: take bf16".to_owned(),
            }),
            _ if self.compute.dtype() == DType::BF16 => Ok(WeightType::Bf16),
            other => Ok(other),
        }
    }

    /// Matrices that are not trained are held in this type; norms, biases and all else as f32.
    #[must_use]
    pub fn frozen_as(mut self, frozen_as: WeightType) -> Self {
        self.frozen_as = frozen_as;
        self
    }

    /// The tensor of this name, if there is one.
    fn find(&self, name: &str) -> Result<Option<Tensor>> {
        if let Some(tensor) = self.tensors.get(name) {
            return Ok(Some(tensor.clone()));
        }
        let mapped = self.mapped.as_ref();
        if let Some(view) = mapped.and_then(|mapped| mapped.get(name).ok()) {
            let loaded = view.load(&Device::Cpu).map_err(|cause| Error::Content {
                path: PathBuf::from(&self.origin),
                cause: format!("tensor `{name}` cannot be read: {cause}"),
            })?;
            return Ok(Some(loaded));
        }
        match &self.language {
            Some(language) => language.tensor(name),
            None => Ok(None),
        }
    }

    /// Checks that every weight is a number: a training run that diverged leaves others.
    ///
    /// Takes as much memory again as the largest tensor, for as long as it runs.
    ///
    /// # Errors
    /// [`Error::NotFinite`] names the first tensor that holds NaN or infinity.
    pub fn check_finite(&self) -> Result<()> {
        for name in self.names() {
            let Some(tensor) = self.find(&name)? else {
                continue;
            };
            // Zero times a number is zero; times NaN or infinity it is NaN, and so is the sum.
            let sum = (tensor.to_dtype(DType::F32)? * 0.0)?.sum_all()?;
            if sum.to_scalar::<f32>()?.is_nan() {
                return Err(Error::NotFinite {
                    file: self.file_of(&name),
                    name,
                });
            }
        }
        Ok(())
    }

    /// Checks that no parameter of a trained group was rounded because of the type that is computed in:
    /// steps smaller than its last digit would be taken from the wrong place.
    pub(crate) fn check_unrounded(&self) -> Result<()> {
        if self.compute.dtype() != DType::BF16 {
            return Ok(());
        }
        let rounded = self.tensors.iter().find(|(name, tensor)| {
            self.is_trainable(name) && !matches!(tensor.dtype(), DType::F32 | DType::F64)
        });
        let Some((name, tensor)) = rounded else {
            return Ok(());
        };
        Err(Error::Setting {
            setting: "train.trainable".to_owned(),
            found: Group::of(name).name().to_owned(),
            must: format!(
                "`{name}` was rounded to {} when the model was built: name the groups that are \
                 trained then, by ParameterStore::trainable",
                tensor.dtype().as_str()
            ),
        })
    }

    /// Parameters that are missing are drawn from `seed`, so that new layers can be put into a
    /// trained model.
    #[must_use]
    pub fn or_seeded(mut self, seed: u64) -> Self {
        self.missing = Missing::Draw(seed);
        self
    }

    /// A store that allocates nothing and only learns names and shapes.
    pub(crate) fn describing() -> Self {
        Self::new(BTreeMap::new(), Missing::Describe, String::new())
    }

    /// Parameters of these groups are handed out as variables, with gradients.
    #[must_use]
    pub fn trainable(mut self, groups: &[Group]) -> Self {
        self.trainable = groups.to_vec();
        self
    }

    /// Of embedding tables that are trained while the language model is frozen, only these rows are
    /// variables: a variable of the table's name holds them, `[rows, width]`.
    pub(crate) fn rows_alone(mut self, rows: &[u32]) -> Self {
        self.rows_alone = Some(rows.into());
        self
    }

    fn new(tensors: BTreeMap<String, Tensor>, missing: Missing, origin: String) -> Self {
        Self {
            tensors,
            mapped: None,
            language: None,
            missing,
            frozen_as: WeightType::F32,
            compute: Compute::default(),
            trainable: Vec::new(),
            rows_alone: None,
            origin,
            handed_out: BTreeMap::new(),
            variables: BTreeMap::new(),
        }
    }

    /// The parameter `name`, f32, as a variable where its group is trained.
    pub(crate) fn get(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        self.get_as(name, shape, init, |tensor| {
            WeightType::F32.of(tensor, false)
        })
    }

    /// As [`Self::get`], for a table: where it is frozen, it has the type asked for by
    /// [`Self::frozen_as`], or is in blocks, as which it is stored: [`rows_of_table`] reads both.
    pub(crate) fn get_table(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        let weights = self.frozen_type()?;
        if let Some(blocks) = self.stored_blocks(name, shape)? {
            return Ok(blocks);
        }
        self.get_as(name, shape, init, |tensor| weights.of(tensor, false))
    }

    /// As [`Self::get_table`], for a table of embeddings, of which rows may be trained alone.
    pub(crate) fn get_embeddings(
        &mut self,
        name: &str,
        shape: &[usize],
        init: Init,
    ) -> Result<Table> {
        let is_apart = Group::of(name) == Group::Embeddings
            && self.trainable.contains(&Group::Embeddings)
            && !self.trainable.contains(&Group::Language)
            && self.compute.is_ours();
        let Some(rows) = self.rows_alone.clone().filter(|_| is_apart) else {
            return Ok(Table::whole(self.get_table(name, shape, init)?));
        };
        // As it is where nothing is trained, then with its rows.
        let trainable = std::mem::take(&mut self.trainable);
        let weight = self.get_as(name, shape, init, |tensor| Ok(tensor.clone()));
        self.trainable = trainable;
        let (table, variable) = Table::with_rows(&weight?, &rows)?;
        self.handed_out
            .insert(name.to_owned(), table.weight.clone());
        self.variables.insert(name.to_owned(), variable);
        Ok(table)
    }

    /// As [`Self::get_table`], for the weight `[out, in]` of a map.
    pub(crate) fn get_map(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        let weights = self.frozen_type()?;
        if let Some(blocks) = self.stored_blocks(name, shape)? {
            return Ok(blocks);
        }
        self.get_as(name, shape, init, |tensor| weights.of(tensor, true))
    }

    /// As [`Self::get_map`], for a weight that is stored as `[in, out]`: it is given as `[out, in]`.
    /// Where it is frozen, it lies so in memory, which products with few rows read in one go.
    pub(crate) fn get_turned(&mut self, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
        let weights = self.frozen_type()?;
        if let Some(blocks) = self.stored_blocks(name, shape)? {
            return Ok(blocks);
        }
        if self.is_trainable(name) || matches!(self.missing, Missing::Describe) {
            return Ok(self.get(name, shape, init)?.t()?);
        }
        let tensor = self.get_as(name, shape, init, |tensor| Ok(tensor.clone()))?;
        let turned = weights.of(&tensor.t()?.contiguous()?, true)?;
        // By its own name and shape, where it can be turned back.
        let own = if turned.dtype() == DType::U8 {
            turned.clone()
        } else {
            turned.t()?
        };
        self.handed_out.insert(name.to_owned(), own);
        Ok(turned)
    }

    fn get_as(
        &mut self,
        name: &str,
        shape: &[usize],
        init: Init,
        frozen: impl Fn(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let is_trainable = self.is_trainable(name);
        let found = match (self.find(name)?, self.missing) {
            (Some(tensor), _) => {
                if !tensor.dtype().is_float() {
                    return Err(Error::TensorType {
                        file: self.origin.clone(),
                        name: name.to_owned(),
                        found: tensor.dtype().as_str().to_owned(),
                    });
                }
                self.check_shape(name, tensor.dims().to_vec(), shape)?;
                tensor
            }
            (None, Missing::Draw(seed)) => draw(seed, name, shape, init)?,
            (None, Missing::Describe) => {
                Tensor::zeros((), DType::F32, &Device::Cpu)?.broadcast_as(shape)?
            }
            (None, Missing::Refuse) => {
                return Err(Error::MissingTensor {
                    file: self.origin.clone(),
                    name: name.to_owned(),
                });
            }
        };
        let device = self.compute.device();
        let tensor = if is_trainable {
            let found = found.to_device(device)?;
            let variable = Var::from_tensor(&found.to_dtype(DType::F32)?)?;
            self.variables.insert(name.to_owned(), variable.clone());
            variable.as_tensor().clone()
        } else {
            // Rounded first: half as much goes to the device.
            frozen(&found)?.to_device(device)?.detach()
        };
        self.handed_out.insert(name.to_owned(), tensor.clone());
        Ok(tensor)
    }

    fn is_trainable(&self, name: &str) -> bool {
        let group = Group::of(name);
        self.trainable.contains(&group)
            // Training the language model trains its whole table.
            || (group == Group::Embeddings && self.trainable.contains(&Group::Language))
    }

    /// The variables handed out so far, by name.
    #[must_use]
    pub fn variables(&self) -> &BTreeMap<String, Var> {
        &self.variables
    }

    /// Everything handed out and, of that, the variables, both by name.
    pub(crate) fn into_parts(self) -> (BTreeMap<String, Tensor>, BTreeMap<String, Var>) {
        (self.handed_out, self.variables)
    }
}

fn draw(seed: u64, name: &str, shape: &[usize], init: Init) -> Result<Tensor> {
    let count = shape.iter().product();
    let values = match init {
        Init::Zeros => vec![0.0; count],
        Init::Ones => vec![1.0; count],
        Init::Constant { value } => vec![value as f32; count],
        Init::Normal { deviation } => normal_values(seed ^ name_hash(name), count, deviation),
    };
    Ok(Tensor::from_vec(values, shape, &Device::Cpu)?)
}

/// FNV-1a (Fowler, Noll, Vo), 64 bits: spreads names over seeds, the same on every machine.
fn name_hash(name: &str) -> u64 {
    name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}

/// Independent normal values by the Box-Muller transform.
fn normal_values(seed: u64, count: usize, deviation: f64) -> Vec<f32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    let mut values = Vec::with_capacity(count + 1);
    while values.len() < count {
        // 1 - u lies in (0, 1], where the logarithm is finite.
        let radius = (-2.0 * (1.0 - random.random::<f64>()).ln()).sqrt() * deviation;
        let angle = random.random::<f64>() * std::f64::consts::TAU;
        values.push((radius * angle.cos()) as f32);
        values.push((radius * angle.sin()) as f32);
    }
    values.truncate(count);
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_draw_depends_on_seed_and_name_only() {
        let init = Init::Normal { deviation: 1.0 };
        let values = |seed, name: &str, before: &[&str]| {
            let mut store = ParameterStore::seeded(seed);
            for other in before {
                store.get(other, &[3], init).unwrap();
            }
            let tensor = store.get(name, &[4], init).unwrap();
            tensor.to_vec1::<f32>().unwrap()
        };
        assert_eq!(values(7, "a", &[]), values(7, "a", &["b", "c"]));
        assert_ne!(values(7, "a", &[]), values(8, "a", &[]));
        assert_ne!(values(7, "a", &[]), values(7, "b", &[]));
    }

    #[test]
    fn normal_draws_have_the_asked_deviation() {
        let values = normal_values(1, 20_000, 0.5);
        let mean = values.iter().sum::<f32>() / 20_000.0;
        let variance = values.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 20_000.0;
        assert!(mean.abs() < 0.02, "{mean}");
        assert!((variance.sqrt() - 0.5).abs() < 0.02, "{variance}");
    }

    #[test]
    fn a_weight_that_is_no_number_is_named() {
        let store = |last: f32| {
            let tensor = Tensor::new(&[1.0, f32::MAX, last], &Device::Cpu).unwrap();
            ParameterStore::from_tensors(BTreeMap::from([("w".to_owned(), tensor)]), "file")
        };
        assert!(store(f32::MIN).check_finite().is_ok());
        for last in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            let message = store(last).check_finite().unwrap_err().to_string();
            assert!(message.contains("tensor `w`"), "{message}");
        }
    }

    #[test]
    fn what_is_trained_is_not_rounded_to_the_type_computed_in() {
        let name = "perceiver.layers.0.0.to_q.weight";
        let handed_out = |trainable: &[Group]| {
            let store = ParameterStore::seeded(1).on(&Compute::in_type(DType::BF16));
            let mut store = store.trainable(trainable);
            store.get_map(name, &[2, 2], Init::Ones).unwrap();
            let (tensors, _) = store.into_parts();
            ParameterStore::from_tensors(tensors, "model")
                .on(&Compute::in_type(DType::BF16))
                .trainable(&[Group::Resampler])
        };
        assert!(handed_out(&[Group::Resampler]).check_unrounded().is_ok());
        let refused = handed_out(&[]).check_unrounded().unwrap_err();
        let message = refused.to_string();
        assert!(
            message.contains(name) && message.contains("bf16"),
            "{message}"
        );
    }

    #[test]
    fn a_wrong_shape_is_refused_with_both_shapes() {
        let tensor = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
        let tensors = BTreeMap::from([("w".to_owned(), tensor)]);
        let mut store = ParameterStore::from_tensors(tensors, "file.safetensors");
        let message = store
            .get("w", &[3, 2], Init::Zeros)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("[2, 3]") && message.contains("[3, 2]"),
            "{message}"
        );
        let message = store.get("v", &[1], Init::Zeros).unwrap_err().to_string();
        assert!(message.contains("no tensor `v`"), "{message}");
    }

    #[test]
    fn weights_of_another_type_are_refused() {
        let tensor = Tensor::zeros(2, DType::I64, &Device::Cpu).unwrap();
        let tensors = BTreeMap::from([("w".to_owned(), tensor)]);
        let mut store = ParameterStore::from_tensors(tensors, "file.safetensors");
        let error = store.get("w", &[2], Init::Zeros).unwrap_err();
        let message = error.to_string();
        assert!(
            message.starts_with("file.safetensors: tensor `w` holds i64"),
            "{message}"
        );
    }

    #[test]
    fn damaged_files_are_refused_by_name() {
        let header = |length: u64, text: &str| [&length.to_le_bytes(), text.as_bytes()].concat();
        let too_many =
            r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#;
        let other_size = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#;
        let cases = [
            ("empty", vec![]),
            ("short", vec![0; 7]),
            ("the longest header", header(u64::MAX, "{}")),
            ("a header past the end", header(100, "{}")),
            ("no JSON", header(4, "none")),
            (
                "a shape that overflows",
                header(too_many.len() as u64, too_many),
            ),
            (
                "a shape of another size",
                header(other_size.len() as u64, other_size),
            ),
        ];
        for (what, bytes) in cases {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("weights.safetensors");
            std::fs::write(&path, bytes).unwrap();
            let Err(error) = ParameterStore::from_file(&path) else {
                panic!("{what} was read");
            };
            let message = error.to_string();
            assert!(
                message.contains("weights.safetensors: not a readable"),
                "{what}: {message}"
            );
        }
    }
}
