//! Tokenizers, and documents as tokens.

use m3w_document::{Document, Element, Text};
use m3w_shards::{Error, Tokenizer, tokenize, train_tokenizer};
use proptest::prelude::*;

use crate::sample;

/// A word-level tokenizer whose own vocabulary holds `<image>` as a word.
const WORDS: &str = r#"{
    "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
    "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"},
    "post_processor": null, "decoder": null,
    "model": {"type": "WordLevel", "unk_token": "[UNK]",
              "vocab": {"[UNK]": 0, "a": 1, "<image>": 2, "robin": 3}}
}"#;

#[test]
fn the_layout_is_that_of_the_paper() {
    let tokenizer = sample::tokenizer();
    let tokenized = tokenize(&sample::full_document(3), &tokenizer).unwrap();
    assert_eq!(
        tokenizer.decode(&tokenized.ids).unwrap(),
        "<BOS>The robin<EOC><image>Erithacus rubecula\nIt is robin number 3.<EOC><image>\
         tu\n  tu<EOC><image>the end<EOC><EOS>"
    );
    for image in &tokenized.images {
        assert_eq!(tokenized.ids[image.position], tokenizer.image_id());
    }
}

#[test]
fn training_does_not_depend_on_order_or_threads() {
    let texts: Vec<String> = (0..300)
        .map(|number| format!("robin {} and wren {}", number % 17, number * 31 % 101))
        .collect();
    let train = |texts: Vec<String>, threads| {
        rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap()
            .install(|| train_tokenizer(texts.into_iter(), 400).unwrap())
    };
    let one = train(texts.clone(), 1);
    assert_eq!(one, train(texts.clone(), 8));
    assert_eq!(one, train(texts.into_iter().rev().collect(), 3));
}

#[test]
fn a_vocabulary_too_small_for_bytes_is_refused() {
    let error = train_tokenizer(std::iter::empty(), 260).unwrap_err();
    assert!(error.to_string().contains("at least 261"), "{error}");
}

#[test]
fn special_tokens_are_added_where_absent_and_kept_by_saving() {
    let tokenizer = Tokenizer::from_bytes(WORDS.as_bytes(), "words").unwrap();
    assert_eq!(tokenizer.image_id(), 2);
    assert_eq!(tokenizer.vocabulary_size(), 8);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("tokenizer.json");
    tokenizer.save(&path).unwrap();
    let saved = Tokenizer::from_file(&path).unwrap();
    assert_eq!(saved.special_ids(), tokenizer.special_ids());
    assert_eq!(saved.sha256(), tokenizer.sha256());
}

#[test]
fn a_complete_file_keeps_its_own_hash() {
    let file = train_tokenizer(std::iter::once("robin".to_owned()), 300).unwrap();
    let tokenizer = Tokenizer::from_bytes(&file, "own").unwrap();
    assert_eq!(tokenizer.sha256(), m3w_document::Sha256::of(&file));
}

#[test]
fn a_special_token_in_the_models_own_vocabulary_is_not_taken_for_an_image() {
    let tokenizer = Tokenizer::from_bytes(WORDS.as_bytes(), "words").unwrap();
    let ids = tokenizer.encode_text("a <image> robin").unwrap();
    assert!(!ids.contains(&tokenizer.image_id()), "{ids:?}");
    assert_eq!((ids.first(), ids.last()), (Some(&1), Some(&3)));
}

#[test]
fn unusable_tokenizers_are_errors_with_the_files_name() {
    let shared_id = WORDS.replace("\"robin\": 3", "\"robin\": 1");
    let far_id = WORDS.replace("\"robin\": 3", "\"robin\": 4294967295");
    let lost_merge = r#"{"version":"1.0","truncation":null,"padding":null,"added_tokens":[],
        "normalizer":null,"pre_tokenizer":null,"post_processor":null,"decoder":null,
        "model":{"type":"BPE","vocab":{"a":0,"b":1},"merges":["a b"]}}"#;
    let cases = [
        &WORDS[..WORDS.len() / 2],
        "",
        "[]",
        &shared_id,
        &far_id,
        lost_merge,
    ];
    for case in cases {
        let error = Tokenizer::from_bytes(case.as_bytes(), "birds.json").unwrap_err();
        assert!(matches!(error, Error::Tokenizer { .. }), "{error}");
        assert!(error.to_string().contains("birds.json"), "{error}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_text_becomes_a_special_token(
        parts in proptest::collection::vec(
            prop_oneof![
                Just("<image>".to_owned()), Just("<EOC>".to_owned()), Just("<BOS>".to_owned()),
                Just("<EOS>".to_owned()), Just("<PAD>".to_owned()), "\\PC{0,8}",
            ],
            0..12,
        ),
    ) {
        let text = parts.concat();
        let trained = sample::tokenizer();
        let ids = trained.encode_text(&text).unwrap();
        let special = trained.special_ids();
        prop_assert!(!ids.iter().any(|id| special.contains(*id)));
        prop_assert_eq!(trained.decode(&ids).unwrap(), text.clone());

        let words = Tokenizer::from_bytes(WORDS.as_bytes(), "words").unwrap();
        let special = words.special_ids();
        prop_assert!(!words.encode_text(&text).unwrap().iter().any(|id| special.contains(*id)));

        let mut document = Document::new(sample::url("page"));
        document.elements.push(Element::Text(Text::paragraph(text)));
        let tokenized = tokenize(&document, &trained).unwrap();
        prop_assert!(!tokenized.ids.contains(&trained.image_id()));
    }
}
