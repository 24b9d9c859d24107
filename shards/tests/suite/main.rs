//! The crate's face: what others may rely on.

mod loading;
mod round_trip;
mod sample;
mod tokenizing;
mod windows;
