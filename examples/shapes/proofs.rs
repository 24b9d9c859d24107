//! The proof, for the example and for the tests.

mod archive;
pub(crate) mod in_context;
pub(crate) mod naming;
pub(crate) mod program;
mod scenes;
mod scoring;
