//! Single modules: the resampler, and cross-attention without and with its gates.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor, Var};
use m3w_model::{
    Activation, Attend, CrossAttentionConfig, GatedBlock, Group, MaskedCrossAttention, MediaMask,
    NormKind, ParameterStore, Placement, Resampler, ResamplerConfig,
};
use serde_json::Value;

use crate::compare::{Comparison, GRADIENT, OUTPUT};
use crate::{Outcome, Tensors, compute, number};

/// Runs a case; `None` for a kind that this crate has no module for.
pub(crate) fn run_case(path: &Path, config: &Value) -> Outcome<Option<Comparison>> {
    let run = match config["kind"].as_str() {
        Some("perceiver_resampler") => resampler,
        Some("masked_xattn") => masked_attention,
        Some("gated_xattn_block") => gated_block,
        _ => return Ok(None),
    };
    let tensors = candle_core::safetensors::load(path, &Device::Cpu)?;
    let weights: BTreeMap<String, Tensor> = tensors
        .iter()
        .filter_map(|(name, tensor)| {
            Some((name.strip_prefix("weight.")?.to_owned(), tensor.clone()))
        })
        .collect();
    let mut store = ParameterStore::from_tensors(weights, path.display().to_string()).on(compute());
    store = store.trainable(&Group::ALL);
    let mut inputs = BTreeMap::new();
    for name in ["x", "media"] {
        if let Some(tensor) = tensors.get(&format!("input.{name}")) {
            inputs.insert(name.to_owned(), Var::from_tensor(&compute().take(tensor)?)?);
        }
    }
    let output = run(config, &tensors, &inputs, &mut store)?;
    compare(&output, &tensors, &inputs, &store).map(Some)
}

fn resampler(
    config: &Value,
    _: &Tensors,
    inputs: &BTreeMap<String, Var>,
    store: &mut ParameterStore,
) -> Outcome<Tensor> {
    let sizes = resampler_sizes(config);
    let resampler = Resampler::new(&sizes, number(config, "dim", 0), store, "")?;
    Ok(resampler.forward(inputs["x"].as_tensor())?)
}

pub(crate) fn resampler_sizes(sizes: &Value) -> ResamplerConfig {
    ResamplerConfig {
        latents: number(sizes, "num_latents", 64),
        layers: number(sizes, "depth", 6),
        heads: number(sizes, "heads", 8),
        head_dim: number(sizes, "dim_head", 64),
        feed_forward_multiple: number(sizes, "ff_mult", 4),
        activation: Activation::Gelu,
        max_frames: number(sizes, "max_num_frames", 0),
        max_images: number(sizes, "max_num_media", 0),
        own_latent_maps: false,
        query_key_norm: false,
    }
}

fn masked_attention(
    config: &Value,
    tensors: &Tensors,
    inputs: &BTreeMap<String, Var>,
    store: &mut ParameterStore,
) -> Outcome<Tensor> {
    let (sizes, widths) = cross_attention(config);
    let layer = MaskedCrossAttention::new(&sizes, widths, store, "")?;
    let keys_values = layer.keys_values(inputs["media"].as_tensor())?;
    let mask = mask(config, tensors, &sizes, inputs)?;
    Ok(layer.forward(inputs["x"].as_tensor(), &keys_values, &mask)?)
}

fn gated_block(
    config: &Value,
    tensors: &Tensors,
    inputs: &BTreeMap<String, Var>,
    store: &mut ParameterStore,
) -> Outcome<Tensor> {
    let (sizes, widths) = cross_attention(config);
    let block = GatedBlock::new(&sizes, widths, store, "")?;
    let keys_values = block.keys_values(inputs["media"].as_tensor())?;
    let mask = mask(config, tensors, &sizes, inputs)?;
    Ok(block.forward(inputs["x"].as_tensor(), Some((&keys_values, &mask)))?)
}

/// The block's settings, and the widths of text and latents.
pub(crate) fn cross_attention(config: &Value) -> (CrossAttentionConfig, [usize; 2]) {
    let is_own = config["only_attend_immediate_media"].as_bool() != Some(false);
    let sizes = CrossAttentionConfig {
        every: 1,
        placement: Placement::Last,
        heads: number(config, "heads", 8),
        head_dim: number(config, "dim_head", 64),
        feed_forward_multiple: number(config, "ff_mult", 4),
        feed_forward_width: None,
        gated_feed_forward: false,
        activation: Activation::Gelu,
        norm: NormKind::Layer,
        norm_epsilon: None,
        query_key_norm: false,
        gate_per_channel: false,
        attend: if is_own {
            Attend::Own
        } else {
            Attend::AllPrevious
        },
        // The recorded outputs have it.
        text_before_images_averages_all: true,
        text_without_image_averages_all: false,
        written_images_restart_count: true,
        reads_text_width: false,
        initial_gate: 0.0,
    };
    let widths = [number(config, "dim", 0), number(config, "dim_visual", 0)];
    (sizes, widths)
}

/// The mask of a case from its `media_locations`: each token's own count of images so far, or,
/// for text that follows a cached prompt, the count of the whole prompt.
fn mask(
    config: &Value,
    tensors: &Tensors,
    sizes: &CrossAttentionConfig,
    inputs: &BTreeMap<String, Var>,
) -> Outcome<MediaMask> {
    let (batch, length, _) = inputs["x"].dims3()?;
    let (_, images, latents, _) = inputs["media"].dims4()?;
    let Some(locations) = tensors.get("input.media_locations") else {
        let mask = MediaMask::everything(batch, length, images * latents)?;
        return Ok(mask.to_device(compute().device())?);
    };
    let is_cached = config["use_cached_media"].as_bool() == Some(true);
    let indices: Vec<Vec<u8>> = locations
        .to_dtype(DType::U8)?
        .to_vec2::<u8>()?
        .into_iter()
        .map(|row| {
            let counts = row.iter().scan(0, |count, here| {
                *count += u8::from(*here != 0);
                Some(*count)
            });
            let counts: Vec<u8> = counts.collect();
            if is_cached {
                vec![counts.last().copied().unwrap_or_default(); length]
            } else {
                counts
            }
        })
        .collect();
    let mask = MediaMask::new(&indices, images, latents, sizes)?;
    Ok(mask.to_device(compute().device())?)
}

fn compare(
    output: &Tensor,
    tensors: &Tensors,
    inputs: &BTreeMap<String, Var>,
    store: &ParameterStore,
) -> Outcome<Comparison> {
    let mut comparison = Comparison::default();
    let expected = tensors.get("expected.y").ok_or("no `expected.y`")?;
    comparison.add("y", output, expected, OUTPUT)?;
    let Some(probe) = tensors.get("input.grad_probe") else {
        return Ok(comparison);
    };
    let gradients = (output * compute().take(probe)?)?.sum_all()?.backward()?;
    for (name, expected) in tensors {
        let (name, is_norm) = if let Some(name) = name.strip_prefix("expected.grad.") {
            (name, false)
        } else if let Some(name) = name.strip_prefix("expected.grad_norm.") {
            (name, true)
        } else {
            continue;
        };
        let variable = match name.strip_prefix("input.") {
            Some(input) => inputs.get(input),
            None => store.variables().get(name),
        };
        let Some(variable) = variable else {
            comparison.failures.push(format!("no parameter `{name}`"));
            continue;
        };
        let gradient = match gradients.get(variable) {
            Some(gradient) => gradient.clone(),
            None => variable.zeros_like()?,
        };
        if is_norm {
            let norm = gradient.sqr()?.sum_all()?.sqrt()?;
            let name = format!("gradient norm of {name}");
            // A norm that is 0 in exact arithmetic is rounding noise on both sides.
            comparison.add(&name, &norm, expected, GRADIENT)?;
        } else {
            let name = format!("gradient of {name}");
            comparison.add(&name, &gradient, expected, GRADIENT)?;
        }
    }
    Ok(comparison)
}
