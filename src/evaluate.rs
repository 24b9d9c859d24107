//! What a model says, judged: the measures of the benchmarks of the Flamingo paper, each equal to the
//! published implementation it is named after. [`score`] judges files.

pub mod cider;
pub mod keyed;
pub mod ranking;
pub mod score;
pub mod treebank;
pub mod vqa;
pub mod wordnet;
pub mod wups;
