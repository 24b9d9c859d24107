//! Windows: the training unit of the paper.

use std::collections::BTreeSet;
use std::ops::Range;

use m3w_document::DocumentId;
use rand::RngExt;

use crate::randomness::generator;
use crate::rows::{SequenceImage, SequenceRow};
use crate::{Config, Error, SpecialIds, Tokenized, TokenizedImage, Tokenizer};

/// L consecutive tokens of a document with up to N images.
///
/// Promises: [`Subsequence::tokens`] has L ids, filled with padding after
/// [`Subsequence::token_count`]; there are at most N images and as many `<image>` ids as images.
#[derive(Debug, Clone, PartialEq)]
pub struct Subsequence {
    /// The document.
    pub document_id: DocumentId,
    /// Which of the document's windows this is, from 0.
    pub window_index: usize,
    /// Index of the window's first token in the document.
    pub window_start: usize,
    /// L ids.
    pub tokens: Vec<u32>,
    /// How many of them are not padding.
    pub token_count: usize,
    /// The images, in the order of their tokens.
    pub images: Vec<TokenizedImage>,
}

/// Draws the window number `window_index` of a document; `None` if it has no such window.
///
/// The draw is a pure function of its arguments, so the writer of shards and a loader that wants
/// fresh windows from documents get the same ones. The start is uniform over the *useful* starts:
/// those whose window holds an image with text after it. A window without an image, or whose
/// images all stand after its last word, teaches nothing about images; it is never drawn. The
/// windows of one document differ from each other.
///
/// The paper takes the first N images of a window. The `<image>` ids of further ones are removed
/// and the window is that much shorter; their `<EOC>` stays, so the words that belonged to such an
/// image stand in a chunk without an image instead of being taught as words on the last one that
/// was kept.
#[must_use]
pub fn subsequence(
    tokenized: &Tokenized,
    seed: u64,
    window_index: usize,
    config: &Config,
) -> Option<Subsequence> {
    let positions: Vec<usize> = tokenized
        .images
        .iter()
        .map(|image| image.position)
        .collect();
    let window = Layout {
        document_id: tokenized.document_id,
        ids: &tokenized.ids,
        image_positions: &positions,
        special: &tokenized.special,
    }
    .window(seed, window_index, config)?;
    Some(Subsequence {
        document_id: tokenized.document_id,
        window_index,
        window_start: window.start,
        tokens: window.tokens,
        token_count: window.token_count,
        images: tokenized.images[window.images].to_vec(),
    })
}

/// The tokens of a document, borrowed: what the draw of a window hangs on.
pub(crate) struct Layout<'a> {
    pub(crate) document_id: DocumentId,
    pub(crate) ids: &'a [u32],
    /// Indices of `<image>` among the ids.
    pub(crate) image_positions: &'a [usize],
    pub(crate) special: &'a SpecialIds,
}

/// A window of a [`Layout`]; of [`Subsequence`] what does not concern pictures.
pub(crate) struct Window {
    pub(crate) start: usize,
    pub(crate) tokens: Vec<u32>,
    pub(crate) token_count: usize,
    /// Which of the document's images.
    pub(crate) images: Range<usize>,
}

impl Layout<'_> {
    /// As [`subsequence`].
    pub(crate) fn window(&self, seed: u64, index: usize, config: &Config) -> Option<Window> {
        let starts = UsefulStarts::of(self, config.sequence_length);
        if index >= starts.count {
            return None;
        }
        // Drawing without replacement: the draws up to this one are made again, which keeps the
        // function pure. Windows per document are few.
        let mut random = generator(seed, "window", &[&self.document_id.0]);
        let mut drawn = BTreeSet::new();
        let start = loop {
            let rank = random.random_range(0..starts.count);
            if drawn.insert(rank) && drawn.len() == index + 1 {
                break starts.start(rank)?;
            }
        };
        Some(self.cut(start, config))
    }

    /// The window that begins at `start`.
    fn cut(&self, start: usize, config: &Config) -> Window {
        let end = self.ids.len().min(start + config.sequence_length);
        let mut tokens = Vec::with_capacity(config.sequence_length);
        let mut image_tokens = 0;
        for &id in &self.ids[start..end] {
            if id == self.special.image {
                image_tokens += 1;
                if image_tokens > config.images_per_sequence {
                    continue;
                }
            }
            tokens.push(id);
        }
        let token_count = tokens.len();
        tokens.resize(config.sequence_length, self.special.pad);
        let rank = |token| {
            self.image_positions
                .partition_point(|position| *position < token)
        };
        let first = rank(start);
        Window {
            start,
            tokens,
            token_count,
            images: first..rank(end).min(first + config.images_per_sequence),
        }
    }
}

/// The useful starts of a document's windows, as disjoint ranges in rising order.
struct UsefulStarts {
    ranges: Vec<std::ops::Range<usize>>,
    count: usize,
}

impl UsefulStarts {
    fn of(layout: &Layout<'_>, length: usize) -> Self {
        let last_start = layout.ids.len().saturating_sub(length);
        let mut ranges = Vec::with_capacity(layout.image_positions.len());
        let mut first_start = 0;
        let mut word = 0;
        // The first image of a window is kept and has the least distance to a word after any of
        // its images, so a start is useful exactly if the first image from there on, and the first
        // word behind that, are both within the window.
        for &image in layout.image_positions {
            // The word behind one image is the word behind the next one too, or stands before it.
            word = word.max(image + 1);
            while layout
                .ids
                .get(word)
                .is_some_and(|id| layout.special.contains(*id))
            {
                word += 1;
            }
            if word == layout.ids.len() {
                break;
            }
            let first = first_start.max((word + 1).saturating_sub(length));
            let end = image.min(last_start) + 1;
            if first < end {
                ranges.push(first..end);
            }
            first_start = image + 1;
        }
        let count = ranges.iter().map(ExactSizeIterator::len).sum();
        Self { ranges, count }
    }

    /// The start of that rank, from 0.
    fn start(&self, mut rank: usize) -> Option<usize> {
        for range in &self.ranges {
            if rank < range.len() {
                return Some(range.start + rank);
            }
            rank -= range.len();
        }
        None
    }
}

impl Subsequence {
    /// The row of this window; `source` names the dataset it belongs to (`m3w` for pages).
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if the tokenizer cannot spell the tokens out.
    pub fn into_row(self, source: &str, tokenizer: &Tokenizer) -> Result<SequenceRow, Error> {
        let text = tokenizer.decode(&self.tokens[..self.token_count])?;
        Ok(SequenceRow {
            id: format!("{}-{}", self.document_id, self.window_index),
            source: source.to_owned(),
            token_count: self.token_count,
            frames_per_image: self
                .images
                .iter()
                // `tokenize` makes no clip of more than a byte counts.
                .map(|image| image.frames.len() as u8)
                .collect(),
            frame_times: self.images.iter().flat_map(frame_times).collect(),
            images: self
                .images
                .into_iter()
                .flat_map(|image| image.frames)
                .map(|frame| SequenceImage {
                    name: frame.name,
                    bytes: frame.bytes,
                })
                .collect(),
            tokens: self.tokens,
            document_id: Some(self.document_id),
            window_start: self.window_start as u64,
            text,
        })
    }
}

/// The times of an image's frames in seconds from the first of them.
#[expect(clippy::cast_precision_loss, reason = "clips last some seconds")]
fn frame_times(image: &TokenizedImage) -> impl Iterator<Item = f32> {
    let first = image.frames.first().map_or(0, |frame| frame.time_ms);
    let times = image.frames.iter();
    times.map(move |frame| frame.time_ms.saturating_sub(first) as f32 / 1000.0)
}

/// For each of the first `token_count` tokens, the number of the image it attends to, from 1; 0
/// attends to none. Padding gets 0.
///
/// A token attends to the image at or before it (`next` false) or at or after it (`next` true),
/// within its chunk: `<EOC>` ends a chunk, so words between an `<EOC>` and the next `<image>`
/// attend to none before it, which happens where an image was removed. Looking ahead, words
/// before an image attend to it, unless a removed image stood between.
pub(crate) fn image_indices(
    tokens: &[u32],
    token_count: usize,
    special: &SpecialIds,
    next: bool,
) -> Vec<u8> {
    let mut indices = vec![0_u8; tokens.len()];
    let tokens = &tokens[..token_count];
    if next {
        let mut following = tokens.iter().filter(|id| **id == special.image).count() as u8;
        let mut current = 0;
        for (position, &id) in tokens.iter().enumerate().rev() {
            if id == special.image {
                current = following;
                following -= 1;
            } else if id == special.eoc && tokens.get(position + 1) != Some(&special.image) {
                current = 0;
            }
            indices[position] = current;
        }
    } else {
        let mut seen = 0;
        let mut current = 0;
        let mut previous_ended = false;
        for (index, &id) in indices.iter_mut().zip(tokens) {
            if id == special.image {
                seen += 1;
                current = seen;
            } else if previous_ended {
                current = 0;
            }
            *index = current;
            previous_ended = id == special.eoc;
        }
    }
    indices
}
