//! Documents to token ids.

use std::sync::Arc;

use m3w_document::{Document, DocumentId, Element, Image, Media};

use crate::{Error, SpecialIds, Tokenizer};

/// A document as token ids, with its images at their places.
///
/// The layout is Flamingo's (arXiv 2204.14198, section 2.4 and appendix A.3):
///
/// ```text
/// <BOS> text text <EOC> <image> text <EOC> <image> text <EOC> <EOS>
/// ```
///
/// `<EOC>` stands before each image and once at the end. Neighbouring texts are parted by a line
/// break, as blocks are on a page. The frames of a clip, which follow each other, are one image.
#[derive(Debug, Clone, PartialEq)]
pub struct Tokenized {
    /// The document.
    pub document_id: DocumentId,
    /// All its tokens; `<image>` occurs once per image and nowhere else.
    pub ids: Vec<u32>,
    /// The images, in the order of their tokens.
    pub images: Vec<TokenizedImage>,
    /// Ids of the special tokens in [`Tokenized::ids`].
    pub special: SpecialIds,
}

/// An image at its place among the tokens.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizedImage {
    /// Index of its `<image>` in [`Tokenized::ids`].
    pub position: usize,
    /// The picture, or the frames of a clip in order; never empty.
    pub frames: Vec<TokenizedFrame>,
}

/// A picture of an image or of a clip.
#[derive(Debug, Clone, PartialEq)]
pub struct TokenizedFrame {
    /// A file name for it, unique by content: `<sha256>.<format>`.
    pub name: String,
    /// The encoded picture.
    pub bytes: Arc<[u8]>,
    /// When it is shown, in ms from its video's start; 0 for a still image.
    pub time_ms: u64,
}

impl TokenizedFrame {
    fn of(image: &Image) -> Self {
        Self {
            name: image_name(image),
            bytes: Arc::clone(&image.bytes),
            time_ms: image.reference.frame_time_ms().unwrap_or(0),
        }
    }
}

/// Most frames of one clip: their number is stored as a byte.
const MAX_FRAMES: usize = 255;

/// The tokens of a document.
///
/// # Errors
///
/// [`Error::Encode`] if the tokenizer fails on a text.
pub fn tokenize(document: &Document<Image>, tokenizer: &Tokenizer) -> Result<Tokenized, Error> {
    let pieces = pieces(parts(document));
    let ids = token_ids(&pieces, tokenizer)?;
    let special = tokenizer.special_ids();
    let images = pieces.into_iter().filter_map(|piece| match piece {
        Piece::Image(frames) => Some(frames.into_iter().map(TokenizedFrame::of).collect()),
        Piece::Text(_) => None,
    });
    let positions = image_positions(&ids, &special);
    let images = positions
        .into_iter()
        .zip(images)
        .map(|(position, frames)| TokenizedImage { position, frames })
        .collect();
    Ok(Tokenized {
        document_id: document.id,
        ids,
        images,
        special,
    })
}

/// What of a document becomes tokens together, in order; an image is an `I`.
pub(crate) enum Piece<'a, I> {
    /// Neighbouring texts.
    Text(Vec<&'a str>),
    /// An image, or the frames of a clip.
    Image(Vec<I>),
}

/// An element of a document.
pub(crate) enum Part<'a, I> {
    /// A text.
    Text(&'a str),
    /// An image, and the video it is a frame of.
    Image(I, Option<&'a str>),
}

fn parts(document: &Document<Image>) -> impl Iterator<Item = Part<'_, &Image>> {
    document.elements.iter().map(|element| match element {
        Element::Text(text) => Part::Text(&text.content),
        Element::Image(image) => {
            let video = match &image.reference.media {
                Media::Frame { source } => Some(source.as_str()),
                _ => None,
            };
            Part::Image(image, video)
        }
    })
}

/// Elements put together to pieces.
pub(crate) fn pieces<'a, I>(parts: impl Iterator<Item = Part<'a, I>>) -> Vec<Piece<'a, I>> {
    let mut pieces = Vec::new();
    // The video whose frame stands right before.
    let mut last_video: Option<&str> = None;
    for part in parts {
        match part {
            Part::Text(text) => {
                last_video = None;
                if let Some(Piece::Text(blocks)) = pieces.last_mut() {
                    blocks.push(text);
                } else {
                    pieces.push(Piece::Text(vec![text]));
                }
            }
            Part::Image(image, video) => {
                let goes_on = video.is_some() && video == std::mem::replace(&mut last_video, video);
                match pieces.last_mut() {
                    Some(Piece::Image(frames)) if goes_on && frames.len() < MAX_FRAMES => {
                        frames.push(image);
                    }
                    _ => pieces.push(Piece::Image(vec![image])),
                }
            }
        }
    }
    pieces
}

/// The token ids of a document in pieces.
///
/// # Errors
///
/// As [`tokenize`].
pub(crate) fn token_ids<I>(
    pieces: &[Piece<'_, I>],
    tokenizer: &Tokenizer,
) -> Result<Vec<u32>, Error> {
    let special = tokenizer.special_ids();
    let mut ids = vec![special.bos];
    for piece in pieces {
        match piece {
            Piece::Text(blocks) => {
                let mut text = String::new();
                for block in blocks {
                    if !text.is_empty() {
                        text.push('\n');
                    }
                    text.push_str(block);
                }
                ids.extend(tokenizer.encode_text(&text)?);
            }
            Piece::Image(_) => ids.extend([special.eoc, special.image]),
        }
    }
    ids.extend([special.eoc, special.eos]);
    Ok(ids)
}

/// Where the images stand among the ids of a document.
pub(crate) fn image_positions(ids: &[u32], special: &SpecialIds) -> Vec<usize> {
    let positions = ids.iter().enumerate();
    positions
        .filter_map(|(position, id)| (*id == special.image).then_some(position))
        .collect()
}

/// A file name for an image, the same for the same content.
pub(crate) fn image_name(image: &Image) -> String {
    format!("{}.{}", image.sha256_stored, image.format.as_str())
}
