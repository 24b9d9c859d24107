//! What the weights of each family are called, below `lang_encoder.`.

use super::config::Family;

/// Names of a family's weights; those of a layer's parts stand below
/// `{layers}.{index}.decoder_layer.`.
pub(super) struct Names {
    pub(super) layers: &'static str,
    pub(super) embeddings: &'static str,
    /// A table of learnt positions, and the row of the first one.
    pub(super) positions: Option<(&'static str, usize)>,
    /// Maps from a narrower embedding and back to it.
    pub(super) embedding_maps: [&'static str; 2],
    pub(super) final_norm: &'static str,
    pub(super) output: &'static str,
    pub(super) attention_norm: &'static str,
    /// None where the feed-forward part reads what attention reads.
    pub(super) feed_forward_norm: Option<&'static str>,
    pub(super) query_key_value: QueryKeyValueNames,
    /// Norms of queries and of keys, in the models that have them.
    pub(super) query_key_norms: [&'static str; 2],
    pub(super) attention_output: &'static str,
    /// The map whose result passes the non-linearity and multiplies that of `rise`.
    pub(super) gate: Option<&'static str>,
    pub(super) rise: &'static str,
    pub(super) fall: &'static str,
}

/// How the maps to queries, keys and values are stored.
pub(super) enum QueryKeyValueNames {
    /// One weight each.
    Separate([&'static str; 3]),
    /// One weight, all queries above all keys above all values.
    Stacked(&'static str),
    /// One weight, for each head its queries above its keys above its values.
    StackedInHeads(&'static str),
}

impl Names {
    pub(super) fn of(family: Family) -> Self {
        match family {
            Family::Chinchilla => CHINCHILLA,
            Family::Llama => LLAMA,
            Family::GptNeox => GPT_NEOX,
            Family::Mpt => MPT,
            Family::MosaicGpt => MOSAIC_GPT,
            Family::Opt => OPT,
            Family::Gpt2 => GPT2,
            Family::GptJ => GPT_J,
        }
    }
}

const CHINCHILLA: Names = Names {
    output: "model.lm_head",
    gate: None,
    ..LLAMA
};

const LLAMA: Names = Names {
    layers: "model.layers",
    embeddings: "model.embed_tokens",
    positions: None,
    embedding_maps: ["", ""],
    final_norm: "model.norm",
    output: "lm_head",
    attention_norm: "input_layernorm",
    feed_forward_norm: Some("post_attention_layernorm"),
    query_key_value: QueryKeyValueNames::Separate([
        "self_attn.q_proj",
        "self_attn.k_proj",
        "self_attn.v_proj",
    ]),
    query_key_norms: ["self_attn.q_norm", "self_attn.k_norm"],
    attention_output: "self_attn.o_proj",
    gate: Some("mlp.gate_proj"),
    rise: "mlp.up_proj",
    fall: "mlp.down_proj",
};

const GPT_NEOX: Names = Names {
    layers: "gpt_neox.layers",
    embeddings: "gpt_neox.embed_in",
    final_norm: "gpt_neox.final_layer_norm",
    output: "embed_out",
    query_key_value: QueryKeyValueNames::StackedInHeads("attention.query_key_value"),
    attention_output: "attention.dense",
    gate: None,
    rise: "mlp.dense_h_to_4h",
    fall: "mlp.dense_4h_to_h",
    ..LLAMA
};

const MPT: Names = Names {
    layers: "transformer.blocks",
    embeddings: "transformer.wte",
    final_norm: "transformer.norm_f",
    attention_norm: "norm_1",
    feed_forward_norm: Some("norm_2"),
    query_key_value: QueryKeyValueNames::Stacked("attn.Wqkv"),
    query_key_norms: ["attn.q_ln", "attn.k_ln"],
    attention_output: "attn.out_proj",
    gate: None,
    rise: "ffn.up_proj",
    fall: "ffn.down_proj",
    ..LLAMA
};

const MOSAIC_GPT: Names = Names {
    final_norm: "transformer.ln_f",
    attention_norm: "ln_1",
    feed_forward_norm: Some("ln_2"),
    rise: "mlp.mlp_up",
    fall: "mlp.mlp_down",
    ..MPT
};

const OPT: Names = Names {
    layers: "model.decoder.layers",
    embeddings: "model.decoder.embed_tokens",
    // Two rows stand before the first position (fairseq's padding index).
    positions: Some(("model.decoder.embed_positions", 2)),
    embedding_maps: ["model.decoder.project_in", "model.decoder.project_out"],
    final_norm: "model.decoder.final_layer_norm",
    attention_norm: "self_attn_layer_norm",
    feed_forward_norm: Some("final_layer_norm"),
    attention_output: "self_attn.out_proj",
    gate: None,
    rise: "fc1",
    fall: "fc2",
    ..LLAMA
};

const GPT2: Names = Names {
    layers: "transformer.h",
    embeddings: "transformer.wte",
    positions: Some(("transformer.wpe", 0)),
    final_norm: "transformer.ln_f",
    attention_norm: "ln_1",
    feed_forward_norm: Some("ln_2"),
    query_key_value: QueryKeyValueNames::Stacked("attn.c_attn"),
    attention_output: "attn.c_proj",
    gate: None,
    rise: "mlp.c_fc",
    fall: "mlp.c_proj",
    ..LLAMA
};

const GPT_J: Names = Names {
    layers: "transformer.h",
    embeddings: "transformer.wte",
    final_norm: "transformer.ln_f",
    attention_norm: "ln_1",
    feed_forward_norm: None,
    query_key_value: QueryKeyValueNames::Separate(["attn.q_proj", "attn.k_proj", "attn.v_proj"]),
    attention_output: "attn.out_proj",
    gate: None,
    rise: "mlp.fc_in",
    fall: "mlp.fc_out",
    ..LLAMA
};
