//! Which blocks and images are content, by all that was measured of them.

use std::collections::HashSet;

use url::Url;

use crate::block::{Blocks, NONE};
use crate::caption;
use crate::dom::Tree;
use crate::forest;
use crate::image_url::declared_px;
use crate::mark::{Mark, Rule};
use crate::measure::Row;
use crate::names;
use crate::tags::Kind;
use crate::weights;

/// Share of the threshold of the best expected F1 that is used. Blocks of one page err together,
/// which the expectation does not know; a lower threshold is right for most pages.
const THRESHOLD_SHARE: f32 = 0.75;

/// Words from which a text that the page says again is left out the second time: pages hold copies
/// for other widths of the window, and clones at the ends of a carousel.
const MIN_REPEATED_WORDS: f32 = 20.0;

/// Characters above which a likely text counts as one that stands beside an image.
const MIN_NEIGHBOUR_CHARACTERS: f32 = 20.0;

/// Nodes of a figure at most in which an image is looked for whose caption is there.
const MAX_FIGURE_NODES: usize = 256;

/// Characters of dropped text, about as many words as a reader spans at a glance, beyond which an
/// image no longer stands where its words were: it would stand beside words that are not its own.
const MAX_DROPPED_CHARACTERS: f32 = 30.0;

/// Likelihood from which an image is kept that has lost its words. It costs three images of a
/// hundred, and brings those within ten words of their place from 0.990 to 0.996 of all.
const ASTRAY_THRESHOLD: f32 = 0.9;

/// Levels above an image at which its containers are measured.
const CONTAINER_LEVELS: [usize; 5] = [1, 2, 3, 4, 6];

/// How likely each block is content, and the likelihood from which it is taken.
pub(crate) struct Likelihoods {
    pub(crate) values: Vec<f32>,
    pub(crate) threshold: f32,
}

impl Likelihoods {
    pub(crate) fn new(tree: &Tree, blocks: &Blocks, marks: &[Option<Mark>]) -> Self {
        let mut row = Row::default();
        let values = (0..blocks.blocks.len())
            .map(|number| {
                row.values.clear();
                let node = blocks.blocks[number].node;
                let (mark, levels) = (marks[node], &blocks.levels[node]);
                if names::is_hidden(levels) && !names::is_folded(levels) {
                    return 0.0;
                }
                blocks.measure(tree, number, mark, &mut row);
                forest::likelihood(&weights::BLOCKS, &row.values)
            })
            .collect();
        Self::of(blocks, values)
    }

    /// With the threshold that gives the best expected F1 on this page.
    ///
    /// Taking the likeliest blocks down to any threshold, the expected F1 is about
    /// 2 E(hits) / (taken + E(wanted)); its best threshold is half of its maximum (Lipton et al.
    /// 2014, Optimal Thresholding of Classifiers to Maximize F1 Measure).
    pub(crate) fn of(blocks: &Blocks, values: Vec<f32>) -> Self {
        let mut order: Vec<(f32, f32)> = values
            .iter()
            .zip(&blocks.blocks)
            .map(|(value, block)| (*value, block.words.max(1.0)))
            .collect();
        order.sort_unstable_by(|a, b| b.0.total_cmp(&a.0));
        let wanted: f32 = order.iter().map(|(value, words)| value * words).sum();
        let (mut hits, mut taken, mut best) = (0.0, 0.0, 0.0_f32);
        for (value, words) in order {
            hits += value * words;
            taken += words;
            best = best.max(2.0 * hits / (taken + wanted));
        }
        Self {
            values,
            threshold: best / 2.0 * THRESHOLD_SHARE,
        }
    }

    pub(crate) fn holds(&self, block: usize) -> bool {
        self.values[block] >= self.threshold
    }
}

/// What the images of a page are measured against.
pub(crate) struct Surroundings<'a> {
    tree: &'a Tree,
    blocks: &'a Blocks,
    likelihoods: &'a Likelihoods,
    /// Characters, and likely characters, under each node.
    sums: Vec<(f32, f32)>,
    /// Number of the last block that starts before each node.
    before: Vec<u32>,
    images: f32,
    /// Characters of all blocks before each.
    chars_before: Vec<f32>,
    /// For each block, and the end, the last likely one before it and the next at or after it; so
    /// that an image's distance to likely text does not cost a walk there.
    last_likely: Vec<Option<u32>>,
    next_likely: Vec<Option<u32>>,
}

impl<'a> Surroundings<'a> {
    pub(crate) fn new(tree: &'a Tree, blocks: &'a Blocks, likelihoods: &'a Likelihoods) -> Self {
        let mut sums = vec![(0.0, 0.0); tree.nodes.len()];
        for (block, value) in blocks.blocks.iter().zip(&likelihoods.values) {
            let sum: &mut (f32, f32) = &mut sums[block.node];
            sum.0 += block.chars;
            sum.1 += block.chars * value;
        }
        let (mut before, mut last) = (vec![NONE; tree.nodes.len()], NONE);
        for (index, node) in tree.nodes.iter().enumerate() {
            before[index] = last;
            let block = blocks.block_of[index];
            // Numbers grow with the place of a block's first text.
            if node.text().is_some() && block != NONE && (last == NONE || block > last) {
                last = block;
            }
        }
        let mut images = 0.0;
        for index in (1..tree.nodes.len()).rev() {
            let (own, parent) = (sums[index], tree.nodes[index].parent);
            sums[parent].0 += own.0;
            sums[parent].1 += own.1;
            images += f32::from(u8::from(tree.nodes[index].kind == Kind::Image));
        }
        let count = blocks.blocks.len();
        let is_likely = |block: usize| {
            likelihoods.holds(block) && blocks.blocks[block].chars > MIN_NEIGHBOUR_CHARACTERS
        };
        let mut chars_before = vec![0.0; count + 1];
        let (mut last_likely, mut next_likely) = (vec![None; count + 1], vec![None; count + 1]);
        for block in 0..count {
            chars_before[block + 1] = chars_before[block] + blocks.blocks[block].chars;
            let own = u32::try_from(block).ok().filter(|_| is_likely(block));
            last_likely[block + 1] = own.or(last_likely[block]);
        }
        for block in (0..count).rev() {
            let own = u32::try_from(block).ok().filter(|_| is_likely(block));
            next_likely[block] = own.or(next_likely[block + 1]);
        }
        Self {
            tree,
            blocks,
            likelihoods,
            sums,
            before,
            images,
            chars_before,
            last_likely,
            next_likely,
        }
    }

    /// Characters of unlikely text between the image at `index` and the nearest likely text, or
    /// the page's nearer end; none on a page of pictures alone.
    fn characters_to_likely(&self, index: usize) -> f32 {
        let before = self.before[index];
        let first = if before == NONE {
            0
        } else {
            before as usize + 1
        };
        let (last, next) = (self.last_likely[first], self.next_likely[first]);
        if last.is_none() && next.is_none() {
            return 0.0;
        }
        let last = last.map_or(0, |last| last as usize + 1);
        let next = next.map_or(self.blocks.blocks.len(), |next| next as usize);
        let characters = |from: usize, to: usize| self.chars_before[to] - self.chars_before[from];
        characters(last, first).min(characters(first, next))
    }

    /// Writes what is measured of the image at `index`.
    pub(crate) fn measure(&self, index: usize, rules: Option<Mark>, row: &mut Row) {
        let tree = self.tree;
        let node = &tree.nodes[index];
        for (place, level) in self.blocks.levels[index].iter().enumerate() {
            row.put(names::name(place), f32::from(*level));
        }
        row.put(
            "rule",
            rules.map_or(0.0, |mark| 1.0 + f32::from(mark.rule as u8)),
        );
        for side in ["width", "height"] {
            row.put(side, declared_px(node, side).map_or(-1.0, |px| px as f32));
        }
        let alt = node.attribute("alt").unwrap_or("\0");
        row.put("alt", if alt == "\0" { -1.0 } else { alt.len() as f32 });
        row.put("threshold", self.likelihoods.threshold);
        row.put("page images", self.images);
        self.measure_neighbours(index, row);
        let (mut above, mut level) = (index, 0);
        for wanted in CONTAINER_LEVELS {
            while level < wanted {
                above = tree.nodes[above].parent;
                level += 1;
            }
            let (chars, likely) = self.sums[above];
            row.put(
                "container likelihood",
                if chars > 0.0 { likely / chars } else { -1.0 },
            );
            row.put("container share", likely / (self.sums[0].1 + 1.0));
            row.put("container characters", chars);
            row.put("container images", self.blocks.sums[above].images);
        }
        let (mut above, mut repeats, mut level_of_repeats) = (index, 0, 0);
        for level in 0..6 {
            let held = self.blocks.repeats(above);
            if held > repeats {
                (repeats, level_of_repeats) = (held, level);
            }
            above = tree.nodes[above].parent;
        }
        row.put("records", repeats as f32);
        row.put("record level", level_of_repeats as f32);
    }

    fn measure_neighbours(&self, index: usize, row: &mut Row) {
        let before = self.before[index];
        let count = self.blocks.blocks.len();
        let first = if before == NONE {
            0
        } else {
            before as usize + 1
        };
        let value = |block: Option<usize>| {
            block
                .and_then(|block| self.likelihoods.values.get(block))
                .map_or(-1.0, |value| *value)
        };
        let chars = |block: Option<usize>| {
            block
                .and_then(|block| self.blocks.blocks.get(block))
                .map_or(-1.0, |block| block.chars)
        };
        for step in 1..=2 {
            row.put("likelihood before", value(first.checked_sub(step)));
            row.put("characters before", chars(first.checked_sub(step)));
            row.put("likelihood after", value(Some(first + step - 1)));
            row.put("characters after", chars(Some(first + step - 1)));
        }
        let gap = |likely: Option<u32>, from: usize, to: usize| match likely {
            Some(_) => self.chars_before[to] - self.chars_before[from],
            None => -1.0,
        };
        let (last, next) = (self.last_likely[first], self.next_likely[first]);
        let after_last = last.map_or(0, |last| last as usize + 1);
        row.put("gap before", gap(last, after_last, first));
        row.put(
            "gap after",
            gap(next, first, next.map_or(first, |next| next as usize)),
        );
        row.put(
            "place",
            if count > 0 {
                first as f32 / count as f32
            } else {
                0.0
            },
        );
    }
}

/// Marks every text and image that is unlikely to be content, in place of what the rules say.
///
/// `marks` are those of the rules, each node with that of the subtree it is in; `visible` those of
/// what is not shown.
pub(crate) fn mark_unlikely(
    tree: &Tree,
    page: &Url,
    visible: &[Option<Mark>],
    marks: &mut [Option<Mark>],
    mut kept: Option<&mut Vec<(usize, Mark)>>,
) {
    let blocks = Blocks::find(tree, page, visible);
    let likelihoods = Likelihoods::new(tree, &blocks, marks);
    let surroundings = Surroundings::new(tree, &blocks, &likelihoods);
    let mut decided = visible.to_vec();
    unfold(tree, &blocks, &likelihoods, visible, &mut decided);
    let repeated = repeated(&blocks, &likelihoods);
    let mut row = Row::default();
    let mut gone_end = 0;
    for (index, node) in tree.nodes.iter().enumerate() {
        if index < gone_end {
            continue;
        }
        if decided[index].is_some() {
            gone_end = node.end;
            continue;
        }
        let is_hidden = names::is_hidden(&blocks.levels[index]);
        let (value, threshold) = match node.kind {
            Kind::Image | Kind::Video if is_hidden => {
                decided[index] = Some(Mark::plain(Rule::Hidden));
                continue;
            }
            Kind::Image | Kind::Video => {
                row.values.clear();
                surroundings.measure(index, marks[index], &mut row);
                let likelihood = forest::likelihood(&weights::IMAGES, &row.values);
                let is_astray = surroundings.characters_to_likely(index) > MAX_DROPPED_CHARACTERS;
                let threshold = if is_astray {
                    ASTRAY_THRESHOLD
                } else {
                    weights::IMAGE_THRESHOLD
                };
                (likelihood, threshold)
            }
            Kind::Text if blocks.block_of[index] != NONE => {
                let block = blocks.block_of[index] as usize;
                if repeated[block] {
                    let words = f64::from(blocks.blocks[block].words);
                    let min = f64::from(MIN_REPEATED_WORDS);
                    decided[index] = Some(Mark::new(Rule::Repeated, words, min));
                } else if marks[blocks.blocks[block].node].is_none() {
                    // A part within a line of text: the rules decide.
                    decided[index] = marks[index];
                }
                (likelihoods.values[block], likelihoods.threshold)
            }
            _ => continue,
        };
        let mark = Mark::new(Rule::Unlikely, f64::from(value), f64::from(threshold));
        if value < threshold {
            decided[index] = Some(mark);
        } else if let Some(kept) = &mut kept
            && decided[index].is_none()
        {
            kept.push((index, mark));
        }
    }
    keep_captions(tree, &mut decided);
    marks.copy_from_slice(&decided);
}

/// Takes the mark from the captions of images that are kept: a caption goes with its image, however
/// short it is and whatever stands around it.
fn keep_captions(tree: &Tree, decided: &mut [Option<Mark>]) {
    for index in 1..tree.nodes.len() {
        let Some(figure) = caption::figure_of(tree, index) else {
            continue;
        };
        let nodes = figure..tree.nodes[figure].end.min(figure + MAX_FIGURE_NODES);
        let is_kept = nodes
            .clone()
            .any(|node| tree.nodes[node].kind == Kind::Image && decided[node].is_none());
        if is_kept {
            for mark in &mut decided[index..tree.nodes[index].end.min(nodes.end)] {
                *mark = mark.filter(|mark| mark.rule != Rule::Unlikely);
            }
        }
    }
}

/// For each block, whether a likely one before it says the same.
fn repeated(blocks: &Blocks, likelihoods: &Likelihoods) -> Vec<bool> {
    let mut said = HashSet::new();
    let numbers = 0..blocks.blocks.len();
    numbers
        .map(|number| {
            let block = &blocks.blocks[number];
            likelihoods.holds(number)
                && block.words >= MIN_REPEATED_WORDS
                && !said.insert(block.hash)
        })
        .collect()
}

/// Takes the mark from what is folded away and holds likely text; what stands beside that text is
/// then judged leaf by leaf.
fn unfold(
    tree: &Tree,
    blocks: &Blocks,
    likelihoods: &Likelihoods,
    visible: &[Option<Mark>],
    decided: &mut [Option<Mark>],
) {
    // Likely texts before each node, so that asking whether a subtree holds one costs nothing.
    let mut likely_before = vec![0_usize; tree.nodes.len() + 1];
    for (index, node) in tree.nodes.iter().enumerate() {
        let block = blocks.block_of[index];
        let is_likely = node.kind == Kind::Text
            && visible[index].is_none()
            && block != NONE
            && likelihoods.holds(block as usize);
        likely_before[index + 1] = likely_before[index] + usize::from(is_likely);
    }
    for (index, node) in tree.nodes.iter().enumerate() {
        if node.is_element() && likely_before[index] < likely_before[node.end] {
            decided[index] = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Config, training};

    #[test]
    fn the_trees_know_as_many_measures_as_are_taken() {
        let url = Url::parse("https://example.org/").expect("a URL");
        let html = "<p>A robin sings. <img src=robin.jpg width=640 height=480>";
        let (names, blocks) = training::blocks(html, &url, &Config::default());
        assert_eq!(names.len(), weights::BLOCK_MEASURES);
        assert_eq!(blocks[0].values.len(), weights::BLOCK_MEASURES);
        let (names, images) = training::images(html, &url, &Config::default(), vec![1.0]);
        assert_eq!(names.len(), weights::IMAGE_MEASURES);
        assert_eq!(images[0].values.len(), weights::IMAGE_MEASURES);
    }

    #[test]
    fn the_threshold_is_that_of_the_best_expected_f1() {
        let url = Url::parse("https://example.org/").expect("a URL");
        let (tree, _) = crate::dom::parse("<p>one<p>two<p>three", &Config::default());
        let blocks = Blocks::find(&tree, &url, &vec![None; tree.nodes.len()]);
        let likelihoods = Likelihoods::of(&blocks, vec![1.0, 1.0, 0.0]);
        // Taking the first two is right in all: an F1 of 1.
        assert!((likelihoods.threshold - THRESHOLD_SHARE / 2.0).abs() < 1e-6);
        assert!(likelihoods.holds(1) && !likelihoods.holds(2));
    }
}
