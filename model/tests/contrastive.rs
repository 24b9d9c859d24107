//! Pretraining two encoders on pairs. The text encoder's recorded values come from
//! `goldens/text_encoder.py`.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test may panic, in its helpers too"
)]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use m3w_model::{
    Compute, ContrastiveConfig, ContrastiveTrainer, DualEncoder, Pairs, ParameterStore,
    PretrainConfig, retrieval,
};

const TEXT: &[u8] = include_bytes!("goldens/text_encoder.safetensors");

const TRANSFORMER: &str = "joint_width = 16
    vision = { image_side_px = 8, patch_side_px = 4, width = 16, layers = 1, heads = 2 }
    text = { width = 16, layers = 1, heads = 2, max_tokens = 6, vocabulary = 12 }";

const NFNET: &str = "joint_width = 16
    text = { width = 16, layers = 1, heads = 2, max_tokens = 6, vocabulary = 12 }
    [vision]
    image_side_px = 16
    width = 16
    nfnet = { depths = [1, 1], widths = [16, 16], stem_width = 8, group_width = 8 }";

fn config(text: &str) -> ContrastiveConfig {
    toml::from_str(text).unwrap()
}

/// Pictures of one colour each, with a word for each of its channels: low or high.
fn pairs(config: &ContrastiveConfig, numbers: std::ops::Range<u32>) -> Pairs {
    let side = config.vision.image_side_px;
    let (mut values, mut captions) = (Vec::new(), Vec::new());
    for number in numbers {
        let is_high = |channel: u32| number >> channel & 1 == 1;
        // Not the same picture twice.
        let shade = (number as f32 * 0.7).sin() * 0.3;
        for channel in 0..3 {
            let level = if is_high(channel) { 1.0 } else { -1.0 };
            values.extend(vec![level + shade; side * side]);
        }
        captions.push((0..3).map(|c| 2 * c + u32::from(is_high(c))).collect());
    }
    let shape = (captions.len(), 3, side, side);
    Pairs {
        pixels: Tensor::from_vec(values, shape, &Device::Cpu).unwrap(),
        captions,
    }
}

fn settings() -> PretrainConfig {
    PretrainConfig {
        learning_rate: 5e-3,
        ..PretrainConfig::default()
    }
}

#[test]
fn captions_are_encoded_as_by_bert() {
    let tensors = candle_core::safetensors::load_buffer(TEXT, &Device::Cpu).unwrap();
    let text = "joint_width = 16
        vision = { image_side_px = 8, patch_side_px = 4, width = 16, layers = 1, heads = 2 }
        text = { width = 24, layers = 2, heads = 3, max_tokens = 9, vocabulary = 19,
                 feed_forward_multiple = 2 }";
    let weights = tensors.clone().into_iter().collect::<BTreeMap<_, _>>();
    let store = ParameterStore::from_tensors(weights, "golden").or_seeded(1);
    let model = DualEncoder::new(&config(text), 0.07, store).unwrap();
    let tokens: Vec<Vec<i64>> = tensors["tokens"].to_vec2().unwrap();
    let caption = |row: usize, count: usize| -> Vec<u32> {
        tokens[row][..count].iter().map(|id| *id as u32).collect()
    };
    let found = model.embed_captions(&[caption(0, 7), caption(1, 4)]);
    let difference = (found.unwrap() - &tensors["output"])
        .unwrap()
        .abs()
        .unwrap();
    let largest = difference.max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(largest < 2e-6, "{largest}");
}

#[test]
fn the_loss_is_that_of_its_definition() {
    let config = config(TRANSFORMER);
    let model = DualEncoder::new(&config, 0.5, ParameterStore::seeded(3)).unwrap();
    let pairs = pairs(&config, 0..5);
    let pictures = model.embed_pictures(&pairs.pixels).unwrap();
    let captions = model.embed_captions(&pairs.captions).unwrap();
    let scores = pictures.matmul(&captions.t().unwrap()).unwrap();
    let scores: Vec<Vec<f32>> = scores.to_vec2().unwrap();
    let score = |i: usize, j: usize| f64::from(scores[i][j]) / 0.5;
    let mut expected = 0.0;
    for i in 0..5 {
        for (row, of) in [(true, i), (false, i)] {
            let score = |j: usize| if row { score(of, j) } else { score(j, of) };
            let total: f64 = (0..5).map(|j| score(j).exp()).sum();
            for j in 0..5 {
                let target = 0.1 / 5.0 + if j == i { 0.9 } else { 0.0 };
                expected -= target * (score(j) - total.ln()) / 5.0;
            }
        }
    }
    let found = model.loss(&pairs, 0.1).unwrap();
    let found = f64::from(found.to_scalar::<f32>().unwrap());
    assert!((found - expected).abs() < 1e-5, "{found} {expected}");
}

#[test]
fn padding_changes_nothing() {
    let model = DualEncoder::new(&config(TRANSFORMER), 0.07, ParameterStore::seeded(3)).unwrap();
    let short = vec![3, 4];
    let alone = model.embed_captions(std::slice::from_ref(&short)).unwrap();
    let beside = model.embed_captions(&[vec![1, 2, 5, 6, 7], short]).unwrap();
    let [alone] = &alone.to_vec2::<f32>().unwrap()[..] else {
        panic!("one caption gives one vector");
    };
    let beside = &beside.to_vec2::<f32>().unwrap()[1];
    for (alone, beside) in alone.iter().zip(beside) {
        assert!((alone - beside).abs() < 1e-6, "{alone} {beside}");
    }
}

#[test]
fn pictures_it_never_saw_are_found_by_their_captions() {
    for text in [TRANSFORMER, NFNET] {
        let config = config(text);
        let mut trainer =
            ContrastiveTrainer::new(&config, settings(), 1, &Compute::default()).unwrap();
        for step in 0..60 {
            // All eight captions, with other shades each time.
            let start = 16 + 8 * step;
            let pairs = pairs(&config, start..start + 8);
            let report = trainer.step(&[(&pairs, 1.0)]).unwrap();
            assert!(!report.skipped);
        }
        let held_out = pairs(&config, 0..16);
        let model = trainer.model();
        let pictures = model.embed_pictures(&held_out.pixels).unwrap();
        let captions = model.embed_captions(&held_out.captions).unwrap();
        let labels: Vec<usize> = (0..16).map(|number| number % 8).collect();
        let found = retrieval(&pictures, &captions, &labels).unwrap();
        assert!(found.caption_of_picture[0] > 0.9, "{text}: {found:?}");
        assert!(found.picture_of_caption[0] > 0.9, "{text}: {found:?}");
    }
}

#[test]
fn pretraining_goes_on_to_the_same_bits() {
    for text in [TRANSFORMER, NFNET] {
        let config = config(text);
        let folder = tempfile::tempdir().unwrap();
        let mut trainer =
            ContrastiveTrainer::new(&config, settings(), 1, &Compute::default()).unwrap();
        let step = |trainer: &mut ContrastiveTrainer, number: u32| {
            trainer
                .step(&[(&pairs(&config, number..number + 4), 1.0)])
                .unwrap()
        };
        for number in 0..2 {
            step(&mut trainer, number);
        }
        trainer.save(&folder.path().join("checkpoint")).unwrap();
        let mut again =
            ContrastiveTrainer::load(&folder.path().join("checkpoint"), &Compute::default())
                .unwrap();
        for number in 2..4 {
            assert_eq!(step(&mut trainer, number), step(&mut again, number));
        }
        for (name, tensor) in trainer.model().parameters() {
            let numbers =
                |tensor: &Tensor| -> Vec<f32> { tensor.flatten_all().unwrap().to_vec1().unwrap() };
            assert!(
                numbers(tensor) == numbers(&again.model().parameters()[name]),
                "{name}"
            );
        }
    }
}

#[test]
fn an_nfnets_gradients_are_slopes_of_the_loss() {
    let config = config(NFNET);
    let pairs = pairs(&config, 0..4);
    let seeded = DualEncoder::new(&config, 0.5, ParameterStore::seeded(5)).unwrap();
    // A block's gain begins at zero, which hides what stands behind it.
    let weights: BTreeMap<String, Tensor> = seeded
        .parameters()
        .iter()
        .map(|(name, tensor)| {
            let is_gain = name.ends_with("skipinit_gain");
            let tensor = if is_gain {
                tensor.ones_like().unwrap()
            } else {
                tensor.clone()
            };
            (name.clone(), tensor)
        })
        .collect();
    let loss = |weights: &BTreeMap<String, Tensor>| {
        let store = ParameterStore::from_tensors(weights.clone(), "test");
        let model = DualEncoder::new(&config, 0.5, store).unwrap();
        f64::from(model.loss(&pairs, 0.1).unwrap().to_scalar::<f32>().unwrap())
    };
    let store = ParameterStore::from_tensors(weights.clone(), "test");
    let store = store.trainable(&m3w_model::Group::ALL);
    let model = DualEncoder::new(&config, 0.5, store).unwrap();
    let slopes = model.loss(&pairs, 0.1).unwrap().backward().unwrap();
    for name in [
        "vision_encoder.stem.conv1.weight",
        "vision_encoder.stages.0.0.conv2.weight",
        "vision_encoder.stages.1.0.downsample.conv.weight",
        "vision_encoder.stages.1.0.attn_last.fc1.weight",
        "visual_projection.weight",
    ] {
        let slope = slopes.get(&model.variables()[name]).unwrap();
        let length = slope
            .sqr()
            .unwrap()
            .sum_all()
            .unwrap()
            .to_scalar::<f32>()
            .unwrap()
            .sqrt();
        // Along the gradient the slope is its length.
        let moved = |by: f64| {
            let step = (slope * (by / f64::from(length))).unwrap();
            let mut weights = weights.clone();
            let value = (&weights[name] + step).unwrap();
            weights.insert(name.to_owned(), value);
            loss(&weights)
        };
        let found = (moved(1e-2) - moved(-1e-2)) / 2e-2;
        let length = f64::from(length);
        assert!(
            (found - length).abs() < 0.02 * length + 1e-4,
            "{name}: {found} {length}"
        );
    }
}

#[test]
fn pairs_that_do_not_fit_are_refused() {
    let config = config(TRANSFORMER);
    let model = DualEncoder::new(&config, 0.07, ParameterStore::seeded(3)).unwrap();
    let message = |captions: Vec<Vec<u32>>| {
        let pixels = pairs(&config, 0..2).pixels;
        model
            .loss(&Pairs { pixels, captions }, 0.1)
            .unwrap_err()
            .to_string()
    };
    assert!(message(vec![vec![1]]).contains("2 captions"));
    assert!(message(vec![vec![1], vec![]]).contains("at least one token"));
    assert!(message(vec![vec![1], vec![12]]).contains("ids below 12"));
    let other = ContrastiveConfig {
        joint_width: 0,
        ..config.clone()
    };
    let error = ContrastiveTrainer::new(&other, settings(), 1, &Compute::default())
        .err()
        .unwrap();
    assert!(error.to_string().contains("joint_width"), "{error}");
}
