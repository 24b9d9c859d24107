//! The decoder-only transformer of every family: embeddings, layers, a norm, an output table.

use candle_core::{DType, Tensor};

use super::config::{Family, LanguageConfig};
use super::layer::{self, Layer};
use super::names::Names;
use super::positions::{Distances, Turn, alibi_slopes};
use super::{LanguageModel, LayerCache, Positions};
use crate::compute::Compute;
use crate::init::{Init, ParameterStore, rows_of_table};
use crate::linear::Linear;
use crate::loss::token_losses;
use crate::norm::{Norm, RowNorm};
use crate::table::Table;
use crate::{Error, Result, fused, plain};

/// Deviation of the first embeddings (Radford et al. 2019, released code).
const EMBEDDING_DEVIATION: f64 = 0.02;

/// The decoder.
pub struct Decoder {
    config: LanguageConfig,
    compute: Compute,
    embeddings: Table,
    /// A table of learnt positions, and the row of the first one.
    positions: Option<(Tensor, usize)>,
    /// Maps from a narrower embedding and back to it.
    embedding_maps: Option<[Linear; 2]>,
    layers: Vec<Layer>,
    /// None where each layer ends in a norm.
    norm: Option<Norm>,
    /// What scores tokens, and the same as a map.
    output_table: Table,
    output: Linear,
    slopes: Vec<f32>,
}

impl Decoder {
    /// Builds the decoder from parameters under `prefix` (ends in a dot). Their names are those of
    /// the family, with `decoder_layer` before those of a layer's parts: gated blocks stand beside.
    ///
    /// # Errors
    /// A parameter is missing or has another shape.
    pub fn new(
        config: &LanguageConfig,
        parameters: &mut ParameterStore,
        prefix: &str,
    ) -> Result<Self> {
        let names = Names::of(config.family);
        let embedding_width = config.embedding_width.unwrap_or(config.width);
        let deviation = EMBEDDING_DEVIATION;
        let table = |parameters: &mut ParameterStore, name: &str, rows: usize, width: usize| {
            let name = format!("{prefix}{name}.weight");
            parameters.get_table(&name, &[rows, width], Init::Normal { deviation })
        };
        let vocabulary = config.vocabulary;
        let table_of_tokens = |parameters: &mut ParameterStore, name: &str| {
            let name = format!("{prefix}{name}.weight");
            let shape = [vocabulary, embedding_width];
            if config.tied_output && config.family == Family::GptJ {
                // Scores with a bias come out of the whole table.
                let init = Init::Normal { deviation };
                return Ok(Table::whole(parameters.get_table(&name, &shape, init)?));
            }
            parameters.get_embeddings(&name, &shape, Init::Normal { deviation })
        };
        let embeddings = table_of_tokens(parameters, names.embeddings)?;
        let output_table = if config.tied_output {
            embeddings.clone()
        } else {
            table_of_tokens(parameters, names.output)?
        };
        let mut output = Linear::new(output_table.weight.clone(), None);
        if config.family == Family::GptJ {
            output.add_bias(parameters, &format!("{prefix}{}", names.output))?;
        }
        let positions = match names.positions {
            None => None,
            Some((name, first)) => {
                let rows = config.max_positions + first;
                Some((table(parameters, name, rows, config.width)?, first))
            }
        };
        let embedding_maps = config
            .embedding_width
            .map(|narrow| -> Result<_> {
                let [inwards, outwards] = names.embedding_maps;
                let wide = config.width;
                let mut map = |name: &str, shape| {
                    Linear::without_bias(parameters, &format!("{prefix}{name}"), shape, 1.0)
                };
                Ok([
                    map(inwards, [wide, narrow])?,
                    map(outwards, [narrow, wide])?,
                ])
            })
            .transpose()?;
        let layers = (0..config.layers)
            .map(|layer| {
                let name = format!("{prefix}{}.{layer}.decoder_layer", names.layers);
                Layer::new(config, &names, parameters, &name)
            })
            .collect::<Result<_>>()?;
        let norm = (!config.norms_last)
            .then(|| layer::norm(config, parameters, &format!("{prefix}{}", names.final_norm)))
            .transpose()?;
        let slopes = config
            .alibi_bias_max
            .map(|most| alibi_slopes(config.heads, most))
            .unwrap_or_default();
        Ok(Self {
            config: config.clone(),
            compute: parameters.compute().clone(),
            embeddings,
            positions,
            embedding_maps,
            layers,
            norm,
            output_table,
            output,
            slopes,
        })
    }

    /// Where the layers of this family stand below `lang_encoder.`; gated blocks stand beside them.
    pub(crate) fn layers_path(family: Family) -> &'static str {
        Names::of(family).layers
    }

    /// Where this family's embedding table stands below `lang_encoder.`.
    pub(crate) fn embeddings_path(family: Family) -> &'static str {
        Names::of(family).embeddings
    }

    /// The turn of queries and keys at positions `start .. start + count`: channels `i` and
    /// `i + half` of a head, or in GPT-J `2 i` and `2 i + 1`, turn together by
    /// `position * base^(-i / half)`.
    fn turn(&self, start: usize, count: usize) -> Result<Option<Turn>> {
        let channels = self.config.turning_channels();
        if channels == 0 {
            return Ok(None);
        }
        let stretch = self.config.rotary_stretch.unwrap_or(1.0);
        let rates: Vec<f64> = (0..channels / 2)
            .map(|pair| {
                self.config
                    .rotary_base
                    .powf(-2.0 * pair as f64 / channels as f64)
            })
            .collect();
        // Published models were trained under angles rounded to f32, which are off by 1e-4 at
        // position 2000; ours are not.
        let is_exact = self.config.family == Family::Chinchilla;
        let angles = (start..start + count).flat_map(|position| {
            rates.iter().map(move |rate| {
                let position = position as f64 / stretch;
                if is_exact {
                    position * rate
                } else {
                    f64::from(position as f32 * *rate as f32)
                }
            })
        });
        let (sines, cosines): (Vec<f32>, Vec<f32>) = angles
            .map(|angle| (angle.sin() as f32, angle.cos() as f32))
            .unzip();
        let half = channels / 2;
        let is_interleaved = self.config.family == Family::GptJ;
        if self.compute.is_ours() {
            return Ok(Some(Turn::Fused(fused::Turn {
                cosines: cosines.into(),
                sines: sines.into(),
                half,
                is_interleaved,
                is_inverse: false,
            })));
        }
        let device = self.compute.device();
        Ok(Some(Turn::Plain(plain::Turn {
            cosines: Tensor::from_vec(cosines, (count, half), device)?,
            sines: Tensor::from_vec(sines, (count, half), device)?,
            is_interleaved,
        })))
    }

    /// The last layer's output as the output's map reads it.
    fn before_output(&self, hidden: &Tensor) -> Result<Tensor> {
        let hidden = match &self.norm {
            Some(norm) => norm.forward(hidden)?,
            None => hidden.clone(),
        };
        match &self.embedding_maps {
            Some([_, outwards]) => outwards.forward(&hidden),
            None => Ok(hidden),
        }
    }

    /// Rows of the table of learnt positions for tokens `[B, T]`, `[B, T, width]`.
    fn learnt_positions(
        &self,
        table: &Tensor,
        first: usize,
        positions: &Positions,
    ) -> Result<Tensor> {
        let rows = positions.padding.len().max(1);
        let ids: Vec<u32> = (0..rows)
            .flat_map(|row| {
                let padding = positions.padding.get(row).copied().unwrap_or_default();
                (positions.start..positions.start + positions.count)
                    .map(move |slot| (first + slot.saturating_sub(padding)) as u32)
            })
            .collect();
        let count = ids.len();
        let ids = Tensor::from_vec(ids, count, table.device())?;
        let found = rows_of_table(table, &ids, self.compute.dtype())?;
        Ok(found.reshape((rows, positions.count, self.config.width))?)
    }
}

impl LanguageModel for Decoder {
    fn layer_count(&self) -> usize {
        self.layers.len()
    }

    fn max_positions(&self) -> usize {
        self.config.max_positions
    }

    fn positions(&self, start: usize, count: usize, padding: &[usize]) -> Result<Positions> {
        let longest = self.max_positions();
        if start + count > longest {
            return Err(Error::Input {
                what: "tokens",
                expected: format!("at most {longest} in a row, the model's max_positions"),
                found: (start + count).to_string(),
            });
        }
        let device = self.compute.device();
        let mut positions = Positions::new(start, count, padding, &self.slopes, device)?;
        positions.turn = self.turn(start, count)?;
        if self.config.relative_positions {
            let width = self.config.width;
            positions.distances = Some(Distances::new(start, count, width, device)?);
        }
        Ok(positions)
    }

    fn embed(&self, tokens: &Tensor, positions: &Positions) -> Result<Tensor> {
        let (batch, length) = tokens.dims2()?;
        let vocabulary = self.embeddings.weight.dim(0)?;
        let largest = tokens.flatten_all()?.max(0)?.to_scalar::<u32>()?;
        if largest as usize >= vocabulary {
            return Err(Error::Input {
                what: "tokens",
                expected: format!("ids below {vocabulary}, the model's vocabulary"),
                found: format!("id {largest}: use the tokenizer the model was trained with"),
            });
        }
        let tokens = tokens.flatten_all()?.to_device(self.compute.device())?;
        let rows = self.embeddings.embed(&tokens, self.compute.dtype())?;
        let mut hidden = rows.reshape((batch, length, ()))?;
        if let Some([inwards, _]) = &self.embedding_maps {
            hidden = inwards.forward(&hidden)?;
        }
        if let Some((table, first)) = &self.positions {
            let learnt = self.learnt_positions(table, *first, positions)?;
            hidden = hidden.broadcast_add(&learnt)?;
        }
        Ok(hidden)
    }

    fn layer(
        &self,
        layer: usize,
        hidden: &Tensor,
        positions: &Positions,
        cache: Option<&mut LayerCache>,
    ) -> Result<Tensor> {
        self.layers[layer].forward(hidden, positions, cache)
    }

    fn logits(&self, hidden: &Tensor) -> Result<Tensor> {
        let logits = self.output.forward(&self.before_output(hidden)?)?;
        Ok(logits.to_dtype(DType::F32)?)
    }

    fn losses(&self, hidden: &Tensor, targets: &[u32]) -> Result<Tensor> {
        let hidden = self.before_output(hidden)?;
        if self.config.family == Family::GptJ {
            // The only one with a bias.
            return token_losses(&self.output.forward(&hidden)?, targets);
        }
        self.output_table.losses(&hidden, targets)
    }
}
