//! The shards of a corpus as one numbered list of rows.

use std::path::{Path, PathBuf};

use arrow::datatypes::Schema;

use crate::batch::RowPlace;
use crate::order::Group;
use crate::reader::{SequenceInfo, Shard, open_sequences};
use crate::{Error, Manifest, Tokenizer, schema};

/// The shards of a corpus, open.
pub(crate) struct Corpus {
    shards: Vec<Shard>,
    /// All row groups, in order.
    pub(crate) groups: Vec<Group>,
    pub(crate) rows: u64,
    /// What all its rows were made with; the seed is the first shard's.
    pub(crate) info: SequenceInfo,
    schema: Schema,
}

impl Corpus {
    /// Opens the sequences that the manifest of `directory` lists.
    pub(crate) fn open(directory: &Path, tokenizer: &Tokenizer) -> Result<Self, Error> {
        let mismatch = |path: PathBuf, problem: String| Err(Error::Mismatch { path, problem });
        let manifest = Manifest::load(directory)?;
        let mut shards = Vec::new();
        let mut groups = Vec::new();
        let mut rows = 0;
        let mut first: Option<SequenceInfo> = None;
        for entry in &manifest.sequences {
            let (shard, mut info) = open_sequences(&directory.join(&entry.path))?;
            for (index, count) in shard.group_rows()?.into_iter().enumerate() {
                groups.push(Group {
                    shard: shards.len(),
                    index,
                    first_row: rows,
                    rows: count,
                });
                rows += count as u64;
            }
            if let Some(first) = &first {
                // Shards of several runs may be read together.
                info.seed = first.seed;
                if info != *first {
                    return mismatch(
                        shard.path,
                        "it was made with another tokenizer, length or number of images than the \
                         first shard: pack the documents again with one tokenizer"
                            .to_owned(),
                    );
                }
            } else {
                first = Some(info);
            }
            shards.push(shard);
        }
        let Some(info) = first.filter(|_| rows > 0) else {
            return mismatch(
                directory.to_owned(),
                "there are no training rows: pack documents with images first".to_owned(),
            );
        };
        if info.tokenizer_sha256 != tokenizer.sha256() {
            return mismatch(
                directory.to_owned(),
                format!(
                    "they were made with another tokenizer than the one given, whose file has the \
                     SHA-256 {}: use the tokenizer whose file has the SHA-256 {}",
                    tokenizer.sha256(),
                    info.tokenizer_sha256
                ),
            );
        }
        let schema = schema::sequences_schema(info.sequence_length);
        Ok(Self {
            shards,
            groups,
            rows,
            info,
            schema,
        })
    }

    /// The rows of some row groups, in order.
    pub(crate) fn read(&self, groups: &[Group], epoch: u64) -> Result<Vec<RowPlace>, Error> {
        let mut places = Vec::new();
        for group in groups {
            let shard = &self.shards[group.shard];
            let mut number = group.first_row;
            for records in
                shard.batches(&self.schema, Some(vec![group.index]), group.rows.max(1))?
            {
                let records = records?;
                for row in 0..records.num_rows() {
                    places.push(RowPlace {
                        records: records.clone(),
                        row,
                        number,
                        epoch,
                    });
                    number += 1;
                }
            }
            if number != group.first_row + group.rows as u64 {
                return Err(Error::parquet(
                    &shard.path,
                    format!(
                        "row group {} lacks rows that its footer counts",
                        group.index
                    ),
                ));
            }
        }
        Ok(places)
    }

    /// The file of a row, and its number there.
    pub(crate) fn locate(&self, number: u64) -> (&Path, u64) {
        let index = self
            .groups
            .partition_point(|group| group.first_row <= number)
            .saturating_sub(1);
        let shard = self.groups[index].shard;
        let first = self
            .groups
            .iter()
            .find(|group| group.shard == shard)
            .map_or(0, |group| group.first_row);
        (&self.shards[shard].path, number - first)
    }
}
