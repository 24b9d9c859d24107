//! Training a tokenizer on the texts of a corpus.

use std::collections::HashSet;

use tokenizers::decoders::byte_level::ByteLevel as ByteLevelDecoder;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, TokenizerImpl};

use crate::Error;
use crate::guard::catch_panic;
use crate::tokenizer::SPECIAL_TOKENS;

/// Every byte is a token of its own, so that no text is unknown.
const BYTE_ALPHABET: usize = 256;
/// Longest token in characters: a long run of one word, as in encoded data, is no word.
const MAX_TOKEN_CHARACTERS: usize = 32;

type ByteLevelBpe = TokenizerImpl<
    BPE,
    tokenizers::NormalizerWrapper,
    ByteLevel,
    tokenizers::PostProcessorWrapper,
    ByteLevelDecoder,
>;

/// Trains a byte-level BPE tokenizer (as GPT-2's) of `vocabulary_size` tokens, special tokens
/// included, and returns the bytes of its `tokenizer.json`.
///
/// The special tokens have the ids 0 to 4: `<PAD>`, `<BOS>`, `<EOS>`, `<EOC>`, `<image>`. The
/// same texts give the same bytes, in any order of arrival and at any number of threads; few texts
/// may give fewer tokens than asked for. Memory grows with the number of different words.
///
/// ```
/// use m3w_shards::{Tokenizer, train_tokenizer};
///
/// let texts = ["a robin in the snow", "the robin sings"].map(String::from);
/// let file = train_tokenizer(texts.into_iter(), 300)?;
/// let tokenizer = Tokenizer::from_bytes(&file, "robin")?;
/// let ids = tokenizer.encode_text("a robin sings")?;
/// assert_eq!(tokenizer.decode(&ids)?, "a robin sings");
/// # Ok::<(), m3w_shards::Error>(())
/// ```
///
/// # Errors
///
/// [`Error::Training`] if the vocabulary cannot hold the bytes and the special tokens.
pub fn train_tokenizer(
    texts: impl Iterator<Item = String> + Send,
    vocabulary_size: usize,
) -> Result<Vec<u8>, Error> {
    let refuse = |problem: String| Error::Training {
        vocabulary_size,
        problem,
    };
    let least = BYTE_ALPHABET + SPECIAL_TOKENS.len();
    if vocabulary_size < least {
        return Err(refuse(format!(
            "it must have at least {least}, for the bytes and the special tokens"
        )));
    }

    let mut trainer = BpeTrainerBuilder::new()
        .show_progress(false)
        .vocab_size(vocabulary_size)
        // A pair seen once teaches nothing.
        .min_frequency(2)
        .max_token_length(Some(MAX_TOKEN_CHARACTERS))
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect::<HashSet<_>>())
        .special_tokens(
            SPECIAL_TOKENS
                .map(|spelling| AddedToken::from(spelling, true))
                .to_vec(),
        )
        .build();
    let mut tokenizer = ByteLevelBpe::new(BPE::default());
    tokenizer
        .with_pre_tokenizer(Some(ByteLevel::new(false, true, true)))
        .with_decoder(Some(ByteLevelDecoder::new(false, true, true)));

    let file = catch_panic(|| {
        tokenizer.train(&mut trainer, texts)?;
        tokenizer.to_string(true)
    });
    file.map_err(refuse)?
        .map(String::into_bytes)
        .map_err(|error| refuse(error.to_string()))
}
