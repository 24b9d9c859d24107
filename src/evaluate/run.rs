//! A benchmark asked of a model, with some numbers of examples in the prompt.
//!
//! ```text
//! OUT/eval.json          what was asked, so that another run does not go on in the same place
//! OUT/coco-4.jsonl       each answer as it came: with 4 shots; a run that was stopped goes on behind it
//! OUT/rices.f32 (.json)  features of the supports, where the nearest are taken
//! OUT/results.json       the measures
//! ```

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use m3w_model::{GenerateOptions, generate_batch, score_candidates};
use m3w_shards::write_atomically;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::build::Stopped;
use crate::progress::Progress;
use crate::prompt::{MAX_MEDIA, Piece, PromptTokens};
use crate::trained::{Running, TrainedModel};

use super::benchmark::Benchmark;
use super::example::{Example, Examples};
use super::few_shot::{Style, prompt_tokens};
use super::judge::judge;
use super::supports::{Rices, drawn, permute};

/// Examples without pictures that stand before a question where no shots are counted (the paper's
/// zero-shot prompts).
const BLIND_EXAMPLES: usize = 2;

/// What is asked of which model, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalOptions {
    /// The benchmark's name.
    pub task: String,
    /// Its folder.
    pub data: PathBuf,
    /// The model's folder.
    pub checkpoint: PathBuf,
    /// How it is run.
    #[serde(default)]
    pub running: Running,
    /// How prompts are written.
    pub style: Style,
    /// Whether the nearest supports are shown instead of ones drawn by the seed.
    pub rices: bool,
    /// Orders of the supports whose likelihoods are averaged (closed tasks).
    pub permutations: usize,
    /// Whether the likelihood of a candidate is that of a token of it.
    pub normalize_length: bool,
    /// Seed of the supports.
    pub seed: u64,
    /// Continuations followed side by side.
    pub beams: usize,
    /// Only the first questions.
    pub limit: Option<usize>,
    /// Folder of WordNet's files, for WUPS.
    pub wordnet: Option<PathBuf>,
    /// Numbers of shots.
    #[serde(skip)]
    pub shots: Vec<usize>,
    /// Where answers and results go.
    #[serde(skip)]
    pub out: PathBuf,
    /// Where the features of the supports are.
    #[serde(skip)]
    pub index: Option<PathBuf>,
    /// Whether progress is told.
    #[serde(skip)]
    pub is_quiet: bool,
}

/// A measure with some shots.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Measured {
    /// The benchmark.
    pub task: &'static str,
    /// Examples in the prompt.
    pub shots: usize,
    /// What is measured.
    pub measure: &'static str,
    /// The measure.
    pub score: f64,
    /// Questions asked.
    pub count: usize,
}

/// An answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The question's id.
    pub id: String,
    /// The words, where they are free.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prediction: Option<String>,
    /// The log-likelihood of each candidate in nats, where there are some.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scores: Option<Vec<f64>>,
}

/// Asks, and measures.
///
/// Each answer is on disk before the next question is asked. Holds the model, the benchmark's
/// questions and answers, and the pictures of one prompt.
///
/// # Errors
///
/// [`Stopped`]; otherwise if a file is missing or has another layout, OUT holds answers to something
/// else, or a prompt is longer than the model's positions.
pub fn evaluate(
    benchmark: &'static Benchmark,
    options: &EvalOptions,
    stop: &watch::Receiver<bool>,
) -> Result<Vec<Measured>> {
    check(benchmark, options)?;
    let examples = benchmark.read(&options.data)?;
    let trained = TrainedModel::load_as(&options.checkpoint, &options.running)?;
    begin(options)?;
    let index = options
        .rices
        .then(|| {
            let own = options.out.join("rices.f32");
            let path = options.index.as_ref().unwrap_or(&own);
            Rices::open(path, &trained, &examples.supports, stop)
        })
        .transpose()?;
    let asked = options
        .limit
        .unwrap_or(usize::MAX)
        .min(examples.queries.len());
    let queries = &examples.queries[..asked];
    let run = Run {
        benchmark,
        options,
        examples: &examples,
        trained,
        index,
    };
    let mut results = Vec::new();
    for shots in &options.shots {
        let answers = run.ask(queries, *shots, stop)?;
        let score = judge(
            benchmark.judged,
            queries,
            &answers,
            options.wordnet.as_deref(),
        )?;
        results.push(Measured {
            task: benchmark.name,
            shots: *shots,
            measure: benchmark.judged.name(),
            score,
            count: queries.len(),
        });
    }
    let path = options.out.join("results.json");
    let told = json!({"options": options, "results": results});
    write_atomically(&path, &serde_json::to_vec_pretty(&told)?)?;
    Ok(results)
}

fn check(benchmark: &Benchmark, options: &EvalOptions) -> Result<()> {
    // The question has a picture of its own.
    if let Some(many) = options.shots.iter().find(|shots| **shots > MAX_MEDIA) {
        bail!("{many} shots are too many: at most {MAX_MEDIA} are shown");
    }
    ensure!(
        options.permutations > 0,
        "--permutations must be at least 1"
    );
    ensure!(
        options.permutations == 1 || benchmark.judged.is_closed(),
        "--permutations averages likelihoods of candidates, and {} has none",
        benchmark.name
    );
    ensure!(
        benchmark.judged != super::benchmark::Judged::Wups || options.wordnet.is_some(),
        "{} is judged by WUPS: give --wordnet the folder of WordNet's database files",
        benchmark.name
    );
    Ok(())
}

/// Writes down what is asked, or checks that it is what was asked before.
fn begin(options: &EvalOptions) -> Result<()> {
    let out = options.out.display();
    fs::create_dir_all(&options.out).with_context(|| format!("cannot make {out}"))?;
    let path = options.out.join("eval.json");
    if path.exists() {
        let text = fs::read_to_string(&path)?;
        let before: Value = serde_json::from_str(&text)
            .with_context(|| format!("cannot use {}", path.display()))?;
        ensure!(
            before == serde_json::to_value(options)?,
            "{out} has answers to something else: name another --out"
        );
        return Ok(());
    }
    Ok(write_atomically(
        &path,
        &serde_json::to_vec_pretty(options)?,
    )?)
}

struct Run<'r> {
    benchmark: &'static Benchmark,
    options: &'r EvalOptions,
    examples: &'r Examples,
    trained: TrainedModel,
    index: Option<Rices>,
}

impl Run<'_> {
    fn ask(
        &self,
        queries: &[Example],
        shots: usize,
        stop: &watch::Receiver<bool>,
    ) -> Result<Vec<Answer>> {
        let path = self
            .options
            .out
            .join(format!("{}-{shots}.jsonl", self.benchmark.name));
        let done = answers_in(&path)?;
        let known: HashSet<&str> = done.iter().map(|answer| answer.id.as_str()).collect();
        let mut file = fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .with_context(|| format!("cannot write {}", path.display()))?;
        let is_quiet = self.options.is_quiet;
        let total = queries.len() as u64;
        let progress = Progress::new("questions", known.len() as u64, total, is_quiet);
        let mut new = Vec::new();
        for query in queries
            .iter()
            .filter(|query| !known.contains(query.id.as_str()))
        {
            if *stop.borrow() {
                return Err(Stopped.into());
            }
            let answer = self.answer(query, shots).with_context(|| {
                format!(
                    "{}, question {}, {shots} shots",
                    self.benchmark.name, query.id
                )
            })?;
            let mut line = serde_json::to_vec(&answer)?;
            line.push(b'\n');
            file.write_all(&line)
                .with_context(|| format!("cannot write {}", path.display()))?;
            new.push(answer);
            progress.step(|| format!("{shots} shots"));
        }
        progress.finish();
        let mut answers: HashMap<String, Answer> = done
            .into_iter()
            .chain(new)
            .map(|answer| (answer.id.clone(), answer))
            .collect();
        let in_order = queries.iter().map(|query| answers.remove(&query.id));
        let in_order: Option<Vec<Answer>> = in_order.collect();
        in_order.with_context(|| format!("{} asks one id twice", self.benchmark.name))
    }

    fn answer(&self, query: &Example, shots: usize) -> Result<Answer> {
        let is_blind = shots == 0;
        let count = if is_blind { BLIND_EXAMPLES } else { shots };
        let seed = self.options.seed;
        let all = &self.examples.supports;
        let supports = match &self.index {
            Some(index) if !is_blind => index.nearest(&self.trained, all, query, count)?,
            _ => drawn(all, &query.id, count, seed),
        };
        ensure!(
            is_blind || supports.len() == count,
            "there are {} examples to show: ask with fewer shots",
            supports.len()
        );
        let choices = if query.choices.is_empty() {
            &self.examples.classes
        } else {
            &query.choices
        };
        let mut summed: Option<Vec<f64>> = None;
        for permutation in 0..self.options.permutations {
            let mut supports = supports.clone();
            permute(&mut supports, &query.id, permutation, seed);
            let (prompt, pixels) = self.prompt(&supports, query, is_blind)?;
            if !self.benchmark.judged.is_closed() {
                return self.written(query, prompt, &pixels);
            }
            let scores = self.likelihoods(prompt, &pixels, choices)?;
            summed = Some(match summed {
                None => scores,
                Some(sum) => sum.iter().zip(&scores).map(|(a, b)| a + b).collect(),
            });
        }
        let permutations = self.options.permutations as f64;
        let scores = summed.unwrap_or_default().into_iter();
        Ok(Answer {
            id: query.id.clone(),
            prediction: None,
            scores: Some(scores.map(|sum| sum / permutations).collect()),
        })
    }

    fn prompt(
        &self,
        supports: &[&Example],
        query: &Example,
        is_blind: bool,
    ) -> Result<(Vec<u32>, candle_core::Tensor)> {
        let tokens = prompt_tokens(&self.trained, self.options.style, supports, query, is_blind)?;
        let room = self.trained.model.config().language.max_positions;
        ensure!(
            tokens.len() + self.benchmark.most_tokens <= room,
            "the prompt has {} tokens and the model room for {room}: ask with fewer shots",
            tokens.len()
        );
        let shown = if is_blind { &[] } else { supports };
        let media = shown.iter().map(|support| support.medium.clone());
        let media: Vec<Piece> = media.chain([query.medium.clone()]).collect();
        let pixels = self.trained.pixels(&media)?;
        let pixels = pixels.context("there is no picture")?.unsqueeze(0)?; // [1, N, F, 3, H, W]
        Ok((tokens, pixels))
    }

    fn written(
        &self,
        query: &Example,
        prompt: Vec<u32>,
        pixels: &candle_core::Tensor,
    ) -> Result<Answer> {
        let options = GenerateOptions {
            max_new_tokens: self.benchmark.most_tokens,
            beams: self.options.beams,
            ..GenerateOptions::default()
        };
        let model = &self.trained.model;
        let generated = generate_batch(model, &[prompt], Some(pixels), &options, |_, _| {})?;
        let tokens = generated.first().map_or(&[][..], |first| &first.tokens);
        let text = self.trained.tokenizer.decode(tokens)?;
        Ok(Answer {
            id: query.id.clone(),
            prediction: Some(self.options.style.settle(&query.question, &text)),
            scores: None,
        })
    }

    /// The log-likelihood of each candidate behind the prompt, which is read once.
    fn likelihoods(
        &self,
        prompt: Vec<u32>,
        pixels: &candle_core::Tensor,
        choices: &[String],
    ) -> Result<Vec<f64>> {
        let style = self.options.style;
        let encoded = choices
            .iter()
            .map(|choice| PromptTokens::behind(&self.trained, &style.answer(choice)));
        let candidates: Vec<Vec<u32>> = encoded.collect::<Result<_>>()?;
        let model = &self.trained.model;
        let scores = score_candidates(model, &[prompt], Some(pixels), &candidates)?;
        let scores = scores.into_iter().next().unwrap_or_default();
        Ok(scores
            .iter()
            .map(|tokens| {
                let sum: f64 = tokens.iter().map(|token| f64::from(*token)).sum();
                if self.options.normalize_length {
                    sum / tokens.len() as f64
                } else {
                    sum
                }
            })
            .collect())
    }
}

/// The answers a file has. A last line that was cut off is taken away.
fn answers_in(path: &Path) -> Result<Vec<Answer>> {
    let name = path.display();
    let file = fs::OpenOptions::new()
        .create(true)
        .append(true)
        .open(path)
        .with_context(|| format!("cannot write {name}"))?;
    let bytes = fs::read(path).with_context(|| format!("cannot read {name}"))?;
    let whole = bytes
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |at| at + 1);
    file.set_len(whole as u64)?;
    let lines = bytes[..whole].split(|byte| *byte == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(number, line)| {
            serde_json::from_slice(line)
                .with_context(|| format!("{name}, line {} is no answer", number + 1))
        })
        .collect()
}
