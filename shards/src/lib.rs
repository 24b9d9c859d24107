//! Documents to Parquet rows, and rows to training batches.
//!
//! A page that has passed every filter is a `Document<Image>`. This crate takes it to disk and, in
//! two steps, into memory as a trainer wants it:
//!
//! ```text
//! Document<Image> -- DocumentWriter --> documents/*.parquet -- DocumentReader --> Document<Image>
//!                                                                                      |
//!                                                                                  tokenize
//!                                                                                      v
//!                                                                                  Tokenized
//!                                                                                      |
//!                                                                                 subsequence
//!                                                                                      v
//! Batch <-- Loader -- sequences/*.parquet <-- SequenceWriter -- SequenceRow <-- Subsequence
//! ```
//!
//! **Two durable forms** ([`documents_schema`], [`sequences_schema`]): documents hold pages whole,
//! with image bytes, hashes and the statements on reuse; sequences hold windows of tokens with
//! their pictures. Both are plain Parquet that pyarrow, polars, DuckDB and Hugging Face `datasets`
//! read without options, the last with images decoded. A shard appears under its name whole or not
//! at all, and the same rows make the same bytes. A [`Manifest`] lists the shards with their
//! hashes.
//!
//! **The training unit** is Flamingo's (arXiv 2204.14198): [`tokenize`] lays a document out as
//! tokens with `<image>` and `<EOC>`, and [`subsequence`] draws a window of L tokens with up to N
//! images, as a pure function of the document and a seed.
//!
//! **The [`Loader`]** shuffles, decodes, resizes and normalises rows into a [`Batch`] of host
//! arrays, and can be stopped and resumed at any batch. It knows nothing of any tensor library.
//! With [`FreshWindows`] it draws the windows itself, from documents, others in each epoch; an
//! [`EncodedLoader`] leaves the pictures as they are stored.
//! A [`Mixture`] draws from several corpora by weight, one batch of each a step.
//!
//! **[`export`]** writes documents in the formats of other trainers.
//!
//! Files from outside may be damaged: what is wrong with one is an [`Error`] that names the file
//! and, where it can, the row; a panic of a decoder is caught and told as one.

mod batch;
mod buffer;
mod colour;
mod columns;
mod config;
mod corpus;
mod document_rows;
mod document_view;
mod error;
mod export;
mod fresh_windows;
mod guard;
mod loader;
mod loader_config;
mod manifest;
mod mixture;
mod order;
mod pairs;
mod part;
mod pixels;
mod producer;
mod randomness;
mod reader;
mod rows;
mod salvage;
mod schema;
mod sequence_rows;
mod shard_file;
mod stream;
mod subsequence;
mod tokenize;
mod tokenizer;
mod tokenizer_training;
mod video;
mod writer;

pub use batch::{Batch, BatchShape, EncodedBatch, EncodedPicture};
pub use buffer::Pixels;
pub use colour::ColourJitter;
pub use config::Config;
pub use error::Error;
pub use export::{ExportFormat, ExportReport, export};
pub use fresh_windows::FreshWindows;
pub use loader::{EncodedLoader, Loader};
pub use loader_config::{LoaderConfig, LoaderState, Share};
pub use manifest::{FileEntry, MANIFEST_NAME, Manifest, write_atomically};
pub use mixture::{Dataset, Mixture, MixtureState, Schedule, WeightedBatch};
pub use pairs::space_before_caption;
pub use part::Part;
pub use pixels::{CLIP_DEVIATION, CLIP_MEAN, Fit, picture_pixels};
pub use reader::{DocumentReader, SequenceInfo, SequenceReader};
pub use rows::{SequenceImage, SequenceRow};
pub use salvage::{Salvaged, salvage_documents};
pub use schema::{SCHEMA_VERSION, documents_schema, sequences_schema};
pub use subsequence::{Subsequence, subsequence};
pub use tokenize::{Tokenized, TokenizedFrame, TokenizedImage, tokenize};
pub use tokenizer::{END_OF_CHUNK_TOKEN, IMAGE_TOKEN, SpecialIds, Tokenizer};
pub use tokenizer_training::train_tokenizer;
pub use video::clip_start_ms;
pub use writer::{DocumentWriter, SequenceWriter, ShardInfo};
