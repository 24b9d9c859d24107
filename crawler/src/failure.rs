//! Why a page or an image did not come: bad data as a value.

use std::borrow::Cow;
use std::fmt;

/// One URL that yielded nothing, and why. It is counted by [`Failure::reason`]; it never ends a
/// run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// What kind of thing went wrong.
    pub kind: FailureKind,
    /// What exactly, for a person to read.
    pub detail: String,
}

impl Failure {
    /// A failure of this kind.
    #[must_use]
    pub fn new(kind: FailureKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
        }
    }

    /// A stable name to count by: `robots`, `timeout`, `http-404`, ...
    #[must_use]
    pub fn reason(&self) -> Cow<'static, str> {
        self.kind.reason()
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.reason(), self.detail)
    }
}

impl std::error::Error for Failure {}

/// What kind of thing went wrong with one URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum FailureKind {
    /// Not an absolute `http` or `https` URL, or one whose port no web server listens on.
    BadUrl,
    /// The host is, or resolves only to, an address that is not public.
    PrivateAddress,
    /// `robots.txt` forbids it.
    Robots,
    /// `robots.txt` could not be had, which forbids everything for now (RFC 9309, 2.3.1.4).
    RobotsUnavailable,
    /// A machine-readable statement on reuse forbids it.
    Consent,
    /// The name does not resolve.
    Dns,
    /// No connection, or it closed before an answer came.
    Connect,
    /// The TLS handshake failed.
    Tls,
    /// Connecting, the header or the whole answer took too long.
    Timeout,
    /// The body came more slowly than the minimum rate.
    TooSlow,
    /// The server answered with this status.
    Http(u16),
    /// 429 until the last attempt, or a wait asked for with 429 or 503 that is longer than we wait.
    RateLimited,
    /// More redirects than allowed.
    RedirectLimit,
    /// The answer is not well-formed HTTP.
    BadHttp,
    /// The body is not what its `Content-Encoding` says, or that coding is not known here.
    Encoding,
    /// The body ended before its announced end.
    Truncated,
    /// The body is larger than the cap, after decoding.
    TooLarge,
    /// Asked for a page and got something else.
    NotHtml,
    /// A link that was followed and looks as if it led on for ever.
    Trap,
    /// A WARC record that only points to an earlier one.
    Revisit,
    /// The bytes of a WARC record are not those that its digest was made of.
    Digest,
    /// The archive of the crawl that is replayed has no answer to it.
    NotArchived,
}

impl FailureKind {
    /// All kinds but those of a status.
    const NAMED: [(Self, &'static str); 21] = [
        (Self::BadUrl, "bad-url"),
        (Self::PrivateAddress, "private-address"),
        (Self::Robots, "robots"),
        (Self::RobotsUnavailable, "robots-unavailable"),
        (Self::Consent, "consent"),
        (Self::Dns, "dns"),
        (Self::Connect, "connect"),
        (Self::Tls, "tls"),
        (Self::Timeout, "timeout"),
        (Self::TooSlow, "too-slow"),
        (Self::RateLimited, "rate-limited"),
        (Self::RedirectLimit, "redirect-limit"),
        (Self::BadHttp, "bad-http"),
        (Self::Encoding, "encoding"),
        (Self::Truncated, "truncated"),
        (Self::TooLarge, "too-large"),
        (Self::NotHtml, "not-html"),
        (Self::Trap, "trap"),
        (Self::Revisit, "revisit"),
        (Self::Digest, "digest"),
        (Self::NotArchived, "not-archived"),
    ];

    /// A stable name to count by.
    #[must_use]
    pub fn reason(self) -> Cow<'static, str> {
        if let Self::Http(status) = self {
            return Cow::Owned(format!("http-{status}"));
        }
        let named = Self::NAMED.iter().find(|(kind, _)| *kind == self);
        Cow::Borrowed(named.map_or("unknown", |(_, name)| name))
    }

    /// The kind that is counted by this name.
    #[must_use]
    pub fn from_reason(reason: &str) -> Option<Self> {
        if let Some(status) = reason.strip_prefix("http-") {
            return status.parse().ok().map(Self::Http);
        }
        let named = Self::NAMED.iter().find(|(_, name)| *name == reason);
        named.map(|(kind, _)| *kind)
    }

    /// Whether the same request may well succeed another day: what failed was the way to the
    /// server or the server itself, not the URL, the rules or the content.
    #[must_use]
    pub fn is_transient(self) -> bool {
        match self {
            Self::Http(status) => status == 408 || status == 425 || status >= 500,
            kind => matches!(
                kind,
                Self::RobotsUnavailable
                    | Self::Dns
                    | Self::Connect
                    | Self::Tls
                    | Self::Timeout
                    | Self::TooSlow
                    | Self::RateLimited
                    | Self::BadHttp
                    | Self::Truncated
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_names_its_kind() {
        for (kind, name) in FailureKind::NAMED {
            assert_eq!(kind.reason(), name);
            assert_eq!(FailureKind::from_reason(name), Some(kind));
        }
        let status = FailureKind::Http(503);
        assert_eq!(status.reason(), "http-503");
        assert_eq!(FailureKind::from_reason("http-503"), Some(status));
        assert_eq!(FailureKind::from_reason("answered"), None);
    }
}
