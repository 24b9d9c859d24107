//! Cross entropy of scores that are never all in memory.
//!
//! The scores of a batch over a large vocabulary, and their gradient, would be the largest tensors of a
//! training step by far. They are taken for some panels of tokens at a time, and become the gradient of
//! the hidden states at once: it is that of a loss of 1 times a number for each token, which the backward
//! pass brings. So the scores are computed once.

use std::sync::{Arc, OnceLock};

use candle_core::{CpuStorage, CustomOp2, CustomOp3, Device, Layout, Result, Shape, Tensor, bail};

use super::across::across;
use super::contiguous;
use super::cross_entropy::{exponentials, most_and_sum};
use super::finish::Finish;
use super::frozen::stored_product;
use super::panels::{PANEL_ROWS, Panels};
use super::product::takes_tiles;
use super::slopes::by_rows_of;
use super::sums::Sums;
use super::weight::Weight;

/// Scores held at a time, in numbers (64 MB), or those of one panel where they are more.
const SCORES: usize = 1 << 24;

/// Cross entropies of targets `[T]` under the scores `hidden * W^T` of hidden states `[T, width]` and a
/// frozen table `[V, width]`, `[T]`. A third operand, rows of the table as a variable, gets a gradient; the
/// table holds what it holds.
///
/// Holds 64 MB, and the gradient of the hidden states.
pub(crate) struct Head {
    targets: Vec<u32>,
    trained: Arc<[u32]>,
    /// Whether a backward pass follows.
    keeps_slopes: bool,
    slopes: OnceLock<Slopes>,
}

/// What a loss of 1 of each token has as gradients.
struct Slopes {
    /// Of the hidden states, `[T, width]`.
    hidden: Vec<f32>,
    /// Of the trained rows' scores, `[T, ids]`.
    trained: Vec<f32>,
}

impl Head {
    pub(crate) fn new(targets: &[u32], trained: &Arc<[u32]>, keeps_slopes: bool) -> Self {
        Self {
            targets: targets.to_vec(),
            trained: Arc::clone(trained),
            keeps_slopes,
            slopes: OnceLock::new(),
        }
    }

    fn forward(
        &self,
        (hidden, hidden_layout): (&CpuStorage, &Layout),
        (table, table_layout): (&CpuStorage, &Layout),
    ) -> Result<(CpuStorage, Shape)> {
        let (count, width) = hidden_layout.shape().dims2()?;
        let (vocabulary, _) = table_layout.shape().dims2()?;
        if count != self.targets.len() {
            bail!("{NAME}: {count} tokens and {} targets", self.targets.len());
        }
        let known = |id: &&u32| **id as usize >= vocabulary;
        if let Some(id) = self.targets.iter().chain(&*self.trained).find(known) {
            bail!("target {id} is outside the {vocabulary} scores");
        }
        let mut slopes = Slopes {
            hidden: Vec::with_capacity(count * width),
            trained: Vec::with_capacity(count * self.trained.len()),
        };
        let losses = if takes_tiles(count) && width > 0 {
            let hidden = contiguous(hidden, hidden_layout, NAME)?;
            let weight = Weight::new((table, table_layout), width, NAME)?;
            self.in_tiles(hidden, weight, [width, vocabulary], &mut slopes)?
        } else {
            let operands = [(hidden, hidden_layout), (table, table_layout)];
            self.in_rows(operands, vocabulary, &mut slopes)?
        };
        if self.keeps_slopes {
            // Nobody else sets it: an operation runs once.
            self.slopes.get_or_init(|| slopes);
        }
        Ok((CpuStorage::F32(losses), Shape::from(count)))
    }

    fn in_tiles(
        &self,
        hidden: &[f32],
        weight: Weight<'_>,
        [width, vocabulary]: [usize; 2],
        slopes: &mut Slopes,
    ) -> Result<Vec<f32>> {
        let panels = (SCORES / (vocabulary.max(1) * PANEL_ROWS)).max(1);
        let mut losses = Vec::with_capacity(self.targets.len());
        let mut space = Vec::new();
        let parts = hidden.chunks(panels * PANEL_ROWS * width);
        for (hidden, targets) in parts.zip(self.targets.chunks(panels * PANEL_ROWS)) {
            let hidden = Panels::of(hidden, width, None);
            let mut scores = weight.panels_in(space, &hidden, Finish::NOTHING);
            drop(hidden);
            let sums = Sums::of(&scores);
            let known = targets.iter().enumerate().map(|(row, target)| {
                let score = scores.number(row, *target as usize);
                sums.logarithm(row) - score
            });
            losses.extend(known);
            if self.keeps_slopes {
                sums.weights_in_place(&mut scores);
                for (row, target) in targets.iter().enumerate() {
                    *scores.number_mut(row, *target as usize) -= 1.0;
                }
                for row in 0..targets.len() {
                    let trained = self.trained.iter();
                    let numbers = trained.map(|id| scores.number(row, *id as usize));
                    slopes.trained.extend(numbers);
                }
                let slope = match weight {
                    Weight::F32(weight) => across(&scores, weight, width, Finish::NOTHING),
                    Weight::Bf16(weight) => across(&scores, weight, width, Finish::NOTHING),
                    Weight::Blocks(_) => bail!("{NAME} of a table of 8 bits"),
                };
                slopes.hidden.extend(slope);
            }
            space = scores.into_lines();
        }
        Ok(losses)
    }

    /// As [`Self::in_tiles`], for few tokens and on any processor. Holds all scores.
    fn in_rows(
        &self,
        [hidden, table]: [(&CpuStorage, &Layout); 2],
        vocabulary: usize,
        slopes: &mut Slopes,
    ) -> Result<Vec<f32>> {
        let (scores, shape) = stored_product(hidden, table, Finish::NOTHING, NAME)?;
        let layout = Layout::contiguous(shape);
        let mut weights = contiguous(&scores, &layout, NAME)?.to_vec();
        let mut losses = Vec::with_capacity(self.targets.len());
        for (weights, target) in weights.chunks_mut(vocabulary.max(1)).zip(&self.targets) {
            let target = *target as usize;
            let (most, sum) = most_and_sum(weights);
            losses.push(sum.ln() - (weights[target] - most));
            let scores = weights.to_vec();
            exponentials(weights, &scores, most, 1.0 / sum);
            weights[target] -= 1.0;
            let trained = self.trained.iter().map(|id| weights[*id as usize]);
            slopes.trained.extend(trained);
        }
        if self.keeps_slopes {
            slopes.hidden = by_rows_of((&CpuStorage::F32(weights), &layout), table)?;
        }
        Ok(losses)
    }

    /// The gradients of the hidden states and of the trained rows.
    fn backward(&self, hidden: &Tensor, gradient: &Tensor) -> Result<(Tensor, Option<Tensor>)> {
        let Some(slopes) = self.slopes.get() else {
            bail!("{NAME} kept nothing for a backward pass");
        };
        let (count, width) = hidden.dims2()?;
        let gradient = gradient.contiguous()?.to_vec1::<f32>()?;
        let mut of_hidden = slopes.hidden.clone();
        let rows = of_hidden.chunks_exact_mut(width).zip(&gradient);
        rows.for_each(|(row, factor)| row.iter_mut().for_each(|slope| *slope *= factor));
        let of_hidden = Tensor::from_vec(of_hidden, (count, width), &Device::Cpu)?;
        let ids = self.trained.len();
        if ids == 0 {
            return Ok((of_hidden, None));
        }
        let mut of_scores = slopes.trained.clone();
        let rows = of_scores.chunks_exact_mut(ids).zip(&gradient);
        rows.for_each(|(row, factor)| row.iter_mut().for_each(|slope| *slope *= factor));
        let of_scores = Tensor::from_vec(of_scores, (count, ids), &Device::Cpu)?;
        let of_rows = of_scores.t()?.matmul(&hidden.detach())?;
        Ok((of_hidden, Some(of_rows)))
    }
}

const NAME: &str = "head";

impl CustomOp2 for Head {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        table: &CpuStorage,
        table_layout: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((hidden, hidden_layout), (table, table_layout))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>)> {
        Ok((Some(self.backward(hidden, gradient)?.0), None))
    }
}

impl CustomOp3 for Head {
    fn name(&self) -> &'static str {
        NAME
    }

    fn cpu_fwd(
        &self,
        hidden: &CpuStorage,
        hidden_layout: &Layout,
        table: &CpuStorage,
        table_layout: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> Result<(CpuStorage, Shape)> {
        self.forward((hidden, hidden_layout), (table, table_layout))
    }

    fn bwd(
        &self,
        hidden: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        gradient: &Tensor,
    ) -> Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        let (of_hidden, of_rows) = self.backward(hidden, gradient)?;
        Ok((Some(of_hidden), None, of_rows))
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Var;
    use candle_core::backprop::GradStore;

    use super::super::tests::numbers;
    use super::*;

    /// Losses and gradients, of hidden states and of rows of the table, of tokens of which some are scored by
    /// rows that are trained.
    fn assert_head(count: usize, vocabulary: usize) {
        let width = 20;
        let (hidden, table) = (numbers(count, width, 0.2), numbers(vocabulary, width, 0.7));
        let targets: Vec<u32> = (0..count).map(|at| (at * 5 % vocabulary) as u32).collect();
        let ids = [1_u32, 6];
        let indices = Tensor::new(&ids, &Device::Cpu).unwrap();
        let rows = Var::from_tensor(&table.index_select(&indices, 0).unwrap()).unwrap();
        let frozen = table.as_detached_tensor();
        let head = || Head::new(&targets, &ids.into(), true);
        let found = hidden.apply_op3(&frozen, &rows, head()).unwrap();
        let scores = hidden.matmul(&table.t().unwrap()).unwrap();
        let expected = crate::loss::token_losses(&scores, &targets).unwrap();
        let close = |what: &str, found: &Tensor, expected: &Tensor| {
            let apart = (found - expected)
                .unwrap()
                .abs()
                .unwrap()
                .max_all()
                .unwrap();
            let apart = apart.to_scalar::<f32>().unwrap();
            assert!(apart < 1e-4, "{what}: {apart}");
        };
        close("losses", &found, &expected);
        let uneven = numbers(1, count, 0.4).flatten_all().unwrap();
        let gradients = |losses: &Tensor| (losses * &uneven).unwrap().sum_all().unwrap().backward();
        let (found, expected) = (gradients(&found).unwrap(), gradients(&expected).unwrap());
        let of_hidden = |gradients: &GradStore| gradients.get(&hidden).unwrap().clone();
        close("hidden", &of_hidden(&found), &of_hidden(&expected));
        let of_table = expected
            .get(&table)
            .unwrap()
            .index_select(&indices, 0)
            .unwrap();
        close("rows", found.get(&rows).unwrap(), &of_table);
        let alone = hidden.apply_op2(&frozen, head()).unwrap();
        close(
            "hidden alone",
            &of_hidden(&gradients(&alone).unwrap()),
            &of_hidden(&expected),
        );
    }

    #[test]
    fn losses_without_all_scores_are_those_with_them() {
        // Few tokens; several panels, the last of them not full, and more scores than a task has.
        assert_head(3, 30);
        assert_head(130, 1100);
    }
}
