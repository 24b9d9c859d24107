//! Ranges of bytes out of the files of an archive.

use bytes::Bytes;
use url::Url;

use super::Crawler;
use super::request::Wanted;
use crate::{Failure, FailureKind};

impl Crawler {
    /// Fetches `length` bytes from `offset` on of a file that whoever runs the crawl has named: a
    /// record of a WARC file, as an index gives its place. The address rules, the deadlines and
    /// the server's wishes to wait are kept to, and a pause of [`crate::Config::archive_delay_ms`];
    /// `robots.txt` is not asked for, which speaks of pages to be found. Nothing of it is written
    /// into an archive, where it came from. Holds at most [`crate::Config::max_record_bytes`].
    ///
    /// # Errors
    ///
    /// A [`Failure`] is the outcome for this range, to be counted: [`FailureKind::TooLarge`] also
    /// where the server sends whole files only, [`FailureKind::Truncated`] where it sends less.
    pub async fn fetch_range(&self, url: &Url, offset: u64, length: u64) -> Result<Bytes, Failure> {
        let max_bytes = self.shared.config.max_record_bytes();
        let wanted_bytes = usize::try_from(length).unwrap_or(usize::MAX);
        if wanted_bytes > max_bytes {
            let detail = format!("a record of {length} bytes, the cap is {max_bytes}");
            return Err(Failure::new(FailureKind::TooLarge, detail));
        }
        if length == 0 {
            return Err(Failure::new(FailureKind::Truncated, "a record of 0 bytes"));
        }
        let mut redirects = 0;
        let wanted = Wanted::Range { offset, length };
        let found = self.follow(url.clone(), wanted, &mut redirects).await?;
        let (_, bytes) = self.body(found, wanted_bytes, |_| Ok(())).await?;
        if bytes.len() < wanted_bytes {
            let detail = format!("{} bytes of {length} from {offset} on", bytes.len());
            return Err(Failure::new(FailureKind::Truncated, detail));
        }
        Ok(Bytes::from(bytes))
    }
}
