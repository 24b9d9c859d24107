//! AdamW (Loshchilov and Hutter 2019) whose state can be saved.

use std::collections::BTreeMap;

use candle_core::{Tensor, Var};

use super::TrainConfig;
use super::gradients::Gradients;
use super::moments::{Moments, Move};
use crate::compute::Compute;
use crate::group::Group;
use crate::{Error, Result};

/// The optimiser's memory: two averages for each trained number, 8 bytes together, where the model
/// computes.
pub(crate) struct AdamW {
    /// Updates made.
    updates: usize,
    moments: BTreeMap<String, Moments>,
}

/// How far one update goes.
#[derive(Clone, Copy)]
pub(crate) struct Update {
    pub(crate) learning_rate: f64,
    /// Averaging of the gradient and of its square.
    pub(crate) betas: [f64; 2],
    /// Added to the root of the averaged square.
    pub(crate) epsilon: f64,
}

impl AdamW {
    pub(crate) fn new(variables: &BTreeMap<String, Var>, compute: &Compute) -> Result<Self> {
        let moments = variables.iter().map(|(name, variable)| {
            let moments = Moments::zeros(variable, compute.is_ours())?;
            Ok((name.clone(), moments))
        });
        Ok(Self {
            updates: 0,
            moments: moments.collect::<Result<_>>()?,
        })
    }

    pub(crate) fn updates(&self) -> usize {
        self.updates
    }

    /// Moves each variable against its gradient; one without a gradient stays as it is. `decay_of`
    /// gives the weight decay of a parameter by its name and how many dimensions it has.
    pub(crate) fn update(
        &mut self,
        variables: &BTreeMap<String, Var>,
        gradients: &Gradients,
        update: Update,
        decay_of: impl Fn(&str, usize) -> f64,
    ) -> Result<()> {
        self.updates += 1;
        let Update {
            learning_rate,
            betas,
            epsilon,
        } = update;
        let [correction1, correction2] = betas.map(|beta| 1.0 - beta.powi(self.updates as i32));
        for (name, variable) in variables {
            let (Some(gradient), Some(moments)) = (gradients.get(name), self.moments.get_mut(name))
            else {
                continue;
            };
            let decay = decay_of(name, variable.rank());
            let how = Move {
                keep: betas.map(|beta| beta as f32),
                take: betas.map(|beta| (1.0 - beta) as f32),
                step: (learning_rate / correction1) as f32,
                root_correction: correction2.sqrt() as f32,
                epsilon: epsilon as f32,
                shrink: (1.0 - learning_rate * decay) as f32,
            };
            moments.apply(how, gradient, variable)?;
        }
        Ok(())
    }

    /// The averages as tensors, in the variables' shapes, on the CPU.
    pub(crate) fn tensors(
        &self,
        variables: &BTreeMap<String, Var>,
    ) -> Result<BTreeMap<String, Tensor>> {
        let mut tensors = BTreeMap::new();
        for (name, variable) in variables {
            if let Some(moments) = self.moments.get(name) {
                for (which, tensor) in WHICH.into_iter().zip(moments.tensors(variable.shape())?) {
                    tensors.insert(format!("{which}.{name}"), tensor);
                }
            }
        }
        Ok(tensors)
    }

    /// The inverse of [`Self::tensors`]; `origin` names the file in messages.
    pub(crate) fn from_tensors(
        updates: usize,
        variables: &BTreeMap<String, Var>,
        tensors: &BTreeMap<String, Tensor>,
        origin: &str,
        compute: &Compute,
    ) -> Result<Self> {
        let read = |which: &str, name: &str, variable: &Var| -> Result<Tensor> {
            let name = format!("{which}.{name}");
            let Some(tensor) = tensors.get(&name) else {
                return Err(Error::MissingTensor {
                    file: origin.to_owned(),
                    name,
                });
            };
            if tensor.dims() != variable.dims() {
                return Err(Error::TensorShape {
                    file: origin.to_owned(),
                    name,
                    expected: variable.dims().to_vec(),
                    found: tensor.dims().to_vec(),
                });
            }
            Ok(tensor.clone())
        };
        let moments = variables
            .iter()
            .map(|(name, variable)| {
                let [first, second] = WHICH.map(|which| read(which, name, variable));
                let device = variable.device();
                let moments = Moments::from_tensors([first?, second?], device, compute.is_ours())?;
                Ok((name.clone(), moments))
            })
            .collect::<Result<_>>()?;
        Ok(Self { updates, moments })
    }
}

/// What the averages of the gradient and of its square are called in a file.
const WHICH: [&str; 2] = ["first", "second"];

/// The weight decay of a parameter: of matrices of the gated blocks, and of vision encoder, language
/// model and its updates of low rank where those are trained.
pub(crate) fn weight_decay(name: &str, rank: usize, config: &TrainConfig) -> f64 {
    if is_decayed(name, rank, config) {
        config.weight_decay
    } else {
        0.0
    }
}

fn is_decayed(name: &str, rank: usize, config: &TrainConfig) -> bool {
    match Group::of(name) {
        Group::Resampler | Group::Embeddings => false,
        Group::Vision | Group::GatedXattn | Group::Language | Group::Lora => {
            // `positional_embedding` is the one table among the matrices.
            config.decay_norms_and_gates || (rank > 1 && !name.ends_with(".positional_embedding"))
        }
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{DType, Device};

    use super::*;

    fn variable(values: &[f32]) -> Var {
        // Two dimensions: a matrix, which is decayed.
        Var::from_slice(values, (1, values.len()), &Device::Cpu).unwrap()
    }

    const NAME: &str = "lang_encoder.model.layers.0.gated_cross_attn_layer.attn.to_q.weight";

    #[test]
    fn two_updates_agree_with_a_calculation_by_hand() {
        for dtype in [DType::F32, DType::F64] {
            two_updates(&Compute::in_type(dtype));
        }
    }

    /// Where our own operation moves the weights, and where candle's do.
    fn two_updates(compute: &Compute) {
        let config = TrainConfig {
            weight_decay: 0.1,
            ..TrainConfig::default()
        };
        let variables = BTreeMap::from([(NAME.to_owned(), variable(&[1.0, -2.0]))]);
        let mut optimizer = AdamW::new(&variables, compute).unwrap();
        let gradients = |values: [f32; 2]| {
            let mut gradients = Gradients::default();
            gradients.insert(NAME, &variable(&values)).unwrap();
            gradients
        };
        let now = || {
            variables[NAME]
                .flatten_all()
                .unwrap()
                .to_vec1::<f32>()
                .unwrap()
        };
        // First update: the corrected averages are g and g^2, so each value is multiplied by
        // 1 - 0.01 * 0.1 and moves by 0.01 against the sign of its gradient.
        let update = Update {
            learning_rate: 0.01,
            betas: [0.9, 0.99],
            epsilon: 1e-8,
        };
        let decay = |name: &str, rank: usize| weight_decay(name, rank, &config);
        optimizer
            .update(&variables, &gradients([0.5, -4.0]), update, decay)
            .unwrap();
        let expected = [0.999 - 0.01, -1.998 + 0.01];
        for (found, expected) in now().iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        }
        // Second update, first value, gradient 1: the average of g is
        // (0.9 * 0.05 + 0.1) / (1 - 0.81) = 0.763158, of g^2
        // (0.99 * 0.0025 + 0.01) / (1 - 0.9801) = 0.626884.
        optimizer
            .update(&variables, &gradients([1.0, 0.0]), update, decay)
            .unwrap();
        let expected = 0.989 * 0.999 - 0.01 * 0.763_158 / 0.626_884_f32.sqrt();
        assert!(
            (now()[0] - expected).abs() < 1e-6,
            "{} {expected}",
            now()[0]
        );
    }

    #[test]
    fn only_matrices_outside_resampler_and_embeddings_are_decayed() {
        let config = TrainConfig::default();
        let gate = "lang_encoder.model.layers.0.gated_cross_attn_layer.attn_gate";
        assert!(is_decayed(NAME, 2, &config));
        assert!(!is_decayed(gate, 1, &config));
        assert!(!is_decayed("perceiver.layers.0.0.to_q.weight", 2, &config));
        assert!(!is_decayed(
            "lang_encoder.model.embed_tokens.weight",
            2,
            &config
        ));
        assert!(!is_decayed(
            "vision_encoder.positional_embedding",
            2,
            &config
        ));
        let as_reference = TrainConfig {
            decay_norms_and_gates: true,
            ..config
        };
        assert!(is_decayed(gate, 1, &as_reference));
    }
}
