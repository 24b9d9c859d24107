//! Parameters of a language model that stay in its own file until they are asked for.

use std::collections::BTreeSet;
use std::sync::Arc;

use candle_core::{DType, Tensor};

use super::ParameterStore;
use crate::fused::Widened;
use crate::language::GgufLanguage;
use crate::weight_type::WeightType;
use crate::{Error, Result};

impl ParameterStore {
    /// Weights of the language model that are nowhere else come from its own file. Each is read when it is
    /// asked for; what the file has in blocks of 8 bits ([`WeightType::Int8`]) can be held as it is.
    #[must_use]
    pub fn with_language(mut self, language: GgufLanguage) -> Self {
        self.language = Some(Arc::new(language));
        self
    }

    /// Names of all that was put in.
    pub fn names(&self) -> BTreeSet<String> {
        let mapped = self.mapped.iter().flat_map(|mapped| mapped.tensors());
        let mut names: BTreeSet<String> = mapped.map(|(name, _)| name).collect();
        names.extend(self.tensors.keys().cloned());
        let language = self.language.iter().flat_map(|language| language.shapes());
        names.extend(language.map(|(name, _)| name.to_owned()));
        names
    }

    /// Whether a tensor of this name is in memory or in the mapped file, which come before the language
    /// model's own.
    fn has_own(&self, name: &str) -> bool {
        let mapped = self.mapped.as_ref();
        self.tensors.contains_key(name) || mapped.is_some_and(|mapped| mapped.get(name).is_ok())
    }

    /// The parameter `name`, `[out, in]`, as blocks of 8 bits, if it is frozen, to be held so, and stored
    /// so; else `None`. `shape` is that of its own name.
    pub(super) fn stored_blocks(&mut self, name: &str, shape: &[usize]) -> Result<Option<Tensor>> {
        let is_held = self.frozen_type()? == WeightType::Int8 && !self.is_trainable(name);
        let Some(language) = self.language.as_ref().filter(|_| is_held) else {
            return Ok(None);
        };
        if self.has_own(name) {
            return Ok(None);
        }
        let Some(blocks) = language.blocks(name)? else {
            return Ok(None);
        };
        self.check_shape(name, language.shape(name).unwrap_or_default(), shape)?;
        self.handed_out.insert(name.to_owned(), blocks.clone());
        Ok(Some(blocks))
    }

    pub(super) fn check_shape(
        &self,
        name: &str,
        found: Vec<usize>,
        expected: &[usize],
    ) -> Result<()> {
        if found == expected {
            return Ok(());
        }
        Err(Error::TensorShape {
            file: self.file_of(name),
            name: name.to_owned(),
            expected: expected.to_vec(),
            found,
        })
    }

    /// Where the tensor of this name came from, for messages.
    pub(super) fn file_of(&self, name: &str) -> String {
        match &self.language {
            Some(language) if !self.has_own(name) && language.shape(name).is_some() => {
                language.path().display().to_string()
            }
            _ => self.origin.clone(),
        }
    }
}

/// Rows `ids` [N] of a table `[rows, width]` that a [`ParameterStore`] gave, `[N, width]` of this type.
pub(crate) fn rows_of_table(table: &Tensor, ids: &Tensor, dtype: DType) -> Result<Tensor> {
    let rows = table.index_select(ids, 0)?;
    let rows = match rows.dtype() {
        DType::U8 => rows.apply_op1_no_bwd(&Widened)?,
        _ => rows,
    };
    Ok(rows.to_dtype(dtype)?)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::path::Path;

    use super::*;

    fn store(weights: WeightType) -> ParameterStore {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/gguf");
        let language = GgufLanguage::open(&folder.join("llama_q8_0.gguf")).unwrap();
        let store = ParameterStore::from_tensors(BTreeMap::new(), "nothing");
        store.with_language(language).frozen_as(weights)
    }

    #[test]
    fn blocks_of_a_file_are_held_to_the_bit() {
        let name = "lang_encoder.model.layers.1.decoder_layer.mlp.down_proj.weight";
        let held = store(WeightType::Int8);
        let file = held.language.as_ref().unwrap();
        let stored = file.blocks(name).unwrap().unwrap();
        let mut held = store(WeightType::Int8);
        let init = crate::init::Init::Zeros;
        let found = held.get_map(name, &[32, 64], init).unwrap();
        assert_eq!(found.dtype(), DType::U8);
        let bytes = |tensor: &Tensor| tensor.flatten_all().unwrap().to_vec1::<u8>().unwrap();
        assert_eq!(bytes(&found), bytes(&stored));
        // As wide numbers they are those that the file's are.
        let wide = store(WeightType::F32)
            .get_map(name, &[32, 64], init)
            .unwrap();
        let widened = found.apply_op1_no_bwd(&Widened).unwrap();
        assert_eq!(
            widened.to_vec2::<f32>().unwrap(),
            wide.to_vec2::<f32>().unwrap()
        );
    }

    #[test]
    fn another_shape_is_refused_by_the_files_name() {
        let name = "lang_encoder.model.norm.weight";
        let init = crate::init::Init::Zeros;
        let message = store(WeightType::F32)
            .get(name, &[31], init)
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("llama_q8_0.gguf") && message.contains("[32]"),
            "{message}"
        );
    }
}
