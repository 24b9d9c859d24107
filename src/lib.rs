//! Turns the web into training data for visual language models, and trains a Flamingo on it.
//!
//! The recipe is Flamingo's (Alayrac et al. 2022, arXiv 2204.14198): web pages become text with
//! images at the places where they stand in the DOM; random windows of 256 tokens with up to five
//! images become rows of Parquet shards; a Flamingo model reads them.
//!
//! A page's way through the crates:
//!
//! ```text
//! Url -> Page -> Document<ImageRef> -> Document<Image> -> Subsequence -> row -> Batch -> Inputs
//!   crawler   dom_align          pipeline           shards                    trainer   model
//! ```
//!
//! Each crate knows its own stage; only this one knows their order. [`pipeline`] is the recipe for
//! one page, [`build`] runs it over a list and puts the results on disk, [`trainer`] feeds a model
//! with them. The commands of the `m3w` program are thin layers over these modules.

pub mod answer;
pub mod archive;
pub mod audit;
pub mod bits;
pub mod block_list;
pub mod build;
pub mod card;
pub mod classifier;
pub mod cmd;
pub mod config;
pub mod corpus;
pub mod crawl;
pub mod dedup;
pub mod demo;
pub mod evaluate;
pub mod forget;
pub mod forgotten;
pub mod hashes;
pub mod imported;
pub mod index;
pub mod input;
pub mod interleaved;
pub mod journal;
pub mod memory;
pub mod metrics;
pub mod named;
pub mod outcomes;
pub mod pack;
pub mod page_files;
pub mod pairs;
pub mod pictures;
pub mod pipeline;
pub mod pretrain;
pub mod progress;
pub mod prompt;
pub mod repair;
pub mod report;
pub mod retry;
mod rewrite;
mod run_directory;
pub mod seen;
pub mod serve;
pub mod source;
mod staging;
mod step_lines;
pub mod summary;
pub mod survival;
pub mod trained;
pub mod trainer;
pub mod unit;
pub mod verify;
pub mod video;
pub mod view;
pub mod warc_files;
pub mod what_if;
pub mod word_lists;

pub use m3w_crawler as crawler;
pub use m3w_document as document;
pub use m3w_dom_align as dom_align;
pub use m3w_model as model;
pub use m3w_shards as shards;
