//! `m3w tokenizer`

use std::io::Write;
use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use crate::corpus::Corpus;
use crate::pack;
use m3w_shards::write_atomically;

/// Make a tokenizer
#[derive(Debug, Args)]
pub(super) struct Tokenizer {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Train(Train),
}

/// Train a byte-level BPE tokenizer on the documents of a corpus
///
/// The result is a Hugging Face tokenizer.json with the special tokens <image> and <EOC>.
#[derive(Debug, Args)]
struct Train {
    /// Directory of the corpus
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Tokens in the vocabulary, special tokens included
    #[arg(long, value_name = "N", default_value_t = 32_000)]
    vocabulary_size: usize,
}

impl Tokenizer {
    pub(super) fn run(self) -> Result<()> {
        let Command::Train(train) = self.command;
        let corpus = Corpus::at(&train.data);
        let documents = corpus.manifest()?.documents;
        let bytes = pack::train_tokenizer(&corpus, &documents, train.vocabulary_size)?;
        write_atomically(&train.out, &bytes)?;
        writeln!(std::io::stdout(), "{}", train.out.display())?;
        Ok(())
    }
}
