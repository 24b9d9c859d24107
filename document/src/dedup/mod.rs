//! What is the same and what is nearly the same: prints of texts and of pictures, small enough to
//! keep of every document, by which repetitions are found without looking at the documents again.
//!
//! - [`words`]: the words of a text as they are compared.
//! - [`bands`] and [`Sketch`]: the first finds texts that may be alike, the second says how much.
//! - [`PicturePrint`]: the same for pictures, through scaling, encoding and slight crops.
//!
//! ```
//! use m3w_document::dedup::{Sketch, words};
//!
//! let sketch = |text| Sketch::of(&words(text));
//! let first = sketch("A robin sits in the snow, and a wren is near.");
//! let second = sketch("a robin sits in the snow and one wren is near");
//! // Ten of the twelve words that either has are in both.
//! assert_eq!(first.similarity(&second), 10.0 / 12.0);
//! ```

mod picture;
mod text;

pub use picture::{PicturePrint, WINDOWS};
pub use text::{BANDS, ROWS, SHINGLE_WORDS, SKETCH_BYTES, Sketch, bands, gram, grams, words};

/// The finaliser of splitmix64 (Steele, Lea and Flood 2014): every bit of the result depends on
/// every bit of `value`.
fn mixed(value: u64) -> u64 {
    let value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}
