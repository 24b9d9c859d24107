//! Idefics (Laurençon et al. 2023, arXiv 2306.16527), published whole in one folder.

mod config;
mod names;

use std::collections::BTreeMap;

use candle_core::{DType, Tensor};
use serde_json::Value;

use super::{Assembled, ImportSummary, StoredTensor};
use crate::Error;
use crate::config::Config;
use crate::describe::Description;
use names::{Part, Tables};

/// How names end of numbers that are computed here instead.
const COMPUTED: [&str; 2] = [".rotary_emb.inv_freq", ".embeddings.position_ids"];

/// Names the tensors of a folder of Idefics (see [`read_folder`](super::read_folder)) as here, those one
/// on the other that are one here. Its `config.json` says the sizes; `adjust` may change them before
/// tensors are looked for.
///
/// # Errors
/// The `config.json` asks for something that is not built, a tensor has another shape than it says or
/// holds no floating point numbers, or `adjust` fails.
pub fn assemble_idefics<E: From<Error>>(
    mut stored: BTreeMap<String, StoredTensor>,
    config_json: &Value,
    adjust: impl FnOnce(Config) -> Result<Config, E>,
) -> Result<Assembled, E> {
    let config = adjust(Config::from_idefics(config_json)?)?;
    let tables = Tables::of(config_json)?;
    let mut summary = ImportSummary::default();
    let mut tensors = BTreeMap::new();
    for parameter in Description::of(&config)?.parameters {
        let parts = names::parts(&parameter.name, &parameter.shape, &config, tables);
        let mut found = Vec::new();
        for part in &parts {
            match stored.remove(&part.name) {
                Some(stored) => found.push(checked(stored, part)?),
                None => summary
                    .missing
                    .push((part.name.clone(), part.shape.clone())),
            }
        }
        if found.len() < parts.len() {
            continue;
        }
        let tensor = joined(&found)
            .and_then(|tensor| tensor.reshape(parameter.shape.as_slice()))
            .map_err(Error::from)?;
        let place = (parameter.group, "checkpoint");
        let (count, numbers) = summary.found.entry(place).or_default();
        *count += 1;
        *numbers += tensor.elem_count();
        tensors.insert(parameter.name, tensor);
    }
    summary.unused = stored
        .into_iter()
        .filter(|(name, _)| !COMPUTED.iter().any(|ending| name.ends_with(ending)))
        .map(|(name, stored)| (name, stored.tensor.dims().to_vec()))
        .collect();
    Ok(Assembled {
        config,
        tensors,
        language_file: None,
        summary,
    })
}

/// The tensor of a part, if it is what the part should be.
fn checked(stored: StoredTensor, part: &Part) -> Result<Tensor, Error> {
    let StoredTensor { tensor, file } = stored;
    let file = file.display().to_string();
    if tensor.dims() != part.shape {
        return Err(Error::TensorShape {
            file,
            name: part.name.clone(),
            expected: part.shape.clone(),
            found: tensor.dims().to_vec(),
        });
    }
    if !tensor.dtype().is_float() {
        return Err(Error::TensorType {
            file,
            name: part.name.clone(),
            found: tensor.dtype().as_str().to_owned(),
        });
    }
    Ok(tensor)
}

/// One on the other, as f32 where they are of several types.
fn joined(parts: &[Tensor]) -> candle_core::Result<Tensor> {
    if let [one] = parts {
        return Ok(one.clone());
    }
    if parts
        .windows(2)
        .all(|pair| pair[0].dtype() == pair[1].dtype())
    {
        return Tensor::cat(parts, 0);
    }
    let wide: Vec<Tensor> = parts
        .iter()
        .map(|part| part.to_dtype(DType::F32))
        .collect::<candle_core::Result<_>>()?;
    Tensor::cat(&wide, 0)
}
