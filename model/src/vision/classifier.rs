//! Pictures to probabilities of classes, by a published vision transformer with a head on its class
//! token: `transformers`' `ViTForImageClassification` (Dosovitskiy et al. 2020, arXiv 2010.11929).

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::Value;

use super::vit::VisionTransformer;
use crate::config::VisionConfig;
use crate::config_json::{Json, setting};
use crate::init::{Init, ParameterStore};
use crate::linear::Linear;
use crate::preprocess::{Picture, Preprocess};
use crate::tensor_file::read_tensors;
use crate::{Error, Result};

/// Parts of the model in `transformers` and here; none is the beginning of another.
const PARTS: [(&str, &str); 4] = [
    ("embeddings.cls_token", "class_embedding"),
    ("embeddings.position_embeddings", "positional_embedding"),
    ("embeddings.patch_embeddings.projection", "conv1"),
    ("layernorm", "ln_post"),
];
/// Parts of a layer.
const LAYER_PARTS: [(&str, &str); 5] = [
    ("layernorm_before", "ln_1"),
    ("layernorm_after", "ln_2"),
    ("attention.output.dense", "attn.out_proj"),
    ("intermediate.dense", "mlp.c_fc"),
    ("output.dense", "mlp.c_proj"),
];
const PREFIX: &str = "vision_encoder";

/// A classifier of pictures. Memory is its weights in f32, and the activations of the pictures that are
/// asked about at a time.
pub struct ImageClassifier {
    encoder: VisionTransformer,
    head: Linear,
    labels: Vec<String>,
    preprocess: Preprocess,
}

impl ImageClassifier {
    /// The files of a folder that are read: `config.json`, `model.safetensors` and, if it is there,
    /// `preprocessor_config.json`.
    #[must_use]
    pub fn files(folder: &Path) -> Vec<PathBuf> {
        let optional = folder.join("preprocessor_config.json");
        let mut files = vec![folder.join("config.json"), folder.join("model.safetensors")];
        files.extend(optional.is_file().then_some(optional));
        files
    }

    /// Loads the model of a folder, as it is published.
    ///
    /// Pictures are squeezed into its square by a bicubic filter, whatever filter the folder names; mean
    /// and deviation are those of `preprocessor_config.json`, or 0.5 each.
    ///
    /// # Errors
    /// A file cannot be read, describes another model, or lacks a weight.
    pub fn load(folder: &Path) -> Result<Self> {
        let config = read_json(&folder.join("config.json"))?;
        let vision = sizes(&config)?;
        let labels = labels(&config)?;
        let path = folder.join("model.safetensors");
        let origin = path.display().to_string();
        let mut store = ParameterStore::from_tensors(named(read_tensors(&path)?)?, origin);
        let encoder = VisionTransformer::new(&vision, &mut store, PREFIX)?;
        let shape = [labels.len(), vision.width];
        let weight = store.get("classifier.weight", &shape, Init::Zeros)?;
        let bias = store.get("classifier.bias", &shape[..1], Init::Zeros)?;
        let mut preprocess = Preprocess::siglip(vision.image_side_px);
        let values = folder.join("preprocessor_config.json");
        if values.is_file() {
            let values = read_json(&values)?;
            for (key, channels) in [
                ("image_mean", &mut preprocess.mean),
                ("image_std", &mut preprocess.deviation),
            ] {
                for (channel, value) in channels.iter_mut().enumerate() {
                    if let Some(given) = values[key][channel].as_f64() {
                        *value = given as f32;
                    }
                }
            }
        }
        Ok(Self {
            encoder,
            head: Linear::new(weight, Some(bias)),
            labels,
            preprocess,
        })
    }

    /// The names of its classes, in the order of its answers.
    #[must_use]
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The probability of each class of each picture, `[pictures][classes]`; each row adds up to 1.
    ///
    /// # Errors
    /// A picture is empty, or has another number of values than it says.
    pub fn probabilities(&self, pictures: &[Picture<'_>]) -> Result<Vec<Vec<f32>>> {
        if pictures.is_empty() {
            return Ok(Vec::new());
        }
        let pixels = pictures
            .iter()
            .map(|picture| self.preprocess.pixels(*picture));
        let pixels = Tensor::stack(&pixels.collect::<Result<Vec<_>>>()?, 0)?; // [M, 3, H, W]
        let logits = self.logits(&pixels)?.to_vec2::<f32>()?;
        Ok(logits.into_iter().map(softmax).collect())
    }

    /// `[M, 3, H, W]` normalised pixels to `[M, classes]` logits.
    ///
    /// # Errors
    /// The pictures have another size than the model.
    pub fn logits(&self, pixels: &Tensor) -> Result<Tensor> {
        self.head.forward(&self.encoder.class(pixels)?)
    }
}

fn softmax(logits: Vec<f32>) -> Vec<f32> {
    let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let powers: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
    let sum: f32 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}

fn read_json(path: &Path) -> Result<Value> {
    let bytes = std::fs::read(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|cause| Error::Content {
        path: path.to_owned(),
        cause: format!("not JSON: {cause}"),
    })
}

/// The sizes of the encoder; what the file leaves out has the value `transformers` gives it.
fn sizes(config: &Value) -> Result<VisionConfig> {
    let json = Json(config);
    let kind = json.text("model_type")?;
    if kind != "vit" {
        return Err(setting(
            "model_type",
            kind,
            "only vit is built as a classifier",
        ));
    }
    let channels = json.size_or("num_channels", 3)?;
    if channels != 3 {
        let found = channels.to_string();
        return Err(setting("num_channels", &found, "only 3 is built"));
    }
    if !json.flag_or("qkv_bias", true) {
        return Err(setting("qkv_bias", "false", "only true is built"));
    }
    let width = json.size_or("hidden_size", 768)?;
    let inner = json.size_or("intermediate_size", 3072)?;
    let mut vision = VisionConfig {
        image_side_px: json.size_or("image_size", 224)?,
        width,
        patch_side_px: json.size_or("patch_size", 16)?,
        layers: json.size_or("num_hidden_layers", 12)?,
        heads: json.size_or("num_attention_heads", 12)?,
        feed_forward_multiple: inner as f64 / width.max(1) as f64,
        activation: json.activation("hidden_act", "gelu")?,
        class_token: true,
        keeps_class_token: false,
        patch_bias: true,
        norm_before: false,
        norm_after: true,
        norm_epsilon: Some(json.number_or("layer_norm_eps", 1e-12)),
        nfnet: None,
    };
    if vision.feed_forward_channels() != inner {
        // Rounded down, it gives exactly this width again.
        vision.feed_forward_multiple = (inner as f64 + 0.5) / width.max(1) as f64;
    }
    vision.validate()?;
    Ok(vision)
}

/// The names of the classes, by their numbers.
fn labels(config: &Value) -> Result<Vec<String>> {
    let named = config["id2label"].as_object();
    let labels = named.and_then(|named| {
        let label = |id: usize| Some(named.get(&id.to_string())?.as_str()?.to_owned());
        (0..named.len()).map(label).collect::<Option<Vec<_>>>()
    });
    labels.filter(|labels| !labels.is_empty()).ok_or_else(|| {
        let found = config["id2label"].to_string();
        setting(
            "id2label",
            &found,
            "it must name each class by its number from 0",
        )
    })
}

/// The same tensors by their names here. Maps to queries, keys and values stand one on the other.
fn named(tensors: BTreeMap<String, Tensor>) -> Result<BTreeMap<String, Tensor>> {
    let renamed = |name: &str, parts: &[(&str, &str)]| {
        parts.iter().find_map(|(theirs, ours)| {
            let rest = name.strip_prefix(theirs)?;
            let is_whole = rest.is_empty() || rest.starts_with('.');
            is_whole.then(|| format!("{ours}{rest}"))
        })
    };
    let mut named = BTreeMap::new();
    for (name, tensor) in &tensors {
        let Some(part) = name.strip_prefix("vit.") else {
            named.insert(name.clone(), tensor.clone());
            continue;
        };
        if let Some(part) = renamed(part, &PARTS) {
            let tensor = match part.as_str() {
                // [1, 1, width] and [1, places, width] there.
                "class_embedding" => tensor.flatten_all()?,
                "positional_embedding" => tensor.squeeze(0)?,
                _ => tensor.clone(),
            };
            named.insert(format!("{PREFIX}.{part}"), tensor);
            continue;
        }
        let layer = part.strip_prefix("encoder.layer.");
        let Some((number, part)) = layer.and_then(|rest| rest.split_once('.')) else {
            continue;
        };
        let layer = format!("{PREFIX}.transformer.resblocks.{number}");
        if let Some(part) = renamed(part, &LAYER_PARTS) {
            named.insert(format!("{layer}.{part}"), tensor.clone());
        } else if let Some(kind) = part.strip_prefix("attention.attention.query.") {
            let of = |map: &str| {
                let beside = format!("vit.encoder.layer.{number}.attention.attention.{map}.{kind}");
                tensors.get(&beside)
            };
            if let [Some(queries), Some(keys), Some(values)] = ["query", "key", "value"].map(of) {
                let stacked = Tensor::cat(&[queries, keys, values], 0)?;
                named.insert(format!("{layer}.attn.in_proj_{kind}"), stacked);
            }
        }
    }
    Ok(named)
}
