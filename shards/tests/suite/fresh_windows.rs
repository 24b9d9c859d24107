//! Windows that the loader draws from documents.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use m3w_document::{Element, Sha256};
use m3w_shards::{
    Batch, Config, DocumentWriter, FreshWindows, Loader, LoaderConfig, Manifest, SequenceReader,
    Share, Tokenizer,
};

use crate::sample;

const DOCUMENTS: u32 = 23;

fn windows() -> FreshWindows {
    FreshWindows {
        sequence_length: 24,
        images_per_sequence: 2,
        ..FreshWindows::default()
    }
}

fn packing() -> Config {
    Config {
        sequence_length: 24,
        images_per_sequence: 2,
        row_group_rows: 4,
        ..Config::default()
    }
}

fn loading(windows: FreshWindows) -> LoaderConfig {
    LoaderConfig {
        batch_size: 5,
        image_side_px: 8,
        shuffle_buffer: 6,
        fresh_windows: Some(windows),
        seed: 11,
        threads: 1,
        epochs: Some(3),
        ..LoaderConfig::default()
    }
}

/// Documents of which every third has no words after its images.
fn write_documents(directory: &Path) -> Arc<Tokenizer> {
    let mut manifest = Manifest::new(Sha256::of(b""), 0);
    for (shard, numbers) in [(0, 0..7), (1, 7..DOCUMENTS)] {
        let path = directory.join(format!("documents-{shard}.parquet"));
        let mut writer = DocumentWriter::create(&path, &sample::info(packing())).unwrap();
        for number in numbers {
            let mut document = sample::full_document(number);
            if number % 3 == 0 {
                let is_text = |element: &Element<_>| matches!(element, Element::Text(_));
                document.elements.sort_by_key(|element| !is_text(element));
            }
            writer.write(&document).unwrap();
        }
        manifest.documents.push(writer.finish().unwrap());
    }
    manifest.save(directory).unwrap();
    Arc::new(sample::tokenizer())
}

fn batches(directory: &Path, config: &LoaderConfig, tokenizer: &Arc<Tokenizer>) -> Vec<Batch> {
    let loader = Loader::open(directory, config, tokenizer).unwrap();
    loader.map(Result::unwrap).collect()
}

/// The tokens of each row, by the row's name.
fn rows(batches: &[Batch]) -> Vec<(String, Vec<u32>)> {
    let rows = batches.iter().flat_map(|batch| {
        let tokens = batch.tokens.chunks(batch.shape.l).map(<[u32]>::to_vec);
        batch.ids.iter().cloned().zip(tokens)
    });
    rows.collect()
}

#[test]
fn the_first_epoch_shows_the_windows_that_packing_with_its_seed_makes() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = sample::write_corpus(folder.path(), DOCUMENTS, &packing());
    let mut packed = BTreeMap::new();
    for entry in Manifest::load(folder.path()).unwrap().sequences {
        for row in SequenceReader::open(&folder.path().join(entry.path)).unwrap() {
            let row = row.unwrap();
            packed.insert(row.id, row.tokens);
        }
    }
    let config = LoaderConfig {
        epochs: Some(1),
        ..loading(windows())
    };
    let drawn = rows(&batches(folder.path(), &config, &tokenizer));
    assert_eq!(drawn.into_iter().collect::<BTreeMap<_, _>>(), packed);
    // Pictures and all: a loader of the packed rows in their order makes the same batches.
    let ordered = LoaderConfig {
        shuffle_buffer: 0,
        ..config
    };
    let packed = LoaderConfig {
        fresh_windows: None,
        ..ordered.clone()
    };
    assert_eq!(
        batches(folder.path(), &ordered, &tokenizer),
        batches(folder.path(), &packed, &tokenizer)
    );
}

#[test]
fn each_epoch_shows_other_windows_of_the_same_documents() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = write_documents(folder.path());
    let rows = rows(&batches(folder.path(), &loading(windows()), &tokenizer));
    // Eight of the 23 have no window.
    assert_eq!(rows.len(), 3 * 15);
    let epochs: Vec<BTreeMap<_, _>> = rows
        .chunks(15)
        .map(|epoch| epoch.iter().cloned().collect())
        .collect();
    for (before, after) in epochs.iter().zip(&epochs[1..]) {
        assert!(before.keys().eq(after.keys()));
        assert!(before.values().ne(after.values()));
    }
}

#[test]
fn a_document_may_show_several_windows_in_an_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = write_documents(folder.path());
    let config = LoaderConfig {
        epochs: Some(1),
        ..loading(FreshWindows {
            windows_per_document: 3,
            ..windows()
        })
    };
    let rows = rows(&batches(folder.path(), &config, &tokenizer));
    assert_eq!(rows.len(), 3 * 15);
    assert_eq!(rows.iter().collect::<BTreeSet<_>>().len(), rows.len());
}

#[test]
fn a_loader_of_fresh_windows_that_is_resumed_goes_on_as_if_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = write_documents(folder.path());
    let config = loading(windows());
    let whole = batches(folder.path(), &config, &tokenizer);
    for stop in 0..whole.len() {
        let mut loader = Loader::open(folder.path(), &config, &tokenizer).unwrap();
        for _ in 0..stop {
            loader.next_batch().unwrap().unwrap();
        }
        let state = loader.state();
        drop(loader);
        let resumed = Loader::resume(folder.path(), &config, &tokenizer, state).unwrap();
        let rest: Vec<Batch> = resumed.map(Result::unwrap).collect();
        assert_eq!(rest, whole[stop..], "stopped after {stop}");
    }
}

#[test]
fn fresh_windows_depend_neither_on_threads_nor_on_what_is_kept() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = write_documents(folder.path());
    let expected = batches(folder.path(), &loading(windows()), &tokenizer);
    for (threads, cache_bytes) in [(8, 256 << 20), (1, 0), (2, 900)] {
        let config = LoaderConfig {
            threads,
            ..loading(FreshWindows {
                cache_bytes,
                ..windows()
            })
        };
        assert_eq!(batches(folder.path(), &config, &tokenizer), expected);
    }
}

#[test]
fn processes_share_fresh_windows_as_they_share_rows() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = write_documents(folder.path());
    let with = |batch_size, share| {
        let config = LoaderConfig {
            batch_size,
            share,
            ..loading(windows())
        };
        rows(&batches(folder.path(), &config, &tokenizer))
    };
    let whole = with(4, Share::default());
    let parts = [0, 1].map(|rank| with(2, Share { rank, of: 2 }));
    let together: Vec<_> = parts[0]
        .chunks(2)
        .zip(parts[1].chunks(2))
        .flat_map(|(first, second)| [first, second].concat())
        .collect();
    // 45 rows are eleven batches of four; the last row is left out.
    assert_eq!(together, whole[..44]);
}

#[test]
fn a_corpus_that_has_no_window_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = Arc::new(sample::tokenizer());
    let mut manifest = Manifest::new(Sha256::of(b""), 0);
    manifest.save(folder.path()).unwrap();
    let config = LoaderConfig {
        epochs: None,
        ..loading(windows())
    };
    let error = Loader::open(folder.path(), &config, &tokenizer).unwrap_err();
    assert!(
        error.to_string().contains("no documents to draw"),
        "{error}"
    );

    let path = folder.path().join("documents.parquet");
    let mut writer = DocumentWriter::create(&path, &sample::info(packing())).unwrap();
    let mut document = sample::full_document(0);
    document.elements.truncate(2);
    writer.write(&document).unwrap();
    manifest.documents.push(writer.finish().unwrap());
    manifest.save(folder.path()).unwrap();
    let mut loader = Loader::open(folder.path(), &config, &tokenizer).unwrap();
    let error = loader.next_batch().unwrap_err();
    assert!(
        error.to_string().contains("an image with text after it"),
        "{error}"
    );
}
