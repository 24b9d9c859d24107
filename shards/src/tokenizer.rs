//! The tokenizer and the special tokens of a training row.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use m3w_document::Sha256;
use serde::{Deserialize, Serialize};
use tokenizers::AddedToken;

use crate::Error;
use crate::guard::catch_panic;
use crate::manifest::write_atomically;

/// Text of the token that stands where an image stands.
pub const IMAGE_TOKEN: &str = "<image>";
/// Text of the token that ends a chunk: before each image and at the document's end.
pub const END_OF_CHUNK_TOKEN: &str = "<EOC>";

/// Spellings under which a tokenizer file may hold each special token, the first being the one
/// that is added where none is found. They are the spellings of Flamingo, OpenFlamingo and of the
/// common language models.
const IMAGE_SPELLINGS: &[&str] = &[IMAGE_TOKEN];
const END_OF_CHUNK_SPELLINGS: &[&str] = &[END_OF_CHUNK_TOKEN, "<|endofchunk|>"];
const BEGIN_SPELLINGS: &[&str] = &[
    "<BOS>",
    "<s>",
    "[BOS]",
    "<bos>",
    "<|begin_of_text|>",
    "<|endoftext|>",
];
const END_SPELLINGS: &[&str] = &[
    "<EOS>",
    "</s>",
    "[EOS]",
    "<eos>",
    "<|end_of_text|>",
    "<|endoftext|>",
];
const PADDING_SPELLINGS: &[&str] = &["<PAD>", "<pad>", "[PAD]", "<|padding|>"];

/// What stands before and behind `<image>` in Idefics, whose tokenizers are known by it.
const AROUND_IMAGE_TOKEN: &str = "<fake_token_around_image>";
/// The same tokens in Idefics, whose tables have no room for others: what it was taught to end an
/// utterance by, or, before that, a document; and what its processor fills rows with.
const IDEFICS_END_OF_CHUNK_SPELLINGS: &[&str] = &["<end_of_utterance>", "</s>"];
const IDEFICS_PADDING_SPELLINGS: &[&str] = &["<pad>", "<unk>"];

/// The spelling of each special token in a tokenizer that has none of them, in order of their ids.
pub(crate) const SPECIAL_TOKENS: [&str; 5] = [
    PADDING_SPELLINGS[0],
    BEGIN_SPELLINGS[0],
    END_SPELLINGS[0],
    END_OF_CHUNK_TOKEN,
    IMAGE_TOKEN,
];

/// Ids of the special tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialIds {
    /// `<image>`.
    pub image: u32,
    /// `<EOC>`, end of chunk.
    pub eoc: u32,
    /// Beginning of a document.
    pub bos: u32,
    /// End of a document.
    pub eos: u32,
    /// What fills a row after its last token.
    pub pad: u32,
}

impl SpecialIds {
    /// Whether `id` is one of them.
    #[must_use]
    pub fn contains(&self, id: u32) -> bool {
        [self.image, self.eoc, self.bos, self.eos, self.pad].contains(&id)
    }
}

/// A tokenizer with the special tokens that a training row needs.
///
/// Any `tokenizer.json` of the Hugging Face tokenizers library will do. Special tokens it lacks
/// are added after its last id (`<image>`, `<EOC>`, and begin, end and padding where the file has
/// none under a common spelling), so the ids of a language model's own tokens stay as they are.
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// What [`Tokenizer::save`] writes.
    file: Vec<u8>,
    sha256: Sha256,
    special: SpecialIds,
    vocabulary_size: usize,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokenizer")
            .field("sha256", &self.sha256)
            .field("special", &self.special)
            .field("vocabulary_size", &self.vocabulary_size)
            .finish_non_exhaustive()
    }
}

impl Tokenizer {
    /// The tokenizer in a `tokenizer.json`.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] if the file cannot be read, [`Error::Tokenizer`] if it is not usable.
    pub fn from_file(path: &Path) -> Result<Self, Error> {
        let bytes = fs::read(path).map_err(Error::io(path))?;
        Self::from_bytes(&bytes, &path.display().to_string())
    }

    /// The tokenizer in the bytes of a `tokenizer.json`; `name` is for messages.
    ///
    /// # Errors
    ///
    /// [`Error::Tokenizer`] if the bytes are not a tokenizer, if two tokens share an id, or if ids
    /// are so large that an embedding table would be mostly empty.
    pub fn from_bytes(bytes: &[u8], name: &str) -> Result<Self, Error> {
        let refuse = |problem: String| Error::Tokenizer {
            name: name.to_owned(),
            problem,
        };
        let mut inner = catch_panic(|| tokenizers::Tokenizer::from_bytes(bytes))
            .map_err(refuse)?
            .map_err(|error| refuse(error.to_string()))?;
        check_ids(&inner).map_err(refuse)?;

        let spellings = Spellings::of(&inner);
        let lacks_any = add_missing(&mut inner, &spellings).map_err(refuse)?;
        // Adding picks the next id by the number of tokens, which may already be taken where the
        // file leaves ids out.
        let vocabulary_size = check_ids(&inner).map_err(refuse)?;
        let file = if lacks_any {
            inner
                .to_string(true)
                .map_err(|error| refuse(error.to_string()))?
                .into_bytes()
        } else {
            bytes.to_vec()
        };

        // A row is cut and filled here, not by whatever the file was last used for.
        inner
            .with_truncation(None)
            .map_err(|error| refuse(error.to_string()))?;
        inner.with_padding(None);
        // A special token spelt out in a page is text like any other.
        inner.set_encode_special_tokens(true);

        let id = |spellings| find(&inner, spellings).ok_or_else(|| refuse(lacking(spellings)));
        let special = SpecialIds {
            image: id(IMAGE_SPELLINGS)?,
            eoc: id(spellings.end_of_chunk)?,
            bos: id(BEGIN_SPELLINGS)?,
            eos: id(END_SPELLINGS)?,
            pad: id(spellings.padding)?,
        };
        Ok(Self {
            inner,
            sha256: Sha256::of(&file),
            file,
            special,
            vocabulary_size,
        })
    }

    /// SHA-256 of the tokenizer's file as [`Tokenizer::save`] writes it. It is the hash of the
    /// file that was read, unless special tokens had to be added to it.
    #[must_use]
    pub fn sha256(&self) -> Sha256 {
        self.sha256
    }

    /// Ids of the special tokens.
    #[must_use]
    pub fn special_ids(&self) -> SpecialIds {
        self.special
    }

    /// Id of `<image>`.
    #[must_use]
    pub fn image_id(&self) -> u32 {
        self.special.image
    }

    /// Id of `<EOC>`.
    #[must_use]
    pub fn eoc_id(&self) -> u32 {
        self.special.eoc
    }

    /// Id of the token that begins a document.
    #[must_use]
    pub fn bos_id(&self) -> u32 {
        self.special.bos
    }

    /// Id of the token that ends a document.
    #[must_use]
    pub fn eos_id(&self) -> u32 {
        self.special.eos
    }

    /// Id of the token that fills a row.
    #[must_use]
    pub fn pad_id(&self) -> u32 {
        self.special.pad
    }

    /// Id of what stands before and behind `<image>`, in the tokenizers of Idefics.
    #[must_use]
    pub fn around_image_id(&self) -> Option<u32> {
        self.inner.token_to_id(AROUND_IMAGE_TOKEN)
    }

    /// Rows that an embedding table needs: the highest id, added tokens included, and one more.
    #[must_use]
    pub fn vocabulary_size(&self) -> usize {
        self.vocabulary_size
    }

    /// The ids of a text, none of them special: a special token's spelling in the text is encoded
    /// as the characters it is made of.
    ///
    /// # Errors
    ///
    /// [`Error::Encode`] if the tokenizer fails, for example for lack of an unknown-word token.
    pub fn encode_text(&self, text: &str) -> Result<Vec<u32>, Error> {
        let ids = self.encode_raw(text)?;
        if !ids.iter().any(|id| self.special.contains(*id)) {
            return Ok(ids);
        }
        // Some models hold the spelling in their own vocabulary, out of reach of the setting that
        // splits special tokens. Encoded in two pieces it can never be that one token.
        let mut ids = Vec::with_capacity(ids.len());
        let mut rest = text;
        while let Some(cut) = self.first_spelling(rest) {
            ids.extend(self.encode_raw(&rest[..cut])?);
            rest = &rest[cut..];
        }
        ids.extend(self.encode_raw(rest)?);
        // What is left is a model that maps unknown words to a special token.
        ids.retain(|id| !self.special.contains(*id));
        Ok(ids)
    }

    /// Byte offset behind the first character of the first special token spelt out in `text`.
    fn first_spelling(&self, text: &str) -> Option<usize> {
        let special = &self.special;
        [
            special.image,
            special.eoc,
            special.bos,
            special.eos,
            special.pad,
        ]
        .into_iter()
        .filter_map(|id| {
            let spelling = self.inner.id_to_token(id)?;
            let start = text.find(&spelling)?;
            let first = text[start..].chars().next()?;
            Some(start + first.len_utf8())
        })
        .min()
    }

    fn encode_raw(&self, text: &str) -> Result<Vec<u32>, Error> {
        let refuse = |problem: String| Error::Encode {
            bytes: text.len(),
            problem,
        };
        let encoding = catch_panic(|| self.inner.encode_fast(text, false))
            .map_err(refuse)?
            .map_err(|error| refuse(error.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// The text of ids, special tokens spelt out.
    ///
    /// # Errors
    ///
    /// [`Error::Decode`] if the tokenizer fails.
    pub fn decode(&self, ids: &[u32]) -> Result<String, Error> {
        let refuse = |problem: String| Error::Decode {
            tokens: ids.len(),
            problem,
        };
        catch_panic(|| self.inner.decode(ids, false))
            .map_err(refuse)?
            .map_err(|error| refuse(error.to_string()))
    }

    /// Writes the tokenizer, special tokens included, so that reading it again gives the same ids
    /// and the same [`Tokenizer::sha256`].
    ///
    /// # Errors
    ///
    /// [`Error::Io`].
    pub fn save(&self, path: &Path) -> Result<(), Error> {
        write_atomically(path, &self.file)
    }
}

fn find(inner: &tokenizers::Tokenizer, spellings: &[&str]) -> Option<u32> {
    spellings
        .iter()
        .find_map(|spelling| inner.token_to_id(spelling))
}

fn lacking(spellings: &[&str]) -> String {
    format!("it has no `{}` token and none could be added", spellings[0])
}

/// Spellings that depend on whose tokenizer it is.
struct Spellings {
    end_of_chunk: &'static [&'static str],
    padding: &'static [&'static str],
}

impl Spellings {
    fn of(inner: &tokenizers::Tokenizer) -> Self {
        if inner.token_to_id(AROUND_IMAGE_TOKEN).is_none() {
            return Self {
                end_of_chunk: END_OF_CHUNK_SPELLINGS,
                padding: PADDING_SPELLINGS,
            };
        }
        Self {
            end_of_chunk: IDEFICS_END_OF_CHUNK_SPELLINGS,
            padding: IDEFICS_PADDING_SPELLINGS,
        }
    }
}

/// Adds the special tokens that the tokenizer lacks; whether there were any.
fn add_missing(inner: &mut tokenizers::Tokenizer, spellings: &Spellings) -> Result<bool, String> {
    let missing: Vec<AddedToken> = [
        spellings.padding,
        BEGIN_SPELLINGS,
        END_SPELLINGS,
        spellings.end_of_chunk,
        IMAGE_SPELLINGS,
    ]
    .into_iter()
    .filter(|spellings| find(inner, spellings).is_none())
    .map(|spellings| AddedToken::from(spellings[0], true))
    .collect();
    let lacks_any = !missing.is_empty();
    inner
        .add_special_tokens(missing)
        .map_err(|error| error.to_string())?;
    Ok(lacks_any)
}

/// The number of rows an embedding table for these ids needs, if the ids are sound.
fn check_ids(inner: &tokenizers::Tokenizer) -> Result<usize, String> {
    let vocabulary: HashMap<String, u32> = inner.get_vocab(true);
    let mut ids: Vec<u32> = vocabulary.values().copied().collect();
    ids.sort_unstable();
    if let Some(pair) = ids.windows(2).find(|pair| pair[0] == pair[1]) {
        return Err(format!("two of its tokens share the id {}", pair[0]));
    }
    let rows = ids.last().map_or(0, |last| *last as usize + 1);
    // Published tokenizers leave out few ids or none. An id far beyond the number of tokens is
    // damage, and would ask for an embedding table that nothing fills.
    if rows > 2 * ids.len() {
        return Err(format!(
            "it has {} tokens, but an id as high as {}",
            ids.len(),
            rows - 1
        ));
    }
    Ok(rows)
}
