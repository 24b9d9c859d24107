//! What can go wrong in this crate.

/// An error of this crate. Bad pages and bad images are not errors: they are
/// [`crate::Reason`]s.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A text that should be a digest or an id is not.
    #[error("`{text}` is not {digits} hexadecimal digits")]
    Hex {
        /// The text.
        text: String,
        /// How many digits it should have.
        digits: usize,
    },
}
