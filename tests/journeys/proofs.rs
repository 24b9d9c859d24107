//! What a small Flamingo learns from shards: to name what it sees, and what a page calls it.
//! `examples/shapes` runs the same with other seeds and sizes.

use super::shapes::program::Program;
use super::shapes::{in_context, naming};

fn program() -> Program {
    Program(env!("CARGO_BIN_EXE_m3w").into())
}

#[test]
fn scenes_that_were_never_shown_are_named_from_the_picture_alone() {
    let size = naming::Size {
        pairs: 3000,
        pages: 500,
        language_steps: 200,
        steps: 400,
        drawings: 2,
    };
    let folder = tempfile::tempdir().unwrap();
    let scores = naming::prove(&program(), folder.path(), 1, &size, ("run", "")).unwrap();
    assert!(scores.succeed(), "{scores}");
}

#[test]
fn what_a_colour_is_called_is_learned_from_the_examples_before_the_question() {
    let size = in_context::Size {
        words: 6000,
        pages: 1500,
        language_steps: 1500,
        steps: 450,
        questions: 60,
    };
    let folder = tempfile::tempdir().unwrap();
    let scores = in_context::prove(&program(), folder.path(), 1, &size).unwrap();
    assert!(scores.succeed(), "{scores}");
}
