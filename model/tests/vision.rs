//! Vision encoders beside recorded outputs; each golden's recipe stands beside it.

use std::collections::BTreeMap;

use candle_core::{Device, Tensor};
use m3w_model::{NfnetConfig, ParameterStore, VisionConfig, VisionEncoder};

#[test]
fn an_nfnet_gives_what_timm_gives() {
    let golden = include_bytes!("goldens/nfnet.safetensors");
    let tensors = candle_core::safetensors::load_buffer(golden, &Device::Cpu).unwrap();
    let weights: BTreeMap<String, Tensor> = tensors
        .iter()
        .filter_map(|(name, tensor)| {
            let name = name.strip_prefix("weight.")?;
            Some((format!("vision_encoder.{name}"), tensor.clone()))
        })
        .collect();
    let config = VisionConfig {
        nfnet: Some(NfnetConfig {
            depths: vec![1, 2, 1, 2],
            widths: vec![16, 24, 32, 32],
            stem_width: 16,
            group_width: 4,
        }),
        ..toml::from_str("image_side_px = 40\nwidth = 32").unwrap()
    };
    let mut store = ParameterStore::from_tensors(weights, "golden");
    let encoder = VisionEncoder::new(&config, &mut store, "vision_encoder").unwrap();
    let found = encoder.forward(&tensors["pixels"]).unwrap();
    // [2, width, rows, columns] to tokens.
    let expected = &tensors["output"];
    let expected = expected.flatten_from(2).unwrap().transpose(1, 2).unwrap();
    assert_eq!(found.dims(), expected.dims());
    assert_eq!(found.dim(1).unwrap(), config.tokens());
    let difference = (found - expected).unwrap().abs().unwrap();
    let largest = difference.max_all().unwrap().to_scalar::<f32>().unwrap();
    assert!(largest < 2e-5, "{largest}");
}
