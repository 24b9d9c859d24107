//! Parameters by name: drawn from a seed, read from a file, frozen or trainable.
//!
//! Modules ask a [`ParameterStore`] for each weight by the name it has in published checkpoints.
//! A weight found in the store is checked and handed out; one that is not is drawn from
//! a generator seeded by (seed, name), so a model's first weights depend neither on the order of
//! construction nor on the machine (candle's own generator on the CPU cannot be seeded).

mod draws;
mod language_file;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use candle_core::safetensors::{Load, MmapedSafetensors};
use candle_core::{DType, Device, Tensor, Var};

use crate::compute::Compute;
use crate::group::Group;
use crate::language::GgufLanguage;
use crate::table::Table;
use crate::tensor_file::{is_safetensors, map_safetensors};
use crate::torch::read_torch;
use crate::weight_type::WeightType;
use crate::{Error, Result};

pub(crate) use draws::Init;
pub(crate) use language_file::rows_of_table;

use draws::draw;

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
            && !self.trainable.contains(&Group::Language);
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

#[cfg(test)]
mod tests;
