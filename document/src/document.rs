//! Documents: text and images of one page in reading order.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::Digest;
use url::Url;

use crate::Error;

/// One web page as text and images in the order in which its DOM holds them.
///
/// `I` is what an image is at this stage: [`crate::ImageRef`] before the fetch, [`crate::Image`]
/// after it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Document<I> {
    /// Name of the document: of a page by [`Document::final_url`], of a pair by its content.
    pub id: DocumentId,
    /// The URL as it stood in the input.
    pub url: Url,
    /// The URL that answered, after redirects.
    pub final_url: Url,
    /// When the page was fetched: seconds since 1970-01-01T00:00:00Z.
    pub fetched_at: Option<i64>,
    /// BCP 47 language tag, as declared by the page or as identified.
    pub language: Option<String>,
    /// The page's `<title>`.
    pub title: Option<String>,
    /// Text and images in reading order.
    pub elements: Vec<Element<I>>,
    /// Every value a filter measured, by the filter's name.
    pub scores: BTreeMap<String, f64>,
    /// The machine-readable statements on reuse that came with the page.
    pub consent: Vec<ConsentSignal>,
    /// Where the page's record stands, if it was read from a WARC file.
    pub warc: Option<WarcLocation>,
}

impl<I> Document<I> {
    /// An empty document for a page that was asked for and answered at `url`.
    #[must_use]
    pub fn new(url: Url) -> Self {
        Self {
            id: DocumentId::of(&url),
            final_url: url.clone(),
            url,
            fetched_at: None,
            language: None,
            title: None,
            elements: Vec::new(),
            scores: BTreeMap::new(),
            consent: Vec::new(),
            warc: None,
        }
    }

    /// The images, in reading order.
    pub fn images(&self) -> impl Iterator<Item = &I> {
        self.elements.iter().filter_map(Element::as_image)
    }

    /// The texts, in reading order.
    pub fn texts(&self) -> impl Iterator<Item = &Text> {
        self.elements.iter().filter_map(Element::as_text)
    }

    /// Number of words in all texts, captions included; a word is what white space bounds.
    #[must_use]
    pub fn word_count(&self) -> usize {
        self.texts()
            .map(|text| text.content.split_whitespace().count())
            .sum()
    }

    /// The same document with each image replaced by what `replace` makes of it, and without those
    /// for which it returns `None`. The order of what stays is kept.
    ///
    /// A caption goes with its image: where none of the images right before it stays, it is left
    /// out too, since it describes what is no longer there.
    pub fn filter_map_images<J>(self, mut replace: impl FnMut(I) -> Option<J>) -> Document<J> {
        let mut elements = Vec::with_capacity(self.elements.len());
        let mut run = ImageRun::default();
        for element in self.elements {
            match element {
                Element::Image(image) => match replace(image) {
                    Some(image) => {
                        run.has_kept = true;
                        elements.push(Element::Image(image));
                    }
                    None => run.has_lost = true,
                },
                Element::Text(text) => {
                    let is_orphan = text.role == TextRole::Caption && run.has_lost && !run.has_kept;
                    run = ImageRun::default();
                    if !is_orphan {
                        elements.push(Element::Text(text));
                    }
                }
            }
        }
        Document {
            id: self.id,
            url: self.url,
            final_url: self.final_url,
            fetched_at: self.fetched_at,
            language: self.language,
            title: self.title,
            elements,
            scores: self.scores,
            consent: self.consent,
            warc: self.warc,
        }
    }
}

/// What became of the images since the last text.
#[derive(Default)]
struct ImageRun {
    has_kept: bool,
    has_lost: bool,
}

/// One item of a document: a text or an image.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Element<I> {
    /// A block of text.
    Text(Text),
    /// An image.
    Image(I),
}

impl<I> Element<I> {
    /// The text, if this is one.
    #[must_use]
    pub fn as_text(&self) -> Option<&Text> {
        match self {
            Self::Text(text) => Some(text),
            Self::Image(_) => None,
        }
    }

    /// The image, if this is one.
    #[must_use]
    pub fn as_image(&self) -> Option<&I> {
        match self {
            Self::Image(image) => Some(image),
            Self::Text(_) => None,
        }
    }
}

/// A block of text with its part in the page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Text {
    /// The words, white space settled as a browser shows it; lines are kept only in
    /// [`TextRole::Preformatted`] and at `<br>`.
    pub content: String,
    /// What the block is in the page.
    pub role: TextRole,
}

impl Text {
    /// A text of the given role.
    #[must_use]
    pub fn new(role: TextRole, content: impl Into<String>) -> Self {
        Self {
            content: content.into(),
            role,
        }
    }

    /// A paragraph.
    #[must_use]
    pub fn paragraph(content: impl Into<String>) -> Self {
        Self::new(TextRole::Paragraph, content)
    }

    /// The caption of the image (or row of images) right before it.
    #[must_use]
    pub fn caption(content: impl Into<String>) -> Self {
        Self::new(TextRole::Caption, content)
    }
}

/// What a block of text is in its page.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TextRole {
    /// Running text.
    Paragraph,
    /// `<h1>` to `<h6>`.
    Heading,
    /// An item of a list.
    ListItem,
    /// A row of a table, its cells in order.
    TableRow,
    /// `<pre>`: line breaks and spaces are kept.
    Preformatted,
    /// Caption of the image, or row of images, right before it.
    Caption,
}

impl TextRole {
    /// The role's name in shards and reports.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Paragraph => "paragraph",
            Self::Heading => "heading",
            Self::ListItem => "list_item",
            Self::TableRow => "table_row",
            Self::Preformatted => "preformatted",
            Self::Caption => "caption",
        }
    }

    /// The role of that name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Paragraph,
            Self::Heading,
            Self::ListItem,
            Self::TableRow,
            Self::Preformatted,
            Self::Caption,
        ]
        .into_iter()
        .find(|role| role.as_str() == name)
    }
}

/// Name of a document: the first 16 bytes of the SHA-256 of its final URL without the fragment, or
/// of a pair's content.
///
/// Two captures of one page share it, so it is also what "no page twice" is held by.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct DocumentId(pub [u8; 16]);

impl DocumentId {
    /// The id of the page at `url`.
    #[must_use]
    pub fn of(url: &Url) -> Self {
        let text = url.as_str();
        let end = text.find('#').unwrap_or(text.len());
        let digest = sha2::Sha256::digest(&text.as_bytes()[..end]);
        let mut id = [0; 16];
        id.copy_from_slice(&digest[..16]);
        Self(id)
    }

    /// The id of pictures with their caption, by content: the same pair is the same document
    /// wherever it came from (`docs/decisions/0013`).
    #[must_use]
    pub fn of_pair(pictures: &[Sha256], caption: &str) -> Self {
        let mut hash = sha2::Sha256::new();
        // Pictures have one length each, so what is theirs and what the caption's is never mixed
        // up.
        hash.update((pictures.len() as u64).to_le_bytes());
        for picture in pictures {
            hash.update(picture.0);
        }
        hash.update(caption);
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        Self(id)
    }
}

impl fmt::Display for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for DocumentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DocumentId({self})")
    }
}

impl FromStr for DocumentId {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse_hex(text).map(Self)
    }
}

/// A SHA-256 digest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// The digest of `bytes`.
    #[must_use]
    pub fn of(bytes: &[u8]) -> Self {
        Self(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sha256({self})")
    }
}

impl FromStr for Sha256 {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        parse_hex(text).map(Self)
    }
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
}

fn parse_hex<const N: usize>(text: &str) -> Result<[u8; N], Error> {
    let malformed = || Error::Hex {
        text: text.to_owned(),
        digits: 2 * N,
    };
    if text.len() != 2 * N || !text.is_ascii() {
        return Err(malformed());
    }
    let mut bytes = [0; N];
    for (index, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * index..2 * index + 2], 16).map_err(|_| malformed())?;
    }
    Ok(bytes)
}

/// A machine-readable statement on reuse, as it was seen; what follows from it is policy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConsentSignal {
    /// Where it stood: `x-robots-tag`, `meta-robots`, `tdm-reservation`, ...
    pub channel: String,
    /// Its text.
    pub value: String,
    /// The day on which it was seen, in seconds since 1970, where that is known.
    #[serde(default)]
    pub seen_at: Option<i64>,
}

/// Place of a record in a WARC file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WarcLocation {
    /// The file's name, without folders.
    pub file: String,
    /// Offset of the record's first byte (of its gzip member, in a compressed file).
    pub offset: u64,
    /// Length in bytes on disk.
    pub length: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fragment_does_not_name_another_document() {
        let plain = Url::parse("https://example.org/a?b=1").unwrap();
        let fragment = Url::parse("https://example.org/a?b=1#part").unwrap();
        let other = Url::parse("https://example.org/a?b=2").unwrap();
        assert_eq!(DocumentId::of(&plain), DocumentId::of(&fragment));
        assert_ne!(DocumentId::of(&plain), DocumentId::of(&other));
    }

    #[test]
    fn a_caption_goes_with_the_last_of_its_images() {
        let mut document = Document::<u32>::new(Url::parse("https://example.org/").unwrap());
        document.elements = vec![
            Element::Text(Text::caption("of nothing")),
            Element::Image(1),
            Element::Text(Text::caption("of 1")),
            Element::Image(2),
            Element::Image(3),
            Element::Text(Text::caption("of 2 and 3")),
            Element::Text(Text::paragraph("after")),
        ];
        let kept = document.filter_map_images(|image| (image == 2).then_some(image));
        assert_eq!(
            kept.elements,
            [
                Element::Text(Text::caption("of nothing")),
                Element::Image(2),
                Element::Text(Text::caption("of 2 and 3")),
                Element::Text(Text::paragraph("after")),
            ]
        );
    }

    #[test]
    fn ids_and_digests_survive_their_text_form() {
        let id = DocumentId::of(&Url::parse("https://example.org/").unwrap());
        assert_eq!(id.to_string().parse::<DocumentId>().unwrap(), id);
        let digest = Sha256::of(b"m3w");
        assert_eq!(digest.to_string().parse::<Sha256>().unwrap(), digest);
        assert!("é".repeat(32).parse::<Sha256>().is_err());
        assert!("zz".repeat(32).parse::<Sha256>().is_err());
    }
}
