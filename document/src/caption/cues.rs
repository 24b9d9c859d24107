//! Subtitles: SubRip (.srt) and WebVTT (.vtt).

/// Words and when they are said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cue {
    /// When they begin, in ms from the video's start.
    pub start_ms: u64,
    /// When they end.
    pub end_ms: u64,
    /// The words, in one line.
    pub text: String,
}

/// The cues of a file of subtitles, in its order; what is none is passed over.
///
/// ```
/// use m3w_document::caption::cues;
///
/// let found = cues("1\n00:00:01,500 --> 00:00:04,000\nA robin\nlands.\n\n");
/// assert_eq!((found[0].start_ms, found[0].text.as_str()), (1500, "A robin lands."));
/// ```
#[must_use]
pub fn cues(text: &str) -> Vec<Cue> {
    let mut cues = Vec::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let Some((start, rest)) = line.split_once("-->") else {
            continue;
        };
        // WebVTT has settings after the end.
        let end = rest.split_whitespace().next().unwrap_or_default();
        let (Some(start_ms), Some(end_ms)) = (time_ms(start.trim()), time_ms(end)) else {
            continue;
        };
        let words: Vec<&str> = lines
            .by_ref()
            .map(str::trim)
            .take_while(|line| !line.is_empty())
            .collect();
        if end_ms > start_ms && !words.is_empty() {
            cues.push(Cue {
                start_ms,
                end_ms,
                text: words.join(" "),
            });
        }
    }
    cues
}

/// A time as subtitles and lists write it, in ms: `1:02:03.5`, `02:03,500`, `63.5`.
#[must_use]
pub fn time_ms(text: &str) -> Option<u64> {
    let mut seconds = 0_u64;
    let mut parts = text.split(':').peekable();
    if text.split(':').count() > 3 {
        return None;
    }
    while let Some(part) = parts.next() {
        let is_last = parts.peek().is_none();
        let (whole, fraction) = match part.split_once(['.', ',']) {
            Some((whole, fraction)) if is_last => (whole, fraction),
            Some(_) => return None,
            None => (part, ""),
        };
        let is_number = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        if whole.is_empty() || !is_number(whole) || !is_number(fraction) {
            return None;
        }
        seconds = seconds.checked_mul(60)?.checked_add(whole.parse().ok()?)?;
        if is_last {
            let digits: String = fraction.chars().chain("000".chars()).take(3).collect();
            return seconds.checked_mul(1000)?.checked_add(digits.parse().ok()?);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_and_what_is_none_is_passed_over() {
        let text = "WEBVTT\r\n\r\nNOTE no --> times\r\n\r\n00:01.000 --> 00:02.500 align:start\r\n\
                    one\r\ntwo\r\n\r\n7\r\n1:00:00,5 --> 1:00:01,000\r\nthree\r\n\
                    \r\n00:05.000 --> 00:04.000\r\nbackwards\r\n\r\n00:06.000 --> 00:07.000\r\n";
        let found: Vec<(u64, u64, String)> = cues(text)
            .into_iter()
            .map(|cue| (cue.start_ms, cue.end_ms, cue.text))
            .collect();
        assert_eq!(
            found,
            [
                (1000, 2500, "one two".to_owned()),
                (3_600_500, 3_601_000, "three".to_owned())
            ]
        );
    }

    #[test]
    fn times_are_seconds_or_have_colons() {
        for (text, expected) in [
            ("63.5", Some(63_500)),
            ("0", Some(0)),
            ("1:02:03.04", Some(3_723_040)),
            ("1:2:3:4", None),
            ("-1", None),
            ("1.2:3", None),
            ("", None),
            ("nan", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(time_ms(text), expected, "{text}");
        }
    }
}
