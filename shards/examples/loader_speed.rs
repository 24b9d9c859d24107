//! Measures the loader: samples of 256 tokens and 5 JPEGs of 256 px a second of processor time.
//!
//! ```text
//! cargo run --release -p m3w-shards --example loader_speed -- make CORPUS OUT ROWS
//! cargo run --release -p m3w-shards --example loader_speed -- run OUT
//! cargo run --release -p m3w-shards --example loader_speed -- windows CORPUS
//! ```
//!
//! `make` writes a corpus of such rows from the pictures of another. `benches/loader_peers/run.sh`
//! calls both, and the peers on the same rows. `windows` measures what it costs to draw windows
//! anew from the documents of a corpus, beside those that were packed.

#![expect(clippy::print_stdout, reason = "a table is what it is for")]

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use image::codecs::jpeg::JpegEncoder;
use m3w_document::Sha256;
use m3w_shards::{
    Config, DocumentReader, EncodedLoader, Error, Fit, FreshWindows, Loader, LoaderConfig,
    Manifest, SequenceImage, SequenceRow, SequenceWriter, ShardInfo, Tokenizer,
};

const SIDE_PX: u32 = 256;
const IMAGES: usize = 5;
const TOKENS: usize = 256;
const QUALITY: u8 = 90;
const PICTURES: usize = 500;

type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments.as_slice() {
        ["make", corpus, out, rows] => make(Path::new(corpus), Path::new(out), rows.parse()?),
        ["run", directory] => run(Path::new(directory)),
        ["windows", corpus] => windows(Path::new(corpus)),
        _ => Err("usage: loader_speed make CORPUS OUT ROWS | run OUT | windows CORPUS".into()),
    }
}

fn make(corpus: &Path, out: &Path, rows: usize) -> Outcome {
    std::fs::create_dir_all(out)?;
    std::fs::copy(corpus.join("tokenizer.json"), out.join("tokenizer.json"))?;
    let tokenizer = Tokenizer::from_file(&out.join("tokenizer.json"))?;
    let special = tokenizer.special_ids();
    let pictures = pictures(corpus)?;
    let info = ShardInfo {
        config: Config::default(),
        seed: 0,
    };
    let mut writer = SequenceWriter::create(&out.join("rows.parquet"), &info, &tokenizer)?;
    for row in 0..rows {
        let mut tokens: Vec<u32> = (300..500).cycle().step_by(7).take(TOKENS).collect();
        for image in 0..IMAGES {
            tokens[image * TOKENS / IMAGES] = special.image;
        }
        let of_row = (0..IMAGES).map(|image| &pictures[(row * IMAGES + image) % pictures.len()]);
        writer.write(&SequenceRow {
            id: format!("{row}"),
            source: "bench".to_owned(),
            tokens,
            token_count: TOKENS,
            images: of_row.cloned().collect(),
            frames_per_image: vec![1; IMAGES],
            frame_times: vec![0.0; IMAGES],
            document_id: None,
            window_start: 0,
            text: String::new(),
        })?;
    }
    let mut manifest = Manifest::new(Sha256::of(b""), 0);
    manifest.sequences.push(writer.finish()?);
    manifest.save(out)?;
    Ok(())
}

/// The first pictures of a corpus that are no smaller than needed, as squares.
fn pictures(corpus: &Path) -> Result<Vec<SequenceImage>, Box<dyn std::error::Error>> {
    let mut pictures = Vec::new();
    for entry in Manifest::load(corpus)?.documents {
        for document in DocumentReader::open(&corpus.join(&entry.path))? {
            for picture in document?.images() {
                if picture.width_px.min(picture.height_px) < SIDE_PX {
                    continue;
                }
                let decoded = image::load_from_memory(&picture.bytes)?;
                let filter = image::imageops::FilterType::Triangle;
                let square = decoded.resize_to_fill(SIDE_PX, SIDE_PX, filter).to_rgb8();
                let mut bytes = Vec::new();
                JpegEncoder::new_with_quality(&mut bytes, QUALITY).encode_image(&square)?;
                pictures.push(SequenceImage {
                    name: format!("{}.jpeg", pictures.len()),
                    bytes: bytes.into(),
                });
                if pictures.len() == PICTURES {
                    return Ok(pictures);
                }
            }
        }
    }
    if pictures.is_empty() {
        return Err("the corpus has no picture of 256 px".into());
    }
    Ok(pictures)
}

/// Both kinds of loader on the rows that `make` wrote.
fn run(directory: &Path) -> Outcome {
    let tokenizer = Arc::new(Tokenizer::from_file(&directory.join("tokenizer.json"))?);
    let decoded = Loader::open(directory, &loading(1), &tokenizer)?;
    measure(
        "m3w, shuffled, decoded",
        decoded.map(|batch| Ok(batch?.shape.b)),
    )?;
    for (name, memory_map) in [("read", false), ("mapped", true)] {
        let config = LoaderConfig {
            memory_map,
            // Seconds are counted in hundredths.
            ..loading(20)
        };
        let encoded = EncodedLoader::open(directory, &config, &tokenizer)?;
        measure(
            &format!("m3w, shuffled, not decoded, {name}"),
            encoded.map(|batch| Ok(batch?.shape.b)),
        )?;
    }
    Ok(())
}

/// The windows of a corpus, as they were packed and drawn anew, with their pictures decoded and
/// not.
fn windows(corpus: &Path) -> Outcome {
    let tokenizer = Arc::new(Tokenizer::from_file(&corpus.join("tokenizer.json"))?);
    let kinds = [
        ("packed", None),
        (
            "fresh, tokenized once",
            Some(FreshWindows::default().cache_bytes),
        ),
        ("fresh, tokenized each time", Some(0)),
    ];
    for (name, cache_bytes) in kinds {
        let fresh_windows = cache_bytes.map(|cache_bytes| FreshWindows {
            cache_bytes,
            ..FreshWindows::default()
        });
        let config = LoaderConfig {
            fresh_windows,
            ..loading(5)
        };
        let decoded = Loader::open(corpus, &config, &tokenizer)?;
        measure(
            &format!("{name}, decoded"),
            decoded.map(|batch| Ok(batch?.shape.b)),
        )?;
        let encoded = EncodedLoader::open(corpus, &config, &tokenizer)?;
        measure(
            &format!("{name}, not decoded"),
            encoded.map(|batch| Ok(batch?.shape.b)),
        )?;
    }
    Ok(())
}

fn loading(epochs: u64) -> LoaderConfig {
    LoaderConfig {
        batch_size: 32,
        image_side_px: SIDE_PX,
        fit: Fit::CenterCrop,
        threads: 1,
        epochs: Some(epochs),
        ..LoaderConfig::default()
    }
}

/// Prints the rate of a loader that yields batches of so many rows.
fn measure(name: &str, batches: impl Iterator<Item = Result<usize, Error>>) -> Outcome {
    let (began, processor) = (Instant::now(), processor_seconds()?);
    let mut rows = 0_u32;
    for count in batches {
        rows += u32::try_from(count?)?;
    }
    let (wall, processor) = (
        began.elapsed().as_secs_f64(),
        processor_seconds()? - processor,
    );
    let rate = |seconds: f64| f64::from(rows) / seconds;
    println!("| {name} | {:.0} | {:.0} |", rate(processor), rate(wall));
    Ok(())
}

/// Seconds of processor time that all threads of this process have taken, to a hundredth.
fn processor_seconds() -> Result<f64, Box<dyn std::error::Error>> {
    let status = std::fs::read_to_string("/proc/self/stat")?;
    let fields = status.rsplit_once(')').ok_or("no process status")?.1;
    let ticks = fields.split_whitespace().skip(11).take(2);
    let ticks: f64 = ticks.filter_map(|ticks| ticks.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}
