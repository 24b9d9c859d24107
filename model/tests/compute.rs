//! The operations put together from candle's own, which run on GPUs, give what those written for f32 on
//! the CPU give. Computing in f64 on the CPU takes them, and is exact enough to be the judge. Where there is a
//! GPU, `M3W_TEST_DEVICE=cuda` with `--features cuda` puts it in that place.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test may panic, in its helpers too"
)]

use candle_core::{Device, Tensor};
use m3w_model::train::{TrainConfig, Trainer};
use m3w_model::{
    Compute, Config, ContrastiveConfig, ContrastiveTrainer, DeviceName, Flamingo, GenerateOptions,
    Group, Inputs, Pairs, ParameterStore, Precision, PretrainConfig, SpecialTokens, WeightType,
    generate_batch, score_candidates,
};

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

/// Each way to tell positions, to share heads, to gate and to see; by what differs from [`BASE`].
const KINDS: [&str; 17] = [
    "",
    "language.relative_positions = true",
    "language.norms_last = true",
    "language.family = 'mpt'\nlanguage.alibi_bias_max = 8.0\nlanguage.query_key_value_clip = 0.3",
    "language.family = 'opt'\nlanguage.biases = 'all'\nlanguage.activation = 'relu'",
    "language.family = 'llama'\nlanguage.key_value_heads = 1\nlanguage.tied_output = false\n\
     language.activation = 'silu'",
    "language.family = 'gpt2'\nlanguage.biases = 'all'\nlanguage.activation = 'gelu_tanh'",
    "language.family = 'gpt_neox'\nlanguage.biases = 'all'\nlanguage.parallel_residual = true\n\
     language.rotary_channels = 4",
    "language.family = 'gpt_j'\nlanguage.parallel_residual = true\nlanguage.tied_output = false",
    "language.lora = { rank = 2, alpha = 4, targets = ['query_key_value', 'feed_forward'] }",
    "cross_attention.attend = 'all_previous'\n\
     cross_attention.text_before_images_averages_all = true",
    "cross_attention.activation = 'squared_relu'\nresampler.own_latent_maps = true\n\
     resampler.max_frames = 2",
    "vision.activation = 'quick_gelu'\nvision.norm_after = true\nvision.patch_bias = true",
    "vision = { image_side_px = 8, width = 16, nfnet = { depths = [1, 1], widths = [16, 16], \
     stem_width = 8, group_width = 8 } }",
    // As Idefics.
    "vision.keeps_class_token = true\nresampler.query_key_norm = true\nresampler.activation = 'relu'\n\
     cross_attention.norm = 'root_mean_square'\ncross_attention.query_key_norm = true\n\
     cross_attention.gated_feed_forward = true\ncross_attention.activation = 'silu'\n\
     language.family = 'llama'\nlanguage.tied_output = false\nlanguage.activation = 'silu'",
    "cross_attention.gate_per_channel = true\ncross_attention.query_key_norm = true\n\
     cross_attention.feed_forward_width = 40\nresampler.query_key_norm = true",
    "cross_attention.text_without_image_averages_all = true",
];

const BASE: &str = "
    vision = { image_side_px = 8, patch_side_px = 4, width = 16, layers = 1, heads = 2 }
    resampler = { latents = 3, layers = 2, heads = 2, head_dim = 8 }
    cross_attention = { every = 1, heads = 2, head_dim = 8, initial_gate = 0.9 }
    language = { width = 16, layers = 2, heads = 2, max_positions = 24 }
";

fn config(changes: &str) -> Config {
    let mut table: toml::Table = BASE.parse().unwrap();
    let changes: toml::Table = changes.parse().unwrap();
    for (section, values) in changes {
        let own = table[&section].as_table_mut().unwrap();
        let values = values.as_table().unwrap().clone();
        if values.contains_key("nfnet") {
            own.clear();
        }
        own.extend(values);
    }
    let config: Config = table.try_into().unwrap();
    config.with_vocabulary(12)
}

/// What the paper trains.
const PAPER: [Group; 3] = [Group::Resampler, Group::GatedXattn, Group::Embeddings];

/// Where candle's operations are taken: on the CPU in f64, or on a device that is to be tried.
fn plain() -> Compute {
    let (device, precision) = match std::env::var(DEVICE) {
        Ok(device) => (device.parse().unwrap(), Precision::F32),
        Err(_) => (DeviceName::Cpu, Precision::F64),
    };
    Compute::new(device, precision).unwrap()
}

/// The variable that names such a device.
const DEVICE: &str = "M3W_TEST_DEVICE";

/// The same model computing in both ways.
fn both(changes: &str) -> [Flamingo; 2] {
    let config = config(changes);
    // Published weights are not so small that all tokens are nearly alike.
    let first = Flamingo::new(&config, SPECIAL, ParameterStore::seeded(4)).unwrap();
    let larger = first.parameters().iter().map(|(name, tensor)| {
        let factor = if tensor.rank() > 1 { 1.8 } else { 1.0 };
        let factor = if name.contains("embed") { 20.0 } else { factor };
        let shift = if tensor.rank() == 1 { 0.05 } else { 0.0 };
        (name.clone(), tensor.affine(factor, shift).unwrap())
    });
    let store = ParameterStore::from_tensors(larger.collect(), "test");
    [Compute::default(), plain()]
        .map(|compute| Flamingo::new(&config, SPECIAL, store.clone().on(&compute)).unwrap())
}

/// Two rows, the second shorter, over pictures `[2, 2, F, 3, 8, 8]`.
fn inputs(frames: usize) -> Inputs {
    let tokens = [
        [1, 5, IMAGE, 6, 7, END, IMAGE, 8, 9, END],
        [IMAGE, 4, 6, END, 3, 5, 0, 0, 0, 0],
    ];
    let values: Vec<f32> = (0..4 * frames * 192)
        .map(|at| ((at % 192) as f32 * 0.13 * (at / 192 + 1) as f32).sin())
        .collect();
    let pixels = Tensor::from_vec(values, vec![2, 2, frames, 3, 8, 8], &Device::Cpu).unwrap();
    let tokens = Tensor::new(&tokens, &Device::Cpu).unwrap();
    Inputs::new(tokens, None, pixels, None).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.to_dtype(candle_core::DType::F32).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_close(what: &str, [ours, plain]: [&[f32]; 2], bound: f32) {
    assert_eq!(ours.len(), plain.len(), "{what}");
    let largest = plain
        .iter()
        .fold(1.0_f32, |most, value| most.max(value.abs()));
    for (ours, plain) in ours.iter().zip(plain) {
        let apart = (ours - plain).abs();
        assert!(apart <= bound * largest, "{what}: {ours} and {plain}");
    }
}

#[test]
fn scores_are_the_same() {
    for (frames, kind) in [1, 3].into_iter().flat_map(|f| KINDS.map(|kind| (f, kind))) {
        let [ours, plain] =
            both(kind).map(|model| values(&model.forward(&inputs(frames)).unwrap()));
        assert_close(kind, [&ours, &plain], 2e-5);
    }
}

#[test]
fn features_of_pictures_are_the_same() {
    for kind in &KINDS[12..15] {
        let pixels = inputs(1).pixels.flatten(0, 1).unwrap();
        let features = both(kind).map(|model| values(&model.vision_features(&pixels).unwrap()));
        assert_close(kind, [&features[0], &features[1]], 1e-5);
    }
}

/// A step of training by gradients that reach every part, and one more from there.
fn two_steps(model: Flamingo, trainable: &[Group], checkpointing: bool) -> (Vec<f64>, Vec<f32>) {
    let mut trainer = Trainer::new(model, settings(trainable, checkpointing)).unwrap();
    let inputs = inputs(1);
    let mut told = Vec::new();
    for _ in 0..2 {
        let report = trainer.step(&[(&inputs, 1.0)]).unwrap();
        told.extend([report.losses[0], report.gradient_norm]);
    }
    let weights = trainer.model().parameters().values();
    (told, weights.flat_map(values).collect())
}

fn settings(trainable: &[Group], checkpointing: bool) -> TrainConfig {
    TrainConfig {
        trainable: trainable.to_vec(),
        gradient_checkpointing: checkpointing,
        learning_rate: 1e-3,
        warmup_steps: 0,
        // Close to how far the weights move, not to the sign of a slope near nothing.
        epsilon: 1e-2,
        ..TrainConfig::default()
    }
}

#[test]
fn training_is_the_same() {
    for kind in KINDS {
        let mut trainable = Group::ALL.to_vec();
        if !kind.contains("lora") {
            trainable.retain(|group| *group != Group::Lora);
        }
        for trainable in [&trainable[..], &PAPER] {
            let [ours, plain] = both(kind).map(|model| two_steps(model, trainable, false));
            assert_same_steps(kind, &ours, &plain);
        }
    }
}

fn assert_same_steps(kind: &str, ours: &(Vec<f64>, Vec<f32>), plain: &(Vec<f64>, Vec<f32>)) {
    for (ours, plain) in ours.0.iter().zip(&plain.0) {
        assert!(
            (ours - plain).abs() <= 2e-4 * plain.abs(),
            "{kind}: {ours} and {plain}"
        );
    }
    assert_close(kind, [&ours.1, &plain.1], 2e-5);
}

#[test]
fn a_run_goes_on_in_other_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("checkpoint");
    for kind in [KINDS[0], KINDS[5], KINDS[13]] {
        let [ours, other] = both(kind);
        let expected = two_steps(other, &PAPER, false);
        let expected = (expected.0[2..].to_vec(), expected.1);
        for ways in [[Compute::default(), plain()], [plain(), Compute::default()]] {
            let store = ParameterStore::from_tensors(ours.parameters().clone(), "test");
            let first = Flamingo::new(ours.config(), SPECIAL, store.on(&ways[0])).unwrap();
            let mut trainer = Trainer::new(first, settings(&PAPER, false)).unwrap();
            trainer.step(&[(&inputs(1), 1.0)]).unwrap();
            trainer.save(&place).unwrap();
            let mut trainer = Trainer::load(&place, &ways[1]).unwrap();
            let report = trainer.step(&[(&inputs(1), 1.0)]).unwrap();
            let told = vec![report.losses[0], report.gradient_norm];
            let weights = trainer.model().parameters().values();
            assert_same_steps(kind, &(told, weights.flat_map(values).collect()), &expected);
        }
    }
}

#[test]
fn layers_that_are_computed_again_train_the_same() {
    for kind in KINDS {
        let [_, model] = both(kind);
        let [_, recomputing] = both(kind);
        let plain = two_steps(model, &PAPER, false);
        assert_eq!(plain, two_steps(recomputing, &PAPER, true), "{kind}");
    }
}

#[test]
fn prompts_go_on_and_score_the_same() {
    let prompts = vec![
        vec![1, 5, IMAGE, 6, 7, END, IMAGE, 8],
        vec![IMAGE, 4],
        vec![3, 4, 5, 6, 7],
    ];
    let pixels = inputs(1).pixels;
    let pixels = Tensor::cat(&[&pixels, &pixels.narrow(0, 0, 1).unwrap()], 0).unwrap();
    for kind in KINDS {
        for beams in [1, 3] {
            let options = GenerateOptions {
                max_new_tokens: 6,
                beams,
                ..GenerateOptions::default()
            };
            let [ours, plain] = both(kind).map(|model| {
                generate_batch(&model, &prompts, Some(&pixels), &options, |_, _| {}).unwrap()
            });
            for (ours, plain) in ours.iter().zip(&plain) {
                assert_eq!(ours.tokens, plain.tokens, "{kind}, {beams} beams");
                assert_eq!(ours.stop, plain.stop, "{kind}, {beams} beams");
                let scores = [ours.score as f32, plain.score as f32];
                assert_close(kind, [&scores[..1], &scores[1..]], 1e-5);
            }
        }
        let candidates = vec![vec![4], vec![5, 6], vec![7, 8, 9]];
        let [ours, plain] = both(kind).map(|model| {
            let scores = score_candidates(&model, &prompts, Some(&pixels), &candidates);
            scores.unwrap().concat().concat()
        });
        assert_close(kind, [&ours, &plain], 2e-5);
    }
}

#[test]
fn pretraining_is_the_same() {
    for vision in [
        "image_side_px = 8, patch_side_px = 4, width = 16, layers = 1, heads = 2",
        "image_side_px = 8, width = 16, nfnet = { depths = [1, 1], widths = [16, 16], \
         stem_width = 8, group_width = 8 }",
    ] {
        let text = format!(
            "joint_width = 16
             vision = {{ {vision} }}
             text = {{ width = 16, layers = 1, heads = 2, max_tokens = 6, vocabulary = 12 }}"
        );
        let config: ContrastiveConfig = toml::from_str(&text).unwrap();
        let pairs = Pairs {
            pixels: inputs(1).pixels.flatten(0, 2).unwrap(),
            captions: vec![vec![1, 2, 3], vec![4], vec![5, 6], vec![7, 8, 9, 10]],
        };
        let [ours, plain] = [Compute::default(), plain()].map(|compute| {
            let settings = PretrainConfig::default();
            let trainer = ContrastiveTrainer::new(&config, settings, 5, &compute);
            let mut trainer = trainer.unwrap();
            let mut told = Vec::new();
            for _ in 0..2 {
                let report = trainer.step(&[(&pairs, 1.0)]).unwrap();
                told.extend([report.losses[0] as f32, report.gradient_norm as f32]);
            }
            told
        });
        assert_close(vision, [&ours, &plain], 2e-4);
    }
}

#[test]
fn weights_for_the_cpu_alone_are_refused_elsewhere() {
    let store = ParameterStore::seeded(4).frozen_as(WeightType::Int8);
    let refused = Flamingo::new(&config(""), SPECIAL, store.on(&plain()));
    let message = refused.err().unwrap().to_string();
    assert!(
        message.contains("int8") && message.contains("bf16"),
        "{message}"
    );
}
