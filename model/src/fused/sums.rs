//! Softmax of scores that lie in panels.

use rayon::prelude::*;

use super::exp_of_nonpositive;
use super::lanes::on_widest;
use super::lines::Line;
use super::panels::{MOST_LINES, PANEL_ROWS, Panels, lines_of};
use super::vectors::WIDTH;

/// Scores of each token that one task works through.
const SCORES_PER_TASK: usize = 1024;

/// The largest score of each token, and the sum of the exponentials of all less that.
pub(super) struct Sums {
    most: Vec<Line>,
    sums: Vec<[f64; WIDTH]>,
}

impl Sums {
    pub(super) fn of(scores: &Panels) -> Self {
        let places = lines_of(scores.rows());
        let parts = scores.inputs().div_ceil(SCORES_PER_TASK);
        let tasks = (0..places * parts).into_par_iter();
        let found: Vec<(Line, [f64; WIDTH])> = tasks
            .map(|task| {
                let (place, part) = (task / parts, task % parts);
                let panel = scores.panel(place / MOST_LINES);
                let step = panel.lines_per_input;
                let start = part * SCORES_PER_TASK;
                let end = scores.inputs().min(start + SCORES_PER_TASK);
                let lines = &panel.lines[start * step + place % MOST_LINES..end * step];
                let mut found = (Line([f32::NEG_INFINITY; WIDTH]), [0.0; WIDTH]);
                most_and_sums(lines, step, &mut found.0, &mut found.1);
                found
            })
            .collect();
        let mut all = Self {
            most: Vec::with_capacity(places),
            sums: Vec::with_capacity(places),
        };
        for parts in found.chunks(parts.max(1)) {
            let mut most = Line([f32::NEG_INFINITY; WIDTH]);
            let mut sums = [0.0; WIDTH];
            for lane in 0..WIDTH {
                for (of_part, _) in parts {
                    // NaN stays: a sum of NaN is not passed over.
                    most.0[lane] = most.0[lane].max(of_part.0[lane]);
                }
                for (of_part, sum) in parts {
                    sums[lane] += sum[lane] * f64::from(of_part.0[lane] - most.0[lane]).exp();
                }
            }
            all.most.push(most);
            all.sums.push(sums);
        }
        all
    }

    /// The logarithm of the sum of the exponentials of a token's scores.
    pub(super) fn logarithm(&self, row: usize) -> f32 {
        let (place, lane) = (row / WIDTH, row % WIDTH);
        (f64::from(self.most[place].0[lane]) + self.sums[place][lane].ln()) as f32
    }

    /// Makes scores the weights that their exponentials have.
    pub(super) fn weights_in_place(&self, scores: &mut Panels) {
        let (rows, inputs) = (scores.rows(), scores.inputs());
        let panels = scores.lines_mut().par_chunks_mut(MOST_LINES * inputs);
        let parts = panels.enumerate().flat_map(|(index, lines)| {
            let step = lines_of(PANEL_ROWS.min(rows - index * PANEL_ROWS));
            let parts = lines.par_chunks_mut(SCORES_PER_TASK * step);
            parts.map(move |lines| (index, step, lines))
        });
        parts.for_each(|(index, step, lines)| {
            for place in 0..step {
                let of_panel = index * MOST_LINES + place;
                let mut factors = Line::ZERO;
                for (factor, sum) in factors.0.iter_mut().zip(&self.sums[of_panel]) {
                    *factor = (1.0 / sum) as f32;
                }
                weigh(&mut lines[place..], step, &self.most[of_panel], &factors);
            }
        });
    }
}

on_widest! {
    /// Of every `step`-th line the largest numbers, and the sums of the exponentials less those.
    fn most_and_sums(lines: &[Line], step: usize, most: &mut Line, sums: &mut [f64; WIDTH]) {
        /// Numbers added up in 32 bits: a whole vocabulary would lose a digit.
        const AT_ONCE: usize = 64;
        for line in lines.iter().step_by(step) {
            for (most, score) in most.0.iter_mut().zip(&line.0) {
                // Unlike `f32::max`, one instruction.
                *most = if *score > *most { *score } else { *most };
            }
        }
        for lines in lines.chunks(AT_ONCE * step) {
            let mut few = [0.0; WIDTH];
            for line in lines.iter().step_by(step) {
                for ((sum, score), most) in few.iter_mut().zip(&line.0).zip(&most.0) {
                    *sum += exp_of_nonpositive(*score - most);
                }
            }
            for (sum, few) in sums.iter_mut().zip(few) {
                *sum += f64::from(few);
            }
        }
    }
}

on_widest! {
    /// Every `step`-th line to `factors` times the exponentials of it less `most`.
    fn weigh(lines: &mut [Line], step: usize, most: &Line, factors: &Line) {
        for line in lines.iter_mut().step_by(step) {
            for ((score, most), factor) in line.0.iter_mut().zip(&most.0).zip(&factors.0) {
                *score = factor * exp_of_nonpositive(*score - most);
            }
        }
    }
}
