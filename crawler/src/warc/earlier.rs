//! Answers of earlier crawls that a server may confirm instead of sending them again.

use std::path::PathBuf;
use std::sync::Arc;

use url::Url;

use super::kept::{Kept, answer_of};
use super::{DigestCheck, WarcRecord, http};
use crate::Error;
use crate::fetch::Answer;

/// The whole answers of earlier crawls that came with an `ETag` or a `Last-Modified`; of several
/// to one URL the last.
///
/// Memory held is about 40 bytes for each; bodies stay on disk. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Earlier(Arc<Kept>);

impl Earlier {
    /// Goes once through the files in the folders, the latest crawl last. What is damaged there is
    /// passed over: it is asked for anew.
    pub(crate) fn open(folders: &[PathBuf], max_body_bytes: usize) -> Result<Self, Error> {
        let mut kept = Kept::new(max_body_bytes);
        for folder in folders {
            kept.add(folder, can_be_confirmed, |_| Ok(()))?;
        }
        Ok(Self(Arc::new(kept)))
    }

    /// The earlier answer to this URL, if its bytes are still those that were archived.
    pub(crate) async fn answer(&self, url: &Url) -> Option<Answer> {
        if !self.0.contains(url) {
            return None;
        }
        let (kept, url) = (Arc::clone(&self.0), url.clone());
        let read = move || {
            let record = kept.record(&url)?;
            let is_sound = !matches!(record.check_digests(), DigestCheck::Mismatch { .. });
            is_sound.then(|| answer_of(record)).flatten()
        };
        tokio::task::spawn_blocking(read).await.ok().flatten()
    }
}

fn can_be_confirmed(record: &WarcRecord) -> bool {
    let head = || http::Head::parse(&record.block);
    record.kind() == "response"
        && !record.is_oversize
        && !record.is_truncated()
        && head().is_some_and(|head| {
            let has_validator =
                head.header("etag").is_some() || head.header("last-modified").is_some();
            matches!(head.status, 200 | 203) && has_validator
        })
}
