//! Reading the `config.json` of Idefics.

use serde_json::Value;

use crate::Result;
use crate::config::{
    Activation, Attend, Config, CrossAttentionConfig, NormKind, Placement, ResamplerConfig,
    VisionConfig,
};
use crate::config_json::{Json, setting};
use crate::language::LanguageConfig;

impl Config {
    /// The sizes and choices of a `config.json` of Idefics. What the file leaves out has the value
    /// `transformers` gives it.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] names a value that is missing, or that means something not built here.
    pub fn from_idefics(config: &Value) -> Result<Self> {
        let json = Json(config);
        let model_type = json.text("model_type")?;
        if model_type != "idefics" {
            return Err(setting("model_type", model_type, "it must be idefics"));
        }
        if !json.flag_or("use_resampler", false) {
            return Err(setting(
                "use_resampler",
                "false",
                "only models with a resampler are built",
            ));
        }
        let vision = json.section("vision_config");
        if !vision.is_object() {
            return Err(setting(
                "vision_config",
                &vision.to_string(),
                "it must be a section",
            ));
        }
        let config = Self {
            vision: VisionConfig::from_hugging_face(config)?,
            resampler: resampler(Json(json.section("perceiver_config")))?,
            cross_attention: cross_attention(json)?,
            language: LanguageConfig::of_idefics(json)?,
        };
        config.validate()?;
        Ok(config)
    }
}

fn resampler(json: Json) -> Result<ResamplerConfig> {
    Ok(ResamplerConfig {
        latents: json.size_or("resampler_n_latents", 64)?,
        layers: json.size_or("resampler_depth", 6)?,
        heads: json.size_or("resampler_n_heads", 16)?,
        head_dim: json.size_or("resampler_head_dim", 96)?,
        feed_forward_multiple: 4,
        activation: Activation::Relu,
        max_frames: 0,
        max_images: 0,
        own_latent_maps: false,
        query_key_norm: json.flag_or("qk_layer_norms_perceiver", false),
    })
}

fn cross_attention(json: Json) -> Result<CrossAttentionConfig> {
    let (width, heads) = (json.size("hidden_size")?, json.size("num_attention_heads")?);
    let every = json.size_or("cross_layer_interval", 1)?;
    let layers = json.size("num_hidden_layers")?;
    if !layers.is_multiple_of(every.max(1)) {
        let found = every.to_string();
        let must = format!("it must divide num_hidden_layers, {layers}");
        return Err(setting("cross_layer_interval", &found, &must));
    }
    let gate_per_channel = match json.0["alpha_type"].as_str().unwrap_or("float") {
        "float" => false,
        "vector" => true,
        other => {
            return Err(setting("alpha_type", other, "it must be float or vector"));
        }
    };
    Ok(CrossAttentionConfig {
        every,
        placement: Placement::First,
        heads,
        head_dim: width / heads.max(1),
        feed_forward_multiple: 4,
        feed_forward_width: Some(json.size("intermediate_size")?),
        gated_feed_forward: true,
        activation: json.activation("hidden_act", "silu")?,
        norm: NormKind::RootMeanSquare,
        norm_epsilon: Some(json.number_or("rms_norm_eps", 1e-6)),
        query_key_norm: json.flag_or("qk_layer_norms", false),
        gate_per_channel,
        attend: Attend::Own,
        text_before_images_averages_all: false,
        text_without_image_averages_all: false,
        written_images_restart_count: false,
        reads_text_width: false,
        initial_gate: 0.0,
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn published() -> Value {
        json!({
            "model_type": "idefics", "vocab_size": 32000, "additional_vocab_size": 2,
            "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
            "num_attention_heads": 32, "hidden_act": "silu", "rms_norm_eps": 1e-6,
            "alpha_initializer": "zeros", "alpha_type": "float", "cross_layer_interval": 4,
            "qk_layer_norms": true, "use_resampler": true, "tie_word_embeddings": false,
            "perceiver_config": {"model_type": "idefics", "qk_layer_norms_perceiver": true,
                "resampler_depth": 6, "resampler_head_dim": 96, "resampler_n_heads": 16,
                "resampler_n_latents": 64},
            "vision_config": {"model_type": "idefics", "embed_dim": 1280, "hidden_act": "gelu",
                "image_size": 224, "intermediate_size": 5120, "num_attention_heads": 16,
                "num_hidden_layers": 32, "patch_size": 14},
        })
    }

    #[test]
    fn the_published_file_is_the_preset() {
        let read = Config::from_idefics(&published()).unwrap();
        assert_eq!(read, crate::preset("idefics-9b").unwrap());
    }

    #[test]
    fn what_is_not_built_is_refused_by_its_key() {
        for (key, value, expected) in [
            ("model_type", json!("llama"), "model_type` is llama"),
            ("use_resampler", json!(false), "use_resampler` is false"),
            ("alpha_type", json!("matrix"), "alpha_type` is matrix"),
            (
                "cross_layer_interval",
                json!(5),
                "must divide num_hidden_layers, 32",
            ),
            ("hidden_size", json!(null), "hidden_size` is null"),
            ("hidden_act", json!("mish"), "hidden_act` is mish"),
        ] {
            let mut config = published();
            config[key] = value;
            let message = Config::from_idefics(&config).unwrap_err().to_string();
            assert!(message.contains(expected), "{message}");
        }
    }
}
