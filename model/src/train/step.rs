//! One training step after another.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::TrainConfig;
use super::optimizer::{AdamW, Update, weight_decay};
use crate::flamingo::Flamingo;
use crate::init::Group;
use crate::inputs::Inputs;
use crate::{Error, Result};

/// Stack of the thread that runs a backward pass: candle walks the graph by recursion, a few
/// hundred bytes deep for each of some thousand operations per layer. The kernel provides pages
/// only as they are touched.
const STACK_BYTES: usize = 256 << 20;

/// Keeps the clipping factor finite for a zero gradient, as in PyTorch's `clip_grad_norm_`.
const NORM_EPSILON: f64 = 1e-6;

/// The gradient of each trained parameter, by name.
pub(crate) type Gradients = BTreeMap<String, Vec<f32>>;

/// A model in training.
///
/// Memory: the model once, two numbers of optimiser state for each trained one, one gradient for
/// each trained number, and the graph of one batch at a time.
pub struct Trainer {
    pub(super) model: Flamingo,
    pub(super) config: TrainConfig,
    pub(super) optimizer: AdamW,
    pub(super) steps: usize,
}

/// What a step did.
#[derive(Debug, Clone, PartialEq)]
pub struct StepReport {
    /// The step's number, counted from 1.
    pub step: usize,
    /// The loss of each batch, in nats, in the order given, before weighting.
    pub losses: Vec<f64>,
    /// Norm of the whole gradient before clipping.
    pub gradient_norm: f64,
    /// The learning rate of this step.
    pub learning_rate: f64,
    /// Each gated block's layer and how far its two gates are open after the step.
    pub gates: Vec<(usize, [f32; 2])>,
    /// Whether the step was skipped because a loss or the gradient was not finite. Weights and
    /// optimiser are as before then.
    pub skipped: bool,
}

impl Trainer {
    /// Starts training `model`.
    ///
    /// # Errors
    /// The configuration makes no sense.
    pub fn new(model: Flamingo, config: TrainConfig) -> Result<Self> {
        config.validate()?;
        let model = model.with_trainable(&config.trainable)?;
        let optimizer = AdamW::new(model.variables());
        Ok(Self {
            model,
            config,
            optimizer,
            steps: 0,
        })
    }

    /// The model as it is now.
    #[must_use]
    pub fn model(&self) -> &Flamingo {
        &self.model
    }

    /// How it is trained.
    #[must_use]
    pub fn config(&self) -> &TrainConfig {
        &self.config
    }

    /// Steps taken so far, skipped ones included.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.steps
    }

    /// Takes one step: the gradients of all batches, each times its weight, are summed and make
    /// one update. Batches are worked through one after another, so several small ones need no
    /// more memory than one.
    ///
    /// # Errors
    /// The inputs do not fit the model.
    pub fn step(&mut self, batches: &[(&Inputs, f64)]) -> Result<StepReport> {
        let (losses, mut gradients) = self.gradients(batches)?;
        let gradient_norm = global_norm(gradients.values());
        let learning_rate = self.config.rates().at(self.steps);
        let is_finite = gradient_norm.is_finite() && losses.iter().all(|loss| loss.is_finite());
        if is_finite {
            clip(gradients.values_mut(), gradient_norm, self.config.clip_norm);
            let config = &self.config;
            let update = Update {
                learning_rate,
                betas: config.betas,
                epsilon: config.epsilon,
            };
            let variables = self.model.variables();
            self.optimizer
                .update(variables, &gradients, update, |name, rank| {
                    weight_decay(name, rank, config)
                })?;
        }
        self.steps += 1;
        Ok(StepReport {
            step: self.steps,
            losses,
            gradient_norm,
            learning_rate,
            gates: self.model.gate_openings()?,
            skipped: !is_finite,
        })
    }

    /// Losses of the batches and the weighted sum of their gradients.
    fn gradients(&self, batches: &[(&Inputs, f64)]) -> Result<(Vec<f64>, Gradients)> {
        let mut losses = Vec::with_capacity(batches.len());
        let mut sums = Gradients::new();
        for (inputs, weight) in batches {
            let (loss, gradients) = on_deep_stack(|| self.batch_gradients(inputs, *weight))?;
            losses.push(loss);
            add(&mut sums, gradients);
        }
        Ok((losses, sums))
    }

    fn batch_gradients(&self, inputs: &Inputs, weight: f64) -> Result<(f64, Gradients)> {
        let loss = self.model.loss(inputs)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        let store = (loss * weight)?.backward()?;
        let mut gradients = Gradients::new();
        for (name, variable) in self.model.variables() {
            if let Some(gradient) = store.get(variable) {
                let gradient = self.masked_gradient(name, gradient)?;
                gradients.insert(name.clone(), gradient);
            }
        }
        Ok((value, gradients))
    }

    /// A gradient as plain numbers; of embedding tables only the rows of `<image>` and `<EOC>`
    /// where the language model is frozen.
    fn masked_gradient(&self, name: &str, gradient: &Tensor) -> Result<Vec<f32>> {
        let mut values: Vec<f32> = gradient.flatten_all()?.to_vec1()?;
        let is_row_only = Group::of(name) == Group::Embeddings
            && !self.config.trainable.contains(&Group::Language);
        if is_row_only {
            let special = self.model.special_tokens();
            let width = gradient.dim(1)?;
            for (row, values) in values.chunks_mut(width).enumerate() {
                if row != special.image as usize && row != special.end_of_chunk as usize {
                    values.fill(0.0);
                }
            }
        }
        Ok(values)
    }
}

/// Adds the gradients of a batch to those of the batches before it.
pub(crate) fn add(sums: &mut Gradients, gradients: Gradients) {
    for (name, gradient) in gradients {
        match sums.get_mut(&name) {
            None => {
                sums.insert(name, gradient);
            }
            Some(sum) => {
                for (sum, value) in sum.iter_mut().zip(gradient) {
                    *sum += value;
                }
            }
        }
    }
}

/// The norm of all these together. Summed in their order and in f64, so that it is the same on
/// every run.
pub(crate) fn global_norm<'a>(gradients: impl Iterator<Item = &'a Vec<f32>>) -> f64 {
    let squares = gradients.flatten();
    squares.map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt()
}

/// Scales gradients whose norm is `norm` down to `most`.
pub(crate) fn clip<'a>(gradients: impl Iterator<Item = &'a mut Vec<f32>>, norm: f64, most: f64) {
    let factor = most / (norm + NORM_EPSILON);
    if factor < 1.0 {
        let factor = factor as f32;
        for value in gradients.flatten() {
            *value *= factor;
        }
    }
}

/// Runs `work` on a thread with a stack that a deep graph does not overflow.
pub(crate) fn on_deep_stack<T: Send>(work: impl FnOnce() -> Result<T> + Send) -> Result<T> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new()
            .name("train-step".to_owned())
            .stack_size(STACK_BYTES)
            .spawn_scoped(scope, work)
            .map_err(Error::Thread)?;
        match thread.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        }
    })
}
