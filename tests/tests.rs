//! Journeys through several crates, as a user of the program or of the library takes them.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where a step fails, helpers included"
)]

mod journeys {
    mod benchmarks;
    mod clips;
    mod consent;
    mod crawl;
    mod curation;
    mod damage;
    mod dedup;
    mod describing;
    mod determinism;
    mod errors;
    mod few_shot;
    mod forget;
    mod idefics;
    mod importing;
    mod index;
    mod interleaved;
    mod interruption;
    mod pairs;
    mod picture_server;
    #[path = "../../examples/planted/planted.rs"]
    mod planted;
    mod pretraining;
    mod proofs;
    mod readers;
    mod repair;
    mod replay;
    mod retry;
    mod road;
    mod scoring;
    /// The proof that `cargo run --example shapes` runs too.
    #[path = "../../examples/shapes/proofs.rs"]
    mod shapes;
    mod site;
    mod stored_pages;
    mod training;
    mod video_programs;
    mod warc;
    mod what_if;
}
