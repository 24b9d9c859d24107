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
    /// A WARC record that only points to an earlier one.
    Revisit,
}

impl FailureKind {
    /// A stable name to count by.
    #[must_use]
    pub fn reason(self) -> Cow<'static, str> {
        Cow::Borrowed(match self {
            Self::BadUrl => "bad-url",
            Self::PrivateAddress => "private-address",
            Self::Robots => "robots",
            Self::RobotsUnavailable => "robots-unavailable",
            Self::Consent => "consent",
            Self::Dns => "dns",
            Self::Connect => "connect",
            Self::Tls => "tls",
            Self::Timeout => "timeout",
            Self::TooSlow => "too-slow",
            Self::Http(status) => return Cow::Owned(format!("http-{status}")),
            Self::RateLimited => "rate-limited",
            Self::RedirectLimit => "redirect-limit",
            Self::BadHttp => "bad-http",
            Self::Encoding => "encoding",
            Self::Truncated => "truncated",
            Self::TooLarge => "too-large",
            Self::NotHtml => "not-html",
            Self::Revisit => "revisit",
        })
    }
}
