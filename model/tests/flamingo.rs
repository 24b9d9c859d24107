//! The crate's face: a tiny model, built, run, trained, saved and asked.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test may panic, in its helpers too"
)]

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use m3w_model::train::{TrainConfig, Trainer};
use m3w_model::{
    Compute, Config, Flamingo, GenerateOptions, Group, Inputs, ParameterStore, SpecialTokens,
    generate, parameter_counts,
};

const VOCABULARY: usize = 24;
const SPECIAL: SpecialTokens = SpecialTokens {
    image: 23,
    end_of_chunk: 22,
    bos: 1,
    eos: 2,
    pad: 0,
    around_image: None,
};
const IMAGE: u32 = SPECIAL.image;
const END: u32 = SPECIAL.end_of_chunk;

fn config(changes: &str) -> Config {
    let text = r#"
        vision = { image_side_px = 8, patch_side_px = 4, width = 16, layers = 2, heads = 2 }
        resampler = { latents = 3, layers = 2, heads = 2, head_dim = 8 }
        cross_attention = { every = 2, heads = 2, head_dim = 8 }
        language = { width = 16, layers = 4, heads = 2, max_positions = 32 }
    "#;
    let mut table: toml::Table = text.parse().unwrap();
    let changes: toml::Table = changes.parse().unwrap();
    for (section, values) in changes {
        let section = table[&section].as_table_mut().unwrap();
        section.extend(values.as_table().unwrap().clone());
    }
    let config: Config = table.try_into().unwrap();
    config.with_vocabulary(VOCABULARY)
}

fn model(config: &Config) -> Flamingo {
    Flamingo::new(config, SPECIAL, ParameterStore::seeded(5)).unwrap()
}

/// The same model with its gates open, so that images matter.
fn open_model(config: &Config) -> Flamingo {
    let mut config = config.clone();
    config.cross_attention.initial_gate = 0.7;
    model(&config)
}

/// Pictures `[B, N, F, 3, 8, 8]` of waves whose lengths differ from one to the next.
fn pictures(batch: usize, images: usize, frames: usize, kind: usize) -> Tensor {
    let pixels = 3 * 8 * 8;
    let values: Vec<f32> = (0..batch * images * frames * pixels)
        .map(|at| {
            let picture = at / pixels + kind;
            ((at % pixels) as f32 * 0.13 * (picture + 1) as f32).sin()
        })
        .collect();
    Tensor::from_vec(values, vec![batch, images, frames, 3, 8, 8], &Device::Cpu).unwrap()
}

fn tokens(rows: &[&[u32]]) -> Tensor {
    let shape = (rows.len(), rows[0].len());
    Tensor::from_vec(rows.concat(), shape, &Device::Cpu).unwrap()
}

fn batch(rows: &[&[u32]], images: usize, kind: usize) -> Inputs {
    let pixels = pictures(rows.len(), images, 1, kind);
    Inputs::new(tokens(rows), None, pixels, None).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn largest_difference(a: &Tensor, b: &Tensor) -> f32 {
    assert_eq!(a.dims(), b.dims());
    let pairs = values(a).into_iter().zip(values(b));
    pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

const ROW: [u32; 9] = [1, 5, 6, IMAGE, 7, 8, IMAGE, 9, END];

#[test]
fn with_closed_gates_pictures_change_nothing() {
    let model = model(&config(""));
    let one = model.forward(&batch(&[&ROW], 2, 0)).unwrap();
    let other = model.forward(&batch(&[&ROW], 2, 7)).unwrap();
    assert_eq!(values(&one), values(&other));
}

#[test]
fn text_before_the_first_image_attends_to_none() {
    for attend in ["own", "all_previous"] {
        let changes = format!("cross_attention.attend = '{attend}'");
        let model = open_model(&config(&changes));
        let one = model.forward(&batch(&[&ROW], 2, 0)).unwrap();
        let other = model.forward(&batch(&[&ROW], 2, 7)).unwrap();
        let before = |logits: &Tensor| values(&logits.narrow(1, 0, 3).unwrap());
        let after = |logits: &Tensor| values(&logits.narrow(1, 3, 6).unwrap());
        assert_eq!(before(&one), before(&other), "{attend}");
        assert_ne!(after(&one), after(&other), "{attend}");
    }
}

#[test]
fn compatibility_lets_text_before_the_first_image_average_over_all() {
    let changes = "cross_attention.attend = 'all_previous'
                   cross_attention.text_before_images_averages_all = true";
    let model = open_model(&config(changes));
    let before = |pixels: Tensor| {
        let inputs = Inputs::new(tokens(&[&ROW]), None, pixels, None).unwrap();
        let logits = model.forward(&inputs).unwrap();
        logits.narrow(1, 0, 3).unwrap()
    };
    let (first, second) = (pictures(1, 1, 1, 0), pictures(1, 1, 1, 1));
    let both = before(Tensor::cat(&[&first, &second], 1).unwrap());
    let swapped = before(Tensor::cat(&[&second, &first], 1).unwrap());
    let other = before(pictures(1, 2, 1, 7));
    // An average does not know the order.
    assert!(largest_difference(&both, &swapped) < 1e-5);
    assert!(largest_difference(&both, &other) > 1e-3);
}

#[test]
fn an_index_beyond_the_images_attends_to_none() {
    for attend in ["own", "all_previous"] {
        let changes = format!("cross_attention.attend = '{attend}'");
        let model = open_model(&config(&changes));
        let run = |index: u8, kind| {
            let index = Tensor::full(index, (1, 9), &Device::Cpu).unwrap();
            let pixels = pictures(1, 2, 1, kind);
            let inputs = Inputs::new(tokens(&[&ROW]), Some(index), pixels, None).unwrap();
            values(&model.forward(&inputs).unwrap())
        };
        assert_eq!(run(3, 0), run(0, 0), "{attend}");
        assert_eq!(run(3, 0), run(3, 7), "{attend}");
        assert_ne!(run(2, 0), run(2, 7), "{attend}");
    }
}

#[test]
fn an_own_image_is_seen_and_no_other() {
    let model = open_model(&config(""));
    let index = |value: u8| Some(Tensor::full(value, (1, 9), &Device::Cpu).unwrap());
    let run = |value, pixels| {
        let inputs = Inputs::new(tokens(&[&ROW]), index(value), pixels, None).unwrap();
        model.forward(&inputs).unwrap()
    };
    let (first, second) = (pictures(1, 1, 1, 0), pictures(1, 1, 1, 1));
    let both = Tensor::cat(&[&first, &second], 1).unwrap();
    let swapped = Tensor::cat(&[&second, &first], 1).unwrap();
    assert_eq!(largest_difference(&run(1, both), &run(2, swapped)), 0.0);
}

#[test]
fn a_row_does_not_depend_on_its_neighbours_or_its_padding() {
    let model = open_model(&config(""));
    let alone = model.forward(&batch(&[&ROW], 2, 0)).unwrap();
    let mut padded = ROW.to_vec();
    padded.extend([0, 0]);
    let other = [1, IMAGE, 3, 4, 5, 6, 7, 8, 9, 10, 11];
    let together = model.forward(&batch(&[&padded, &other], 2, 0)).unwrap();
    let row = together.narrow(0, 0, 1).unwrap().narrow(1, 0, 9).unwrap();
    assert!(largest_difference(&alone, &row) < 1e-5);
}

#[test]
fn a_frozen_model_scores_as_one_with_gradients_does() {
    let kinds = [
        "",
        "resampler = { own_latent_maps = true, max_frames = 2 }",
        "vision = { class_token = false, activation = 'quick_gelu' }",
        "cross_attention = { activation = 'squared_relu' }",
    ];
    for kind in kinds {
        let mut config = config(kind);
        config.cross_attention.initial_gate = 0.7;
        let inputs = batch(&[&ROW, &ROW], 2, 0);
        let frozen = model(&config).forward(&inputs).unwrap();
        let store = ParameterStore::seeded(5).trainable(&Group::ALL);
        let trained = Flamingo::new(&config, SPECIAL, store).unwrap();
        let trained = trained.forward(&inputs).unwrap();
        // What has no gradient is computed in fewer steps, and sums in another order.
        let apart = largest_difference(&frozen, &trained);
        assert!(apart < 2e-5, "{kind}: {apart}");
    }
}

#[test]
fn every_trained_parameter_gets_a_gradient() {
    let changes = "resampler.max_frames = 2\nlanguage.tied_output = false\n\
                   language.lora = { rank = 2, alpha = 4, targets = ['feed_forward'] }";
    let model = open_model(&config(changes));
    let train = TrainConfig {
        trainable: Group::ALL.to_vec(),
        learning_rate: 1e-3,
        warmup_steps: 0,
        weight_decay: 0.0,
        ..TrainConfig::default()
    };
    let before = model.parameters().clone();
    let before: BTreeMap<_, _> = before.iter().map(|(n, t)| (n, values(t))).collect();
    let mut trainer = Trainer::new(model, train).unwrap();
    assert_eq!(trainer.model().variables().len(), before.len());
    let inputs = Inputs::new(tokens(&[&ROW]), None, pictures(1, 2, 2, 0), None).unwrap();
    // Of an update of low rank the first factor has a gradient once the second is no longer 0.
    for _ in 0..2 {
        trainer.step(&[(&inputs, 1.0)]).unwrap();
    }
    for (name, variable) in trainer.model().variables() {
        // Without decay AdamW moves exactly what has a gradient. A key bias shifts all scores of
        // a query alike, which softmax does not see; it shares one tensor with queries and values.
        assert_ne!(values(variable), before[name], "{name} did not move");
    }
}

#[test]
fn frozen_parts_stay_and_of_the_embeddings_only_two_rows_move() {
    let train = TrainConfig {
        learning_rate: 1e-2,
        warmup_steps: 0,
        ..TrainConfig::default()
    };
    let model = open_model(&config(""));
    let before: BTreeMap<_, _> = model
        .parameters()
        .iter()
        .map(|(name, tensor)| (name.clone(), tensor.copy().unwrap()))
        .collect();
    let mut trainer = Trainer::new(model, train).unwrap();
    trainer.step(&[(&batch(&[&ROW], 2, 0), 1.0)]).unwrap();
    for (name, after) in trainer.model().parameters() {
        match Group::of(name) {
            Group::Vision | Group::Language | Group::Lora => {
                assert_eq!(values(after), values(&before[name]), "{name}");
            }
            Group::Resampler | Group::GatedXattn => {
                assert_ne!(values(after), values(&before[name]), "{name}");
            }
            Group::Embeddings => {
                let rows = |t: &Tensor| t.to_vec2::<f32>().unwrap();
                let moved: Vec<usize> = rows(after)
                    .iter()
                    .zip(rows(&before[name]))
                    .enumerate()
                    .filter(|(_, (a, b))| **a != *b)
                    .map(|(row, _)| row)
                    .collect();
                assert_eq!(moved, [END as usize, IMAGE as usize]);
            }
        }
    }
}

#[test]
fn layers_that_are_computed_again_give_the_same_bits() {
    let train = |gradient_checkpointing| TrainConfig {
        trainable: vec![
            Group::Vision,
            Group::Resampler,
            Group::GatedXattn,
            Group::Embeddings,
        ],
        gradient_checkpointing,
        learning_rate: 1e-2,
        warmup_steps: 0,
        ..TrainConfig::default()
    };
    for changes in [
        "cross_attention.every = 1\ncross_attention.placement = 'first'",
        "cross_attention.every = 2\nlanguage.relative_positions = true",
        "language.alibi_bias_max = 8.0\nlanguage.parallel_residual = true",
    ] {
        let model = || open_model(&config(changes));
        let mut kept = Trainer::new(model(), train(false)).unwrap();
        let mut again = Trainer::new(model(), train(true)).unwrap();
        let inputs = batch(&[&ROW, &[1, 5, 6, IMAGE, 8, 7, IMAGE, 5, END]], 2, 0);
        for _ in 0..3 {
            let report = kept.step(&[(&inputs, 1.0)]).unwrap();
            assert_eq!(again.step(&[(&inputs, 1.0)]).unwrap(), report, "{changes}");
        }
        for (name, tensor) in kept.model().parameters() {
            let other = &again.model().parameters()[name];
            assert_eq!(values(tensor), values(other), "{changes}: {name}");
        }
    }
    let whole = TrainConfig {
        trainable: vec![Group::Language],
        ..train(true)
    };
    let message = whole.validate().unwrap_err().to_string();
    assert!(
        message.contains("train.gradient_checkpointing"),
        "{message}"
    );
}

fn scratch_training() -> TrainConfig {
    TrainConfig {
        trainable: Group::ALL[..5].to_vec(),
        learning_rate: 3e-3,
        warmup_steps: 3,
        ..TrainConfig::default()
    }
}

/// Two rows alike but for their picture, which decides the word after it.
fn naming_batch() -> Inputs {
    let rows: [&[u32]; 2] = [&[1, IMAGE, 5, 6, END], &[1, IMAGE, 5, 9, END]];
    batch(&rows, 1, 0)
}

#[test]
fn a_model_from_scratch_learns_to_name_its_picture() {
    let mut trainer = Trainer::new(model(&config("")), scratch_training()).unwrap();
    let inputs = naming_batch();
    let first = trainer.step(&[(&inputs, 1.0)]).unwrap();
    let mut last = first.clone();
    for _ in 0..150 {
        last = trainer.step(&[(&inputs, 1.0)]).unwrap();
    }
    assert!(
        last.losses[0] < 0.1 && last.losses[0] < first.losses[0] / 10.0,
        "{first:?} {last:?}"
    );
    assert!(last.gates.iter().all(|(_, gates)| gates[0] != 0.0));
    for (row, name) in [(0, 6), (1, 9)] {
        let pixels = inputs.pixels.get(row).unwrap();
        let options = GenerateOptions::default();
        let prompt = [1, IMAGE, 5];
        let said = generate(trainer.model(), &prompt, Some(&pixels), &options, |_| {}).unwrap();
        assert_eq!(said, [name], "picture {row}");
    }
}

#[test]
fn weighted_batches_sum_to_the_gradient_of_their_sum() {
    let (one, other) = (batch(&[&ROW], 2, 0), batch(&[&ROW], 2, 4));
    let norm = |batches: &[(&Inputs, f64)]| {
        let mut trainer = Trainer::new(open_model(&config("")), scratch_training()).unwrap();
        trainer.step(batches).unwrap().gradient_norm
    };
    let twice = norm(&[(&one, 0.5), (&one, 0.5)]);
    let once = norm(&[(&one, 1.0)]);
    assert!((twice - once).abs() < 1e-5 * once, "{twice} {once}");
    assert!((norm(&[(&one, 2.0)]) - 2.0 * once).abs() < 1e-5 * once);
    assert_ne!(norm(&[(&one, 1.0), (&other, 1.0)]), 2.0 * once);
}

#[test]
fn a_step_without_a_finite_loss_changes_nothing_and_says_so() {
    let mut trainer = Trainer::new(open_model(&config("")), scratch_training()).unwrap();
    let mut inputs = batch(&[&ROW], 2, 0);
    inputs.pixels = (inputs.pixels * f64::NAN).unwrap();
    let before: Vec<_> = trainer
        .model()
        .variables()
        .values()
        .map(|v| values(v))
        .collect();
    let report = trainer.step(&[(&inputs, 1.0)]).unwrap();
    assert!(report.skipped);
    let after: Vec<_> = trainer
        .model()
        .variables()
        .values()
        .map(|v| values(v))
        .collect();
    assert_eq!(before, after);
}

#[test]
fn a_batch_without_targets_has_loss_zero() {
    let rows: [&[u32]; 1] = [&[1, IMAGE, 0, 0]];
    let model = open_model(&config(""));
    let loss = model.loss(&batch(&rows, 1, 0)).unwrap();
    assert_eq!(loss.to_scalar::<f32>().unwrap(), 0.0);
    let mut trainer = Trainer::new(model, scratch_training()).unwrap();
    let report = trainer.step(&[(&batch(&rows, 1, 0), 1.0)]).unwrap();
    assert_eq!((report.losses, report.gradient_norm), (vec![0.0], 0.0));
}

/// A run as it is by default: of the embeddings two rows are trained.
#[test]
fn a_run_goes_on_from_averages_of_two_rows_and_of_the_whole_table() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("step-2");
    let inputs = naming_batch();
    let mut unbroken = Trainer::new(model(&config("")), TrainConfig::default()).unwrap();
    for _ in 0..2 {
        unbroken.step(&[(&inputs, 1.0)]).unwrap();
    }
    unbroken.save(&place).unwrap();
    let resumed = Trainer::load(&place, &Compute::default()).unwrap();
    // As versions before wrote them: zeros, but for two rows.
    let path = place.join("optimizer.safetensors");
    let mut averages = candle_core::safetensors::load(&path, &Device::Cpu).unwrap();
    let special = *unbroken.model().special_tokens();
    let mut widened = 0;
    for (name, rows) in &mut averages {
        let (_, parameter) = name.split_once('.').unwrap();
        let table = &unbroken.model().parameters()[parameter];
        if table.dims() == rows.dims() {
            continue;
        }
        let whole = table.zeros_like().unwrap();
        for (row, id) in [special.image, special.end_of_chunk]
            .into_iter()
            .enumerate()
        {
            let row = rows.narrow(0, row, 1).unwrap();
            whole.slice_set(&row, 0, id as usize).unwrap();
        }
        *rows = whole;
        widened += 1;
    }
    assert_eq!(widened, 2);
    candle_core::safetensors::save(&averages, &path).unwrap();
    let from_whole = Trainer::load(&place, &Compute::default()).unwrap();
    let expected = unbroken.step(&[(&inputs, 1.0)]).unwrap();
    for mut resumed in [resumed, from_whole] {
        assert_eq!(resumed.step(&[(&inputs, 1.0)]).unwrap(), expected);
        let same = |name: &String, tensor: &Tensor| {
            values(tensor) == values(&unbroken.model().parameters()[name])
        };
        let all = resumed.model().parameters();
        assert!(all.iter().all(|(name, tensor)| same(name, tensor)));
    }
}

#[test]
fn a_resumed_run_equals_an_unbroken_one_to_the_bit() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("step-4");
    let inputs = naming_batch();
    let mut unbroken = Trainer::new(model(&config("")), scratch_training()).unwrap();
    for _ in 0..4 {
        unbroken.step(&[(&inputs, 1.0)]).unwrap();
    }
    unbroken.save(&place).unwrap();
    unbroken.save(&place).unwrap();
    let mut resumed = Trainer::load(&place, &Compute::default()).unwrap();
    assert_eq!(resumed.steps(), 4);
    for _ in 0..4 {
        let expected = unbroken.step(&[(&inputs, 1.0)]).unwrap();
        assert_eq!(resumed.step(&[(&inputs, 1.0)]).unwrap(), expected);
    }
    for (name, tensor) in unbroken.model().parameters() {
        assert_eq!(
            values(tensor),
            values(&resumed.model().parameters()[name]),
            "{name}"
        );
    }
    let left: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(left.len(), 1, "{left:?}");
}

#[test]
fn a_saved_model_loads_and_scores_alike() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("model");
    let model = open_model(&config("cross_attention.activation = 'squared_relu'"));
    model.save(&place).unwrap();
    let loaded = Flamingo::load(&place).unwrap();
    let inputs = batch(&[&ROW], 2, 0);
    assert_eq!(
        values(&model.forward(&inputs).unwrap()),
        values(&loaded.forward(&inputs).unwrap())
    );
    assert_eq!(loaded.config(), model.config());
}

#[test]
fn damaged_and_foreign_checkpoints_are_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let place = directory.path().join("model");
    model(&config("")).save(&place).unwrap();
    let weights = place.join("model.safetensors");
    let refused = || Flamingo::load(&place).err().unwrap().to_string();
    let bytes = std::fs::read(&weights).unwrap();
    std::fs::write(&weights, &bytes[..bytes.len() / 2]).unwrap();
    assert!(
        refused().contains("model.safetensors: not a readable"),
        "{}",
        refused()
    );
    let other = directory.path().join("other");
    model(&config("resampler.latents = 4"))
        .save(&other)
        .unwrap();
    std::fs::copy(other.join("model.safetensors"), &weights).unwrap();
    let message = refused();
    assert!(
        message.contains("perceiver.latents") && message.contains("[4, 16]"),
        "{message}"
    );
    std::fs::remove_file(&weights).unwrap();
    assert!(refused().contains("model.safetensors"), "{}", refused());
}

#[test]
fn cached_generation_equals_scoring_the_whole_text_each_time() {
    let model = open_model(&config(""));
    let prompt = [1, 5, IMAGE, 7, IMAGE, 8];
    let pixels = pictures(1, 2, 1, 0);
    let options = GenerateOptions {
        max_new_tokens: 10,
        ..GenerateOptions::default()
    };
    let mut streamed = Vec::new();
    let images = pixels.get(0).unwrap();
    let said = generate(&model, &prompt, Some(&images), &options, |token| {
        streamed.push(token);
    })
    .unwrap();
    assert_eq!(said, streamed);
    assert!(
        said.len() > 2,
        "the model ended too early to compare: {said:?}"
    );
    let mut text = prompt.to_vec();
    for token in &said {
        let inputs = Inputs::new(tokens(&[&text]), None, pixels.clone(), None).unwrap();
        let logits = model.forward(&inputs).unwrap();
        let last = values(&logits.narrow(1, text.len() - 1, 1).unwrap());
        let best = (0..VOCABULARY as u32)
            .filter(|id| ![SPECIAL.pad, SPECIAL.bos, IMAGE].contains(id))
            .max_by(|a, b| last[*a as usize].total_cmp(&last[*b as usize]))
            .unwrap();
        assert_eq!(best, *token, "after {text:?}");
        text.push(*token);
    }
}

#[test]
fn generation_stops_where_positions_end() {
    let model = open_model(&config("language.max_positions = 8"));
    let options = GenerateOptions {
        max_new_tokens: 100,
        temperature: 1.0,
        ..GenerateOptions::default()
    };
    let said = generate(&model, &[1, 5, 6, 7, 8], None, &options, |_| {}).unwrap();
    assert!(said.len() <= 4, "{said:?}");
    let error = generate(&model, &[5; 9], None, &options, |_| {}).unwrap_err();
    assert!(error.to_string().contains("at most 8"), "{error}");
}

#[test]
fn a_prompt_must_name_each_picture_once() {
    let model = model(&config(""));
    let pixels = pictures(1, 2, 1, 0).get(0).unwrap();
    let options = GenerateOptions::default();
    let error = generate(&model, &[1, IMAGE], Some(&pixels), &options, |_| {}).unwrap_err();
    let expected = "prompt: expected one `<image>` for each of 2 pictures, found 1";
    assert_eq!(error.to_string(), expected);
}

#[test]
fn options_that_make_no_sense_are_refused() {
    let model = model(&config(""));
    let message = |options: GenerateOptions| {
        let error = generate(&model, &[1], None, &options, |_| {}).unwrap_err();
        error.to_string()
    };
    let cold = GenerateOptions {
        temperature: -1.0,
        ..GenerateOptions::default()
    };
    assert_eq!(
        message(cold),
        "setting `temperature` is -1: it must be 0 or above"
    );
    let nothing = GenerateOptions {
        top_p: f64::NAN,
        ..GenerateOptions::default()
    };
    assert!(message(nothing).starts_with("setting `top_p` is NaN"));
}

#[test]
fn tokens_outside_the_vocabulary_are_refused() {
    let error = model(&config(""))
        .forward(&batch(&[&[1, 24]], 1, 0))
        .unwrap_err();
    assert!(error.to_string().contains("id 24"), "{error}");
}

#[test]
fn parameter_counts_agree_with_a_built_model() {
    let config = config("language.tied_output = false");
    let counts = parameter_counts(&config).unwrap();
    let names: Vec<&str> = counts.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "vision",
            "resampler",
            "gated_xattn",
            "embeddings",
            "language"
        ]
    );
    let total: usize = counts.iter().map(|(_, count)| count).sum();
    let built = model(&config);
    let expected: usize = built.parameters().values().map(Tensor::elem_count).sum();
    assert_eq!(total, expected);
    assert_eq!(counts[3].1, 2 * VOCABULARY * 16);
}

#[test]
fn placements_differ_by_where_the_first_block_stands() {
    assert_eq!(config("").gated_layers(), [1, 3]);
    assert_eq!(
        config("cross_attention.placement = 'first'").gated_layers(),
        [0, 2]
    );
}

#[test]
fn settings_that_cannot_be_built_are_named() {
    let message = |changes: &str| config(changes).validate().unwrap_err().to_string();
    assert_eq!(
        message("vision.patch_side_px = 9"),
        "setting `vision.patch_side_px` is 9: it must be at most vision.image_side_px"
    );
    assert!(message("language.heads = 16").contains("must be even"));
    assert!(message("cross_attention.every = 5").contains("no layer sees an image"));
    let unknown = toml::from_str::<TrainConfig>("learning_rat = 1.0").unwrap_err();
    assert!(unknown.to_string().contains("learning_rat"));
}

#[test]
fn pictures_of_another_size_are_refused() {
    let model = model(&config(""));
    let pixels = Tensor::zeros((1, 1, 1, 3, 9, 8), DType::F32, &Device::Cpu).unwrap();
    let inputs = Inputs::new(tokens(&[&[1, IMAGE]]), None, pixels, None).unwrap();
    let error = model.forward(&inputs).unwrap_err().to_string();
    assert_eq!(error, "pixels: expected pictures of 8 x 8, found 9 x 8");
}
