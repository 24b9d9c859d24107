//! Batches: what is in them, and that they are the same however they are made.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use m3w_document::Sha256;
use m3w_shards::{
    Batch, ColourJitter, Config, Error, Fit, Loader, LoaderConfig, Manifest, Part, SequenceImage,
    SequenceRow, SequenceWriter, Share, SpecialIds, Tokenizer, tokenize,
};

use crate::sample;

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
        horizontal_flip: true,
        seed: 9,
        threads: 1,
        epochs: Some(2),
        ..LoaderConfig::default()
    }
}

fn batches(directory: &Path, config: &LoaderConfig, tokenizer: &Arc<Tokenizer>) -> Vec<Batch> {
    Loader::open(directory, config, tokenizer)
        .unwrap()
        .map(Result::unwrap)
        .collect()
}

#[test]
fn every_row_comes_once_an_epoch_in_a_new_order() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = sample::write_corpus(folder.path(), 23, &packing());
    let batches = batches(folder.path(), &loading(), &tokenizer);
    assert_eq!(batches.len(), 10);
    assert_eq!(batches[9].shape.b, 1);
    let ids: Vec<&String> = batches.iter().flat_map(|batch| &batch.ids).collect();
    let (first, second) = ids.split_at(23);
    assert_ne!(first, second);
    let sorted = |ids: &[&String]| {
        let mut ids: Vec<String> = ids.iter().copied().cloned().collect();
        ids.sort();
        ids.dedup();
        ids
    };
    assert_eq!(sorted(first).len(), 23);
    assert_eq!(sorted(first), sorted(second));
}

#[test]
fn what_is_held_out_is_never_trained_on_and_all_of_it_is_evaluated_on() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = sample::write_corpus(folder.path(), 40, &packing());
    let config = |part| LoaderConfig { part, ..loading() };
    let ids = |part| {
        let batches = batches(folder.path(), &config(part), &tokenizer);
        let ids = batches.into_iter().flat_map(|batch| batch.ids);
        ids.collect::<Vec<String>>()
    };
    let (trained, held_out) = (ids(Part::Trained(0.25)), ids(Part::HeldOut(0.25)));
    // Twice each, in two epochs.
    assert_eq!(trained.len() + held_out.len(), 2 * 40);
    assert!((2..40).contains(&held_out.len()), "{}", held_out.len());
    assert!(held_out.iter().all(|id| !trained.contains(id)));
    // A loader that resumes goes on where the other stopped.
    let config = config(Part::Trained(0.25));
    let mut first = Loader::open(folder.path(), &config, &tokenizer).unwrap();
    first.next_batch().unwrap();
    let mut second = Loader::resume(folder.path(), &config, &tokenizer, first.state()).unwrap();
    assert_eq!(second.next_batch().unwrap(), first.next_batch().unwrap());
}

#[test]
fn batches_do_not_depend_on_threads() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = sample::write_corpus(folder.path(), 23, &packing());
    let with = |threads| {
        let config = LoaderConfig {
            threads,
            ..loading()
        };
        batches(folder.path(), &config, &tokenizer)
    };
    assert_eq!(with(1), with(8));
}

#[test]
fn a_resumed_loader_goes_on_as_if_never_stopped() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = sample::write_corpus(folder.path(), 23, &packing());
    let whole = batches(folder.path(), &loading(), &tokenizer);
    for stop in 0..whole.len() {
        let mut loader = Loader::open(folder.path(), &loading(), &tokenizer).unwrap();
        for _ in 0..stop {
            loader.next_batch().unwrap().unwrap();
        }
        let state = loader.state();
        drop(loader);
        let resumed = Loader::resume(folder.path(), &loading(), &tokenizer, state).unwrap();
        let rest: Vec<Batch> = resumed.map(Result::unwrap).collect();
        assert_eq!(rest, whole[stop..], "stopped after {stop}");
    }
}

#[test]
fn a_state_of_another_corpus_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = sample::write_corpus(folder.path(), 23, &packing());
    let mut state = Loader::open(folder.path(), &loading(), &tokenizer)
        .unwrap()
        .state();
    state.corpus_rows += 1;
    let error = Loader::resume(folder.path(), &loading(), &tokenizer, state).unwrap_err();
    assert!(matches!(error, Error::State { .. }), "{error}");
}

/// Writes a corpus of one row and returns its only batch.
fn batch_of(
    row: &SequenceRow,
    tokenizer: &Arc<Tokenizer>,
    config: &LoaderConfig,
) -> Result<Batch, Error> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sequences.parquet");
    let packing = Config {
        sequence_length: row.tokens.len(),
        ..packing()
    };
    let mut writer = SequenceWriter::create(&path, &sample::info(packing), tokenizer).unwrap();
    writer.write(row).unwrap();
    let mut manifest = Manifest::new(Sha256::of(b""), 0);
    manifest.sequences.push(writer.finish().unwrap());
    manifest.save(folder.path()).unwrap();
    let mut loader = Loader::open(folder.path(), config, tokenizer).unwrap();
    loader.next_batch().map(Option::unwrap)
}

/// `<BOS> x <EOC> <image> x <EOC> <image> x <EOC> x <EOC> <PAD>`: before the last words an image
/// was removed.
fn row(special: &SpecialIds) -> SequenceRow {
    let SpecialIds {
        image,
        eoc,
        bos,
        pad,
        ..
    } = *special;
    let picture = |colour| SequenceImage {
        name: "a.png".to_owned(),
        bytes: sample::png(4, 2, colour).into(),
    };
    SequenceRow {
        id: "one-0".to_owned(),
        source: "m3w".to_owned(),
        tokens: vec![bos, 9, eoc, image, 9, eoc, image, 9, eoc, 9, eoc, pad],
        token_count: 11,
        images: vec![picture([255, 0, 0]), picture([0, 255, 0])],
        frames_per_image: vec![1, 1],
        frame_times: vec![0.0, 0.0],
        document_id: None,
        window_start: 0,
        text: String::new(),
    }
}

fn looking(next_image_probability: f64) -> LoaderConfig {
    LoaderConfig {
        batch_size: 1,
        image_side_px: 4,
        mean: [0.5; 3],
        deviation: [0.5; 3],
        next_image_probability,
        ..loading()
    }
}

#[test]
fn each_token_attends_to_the_image_of_its_chunk() {
    let tokenizer = Arc::new(sample::tokenizer());
    let row = row(&tokenizer.special_ids());
    let index = |probability| {
        batch_of(&row, &tokenizer, &looking(probability))
            .unwrap()
            .image_index
    };
    assert_eq!(index(0.0), [0, 0, 0, 1, 1, 1, 2, 2, 2, 0, 0, 0], "previous");
    assert_eq!(index(1.0), [1, 1, 1, 1, 2, 2, 2, 0, 0, 0, 0, 0], "next");
}

#[test]
fn half_of_the_rows_look_ahead() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = sample::write_corpus(folder.path(), 60, &packing());
    let config = LoaderConfig {
        batch_size: 120,
        ..loading()
    };
    let batch = &batches(folder.path(), &config, &tokenizer)[0];
    // Every row of this corpus begins with words before its first image, or with that image.
    let ahead = batch
        .tokens
        .chunks(40)
        .zip(batch.image_index.chunks(40))
        .filter(|(tokens, index)| tokens[0] != tokenizer.image_id() && index[0] == 1)
        .count();
    assert!((40..=80).contains(&ahead), "{ahead} of 120");
}

#[test]
fn padding_and_image_tokens_are_no_targets() {
    let tokenizer = Arc::new(sample::tokenizer());
    let row = row(&tokenizer.special_ids());
    let batch = batch_of(&row, &tokenizer, &looking(0.0)).unwrap();
    assert_eq!(batch.loss_mask, [1, 1, 1, 0, 1, 1, 0, 1, 1, 1, 1, 0]);
    assert_eq!(batch.frames, [1, 1]);
}

#[test]
fn pixels_stand_at_their_image_with_the_mean_around() {
    let tokenizer = Arc::new(sample::tokenizer());
    let mut row = row(&tokenizer.special_ids());
    let batch = batch_of(&row, &tokenizer, &looking(0.0)).unwrap();
    assert_eq!(batch.pixels.len(), 2 * 3 * 16);
    let band = |value: f32| {
        let mut plane = [0.0; 16];
        plane[4..12].fill(value);
        plane
    };
    let expected: Vec<f32> = [1.0, -1.0, -1.0, -1.0, 1.0, -1.0]
        .into_iter()
        .flat_map(band)
        .collect();
    assert_eq!(batch.pixels[..], expected);

    let cropped = LoaderConfig {
        fit: Fit::CenterCrop,
        ..looking(0.0)
    };
    let batch = batch_of(&row, &tokenizer, &cropped).unwrap();
    assert_eq!(batch.pixels[..16], [1.0; 16]);

    // A clip of two frames fills its second frame's place only where there is one.
    row.frames_per_image = vec![2, 1];
    row.images.push(row.images[0].clone());
    row.frame_times = vec![0.0, 1.0, 0.0];
    let two_frames = LoaderConfig {
        frames_per_image: 2,
        ..cropped
    };
    let batch = batch_of(&row, &tokenizer, &two_frames).unwrap();
    assert_eq!(batch.frames, [2, 1]);
    let reds: Vec<f32> = batch.pixels.chunks(48).map(|frame| frame[0]).collect();
    assert_eq!(reds, [1.0, -1.0, 1.0, 0.0]);
}

#[test]
fn a_picture_that_does_not_decode_names_file_and_row() {
    let tokenizer = Arc::new(sample::tokenizer());
    let mut row = row(&tokenizer.special_ids());
    row.images[1].bytes = b"no picture".as_slice().into();
    let error = batch_of(&row, &tokenizer, &looking(0.0)).unwrap_err();
    let message = error.to_string();
    assert!(
        message.contains("sequences.parquet, row 0: a picture does not decode"),
        "{message}"
    );
}

#[test]
fn a_token_beyond_the_vocabulary_is_refused() {
    let tokenizer = Arc::new(sample::tokenizer());
    let mut row = row(&tokenizer.special_ids());
    row.tokens[1] = u32::try_from(tokenizer.vocabulary_size()).unwrap();
    let error = batch_of(&row, &tokenizer, &looking(0.0)).unwrap_err();
    assert!(error.to_string().contains("the vocabulary ends"), "{error}");
}

#[test]
fn another_tokenizer_than_the_rows_were_made_with_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    sample::write_corpus(folder.path(), 6, &packing());
    let texts = std::iter::repeat_n("of other words".to_owned(), 9);
    let file = m3w_shards::train_tokenizer(texts, 300).unwrap();
    let other = Tokenizer::from_bytes(&file, "another").unwrap();
    let error = Loader::open(folder.path(), &loading(), &Arc::new(other)).unwrap_err();
    assert!(
        error.to_string().contains("use the tokenizer whose"),
        "{error}"
    );
}

#[test]
fn a_corpus_without_rows_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let mut manifest = Manifest::new(Sha256::of(b""), 0);
    manifest.save(folder.path()).unwrap();
    let tokenizer = Arc::new(sample::tokenizer());
    let open = || {
        let error = Loader::open(folder.path(), &loading(), &tokenizer).unwrap_err();
        error.to_string()
    };
    assert!(open().contains("there are no training rows"));
    manifest.sequences.push(m3w_shards::FileEntry {
        path: "absent.parquet".to_owned(),
        rows: 1,
        bytes: 1,
        sha256: Sha256::of(b""),
    });
    manifest.save(folder.path()).unwrap();
    assert!(open().contains("absent.parquet"));
    fs::write(folder.path().join("absent.parquet"), "x").unwrap();
    assert!(open().contains("absent.parquet"));
}

#[test]
fn the_window_of_a_whole_document_decodes_to_its_text() {
    let tokenizer = sample::tokenizer();
    let tokenized = tokenize(&sample::full_document(3), &tokenizer).unwrap();
    let config = Config::default();
    let window = m3w_shards::subsequence(&tokenized, 0, 0, &config).unwrap();
    let row = window.into_row("m3w", &tokenizer).unwrap();
    assert!(
        row.text.starts_with("<BOS>The robin<EOC><image>"),
        "{}",
        row.text
    );
    assert_eq!(row.id, format!("{}-0", tokenized.document_id));
}

#[test]
fn processes_that_share_take_the_rows_of_one_with_larger_batches() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = sample::write_corpus(folder.path(), 23, &packing());
    let with = |batch_size, share| {
        let config = LoaderConfig {
            batch_size,
            share,
            ..loading()
        };
        batches(folder.path(), &config, &tokenizer)
    };
    let whole = with(6, Share::default());
    let parts = [0, 1, 2].map(|rank| with(2, Share { rank, of: 3 }));
    // 46 rows in two epochs are 7 batches of 6; all processes leave out the rest.
    assert!(parts.iter().all(|part| part.len() == 7));
    for (number, batch) in whole.iter().take(7).enumerate() {
        let ids: Vec<&String> = parts.iter().flat_map(|part| &part[number].ids).collect();
        assert_eq!(ids, batch.ids.iter().collect::<Vec<_>>());
        let flags: Vec<u8> = parts
            .iter()
            .flat_map(|part| part[number].image_index.clone())
            .collect();
        assert_eq!(flags, batch.image_index, "draws are the same too");
    }
}

#[test]
fn the_text_after_an_image_may_begin_with_a_space() {
    let tokenizer = Arc::new(sample::tokenizer());
    let SpecialIds {
        image,
        eoc,
        bos,
        eos,
        pad,
    } = tokenizer.special_ids();
    let plain = tokenizer.encode_text("The robin").unwrap();
    let spaced = tokenizer.encode_text(" The robin").unwrap();
    let tokens = [&[bos, eoc, image][..], &plain, &[eoc, eos]].concat();
    let token_count = tokens.len();
    let mut row = SequenceRow {
        token_count,
        tokens,
        images: vec![row(&tokenizer.special_ids()).images[0].clone()],
        frames_per_image: vec![1],
        frame_times: vec![0.0],
        ..row(&tokenizer.special_ids())
    };
    row.tokens.resize(token_count + 4, pad);
    let drawing = |probability| LoaderConfig {
        space_prefix_probability: Some(probability),
        ..looking(0.0)
    };
    let config = drawing(1.0);
    let batch = batch_of(&row, &tokenizer, &config).unwrap();
    let expected = [&[bos, eoc, image][..], &spaced, &[eoc, eos]].concat();
    assert_eq!(batch.tokens[..expected.len()], expected);
    assert_eq!(batch.tokens.len(), row.tokens.len());
    let targets: usize = batch.loss_mask.iter().copied().map(usize::from).sum();
    assert_eq!(targets, expected.len() - 1, "all but the image");

    // A row that was packed with one may lose it.
    let mut with_space = row.clone();
    with_space.tokens = batch.tokens.clone();
    with_space.token_count = expected.len();
    let without = batch_of(&with_space, &tokenizer, &drawing(0.0)).unwrap();
    assert_eq!(without.tokens, row.tokens);

    // Without room for more, the text gives way and the row still ends as it should.
    row.tokens.truncate(token_count);
    let batch = batch_of(&row, &tokenizer, &config).unwrap();
    assert_eq!(batch.tokens[token_count - 2..], [eoc, eos]);
    let kept = tokenizer.encode_text("The robin").unwrap();
    let without = batch_of(&row, &tokenizer, &looking(0.0)).unwrap();
    assert_eq!(without.tokens[3..3 + kept.len()], kept);
}

#[test]
fn jitter_changes_colours_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let tokenizer = sample::write_corpus(folder.path(), 8, &packing());
    let jittered = LoaderConfig {
        colour_jitter: ColourJitter {
            brightness: 0.4,
            contrast: 0.4,
            saturation: 0.4,
        },
        ..loading()
    };
    let (plain, changed) = (
        batches(folder.path(), &loading(), &tokenizer),
        batches(folder.path(), &jittered, &tokenizer),
    );
    assert_ne!(plain[0].pixels, changed[0].pixels);
    assert_eq!(plain[0].tokens, changed[0].tokens);
    assert_eq!(changed, batches(folder.path(), &jittered, &tokenizer));
}

#[test]
fn memory_used_again_shows_nothing_of_the_batch_before() {
    let folder = tempfile::tempdir().unwrap();
    let packing = Config {
        images_per_sequence: 6,
        ..packing()
    };
    let tokenizer = sample::write_corpus(folder.path(), 23, &packing);
    // Held, every batch has memory of its own; dropped, each takes that of an earlier one.
    let held = batches(folder.path(), &loading(), &tokenizer);
    assert!(
        held.iter().any(|batch| batch.frames.contains(&0)),
        "absent images"
    );
    let loader = Loader::open(folder.path(), &loading(), &tokenizer).unwrap();
    let dropped: Vec<Batch> = loader.map(|batch| batch.unwrap().clone()).collect();
    assert_eq!(dropped, held);
}
