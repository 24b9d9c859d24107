//! The crate's face: what others may rely on.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test")]

mod encoded;
mod fresh_windows;
mod loading;
mod mixing;
mod round_trip;
mod salvage;
mod sample;
mod tokenizing;
mod windows;
