//! Reading the `config.json` that stands beside published weights.

use serde_json::Value;

use super::config::{Biases, Family, LanguageConfig};
use crate::Result;
use crate::config_json::{Json, setting};

impl LanguageConfig {
    /// The sizes and choices of a Hugging Face `config.json`, by its `model_type`: `gpt_neox`,
    /// `mpt`, `mosaic_gpt`, `opt`, `llama`, `mistral`, `qwen2`, `gpt2` or `gptj`. What the file
    /// leaves out has the value `transformers` gives it.
    ///
    /// # Errors
    /// [`crate::Error::Setting`] names a value that is missing, or that means something not built here.
    pub fn from_hugging_face(config: &Value) -> Result<Self> {
        let json = Json(config);
        let model_type = json.text("model_type")?;
        let language = match model_type {
            "gpt_neox" => gpt_neox(json),
            "mpt" => mpt(json, Family::Mpt),
            "mosaic_gpt" => mosaic_gpt(json),
            "opt" => opt(json),
            "llama" | "mistral" => llama(json, Biases::None),
            "qwen2" => llama(json, Biases::QueryKeyValue),
            "gpt2" => gpt2(json),
            "gptj" => gptj(json),
            other => Err(setting(
                "model_type",
                other,
                "it must be one of gpt_neox, mpt, mosaic_gpt, opt, llama, mistral, qwen2, gpt2 \
                 and gptj",
            )),
        }?;
        language.validate()?;
        Ok(language)
    }
}

impl LanguageConfig {
    /// The language model of Idefics, a LLaMA whose tables have grown.
    pub(crate) fn of_idefics(json: Json) -> Result<Self> {
        let language = llama(json, Biases::None)?;
        let added = json.size_or("additional_vocab_size", 0)?;
        Ok(Self {
            vocabulary: language.vocabulary.saturating_add(added),
            ..language
        })
    }
}

fn gpt_neox(json: Json) -> Result<LanguageConfig> {
    let (width, heads) = (json.size("hidden_size")?, json.size("num_attention_heads")?);
    let head_channels = width / heads.max(1);
    let turning = head_channels as f64 * json.number_or("rotary_pct", 0.25);
    let biases = if json.flag_or("attention_bias", true) {
        Biases::All
    } else {
        Biases::FeedForward
    };
    Ok(LanguageConfig {
        family: Family::GptNeox,
        vocabulary: json.size("vocab_size")?,
        width,
        layers: json.size("num_hidden_layers")?,
        heads,
        feed_forward_width: Some(json.size("intermediate_size")?),
        max_positions: json.size_or("max_position_embeddings", 2048)?,
        rotary_base: json.number_or("rotary_emb_base", 10_000.0),
        // The reference rounds down.
        rotary_channels: Some(turning as usize),
        rotary_stretch: rotary_stretch(json)?,
        tied_output: json.flag_or("tie_word_embeddings", false),
        activation: json.activation("hidden_act", "gelu")?,
        norm_epsilon: Some(json.number_or("layer_norm_eps", 1e-5)),
        parallel_residual: json.flag_or("use_parallel_residual", true),
        biases,
        ..LanguageConfig::default()
    })
}

fn mpt(json: Json, family: Family) -> Result<LanguageConfig> {
    let attention = json.section("attn_config");
    // MPT-1B's own code has these at the top, with a prefix.
    let choice = |name: &str| -> Value {
        let found = attention.get(name);
        let found = found.or_else(|| json.0.get(format!("attn_{name}")));
        found
            .or_else(|| json.0.get(name))
            .cloned()
            .unwrap_or_default()
    };
    let is_set = |name: &str| choice(name).as_bool() == Some(true);
    if !json.flag_or("no_bias", true) {
        return Err(setting(
            "no_bias",
            "false",
            "only MPT without biases is built",
        ));
    }
    if !json.0["logit_scale"].is_null() {
        let found = json.0["logit_scale"].to_string();
        return Err(setting("logit_scale", &found, "only null is built"));
    }
    // `transformers` builds ALiBi whatever the file says; MosaicML's code knows the choice.
    if family == Family::MosaicGpt && !is_set("alibi") {
        return Err(setting("alibi", "false", "only MPT with ALiBi is built"));
    }
    for name in ["prefix_lm", "multiquery_attention"] {
        if is_set(name) {
            return Err(setting(name, "true", "only false is built"));
        }
    }
    let ratio = json.0.get("expansion_ratio").or(json.0.get("mlp_ratio"));
    let multiple = ratio.and_then(Value::as_u64).unwrap_or(4) as usize;
    Ok(LanguageConfig {
        family,
        vocabulary: json.size("vocab_size")?,
        width: json.size("d_model")?,
        layers: json.size("n_layers")?,
        heads: json.size("n_heads")?,
        feed_forward_multiple: multiple,
        max_positions: json.size_or("max_seq_len", 2048)?,
        alibi_bias_max: Some(choice("alibi_bias_max").as_f64().unwrap_or(8.0)),
        tied_output: true,
        norm_epsilon: Some(json.number_or("layer_norm_epsilon", 1e-5)),
        query_key_norm: is_set("qk_ln"),
        query_key_value_clip: choice("clip_qkv").as_f64(),
        attention_scale: choice("softmax_scale").as_f64(),
        ..LanguageConfig::default()
    })
}

fn mosaic_gpt(json: Json) -> Result<LanguageConfig> {
    mpt(json, Family::MosaicGpt)
}

fn opt(json: Json) -> Result<LanguageConfig> {
    let width = json.size("hidden_size")?;
    let embedding_width = json.size_or("word_embed_proj_dim", width)?;
    if !json.flag_or("layer_norm_elementwise_affine", true) {
        return Err(setting(
            "layer_norm_elementwise_affine",
            "false",
            "only true is built",
        ));
    }
    if !json.flag_or("enable_bias", true) {
        return Err(setting("enable_bias", "false", "only true is built"));
    }
    Ok(LanguageConfig {
        family: Family::Opt,
        vocabulary: json.size("vocab_size")?,
        width,
        layers: json.size("num_hidden_layers")?,
        heads: json.size("num_attention_heads")?,
        feed_forward_width: Some(json.size("ffn_dim")?),
        max_positions: json.size_or("max_position_embeddings", 2048)?,
        tied_output: json.flag_or("tie_word_embeddings", true),
        activation: json.activation("activation_function", "relu")?,
        biases: Biases::All,
        norms_last: !json.flag_or("do_layer_norm_before", true),
        embedding_width: (embedding_width != width).then_some(embedding_width),
        ..LanguageConfig::default()
    })
}

fn llama(json: Json, biases: Biases) -> Result<LanguageConfig> {
    let heads = json.size("num_attention_heads")?;
    let biases = match (biases, json.flag_or("attention_bias", false)) {
        (Biases::None, true) => Biases::Attention,
        (biases, _) => biases,
    };
    let mut max_positions = json.size_or("max_position_embeddings", 2048)?;
    // Up to the window's size, attention within a window is attention.
    let is_windowed = json.flag_or("use_sliding_window", true);
    if let Some(window) = json.0["sliding_window"].as_u64().filter(|_| is_windowed) {
        max_positions = max_positions.min(window as usize);
    }
    let head_dim = json.0["head_dim"].as_u64();
    Ok(LanguageConfig {
        family: Family::Llama,
        vocabulary: json.size("vocab_size")?,
        width: json.size("hidden_size")?,
        layers: json.size("num_hidden_layers")?,
        heads,
        key_value_heads: Some(json.size_or("num_key_value_heads", heads)?),
        head_dim: head_dim.map(|channels| channels as usize),
        feed_forward_width: Some(json.size("intermediate_size")?),
        max_positions,
        rotary_base: json.number_or("rope_theta", 10_000.0),
        rotary_stretch: rotary_stretch(json)?,
        tied_output: json.flag_or("tie_word_embeddings", false),
        activation: json.activation("hidden_act", "silu")?,
        norm_epsilon: Some(json.number_or("rms_norm_eps", 1e-6)),
        biases,
        ..LanguageConfig::default()
    })
}

fn gpt2(json: Json) -> Result<LanguageConfig> {
    let width = json.size("n_embd")?;
    if !json.flag_or("scale_attn_weights", true) {
        return Err(setting("scale_attn_weights", "false", "only true is built"));
    }
    if json.flag_or("scale_attn_by_inverse_layer_idx", false) {
        return Err(setting(
            "scale_attn_by_inverse_layer_idx",
            "true",
            "only false is built",
        ));
    }
    Ok(LanguageConfig {
        family: Family::Gpt2,
        vocabulary: json.size("vocab_size")?,
        width,
        layers: json.size("n_layer")?,
        heads: json.size("n_head")?,
        feed_forward_width: Some(json.size_or("n_inner", 4 * width)?),
        max_positions: json.size_or("n_positions", 1024)?,
        tied_output: json.flag_or("tie_word_embeddings", true),
        activation: json.activation("activation_function", "gelu_new")?,
        norm_epsilon: Some(json.number_or("layer_norm_epsilon", 1e-5)),
        biases: Biases::All,
        ..LanguageConfig::default()
    })
}

fn gptj(json: Json) -> Result<LanguageConfig> {
    let width = json.size("n_embd")?;
    Ok(LanguageConfig {
        family: Family::GptJ,
        vocabulary: json.size("vocab_size")?,
        width,
        layers: json.size("n_layer")?,
        heads: json.size("n_head")?,
        feed_forward_width: Some(json.size_or("n_inner", 4 * width)?),
        max_positions: json.size_or("n_positions", 2048)?,
        rotary_channels: Some(json.size_or("rotary_dim", 64)?),
        tied_output: json.flag_or("tie_word_embeddings", false),
        activation: json.activation("activation_function", "gelu_new")?,
        norm_epsilon: Some(json.number_or("layer_norm_epsilon", 1e-5)),
        parallel_residual: true,
        biases: Biases::FeedForward,
        ..LanguageConfig::default()
    })
}

/// The factor of linearly stretched positions; other kinds of stretching are refused.
fn rotary_stretch(json: Json) -> Result<Option<f64>> {
    let scaling = json.section("rope_scaling");
    if scaling.is_null() {
        return Ok(None);
    }
    let kind = scaling.get("type").or(scaling.get("rope_type"));
    match (kind.and_then(Value::as_str), scaling["factor"].as_f64()) {
        (Some("default"), _) => Ok(None),
        (Some("linear"), Some(factor)) => Ok(Some(factor)),
        _ => Err(setting(
            "rope_scaling",
            &scaling.to_string(),
            "only null and the type `linear` with a factor are built",
        )),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_not_built_is_refused_by_its_key() {
        let llama = json!({
            "model_type": "llama", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 2, "intermediate_size": 16,
            "rope_scaling": { "type": "dynamic", "factor": 2.0 },
        });
        let cases = [
            (json!({ "model_type": "bert" }), "model_type` is bert"),
            (json!({}), "model_type` is null"),
            (json!({ "model_type": "gpt2" }), "n_embd` is null"),
            (llama, "rope_scaling` is"),
        ];
        for (config, expected) in cases {
            let message = LanguageConfig::from_hugging_face(&config)
                .unwrap_err()
                .to_string();
            assert!(message.contains(expected), "{message}");
        }
    }

    #[test]
    fn a_window_bounds_the_positions() {
        let mut config = json!({
            "model_type": "mistral", "vocab_size": 9, "hidden_size": 8, "num_hidden_layers": 1,
            "num_attention_heads": 4, "num_key_value_heads": 2, "intermediate_size": 16,
            "max_position_embeddings": 32768, "sliding_window": 4096,
        });
        let read = |config: &Value| LanguageConfig::from_hugging_face(config).unwrap();
        assert_eq!(read(&config).max_positions, 4096);
        config["sliding_window"] = Value::Null;
        assert_eq!(read(&config).max_positions, 32768);
        assert_eq!(read(&config).key_value_head_count(), 2);
    }
}
