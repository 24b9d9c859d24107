//! What a build reads: a list of URLs, WARC files, an index of records in WARC files, pairs, or the
//! documents of another corpus.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use m3w_crawler::warc::{self, WarcItem};
use m3w_crawler::{Page, normalise};
use m3w_document::{DocumentId, Reason, Sha256};
use sha2::Digest;
use url::Url;

use crate::hashes::Hashes;
use crate::index::{self, Archived};
use crate::input;
use crate::interleaved::{Interleaved, InterleavedSource};
use crate::pairs::{Pair, PairSource, Refusals};
use crate::pipeline::fetch_reason;

/// Where a build's pages come from.
#[derive(Debug, Clone)]
pub enum Source {
    /// A list of URLs, in the formats of [`input::urls`].
    Urls {
        /// The list.
        path: PathBuf,
        /// Name of the column, where the format has columns.
        column: String,
    },
    /// WARC files, plain or compressed by record.
    Warc(Vec<PathBuf>),
    /// Records of WARC files that an index names, in the formats of [`index::records`].
    Index {
        /// The index.
        path: PathBuf,
        /// The folder or URL below which the WARC files stand.
        base: String,
    },
    /// Pairs instead of pages.
    Pairs(Box<PairSource>),
    /// Documents of another corpus.
    Interleaved(InterleavedSource),
}

/// One input: a page, or what leads to one.
#[derive(Debug)]
pub struct Entry {
    /// Number in the source, from 0.
    pub number: u64,
    /// The input as written.
    pub text: String,
    /// What it is.
    pub item: Item,
}

/// What an input is.
#[derive(Debug)]
pub enum Item {
    /// A page to fetch.
    Url(Url),
    /// A page at hand.
    Page(Box<Page>),
    /// A page to take out of an archive.
    Archived(Archived),
    /// A picture with its caption.
    Pair(Box<Pair>),
    /// A document of another corpus.
    Document(Box<Interleaved>),
    /// Nothing that could become a page or a pair.
    Refused(Reason),
}

/// How many inputs a source has, and which of them are refused for what others hold.
#[derive(Debug)]
pub struct Survey {
    /// Inputs, the refused among them.
    pub total: u64,
    /// The inputs whose URL an earlier one has, and of pairs those that rules of frequency name.
    pub refusals: Refusals,
}

impl Source {
    /// Counts the inputs and finds those that repeat an earlier one. Memory does not grow with the
    /// list but for a bit for each line.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn survey(&self, config: &m3w_crawler::Config) -> Result<Survey> {
        if let Self::Pairs(pairs) = self {
            let (total, refusals) = pairs.refusals()?;
            return Ok(Survey { total, refusals });
        }
        if let Self::Interleaved(source) = self {
            // As those of an archive, they are told apart when they are written.
            return Ok(Survey {
                total: source.count()?,
                refusals: Refusals::default(),
            });
        }
        let mut total = 0;
        let mut hashes = Hashes::default();
        for entry in self.entries(config, &Refusals::default())? {
            let entry = entry?;
            total += 1;
            // Pages of an archive are told apart when they are written: by the page's own URL.
            if let Item::Url(url) = &entry.item {
                let [a, b, c, d, e, f, g, h, ..] = DocumentId::of(url).0;
                hashes.add(u64::from_le_bytes([a, b, c, d, e, f, g, h]), entry.number)?;
            }
        }
        let mut refusals = Refusals::default();
        refusals.add("dedup/listed-before", hashes.repeats()?);
        Ok(Survey { total, refusals })
    }

    /// All inputs in their order, the same at each call; those in `refusals` are refused.
    ///
    /// # Errors
    ///
    /// If a file cannot be read; what is wrong with a single line or record is an
    /// [`Item::Refused`].
    pub fn entries(
        &self,
        config: &m3w_crawler::Config,
        refusals: &Refusals,
    ) -> Result<Box<dyn Iterator<Item = Result<Entry>>>> {
        let items: Box<dyn Iterator<Item = Result<(String, Item)>>> = match self {
            Self::Urls { path, column } => Box::new(input::urls(path, column)?.map(|text| {
                let text = text?;
                let item = url_item(&text);
                Ok((text, item))
            })),
            Self::Pairs(pairs) => Box::new(pairs.rows().map(|row| {
                let (text, pair) = row?;
                let item = pair.map_or_else(Item::Refused, |pair| Item::Pair(Box::new(pair)));
                Ok((text, item))
            })),
            Self::Interleaved(source) => Box::new(source.rows().map(|row| {
                let (text, read) = row?;
                let item = read.map_or_else(Item::Refused, |read| Item::Document(Box::new(read)));
                Ok((text, item))
            })),
            Self::Warc(paths) => {
                let config = config.clone();
                Box::new(
                    paths
                        .clone()
                        .into_iter()
                        .flat_map(move |path| warc_items(&path, &config)),
                )
            }
            Self::Index { path, base } => {
                let records = index::records(path, base)?;
                Box::new(records.map(|record| {
                    let (text, archived) = record?;
                    Ok((text, archived.map_or_else(Item::Refused, Item::Archived)))
                }))
            }
        };
        let refusals = refusals.clone();
        Ok(Box::new(items.zip(0..).map(move |(item, number)| {
            let (text, item) = item?;
            let item = match (refusals.reason(number), item) {
                // What is wrong with a row by itself says more than what others hold.
                (Some(reason), Item::Url(_) | Item::Pair(_)) => Item::Refused(reason.clone()),
                (_, item) => item,
            };
            Ok(Entry { number, text, item })
        })))
    }

    /// What tells this source from another: the digest of the list, or of the names and lengths
    /// of the WARC files.
    ///
    /// # Errors
    ///
    /// If a file cannot be read.
    pub fn digest(&self) -> Result<Sha256> {
        match self {
            Self::Urls { path, .. } | Self::Index { path, .. } => {
                let context = || format!("cannot read the list {}", path.display());
                let mut file = BufReader::new(File::open(path).with_context(context)?);
                let mut hasher = sha2::Sha256::new();
                loop {
                    let bytes = file.fill_buf().with_context(context)?;
                    if bytes.is_empty() {
                        return Ok(Sha256(hasher.finalize().into()));
                    }
                    hasher.update(bytes);
                    let used = bytes.len();
                    file.consume(used);
                }
            }
            Self::Pairs(pairs) => pairs.digest(),
            Self::Interleaved(source) => source.digest(),
            Self::Warc(paths) => {
                if paths.is_empty() {
                    bail!("no WARC file was named");
                }
                let mut description = String::new();
                for path in paths {
                    let metadata = std::fs::metadata(path)
                        .with_context(|| format!("cannot read the WARC file {}", path.display()))?;
                    let name = path.file_name().unwrap_or_default().to_string_lossy();
                    description.push_str(&format!("{name}\t{}\n", metadata.len()));
                }
                Ok(Sha256::of(description.as_bytes()))
            }
        }
    }
}

/// What a line of a list of URLs is.
pub(crate) fn url_item(text: &str) -> Item {
    // What stood here was no text: escaped, the sign that replaces it would name another page.
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Item::Refused(Reason::new("fetch/bad-url"));
    }
    match normalise(text) {
        Err(failure) => Item::Refused(fetch_reason(failure)),
        Ok(url) => Item::Url(url),
    }
}

/// The pages of one WARC file, and what should have been one; images are no inputs.
fn warc_items(
    path: &Path,
    config: &m3w_crawler::Config,
) -> Box<dyn Iterator<Item = Result<(String, Item)>>> {
    let items = match warc::pages(path, config) {
        Ok(items) => items,
        Err(error) => return Box::new(std::iter::once(Err(error.into()))),
    };
    Box::new(items.filter_map(|item| match item {
        Ok(WarcItem::Page(page)) => {
            let text = page.url.to_string();
            Some(Ok((text, Item::Page(Box::new(page)))))
        }
        Ok(WarcItem::Resource(_)) => None,
        Ok(WarcItem::Skipped(failure)) => {
            let text = failure.detail.clone();
            Some(Ok((text, Item::Refused(fetch_reason(failure)))))
        }
        Err(error @ m3w_crawler::Error::Damaged { .. }) => {
            let reason = Reason::new("fetch/damaged-record");
            Some(Ok((error.to_string(), Item::Refused(reason))))
        }
        Err(error) => Some(Err(error.into())),
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_no_text_is_refused_and_not_escaped() {
        let is_url = |text: &str| matches!(url_item(text), Item::Url(_));
        assert!(!is_url("https://a.test/\u{fffd}"));
        assert!(is_url("https://a.test/ü"));
    }
}
