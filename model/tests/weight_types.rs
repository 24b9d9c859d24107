//! Models whose weights are held in fewer bits than they are counted with.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test may panic, in its helpers too"
)]

use std::collections::BTreeMap;

use candle_core::{DType, Device, Tensor};
use m3w_model::{
    Compute, Config, Flamingo, GenerateOptions, Inputs, LanguageConfig, ParameterStore,
    SpecialTokens, WeightType, generate,
};

const SPECIAL: SpecialTokens = SpecialTokens {
    image: 11,
    end_of_chunk: 10,
    bos: 1,
    eos: 2,
    pad: 0,
    around_image: None,
};

/// Our own decoder, and one whose weights are stored the other way round.
fn configs() -> Vec<Config> {
    let text =
        "vision = { image_side_px = 8, patch_side_px = 4, width = 32, layers = 2, heads = 2 }
        resampler = { latents = 3, layers = 2, heads = 2, head_dim = 16, max_frames = 2 }
        cross_attention = { every = 2, heads = 2, head_dim = 16, initial_gate = 0.5 }
        language = { width = 32, layers = 4, heads = 2 }";
    let own: Config = toml::from_str(text).unwrap();
    let mut gpt2 = own.clone();
    let text = r#"{"model_type": "gpt2", "vocab_size": 12, "n_embd": 32, "n_layer": 4,
                   "n_head": 2, "n_positions": 64}"#;
    gpt2.language = text.parse::<LanguageConfig>().unwrap();
    vec![own.with_vocabulary(12), gpt2]
}

fn pixels(images: usize) -> Tensor {
    let count = images * 3 * 8 * 8;
    let values: Vec<f32> = (0..count).map(|at| (at as f32 * 0.37).sin()).collect();
    Tensor::from_vec(values, (images, 1, 3, 8, 8), &Device::Cpu).unwrap()
}

fn inputs() -> Inputs {
    let row = [1_u32, 11, 4, 5, 6, 7, 10, 11, 8, 9, 3, 10];
    let tokens = Tensor::new(&[row; 2], &Device::Cpu).unwrap();
    let pixels = Tensor::stack(&[pixels(2), pixels(2)], 0).unwrap();
    Inputs::new(tokens, None, pixels, None).unwrap()
}

fn largest_difference(one: &Tensor, other: &Tensor) -> f32 {
    let difference = (one - other).unwrap().abs().unwrap();
    difference.max_all().unwrap().to_scalar().unwrap()
}

fn bytes(model: &Flamingo) -> usize {
    let tensors = model.parameters().values();
    tensors
        .map(|tensor| tensor.elem_count() * tensor.dtype().size_in_bytes())
        .sum()
}

#[test]
fn weights_of_16_bits_give_what_their_rounded_numbers_give() {
    for config in configs() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("model");
        let whole = Flamingo::new(&config, SPECIAL, ParameterStore::seeded(3)).unwrap();
        whole.save(&place).unwrap();
        let half = Flamingo::load_as(&place, WeightType::Bf16, &Compute::default()).unwrap();
        assert!(
            bytes(&half) as f64 <= 0.55 * bytes(&whole) as f64,
            "{}",
            bytes(&half)
        );
        let rounded: BTreeMap<String, Tensor> = half
            .parameters()
            .iter()
            .map(|(name, tensor)| (name.clone(), tensor.to_dtype(DType::F32).unwrap()))
            .collect();
        let store = ParameterStore::from_tensors(rounded, "rounded");
        let rounded = Flamingo::new(&config, SPECIAL, store).unwrap();
        let scores = half.forward(&inputs()).unwrap();
        let expected = rounded.forward(&inputs()).unwrap();
        assert!(largest_difference(&scores, &expected) < 2e-5);
        // Each number is off by at most 1/256 of itself, and so are their sums, about.
        let exact = whole.forward(&inputs()).unwrap();
        let size = exact
            .sqr()
            .unwrap()
            .mean_all()
            .unwrap()
            .to_scalar::<f32>()
            .unwrap()
            .sqrt();
        let off = largest_difference(&scores, &exact) / size;
        assert!(off > 0.0 && off < 0.1, "{off}");
        let options = GenerateOptions {
            max_new_tokens: 12,
            ..GenerateOptions::default()
        };
        let ids = |model: &Flamingo| {
            let prompt = [1, 11, 4, 5];
            generate(model, &prompt, Some(&pixels(1)), &options, |_| {}).unwrap()
        };
        assert_eq!(ids(&half), ids(&rounded));
    }
}

#[test]
fn a_model_of_16_bits_can_be_saved_and_trained_on() {
    let config = &configs()[0];
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().join("model");
    let store = ParameterStore::seeded(3).frozen_as(WeightType::Bf16);
    let half = Flamingo::new(config, SPECIAL, store).unwrap();
    let scores = half.forward(&inputs()).unwrap();
    half.save(&place).unwrap();
    let again = Flamingo::load(&place).unwrap();
    assert!(largest_difference(&again.forward(&inputs()).unwrap(), &scores) < 2e-5);
    let mut trainer = m3w_model::train::Trainer::new(half, Default::default()).unwrap();
    assert!(!trainer.step(&[(&inputs(), 1.0)]).unwrap().skipped);
}

#[test]
fn weights_of_8_bits_take_a_quarter_and_give_nearly_the_same() {
    for config in configs() {
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("model");
        let whole = Flamingo::new(&config, SPECIAL, ParameterStore::seeded(3)).unwrap();
        whole.save(&place).unwrap();
        let eighth = Flamingo::load_as(&place, WeightType::Int8, &Compute::default()).unwrap();
        assert!(
            bytes(&eighth) as f64 <= 0.36 * bytes(&whole) as f64,
            "{}",
            bytes(&eighth)
        );
        let exact = whole.forward(&inputs()).unwrap();
        let size = exact
            .sqr()
            .unwrap()
            .mean_all()
            .unwrap()
            .to_scalar::<f32>()
            .unwrap()
            .sqrt();
        let scores = eighth.forward(&inputs()).unwrap();
        let off = largest_difference(&scores, &exact) / size;
        assert!(off > 0.0 && off < 0.1, "{off}");
        // One token at a time, as all at once.
        let options = GenerateOptions {
            max_new_tokens: 12,
            ..GenerateOptions::default()
        };
        let prompt = [1, 11, 4, 5];
        let answer = generate(&eighth, &prompt, Some(&pixels(1)), &options, |_| {}).unwrap();
        let mut row = prompt.to_vec();
        for token in answer {
            let tokens = Tensor::new(&row[..], &Device::Cpu)
                .unwrap()
                .unsqueeze(0)
                .unwrap();
            let shown = pixels(1).unsqueeze(0).unwrap();
            let inputs = Inputs::new(tokens, None, shown, None).unwrap();
            let scores = eighth.forward(&inputs).unwrap().squeeze(0).unwrap();
            let last: Vec<f32> = scores.to_vec2::<f32>().unwrap().pop().unwrap();
            // Neither padding nor a beginning nor an image is ever written.
            let words = last[2..11].iter().copied();
            let best = words.fold(f32::MIN, f32::max);
            assert!(last[token as usize] > best - 1e-3, "{token} {last:?}");
            row.push(token);
        }
        assert!(
            eighth
                .save(&place)
                .unwrap_err()
                .to_string()
                .contains("8 bits")
        );
        assert!(m3w_model::train::Trainer::new(eighth, Default::default()).is_err());
    }
}
