//! Batches whose pictures are not decoded.

use std::path::Path;
use std::sync::Arc;

use m3w_shards::{
    Config, EncodedBatch, EncodedLoader, FreshWindows, Loader, LoaderConfig, Manifest,
    SequenceReader, Tokenizer, picture_pixels,
};

use crate::sample;

const ROWS: u32 = 23;

fn packing() -> Config {
    Config {
        sequence_length: 40,
        images_per_sequence: 2,
        row_group_rows: 4,
        ..Config::default()
    }
}

fn loading() -> LoaderConfig {
    LoaderConfig {
        batch_size: 5,
        image_side_px: 8,
        shuffle_buffer: 6,
        seed: 9,
        threads: 1,
        epochs: Some(2),
        ..LoaderConfig::default()
    }
}

fn batches(
    directory: &Path,
    config: &LoaderConfig,
    tokenizer: &Arc<Tokenizer>,
) -> Vec<EncodedBatch> {
    let loader = EncodedLoader::open(directory, config, tokenizer).unwrap();
    loader.map(Result::unwrap).collect()
}

#[test]
fn decoded_they_are_the_batches_of_a_loader() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = sample::write_corpus(folder.path(), ROWS, &packing());
    let config = loading();
    let encoded = batches(folder.path(), &config, &tokenizer);
    let decoded = Loader::open(folder.path(), &config, &tokenizer).unwrap();
    let decoded: Vec<_> = decoded.map(Result::unwrap).collect();
    assert_eq!(encoded.len(), decoded.len());
    for (encoded, decoded) in encoded.iter().zip(&decoded) {
        assert_eq!(encoded.ids, decoded.ids);
        assert_eq!(encoded.tokens, decoded.tokens);
        assert_eq!(encoded.image_index, decoded.image_index);
        assert_eq!(encoded.loss_mask, decoded.loss_mask);
        assert_eq!(encoded.frames, decoded.frames);
        let slots = decoded.pixels.chunks(3 * 8 * 8).zip(&decoded.frames);
        let slots = slots.filter(|(_, frames)| **frames > 0);
        for ((pixels, _), picture) in slots.zip(&encoded.pictures) {
            let expected = picture_pixels(picture, &config).unwrap();
            assert_eq!(pixels, expected);
        }
        let frames: usize = encoded.frames.iter().copied().map(usize::from).sum();
        assert_eq!(encoded.pictures.len(), frames);
    }
}

#[test]
fn pictures_are_those_of_the_shards_byte_by_byte() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = sample::write_corpus(folder.path(), ROWS, &packing());
    let config = LoaderConfig {
        shuffle_buffer: 0,
        epochs: Some(1),
        ..loading()
    };
    let mut stored = Vec::new();
    for entry in Manifest::load(folder.path()).unwrap().sequences {
        for row in SequenceReader::open(&folder.path().join(entry.path)).unwrap() {
            stored.extend(row.unwrap().images.into_iter().map(|image| image.bytes));
        }
    }
    let batches = batches(folder.path(), &config, &tokenizer);
    let pictures = batches.iter().flat_map(|batch| &batch.pictures);
    assert!(
        pictures
            .map(|picture| &**picture)
            .eq(stored.iter().map(|bytes| &**bytes))
    );
}

#[test]
fn neither_a_stop_nor_a_map_nor_the_number_of_threads_changes_them() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = sample::write_corpus(folder.path(), ROWS, &packing());
    for fresh_windows in [None, Some(FreshWindows::default())] {
        let config = LoaderConfig {
            fresh_windows,
            ..loading()
        };
        let whole = batches(folder.path(), &config, &tokenizer);
        let other = LoaderConfig {
            memory_map: true,
            threads: 8,
            ..config
        };
        for stop in 0..whole.len() {
            let mut loader = EncodedLoader::open(folder.path(), &other, &tokenizer).unwrap();
            for _ in 0..stop {
                loader.next_batch().unwrap().unwrap();
            }
            let state = loader.state();
            drop(loader);
            let resumed = EncodedLoader::resume(folder.path(), &other, &tokenizer, state).unwrap();
            let rest: Vec<EncodedBatch> = resumed.map(Result::unwrap).collect();
            assert_eq!(rest, whole[stop..], "stopped after {stop}");
        }
    }
}

#[test]
fn a_state_may_pass_between_both_kinds_of_loader() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = sample::write_corpus(folder.path(), ROWS, &packing());
    let mut loader = Loader::open(folder.path(), &loading(), &tokenizer).unwrap();
    for _ in 0..3 {
        loader.next_batch().unwrap().unwrap();
    }
    let resumed =
        EncodedLoader::resume(folder.path(), &loading(), &tokenizer, loader.state()).unwrap();
    let rest: Vec<Vec<String>> = resumed.map(|batch| batch.unwrap().ids).collect();
    let expected: Vec<Vec<String>> = loader.map(|batch| batch.unwrap().ids).collect();
    assert_eq!(rest, expected);
}
