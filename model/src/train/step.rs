//! One training step after another.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::TrainConfig;
use super::collective::{Collective, Single};
use super::gradients::Gradients;
use super::optimizer::{AdamW, Update, weight_decay};
use crate::flamingo::Flamingo;
use crate::group::Group;
use crate::init::ParameterStore;
use crate::inputs::Inputs;
use crate::{Error, Result};

/// Stack of the thread that runs a backward pass: candle walks the graph by recursion, a few
/// hundred bytes deep for each of some thousand operations per layer. The kernel provides pages
/// only as they are touched.
const STACK_BYTES: usize = 256 << 20;

/// A model in training.
///
/// Memory: the model once, two numbers of optimiser state for each trained one, one gradient for
/// each trained number (of embeddings trained beside a frozen language model, of two rows), and the graph of one batch at a time; with gradient checkpointing the graph holds one number for
/// each channel of a token in each layer of the language model, and all of them in one layer.
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
    /// Targets that these are the means of, in all batches.
    pub targets: usize,
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
        let has_updates = model.config().language.lora.is_some();
        if config.trainable.contains(&Group::Lora) && !has_updates {
            return Err(Error::Setting {
                setting: "train.trainable".to_owned(),
                found: "lora".to_owned(),
                must: "the model has no updates of low rank: say which in [model.language.lora]"
                    .to_owned(),
            });
        }
        let mut model = model.with_trainable(&config.trainable)?;
        if config.gradient_checkpointing {
            model = model.recomputing();
        }
        let optimizer = AdamW::new(model.variables(), model.compute())?;
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

    /// The loss of a batch as the model is now; nothing is learned from it.
    ///
    /// # Errors
    /// The inputs do not fit the model.
    pub fn loss(&self, inputs: &Inputs) -> Result<f64> {
        // The graph is freed as deep as it was built.
        on_deep_stack(|| {
            Ok(f64::from(
                self.model.loss_alone(inputs)?.to_scalar::<f32>()?,
            ))
        })
    }

    /// The model as it is now, to run it: nothing that it computes keeps a graph. Weights of
    /// the language model that are trained are copied, all others shared.
    ///
    /// # Errors
    /// The model cannot be built.
    pub fn frozen_model(&self) -> Result<Flamingo> {
        let parameters = self.model.parameters().iter();
        let parameters = parameters.map(|(name, tensor)| Ok((name.clone(), tensor.detach())));
        let parameters = parameters.collect::<Result<BTreeMap<String, Tensor>>>()?;
        let store = ParameterStore::from_tensors(parameters, "model").on(self.model.compute());
        Flamingo::new(self.model.config(), *self.model.special_tokens(), store)
    }

    /// Takes one step: the gradients of all batches, each times its weight, are summed and make
    /// one update. Batches are worked through one after another, so several small ones need no
    /// more memory than one.
    ///
    /// # Errors
    /// The inputs do not fit the model.
    pub fn step(&mut self, batches: &[(&Inputs, f64)]) -> Result<StepReport> {
        self.step_together(batches, &mut Single)
    }

    /// As [`Self::step`], with other processes that hold other rows of each batch: as if one had all
    /// of them. Every process makes the same update and reports the same.
    ///
    /// A batch's loss is the mean over the targets of all its rows, wherever they are, so
    /// processes tell each other first how many they have. Gradients are summed in the order of the
    /// parameters' names, and clipped afterwards.
    ///
    /// # Errors
    /// The inputs do not fit the model, or another process does not answer.
    pub fn step_together(
        &mut self,
        batches: &[(&Inputs, f64)],
        collective: &mut dyn Collective,
    ) -> Result<StepReport> {
        let (shares, targets) = self.shares(batches, collective)?;
        let weighted: Vec<(&Inputs, f64)> = batches
            .iter()
            .zip(&shares)
            .map(|((inputs, weight), share)| (*inputs, weight * share))
            .collect();
        let (mut losses, mut gradients) = self.gradients(&weighted)?;
        if collective.size() > 1 {
            losses = sum_losses(&losses, &shares, collective)?;
            gradients = gradients.sum(self.model.variables(), collective)?;
        }
        let gradient_norm = gradients.norm(|_| true)?;
        let learning_rate = self.config.rates().at(self.steps);
        let is_finite = gradient_norm.is_finite() && losses.iter().all(|loss| loss.is_finite());
        if is_finite {
            gradients.clip(gradient_norm, self.config.clip_norm, |_| true);
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
            self.model.write_trained_rows()?;
        }
        self.steps += 1;
        Ok(StepReport {
            step: self.steps,
            losses,
            targets,
            gradient_norm,
            learning_rate,
            gates: self.model.gate_openings()?,
            skipped: !is_finite,
        })
    }

    /// Of each batch's targets in all processes, the part that is here; and how many there are.
    fn shares(
        &self,
        batches: &[(&Inputs, f64)],
        collective: &mut dyn Collective,
    ) -> Result<(Vec<f64>, usize)> {
        let special = self.model.special_tokens();
        let counts = batches
            .iter()
            .map(|(inputs, _)| inputs.target_count(special));
        let counts = counts.collect::<Result<Vec<usize>>>()?;
        if collective.size() == 1 {
            return Ok((vec![1.0; batches.len()], counts.iter().sum()));
        }
        // Exact up to 16 million targets.
        let mut totals: Vec<f32> = counts.iter().map(|count| *count as f32).collect();
        collective.sum(&mut totals)?;
        let all: f32 = totals.iter().sum();
        let shares = counts.iter().zip(totals);
        let shares = shares.map(|(count, total)| *count as f64 / f64::from(total).max(1.0));
        Ok((shares.collect(), all as usize))
    }

    /// Losses of the batches and the weighted sum of their gradients.
    fn gradients(&self, batches: &[(&Inputs, f64)]) -> Result<(Vec<f64>, Gradients)> {
        let mut losses = Vec::with_capacity(batches.len());
        let mut sums = Gradients::default();
        for (inputs, weight) in batches {
            let (loss, gradients) = on_deep_stack(|| self.batch_gradients(inputs, *weight))?;
            losses.push(loss);
            sums.add(gradients)?;
        }
        Ok((losses, sums))
    }

    fn batch_gradients(&self, inputs: &Inputs, weight: f64) -> Result<(f64, Gradients)> {
        let loss = self.model.loss(inputs)?;
        let value = f64::from(loss.to_scalar::<f32>()?);
        let mut store = (loss * weight)?.backward()?;
        let mut gradients = Gradients::default();
        for (name, variable) in self.model.variables() {
            if let Some(gradient) = store.remove(variable) {
                gradients.insert(name, &self.masked_gradient(name, gradient)?)?;
            }
        }
        Ok((value, gradients))
    }

    /// A gradient, of embedding tables only in the rows of `<image>` and `<EOC>` where the language model
    /// is frozen.
    fn masked_gradient(&self, name: &str, gradient: Tensor) -> Result<Tensor> {
        let is_row_only = Group::of(name) == Group::Embeddings
            && !self.config.trainable.contains(&Group::Language);
        let table = self.model.parameters().get(name);
        if !is_row_only || table.is_none_or(|table| table.dims() != gradient.dims()) {
            return Ok(gradient);
        }
        let mut counts = vec![0_f32; gradient.dim(0)?];
        for row in self.model.special_tokens().trained_rows() {
            if let Some(counts) = counts.get_mut(row as usize) {
                *counts = 1.0;
            }
        }
        let counts = Tensor::from_vec(counts, (gradient.dim(0)?, 1), gradient.device())?;
        // Not multiplied: what is not finite in a row that is left alone must not count either.
        let is_trained = counts.broadcast_as(gradient.shape())?.ne(0_f32)?;
        Ok(is_trained.where_cond(&gradient, &gradient.zeros_like()?)?)
    }
}

/// The mean loss of each batch over the targets of all processes.
fn sum_losses(losses: &[f64], shares: &[f64], collective: &mut dyn Collective) -> Result<Vec<f64>> {
    let parts = losses.iter().zip(shares);
    let mut parts: Vec<f32> = parts.map(|(loss, share)| (loss * share) as f32).collect();
    collective.sum(&mut parts)?;
    Ok(parts.into_iter().map(f64::from).collect())
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
