//! Continuing and ranking: batches, caches and beams change nothing but the time they take.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test may panic, in its helpers too"
)]

use candle_core::{Device, Tensor};
use m3w_model::{
    Config, Continuation, Flamingo, GenerateOptions, Inputs, ParameterStore, SpecialTokens,
    generate, generate_batch, log_probabilities, score_candidates,
};

const VOCABULARY: usize = 12;
const IMAGE: u32 = 11;
const END: u32 = 10;
const SPECIAL: SpecialTokens = SpecialTokens {
    image: IMAGE,
    end_of_chunk: END,
    bos: 1,
    eos: 2,
    pad: 0,
    around_image: None,
};

/// Ways to tell positions, each with a trap for padding of its own, and both ways to attend.
const KINDS: [&str; 6] = [
    "",
    "language.relative_positions = true",
    "language.family = 'mpt'\nlanguage.alibi_bias_max = 8.0",
    "language.family = 'opt'\nlanguage.biases = 'all'",
    "language.family = 'llama'\nlanguage.key_value_heads = 1\nlanguage.tied_output = false",
    "cross_attention.attend = 'all_previous'",
];

fn model(changes: &str) -> Flamingo {
    let text = r#"
        vision = { image_side_px = 8, patch_side_px = 4, width = 16, layers = 1, heads = 2 }
        resampler = { latents = 3, layers = 1, heads = 2, head_dim = 8 }
        cross_attention = { every = 1, heads = 2, head_dim = 8, initial_gate = 0.9 }
        language = { width = 16, layers = 2, heads = 2, max_positions = 24 }
    "#;
    let mut table: toml::Table = text.parse().unwrap();
    let changes: toml::Table = changes.parse().unwrap();
    for (section, values) in changes {
        let section = table[&section].as_table_mut().unwrap();
        section.extend(values.as_table().unwrap().clone());
    }
    let config: Config = table.try_into().unwrap();
    let config = config.with_vocabulary(VOCABULARY);
    // Published weights are not so small that all tokens are nearly alike.
    let first = Flamingo::new(&config, SPECIAL, ParameterStore::seeded(4)).unwrap();
    let larger = first.parameters().iter().map(|(name, tensor)| {
        let factor = if tensor.rank() > 1 { 1.8 } else { 1.0 };
        let factor = if name.contains("embed") { 20.0 } else { factor };
        (name.clone(), (tensor * factor).unwrap())
    });
    let store = ParameterStore::from_tensors(larger.collect(), "test");
    Flamingo::new(&config, SPECIAL, store).unwrap()
}

/// `[rows, images, 1, 3, 8, 8]`.
fn pictures(rows: usize, images: usize) -> Tensor {
    let values: Vec<f32> = (0..rows * images * 192)
        .map(|at| ((at % 192) as f32 * 0.13 * (at / 192 + 1) as f32).sin())
        .collect();
    Tensor::from_vec(values, vec![rows, images, 1, 3, 8, 8], &Device::Cpu).unwrap()
}

fn prompts() -> Vec<Vec<u32>> {
    vec![
        vec![1, 5, IMAGE, 6, 7, END, IMAGE, 8],
        vec![IMAGE, 4],
        vec![3, 4, 5, 6, 7],
    ]
}

/// Of a prompt's row, as many pictures as it names; none for text alone.
fn own_pictures(pixels: &Tensor, row: usize, prompt: &[u32]) -> Option<Tensor> {
    let count = prompt.iter().filter(|token| **token == IMAGE).count();
    let pixels = pixels.get(row).unwrap();
    (count > 0).then(|| pixels.narrow(0, 0, count).unwrap())
}

fn options(beams: usize) -> GenerateOptions {
    GenerateOptions {
        max_new_tokens: 6,
        beams,
        length_penalty: if beams > 1 { 0.7 } else { 0.0 },
        ..GenerateOptions::default()
    }
}

#[test]
fn a_prompt_in_a_batch_goes_on_as_it_does_alone() {
    for changes in KINDS {
        let model = model(changes);
        let pixels = pictures(3, 2);
        for beams in [1, 3] {
            // The length of all rows is that of the longest, which a penalty counts.
            let options = GenerateOptions {
                length_penalty: 0.0,
                ..options(beams)
            };
            let together = generate_batch(&model, &prompts(), Some(&pixels), &options, |_, _| {});
            for (row, (prompt, together)) in prompts().iter().zip(together.unwrap()).enumerate() {
                let own = own_pictures(&pixels, row, prompt);
                let alone = generate(&model, prompt, own.as_ref(), &options, |_| {}).unwrap();
                assert_eq!(
                    together.tokens, alone,
                    "{changes}, {beams} beams, row {row}"
                );
            }
        }
    }
}

#[test]
fn what_follows_a_cache_is_what_the_whole_text_gives() {
    for changes in KINDS {
        let model = model(changes);
        let pixels = pictures(1, 2);
        let prompt = &prompts()[0];
        let further = [5_u32, 6, 7, 3];
        let (mut continuation, first) =
            Continuation::start(&model, std::slice::from_ref(prompt), Some(&pixels)).unwrap();
        let mut found = log_probabilities(&first).unwrap();
        for fed in [&further[..1], &further[1..3], &further[3..]] {
            let scores = continuation.advance(&[fed.to_vec()]).unwrap();
            found.extend(log_probabilities(&scores).unwrap());
        }
        let text = [prompt.as_slice(), &further].concat();
        let tokens = Tensor::from_slice(&text, (1, text.len()), &Device::Cpu).unwrap();
        let inputs = Inputs::new(tokens, None, pixels, None).unwrap();
        let whole = model.forward(&inputs).unwrap();
        let whole = log_probabilities(&whole).unwrap();
        for (found, expected) in found
            .iter()
            .flatten()
            .zip(whole[prompt.len() - 1..].iter().flatten())
        {
            assert!(
                (found - expected).abs() < 1e-5,
                "{changes}: {found}, {expected}"
            );
        }
    }
}

#[test]
fn candidates_score_in_a_batch_what_the_whole_text_gives() {
    for changes in KINDS {
        let model = model(changes);
        let pixels = pictures(3, 2);
        let candidates = [vec![5], vec![6, 7, 8, 9], vec![4, 10]];
        let scores = score_candidates(&model, &prompts(), Some(&pixels), &candidates).unwrap();
        for (row, prompt) in prompts().iter().enumerate() {
            for (candidate, found) in candidates.iter().zip(&scores[row]) {
                let text = [prompt.as_slice(), candidate].concat();
                let tokens = Tensor::from_slice(&text, (1, text.len()), &Device::Cpu).unwrap();
                let pixels = pixels.narrow(0, row, 1).unwrap();
                let inputs = Inputs::new(tokens, None, pixels, None).unwrap();
                let whole = log_probabilities(&model.forward(&inputs).unwrap()).unwrap();
                assert_eq!(found.len(), candidate.len());
                for (at, (token, found)) in candidate.iter().zip(found).enumerate() {
                    let expected = whole[prompt.len() + at - 1][*token as usize];
                    assert!(
                        (found - expected).abs() < 1e-5,
                        "{changes}: {found}, {expected}"
                    );
                }
            }
        }
    }
}

#[test]
fn with_as_many_beams_as_tokens_the_best_pair_is_found() {
    let model = model("");
    let pixels = pictures(3, 2);
    let options = GenerateOptions {
        max_new_tokens: 2,
        beams: VOCABULARY,
        stop_tokens: Some(vec![]),
        banned_tokens: Some(vec![]),
        ..GenerateOptions::default()
    };
    let found = generate_batch(&model, &prompts(), Some(&pixels), &options, |_, _| {}).unwrap();
    let count = VOCABULARY as u32;
    let pairs: Vec<Vec<u32>> = (0..count * count)
        .map(|at| vec![at / count, at % count])
        .collect();
    let scores = score_candidates(&model, &prompts(), Some(&pixels), &pairs).unwrap();
    for (row, found) in found.iter().enumerate() {
        let sums = scores[row].iter().map(|tokens| tokens.iter().sum::<f32>());
        let (best, sum) = pairs
            .iter()
            .zip(sums)
            .max_by(|a, b| a.1.total_cmp(&b.1))
            .unwrap();
        assert_eq!(&found.tokens, best);
        assert!((found.score as f32 - sum).abs() < 1e-5);
    }
}

#[test]
fn a_batch_ends_row_by_row() {
    let model = model("");
    let pixels = pictures(3, 2);
    let free = options(1);
    let all = generate_batch(&model, &prompts(), Some(&pixels), &free, |_, _| {}).unwrap();
    // The first row's second token now ends a row.
    let stop = all[0].tokens[1];
    let stopping = GenerateOptions {
        stop_tokens: Some(vec![stop]),
        banned_tokens: Some(vec![0, 1, IMAGE, END, 2]),
        ..free.clone()
    };
    let mut streamed = vec![Vec::new(); 3];
    let found = generate_batch(
        &model,
        &prompts(),
        Some(&pixels),
        &stopping,
        |row, token| {
            streamed[row].push(token);
        },
    );
    let found = found.unwrap();
    assert!(found[0].tokens.len() <= 1 && found[0].stop == Some(stop));
    for (row, found) in found.iter().enumerate() {
        assert_eq!(found.tokens, streamed[row]);
        assert!(!found.tokens.contains(&stop));
    }
}

#[test]
fn generation_ends_where_positions_do() {
    let model = model("");
    let options = GenerateOptions {
        max_new_tokens: 100,
        stop_tokens: Some(vec![]),
        ..GenerateOptions::default()
    };
    for beams in [1, 2] {
        let options = GenerateOptions {
            beams,
            ..options.clone()
        };
        let prompt = vec![3; 20];
        let tokens = generate(&model, &prompt, None, &options, |_| {}).unwrap();
        // 24 positions, and the token behind the last of them.
        assert_eq!(tokens.len(), 5, "{beams} beams");
    }
}

#[test]
fn options_that_contradict_are_named() {
    let model = model("");
    let error = |options: GenerateOptions| {
        generate(&model, &[3], None, &options, |_| {})
            .unwrap_err()
            .to_string()
    };
    let message = error(GenerateOptions {
        beams: 0,
        ..GenerateOptions::default()
    });
    assert!(message.contains("`beams` is 0"), "{message}");
    let message = error(GenerateOptions {
        beams: 2,
        temperature: 1.0,
        ..GenerateOptions::default()
    });
    assert!(message.contains("`temperature`"), "{message}");
    let none: [Vec<u32>; 0] = [];
    let scores = score_candidates(&model, &[vec![3]], None, &[vec![]]);
    assert!(scores.unwrap_err().to_string().contains("candidates"));
    assert!(
        score_candidates(&model, &none, None, &[vec![3]])
            .unwrap()
            .is_empty()
    );
}

#[test]
fn a_written_image_changes_what_other_rows_see_only_as_the_reference_has_it() {
    let seen = |changes: &str, beside: u32| {
        let model = model(changes);
        let pixels = pictures(3, 2);
        let (mut continuation, _) = Continuation::start(&model, &prompts(), Some(&pixels)).unwrap();
        continuation
            .advance(&[vec![4], vec![beside], vec![4]])
            .unwrap();
        let scores = continuation.advance(&[vec![5], vec![5], vec![5]]).unwrap();
        log_probabilities(&scores).unwrap()
    };
    let ours = ["", "cross_attention.attend = 'all_previous'"];
    for changes in ours {
        assert_eq!(seen(changes, IMAGE)[0], seen(changes, 4)[0], "{changes}");
    }
    let restarts = "cross_attention.written_images_restart_count = true";
    assert_eq!(seen(restarts, 4), seen("", 4));
    // The first row goes on without a picture, as the third always did.
    assert_ne!(seen(restarts, IMAGE)[0], seen("", IMAGE)[0]);
    assert_eq!(seen(restarts, IMAGE)[2], seen("", IMAGE)[2]);
}
