//! Laws of windows.

use std::collections::BTreeMap;
use std::sync::Arc;

use m3w_document::DocumentId;
use m3w_shards::{
    Config, SpecialIds, Subsequence, Tokenized, TokenizedFrame, TokenizedImage, subsequence,
};
use proptest::prelude::*;

const SPECIAL: SpecialIds = SpecialIds {
    pad: 0,
    bos: 1,
    eos: 2,
    eoc: 3,
    image: 4,
};

/// A document of chunks: so many words before the first image, and after each.
fn tokenized(words: &[usize]) -> Tokenized {
    let mut ids = vec![SPECIAL.bos];
    let mut images = Vec::new();
    for (index, &count) in words.iter().enumerate() {
        if index > 0 {
            ids.push(SPECIAL.eoc);
            images.push(TokenizedImage {
                position: ids.len(),
                frames: vec![TokenizedFrame {
                    name: format!("{index}.png"),
                    bytes: Arc::from([index as u8]),
                    time_ms: 0,
                }],
            });
            ids.push(SPECIAL.image);
        }
        ids.extend((0..count).map(|word| 10 + word as u32));
    }
    ids.extend([SPECIAL.eoc, SPECIAL.eos]);
    Tokenized {
        document_id: DocumentId([7; 16]),
        ids,
        images,
        special: SPECIAL,
    }
}

fn config(sequence_length: usize, images_per_sequence: usize) -> Config {
    Config {
        sequence_length,
        images_per_sequence,
        ..Config::default()
    }
}

/// Whether a word follows an image: the definition, by looking.
fn has_image_with_words(ids: &[u32]) -> bool {
    let image = ids.iter().position(|id| *id == SPECIAL.image);
    image.is_some_and(|image| ids[image..].iter().any(|id| !SPECIAL.contains(*id)))
}

fn windows(tokenized: &Tokenized, config: &Config) -> Vec<Subsequence> {
    (0..)
        .map_while(|index| subsequence(tokenized, 5, index, config))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn windows_are_exactly_the_useful_ones_and_keep_their_promises(
        words in proptest::collection::vec(0..12_usize, 1..9),
        length in 2..40_usize,
        most_images in 1..6_usize,
    ) {
        let tokenized = tokenized(&words);
        let config = config(length, most_images);
        let drawn = windows(&tokenized, &config);

        let last_start = tokenized.ids.len().saturating_sub(length);
        let useful: Vec<usize> = (0..=last_start)
            .filter(|&start| {
                let end = tokenized.ids.len().min(start + length);
                has_image_with_words(&tokenized.ids[start..end])
            })
            .collect();
        let mut starts: Vec<usize> = drawn.iter().map(|window| window.window_start).collect();
        starts.sort_unstable();
        prop_assert_eq!(starts, useful);

        for window in drawn {
            let (start, count) = (window.window_start, window.token_count);
            prop_assert_eq!(window.tokens.len(), length);
            prop_assert!(window.tokens[count..].iter().all(|id| *id == SPECIAL.pad));
            prop_assert!(window.images.len() <= most_images);
            let markers = window.tokens.iter().filter(|id| **id == SPECIAL.image).count();
            prop_assert_eq!(markers, window.images.len());
            // The window is the document's tokens but for the images beyond the first N.
            let mut seen = 0;
            let expected: Vec<u32> = tokenized.ids[start..tokenized.ids.len().min(start + length)]
                .iter()
                .copied()
                .filter(|id| {
                    seen += usize::from(*id == SPECIAL.image);
                    *id != SPECIAL.image || seen <= most_images
                })
                .collect();
            prop_assert_eq!(&window.tokens[..count], &expected[..]);
            let inside = tokenized.images.iter().filter(|image| image.position >= start);
            let first: Vec<_> = inside.take(window.images.len()).cloned().collect();
            prop_assert_eq!(&window.images, &first);
        }
    }
}

#[test]
fn the_draw_is_a_function_of_seed_document_and_index() {
    let tokenized = tokenized(&[40, 40, 40]);
    let config = config(16, 5);
    let draw = |seed, index| subsequence(&tokenized, seed, index, &config).unwrap();
    assert_eq!(draw(1, 0), draw(1, 0));
    let mut other = tokenized.clone();
    other.document_id = DocumentId([8; 16]);
    let starts = |tokenized: &Tokenized, index| -> Vec<usize> {
        (0..8)
            .map(|seed| {
                subsequence(tokenized, seed, index, &config)
                    .unwrap()
                    .window_start
            })
            .collect()
    };
    assert_ne!(starts(&tokenized, 0), starts(&other, 0));
    assert_ne!(starts(&tokenized, 0), starts(&tokenized, 1));
}

#[test]
fn starts_are_uniform_over_the_useful_ones() {
    let tokenized = tokenized(&[30, 4, 30, 30]);
    let config = config(24, 5);
    let useful = windows(&tokenized, &config).len();
    for index in [0, 1] {
        let draws = 400 * useful;
        let mut counts = BTreeMap::new();
        for seed in 0..draws as u64 {
            let window = subsequence(&tokenized, seed, index, &config).unwrap();
            *counts.entry(window.window_start).or_insert(0_u32) += 1;
        }
        assert_eq!(counts.len(), useful);
        let expected = 400.0;
        let chi_square: f64 = counts
            .values()
            .map(|count| (f64::from(*count) - expected).powi(2) / expected)
            .sum();
        // Mean and variance of chi-square with k degrees of freedom are k and 2k; the draws are
        // fixed by their seeds, so this holds always or never.
        let freedom = (useful - 1) as f64;
        let limit = freedom + 4.0 * (2.0 * freedom).sqrt();
        assert!(chi_square < limit, "{chi_square} against {limit}");
    }
}

#[test]
fn a_document_whose_images_have_no_words_after_them_has_no_window() {
    let config = config(64, 5);
    assert_eq!(subsequence(&tokenized(&[30, 0, 0]), 1, 0, &config), None);
    assert_eq!(subsequence(&tokenized(&[30]), 1, 0, &config), None);
    assert_eq!(subsequence(&tokenized(&[]), 1, 0, &config), None);
}

#[test]
fn a_short_document_has_one_window() {
    let config = config(64, 5);
    let windows = windows(&tokenized(&[3, 3]), &config);
    assert_eq!(windows.len(), 1);
    assert_eq!((windows[0].window_start, windows[0].token_count), (0, 11));
}
