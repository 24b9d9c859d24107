//! What the program and the tests share.

pub(crate) mod corpus;
pub(crate) mod judge;
pub(crate) mod pictures;
