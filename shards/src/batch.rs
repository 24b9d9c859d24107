//! Rows as host arrays.

use std::borrow::Cow;
use std::ops::Deref;
use std::sync::Arc;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use arrow::buffer::Buffer;
use rand::RngExt;
use rayon::prelude::*;

use crate::buffer::{Pixels, Shelf};
use crate::pixels::{Change, Normalisation, PixelReader};
use crate::randomness::generator;
use crate::sequence_rows::{DrawnRow, RowView};
use crate::subsequence::image_indices;
use crate::{Error, LoaderConfig, Part, SpecialIds, Tokenizer};

/// B rows as host arrays, all row-major.
#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    /// `[B, L]`: token ids.
    pub tokens: Vec<u32>,
    /// `[B, L]`: the image each token attends to, from 1; 0 attends to none.
    pub image_index: Vec<u8>,
    /// `[B, N, F, 3, H, W]`: normalised pixels; absent images and frames are zeros.
    pub pixels: Pixels,
    /// `[B, N]`: frames of each image; 0 where there is no image.
    pub frames: Vec<u8>,
    /// `[B, L]`: 1 where a token counts as a target of the loss; 0 at padding and at `<image>`,
    /// which a model is never asked to write.
    pub loss_mask: Vec<u8>,
    /// The arrays' dimensions.
    pub shape: BatchShape,
    /// Name of each row.
    pub ids: Vec<String>,
}

/// Dimensions of a [`Batch`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchShape {
    /// B: rows.
    pub b: usize,
    /// L: tokens in a row.
    pub l: usize,
    /// N: most images in a row.
    pub n: usize,
    /// F: most frames of an image.
    pub f: usize,
    /// H: height in pixels.
    pub h: usize,
    /// W: width in pixels.
    pub w: usize,
}

/// B rows whose pictures are as they are stored, for trainers that decode elsewhere.
///
/// What a [`LoaderConfig`] says of pixels is not done: neither size nor normalisation, flips nor
/// colours. All else is as in the [`Batch`] of the same rows.
#[derive(Debug, Clone, PartialEq)]
pub struct EncodedBatch {
    /// `[B, L]`: token ids.
    pub tokens: Vec<u32>,
    /// `[B, L]`: the image each token attends to, from 1; 0 attends to none.
    pub image_index: Vec<u8>,
    /// `[B, L]`: 1 where a token counts as a target of the loss.
    pub loss_mask: Vec<u8>,
    /// `[B, N]`: frames of each image; 0 where there is no image.
    pub frames: Vec<u8>,
    /// The frames of all images of all rows, in order; as many as [`EncodedBatch::frames`] add
    /// up to.
    pub pictures: Vec<EncodedPicture>,
    /// The arrays' dimensions; H and W are those of the configuration, not of the pictures.
    pub shape: BatchShape,
    /// Name of each row.
    pub ids: Vec<String>,
}

/// An encoded picture: a part of what was read from the shard, not copied. It keeps the page of
/// the shard in memory that it is part of, about 1 MiB or its own length.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedPicture(Buffer);

impl EncodedPicture {
    /// The picture of a flattened column whose bytes these are.
    pub(crate) fn part_of(images: &ArrayRef, bytes: &[u8]) -> Self {
        let column = images.as_struct().column(0);
        let buffers = match column.as_binary_view_opt() {
            Some(views) => views.data_buffers(),
            None => std::slice::from_ref(column.as_binary::<i32>().values()),
        };
        let held = buffers.iter().find_map(|buffer| {
            let offset = (bytes.as_ptr() as usize).checked_sub(buffer.as_ptr() as usize)?;
            let is_inside = offset + bytes.len() <= buffer.len();
            is_inside.then(|| buffer.slice_with_length(offset, bytes.len()))
        });
        // What is shorter than a view's own length stands in no buffer.
        held.map_or_else(|| Self::copied(bytes), Self)
    }

    pub(crate) fn copied(bytes: &[u8]) -> Self {
        Self(Buffer::from(bytes))
    }
}

impl Deref for EncodedPicture {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl std::fmt::Debug for EncodedPicture {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "EncodedPicture({} bytes)", self.len())
    }
}

/// What a row is made of.
#[derive(Debug, Clone)]
pub(crate) enum Row {
    /// One of several that were read together.
    Stored(Arc<RecordBatch>, usize),
    /// One that was made of a document.
    Drawn(Arc<DrawnRow>),
}

/// A row to be put into a batch.
#[derive(Debug, Clone)]
pub(crate) struct RowPlace {
    pub(crate) row: Row,
    /// The row's number in the whole dataset, which its random draws hang on.
    pub(crate) number: u64,
    /// How often the dataset has been gone through before.
    pub(crate) epoch: u64,
}

/// A row that cannot be put into a batch: its place in the batch, and why.
pub(crate) type RowProblem = (usize, String);

/// What all batches of a loader are made with.
pub(crate) struct BatchMaker {
    pub(crate) config: LoaderConfig,
    pub(crate) special: SpecialIds,
    pub(crate) vocabulary_size: usize,
    /// The shape of a full batch.
    pub(crate) shape: BatchShape,
    pub(crate) normalisation: Normalisation,
    pub(crate) tokenizer: Arc<Tokenizer>,
    pub(crate) shelf: Arc<Shelf>,
}

impl BatchMaker {
    /// Whether a row is of a document that this loader takes. One that breaks a promise is: the batch
    /// says which.
    pub(crate) fn takes(&self, place: &RowPlace) -> bool {
        let part = self.config.part;
        let view = || match &place.row {
            Row::Stored(batch, row) => RowView::of(batch, *row, self.special.image),
            Row::Drawn(row) => RowView::of_drawn(row, self.special.image),
        };
        part == Part::Whole || view().map_or(true, |row| part.has_row(row.id))
    }

    /// The batch of these rows. Pictures are decoded on the current thread pool; each goes to its
    /// own place, so the result does not depend on the number of threads.
    pub(crate) fn make(&self, rows: &[RowPlace]) -> Result<Batch, RowProblem> {
        let encoded = self.encoded(rows)?;
        let shape = encoded.shape;
        let mut pixels = self
            .shelf
            .take(shape.b * shape.n * shape.f * 3 * shape.h * shape.w);
        let mut pictures = Vec::with_capacity(encoded.pictures.len());
        let mut bytes = encoded.pictures.iter();
        for (index, (place, frames)) in rows.iter().zip(encoded.frames.chunks(shape.n)).enumerate()
        {
            let is_flipped =
                self.config.horizontal_flip && self.draws(place, "flip").random_bool(0.5);
            let mut colours = self.draws(place, "colours");
            for (image, &frames) in frames.iter().enumerate() {
                if frames == 0 {
                    break;
                }
                // One draw an image: the frames of a clip change together.
                let recolour = self.config.colour_jitter.draw(&mut colours);
                let first = (index * shape.n + image) * shape.f;
                let slots = first..first + usize::from(frames);
                pictures.extend(slots.zip(&mut bytes).map(|(slot, bytes)| Picture {
                    row: index,
                    slot,
                    bytes,
                    change: Change {
                        is_flipped,
                        recolour,
                    },
                }));
            }
        }
        self.add_pixels(&pictures, &mut pixels)?;
        Ok(Batch {
            tokens: encoded.tokens,
            image_index: encoded.image_index,
            pixels,
            frames: encoded.frames,
            loss_mask: encoded.loss_mask,
            shape,
            ids: encoded.ids,
        })
    }

    /// The batch of these rows, its pictures as they are stored.
    pub(crate) fn encoded(&self, rows: &[RowPlace]) -> Result<EncodedBatch, RowProblem> {
        let shape = BatchShape {
            b: rows.len(),
            ..self.shape
        };
        let mut batch = EncodedBatch {
            tokens: Vec::with_capacity(shape.b * shape.l),
            image_index: Vec::with_capacity(shape.b * shape.l),
            pictures: Vec::with_capacity(shape.b * shape.n),
            frames: vec![0; shape.b * shape.n],
            loss_mask: Vec::with_capacity(shape.b * shape.l),
            shape,
            ids: Vec::with_capacity(shape.b),
        };
        for (index, place) in rows.iter().enumerate() {
            let at = |problem| (index, problem);
            let view = match &place.row {
                Row::Stored(records, row) => RowView::of(records, *row, self.special.image),
                Row::Drawn(row) => RowView::of_drawn(row, self.special.image),
            }
            .map_err(at)?;
            self.add_tokens(&view, place, &mut batch).map_err(at)?;
            let mut first_frame = 0;
            for (image, &frames) in view.frames_per_image.iter().enumerate() {
                let used = usize::from(frames).min(shape.f);
                // `used` is at most the count that came as a byte.
                batch.frames[index * shape.n + image] = used as u8;
                for frame in first_frame..first_frame + used {
                    let picture = view.encoded_frame(frame).map_err(at)?;
                    batch.pictures.push(picture);
                }
                first_frame += usize::from(frames);
            }
        }
        Ok(batch)
    }

    fn add_tokens(
        &self,
        view: &RowView<'_>,
        place: &RowPlace,
        batch: &mut EncodedBatch,
    ) -> Result<(), String> {
        if view.tokens.len() != self.shape.l || view.frames_per_image.len() > self.shape.n {
            return Err(format!(
                "it has {} tokens and {} images",
                view.tokens.len(),
                view.frames_per_image.len()
            ));
        }
        if let Some(id) = view
            .tokens
            .iter()
            .find(|id| **id as usize >= self.vocabulary_size)
        {
            return Err(format!(
                "it has the token id {id}, the vocabulary ends at {}",
                self.vocabulary_size
            ));
        }
        let next = self
            .draws(place, "next image")
            .random_bool(self.config.next_image_probability);
        let (mut tokens, mut token_count) = (Cow::Borrowed(view.tokens), view.token_count);
        if let Some(probability) = self.config.space_prefix_probability {
            let has_space = self.draws(place, "space").random_bool(probability);
            let used = &tokens[..token_count];
            let mut drawn = with_or_without_space(used, has_space, &self.tokenizer, self.shape.l)
                .map_err(|error| error.to_string())?;
            token_count = drawn.len();
            drawn.resize(self.shape.l, self.special.pad);
            tokens = Cow::Owned(drawn);
        }
        batch.tokens.extend_from_slice(&tokens);
        batch
            .image_index
            .extend(image_indices(&tokens, token_count, &self.special, next));
        let counts = tokens
            .iter()
            .enumerate()
            .map(|(position, id)| u8::from(position < token_count && *id != self.special.image));
        batch.loss_mask.extend(counts);
        batch.ids.push(view.id.to_owned());
        Ok(())
    }

    fn draws(&self, place: &RowPlace, purpose: &str) -> rand_chacha::ChaCha8Rng {
        generator(
            self.config.seed,
            purpose,
            &[&place.epoch.to_le_bytes(), &place.number.to_le_bytes()],
        )
    }

    fn add_pixels(&self, pictures: &[Picture<'_>], pixels: &mut Pixels) -> Result<(), RowProblem> {
        let is_zero = pixels.is_zero();
        let mut targets = Vec::with_capacity(pictures.len());
        // Slots rise from picture to picture.
        let mut next = pictures.iter().peekable();
        let slots = pixels.chunks_exact_mut(3 * self.shape.h * self.shape.w);
        for (number, slot) in slots.enumerate() {
            if let Some(picture) = next.next_if(|picture| picture.slot == number) {
                targets.push((picture, slot));
            } else if !is_zero {
                slot.fill(0.0);
            }
        }
        let results: Vec<Option<RowProblem>> = targets
            .into_par_iter()
            .map_init(
                || PixelReader::new(self.config.image_side_px, self.config.fit),
                |reader, (picture, target)| {
                    reader
                        .read(picture.bytes, picture.change, &self.normalisation, target)
                        .err()
                        .map(|problem| {
                            (picture.row, format!("a picture does not decode: {problem}"))
                        })
                },
            )
            .collect();
        // The first in order, whichever thread found one first.
        results.into_iter().flatten().next().map_or(Ok(()), Err)
    }
}

/// The tokens with or without a space before the text after the first image, at most `length` of
/// them: where a space makes one more than fit, the text loses its end, not the special tokens
/// after it.
fn with_or_without_space(
    tokens: &[u32],
    has_space: bool,
    tokenizer: &Tokenizer,
    length: usize,
) -> Result<Vec<u32>, Error> {
    let special = tokenizer.special_ids();
    let start = tokens
        .iter()
        .position(|id| *id == special.image)
        .map_or(0, |image| image + 1);
    let end = tokens[start..]
        .iter()
        .position(|id| special.contains(*id))
        .map_or(tokens.len(), |text| start + text);
    let text = tokenizer.decode(&tokens[start..end])?;
    if start == end || text.starts_with(' ') == has_space {
        return Ok(tokens.to_vec());
    }
    let space = if has_space { " " } else { "" };
    let mut drawn = tokenizer.encode_text(&format!("{space}{}", text.trim_start()))?;
    drawn.truncate(length.saturating_sub(tokens.len() - (end - start)));
    Ok([&tokens[..start], &drawn, &tokens[end..]].concat())
}

/// An encoded picture and where its pixels go.
struct Picture<'a> {
    row: usize,
    slot: usize,
    bytes: &'a [u8],
    change: Change,
}
