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
