//! What tensors are called in files of Idefics.

use serde_json::Value;

use crate::Result;
use crate::config::Config;
use crate::config_json::Json;
use crate::import::vision::in_transformers;

/// A tensor of the files.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) shape: Vec<usize>,
}

/// Rows of the embedding and output tables, which are in two parts: those of the language model, and
/// those added to them.
#[derive(Clone, Copy)]
pub(super) struct Tables {
    own_rows: usize,
    has_more: bool,
}

impl Tables {
    pub(super) fn of(config: &Value) -> Result<Self> {
        let json = Json(config);
        Ok(Self {
            own_rows: json.size("vocab_size")?,
            has_more: json.size_or("additional_vocab_size", 0)? > 0,
        })
    }

    fn parts(self, [own, more]: [&str; 2], shape: &[usize]) -> Vec<Part> {
        let part = |name: &str, rows: usize| Part {
            name: name.to_owned(),
            shape: shape
                .iter()
                .take(1)
                .map(|_| rows)
                .chain(shape.iter().skip(1).copied())
                .collect(),
        };
        let rows = shape.first().copied().unwrap_or_default();
        if !self.has_more {
            return vec![part(own, rows)];
        }
        let more_rows = rows.saturating_sub(self.own_rows);
        vec![part(own, self.own_rows), part(more, more_rows)]
    }
}

/// The tensors of the files that one of ours is, one on the other.
pub(super) fn parts(name: &str, shape: &[usize], config: &Config, tables: Tables) -> Vec<Part> {
    let embeddings = [
        "model.embed_tokens.weight",
        "model.embed_tokens.additional_embedding.weight",
    ];
    match name {
        "lang_encoder.model.embed_tokens.weight" => return tables.parts(embeddings, shape),
        "lang_encoder.lm_head.weight" => {
            return tables.parts(["lm_head.weight", "lm_head.additional_fc.weight"], shape);
        }
        _ => {}
    }
    let (names, shape) = if name.starts_with("vision_encoder.") {
        let names = in_transformers(name).into_iter();
        (
            names.map(|name| format!("model.{name}")).collect(),
            shape.to_vec(),
        )
    } else if let Some(part) = name.strip_prefix("perceiver.") {
        (resampler(part), shape.to_vec())
    } else {
        let part = name.strip_prefix("lang_encoder.").unwrap_or(name);
        match block(part) {
            Some((layer, part)) => {
                let number = layer / config.cross_attention.every.max(1);
                let of_channels = part.ends_with("gate") && config.cross_attention.gate_per_channel;
                let shape = match shape {
                    [channels] if of_channels => vec![1, 1, *channels],
                    shape => shape.to_vec(),
                };
                (of_block(number, part), shape)
            }
            None => (vec![part.replace(".decoder_layer.", ".")], shape.to_vec()),
        }
    };
    let count = names.len().max(1);
    let mut shape = shape;
    if let Some(rows) = shape.first_mut() {
        *rows /= count;
    }
    let part = |name: String| Part {
        name,
        shape: shape.clone(),
    };
    names.into_iter().map(part).collect()
}

/// The layer of a gated block and what part of it is called here.
fn block(name: &str) -> Option<(usize, &str)> {
    let (layer, part) = name.strip_prefix("model.layers.")?.split_once('.')?;
    let part = part.strip_prefix("gated_cross_attn_layer.")?;
    Some((layer.parse().ok()?, part))
}

/// Parts of a gated block here and in the files.
const BLOCK_PARTS: [(&str, &[&str]); 11] = [
    ("attn_gate", &["alpha_cross_attn"]),
    ("ff_gate", &["alpha_dense"]),
    ("attn.norm.", &["input_layernorm."]),
    ("attn.to_q.", &["cross_attn.q_proj."]),
    ("attn.to_kv.", &["cross_attn.k_proj.", "cross_attn.v_proj."]),
    ("attn.to_out.", &["cross_attn.o_proj."]),
    ("attn.", &["cross_attn."]),
    ("ff.0.", &["post_attention_layernorm."]),
    ("ff.gate.", &["mlp.gate_proj."]),
    ("ff.1.", &["mlp.up_proj."]),
    ("ff.3.", &["mlp.down_proj."]),
];

fn of_block(number: usize, part: &str) -> Vec<String> {
    renamed(
        part,
        &BLOCK_PARTS,
        &format!("model.gated_cross_attn_layers.{number}."),
    )
}

/// Parts of the resampler's layers here and in the files.
const LAYER_PARTS: [(&str, &[&str]); 9] = [
    ("0.norm_media.", &["0.context_layer_norm."]),
    ("0.norm_latents.", &["0.latents_layer_norm."]),
    ("0.to_q.", &["0.q_proj."]),
    ("0.to_kv.", &["0.k_proj.", "0.v_proj."]),
    ("0.to_out.", &["0.output_proj."]),
    ("0.", &["0."]),
    ("1.0.", &["1.ln."]),
    ("1.1.", &["1.fc."]),
    ("1.3.", &["1.c_proj."]),
];

fn resampler(part: &str) -> Vec<String> {
    let layer = part
        .strip_prefix("layers.")
        .and_then(|rest| rest.split_once('.'));
    match layer {
        Some((number, part)) => {
            let prefix = format!("model.perceiver_resampler.blocks.{number}.");
            renamed(part, &LAYER_PARTS, &prefix)
        }
        None => {
            let parts: [(&str, &[&str]); 1] = [("norm.", &["layer_norm."])];
            renamed(part, &parts, "model.perceiver_resampler.")
        }
    }
}

/// The names behind `prefix` of a part that begins as the first of `parts` that fits.
fn renamed(part: &str, parts: &[(&str, &[&str])], prefix: &str) -> Vec<String> {
    let found = parts
        .iter()
        .find_map(|(ours, theirs)| Some((part.strip_prefix(ours)?, *theirs)));
    match found {
        Some((rest, theirs)) => theirs
            .iter()
            .map(|their| format!("{prefix}{their}{rest}"))
            .collect(),
        None => vec![format!("{prefix}{part}")],
    }
}
