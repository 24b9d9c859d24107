//! What goes, as records, and how it is taken out of a document.

use anyhow::{Context, Result};
use m3w_document::filter::word_list::WordLists;
use m3w_document::{Element, Reason, filter};

use super::order::{Order, Place};
use super::protect::Protected;
use super::sorted::{record, u32_at, u64_at};
use crate::journal::{ImageDrop, Measured, Outcome, TextDrop};
use crate::unit::Unit;

/// Bytes of a drop as a record.
pub(super) const DROP_BYTES: usize = 38;

/// Which rule drops; the order is that in which they are asked, and the first that drops a thing
/// names the reason.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Rule {
    ProtectedText,
    SamePage,
    SameText,
    NearText,
    SameImages,
    TooFewImages,
    ProtectedImage,
    FrequentImage,
    SameImage,
    FrequentParagraph,
}

impl Rule {
    const ALL: [Self; 10] = [
        Self::ProtectedText,
        Self::SamePage,
        Self::SameText,
        Self::NearText,
        Self::SameImages,
        Self::TooFewImages,
        Self::ProtectedImage,
        Self::FrequentImage,
        Self::SameImage,
        Self::FrequentParagraph,
    ];

    fn name(self, unit: Unit) -> &'static str {
        match self {
            Self::ProtectedText => "protect/text",
            Self::SamePage => unit.seen_before(),
            Self::SameText => "dedup/same-text",
            Self::NearText => "dedup/near-text",
            Self::SameImages => "dedup/same-images",
            Self::TooFewImages => "filter/too-few-images",
            Self::ProtectedImage => "protect/image",
            Self::FrequentImage => "dedup/frequent-image",
            Self::SameImage => "dedup/same-image",
            Self::FrequentParagraph => "dedup/frequent-paragraph",
        }
    }
}

/// What of a document goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum What {
    /// The image of that number among its images.
    Image(u32),
    /// The text of that number among its texts.
    Text(u32),
    /// All of it.
    Document,
}

/// Something that goes. As records drops sort by place, by what goes, and by rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Drop {
    pub(super) part: u32,
    pub(super) row: u32,
    pub(super) what: What,
    pub(super) rule: Rule,
    pub(super) measured: f64,
    pub(super) threshold: f64,
    /// What is repeated: the rank of a document, the number of an image in the same document, that
    /// of a protected name. [`u64::MAX`] for nothing.
    pub(super) of: u64,
}

impl Drop {
    pub(super) fn new(place: Place, what: What, rule: Rule, measured: f64, threshold: f64) -> Self {
        Self {
            part: place.part,
            row: place.row,
            what,
            rule,
            measured,
            threshold,
            of: u64::MAX,
        }
    }

    pub(super) fn of(self, of: u64) -> Self {
        Self { of, ..self }
    }

    pub(super) fn to_record(self) -> [u8; DROP_BYTES] {
        let (kind, number) = match self.what {
            What::Image(number) => (0, number),
            What::Text(number) => (1, number),
            What::Document => (2, 0),
        };
        record(&[
            &self.part.to_be_bytes(),
            &self.row.to_be_bytes(),
            &[kind],
            &number.to_be_bytes(),
            &[self.rule as u8],
            &self.measured.to_be_bytes(),
            &self.threshold.to_be_bytes(),
            &self.of.to_be_bytes(),
        ])
    }

    pub(super) fn from_record(bytes: &[u8; DROP_BYTES]) -> Result<Self> {
        let number = u32_at(bytes, 9);
        let what = match bytes[8] {
            0 => What::Image(number),
            1 => What::Text(number),
            _ => What::Document,
        };
        let rule = Rule::ALL.get(usize::from(bytes[13])).copied();
        Ok(Self {
            part: u32_at(bytes, 0),
            row: u32_at(bytes, 4),
            what,
            rule: rule.context("a record of what goes is damaged: give the command again")?,
            measured: f64::from_bits(u64_at(bytes, 14)),
            threshold: f64::from_bits(u64_at(bytes, 22)),
            of: u64_at(bytes, 30),
        })
    }
}

/// What the numbers in drops stand for.
pub(super) struct Names<'a> {
    pub(super) order: &'a Order,
    pub(super) protected: &'a Protected,
    pub(super) unit: Unit,
}

impl Names<'_> {
    /// The reason of a drop; what it repeats inside its own document is for the caller to name.
    ///
    /// # Errors
    ///
    /// If the order of documents cannot be read.
    pub(super) fn reason(&self, drop: &Drop) -> Result<Reason> {
        let name = drop.rule.name(self.unit);
        let reason = Reason::measured(name, drop.measured, drop.threshold);
        if drop.of == u64::MAX {
            return Ok(reason);
        }
        Ok(match drop.rule {
            Rule::ProtectedText | Rule::ProtectedImage => {
                reason.with_duplicate_of(self.protected.name(drop.of))
            }
            Rule::SameImage => reason.with_duplicate_of(format!("image {}", drop.of)),
            _ => reason.with_duplicate_of(self.order.place(drop.of)?.id.to_string()),
        })
    }

    /// Takes out of an outcome what the drops of its document say, sorted, the first for each thing.
    ///
    /// # Errors
    ///
    /// If the order of documents cannot be read.
    pub(super) fn apply(&self, outcome: &mut Outcome, drops: &[Drop]) -> Result<()> {
        let Some(mut document) = outcome.document.take() else {
            return Ok(());
        };
        let find = |what: What| drops.iter().find(|drop| drop.what == what);
        let urls: Vec<String> = document
            .images()
            .map(|image| image.reference.url.to_string())
            .collect();
        let mut failure = None;
        let mut number = 0;
        let has_texts = |document: &m3w_document::Document<_>| document.texts().count();
        let before = has_texts(&document);
        document.elements.retain(|element| {
            let Element::Text(text) = element else {
                return true;
            };
            let drop = find(What::Text(number));
            number += 1;
            match drop.map(|drop| self.reason(drop)) {
                None => true,
                Some(Ok(reason)) => {
                    let text = text.content.clone();
                    outcome.texts_dropped.push(TextDrop { text, reason });
                    false
                }
                Some(Err(error)) => {
                    failure = Some(error);
                    true
                }
            }
        });
        let mut number = 0;
        document = document.filter_map_images(|image| {
            let drop = find(What::Image(number));
            number += 1;
            let Some(drop) = drop else {
                return Some(image);
            };
            match self.reason(drop) {
                Ok(mut reason) => {
                    if drop.rule == Rule::SameImage {
                        let of = usize::try_from(drop.of).ok().and_then(|of| urls.get(of));
                        reason.duplicate_of = of.cloned();
                    }
                    let url = image.reference.url.to_string();
                    outcome.images_dropped.push(ImageDrop { url, reason });
                    None
                }
                Err(error) => {
                    failure = Some(error);
                    Some(image)
                }
            }
        });
        if let Some(error) = failure {
            return Err(error);
        }
        if self.unit == Unit::Page && has_texts(&document) != before {
            // What is stored of a text has to be true of the text that is stored.
            // Shares of listed words stay those of the whole text: the lists need not be at hand.
            filter::text::measure(&mut document, &WordLists::default());
        }
        match find(What::Document) {
            Some(drop) => {
                outcome.measured = Measured::of(&document);
                outcome.dropped = Some(self.reason(drop)?);
            }
            None => outcome.document = Some(document),
        }
        Ok(())
    }
}
