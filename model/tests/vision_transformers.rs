//! Vision transformers beside what `transformers` computed. The recorded values come from
//! `goldens/vision_transformers.py`.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test may panic, in its helpers too"
)]

use std::collections::{BTreeMap, HashMap};

use candle_core::{Device, Tensor};
use m3w_model::{ParameterStore, Picture, Preprocess, VisionConfig, VisionEncoder, read_vision};

const GOLDEN: &[u8] = include_bytes!("goldens/vision_transformers.safetensors");

fn tensors() -> HashMap<String, Tensor> {
    candle_core::safetensors::load_buffer(GOLDEN, &Device::Cpu).unwrap()
}

fn config(name: &str) -> VisionConfig {
    let length = u64::from_le_bytes(GOLDEN[..8].try_into().unwrap()) as usize;
    let header: serde_json::Value = serde_json::from_slice(&GOLDEN[8..8 + length]).unwrap();
    header["__metadata__"][name]
        .as_str()
        .unwrap()
        .parse()
        .unwrap()
}

/// The published file of one encoder, in a folder.
fn write(folder: &std::path::Path, name: &str) {
    let prefix = format!("{name}.weight.");
    let weights: HashMap<String, Tensor> = tensors()
        .into_iter()
        .filter_map(|(name, tensor)| Some((name.strip_prefix(&prefix)?.to_owned(), tensor)))
        .collect();
    candle_core::safetensors::save(&weights, folder.join("model.safetensors")).unwrap();
}

fn assert_near(found: &Tensor, expected: &Tensor, what: &str) {
    let difference = (found - expected)
        .unwrap()
        .abs()
        .unwrap()
        .max_all()
        .unwrap();
    let difference = difference.to_scalar::<f32>().unwrap();
    assert!(difference <= 2e-5, "{what}: {difference}");
}

#[test]
fn tokens_are_those_of_transformers() {
    let golden = tensors();
    for name in ["clip", "siglip"] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), name);
        for (norm_after, recorded) in [(false, "tokens"), (true, "normal")] {
            let config = VisionConfig {
                norm_after,
                ..config(name)
            };
            let weights: BTreeMap<String, Tensor> = read_vision(folder.path(), &config).unwrap();
            let mut store = ParameterStore::from_tensors(weights, name);
            let encoder = VisionEncoder::new(&config, &mut store, "vision_encoder").unwrap();
            let found = encoder.forward(&golden[&format!("{name}.pixels")]).unwrap();
            assert_eq!(found.dim(1).unwrap(), config.tokens());
            let expected = &golden[&format!("{name}.{recorded}")];
            assert_near(&found, expected, &format!("{name} {recorded}"));
        }
    }
}

#[test]
fn sizes_are_also_read_from_shapes() {
    let golden = tensors();
    for name in ["clip", "siglip"] {
        let folder = tempfile::tempdir().unwrap();
        write(folder.path(), name);
        let config = config(name);
        let weights = read_vision(folder.path(), &config).unwrap();
        let found = m3w_model::vision_sizes(&weights).unwrap();
        // Neither heads nor what is over at the edge is in the shapes.
        let expected = VisionConfig {
            heads: found.heads,
            image_side_px: found.image_side_px,
            norm_epsilon: found.norm_epsilon,
            feed_forward_multiple: found.feed_forward_multiple,
            ..config.clone()
        };
        assert_eq!(found, expected);
        assert_eq!(
            found.feed_forward_channels(),
            config.feed_forward_channels()
        );
        assert_eq!(
            found.tokens(),
            golden[&format!("{name}.tokens")].dim(1).unwrap()
        );
    }
}

#[test]
fn a_missing_or_misshapen_weight_is_named() {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "siglip");
    let message =
        |config: &VisionConfig| read_vision(folder.path(), config).unwrap_err().to_string();
    let deeper = VisionConfig {
        layers: 3,
        ..config("siglip")
    };
    let told = message(&deeper);
    assert!(told.contains("transformer.resblocks.2."), "{told}");
    let larger = VisionConfig {
        image_side_px: 16,
        ..config("siglip")
    };
    let told = message(&larger);
    assert!(
        told.contains("[9, 24]") && told.contains("[16, 24]"),
        "{told}"
    );
}

#[test]
fn siglips_pictures_are_squeezed_as_pillow_does() {
    let golden = tensors();
    let values: Vec<u8> = golden["picture"].flatten_all().unwrap().to_vec1().unwrap();
    let picture = Picture {
        values: &values,
        width: 15,
        height: 9,
        channels: 3,
    };
    let found = Preprocess::siglip(6).pixels(picture).unwrap();
    assert_near(&found, &golden["squeezed"], "pixels");
}
