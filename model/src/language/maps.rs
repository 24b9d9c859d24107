//! A layer's linear maps, as each family stores them.

use candle_core::Tensor;

use super::config::{Family, LanguageConfig, LoraTarget};
use super::names::{Names, QueryKeyValueNames};
use crate::init::{Init, ParameterStore};
use crate::linear::{Linear, Stacked};
use crate::{Error, Result};

/// Maps to queries, keys and values.
pub(super) enum QueryKeyValue {
    Apart(Maps),
    /// For each head its queries, keys and values.
    InHeads(Linear),
}

/// Three maps, one behind the other.
pub(super) enum Maps {
    Separate([Linear; 3]),
    Stacked(Stacked<3>),
}

impl Maps {
    /// What they make of normalised `[B, T, width]`, `[B, T, out]` each.
    pub(super) fn forward(&self, normal: &Tensor) -> Result<[Tensor; 3]> {
        let [queries, keys, values] = match self {
            Self::Separate(maps) => maps,
            Self::Stacked(maps) => maps.parts(),
        };
        Ok([
            queries.forward(normal)?,
            keys.forward(normal)?,
            values.forward(normal)?,
        ])
    }
}

impl QueryKeyValue {
    pub(super) fn new(
        config: &LanguageConfig,
        names: &Names,
        parameters: &mut ParameterStore,
        name: &str,
    ) -> Result<Self> {
        let width = config.width;
        let attended = config.heads * config.head_channels();
        let key_width = config.key_value_head_count() * config.head_channels();
        let has_bias = config.biases.on_query_key_value();
        let mut map = |part: &str, outputs| {
            let name = format!("{name}.{part}");
            let shape = [outputs, width];
            let mut linear = linear(config, parameters, &name, shape, 1.0, has_bias)?;
            let target = LoraTarget::QueryKeyValue;
            add_update(config, &mut linear, parameters, &name, shape, target)?;
            Ok::<_, Error>(linear)
        };
        match names.query_key_value {
            QueryKeyValueNames::Separate([queries, keys, values]) => {
                Ok(Self::Apart(Maps::Separate([
                    map(queries, attended)?,
                    map(keys, key_width)?,
                    map(values, key_width)?,
                ])))
            }
            QueryKeyValueNames::Stacked(part) => Ok(Self::Apart(Maps::Stacked(Stacked::thirds(
                map(part, 3 * attended)?,
            )?))),
            QueryKeyValueNames::StackedInHeads(part) => Ok(Self::InHeads(map(part, 3 * attended)?)),
        }
    }
}

/// A linear map of a layer. GPT-2 stores its weights as `[in, out]`.
pub(super) fn linear(
    config: &LanguageConfig,
    parameters: &mut ParameterStore,
    name: &str,
    [outputs, inputs]: [usize; 2],
    scale: f64,
    has_bias: bool,
) -> Result<Linear> {
    let mut linear = if config.family == Family::Gpt2 {
        let init = Init::fan_in(inputs, scale);
        let weight = parameters.get_turned(&format!("{name}.weight"), &[inputs, outputs], init)?;
        Linear::new(weight, None)
    } else {
        Linear::without_bias(parameters, name, [outputs, inputs], scale)?
    };
    if has_bias {
        linear.add_bias(parameters, name)?;
    }
    Ok(linear)
}

/// The update of low rank that a configuration gives to maps of this kind.
pub(super) fn add_update(
    config: &LanguageConfig,
    linear: &mut Linear,
    parameters: &mut ParameterStore,
    name: &str,
    [_, inputs]: [usize; 2],
    target: LoraTarget,
) -> Result<()> {
    match &config.lora {
        Some(lora) if lora.targets.contains(&target) => {
            linear.add_update(parameters, name, inputs, lora)
        }
        _ => Ok(()),
    }
}
