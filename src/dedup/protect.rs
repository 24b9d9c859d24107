//! What must not be in training data: the images and questions of evaluations.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, bail};
use arrow::array::{Array, ArrayRef, AsArray};
use arrow::datatypes::DataType;
use m3w_document::Sha256;
use m3w_document::dedup::{PicturePrint, gram, grams, words};
use m3w_document::image::sniff;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::config::ProtectConfig;

/// Rows of a Parquet file that are held at a time.
const BATCH_ROWS: usize = 64;
/// Longest line of a text file that is read as a question.
const MAX_LINE_BYTES: usize = 1 << 20;

/// Protected pictures and texts, as far as documents are compared with them. Memory is 4 KB for
/// each picture, about 24 bytes for each word of the texts, and their names.
#[derive(Debug, Default)]
pub(super) struct Protected {
    /// File, line or row of each thing.
    names: Vec<String>,
    pub(super) pictures: Vec<Picture>,
    /// By length in words, hashes of that many words with the number of their name.
    grams: BTreeMap<usize, HashMap<u64, u32>>,
    /// Texts too short to be told from what anybody may say.
    pub(super) too_short: u64,
    pub(super) texts: u64,
}

/// A protected picture.
#[derive(Debug)]
pub(super) struct Picture {
    pub(super) name: u32,
    pub(super) sha256: Sha256,
    /// None if it cannot be decoded: then only the same bytes are found.
    pub(super) print: Option<PicturePrint>,
}

impl Protected {
    /// Reads files and folders: pictures, `.txt` (a text a line), `.jsonl` and `.json` (their
    /// strings), `.parquet` (its strings and pictures).
    ///
    /// # Errors
    ///
    /// If one cannot be read, or holds nothing of the kind.
    pub(super) fn read(paths: &[PathBuf], config: &ProtectConfig) -> Result<Self> {
        let mut protected = Self::default();
        for path in paths {
            let before = protected.names.len() as u64 + protected.too_short;
            let mut files = Vec::new();
            collect(path, &mut files)?;
            for file in files {
                protected.read_file(&file, config)?;
            }
            if protected.names.len() as u64 + protected.too_short == before {
                bail!(
                    "{} holds nothing to protect: give pictures, .txt, .jsonl or .parquet files, or \
                     a folder of them",
                    path.display()
                );
            }
        }
        Ok(protected)
    }

    fn read_file(&mut self, path: &Path, config: &ProtectConfig) -> Result<()> {
        let context = || format!("cannot read {}", path.display());
        let extension = path.extension().unwrap_or_default().to_string_lossy();
        match extension.to_ascii_lowercase().as_str() {
            "txt" | "jsonl" => {
                let is_json = extension.eq_ignore_ascii_case("jsonl");
                let file = BufReader::new(File::open(path).with_context(context)?);
                for (number, line) in (1..).zip(file.lines()) {
                    let line = line.with_context(context)?;
                    let name = format!("{}:{number}", path.display());
                    if line.len() > MAX_LINE_BYTES {
                        bail!("{name} has more than {MAX_LINE_BYTES} bytes: divide it into lines");
                    }
                    if !is_json {
                        self.add_text(&line, &name, config);
                    } else if !line.trim().is_empty() {
                        let value = serde_json::from_str(&line)
                            .with_context(|| format!("{name} is not JSON"))?;
                        self.add_strings(&value, &name, config);
                    }
                }
            }
            "json" => {
                let bytes = std::fs::read(path).with_context(context)?;
                let value = serde_json::from_slice(&bytes)
                    .with_context(|| format!("{} is not JSON", path.display()))?;
                self.add_strings(&value, &path.display().to_string(), config);
            }
            "parquet" => self.read_parquet(path, config)?,
            _ => {
                let bytes = std::fs::read(path).with_context(context)?;
                if sniff(&bytes).is_ok() {
                    self.add_picture(&bytes, &path.display().to_string())?;
                }
            }
        }
        Ok(())
    }

    fn read_parquet(&mut self, path: &Path, config: &ProtectConfig) -> Result<()> {
        let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
        let damaged =
            |error: String| anyhow!("{} is not a readable Parquet file: {error}", path.display());
        let reader = ParquetRecordBatchReaderBuilder::try_new(file)
            .and_then(|builder| builder.with_batch_size(BATCH_ROWS).build())
            .map_err(|error| damaged(error.to_string()))?;
        let mut first = 0;
        for batch in reader {
            let batch = batch.map_err(|error| damaged(error.to_string()))?;
            for row in 0..batch.num_rows() {
                let name = format!("{} row {}", path.display(), first + row);
                for column in batch.columns() {
                    self.add_cell(&column.slice(row, 1), &name, config)?;
                }
            }
            first += batch.num_rows();
        }
        Ok(())
    }

    /// Adds all strings and pictures in an array.
    fn add_cell(&mut self, array: &ArrayRef, name: &str, config: &ProtectConfig) -> Result<()> {
        let mut pictures: Vec<&[u8]> = Vec::new();
        match array.data_type() {
            DataType::Utf8 => array
                .as_string::<i32>()
                .iter()
                .flatten()
                .for_each(|text| self.add_text(text, name, config)),
            DataType::LargeUtf8 => array
                .as_string::<i64>()
                .iter()
                .flatten()
                .for_each(|text| self.add_text(text, name, config)),
            DataType::Binary => pictures.extend(array.as_binary::<i32>().iter().flatten()),
            DataType::LargeBinary => pictures.extend(array.as_binary::<i64>().iter().flatten()),
            DataType::Struct(_) => {
                for column in array.as_struct().columns() {
                    self.add_cell(column, name, config)?;
                }
            }
            DataType::List(_) => {
                for item in array.as_list::<i32>().iter().flatten() {
                    self.add_cell(&item, name, config)?;
                }
            }
            DataType::LargeList(_) => {
                for item in array.as_list::<i64>().iter().flatten() {
                    self.add_cell(&item, name, config)?;
                }
            }
            _ => {}
        }
        for bytes in pictures {
            if sniff(bytes).is_ok() {
                self.add_picture(bytes, name)?;
            }
        }
        Ok(())
    }

    fn add_strings(&mut self, value: &serde_json::Value, name: &str, config: &ProtectConfig) {
        match value {
            serde_json::Value::String(text) => self.add_text(text, name, config),
            serde_json::Value::Array(values) => {
                values
                    .iter()
                    .for_each(|value| self.add_strings(value, name, config));
            }
            serde_json::Value::Object(fields) => {
                fields
                    .values()
                    .for_each(|value| self.add_strings(value, name, config));
            }
            _ => {}
        }
    }

    fn add_text(&mut self, text: &str, name: &str, config: &ProtectConfig) {
        let words = words(text);
        if words.len() < config.min_words {
            self.too_short += u64::from(!words.is_empty());
            return;
        }
        self.texts += 1;
        let number = self.add_name(name);
        let length = words.len().min(config.gram_words);
        let known = self.grams.entry(length).or_default();
        for gram in grams(&words, length) {
            known.entry(gram).or_insert(number);
        }
    }

    fn add_picture(&mut self, bytes: &[u8], name: &str) -> Result<()> {
        let name = self.add_name(name);
        self.pictures.push(Picture {
            name,
            sha256: Sha256::of(bytes),
            print: PicturePrint::of(bytes).ok(),
        });
        u32::try_from(self.pictures.len())
            .context("more pictures to protect than can be counted")?;
        Ok(())
    }

    fn add_name(&mut self, name: &str) -> u32 {
        if self.names.last().is_none_or(|last| last != name) {
            self.names.push(name.to_owned());
        }
        (self.names.len() - 1) as u32
    }

    /// The name of that number.
    pub(super) fn name(&self, number: u64) -> &str {
        let number = usize::try_from(number).ok();
        number
            .and_then(|number| self.names.get(number))
            .map_or("", String::as_str)
    }

    /// How many protected sequences of words a text has, and the name of the first.
    pub(super) fn found_in(&self, words: &[u64]) -> Option<(u64, u32)> {
        let mut count = 0;
        let mut first = None;
        for (length, known) in &self.grams {
            for gram in grams(words, *length) {
                if let Some(name) = known.get(&gram) {
                    count += 1;
                    first = first.or(Some(*name));
                }
            }
        }
        first.map(|name| (count, name))
    }

    /// A digest of all that is protected.
    pub(super) fn digest(&self) -> Sha256 {
        let mut bytes = Vec::new();
        for name in &self.names {
            bytes.extend(name.as_bytes());
            bytes.push(0);
        }
        for picture in &self.pictures {
            bytes.extend(picture.sha256.0);
        }
        for (length, known) in &self.grams {
            let mut sorted: Vec<u64> = known.keys().copied().collect();
            sorted.sort_unstable();
            sorted.push(gram(&sorted));
            bytes.extend((*length as u64).to_be_bytes());
            bytes.extend(sorted.iter().flat_map(|gram| gram.to_be_bytes()));
        }
        Sha256::of(&bytes)
    }
}

/// The files at a path, or in the folder there and those below, by name.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let context = || format!("cannot read {}", path.display());
    if !std::fs::metadata(path).with_context(context)?.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    let entries = std::fs::read_dir(path).with_context(context)?;
    let mut entries: Vec<PathBuf> = entries
        .map(|entry| Ok(entry.with_context(context)?.path()))
        .collect::<Result<_>>()?;
    entries.sort();
    entries.iter().try_for_each(|entry| collect(entry, files))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_found_whole_and_a_long_text_by_any_thirteen_words() {
        let folder = tempfile::tempdir().unwrap();
        let question = "What colour has the kite above the old town?";
        let long: Vec<String> = (0..40).map(|number| format!("word{number}")).collect();
        std::fs::write(
            folder.path().join("questions.txt"),
            format!("{question}\nwho?\n"),
        )
        .unwrap();
        let line = serde_json::json!({"id": 7, "context": [long.join(" ")]});
        std::fs::write(folder.path().join("long.jsonl"), format!("{line}\n\n")).unwrap();
        let config = ProtectConfig::default();
        let protected = Protected::read(&[folder.path().to_owned()], &config).unwrap();
        assert_eq!((protected.texts, protected.too_short), (2, 1));
        let found = |text: &str| {
            let found = protected.found_in(&words(text));
            found.map(|(count, name)| (count, protected.name(name.into()).to_owned()))
        };
        let asked = format!("And so: {} Nobody knew.", question.to_uppercase());
        let (count, name) = found(&asked).unwrap();
        assert_eq!(count, 1);
        assert!(name.ends_with("questions.txt:1"), "{name}");
        assert_eq!(found("What colour has the kite above the new town?"), None);
        let (count, name) = found(&long[10..24].join(" ")).unwrap();
        assert_eq!(count, 2);
        assert!(name.ends_with("long.jsonl:1"), "{name}");
        assert_eq!(found(&long[10..22].join(" ")), None);
    }

    #[test]
    fn a_folder_with_nothing_to_protect_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("a.bin"), "nothing").unwrap();
        let paths = [folder.path().to_owned()];
        let refused = Protected::read(&paths, &ProtectConfig::default());
        let refused = refused.unwrap_err().to_string();
        assert!(refused.contains("holds nothing to protect"), "{refused}");
    }
}
