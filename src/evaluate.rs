//! What a model says, judged: the measures of the benchmarks of the Flamingo paper, each equal to the
//! published implementation it is named after, and the benchmarks themselves, asked with examples in
//! the prompt.
//!
//! [`score`] judges files. [`run`] asks: a [`benchmark`] gives [`example`]s, [`supports`] chooses those
//! that are shown, [`few_shot`] writes the prompt, and [`judge`] measures the answers.

pub mod benchmark;
pub mod cider;
pub mod example;
pub mod few_shot;
pub mod json;
pub mod judge;
pub mod keyed;
pub mod ranking;
pub mod run;
pub mod score;
pub mod supports;
pub mod treebank;
pub mod vqa;
pub mod wordnet;
pub mod wups;
