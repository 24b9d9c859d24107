//! Decision trees, the sum of which says how likely something is content.

/// One tree: nodes in preorder, the left child right after its parent.
pub(crate) type Tree = &'static [Node];

/// A measure's number, its threshold, and how many nodes further the right child stands. Up to the
/// threshold goes left. A leaf has [`LEAF`] for a number and its value for a threshold.
pub(crate) type Node = (u8, f32, u8);

/// Number of no measure.
pub(crate) const LEAF: u8 = u8::MAX;

/// Log odds beyond which the trees that are still to come are not asked. Most of a page is surely
/// text or surely a menu after a few; 2.5 is a likelihood of 0.92 or 0.08, beyond any threshold.
/// On sites the trees have not seen it scores as 3.5 does.
const SURE_LOG_ODDS: f32 = 2.5;

/// Trees asked between two looks at the sum.
const TREES_AT_ONCE: usize = 8;

/// The likelihood that the trees give to what was measured.
pub(crate) fn likelihood(forest: &[Tree], values: &[f32]) -> f32 {
    let mut sum = 0.0;
    for trees in forest.chunks(TREES_AT_ONCE) {
        sum += trees.iter().map(|tree| leaf(tree, values)).sum::<f32>();
        if sum.abs() > SURE_LOG_ODDS {
            break;
        }
    }
    1.0 / (1.0 + (-sum).exp())
}

fn leaf(tree: &[Node], values: &[f32]) -> f32 {
    let mut at = 0;
    // A tree that is none, or measures that are missing, say nothing.
    while let Some((measure, threshold, right)) = tree.get(at) {
        if *measure == LEAF {
            return *threshold;
        }
        let goes_left = values
            .get(usize::from(*measure))
            .is_none_or(|value| value <= threshold);
        at += if goes_left { 1 } else { usize::from(*right) };
    }
    0.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_goes_left_up_to_its_threshold() {
        let forest: [Tree; 1] = [&[(0, 1.0, 2), (LEAF, -9.0, 0), (LEAF, 9.0, 0)]];
        assert!(likelihood(&forest, &[1.0]) < 0.01);
        assert!(likelihood(&forest, &[1.5]) > 0.99);
    }

    #[test]
    fn no_trees_say_nothing() {
        assert!((likelihood(&[], &[1.0]) - 0.5).abs() < 1e-6);
    }
}
