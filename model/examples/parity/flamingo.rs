//! Whole models: every stage of the forward pass, losses and gradients.

use std::collections::BTreeMap;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use m3w_model::{
    Activation, Config, Flamingo, Group, Inputs, LanguageConfig, ParameterStore, Place, Placement,
    Resampler, SpecialTokens, VisionConfig, VisionTransformer,
};
use serde_json::Value;

use crate::compare::{Comparison, GRADIENT, OUTPUT};
use crate::modules::{cross_attention, resampler_sizes};
use crate::{Outcome, Tensors, compute, number};

/// What OpenFlamingo trains.
pub(crate) const TRAINABLE: [Group; 3] = [Group::Resampler, Group::GatedXattn, Group::Embeddings];

/// A recorded model's sizes.
pub(crate) fn sizes(config: &Value) -> Outcome<Config> {
    let vision = &config["vision"];
    let is_quick = vision["quick_gelu"].as_bool() == Some(true);
    let language = LanguageConfig::from_hugging_face(&config["lm_config"])?;
    let every = number(config, "every", 1);
    let (mut gated, _) = cross_attention(config);
    gated.every = every;
    gated.placement = Placement::Last;
    gated.heads = number(config, "xattn_heads", 8);
    gated.head_dim = number(config, "xattn_dim_head", 64);
    Ok(Config {
        vision: VisionConfig {
            image_side_px: number(vision, "image_size", 224),
            patch_side_px: number(vision, "patch_size", 32),
            width: number(vision, "width", 768),
            layers: number(vision, "layers", 12),
            heads: number(vision, "heads", 12),
            feed_forward_multiple: vision["mlp_ratio"].as_f64().unwrap_or(4.0),
            activation: if is_quick {
                Activation::QuickGelu
            } else {
                Activation::Gelu
            },
            class_token: true,
            keeps_class_token: false,
            patch_bias: false,
            norm_before: true,
            norm_after: false,
            norm_epsilon: None,
            nfnet: None,
        },
        resampler: resampler_sizes(&config["perceiver"]),
        cross_attention: gated,
        language,
    })
}

pub(crate) fn special_tokens(config: &Value) -> SpecialTokens {
    let id = |name: &str| number(config, name, 0) as u32;
    SpecialTokens {
        image: id("image"),
        end_of_chunk: id("eoc"),
        bos: id("eos"),
        eos: id("eos"),
        pad: id("pad"),
        around_image: None,
    }
}

pub(crate) fn model(weights: &Path, config: &Value, trainable: &[Group]) -> Outcome<Flamingo> {
    let store = ParameterStore::from_file(weights)?;
    let store = store.on(compute()).trainable(trainable);
    Ok(Flamingo::new(
        &sizes(config)?,
        special_tokens(config),
        store,
    )?)
}

pub(crate) fn tensor<'a>(tensors: &'a Tensors, name: &str) -> Outcome<&'a Tensor> {
    tensors
        .get(name)
        .ok_or_else(|| format!("no `{name}`").into())
}

pub(crate) fn load(path: &Path) -> Outcome<Tensors> {
    Ok(candle_core::safetensors::load(path, &Device::Cpu)?)
}

/// Rows of ids under this name.
pub(crate) fn rows(tensors: &Tensors, name: &str) -> Outcome<Vec<Vec<u32>>> {
    let rows: Vec<Vec<i64>> = tensor(tensors, name)?.to_dtype(DType::I64)?.to_vec2()?;
    let ids = |row: Vec<i64>| -> Outcome<Vec<u32>> {
        let ids = row.into_iter().map(u32::try_from);
        Ok(ids.collect::<Result<_, _>>()?)
    };
    rows.into_iter().map(ids).collect()
}

pub(crate) fn forward(path: &Path, weights: &Path, config: &Value) -> Outcome<Comparison> {
    let tensors = load(path)?;
    let mut comparison = Comparison::default();
    pictures(&mut comparison, &tensors, weights, config)?;
    let model = model(weights, config, &TRAINABLE)?;
    let tokens = rows(&tensors, "input.lang_x")?;
    let mask = rows(&tensors, "input.attention_mask")?;
    let size = (tokens.len(), tokens[0].len());
    let token_tensor = Tensor::from_vec(tokens.concat(), size, &Device::Cpu)?;
    let pixels = tensor(&tensors, "input.vision_x")?;
    let inputs = |loss_mask: Option<Tensor>| -> Outcome<Inputs> {
        Ok(Inputs::new(
            token_tensor.clone(),
            None,
            pixels.clone(),
            loss_mask,
        )?)
    };
    // What is computed at padding means nothing.
    let is_text: Vec<u32> = (0..size.0 * size.1)
        .filter(|at| mask[at / size.1][at % size.1] != 0)
        .map(|at| at as u32)
        .collect();
    let is_text = Tensor::from_vec(is_text.clone(), is_text.len(), &Device::Cpu)?;
    let text = |tensor: &Tensor| -> Outcome<Tensor> {
        let tensor = tensor.to_device(&Device::Cpu)?;
        Ok(tensor.flatten(0, 1)?.index_select(&is_text, 0)?)
    };
    let mut places = BTreeMap::new();
    let logits = model.forward_observed(&inputs(None)?, |place, hidden| {
        let name = match place {
            Place::GatedBlock(layer) => format!("layer.{layer:02}.gated_xattn_out"),
            Place::Layer(layer) => format!("layer.{layer:02}.out"),
        };
        places.insert(name, hidden.clone());
    })?;
    places.insert("logits".to_owned(), logits);
    tensor(&tensors, "expected.logits")?;
    for (name, found) in &places {
        if let Some(expected) = tensors.get(&format!("expected.{name}")) {
            comparison.add(name, &text(found)?, &text(expected)?, OUTPUT)?;
        }
    }
    let unseen = tensors
        .keys()
        .filter(|name| name.starts_with("expected.layer."));
    for name in unseen.filter(|name| !places.contains_key(&name["expected.".len()..])) {
        comparison.failures.push(format!("no such place: {name}"));
    }
    for rule in tensors
        .keys()
        .filter_map(|name| name.strip_prefix("expected.loss."))
    {
        let labels = tensor(&tensors, &format!("input.labels.{rule}"))?;
        let labels: Vec<Vec<i64>> = labels.to_vec2()?;
        let counted: Vec<u8> = labels
            .iter()
            .flatten()
            .map(|label| u8::from(*label >= 0))
            .collect();
        let labels_fit = labels
            .iter()
            .flatten()
            .zip(tokens.iter().flatten())
            .all(|(label, token)| *label < 0 || *label == i64::from(*token));
        comparison.require(labels_fit, || format!("{rule}: a label is not its token"));
        let rule_agrees = tokens
            .iter()
            .flat_map(|row| crate::training::targets(rule, row, config));
        let rule_agrees = rule_agrees.eq(counted.iter().copied());
        comparison.require(rule_agrees, || format!("{rule}: other targets by the rule"));
        let counted = Tensor::from_vec(counted, size, &Device::Cpu)?;
        let loss = model.loss(&inputs(Some(counted))?)?;
        let expected = tensor(&tensors, &format!("expected.loss.{rule}"))?;
        comparison.add(&format!("loss {rule}"), &loss, expected, OUTPUT)?;
        gradients(&mut comparison, &tensors, &model, &loss, rule)?;
    }
    Ok(comparison)
}

/// The stages before the language model.
fn pictures(
    comparison: &mut Comparison,
    tensors: &Tensors,
    weights: &Path,
    config: &Value,
) -> Outcome<()> {
    let sizes = sizes(config)?;
    let mut store = ParameterStore::from_file(weights)?.on(compute());
    let encoder = VisionTransformer::new(&sizes.vision, &mut store, "vision_encoder")?;
    let width = sizes.vision.width;
    let resampler = Resampler::new(&sizes.resampler, width, &mut store, "perceiver.")?;
    let pixels = tensor(tensors, "input.vision_x")?;
    let dims = pixels.dims().to_vec(); // [B, N, F, 3, H, W]
    let tokens = encoder.forward(&compute().take(&pixels.flatten(0, 2)?)?)?;
    let expected = tensor(tensors, "expected.vision.tokens")?;
    comparison.add("vision tokens", &tokens, expected, OUTPUT)?;
    let (_, patches, width) = tokens.dims3()?;
    let tokens = tokens.reshape((dims[0], dims[1], dims[2], patches, width))?;
    let latents = resampler.forward(&tokens)?;
    let expected = tensor(tensors, "expected.perceiver")?;
    comparison.add("latents", &latents, expected, OUTPUT)
}

fn gradients(
    comparison: &mut Comparison,
    tensors: &Tensors,
    model: &Flamingo,
    loss: &Tensor,
    rule: &str,
) -> Outcome<()> {
    let gradients = loss.backward()?;
    let mut total = 0.0;
    for (name, variable) in model.variables() {
        let gradient = match gradients.get(variable) {
            Some(gradient) => gradient.clone(),
            None => variable.zeros_like()?,
        };
        let square = gradient.sqr()?.sum_all()?;
        total += f64::from(square.to_scalar::<f32>()?);
        if let Some(expected) = tensors.get(&format!("expected.grad_norm.{rule}.{name}")) {
            let what = format!("{rule}: gradient norm of {name}");
            comparison.add(&what, &square.sqrt()?, expected, GRADIENT)?;
        } else {
            comparison
                .failures
                .push(format!("no recorded gradient of {name}"));
        }
        if let Some(expected) = tensors.get(&format!("expected.grad.{rule}.{name}")) {
            let what = format!("{rule}: gradient of {name}");
            comparison.add(&what, &gradient, expected, GRADIENT)?;
        }
        if Group::of(name) == Group::Embeddings {
            let expected = tensor(
                tensors,
                &format!("expected.grad.{rule}.embedding_rows_image_eoc"),
            )?;
            let special = model.special_tokens();
            let rows = Tensor::new(&[special.image, special.end_of_chunk], gradient.device())?;
            let found = gradient.index_select(&rows, 0)?;
            comparison.add(
                &format!("{rule}: gradient of embeddings"),
                &found,
                expected,
                GRADIENT,
            )?;
        }
    }
    let prefix = format!("expected.grad_norm.{rule}.");
    for name in tensors.keys().filter_map(|name| name.strip_prefix(&prefix)) {
        let is_known = model.variables().contains_key(name);
        comparison.require(is_known, || format!("no variable `{name}`"));
    }
    let total = Tensor::new(total.sqrt() as f32, &Device::Cpu)?;
    let expected = tensor(tensors, &format!("expected.grad_norm_total.{rule}"))?;
    comparison.add(
        &format!("{rule}: gradient norm"),
        &total,
        expected,
        GRADIENT,
    )
}
