//! Which examples a prompt is made of: drawn by a seed, or the nearest to what is asked.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use candle_core::{DType, Device, Tensor};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::build::Stopped;
use crate::progress::Progress;
use crate::prompt::Piece;
use crate::trained::TrainedModel;

use super::example::Example;

/// `count` of `supports` for the query of this id, without the query itself; another order for
/// another permutation. The same seed gives the same ones.
#[must_use]
pub fn drawn<'e>(
    supports: &'e [Example],
    query: &str,
    count: usize,
    seed: u64,
) -> Vec<&'e Example> {
    let mut random = Stream::new(seed, query);
    let mut left: Vec<&Example> = Vec::new();
    let mut taken = std::collections::HashSet::new();
    // More than are there are not to be had, and one of them may be the query.
    let others = supports
        .iter()
        .filter(|support| support.id != query)
        .count();
    while left.len() < count.min(others) {
        let place = random.below(supports.len());
        if supports[place].id != query && taken.insert(place) {
            left.push(&supports[place]);
        }
    }
    left
}

/// Puts supports into the order of a permutation; the first keeps theirs.
pub fn permute(supports: &mut [&Example], query: &str, permutation: usize, seed: u64) {
    if permutation == 0 {
        return;
    }
    let mut random = Stream::new(seed.wrapping_add(permutation as u64), query);
    for last in (1..supports.len()).rev() {
        supports.swap(last, random.below(last + 1));
    }
}

/// Numbers that a seed and a name decide.
struct Stream {
    state: u64,
}

impl Stream {
    fn new(seed: u64, name: &str) -> Self {
        let digest = Sha256::new()
            .chain_update(seed.to_le_bytes())
            .chain_update(name)
            .finalize();
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        Self {
            state: u64::from_le_bytes(first),
        }
    }

    /// A number below `bound` (SplitMix64; Steele et al. 2014).
    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^= mixed >> 31;
        ((u128::from(mixed) * bound as u128) >> 64) as usize
    }
}

/// Features of all supports, by which those nearest to a picture are found.
///
/// Kept in two files, so that it is made once and goes on where it was stopped: `FILE` has a row of
/// 32-bit floats for each support, `FILE.json` says of what. Holds the rows in memory.
pub struct Rices {
    rows: Vec<f32>,
    width: usize,
}

#[derive(Serialize, Deserialize, PartialEq)]
struct Made {
    width: usize,
    /// Digest of the ids and of the vision encoder's first parameter.
    of: String,
}

impl Rices {
    /// Reads what is there and makes what is missing.
    ///
    /// # Errors
    ///
    /// If the file was made of other supports or by another model, a picture cannot be read, or the
    /// disk refuses; [`Stopped`].
    pub fn open(
        path: &Path,
        trained: &TrainedModel,
        supports: &[Example],
        stop: &watch::Receiver<bool>,
    ) -> Result<Self> {
        let name = path.display();
        let width = trained.model.config().vision.width;
        let made = Made {
            width,
            of: digest(trained, supports)?,
        };
        let told = PathBuf::from(format!("{name}.json"));
        if told.exists() {
            let text = fs::read_to_string(&told)?;
            let found: Made = serde_json::from_str(&text)
                .with_context(|| format!("cannot use {}", told.display()))?;
            ensure!(
                found == made,
                "{name} was made of other examples or by another model: name another --index"
            );
        } else {
            m3w_shards::write_atomically(&told, &serde_json::to_vec(&made)?)?;
        }
        let mut file = fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(path)
            .with_context(|| format!("cannot write {name}"))?;
        let row_bytes = 4 * width as u64;
        let done = file.metadata()?.len() / row_bytes;
        // A row that was cut off is made again.
        file.set_len(done * row_bytes)?;
        let progress = Progress::new("examples", done, supports.len() as u64, false);
        for support in supports.iter().skip(done as usize) {
            if *stop.borrow() {
                return Err(Stopped.into());
            }
            let row = features(trained, &support.medium)?;
            let bytes: Vec<u8> = row.iter().flat_map(|value| value.to_le_bytes()).collect();
            file.write_all(&bytes)
                .with_context(|| format!("cannot write {name}"))?;
            progress.step(String::new);
        }
        progress.finish();
        let bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
        let rows = bytes.chunks_exact(4);
        let rows = rows.map(|value| f32::from_le_bytes([value[0], value[1], value[2], value[3]]));
        Ok(Self {
            rows: rows.collect(),
            width,
        })
    }

    /// The `count` supports nearest to the query, the nearest last, without the query itself.
    ///
    /// # Errors
    ///
    /// If the query's picture cannot be read.
    pub fn nearest<'e>(
        &self,
        trained: &TrainedModel,
        supports: &'e [Example],
        query: &Example,
        count: usize,
    ) -> Result<Vec<&'e Example>> {
        let wanted = features(trained, &query.medium)?;
        let mut near: Vec<(f32, usize)> = self
            .rows
            .par_chunks(self.width)
            .enumerate()
            .map(|(place, row)| {
                let product = row.iter().zip(&wanted).map(|(a, b)| a * b).sum();
                (product, place)
            })
            .collect();
        near.retain(|(_, place)| supports[*place].id != query.id);
        // Equals in the order of the file.
        near.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
        near.truncate(count);
        Ok(near
            .iter()
            .rev()
            .map(|(_, place)| &supports[*place])
            .collect())
    }
}

fn features(trained: &TrainedModel, medium: &Piece) -> Result<Vec<f32>> {
    let pixels = trained.pixels(std::slice::from_ref(medium))?;
    let pixels = pixels.context("there is no picture")?; // [1, F, 3, H, W]
    let features = trained.model.vision_features(&pixels)?;
    Ok(features.squeeze(0)?.to_vec1()?)
}

fn digest(trained: &TrainedModel, supports: &[Example]) -> Result<String> {
    let mut digest = Sha256::new();
    for support in supports {
        digest.update(&support.id);
        digest.update([0]);
    }
    let parameters = trained.model.parameters().iter();
    let mut vision = parameters.filter(|(name, _)| name.starts_with("vision_encoder"));
    if let Some((_, tensor)) = vision.next() {
        let tensor: &Tensor = tensor;
        let values: Vec<f32> = tensor
            .to_device(&Device::Cpu)?
            .to_dtype(DType::F32)?
            .flatten_all()?
            .to_vec1()?;
        for value in values {
            digest.update(value.to_le_bytes());
        }
    }
    let bytes = digest.finalize();
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::example::{Question, Truth};

    fn examples(count: usize) -> Vec<Example> {
        let example = |number: usize| Example {
            id: number.to_string(),
            medium: Piece::Text(String::new()),
            question: Question::Describe,
            answer: String::new(),
            choices: Vec::new(),
            truth: Truth::Texts(Vec::new()),
        };
        (0..count).map(example).collect()
    }

    #[test]
    fn supports_differ_by_query_and_seed_and_never_hold_the_query() {
        let supports = examples(40);
        let ids = |query: &str, seed| -> Vec<String> {
            let drawn = drawn(&supports, query, 8, seed);
            drawn.iter().map(|support| support.id.clone()).collect()
        };
        assert_eq!(ids("3", 1), ids("3", 1));
        assert_ne!(ids("3", 1), ids("4", 1));
        assert_ne!(ids("3", 1), ids("3", 2));
        for query in 0..40 {
            let mut drawn = ids(&query.to_string(), 5);
            assert!(!drawn.contains(&query.to_string()));
            drawn.sort();
            drawn.dedup();
            assert_eq!(drawn.len(), 8);
        }
        assert_eq!(drawn(&supports[..3], "1", 8, 0).len(), 2);
    }

    #[test]
    fn a_permutation_keeps_the_examples_and_the_first_their_order() {
        let supports = examples(9);
        let drawn = drawn(&supports, "x", 6, 0);
        let mut same = drawn.clone();
        permute(&mut same, "x", 0, 0);
        assert_eq!(same, drawn);
        let mut other = drawn.clone();
        permute(&mut other, "x", 1, 0);
        assert_ne!(other, drawn);
        other.sort_by(|a, b| a.id.cmp(&b.id));
        let mut sorted = drawn;
        sorted.sort_by(|a, b| a.id.cmp(&b.id));
        assert_eq!(other, sorted);
    }
}
