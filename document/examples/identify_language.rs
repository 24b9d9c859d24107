//! Tells the language of texts: one JSON array of tag, confidence and reliability for each.
//!
//!     identify_language FILE
//!
//! FILE has one JSON string on each line.
#![expect(clippy::print_stdout, reason = "a program for the terminal")]

use std::error::Error;

use m3w_document::language::identify;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: identify_language FILE")?;
    for line in std::fs::read_to_string(path)?.lines() {
        let text: String = serde_json::from_str(line)?;
        let told = identify(&text).map(|told| (told.tag, told.confidence, told.is_reliable));
        println!("{}", serde_json::to_string(&told)?);
    }
    Ok(())
}
