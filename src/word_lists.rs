//! Lists of flagged words and of words of spam, from the files that the settings name.
//!
//! Plain text, or gzip where a name ends in `.gz`, one word a line. Lines that begin with `#` are passed
//! over.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use m3w_document::filter::text;
use m3w_document::filter::word_list::{WordList, WordLists};

use crate::block_list::reader;

/// Reads the lists of a configuration. Memory is some 60 bytes for each word.
///
/// # Errors
///
/// If a file cannot be read, or has a line that is not one word: names both.
pub fn open(config: &text::Config) -> Result<WordLists> {
    Ok(WordLists {
        flagged: list(&config.flagged_words)?,
        spam: list(&config.spam_words)?,
    })
}

fn list(files: &BTreeMap<String, PathBuf>) -> Result<WordList> {
    let mut list = WordList::default();
    for (language, path) in files {
        let mut text = String::new();
        reader(path)?
            .read_to_string(&mut text)
            .with_context(|| format!("cannot read the list {} as UTF-8", path.display()))?;
        let lines = text.lines().map(str::trim);
        let words = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        if let Err(line) = list.add(language, words) {
            bail!(
                "{}: `{line}` is not one word: write one a line, without phrases",
                path.display()
            );
        }
    }
    Ok(list)
}
