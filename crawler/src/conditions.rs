//! Requests for less than the whole.

use reqwest::header::{
    ETAG, HeaderName, HeaderValue, IF_MODIFIED_SINCE, IF_NONE_MATCH, LAST_MODIFIED, RANGE,
};

use crate::body;
use crate::fetch::Answer;

/// What makes a request ask for less than the whole: RFC 9110, 13.1 and 14.2. The default is
/// nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Conditions {
    range: Option<HeaderValue>,
    if_none_match: Option<HeaderValue>,
    if_modified_since: Option<HeaderValue>,
}

impl Conditions {
    /// Only if the server has something else than this earlier answer.
    pub(crate) fn unlike(earlier: &Answer) -> Self {
        Self {
            if_none_match: earlier.headers.get(ETAG).cloned(),
            if_modified_since: earlier.headers.get(LAST_MODIFIED).cloned(),
            range: None,
        }
    }

    /// Only these bytes.
    pub(crate) fn range(offset: u64, length: u64) -> Self {
        let last = offset.saturating_add(length.saturating_sub(1));
        Self {
            range: HeaderValue::from_str(&format!("bytes={offset}-{last}")).ok(),
            ..Self::default()
        }
    }

    /// Bytes of a file are counted as they lie there, not as they are packed on the way.
    pub(crate) fn accept_encoding(&self) -> &'static str {
        match self.range {
            Some(_) => "identity",
            None => body::ACCEPT_ENCODING,
        }
    }

    /// The conditions as headers of the request.
    pub(crate) fn headers(&self) -> impl Iterator<Item = (HeaderName, &HeaderValue)> {
        [
            (IF_NONE_MATCH, self.if_none_match.as_ref()),
            (IF_MODIFIED_SINCE, self.if_modified_since.as_ref()),
            (RANGE, self.range.as_ref()),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
    }
}
