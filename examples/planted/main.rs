//! A corpus with planted repetitions, and how many of them `m3w dedup` finds.
//!
//! ```sh
//! cargo run --release --example planted -- make DIR 100000
//! m3w dedup DIR/corpus --protect DIR/protect --list DIR/gone.jsonl --dry-run
//! cargo run --release --example planted -- judge DIR 100000
//! ```

use std::path::Path;

use anyhow::{Context, Result, bail};

#[path = "planted.rs"]
mod planted;

use planted::{corpus, judge};

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [what, folder, count] = arguments.as_slice() else {
        bail!("usage: planted make|judge DIR DOCUMENTS");
    };
    let folder = Path::new(folder);
    let count = count
        .parse()
        .context("the number of documents is no number")?;
    match what.as_str() {
        "make" => corpus::make(folder, count),
        "judge" => {
            let report = judge::judge(&folder.join("gone.jsonl"), count)?;
            #[expect(clippy::print_stdout, reason = "the result")]
            {
                print!("{report}");
            }
            Ok(())
        }
        other => bail!("`{other}` is neither make nor judge"),
    }
}
