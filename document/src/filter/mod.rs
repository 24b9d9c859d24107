//! Filters: functions from a document, or a part of one, to a [`crate::Verdict`].
//!
//! All have one look: `verdict(what, &Config) -> Verdict`, pure, with the measured value and the
//! threshold in the reason. Thresholds and their sources stand in each module's `Config`.

pub mod c4;
mod grams;
pub mod image;
pub mod line;
pub mod obelics;
pub mod paragraph;
pub mod pii;
pub mod quality;
pub mod repetition;
pub mod text;
pub mod word_list;
mod words;

pub use words::words;
