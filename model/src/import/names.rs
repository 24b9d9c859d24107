//! Names of weights in published files, and the names they have here.

use crate::language::{Decoder, Family};

/// The name here of a tensor of an OpenFlamingo checkpoint. The second version names gated blocks by
/// their layer of the language model, as we do; in the first, lists of gated blocks and of the
/// language model's own layers stand beside the language model.
#[must_use]
pub fn reference_name(name: &str, family: Family) -> String {
    let path = Decoder::layers_path(family);
    for (list, part) in [
        (
            "lang_encoder.gated_cross_attn_layers.",
            "gated_cross_attn_layer",
        ),
        ("lang_encoder.old_decoder_blocks.", "decoder_layer"),
    ] {
        if let Some((index, rest)) = name
            .strip_prefix(list)
            .and_then(|rest| rest.split_once('.'))
        {
            return format!("lang_encoder.{path}.{index}.{part}.{rest}");
        }
    }
    name.to_owned()
}

/// The name here of a tensor of a language model published by itself, as in a Hugging Face
/// repository: `lang_encoder.` stands before it, and `decoder_layer` before the parts of a layer.
/// Some files leave out the first words, which every tensor would share.
#[must_use]
pub fn language_name(name: &str, family: Family) -> String {
    let path = Decoder::layers_path(family);
    let stem = path.split('.').next().unwrap_or_default();
    // Output tables stand beside the stem.
    let has_stem = name.starts_with(&format!("{stem}."));
    let is_output = name.starts_with("lm_head.") || name.starts_with("embed_out.");
    let whole = if has_stem || is_output {
        name.to_owned()
    } else {
        format!("{stem}.{name}")
    };
    let part = whole
        .strip_prefix(path)
        .and_then(|rest| rest.strip_prefix('.'))
        .and_then(|rest| rest.split_once('.'));
    match part {
        Some((index, part)) => format!("lang_encoder.{path}.{index}.decoder_layer.{part}"),
        None => format!("lang_encoder.{whole}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_both_versions_become_those_of_the_second() {
        let name = "lang_encoder.transformer.blocks.1.gated_cross_attn_layer.ff.0.bias";
        assert_eq!(reference_name(name, Family::Mpt), name);
        let first = "lang_encoder.gated_cross_attn_layers.1.ff.0.bias";
        assert_eq!(reference_name(first, Family::Mpt), name);
        let own = "lang_encoder.old_decoder_blocks.2.input_layernorm.weight";
        assert_eq!(
            reference_name(own, Family::Llama),
            "lang_encoder.model.layers.2.decoder_layer.input_layernorm.weight"
        );
    }

    #[test]
    fn a_language_model_by_itself_is_named_as_inside() {
        for (name, family, expected) in [
            (
                "gpt_neox.embed_in.weight",
                Family::GptNeox,
                "gpt_neox.embed_in.weight",
            ),
            ("embed_out.weight", Family::GptNeox, "embed_out.weight"),
            (
                "h.0.ln_1.bias",
                Family::Gpt2,
                "transformer.h.0.decoder_layer.ln_1.bias",
            ),
            ("wte.weight", Family::Gpt2, "transformer.wte.weight"),
            (
                "decoder.layers.3.fc1.bias",
                Family::Opt,
                "model.decoder.layers.3.decoder_layer.fc1.bias",
            ),
        ] {
            assert_eq!(
                language_name(name, family),
                format!("lang_encoder.{expected}")
            );
        }
    }
}
