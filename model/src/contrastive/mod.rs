//! Contrastive pretraining of a vision encoder (Alayrac et al. 2022, section 2.1 and appendix
//! B.1.3): pictures and their captions are mapped to one space, where each should be nearest to its
//! own.
//!
//! Only the weights of the vision encoder go into a Flamingo; they have the names they have there.

mod adaptive;
mod config;
mod dual;
mod retrieval;
mod text;
mod trainer;

pub use config::{ContrastiveConfig, PretrainConfig, TextConfig};
pub use dual::{DualEncoder, Pairs};
pub use retrieval::{Retrieval, retrieval};
pub use trainer::{ContrastiveTrainer, PretrainReport};
