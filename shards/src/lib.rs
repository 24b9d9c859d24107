//! Documents to Parquet rows, and rows to training batches.

mod batch;
mod columns;
mod config;
mod document_rows;
mod error;
mod guard;
mod loader;
mod manifest;
mod order;
mod pixels;
mod randomness;
mod reader;
mod rows;
mod schema;
mod sequence_rows;
mod subsequence;
mod tokenize;
mod tokenizer;
mod tokenizer_training;
mod writer;

pub use batch::{Batch, BatchShape};
pub use config::Config;
pub use error::Error;
pub use loader::{Loader, LoaderConfig, LoaderState};
pub use manifest::{FileEntry, MANIFEST_NAME, Manifest, write_atomically};
pub use pixels::{CLIP_DEVIATION, CLIP_MEAN, Fit};
pub use reader::{DocumentReader, SequenceInfo, SequenceReader};
pub use rows::{SequenceImage, SequenceRow};
pub use schema::{SCHEMA_VERSION, documents_schema, sequences_schema};
pub use subsequence::{Subsequence, subsequence};
pub use tokenize::{Tokenized, TokenizedImage, tokenize};
pub use tokenizer::{END_OF_CHUNK_TOKEN, IMAGE_TOKEN, SpecialIds, Tokenizer};
pub use tokenizer_training::train_tokenizer;
pub use writer::{DocumentWriter, SequenceWriter, ShardInfo};
