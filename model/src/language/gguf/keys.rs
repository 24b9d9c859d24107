//! The metadata of a GGUF file as sizes and choices of a language model.

use crate::config::Activation;
use crate::gguf::{GgufFile, Value};
use crate::language::config::{Biases, Family, LanguageConfig};
use crate::{Error, Result};

/// No size of a language model is larger; products of three of them fit into 64 bits.
const LARGEST_SIZE: i128 = 1 << 20;

/// Base of the rotary wavelengths where a file has none, as in `llama.cpp`.
const ROTARY_BASE: f64 = 10_000.0;

/// What is built, by `general.architecture`.
const ARCHITECTURES: [&str; 5] = ["llama", "qwen2", "gpt2", "gptneox", "mpt"];

/// Keys that change what a model computes, and the values under which they do not.
const NOT_BUILT: [(&str, f64); 7] = [
    ("expert_count", 0.0),
    ("attention.scale", 0.0),
    ("attn_logit_softcapping", 0.0),
    ("final_logit_softcapping", 0.0),
    ("logit_scale", 1.0),
    ("embedding_scale", 1.0),
    ("residual_scale", 1.0),
];

/// The metadata, asked by key below the architecture's name.
#[derive(Clone, Copy)]
struct Keys<'a> {
    file: &'a GgufFile,
    architecture: &'a str,
}

pub(super) fn config(file: &GgufFile) -> Result<LanguageConfig> {
    let architecture = file.architecture();
    let keys = Keys {
        file,
        architecture: &architecture,
    };
    if !ARCHITECTURES.contains(&architecture.as_str()) {
        let found = file.header.metadata.get("general.architecture");
        let must = format!("it must be one of {}", ARCHITECTURES.join(", "));
        return Err(keys.refused("general.architecture", found, &must));
    }
    if let Some(Value::Whole(parts)) = file.header.metadata.get("split.count")
        && *parts > 1
    {
        let must = "put the parts together first: `llama-gguf-split --merge`";
        return Err(keys.refused("split.count", Some(&Value::Whole(*parts)), must));
    }
    for (key, neutral) in NOT_BUILT {
        if let Some(found) = keys.number(key)?
            && found != neutral
        {
            let must = format!("only {neutral} is built");
            return Err(keys.refused(&keys.whole(key), keys.get(key), &must));
        }
    }
    let config = match architecture.as_str() {
        "gpt2" => gpt2(keys),
        "gptneox" => gpt_neox(keys),
        "mpt" => mpt(keys),
        _ => llama(keys),
    }?;
    config.validate()?;
    Ok(config)
}

/// How many tokens the tokenizer in the file has.
pub(super) fn token_count(file: &GgufFile) -> Option<u64> {
    match file.header.metadata.get("tokenizer.ggml.tokens") {
        Some(Value::List(count)) => Some(*count),
        _ => None,
    }
}

/// What all architectures tell alike.
fn sizes(keys: Keys) -> Result<LanguageConfig> {
    let width = keys.size("embedding_length")?;
    let layers = keys.size("block_count")?;
    let tensors = keys.file.header.tensors.len();
    if layers > tensors {
        let must = format!("the file has no more than {tensors} tensors");
        let key = "block_count";
        return Err(keys.refused(&keys.whole(key), keys.get(key), &must));
    }
    let table = "token_embd.weight";
    let vocabulary = match keys.file.header.tensors.get(table) {
        Some(place) => match *place.shape.as_slice() {
            [rows, channels] if channels == width => rows,
            _ => {
                return Err(Error::Content {
                    path: keys.file.path.clone(),
                    cause: format!(
                        "tensor `{table}` has shape {:?}, expected [tokens, {width}]",
                        place.shape
                    ),
                });
            }
        },
        None => {
            return Err(Error::MissingTensor {
                file: keys.file.path.display().to_string(),
                name: table.to_owned(),
            });
        }
    };
    Ok(LanguageConfig {
        vocabulary,
        width,
        layers,
        heads: keys.size("attention.head_count")?,
        feed_forward_width: Some(keys.size("feed_forward_length")?),
        max_positions: keys.size("context_length")?,
        rotary_base: keys.number("rope.freq_base")?.unwrap_or(ROTARY_BASE),
        rotary_stretch: stretch(keys)?,
        tied_output: !keys.has_tensor("output.weight"),
        ..LanguageConfig::default()
    })
}

fn llama(keys: Keys) -> Result<LanguageConfig> {
    let sizes = sizes(keys)?;
    let heads = sizes.heads;
    let evenly = sizes.width / heads.max(1);
    let channels = keys.size_or("attention.key_length", evenly)?;
    for key in ["attention.value_length", "rope.dimension_count"] {
        let found = keys.size_or(key, channels)?;
        if found != channels {
            let must = format!("only as many as queries have is built, {channels}");
            return Err(keys.refused(&keys.whole(key), keys.get(key), &must));
        }
    }
    let window = keys.size_or("attention.sliding_window", sizes.max_positions)?;
    let has_bias = |part: &str| keys.has_tensor(&format!("blk.0.{part}.bias"));
    Ok(LanguageConfig {
        family: Family::Llama,
        key_value_heads: Some(keys.size_or("attention.head_count_kv", heads)?),
        head_dim: (channels != evenly).then_some(channels),
        // Up to the window's size, attention within a window is attention.
        max_positions: sizes.max_positions.min(window),
        activation: Activation::Silu,
        norm_epsilon: Some(keys.required_number("attention.layer_norm_rms_epsilon")?),
        biases: match (has_bias("attn_q"), has_bias("attn_output")) {
            (true, true) => Biases::Attention,
            (true, false) => Biases::QueryKeyValue,
            (false, _) => Biases::None,
        },
        ..sizes
    })
}

fn gpt2(keys: Keys) -> Result<LanguageConfig> {
    Ok(LanguageConfig {
        family: Family::Gpt2,
        tied_output: true,
        activation: Activation::GeluTanh,
        norm_epsilon: Some(keys.required_number("attention.layer_norm_epsilon")?),
        biases: Biases::All,
        ..sizes(keys)?
    })
}

fn gpt_neox(keys: Keys) -> Result<LanguageConfig> {
    let turning = keys.size("rope.dimension_count")?;
    let biases = if keys.has_tensor("blk.0.attn_qkv.bias") {
        Biases::All
    } else {
        Biases::FeedForward
    };
    Ok(LanguageConfig {
        family: Family::GptNeox,
        rotary_channels: Some(turning),
        // Files do not say; so do Pythia and RedPajama-INCITE.
        activation: Activation::Gelu,
        norm_epsilon: Some(keys.required_number("attention.layer_norm_epsilon")?),
        parallel_residual: keys.flag("use_parallel_residual")?.unwrap_or(true),
        biases,
        ..sizes(keys)?
    })
}

fn mpt(keys: Keys) -> Result<LanguageConfig> {
    let sizes = sizes(keys)?;
    let key = "attention.head_count_kv";
    if keys.size_or(key, sizes.heads)? != sizes.heads {
        let must = "only as many as attention.head_count is built";
        return Err(keys.refused(&keys.whole(key), keys.get(key), must));
    }
    Ok(LanguageConfig {
        family: Family::Mpt,
        // A value of 0, for models without ALiBi, is refused as a setting.
        alibi_bias_max: Some(keys.required_number("attention.max_alibi_bias")?),
        tied_output: true,
        norm_epsilon: Some(keys.required_number("attention.layer_norm_epsilon")?),
        query_key_norm: keys.has_tensor("blk.0.attn_q_norm.weight"),
        query_key_value_clip: keys
            .number("attention.clamp_kqv")?
            .filter(|most| *most != 0.0),
        ..sizes
    })
}

/// The factor of linearly stretched positions; other kinds of stretching are refused.
fn stretch(keys: Keys) -> Result<Option<f64>> {
    let key = "rope.scaling.type";
    match keys.get(key) {
        None => {
            // As files before 2023-10 have it.
            let factor = keys.number("rope.scale_linear")?;
            Ok(factor.filter(|factor| *factor != 1.0))
        }
        Some(Value::Text(kind)) if kind == "none" => Ok(None),
        Some(Value::Text(kind)) if kind == "linear" => {
            Ok(Some(keys.required_number("rope.scaling.factor")?))
        }
        found => Err(keys.refused(&keys.whole(key), found, "only none and linear are built")),
    }
}

impl<'a> Keys<'a> {
    fn whole(self, key: &str) -> String {
        format!("{}.{key}", self.architecture)
    }

    fn get(self, key: &str) -> Option<&'a Value> {
        self.file.header.metadata.get(&self.whole(key))
    }

    fn has_tensor(self, name: &str) -> bool {
        self.file.header.tensors.contains_key(name)
    }

    fn size(self, key: &str) -> Result<usize> {
        match self.get(key) {
            Some(Value::Whole(size @ 1..=LARGEST_SIZE)) => Ok(*size as usize),
            found => {
                let must = format!("it must be a whole number from 1 to {LARGEST_SIZE}");
                Err(self.refused(&self.whole(key), found, &must))
            }
        }
    }

    /// A size that may be missing.
    fn size_or(self, key: &str, default: usize) -> Result<usize> {
        match self.get(key) {
            None => Ok(default),
            Some(_) => self.size(key),
        }
    }

    fn number(self, key: &str) -> Result<Option<f64>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Number(number)) => Ok(Some(*number)),
            Some(Value::Whole(number)) => Ok(Some(*number as f64)),
            found => Err(self.refused(&self.whole(key), found, "it must be a number")),
        }
    }

    fn required_number(self, key: &str) -> Result<f64> {
        let found = self.number(key)?;
        found.ok_or_else(|| self.refused(&self.whole(key), None, "it must be a number"))
    }

    fn flag(self, key: &str) -> Result<Option<bool>> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Flag(flag)) => Ok(Some(*flag)),
            found => Err(self.refused(&self.whole(key), found, "it must be true or false")),
        }
    }

    fn refused(self, key: &str, found: Option<&Value>, must: &str) -> Error {
        let found = match found {
            None => "missing".to_owned(),
            Some(Value::Text(text)) => text.clone(),
            Some(Value::LongText) => "a long text".to_owned(),
            Some(Value::Whole(number)) => number.to_string(),
            Some(Value::Number(number)) => number.to_string(),
            Some(Value::Flag(flag)) => flag.to_string(),
            Some(Value::List(count)) => format!("a list of {count}"),
        };
        Error::Setting {
            setting: format!("{}: {key}", self.file.path.display()),
            found,
            must: must.to_owned(),
        }
    }
}
