//! Names of weights in GGUF files, and the names they have here.

use std::collections::BTreeMap;

use super::layout::Order;
use super::{PREFIX, Weight};
use crate::gguf::GgufFile;
use crate::language::config::{Family, LanguageConfig};
use crate::language::names::{Names, QueryKeyValueNames};
use crate::{Error, Result};

/// How names of a layer's tensors begin in files; its number follows.
const LAYERS: &str = "blk.";

/// The output table of a file.
const OUTPUT: &str = "output.weight";

/// All tensors of a file by their names here.
///
/// # Errors
/// One has no place in the family.
pub(super) fn weights(
    file: &GgufFile,
    config: &LanguageConfig,
) -> Result<BTreeMap<String, Weight>> {
    let mut weights = BTreeMap::new();
    for (name, place) in &file.header.tensors {
        if is_left_out(name, config) {
            continue;
        }
        let Some(here) = here(name, config.family) else {
            return Err(Error::Content {
                path: file.path.clone(),
                cause: without_place(name, config.family),
            });
        };
        let weight = Weight {
            name: name.clone(),
            place: place.clone(),
            order: order(name, &file.architecture(), config),
        };
        weights.insert(here, weight);
    }
    Ok(weights)
}

/// What files may have beside the weights that count.
fn is_left_out(name: &str, config: &LanguageConfig) -> bool {
    // Early converters wrote the table twice where the model has one.
    let is_copy = config.tied_output && name == OUTPUT;
    // What positions turn by, which the configuration says.
    is_copy || name.ends_with(".attn_rot_embd")
}

pub(super) fn without_place(name: &str, family: Family) -> String {
    let why = match name {
        "rope_freqs.weight" => "stretched positions other than linear are not built",
        _ => "it belongs to a model that is not built",
    };
    format!("tensor `{name}` has no place in a language model of the family {family:?}: {why}")
}

/// The name here of a tensor of a file.
fn here(name: &str, family: Family) -> Option<String> {
    let names = Names::of(family);
    let (stem, kind) = name.rsplit_once('.')?;
    if let Some((layer, part)) = stem
        .strip_prefix(LAYERS)
        .and_then(|rest| rest.split_once('.'))
    {
        layer.parse::<u32>().ok()?;
        let (_, part) = parts(&names)
            .into_iter()
            .find(|(known, _)| *known == part)?;
        let path = names.layers;
        return Some(format!(
            "{PREFIX}{path}.{layer}.decoder_layer.{part}.{kind}"
        ));
    }
    let (_, here) = tables(&names)
        .into_iter()
        .find(|(known, _)| *known == stem)?;
    Some(format!("{PREFIX}{here}.{kind}"))
}

/// The name in files of a weight here; for messages.
pub(super) fn in_file(name: &str, family: Family) -> String {
    let names = Names::of(family);
    let own = name.strip_prefix(PREFIX).unwrap_or(name);
    let (stem, kind) = own.rsplit_once('.').unwrap_or((own, ""));
    let layer = stem
        .strip_prefix(names.layers)
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| rest.split_once(".decoder_layer."));
    let found = match layer {
        Some((layer, part)) => parts(&names)
            .into_iter()
            .find(|(_, here)| *here == part)
            .map(|(known, _)| format!("{LAYERS}{layer}.{known}")),
        None => tables(&names)
            .into_iter()
            .find(|(_, here)| *here == stem)
            .map(|(known, _)| known.to_owned()),
    };
    found.map_or(own.to_owned(), |found| format!("{found}.{kind}"))
}

/// Names in files and here of what stands beside the layers.
fn tables(names: &Names) -> Vec<(&'static str, &'static str)> {
    let mut tables = vec![
        ("token_embd", names.embeddings),
        ("output_norm", names.final_norm),
        ("output", names.output),
    ];
    tables.extend(names.positions.map(|(table, _)| ("position_embd", table)));
    tables
}

/// Names in files and here of a layer's parts.
fn parts(names: &Names) -> Vec<(&'static str, &'static str)> {
    let [query_norm, key_norm] = names.query_key_norms;
    let mut parts = vec![
        ("attn_norm", names.attention_norm),
        ("attn_q_norm", query_norm),
        ("attn_k_norm", key_norm),
        ("attn_output", names.attention_output),
        ("ffn_up", names.rise),
        ("ffn_down", names.fall),
    ];
    parts.extend(names.feed_forward_norm.map(|norm| ("ffn_norm", norm)));
    parts.extend(names.gate.map(|gate| ("ffn_gate", gate)));
    match names.query_key_value {
        QueryKeyValueNames::Separate([queries, keys, values]) => {
            parts.extend([("attn_q", queries), ("attn_k", keys), ("attn_v", values)]);
        }
        QueryKeyValueNames::Stacked(all) | QueryKeyValueNames::StackedInHeads(all) => {
            parts.push(("attn_qkv", all));
        }
    }
    parts
}

/// The order of a tensor's rows. Converters of `llama` reorder queries and keys, those of `qwen2` do
/// not.
fn order(name: &str, architecture: &str, config: &LanguageConfig) -> Order {
    let part = name
        .strip_prefix(LAYERS)
        .and_then(|rest| rest.split_once('.'));
    let Some((part, kind)) = part.and_then(|(_, rest)| rest.split_once('.')) else {
        return Order::Same;
    };
    match (architecture, part, kind) {
        ("llama", "attn_q", _) => Order::Paired {
            heads: config.heads,
        },
        ("llama", "attn_k", _) => Order::Paired {
            heads: config.key_value_head_count(),
        },
        ("gptneox", "attn_qkv", _) => Order::Apart {
            heads: config.heads,
        },
        ("gpt2", "attn_qkv" | "attn_output" | "ffn_up" | "ffn_down", "weight") => Order::Turned,
        _ => Order::Same,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_go_there_and_back() {
        for (family, name, expected) in [
            (
                Family::Llama,
                "token_embd.weight",
                "model.embed_tokens.weight",
            ),
            (
                Family::Llama,
                "blk.11.ffn_gate.weight",
                "model.layers.11.decoder_layer.mlp.gate_proj.weight",
            ),
            (
                Family::Gpt2,
                "position_embd.weight",
                "transformer.wpe.weight",
            ),
            (
                Family::GptNeox,
                "blk.0.attn_qkv.bias",
                "gpt_neox.layers.0.decoder_layer.attention.query_key_value.bias",
            ),
            (Family::GptNeox, "output.weight", "embed_out.weight"),
            (
                Family::Mpt,
                "blk.3.attn_q_norm.weight",
                "transformer.blocks.3.decoder_layer.attn.q_ln.weight",
            ),
        ] {
            let found = here(name, family).unwrap();
            assert_eq!(found, format!("{PREFIX}{expected}"));
            assert_eq!(in_file(&found, family), name);
        }
        assert_eq!(here("blk.0.ffn_gate.weight", Family::Gpt2), None);
        assert_eq!(here("blk.x.attn_norm.weight", Family::Gpt2), None);
    }
}
