//! The vocabulary of m3w: a web page as text and images in reading order, and every judgement
//! that needs nothing but a document.
//!
//! A page travels through the project as one type with one parameter: [`Document<ImageRef>`] after
//! alignment, when an image is still only a URL with its alternative text and caption, and
//! [`Document<Image>`] after the images have been fetched, when each has bytes, a size and hashes.
//! A filter that needs pixels takes the second type, so it cannot run too early; a filter that
//! reads only words takes either, and runs first, because words are at hand and pictures cost a
//! request.
//!
//! A bad page is data: a filter answers with a [`Verdict`], and a drop carries its [`Reason`] with
//! the value that was measured and the threshold it failed. Reasons are counted in a [`Tally`],
//! which is what a person reads after a run to see where pages and images went.
//!
//! ```
//! use m3w_document::{Document, Element, ImageRef, Text};
//! use url::Url;
//!
//! let page = Url::parse("https://example.org/birds")?;
//! let mut document = Document::<ImageRef>::new(page.clone());
//! document.elements.push(Element::Text(Text::paragraph("A robin in the snow:")));
//! document.elements.push(Element::Image(ImageRef::new(page.join("robin.jpg")?)));
//! document.elements.push(Element::Text(Text::caption("Erithacus rubecula")));
//! assert_eq!(document.images().count(), 1);
//! assert_eq!(document.word_count(), 7);
//! # Ok::<(), url::ParseError>(())
//! ```

pub mod caption;
pub mod dedup;
mod digest;
mod document;
mod error;
pub mod filter;
pub mod image;
pub mod language;
mod tally;
mod verdict;

pub use document::{
    ConsentSignal, Document, DocumentId, Element, Sha256, Text, TextRole, WarcLocation,
};
pub use error::Error;
pub use image::{Format, Image, ImageRef, Media};
pub use tally::Tally;
pub use verdict::{Reason, Verdict};
