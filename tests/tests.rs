//! Journeys through several crates, as a user of the program or of the library takes them.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends where a step fails, helpers included"
)]

mod journeys {
    mod benchmarks;
    mod clips;
    mod crawl;
    mod damage;
    mod describing;
    mod determinism;
    mod errors;
    mod few_shot;
    mod index;
    mod interleaved;
    mod interruption;
    mod pairs;
    mod picture_server;
    mod readers;
    mod repair;
    mod replay;
    mod retry;
    mod road;
    mod scoring;
    mod site;
    mod stored_pages;
    mod video_programs;
    mod warc;
    mod what_if;
}
