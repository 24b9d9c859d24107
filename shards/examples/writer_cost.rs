//! Measures what writing the shards of a corpus costs: processor seconds, and bytes.
//!
//! ```text
//! cargo run --release -p m3w-shards --example writer_cost -- CORPUS OUT
//! ```
//!
//! Reads a corpus and writes its documents and sequences anew into the folder OUT, shard by shard;
//! only the writing is counted, with encoding, compression, hashes and fsync. Beside the processor
//! time of the build that made the corpus, it tells the writer's share.

#![expect(clippy::print_stdout, reason = "a table is what it is for")]

use std::path::Path;

use m3w_shards::{
    Config, DocumentReader, DocumentWriter, Manifest, SequenceReader, SequenceWriter, ShardInfo,
    Tokenizer,
};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

fn main() -> Outcome<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [corpus, out] = arguments.as_slice() else {
        return Err("usage: writer_cost CORPUS OUT".into());
    };
    let (corpus, out) = (Path::new(corpus), Path::new(out));
    std::fs::create_dir_all(out)?;
    let manifest = Manifest::load(corpus)?;
    let tokenizer = Tokenizer::from_file(&corpus.join("tokenizer.json"))?;
    let info = ShardInfo {
        config: Config::default(),
        seed: manifest.seed,
    };
    println!("| form | rows | MB | processor seconds |");
    println!("|---|---|---|---|");
    let (mut rows, mut bytes, mut seconds) = (0, 0, 0.0);
    for entry in &manifest.documents {
        let documents = DocumentReader::open(&corpus.join(&entry.path))?;
        let documents = documents.collect::<Result<Vec<_>, _>>()?;
        let began = processor_seconds()?;
        let mut writer = DocumentWriter::create(&out.join("documents.parquet"), &info)?;
        for document in &documents {
            writer.write(document)?;
        }
        bytes += writer.finish()?.bytes;
        seconds += processor_seconds()? - began;
        rows += documents.len();
    }
    println!(
        "| documents | {rows} | {} | {seconds:.2} |",
        bytes / 1_000_000
    );
    (rows, bytes, seconds) = (0, 0, 0.0);
    for entry in &manifest.sequences {
        let sequences = SequenceReader::open(&corpus.join(&entry.path))?;
        let sequences = sequences.collect::<Result<Vec<_>, _>>()?;
        let began = processor_seconds()?;
        let path = out.join("sequences.parquet");
        let mut writer = SequenceWriter::create(&path, &info, &tokenizer)?;
        for row in &sequences {
            writer.write(row)?;
        }
        bytes += writer.finish()?.bytes;
        seconds += processor_seconds()? - began;
        rows += sequences.len();
    }
    println!(
        "| sequences | {rows} | {} | {seconds:.2} |",
        bytes / 1_000_000
    );
    Ok(())
}

/// Seconds of processor time that all threads of this process have taken, to a hundredth.
fn processor_seconds() -> Outcome<f64> {
    let status = std::fs::read_to_string("/proc/self/stat")?;
    let fields = status.rsplit_once(')').ok_or("no process status")?.1;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}
