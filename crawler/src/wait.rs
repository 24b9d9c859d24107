//! Headers and elements that say "later" or "elsewhere": `Retry-After` and
//! `<meta http-equiv=refresh>`.

use std::time::{Duration, SystemTime};

use url::Url;

use crate::Failure;
use crate::address::tidy;

/// How long a `Retry-After` header asks us to wait, given the time now; `None` if it makes no
/// sense. RFC 9110, 10.2.3: seconds or a date. A number too large to count is "for ever":
/// [`Duration::MAX`]. A date in the past is no wait.
#[must_use]
pub fn retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    let value = value.trim();
    if !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()) {
        return Some(value.parse().map_or(Duration::MAX, Duration::from_secs));
    }
    let date = httpdate::parse_http_date(value).ok()?;
    Some(date.duration_since(now).unwrap_or_default())
}

/// A redirect that a page asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refresh {
    /// How long the page wishes to be seen before.
    pub delay: Duration,
    /// The page to go to; the page itself if the text names none.
    pub url: Url,
}

/// Reads the `content` of a `<meta http-equiv=refresh>` on the page `base`: HTML standard,
/// "shared declarative refresh steps".
///
/// # Errors
///
/// [`crate::FailureKind::BadUrl`] if the target is not `http` or `https`, or the text is no
/// refresh. Whether the target's address may be asked is checked like that of any redirect.
pub fn meta_refresh(content: &str, base: &Url) -> Result<Refresh, Failure> {
    let bad = |detail: &str| Failure::new(crate::FailureKind::BadUrl, detail);
    let content = content.trim_ascii_start();
    let digits = content
        .find(|next: char| !next.is_ascii_digit())
        .unwrap_or(content.len());
    let rest = &content[digits..];
    if digits == 0 && !rest.starts_with('.') {
        return Err(bad("a refresh starts with its delay"));
    }
    let seconds = content[..digits]
        .parse()
        .unwrap_or(if digits == 0 { 0 } else { u64::MAX });
    let delay = Duration::from_secs(seconds);
    let rest = rest.trim_start_matches(|next: char| next.is_ascii_digit() || next == '.');
    if !rest.is_empty() && !rest.starts_with([';', ',', ' ', '\t', '\n', '\r', '\x0c']) {
        return Err(bad("a refresh has a separator behind its delay"));
    }
    let rest = rest.trim_ascii_start();
    let rest = rest.strip_prefix([';', ',']).unwrap_or(rest);
    let target = without_quotes(after_url_key(rest.trim_ascii_start()));
    if target.is_empty() {
        let url = base.clone();
        return Ok(Refresh { delay, url });
    }
    let url = base
        .join(target)
        .map_err(|error| bad(&format!("the target of a refresh: {error}")))
        .and_then(tidy)?;
    Ok(Refresh { delay, url })
}

/// The text behind `url =`, or all of it if that does not stand there.
fn after_url_key(text: &str) -> &str {
    text.get(..3)
        .filter(|key| key.eq_ignore_ascii_case("url"))
        .and_then(|_| text[3..].trim_ascii_start().strip_prefix('='))
        .map_or(text, str::trim_ascii_start)
}

fn without_quotes(text: &str) -> &str {
    match text.chars().next() {
        Some(quote @ ('"' | '\'')) => text[1..].split(quote).next().unwrap_or_default(),
        _ => text.trim_ascii_end(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Tue, 25 Nov 2025 12:00:00 GMT").unwrap();
        let wait = |value| retry_after(value, now).map(|wait| wait.as_secs());
        assert_eq!(wait(" 30 "), Some(30));
        assert_eq!(wait("Tue, 25 Nov 2025 12:01:30 GMT"), Some(90));
        assert_eq!(wait("Tue, 25 Nov 2025 11:00:00 GMT"), Some(0));
        assert_eq!(wait("99999999999999999999"), Some(u64::MAX));
        assert_eq!(wait("-5"), None);
        assert_eq!(wait("soon"), None);
    }

    #[test]
    fn a_refresh_names_delay_and_target() {
        let base = Url::parse("http://h.test/d/a").unwrap();
        let read = |content| {
            meta_refresh(content, &base)
                .ok()
                .map(|refresh| (refresh.delay.as_secs(), refresh.url.to_string()))
        };
        assert_eq!(
            read("0; url=/next"),
            Some((0, "http://h.test/next".to_owned()))
        );
        assert_eq!(
            read("5;URL='b.html'"),
            Some((5, "http://h.test/d/b.html".to_owned()))
        );
        assert_eq!(read("30"), Some((30, base.to_string())));
        assert_eq!(read("0;url=javascript:alert(1)"), None);
        assert_eq!(read("later"), None);
    }
}
