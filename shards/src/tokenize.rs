//! Documents to token ids.

use std::sync::Arc;

use m3w_document::{Document, DocumentId, Element, Image};

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
/// break, as blocks are on a page.
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
    /// A file name for it, unique by content: `<sha256>.<format>`.
    pub name: String,
    /// The encoded picture.
    pub bytes: Arc<[u8]>,
}

/// The tokens of a document.
///
/// # Errors
///
/// [`Error::Encode`] if the tokenizer fails on a text.
pub fn tokenize(document: &Document<Image>, tokenizer: &Tokenizer) -> Result<Tokenized, Error> {
    let special = tokenizer.special_ids();
    let mut ids = vec![special.bos];
    let mut images = Vec::new();
    let mut text = String::new();
    for element in &document.elements {
        match element {
            Element::Text(block) => {
                if !text.is_empty() {
                    text.push('\n');
                }
                text.push_str(&block.content);
            }
            Element::Image(image) => {
                ids.extend(tokenizer.encode_text(&text)?);
                text.clear();
                ids.push(special.eoc);
                images.push(TokenizedImage {
                    position: ids.len(),
                    name: image_name(image),
                    bytes: Arc::clone(&image.bytes),
                });
                ids.push(special.image);
            }
        }
    }
    ids.extend(tokenizer.encode_text(&text)?);
    ids.extend([special.eoc, special.eos]);
    Ok(Tokenized {
        document_id: document.id,
        ids,
        images,
        special,
    })
}

/// A file name for an image, the same for the same content.
pub(crate) fn image_name(image: &Image) -> String {
    format!("{}.{}", image.sha256_stored, image.format.as_str())
}
