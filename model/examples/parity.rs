//! Compares this crate with recorded outputs of the reference implementation.
//!
//! `cargo run -p m3w-model --example parity -- DIR` reads `DIR/index.json`, which names safetensors
//! files and the kind and sizes of each, and runs every case. A value agrees within 2e-5 absolute
//! or 1e-4 relative, a gradient within 2e-5 or 1e-3, a gradient's norm within 1e-3 relative. Prints
//! for each case the largest absolute error, the largest error relative to the largest value of
//! its tensor, and the verdict; kinds that are not built are listed as such. Of whole models, vision
//! encoder and resampler are compared. Exits with 1 if a case fails.
#![expect(
    clippy::print_stdout,
    reason = "a command-line program prints its report"
)]

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

use candle_core::{DType, Device, Tensor, Var};
use m3w_model::{
    Activation, Attend, CrossAttentionConfig, GatedBlock, Group, MaskedCrossAttention, MediaMask,
    ParameterStore, Placement, Resampler, ResamplerConfig, VisionConfig, VisionTransformer,
};
use serde_json::Value;

type Outcome<T> = Result<T, Box<dyn Error>>;
type Tensors = HashMap<String, Tensor>;

const ABSOLUTE: f32 = 2e-5;
const RELATIVE: f32 = 1e-4;
const GRADIENT_RELATIVE: f32 = 1e-3;

/// How far a case is from the reference.
#[derive(Default)]
struct Comparison {
    absolute: f32,
    relative: f32,
    failures: Vec<String>,
    /// What of the case was left out.
    note: &'static str,
}

fn main() -> Outcome<ExitCode> {
    let Some(directory) = std::env::args_os().nth(1) else {
        return Err("usage: parity DIR, a directory with index.json".into());
    };
    let directory = Path::new(&directory);
    let index = std::fs::read_to_string(directory.join("index.json"))?;
    let index: Value = serde_json::from_str(&index)?;
    let files = index["files"]
        .as_array()
        .ok_or("index.json has no `files`")?;
    let (mut passed, mut failed, mut not_built) = (0, 0, 0);
    for entry in files {
        let file = entry["file"].as_str().ok_or("a file without a name")?;
        let path = directory.join(file);
        let config = &entry["config"];
        let comparison = match file.strip_suffix(".forward.safetensors") {
            Some(model) => {
                let weights = directory.join(format!("{model}.weights.safetensors"));
                Some(pictures(&path, &weights, config)?)
            }
            None => run_case(&path, config)?,
        };
        let Some(comparison) = comparison else {
            println!("not built  {file}");
            not_built += 1;
            continue;
        };
        let verdict = if comparison.failures.is_empty() {
            passed += 1;
            "pass"
        } else {
            failed += 1;
            "FAIL"
        };
        let (absolute, relative) = (comparison.absolute, comparison.relative);
        let note = comparison.note;
        println!("{verdict}       {file}  absolute {absolute:.1e}  relative {relative:.1e}{note}");
        for failure in &comparison.failures {
            println!("           {failure}");
        }
    }
    println!(
        "parity {passed}/{} passed, {not_built} not built",
        passed + failed
    );
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// The vision encoder and the resampler of a whole model; its language model is not built.
fn pictures(path: &Path, weights: &Path, config: &Value) -> Outcome<Comparison> {
    let tensors = candle_core::safetensors::load(path, &Device::Cpu)?;
    let mut store = ParameterStore::from_file(weights)?;
    let (vision, perceiver) = (&config["vision"], &config["perceiver"]);
    let is_quick = vision["quick_gelu"].as_bool() == Some(true);
    let sizes = VisionConfig {
        image_side_px: number(vision, "image_size", 224),
        patch_side_px: number(vision, "patch_size", 32),
        width: number(vision, "width", 768),
        layers: number(vision, "layers", 12),
        heads: number(vision, "heads", 12),
        feed_forward_multiple: 4,
        activation: if is_quick {
            Activation::QuickGelu
        } else {
            Activation::Gelu
        },
    };
    let encoder = VisionTransformer::new(&sizes, &mut store, "vision_encoder")?;
    let resampler = Resampler::new(
        &resampler_sizes(perceiver),
        sizes.width,
        &mut store,
        "perceiver.",
    )?;
    let pixels = tensors.get("input.vision_x").ok_or("no `input.vision_x`")?;
    let dims = pixels.dims().to_vec(); // [B, N, F, 3, H, W]
    let tokens = encoder.forward(&pixels.flatten(0, 2)?)?;
    let mut comparison = Comparison {
        note: "  (vision and resampler; language model not built)",
        ..Comparison::default()
    };
    let expected = |name: &str| {
        let tensor = tensors.get(&format!("expected.{name}"));
        tensor.ok_or_else(|| format!("no `expected.{name}`"))
    };
    let expected_tokens = expected("vision.tokens")?;
    comparison.add(
        "vision tokens",
        &tokens,
        expected_tokens,
        ABSOLUTE,
        RELATIVE,
    )?;
    let (_, patches, width) = tokens.dims3()?;
    let latents =
        resampler.forward(&tokens.reshape((dims[0], dims[1], dims[2], patches, width))?)?;
    let expected_latents = expected("perceiver")?;
    comparison.add("latents", &latents, expected_latents, ABSOLUTE, RELATIVE)?;
    Ok(comparison)
}

/// Runs a case; `None` for a kind that this crate has no module for.
fn run_case(path: &Path, config: &Value) -> Outcome<Option<Comparison>> {
    let run = match config["kind"].as_str() {
        // Embeddings of an image's number exist in the reference and in no checkpoint.
        Some("perceiver_resampler") if config["max_num_media"].is_null() => resampler,
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
    let mut store =
        ParameterStore::from_tensors(weights, path.display().to_string()).trainable(&Group::ALL);
    let mut inputs = BTreeMap::new();
    for name in ["x", "media"] {
        if let Some(tensor) = tensors.get(&format!("input.{name}")) {
            inputs.insert(name.to_owned(), Var::from_tensor(tensor)?);
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

fn resampler_sizes(sizes: &Value) -> ResamplerConfig {
    ResamplerConfig {
        latents: number(sizes, "num_latents", 64),
        layers: number(sizes, "depth", 6),
        heads: number(sizes, "heads", 8),
        head_dim: number(sizes, "dim_head", 64),
        feed_forward_multiple: number(sizes, "ff_mult", 4),
        activation: Activation::Gelu,
        max_frames: number(sizes, "max_num_frames", 0),
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
fn cross_attention(config: &Value) -> (CrossAttentionConfig, [usize; 2]) {
    let is_own = config["only_attend_immediate_media"].as_bool() != Some(false);
    let sizes = CrossAttentionConfig {
        every: 1,
        placement: Placement::Last,
        heads: number(config, "heads", 8),
        head_dim: number(config, "dim_head", 64),
        feed_forward_multiple: number(config, "ff_mult", 4),
        activation: Activation::Gelu,
        attend: if is_own {
            Attend::Own
        } else {
            Attend::AllPrevious
        },
        // The recorded outputs have it.
        text_before_images_averages_all: true,
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
        return Ok(MediaMask::everything(batch, length, images * latents)?);
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
    let averages = sizes.text_before_images_averages_all;
    Ok(MediaMask::new(
        &indices,
        images,
        latents,
        sizes.attend,
        averages,
    )?)
}

fn number(config: &Value, name: &str, default: usize) -> usize {
    config[name]
        .as_u64()
        .map_or(default, |value| value as usize)
}

fn compare(
    output: &Tensor,
    tensors: &Tensors,
    inputs: &BTreeMap<String, Var>,
    store: &ParameterStore,
) -> Outcome<Comparison> {
    let mut comparison = Comparison::default();
    let expected = tensors.get("expected.y").ok_or("no `expected.y`")?;
    comparison.add("y", output, expected, ABSOLUTE, RELATIVE)?;
    let Some(probe) = tensors.get("input.grad_probe") else {
        return Ok(comparison);
    };
    let gradients = (output * probe)?.sum_all()?.backward()?;
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
            comparison.add(&name, &norm, expected, ABSOLUTE, GRADIENT_RELATIVE)?;
        } else {
            let name = format!("gradient of {name}");
            comparison.add(&name, &gradient, expected, ABSOLUTE, GRADIENT_RELATIVE)?;
        }
    }
    Ok(comparison)
}

impl Comparison {
    /// Compares two tensors: each pair of values must agree within one of the two bounds.
    fn add(
        &mut self,
        name: &str,
        found: &Tensor,
        expected: &Tensor,
        absolute: f32,
        relative: f32,
    ) -> Outcome<()> {
        if found.elem_count() != expected.elem_count() {
            let (found, expected) = (found.dims(), expected.dims());
            self.failures
                .push(format!("{name}: shape {found:?}, expected {expected:?}"));
            return Ok(());
        }
        let values = |tensor: &Tensor| -> Outcome<Vec<f32>> {
            Ok(tensor.flatten_all()?.to_dtype(DType::F32)?.to_vec1()?)
        };
        let (found, expected) = (values(found)?, values(expected)?);
        let scale = expected
            .iter()
            .fold(f32::MIN_POSITIVE, |most, value| most.max(value.abs()));
        let mut worst = 0.0_f32;
        let mut is_within = true;
        for (found, expected) in found.iter().zip(&expected) {
            let error = (found - expected).abs();
            // Written so that NaN does not pass.
            is_within &= error <= absolute || error <= relative * expected.abs();
            worst = if error > worst || error.is_nan() {
                error
            } else {
                worst
            };
        }
        self.absolute = self.absolute.max(worst);
        self.relative = self.relative.max(worst / scale);
        if !is_within {
            self.failures
                .push(format!("{name}: off by up to {worst:.1e}"));
        }
        Ok(())
    }
}
