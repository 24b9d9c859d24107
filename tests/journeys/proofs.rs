//! What a small Flamingo learns from shards: to name what it sees. `examples/shapes` runs the same with
//! other seeds and sizes.

use super::shapes::naming;
use super::shapes::program::Program;

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
