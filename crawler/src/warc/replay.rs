//! Answers out of the files that an earlier crawl wrote, in place of the web.

use std::path::Path;
use std::sync::Arc;

use url::Url;

use super::WarcRecord;
use super::kept::{Kept, answer_of};
use super::write::NOT_MODIFIED_PROFILE;
use crate::fetch::Answer;
use crate::{Error, Failure, FailureKind};

/// What a folder of WARC files holds, by URL. Of several answers to one URL the last counts: it is
/// the one that the crawl went by.
///
/// Memory held is about 40 bytes for each URL; bodies stay on disk. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Replay(Arc<Kept>);

impl Replay {
    /// Goes once through the files that a crawl wrote into `folder`.
    ///
    /// # Errors
    ///
    /// [`Error::Read`] if they cannot be read, or there are none; [`Error::Damaged`] if one is
    /// damaged: a replay with gaps would not be one.
    pub fn open(folder: &Path, max_body_bytes: usize) -> Result<Self, Error> {
        let mut kept = Kept::new(max_body_bytes);
        kept.add(folder, is_answer, Err)?;
        Ok(Self(Arc::new(kept)))
    }

    /// What the crawl got for this URL.
    pub(crate) async fn answer(&self, url: &Url) -> Result<Answer, Failure> {
        let not_archived = || Failure::new(FailureKind::NotArchived, url.as_str());
        let (kept, asked) = (Arc::clone(&self.0), url.clone());
        let read = move || kept.record(&asked);
        let record = tokio::task::spawn_blocking(read)
            .await
            .ok()
            .flatten()
            .ok_or_else(not_archived)?;
        if let Some(failure) = failure_of(&record) {
            return Err(failure);
        }
        answer_of(record).ok_or_else(not_archived)
    }
}

fn is_answer(record: &WarcRecord) -> bool {
    match record.kind() {
        "response" => true,
        "revisit" => record.header("WARC-Profile") == Some(NOT_MODIFIED_PROFILE),
        _ => failure_of(record).is_some(),
    }
}

/// The failure that a metadata record tells of.
fn failure_of(record: &WarcRecord) -> Option<Failure> {
    if record.kind() != "metadata" {
        return None;
    }
    let block = String::from_utf8_lossy(&record.block);
    let field = |name: &str| {
        block
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(str::trim)
    };
    let kind = FailureKind::from_reason(field("outcome")?)?;
    Some(Failure::new(kind, field("detail").unwrap_or_default()))
}
