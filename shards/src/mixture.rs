//! Several corpora at once, each with its weight.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{Batch, Error, Loader, LoaderConfig, LoaderState, Tokenizer};

/// In which order the corpora of a mixture are visited.
///
/// Flamingo compares both (arXiv 2204.14198, table 3, row "Gradient compute"): accumulation scores
/// 70.7, round-robin 62.9. Reviews of the paper that say the opposite misread that table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Schedule {
    /// Each step takes a batch of every corpus; their weighted gradients make one update.
    #[default]
    Accumulate,
    /// Each step takes a batch of one corpus, in turns; its weighted gradient makes the update.
    RoundRobin,
}

/// One corpus of a mixture.
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    /// A name, unique in the mixture.
    pub name: String,
    /// The folder of its manifest.
    pub directory: PathBuf,
    /// Lambda: what its loss counts. Flamingo: M3W 1, ALIGN 0.2, LTIP 0.2, VTP 0.03 (appendix
    /// B.1.2).
    pub weight: f64,
    /// How its rows become batches.
    pub config: LoaderConfig,
}

/// A batch, where it is from, and what its loss counts.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedBatch {
    /// Name of the dataset.
    pub name: String,
    /// Its weight.
    pub weight: f64,
    /// The batch.
    pub batch: Batch,
}

/// Where a mixture stands: enough to go on with the very next step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MixtureState {
    /// Steps taken.
    pub steps: u64,
    /// The position in each dataset, by name.
    pub datasets: BTreeMap<String, LoaderState>,
}

/// Takes batches from several corpora by a [`Schedule`].
///
/// What it yields is a pure function of the shards, the configurations and the position, as with a
/// [`Loader`]. Each corpus has a loader of its own: memory is the sum of theirs.
#[derive(Debug)]
pub struct Mixture {
    parts: Vec<Part>,
    schedule: Schedule,
    steps: u64,
}

#[derive(Debug)]
struct Part {
    name: String,
    weight: f64,
    loader: Loader,
}

impl Mixture {
    /// Opens the corpora at their beginning, or where `state` says.
    ///
    /// # Errors
    ///
    /// [`Error::Config`] if there is no dataset, two share a name, or a weight is not above 0;
    /// [`Error::State`] if the state is of other datasets; otherwise as [`Loader::open`] and
    /// [`Loader::resume`].
    pub fn open(
        datasets: &[Dataset],
        schedule: Schedule,
        tokenizer: &Arc<Tokenizer>,
        state: Option<&MixtureState>,
    ) -> Result<Self, Error> {
        validate(datasets, state)?;
        let parts = datasets.iter().map(|dataset| {
            let Dataset {
                name,
                directory,
                weight,
                config,
            } = dataset;
            let position = state.and_then(|state| state.datasets.get(name));
            let loader = match position {
                Some(position) => Loader::resume(directory, config, tokenizer, *position)?,
                None => Loader::open(directory, config, tokenizer)?,
            };
            Ok(Part {
                name: name.clone(),
                weight: *weight,
                loader,
            })
        });
        Ok(Self {
            parts: parts.collect::<Result<_, Error>>()?,
            schedule,
            steps: state.map_or(0, |state| state.steps),
        })
    }

    /// The batches of the next step; `None` once a dataset whose turn it is has gone through all
    /// its epochs.
    ///
    /// # Errors
    ///
    /// As [`Loader::next_batch`].
    pub fn next_step(&mut self) -> Result<Option<Vec<WeightedBatch>>, Error> {
        let turn = self.steps as usize % self.parts.len();
        let parts = match self.schedule {
            Schedule::Accumulate => &mut self.parts[..],
            Schedule::RoundRobin => &mut self.parts[turn..=turn],
        };
        let mut batches = Vec::with_capacity(parts.len());
        for part in parts {
            let Some(batch) = part.loader.next_batch()? else {
                return Ok(None);
            };
            batches.push(WeightedBatch {
                name: part.name.clone(),
                weight: part.weight,
                batch,
            });
        }
        self.steps += 1;
        Ok(Some(batches))
    }

    /// Where the mixture stands, behind the last step.
    #[must_use]
    pub fn state(&self) -> MixtureState {
        let state = |part: &Part| (part.name.clone(), part.loader.state());
        MixtureState {
            steps: self.steps,
            datasets: self.parts.iter().map(state).collect(),
        }
    }
}

fn validate(datasets: &[Dataset], state: Option<&MixtureState>) -> Result<(), Error> {
    let refuse = |key, value: String, requirement| {
        Err(Error::Config {
            key,
            value,
            requirement,
        })
    };
    if datasets.is_empty() {
        return refuse("datasets", "[]".to_owned(), "there must be at least one");
    }
    for (index, dataset) in datasets.iter().enumerate() {
        let weight = dataset.weight;
        if !(weight.is_finite() && weight > 0.0) {
            return refuse("datasets.weight", weight.to_string(), "it must be above 0");
        }
        if datasets[..index]
            .iter()
            .any(|other| other.name == dataset.name)
        {
            let requirement = "each dataset needs a name of its own";
            return refuse("datasets.name", dataset.name.clone(), requirement);
        }
    }
    let Some(state) = state else {
        return Ok(());
    };
    let known = |dataset: &Dataset| state.datasets.contains_key(&dataset.name);
    if state.datasets.len() != datasets.len() || !datasets.iter().all(known) {
        let names: Vec<&str> = state.datasets.keys().map(String::as_str).collect();
        return Err(Error::State {
            problem: format!("it was saved with the datasets {}", names.join(", ")),
        });
    }
    Ok(())
}
