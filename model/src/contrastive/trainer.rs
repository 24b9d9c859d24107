//! One step of pretraining after another, and its checkpoints.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::adaptive::clip_units;
use super::{ContrastiveConfig, DualEncoder, Pairs, PretrainConfig};
use crate::Result;
use crate::compute::Compute;
use crate::group::Group;
use crate::init::ParameterStore;
use crate::tensor_file::read_tensors;
use crate::train::{
    AdamW, CONFIG_FILE, Gradients, MODEL_FILE, OPTIMIZER_FILE, TRAINING_FILE, Update,
    content_error, file_error, on_deep_stack, replace_directory, write_file, write_tensors,
};

/// The logarithm of 100, the largest inverse temperature.
const MOST_LOGIT_SCALE: f32 = 4.605_170_2;

/// Where the vision encoder stands among the parameters.
const VISION_PREFIX: &str = "vision_encoder.";

/// Encoders in pretraining.
///
/// Memory: the encoders once, two numbers of optimiser state and one gradient for each of theirs, and
/// the graph of one batch: a contrastive loss needs its whole batch at once.
pub struct ContrastiveTrainer {
    model: DualEncoder,
    config: PretrainConfig,
    optimizer: AdamW,
    steps: usize,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
pub struct PretrainReport {
    /// The step's number, counted from 1.
    pub step: usize,
    /// The loss of each batch, in nats, in the order given, before weighting.
    pub losses: Vec<f64>,
    /// Norm of the whole gradient before clipping.
    pub gradient_norm: f64,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// The temperature after the step.
    pub temperature: f64,
    /// Whether the step was skipped because a loss or the gradient was not finite. Weights and
    /// optimiser are as before then.
    pub skipped: bool,
}

/// What `config.toml` of a checkpoint holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Encoders {
    encoders: ContrastiveConfig,
}

/// What `training.json` holds.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PretrainingState {
    steps: usize,
    optimizer_updates: usize,
    pretrain: PretrainConfig,
}

impl ContrastiveTrainer {
    /// Starts with weights drawn from `seed`.
    ///
    /// # Errors
    /// A configuration makes no sense.
    pub fn new(
        encoders: &ContrastiveConfig,
        config: PretrainConfig,
        seed: u64,
        compute: &Compute,
    ) -> Result<Self> {
        config.validate()?;
        let store = unrounded(ParameterStore::seeded(seed), compute);
        let model = DualEncoder::new(encoders, config.temperature, store)?.trainable()?;
        let optimizer = AdamW::new(model.variables(), compute)?;
        Ok(Self {
            model,
            config,
            optimizer,
            steps: 0,
        })
    }

    /// The encoders as they are now.
    #[must_use]
    pub fn model(&self) -> &DualEncoder {
        &self.model
    }

    /// Steps taken so far, skipped ones included.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Takes one step: the gradients of all batches, each times its weight, are summed and make one
    /// update. Captions compete within their batch.
    ///
    /// # Errors
    /// The pairs do not fit the encoders.
    pub fn step(&mut self, batches: &[(&Pairs, f64)]) -> Result<PretrainReport> {
        let mut losses = Vec::with_capacity(batches.len());
        let mut gradients = Gradients::default();
        for (pairs, weight) in batches {
            let (loss, found) = on_deep_stack(|| self.gradients(pairs, *weight))?;
            losses.push(loss);
            gradients.add(found)?;
        }
        let gradient_norm = gradients.norm(|_| true)?;
        let learning_rate = self.config.rates().at(self.steps);
        let is_finite = gradient_norm.is_finite() && losses.iter().all(|loss| loss.is_finite());
        if is_finite {
            self.clip(&mut gradients)?;
            let config = &self.config;
            let update = Update {
                learning_rate,
                betas: config.betas,
                epsilon: config.epsilon,
            };
            let variables = self.model.variables();
            self.optimizer
                .update(variables, &gradients, update, |name, rank| {
                    if is_decayed(name, rank) {
                        config.weight_decay
                    } else {
                        0.0
                    }
                })?;
            self.model.limit_logit_scale(MOST_LOGIT_SCALE)?;
        }
        self.steps += 1;
        Ok(PretrainReport {
            step: self.steps,
            losses,
            gradient_norm,
            learning_rate,
            temperature: self.model.temperature()?,
            skipped: !is_finite,
        })
    }

    fn gradients(&self, pairs: &Pairs, weight: f64) -> Result<(f64, Gradients)> {
        let loss = self.model.loss(pairs, self.config.label_smoothing)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        let mut store = (loss * weight)?.backward()?;
        let mut gradients = Gradients::default();
        for (name, variable) in self.model.variables() {
            if let Some(gradient) = store.remove(variable) {
                gradients.insert(name, &gradient)?;
            }
        }
        Ok((value, gradients))
    }

    /// An NFNet's gradient by unit, all else by its norm. The map behind the network is its last
    /// layer, which is not clipped by unit (Brock et al. 2021, section 3.1).
    fn clip(&self, gradients: &mut Gradients) -> Result<()> {
        let is_by_unit = |name: &str| {
            self.model.config().vision.nfnet.is_some() && name.starts_with(VISION_PREFIX)
        };
        let most = self.config.adaptive_clip;
        for (name, variable) in self.model.variables() {
            if let Some(gradient) = gradients.get(name).filter(|_| is_by_unit(name)) {
                let clipped = clip_units(&gradient.slopes, variable, most)?;
                gradients.insert(name, &clipped)?;
            }
        }
        let norm = gradients.norm(|name| !is_by_unit(name))?;
        gradients.clip(norm, self.config.clip_norm, |name| !is_by_unit(name));
        Ok(())
    }

    /// Saves encoders and training state; replaces `directory` if it exists.
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
            write_tensors(&partial.join(MODEL_FILE), self.model.parameters())?;
            let path = partial.join(CONFIG_FILE);
            let encoders = self.model.config().clone();
            let text = toml::to_string(&Encoders { encoders }).map_err(content_error(&path))?;
            write_file(&path, text.as_bytes())?;
            let moments = self.optimizer.tensors(self.model.variables())?;
            write_tensors(&partial.join(OPTIMIZER_FILE), &moments)?;
            let path = partial.join(TRAINING_FILE);
            let state = PretrainingState {
                steps: self.steps,
                optimizer_updates: self.optimizer.updates(),
                pretrain: self.config.clone(),
            };
            let text = serde_json::to_vec_pretty(&state).map_err(content_error(&path))?;
            write_file(&path, &text)
        })
    }

    /// Goes on from a saved state, under the configuration saved with it. On the CPU, steps after
    /// this give the same bits as if pretraining had never stopped.
    ///
    /// # Errors
    /// A file is missing or damaged, or the files do not fit together.
    pub fn load(directory: &Path, compute: &Compute) -> Result<Self> {
        let path = directory.join(TRAINING_FILE);
        let bytes = fs::read(&path).map_err(file_error(&path))?;
        let state: PretrainingState =
            serde_json::from_slice(&bytes).map_err(content_error(&path))?;
        let path = directory.join(CONFIG_FILE);
        let text = fs::read_to_string(&path).map_err(file_error(&path))?;
        let config: Encoders = toml::from_str(&text).map_err(content_error(&path))?;
        let store = ParameterStore::from_file(&directory.join(MODEL_FILE))?;
        store.check_finite()?;
        let store = unrounded(store, compute);
        let model = DualEncoder::new(&config.encoders, 1.0, store)?.trainable()?;
        let path = directory.join(OPTIMIZER_FILE);
        let optimizer = AdamW::from_tensors(
            state.optimizer_updates,
            model.variables(),
            &read_tensors(&path)?,
            &path.display().to_string(),
            compute,
        )?;
        Ok(Self {
            model,
            config: state.pretrain,
            optimizer,
            steps: state.steps,
        })
    }
}

/// Weights of which all are trained, so that none is rounded.
fn unrounded(store: ParameterStore, compute: &Compute) -> ParameterStore {
    store.on(compute).trainable(&Group::ALL)
}

/// Whether weight decay applies to a parameter: to matrices, not to tables of positions.
fn is_decayed(name: &str, rank: usize) -> bool {
    let is_table =
        name.ends_with(".positional_embedding") || name.ends_with(".position_embeddings.weight");
    rank > 1 && !is_table
}
