//! Fine-tuning by updates of low rank, over language models of several families.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test may panic, in its helpers too"
)]

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use m3w_model::train::{TrainConfig, Trainer};
use m3w_model::{
    Compute, Config, Flamingo, Group, Inputs, ParameterStore, SpecialTokens, WeightType,
};

const SPECIAL: SpecialTokens = SpecialTokens {
    image: 23,
    end_of_chunk: 22,
    bos: 1,
    eos: 2,
    pad: 0,
    around_image: None,
};
const TARGETS: &str = "['query_key_value', 'attention_output', 'feed_forward']";
/// Queries, keys and values as three maps, as one, as one by heads, and stored the other way round.
const FAMILIES: [&str; 4] = ["chinchilla", "mpt", "gpt_neox", "gpt2"];

fn config(family: &str, lora: Option<&str>) -> Config {
    let lora = lora.map_or(String::new(), |targets| {
        format!(", lora = {{ rank = 2, alpha = 6, targets = {targets} }}")
    });
    let text = format!(
        "vision = {{ image_side_px = 8, patch_side_px = 4, width = 8, layers = 1, heads = 2 }}
         resampler = {{ latents = 2, layers = 1, heads = 2, head_dim = 4 }}
         cross_attention = {{ every = 1, heads = 2, head_dim = 4, initial_gate = 0.5 }}
         language = {{ family = '{family}', width = 32, layers = 2, heads = 2, max_positions = 16{lora} }}"
    );
    let config: Config = toml::from_str(&text).unwrap();
    config.with_vocabulary(24)
}

fn model(config: &Config) -> Flamingo {
    Flamingo::new(config, SPECIAL, ParameterStore::seeded(3)).unwrap()
}

fn inputs() -> Inputs {
    let tokens = Tensor::new(&[[1_u32, 23, 7, 8, 9, 22]], &Device::Cpu).unwrap();
    let pixels = (0..3 * 8 * 8).map(|at| (at as f32 * 0.3).sin());
    let pixels: Vec<f32> = pixels.collect();
    let pixels = Tensor::from_vec(pixels, vec![1, 1, 1, 3, 8, 8], &Device::Cpu).unwrap();
    Inputs::new(tokens, None, pixels, None).unwrap()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn trainer(family: &str, targets: &str) -> Trainer {
    let train = TrainConfig {
        trainable: vec![Group::Lora],
        learning_rate: 1e-2,
        warmup_steps: 0,
        ..TrainConfig::default()
    };
    Trainer::new(model(&config(family, Some(targets))), train).unwrap()
}

fn steps(trainer: &mut Trainer, count: usize) -> f64 {
    let inputs = inputs();
    (0..count)
        .map(|_| trainer.step(&[(&inputs, 1.0)]).unwrap().losses[0])
        .last()
        .unwrap()
}

#[test]
fn before_the_first_step_a_model_is_bit_for_bit_as_without_updates() {
    for family in FAMILIES {
        let without = model(&config(family, None)).forward(&inputs()).unwrap();
        let with = model(&config(family, Some(TARGETS)));
        let with = with.forward(&inputs()).unwrap();
        assert_eq!(values(&with), values(&without), "{family}");
    }
}

#[test]
fn gradients_reach_the_updates_and_nothing_else() {
    for family in FAMILIES {
        let mut trainer = trainer(family, TARGETS);
        let before = trainer.model().parameters().iter();
        let before: BTreeMap<String, Vec<f32>> = before
            .map(|(name, tensor)| (name.clone(), values(tensor)))
            .collect();
        let first = steps(&mut trainer, 1);
        let last = steps(&mut trainer, 20);
        assert!(last < first, "{family}: {first} {last}");
        for (name, tensor) in trainer.model().parameters() {
            let is_update = Group::of(name) == Group::Lora;
            assert_eq!(values(tensor) != before[name], is_update, "{name}");
        }
    }
}

#[test]
fn only_the_maps_that_are_named_have_updates() {
    let count = |targets| {
        let names = trainer("chinchilla", targets);
        names.model().variables().len()
    };
    // Two factors in each of two layers.
    assert_eq!(count("['query_key_value']"), 2 * 2 * 3);
    assert_eq!(count("['attention_output']"), 2 * 2);
    assert_eq!(count("['feed_forward']"), 2 * 2 * 2);
}

#[test]
fn training_goes_on_from_a_checkpoint_with_the_same_bits() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("checkpoint");
    let mut straight = trainer("mpt", TARGETS);
    steps(&mut straight, 6);
    let mut first = trainer("mpt", TARGETS);
    steps(&mut first, 3);
    first.save(&place).unwrap();
    let mut second = Trainer::load(&place, &Compute::default()).unwrap();
    steps(&mut second, 3);
    for (name, tensor) in straight.model().parameters() {
        let other = &second.model().parameters()[name];
        assert_eq!(values(tensor), values(other), "{name}");
    }
    // And the saved model speaks as the trained one does, its frozen weights in any type.
    second.save(&place).unwrap();
    let frozen = straight.frozen_model().unwrap();
    let expected = values(&frozen.forward(&inputs()).unwrap());
    let loaded = Flamingo::load(&place).unwrap();
    assert_eq!(values(&loaded.forward(&inputs()).unwrap()), expected);
    for (weights, most) in [(WeightType::Bf16, 0.02), (WeightType::Int8, 0.05)] {
        let brief = Flamingo::load_as(&place, weights, &Compute::default()).unwrap();
        let brief = values(&brief.forward(&inputs()).unwrap());
        let pairs = brief.iter().zip(&expected);
        let largest = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(largest < most, "{weights:?} {largest}");
    }
}

#[test]
fn updates_that_cannot_be_are_refused_by_setting() {
    let refused = |lora: &str| {
        let mut config = config("chinchilla", None);
        config.language.lora = Some(toml::from_str(lora).unwrap());
        config.validate().unwrap_err().to_string()
    };
    assert!(refused("rank = 0\nalpha = 1").contains("language.lora.rank"));
    assert!(refused("rank = 33\nalpha = 1").contains("language.lora.rank"));
    assert!(refused("rank = 2\nalpha = 0").contains("language.lora.alpha"));
    assert!(refused("rank = 2\nalpha = 1\ntargets = []").contains("language.lora.targets"));
    let train = TrainConfig {
        trainable: vec![Group::Lora],
        ..TrainConfig::default()
    };
    let Err(error) = Trainer::new(model(&config("chinchilla", None)), train) else {
        panic!("there is nothing to train");
    };
    let message = error.to_string();
    assert!(message.contains("[model.language.lora]"), "{message}");
}
