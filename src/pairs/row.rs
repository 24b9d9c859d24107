//! A row of a list, as it stands, and the pair that it makes.

use m3w_crawler::normalise;
use m3w_document::caption::time_ms;
use m3w_document::{Reason, Sha256};

use super::{Checksums, Media, Pair, PairsConfig};
use crate::pipeline::fetch_reason;
use crate::video::Span;

/// Characters of a row that are shown where it has no URL.
const SHOWN: usize = 200;

/// What stands in a cell; `None` where the row has nothing there.
pub(super) type Cell = Option<Vec<u8>>;

/// A row as text and pair, or why it makes none. The text names it to people.
pub(super) type Row = (String, Result<Pair, Reason>);

/// The cells of a row that matter.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Cells {
    pub(super) url: Cell,
    pub(super) caption: Cell,
    pub(super) sha256: Cell,
    pub(super) md5: Cell,
    pub(super) start: Cell,
    pub(super) end: Cell,
    /// Whether the row has no place for a cell that it needs.
    pub(super) is_short: bool,
}

/// A row that is none, with what there is of it.
pub(super) fn refused(bytes: &[u8], reason: &'static str) -> (String, Reason) {
    let text = String::from_utf8_lossy(bytes);
    (text.chars().take(SHOWN).collect(), Reason::new(reason))
}

impl Cells {
    /// The pair of a row whose picture is on the web.
    pub(super) fn into_row(self) -> Row {
        let shown = self.shown();
        let pair = self.pair(|url| {
            let url = normalise(url).map_err(fetch_reason)?;
            Ok(Media::Url(url))
        });
        (shown, pair)
    }

    /// What names the row to people: its URL, or what else there is.
    pub(super) fn shown(&self) -> String {
        let named = self.url.as_ref().filter(|url| !url.trim_ascii().is_empty());
        let bytes = named.or(self.caption.as_ref());
        let text = String::from_utf8_lossy(bytes.map_or(&[], Vec::as_slice));
        match named {
            Some(_) => text.trim().to_owned(),
            None => text.chars().take(SHOWN).collect(),
        }
    }

    /// The pair, its medium found by what stands in the URL's place; what is missing first.
    pub(super) fn pair(
        self,
        media: impl FnOnce(&str) -> Result<Media, Reason>,
    ) -> Result<Pair, Reason> {
        if self.is_short {
            return Err(Reason::new("input/missing-column"));
        }
        let url = text(self.url)?.ok_or(Reason::new("input/no-url"))?;
        let caption = text(self.caption)?;
        let media = media(&url)?;
        let checksums = Checksums {
            sha256: checksum(self.sha256, |text| text.parse::<Sha256>().ok())?,
            md5: checksum(self.md5, md5)?,
        };
        let start_ms = time(self.start)?;
        let end_ms = time(self.end)?;
        let caption = caption.ok_or(Reason::new("input/no-caption"))?;
        Ok(Pair {
            media,
            caption,
            checksums,
            span: start_ms.map(|start_ms| Span::At { start_ms, end_ms }),
        })
    }
}

/// A row's pair with its caption cleaned, if that stays.
pub(super) fn cleaned(pair: Pair, config: &PairsConfig) -> Result<Pair, Reason> {
    let caption = m3w_document::caption::clean(&pair.caption, &config.caption);
    let verdict = m3w_document::caption::verdict(&caption, &config.caption);
    match verdict.reason() {
        Some(reason) => Err(reason),
        None => Ok(Pair { caption, ..pair }),
    }
}

/// The text of a cell without space around it; nothing where it is blank.
pub(super) fn text(cell: Cell) -> Result<Option<String>, Reason> {
    let Some(bytes) = cell else {
        return Ok(None);
    };
    let text = String::from_utf8(bytes).map_err(|_| Reason::new("input/broken-utf8"))?;
    // What replaces broken bytes says that they were broken before.
    if text.contains(char::REPLACEMENT_CHARACTER) {
        return Err(Reason::new("input/broken-utf8"));
    }
    let text = text.trim();
    Ok((!text.is_empty()).then(|| text.to_owned()))
}

fn time(cell: Cell) -> Result<Option<u64>, Reason> {
    text(cell)?
        .map(|text| time_ms(&text).ok_or(Reason::new("input/bad-time")))
        .transpose()
}

fn checksum<T>(cell: Cell, parse: impl Fn(&str) -> Option<T>) -> Result<Option<T>, Reason> {
    text(cell)?
        .map(|text| parse(&text.to_ascii_lowercase()).ok_or(Reason::new("input/bad-checksum")))
        .transpose()
}

fn md5(text: &str) -> Option<[u8; 16]> {
    if text.len() != 32 || !text.is_ascii() {
        return None;
    }
    let mut bytes = [0; 16];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(2 * index..2 * index + 2)?, 16).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(url: &[u8], caption: &[u8], sha256: &[u8]) -> String {
        let cells = Cells {
            url: Some(url.to_vec()),
            caption: Some(caption.to_vec()),
            sha256: Some(sha256.to_vec()),
            ..Cells::default()
        };
        match cells.into_row().1 {
            Ok(_) => "kept".to_owned(),
            Err(reason) => reason.name.into_owned(),
        }
    }

    #[test]
    fn every_fault_of_a_row_has_its_name() {
        let digest = Sha256::of(b"").to_string();
        for (url, caption, sha256, expected) in [
            (&b" http://a.test/1 "[..], &b"a cat"[..], "", "kept"),
            (b"http://a.test/1", b"a cat", digest.as_str(), "kept"),
            (b"", b"a cat", "", "input/no-url"),
            (b"cat.jpg", b"a cat", "", "fetch/bad-url"),
            (b"http://a.test/\xff", b"a cat", "", "input/broken-utf8"),
            (b"http://a.test/1", b"caf\xe9", "", "input/broken-utf8"),
            (b"http://a.test/1", b" ", "", "input/no-caption"),
            (b"http://a.test/1", b"a cat", "abc", "input/bad-checksum"),
        ] {
            assert_eq!(reason(url, caption, sha256.as_bytes()), expected);
        }
        let short = Cells {
            is_short: true,
            ..Cells::default()
        };
        let name = short.into_row().1.unwrap_err().name;
        assert_eq!(name, "input/missing-column");
        assert_eq!(md5("00000000000000000000000000000010").unwrap()[15], 16);
        assert_eq!(md5("é000000000000000000000000000000"), None);
    }
}
