//! A training row as plain values.

use std::sync::Arc;

use m3w_document::DocumentId;

/// One row of a sequence shard: tokens of fixed length and the pictures they refer to.
#[derive(Debug, Clone, PartialEq)]
pub struct SequenceRow {
    /// Name of the row: `<document id>-<window index>` for windows of pages.
    pub id: String,
    /// Name of the dataset it belongs to: `m3w`, `align`, or any other.
    pub source: String,
    /// L ids, padded at the end.
    pub tokens: Vec<u32>,
    /// How many of them are not padding.
    pub token_count: usize,
    /// All frames of all images, in the order of their `<image>` tokens.
    pub images: Vec<SequenceImage>,
    /// Frames of each image: 1 for a still image, more for a clip. As many entries as `<image>`
    /// tokens; they add up to the number of [`SequenceRow::images`].
    pub frames_per_image: Vec<u8>,
    /// Time of each frame in seconds from its clip's start; 0 for a still image. As many entries
    /// as [`SequenceRow::images`].
    pub frame_times: Vec<f32>,
    /// The document it was cut from, if it was.
    pub document_id: Option<DocumentId>,
    /// Index of its first token in the document.
    pub window_start: u64,
    /// The tokens as a person reads them, special tokens spelt out. A page that spells a special
    /// token out looks the same here; [`SequenceRow::tokens`] tells them apart.
    pub text: String,
}

/// An encoded picture in a row.
#[derive(Clone, PartialEq)]
pub struct SequenceImage {
    /// A file name for it.
    pub name: String,
    /// The encoded picture.
    pub bytes: Arc<[u8]>,
}

impl std::fmt::Debug for SequenceImage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "SequenceImage({}, {} bytes)",
            self.name,
            self.bytes.len()
        )
    }
}

impl SequenceRow {
    /// The first promise of the schema that the row breaks.
    pub(crate) fn problem(&self, sequence_length: usize, image_id: u32) -> Option<String> {
        if self.tokens.len() != sequence_length {
            return Some(format!(
                "it has {} tokens, the shard's rows have {sequence_length}",
                self.tokens.len()
            ));
        }
        row_problem(
            &self.tokens,
            self.token_count,
            &self.frames_per_image,
            self.images.len(),
            image_id,
        )
        .or_else(|| {
            (self.frame_times.len() != self.images.len()).then(|| {
                format!(
                    "it has {} frame times for {} frames",
                    self.frame_times.len(),
                    self.images.len()
                )
            })
        })
    }
}

/// The first promise of the schema that these parts of a row break, if any.
pub(crate) fn row_problem(
    tokens: &[u32],
    token_count: usize,
    frames_per_image: &[u8],
    frames: usize,
    image_id: u32,
) -> Option<String> {
    let Some(used) = tokens.get(..token_count) else {
        return Some(format!(
            "it counts {token_count} tokens and holds {}",
            tokens.len()
        ));
    };
    let image_tokens = used.iter().filter(|id| **id == image_id).count();
    if image_tokens != frames_per_image.len() || image_tokens > usize::from(u8::MAX) {
        return Some(format!(
            "it has {image_tokens} image tokens for {} images",
            frames_per_image.len()
        ));
    }
    let expected: usize = frames_per_image.iter().copied().map(usize::from).sum();
    if expected != frames || frames_per_image.contains(&0) {
        return Some(format!(
            "its images should have {expected} frames, at least one each, and it holds {frames}"
        ));
    }
    None
}
