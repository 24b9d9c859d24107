//! Journeys through several crates, as a user of the program or of the library takes them.

mod journeys {
    mod determinism;
    mod errors;
    mod interruption;
    mod readers;
    mod road;
    mod site;
    mod warc;
}
