//! Beam search, by the rules of `transformers` 4.33 (`generation/beam_search.py`), which the
//! reference's scores come from.

use candle_core::Tensor;

use super::continuation::{Continuation, log_probabilities};
use super::{GenerateOptions, Generated, Tokens};
use crate::Result;
use crate::flamingo::Flamingo;

/// What the score of a beam that does not exist yet is: no real beam is so bad.
const NO_BEAM: f32 = -1e9;

/// A prompt in search: its open beams, and the ended ones worth keeping.
struct Search {
    /// Which of the prompts given this is.
    prompt: usize,
    open: Vec<Beam>,
    ended: Vec<Ended>,
    /// Tokens of the prompt and of the padding before it: they count as length.
    before: usize,
    /// No open beam is likely to become better than the worst of enough ended ones.
    is_over: bool,
}

#[derive(Clone)]
struct Beam {
    tokens: Vec<u32>,
    score: f32,
}

struct Ended {
    tokens: Vec<u32>,
    /// The sum of log-probabilities over the length to the power of the penalty.
    score: f64,
    stop: Option<u32>,
}

/// Continues each prompt by the best of several beams.
pub(super) fn beam_search(
    model: &Flamingo,
    prompts: &[Vec<u32>],
    pixels: Option<&Tensor>,
    options: &GenerateOptions,
) -> Result<Vec<Generated>> {
    let beams = options.beams;
    let tokens = Tokens::new(model.special_tokens(), options);
    let before = prompts.iter().map(Vec::len).max().unwrap_or_default();
    let (mut continuation, scores) = Continuation::start(model, prompts, pixels)?;
    let mut scores = log_probabilities(&scores)?;
    let mut searches: Vec<Search> = (0..prompts.len())
        .map(|prompt| Search::new(prompt, before))
        .collect();
    let mut results: Vec<Option<Generated>> = prompts.iter().map(|_| None).collect();
    let limit = options.max_new_tokens.min(continuation.room() + 1);
    for step in 0..limit {
        let rows_per_prompt = if step == 0 { 1 } else { beams };
        let mut fed = Vec::new();
        let mut origins = Vec::new();
        let mut going_on = Vec::new();
        for (place, search) in searches.iter_mut().enumerate() {
            let rows = place * rows_per_prompt..(place + 1) * rows_per_prompt;
            let chosen = search.step(&mut scores[rows.clone()], &tokens, options);
            if search.is_over {
                results[search.prompt] = Some(search.best(options));
                // `transformers` reads the last tokens of an ended search beside the others.
                let last: Vec<u32> = chosen.iter().map(|(_, token)| *token).collect();
                continuation.read_beside(&last);
                continue;
            }
            going_on.push(place);
            for (row, token) in chosen {
                origins.push(place * beams + row);
                fed.push(vec![token]);
            }
        }
        if going_on.is_empty() || step + 1 == limit {
            break;
        }
        if step == 0 {
            continuation.repeat(beams)?;
        }
        if going_on.len() < searches.len() {
            let mut place = 0;
            searches.retain(|_| {
                place += 1;
                going_on.contains(&(place - 1))
            });
            // Rows keep their order, so each origin moves by the prompts that left before it.
            for origin in &mut origins {
                let left = going_on.partition_point(|place| *place < *origin / beams);
                *origin = left * beams + *origin % beams;
            }
            continuation.keep(&going_on)?;
        }
        continuation.reorder(&origins)?;
        scores = log_probabilities(&continuation.advance(&fed)?)?;
    }
    for search in &mut searches {
        if results[search.prompt].is_none() {
            search.end_open(options);
            results[search.prompt] = Some(search.best(options));
        }
    }
    Ok(results.into_iter().flatten().collect())
}

impl Search {
    fn new(prompt: usize, before: usize) -> Self {
        let beam = Beam {
            tokens: Vec::new(),
            score: 0.0,
        };
        Self {
            prompt,
            open: vec![beam],
            ended: Vec::new(),
            before,
            is_over: false,
        }
    }

    /// Extends the open beams by the scores behind each, and gives for each new open beam the row
    /// it came from and its token.
    fn step(
        &mut self,
        scores: &mut [Vec<f32>],
        tokens: &Tokens,
        options: &GenerateOptions,
    ) -> Vec<(usize, u32)> {
        let beams = options.beams;
        let wanted = beams * (1 + tokens.stops.len()).max(2);
        let mut candidates: Vec<(f32, usize, u32)> = Vec::new();
        for (row, (beam, scores)) in self.open.iter().zip(scores).enumerate() {
            tokens.ban(scores);
            let scores = scores.iter().enumerate();
            candidates.extend(scores.map(|(token, score)| (beam.score + score, row, token as u32)));
        }
        let better = |a: &(f32, usize, u32), b: &(f32, usize, u32)| {
            b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2)))
        };
        let wanted = wanted.min(candidates.len());
        candidates.select_nth_unstable_by(wanted - 1, better);
        candidates.truncate(wanted);
        candidates.sort_unstable_by(better);
        let best = candidates[0].0;
        let mut open = Vec::with_capacity(beams);
        let mut origins = Vec::with_capacity(beams);
        for (rank, (score, row, token)) in candidates.into_iter().enumerate() {
            if open.len() == beams {
                break;
            }
            if tokens.stops.contains(&token) {
                // An end that is not among the best beams would crowd out better ones.
                if rank < beams {
                    let beam = self.open[row].tokens.clone();
                    self.end(beam, score, Some(token), options);
                }
                continue;
            }
            let mut beam = self.open[row].tokens.clone();
            beam.push(token);
            open.push(Beam {
                tokens: beam,
                score,
            });
            origins.push((row, token));
        }
        // A vocabulary smaller than the beams leaves places empty.
        while let (Some(first), true) = (open.first().cloned(), open.len() < beams) {
            origins.push(origins[0]);
            open.push(Beam {
                score: NO_BEAM,
                ..first
            });
        }
        self.open = open;
        let length = self.before + self.open.first().map_or(0, |beam| beam.tokens.len());
        self.is_over = self.has_best(best, length, options);
        origins
    }

    /// Whether no open beam is likely to become better than the worst of enough ended ones.
    fn has_best(&self, best: f32, length: usize, options: &GenerateOptions) -> bool {
        let worst = self.ended.iter().map(|ended| ended.score);
        let worst = worst.fold(f64::INFINITY, f64::min);
        let attainable = f64::from(best) / (length as f64).powf(options.length_penalty);
        self.ended.len() >= options.beams && worst >= attainable
    }

    /// Keeps an ended beam if it is among the best.
    fn end(&mut self, tokens: Vec<u32>, score: f32, stop: Option<u32>, options: &GenerateOptions) {
        let length = (self.before + tokens.len()) as f64;
        let score = f64::from(score) / length.powf(options.length_penalty);
        let ended = Ended {
            tokens,
            score,
            stop,
        };
        // Stable, and behind its equals: the first of several best ones wins.
        let place = self.ended.partition_point(|other| other.score >= score);
        self.ended.insert(place, ended);
        self.ended.truncate(options.beams);
    }

    /// Ends the open beams where they are.
    fn end_open(&mut self, options: &GenerateOptions) {
        for beam in std::mem::take(&mut self.open) {
            self.end(beam.tokens, beam.score, None, options);
        }
    }

    fn best(&mut self, options: &GenerateOptions) -> Generated {
        if self.ended.is_empty() {
            self.end_open(options);
        }
        match self.ended.first() {
            Some(best) => Generated {
                tokens: best.tokens.clone(),
                stop: best.stop,
                score: best.score,
            },
            None => Generated {
                tokens: Vec::new(),
                stop: None,
                score: 0.0,
            },
        }
    }
}
