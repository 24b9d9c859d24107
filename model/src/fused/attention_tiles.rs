//! Attention of a block of queries to the keys it sees, in tiles.
//!
//! Scores come out of the first product as the second one reads its rows: queries side by side, one
//! key after the other. So the softmax runs down the keys for 16 queries at a time, and nothing is
//! turned in between.

use super::exp_of_nonpositive;
use super::lanes::on_widest;
use super::lines::{Line, turn};
use super::matrix::Matrix;
use super::panels::{PANEL_ROWS, Panel, lay_out, lines_of};
use super::tile::sums;
use super::vectors::WIDTH;

/// Memory of a thread.
#[derive(Default)]
pub(super) struct Space {
    queries: Vec<Line>,
    scores: Vec<Line>,
    bias: Vec<Line>,
    attended: Vec<Line>,
}

/// Up to [`PANEL_ROWS`] queries.
pub(super) const QUERIES: usize = PANEL_ROWS;

impl Space {
    /// Lays out a bias `[queries, keys]` for [`Self::attend`]; `None` for none.
    pub(super) fn set_bias(&mut self, bias: Option<Matrix<'_>>) {
        match bias {
            Some(bias) => fill(&mut self.bias, bias),
            None => self.bias.clear(),
        }
    }

    /// Writes `softmax(scale * queries * keys^T + bias) * values` for queries `[T, D]`, keys and values
    /// `[S, D]`, and the bias set last, into the rows of `output`, `row_stride` apart.
    pub(super) fn attend(
        &mut self,
        output: &mut [f32],
        row_stride: usize,
        [queries, keys, values]: [Matrix<'_>; 3],
        scale: f32,
    ) {
        let count = queries.rows;
        let lines_per_input = lines_of(count);
        let panel = |lines| Panel {
            lines,
            lines_per_input,
            start: 0,
            rows: count,
        };
        fill(&mut self.queries, queries);
        self.scores.resize(keys.rows * lines_per_input, Line::ZERO);
        sums(&mut self.scores, panel(&self.queries), keys);
        let mut factors = [Line::ZERO; PANEL_ROWS / WIDTH];
        for (place, factors) in factors[..lines_per_input].iter_mut().enumerate() {
            let scores = &mut self.scores[place..];
            let bias = self.bias.get(place..).unwrap_or_default();
            softmax_down(scores, bias, lines_per_input, scale, factors);
        }
        let channels = values.columns;
        self.attended.resize(channels * lines_per_input, Line::ZERO);
        sums(&mut self.attended, panel(&self.scores), values.turned());
        let mut square = [Line::ZERO; WIDTH];
        for (place, factors) in factors[..lines_per_input].iter().enumerate() {
            let rows = WIDTH.min(count - place * WIDTH);
            for start in (0..channels).step_by(WIDTH) {
                let lines = self.attended[start * lines_per_input + place..].iter();
                for (turned, line) in square.iter_mut().zip(lines.step_by(lines_per_input)) {
                    for (lane, turned) in turned.0.iter_mut().enumerate() {
                        *turned = line.0[lane] * factors.0[lane];
                    }
                }
                turn(&mut square);
                let width = WIDTH.min(channels - start);
                for (row, line) in square[..rows].iter().enumerate() {
                    let at = (place * WIDTH + row) * row_stride + start;
                    output[at..at + width].copy_from_slice(&line.0[..width]);
                }
            }
        }
    }
}

fn fill(lines: &mut Vec<Line>, rows: Matrix<'_>) {
    lines.resize(rows.columns * lines_of(rows.rows), Line::ZERO);
    lay_out(rows, |place, line| lines[place] = *line);
}

on_widest! {
    /// Every `step`-th line of scores, `scale * score + bias`, to the exponential of what it is below
    /// the largest; no bias is one of zeros. `factors` become what makes the sums 1.
    fn softmax_down(
        scores: &mut [Line],
        bias: &[Line],
        step: usize,
        scale: f32,
        factors: &mut Line,
    ) {
        let mut most = [f32::NEG_INFINITY; WIDTH];
        let mut bias = bias.iter().step_by(step);
        for scores in scores.iter_mut().step_by(step) {
            let bias = bias.next().unwrap_or(&Line::ZERO);
            let lanes = scores.0.iter_mut().zip(&bias.0).zip(&mut most);
            for ((score, bias), most) in lanes {
                *score = *score * scale + bias;
                // Unlike `f32::max`, one instruction.
                *most = if *score > *most { *score } else { *most };
            }
        }
        let mut sums = [0.0; WIDTH];
        for scores in scores.iter_mut().step_by(step) {
            let lanes = scores.0.iter_mut().zip(&most).zip(&mut sums);
            for ((score, most), sum) in lanes {
                *score = exp_of_nonpositive(*score - most);
                *sum += *score;
            }
        }
        for (factor, sum) in factors.0.iter_mut().zip(sums) {
            *factor = 1.0 / sum;
        }
    }
}
