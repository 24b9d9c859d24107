//! What a corpus must not hold, by order of those it is about.
//!
//! The list stands in the corpus's folder, `forgotten.txt`, and holds nothing of what it names: of
//! each URL, domain and picture the SHA-256, a line each (`url 5f70...`). Whatever makes or remakes
//! rows of the corpus asks it: a build that is opened again, a repair, `m3w verify`.

use std::path::Path;

use anyhow::{Context, Result};
use m3w_document::{Document, Image, Reason, Sha256};
use m3w_shards::write_atomically;

use crate::journal::{ImageDrop, Measured, Outcome};
use crate::named::{Key, Kind, Named};
use crate::pipeline::enough_images;
use crate::unit::Unit;

/// Name of the list in a corpus's folder.
pub const FORGOTTEN_NAME: &str = "forgotten.txt";
/// Reason of an input or a picture that was there.
pub const FORGOTTEN: Reason = Reason::new("forget/asked");
/// What stands before the hash of a URL that is no longer named.
const HIDDEN: &str = "sha256:";

/// All that a corpus must not hold.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Forgotten {
    /// What is named.
    pub named: Named,
}

impl Forgotten {
    /// The list of the corpus in `root`; an empty one where there is none.
    ///
    /// # Errors
    ///
    /// If it cannot be read, or a line of it is damaged.
    pub fn load(root: &Path) -> Result<Self> {
        let path = root.join(FORGOTTEN_NAME);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        };
        let mut named = Named::default();
        for (number, line) in text.lines().enumerate() {
            let key = || {
                let (kind, sha256) = line.split_once(' ')?;
                Some(Key {
                    kind: Kind::ALL.into_iter().find(|known| known.as_str() == kind)?,
                    sha256: sha256.parse().ok()?,
                })
            };
            let key = key().with_context(|| {
                format!(
                    "{}, line {}: it is damaged; restore the file from a copy",
                    path.display(),
                    number + 1
                )
            })?;
            named.insert(key);
        }
        Ok(Self { named })
    }

    /// Writes the list into `root`, whole or not at all.
    ///
    /// # Errors
    ///
    /// If the disk refuses it.
    pub fn save(&self, root: &Path) -> Result<()> {
        let lines: String = self.named.keys().map(|key| format!("{key}\n")).collect();
        Ok(write_atomically(
            &root.join(FORGOTTEN_NAME),
            lines.as_bytes(),
        )?)
    }

    /// Whether anything of an outcome is to be forgotten.
    #[must_use]
    pub fn touches(
        &self,
        text: &str,
        dropped: &[ImageDrop],
        document: Option<&Document<Image>>,
    ) -> bool {
        !self.named.is_empty()
            && (self.named.has_text(text)
                || dropped.iter().any(|drop| self.is_named(drop))
                || document.is_some_and(|document| {
                    self.named.has_page(document)
                        || document.images().any(|image| self.named.has_picture(image))
                }))
    }

    /// Whether a picture that was left out is named, or the one that it repeats.
    fn is_named(&self, drop: &ImageDrop) -> bool {
        let repeated = drop.reason.duplicate_of.as_deref();
        self.named.has_text(&drop.url) || repeated.is_some_and(|url| self.named.has_text(url))
    }

    /// Takes out of an outcome what is to be forgotten. Of an input that goes whole nothing is left
    /// but its number, the reason, and the hash of what stood in the list; a pair goes with its
    /// picture, and a page that is left with fewer than `min_images` as in a build.
    ///
    /// Done twice, it is as done once.
    pub fn apply(&self, outcome: &mut Outcome, unit: Unit, min_images: usize) {
        let document = outcome.document.as_ref();
        if !self.touches(&outcome.text, &outcome.images_dropped, document) {
            return;
        }
        let goes = self.named.has_text(&outcome.text)
            || document.is_some_and(|document| {
                self.named.has_page(document)
                    || (unit == Unit::Pair
                        && document.images().any(|image| self.named.has_picture(image)))
            });
        if goes {
            *outcome = Self::tombstone(outcome.input, &outcome.text);
            return;
        }
        for drop in &mut outcome.images_dropped {
            if self.named.has_text(&drop.url) {
                *drop = Self::hidden_drop(&drop.url);
            } else if self.is_named(drop) {
                let repeated = drop.reason.duplicate_of.take();
                drop.reason.duplicate_of = repeated.map(|url| hidden(&url));
            }
        }
        let Some(document) = outcome.document.take() else {
            return;
        };
        let mut dropped = Vec::new();
        let document = document.filter_map_images(|image| {
            let is_forgotten = self.named.has_picture(&image);
            if is_forgotten {
                dropped.push(Self::hidden_drop(image.reference.url.as_str()));
            }
            (!is_forgotten).then_some(image)
        });
        let has_lost = !dropped.is_empty();
        outcome.images_dropped.extend(dropped);
        match enough_images(&document, min_images) {
            Err(reason) if has_lost => {
                outcome.measured = Measured::of(&document);
                outcome.dropped = Some(reason);
            }
            _ => outcome.document = Some(document),
        }
    }

    /// What is left of an input.
    #[must_use]
    pub fn tombstone(input: u64, text: &str) -> Outcome {
        Outcome {
            dropped: Some(FORGOTTEN),
            ..Outcome::of(input, hidden(text))
        }
    }

    /// What is left of a picture.
    #[must_use]
    pub fn hidden_drop(url: &str) -> ImageDrop {
        ImageDrop {
            url: hidden(url),
            reason: FORGOTTEN,
        }
    }
}

/// A URL that is no longer named: who knows it can tell that it was this one.
fn hidden(text: &str) -> String {
    if text.starts_with(HIDDEN) {
        return text.to_owned();
    }
    format!("{HIDDEN}{}", Sha256::of(text.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use m3w_document::{Element, Format, ImageRef, Text};
    use proptest::prelude::*;
    use url::Url;

    use super::*;

    fn url(host: u8, path: u8) -> Url {
        Url::parse(&format!("https://h{host}.test/{path}")).unwrap()
    }

    fn image(host: u8, path: u8) -> Image {
        let bytes = [path];
        Image {
            reference: ImageRef::new(url(host, path)),
            bytes: Arc::from(bytes),
            format: Format::Png,
            width_px: 1,
            height_px: 1,
            fetched_width_px: 1,
            fetched_height_px: 1,
            sha256_fetched: Sha256::of(&bytes),
            sha256_stored: Sha256::of(&bytes),
            dhash: 0,
            consent: Vec::new(),
            fetched_format: None,
            scores: Default::default(),
        }
    }

    fn key(kind: u8, host: u8, path: u8) -> Key {
        match kind {
            0 => Key::url(url(host, path).as_str()),
            1 => Key::domain(&format!("h{host}.test")),
            _ => Key::sha256(&Sha256::of(&[path]).to_string()),
        }
        .unwrap()
    }

    fn copy(outcome: &Outcome) -> Outcome {
        Outcome {
            input: outcome.input,
            text: outcome.text.clone(),
            dropped: outcome.dropped.clone(),
            measured: outcome.measured.clone(),
            images_dropped: outcome.images_dropped.clone(),
            texts_dropped: outcome.texts_dropped.clone(),
            document: outcome.document.clone(),
        }
    }

    proptest! {
        #[test]
        fn done_twice_it_is_as_done_once_and_nothing_named_is_left(
            page in (0_u8..4, 0_u8..4),
            images in prop::collection::vec((0_u8..4, 0_u8..4), 0..4),
            keys in prop::collection::vec((0_u8..3, 0_u8..4, 0_u8..4), 0..3),
            least in 0_usize..3,
            is_pair: bool,
        ) {
            let unit = if is_pair { Unit::Pair } else { Unit::Page };
            let mut forgotten = Forgotten::default();
            for (kind, host, path) in keys {
                forgotten.named.insert(key(kind, host, path));
            }
            let page = url(page.0, page.1);
            let mut document = Document::new(page.clone());
            document.elements.push(Element::Text(Text::paragraph("words")));
            let images = images.into_iter().map(|(host, path)| Element::Image(image(host, path)));
            document.elements.extend(images);
            let mut outcome = Outcome {
                document: Some(document),
                ..Outcome::of(3, page.to_string())
            };
            forgotten.apply(&mut outcome, unit, least);
            let once = copy(&outcome);
            prop_assert!(!forgotten.touches(&once.text, &once.images_dropped, once.document.as_ref()));
            forgotten.apply(&mut outcome, unit, least);
            prop_assert_eq!(outcome, once);
        }
    }

    #[test]
    fn a_list_is_read_as_it_was_written_and_a_damaged_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(
            Forgotten::load(folder.path()).unwrap(),
            Forgotten::default()
        );
        let mut forgotten = Forgotten::default();
        for kind in 0..3 {
            forgotten.named.insert(key(kind, 1, 2));
        }
        forgotten.save(folder.path()).unwrap();
        assert_eq!(Forgotten::load(folder.path()).unwrap(), forgotten);
        std::fs::write(folder.path().join(FORGOTTEN_NAME), "url 12\n").unwrap();
        let said = Forgotten::load(folder.path()).unwrap_err().to_string();
        assert!(said.contains("forgotten.txt, line 1"), "{said}");
    }
}
