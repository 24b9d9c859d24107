//! Several corpora in one stream of steps.

use std::path::Path;
use std::sync::Arc;

use m3w_shards::{
    Config, Dataset, Error, LoaderConfig, Mixture, MixtureState, Schedule, Tokenizer, WeightedBatch,
};
use tempfile::TempDir;

use crate::sample;

struct Corpora {
    folders: [TempDir; 2],
    tokenizer: Arc<Tokenizer>,
}

fn corpora() -> Corpora {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let packing = Config {
        sequence_length: 40,
        images_per_sequence: 2,
        row_group_rows: 4,
        ..Config::default()
    };
    let tokenizer = sample::write_corpus(folders[0].path(), 23, &packing);
    sample::write_corpus(folders[1].path(), 7, &packing);
    Corpora { folders, tokenizer }
}

fn dataset(name: &str, directory: &Path, weight: f64) -> Dataset {
    Dataset {
        name: name.to_owned(),
        directory: directory.to_owned(),
        weight,
        config: LoaderConfig {
            batch_size: 3,
            image_side_px: 8,
            shuffle_buffer: 6,
            threads: 1,
            ..LoaderConfig::default()
        },
    }
}

impl Corpora {
    fn datasets(&self) -> Vec<Dataset> {
        vec![
            dataset("m3w", self.folders[0].path(), 1.0),
            dataset("align", self.folders[1].path(), 0.2),
        ]
    }

    fn open(&self, schedule: Schedule, state: Option<&MixtureState>) -> Mixture {
        Mixture::open(&self.datasets(), schedule, &self.tokenizer, state).unwrap()
    }

    fn steps(&self, schedule: Schedule, count: usize) -> Vec<Vec<WeightedBatch>> {
        let mut mixture = self.open(schedule, None);
        (0..count)
            .map(|_| mixture.next_step().unwrap().unwrap())
            .collect()
    }
}

fn names(steps: &[Vec<WeightedBatch>]) -> Vec<Vec<(&str, f64)>> {
    steps
        .iter()
        .map(|step| {
            step.iter()
                .map(|batch| (batch.name.as_str(), batch.weight))
                .collect()
        })
        .collect()
}

#[test]
fn accumulation_takes_a_batch_of_each_every_step() {
    let steps = corpora().steps(Schedule::Accumulate, 3);
    let expected = vec![("m3w", 1.0), ("align", 0.2)];
    assert_eq!(names(&steps), vec![expected; 3]);
}

#[test]
fn round_robin_takes_turns() {
    let steps = corpora().steps(Schedule::RoundRobin, 3);
    let (m3w, align) = (vec![("m3w", 1.0)], vec![("align", 0.2)]);
    assert_eq!(names(&steps), [m3w.clone(), align, m3w]);
}

#[test]
fn a_resumed_mixture_goes_on_as_if_never_stopped() {
    let corpora = corpora();
    for schedule in [Schedule::Accumulate, Schedule::RoundRobin] {
        let whole = corpora.steps(schedule, 9);
        for stop in 0..9 {
            let mut mixture = corpora.open(schedule, None);
            for _ in 0..stop {
                mixture.next_step().unwrap();
            }
            let state = serde_json::to_string(&mixture.state()).unwrap();
            drop(mixture);
            let state = serde_json::from_str(&state).unwrap();
            let mut resumed = corpora.open(schedule, Some(&state));
            for step in &whole[stop..] {
                assert_eq!(resumed.next_step().unwrap().as_ref(), Some(step));
            }
        }
    }
}

#[test]
fn a_mixture_ends_with_the_dataset_that_ends_first() {
    let corpora = corpora();
    let mut datasets = corpora.datasets();
    for dataset in &mut datasets {
        dataset.config.epochs = Some(1);
    }
    let open = Mixture::open(&datasets, Schedule::Accumulate, &corpora.tokenizer, None);
    let mut mixture = open.unwrap();
    let mut steps = 0;
    while mixture.next_step().unwrap().is_some() {
        steps += 1;
    }
    // Seven rows are three batches of at most three.
    assert_eq!(steps, 3);
}

#[test]
fn datasets_that_cannot_be_told_apart_or_count_nothing_are_refused() {
    let corpora = corpora();
    let open = |datasets: &[Dataset], state: Option<&MixtureState>| {
        Mixture::open(datasets, Schedule::Accumulate, &corpora.tokenizer, state).unwrap_err()
    };
    let mut datasets = corpora.datasets();
    datasets[1].name = "m3w".to_owned();
    assert!(matches!(open(&datasets, None), Error::Config { .. }));
    let mut datasets = corpora.datasets();
    datasets[0].weight = 0.0;
    assert!(matches!(open(&datasets, None), Error::Config { .. }));
    assert!(matches!(open(&[], None), Error::Config { .. }));
    let state = corpora.open(Schedule::Accumulate, None).state();
    let error = open(&corpora.datasets()[..1], Some(&state));
    assert!(error.to_string().contains("align, m3w"), "{error}");
}
