//! Reading the `config.json` of a published vision transformer.

use serde_json::Value;

use crate::config::VisionConfig;
use crate::config_json::{Json, setting};
use crate::{Error, Result};

/// What a kind of encoder has where its file does not say.
struct Defaults {
    is_clip: bool,
    keeps_class_token: bool,
    width_key: &'static str,
    inner: usize,
    layers: usize,
    heads: usize,
    patch: usize,
    activation: &'static str,
    epsilon: f64,
}

const CLIP: Defaults = Defaults {
    is_clip: true,
    keeps_class_token: false,
    width_key: "hidden_size",
    inner: 3072,
    layers: 12,
    heads: 12,
    patch: 32,
    activation: "quick_gelu",
    epsilon: 1e-5,
};

const SIGLIP: Defaults = Defaults {
    is_clip: false,
    patch: 16,
    activation: "gelu_pytorch_tanh",
    epsilon: 1e-6,
    ..CLIP
};

/// CLIP's, with tokens of all places.
const IDEFICS: Defaults = Defaults {
    keeps_class_token: true,
    width_key: "embed_dim",
    inner: 5120,
    layers: 32,
    heads: 16,
    patch: 14,
    activation: "gelu",
    ..CLIP
};

impl VisionConfig {
    /// The sizes and choices of a `config.json` of `transformers`' CLIP, SigLIP or Idefics, the vision
    /// encoder's own or that of the whole model. What the file leaves out has the value `transformers`
    /// gives it.
    ///
    /// # Errors
    /// [`Error::Setting`] names a value that means something not built here.
    pub fn from_hugging_face(config: &Value) -> Result<Self> {
        let own = &config["vision_config"];
        let whole = Json(config).text("model_type")?;
        let json = Json(if own.is_null() { config } else { own });
        // Files of whole models may leave out the type of their parts.
        let model_type = json.0["model_type"].as_str().unwrap_or(whole);
        let defaults = match model_type {
            "clip_vision_model" | "clip" => CLIP,
            "siglip_vision_model" | "siglip" => SIGLIP,
            "idefics" | "idefics_vision" => IDEFICS,
            other => {
                return Err(setting(
                    "model_type",
                    other,
                    "it must be one of clip, clip_vision_model, siglip, siglip_vision_model and \
                     idefics",
                ));
            }
        };
        let channels = json.size_or("num_channels", 3)?;
        if channels != 3 {
            let found = channels.to_string();
            return Err(setting("num_channels", &found, "only 3 is built"));
        }
        let width = json.size_or(defaults.width_key, 768)?;
        let inner = json.size_or("intermediate_size", defaults.inner)?;
        let exact = inner as f64 / width.max(1) as f64;
        let mut vision = Self {
            image_side_px: json.size_or("image_size", 224)?,
            width,
            patch_side_px: json.size_or("patch_size", defaults.patch)?,
            layers: json.size_or("num_hidden_layers", defaults.layers)?,
            heads: json.size_or("num_attention_heads", defaults.heads)?,
            feed_forward_multiple: exact,
            activation: json.activation("hidden_act", defaults.activation)?,
            class_token: defaults.is_clip,
            keeps_class_token: defaults.keeps_class_token,
            patch_bias: !defaults.is_clip,
            norm_before: defaults.is_clip,
            norm_after: false,
            norm_epsilon: Some(json.number_or("layer_norm_eps", defaults.epsilon)),
            nfnet: None,
        };
        if vision.feed_forward_channels() != inner {
            // Rounded down, it gives exactly this width again.
            vision.feed_forward_multiple = (inner as f64 + 0.5) / width.max(1) as f64;
        }
        vision.validate()?;
        Ok(vision)
    }
}

impl std::str::FromStr for VisionConfig {
    type Err = Error;

    /// Reads the text of a `config.json`.
    fn from_str(text: &str) -> Result<Self> {
        let value = serde_json::from_str(text).map_err(|cause| Error::Setting {
            setting: "config.json".to_owned(),
            found: "not JSON".to_owned(),
            must: cause.to_string(),
        })?;
        Self::from_hugging_face(&value)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_a_file_leaves_out_is_as_in_transformers() {
        let siglip = json!({
            "model_type": "siglip",
            "vision_config": {
                "hidden_size": 1152, "image_size": 384, "intermediate_size": 4304,
                "model_type": "siglip_vision_model", "num_attention_heads": 16,
                "num_hidden_layers": 27, "patch_size": 14,
            },
        });
        let siglip = VisionConfig::from_hugging_face(&siglip).unwrap();
        assert_eq!(
            (siglip.feed_forward_channels(), siglip.tokens()),
            (4304, 729)
        );
        let base = json!({
            "model_type": "siglip", "vision_config": {"model_type": "siglip_vision_model"},
        });
        let base = VisionConfig::from_hugging_face(&base).unwrap();
        assert_eq!((base.patch_side_px, base.tokens()), (16, 196));
        assert!(!base.class_token && base.patch_bias && !base.norm_before);
        let clip = json!({
            "model_type": "clip_vision_model", "hidden_size": 1024, "intermediate_size": 4096,
            "patch_size": 14, "num_hidden_layers": 24, "num_attention_heads": 16,
        });
        let clip = VisionConfig::from_hugging_face(&clip).unwrap();
        assert_eq!((clip.feed_forward_channels(), clip.tokens()), (4096, 256));
        let other = VisionConfig::from_hugging_face(&json!({"model_type": "vit"}));
        assert!(other.unwrap_err().to_string().contains("siglip"));
    }
}
