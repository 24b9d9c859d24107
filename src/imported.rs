//! Published files to a model's directory (see [`crate::trained`]).

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use m3w_model::{
    Config, ImportSummary, LanguageConfig, Preprocess, Published, SpecialTokens, VisionConfig,
    assemble, read_torch, read_weights,
};
use m3w_shards::{Tokenizer, write_atomically};
use serde_json::{Value, json};

use crate::config::assign;
use crate::trained::PIXELS_FILE;

/// The tokens OpenFlamingo adds to a language model's own, in this order.
const ADDED_TOKENS: [&str; 2] = ["<|endofchunk|>", "<image>"];

/// Where the parts of a published model are.
#[derive(Debug, Clone)]
pub struct ImportOptions {
    /// The OpenFlamingo checkpoint (`.pt`).
    pub checkpoint: PathBuf,
    /// Folder of the language model: `config.json`, weights, `tokenizer.json`.
    pub language: PathBuf,
    /// The vision encoder's weights, under the names of open_clip or of `transformers`' CLIP and SigLIP: a
    /// file, or a folder, where a `config.json` tells its sizes.
    pub vision: PathBuf,
    /// The tokenizer, where it is not in the language model's folder.
    pub tokenizer: Option<PathBuf>,
    /// Sizes that shapes do not tell, as `section.key=value`.
    pub assignments: Vec<String>,
    /// Directory of the result.
    pub out: PathBuf,
}

/// What an import found.
#[derive(Debug, Clone)]
pub struct Imported {
    /// The sizes found.
    pub config: Config,
    /// What came from where, and what was missing. Where something was, nothing is written.
    pub summary: ImportSummary,
}

/// Puts a model together and writes it.
///
/// # Errors
///
/// If a file is missing or damaged, or the parts do not fit together.
pub fn import(options: &ImportOptions) -> Result<Imported> {
    let path = options.language.join("config.json");
    let text =
        fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
    let language_config: LanguageConfig = text
        .parse()
        .with_context(|| format!("cannot use {}", path.display()))?;
    let published = Published {
        checkpoint: read_torch(&options.checkpoint)?,
        language_config,
        language: read_weights(&options.language)?,
        vision_config: vision_config(&options.vision)?,
        vision: read_weights(&options.vision)?,
    };
    let assembled = assemble(published, |config| adjust(config, &options.assignments))?;
    let imported = Imported {
        config: assembled.config.clone(),
        summary: assembled.summary.clone(),
    };
    if !imported.summary.missing.is_empty() {
        return Ok(imported);
    }
    let in_folder = options.language.join("tokenizer.json");
    let tokenizer = tokenizer(options.tokenizer.as_ref().unwrap_or(&in_folder))?;
    let ids = tokenizer.special_ids();
    let special = SpecialTokens {
        image: ids.image,
        end_of_chunk: ids.eoc,
        bos: ids.bos,
        eos: ids.eos,
        pad: ids.pad,
    };
    let rows = imported.config.language.vocabulary;
    let largest = [ids.image, ids.eoc, ids.bos, ids.eos, ids.pad]
        .into_iter()
        .max();
    ensure!(
        largest.is_none_or(|id| (id as usize) < rows),
        "the tokenizer's ids reach {}, the embedding table has {rows} rows: give the tokenizer the \
         checkpoint was trained with",
        largest.unwrap_or_default()
    );
    assembled.save(special, &options.out.join("checkpoint"))?;
    tokenizer.save(&options.out.join("tokenizer.json"))?;
    let vision = &imported.config.vision;
    // What tells SigLIP's encoders from CLIP's.
    let pixels = if vision.class_token {
        Preprocess::clip(vision.image_side_px)
    } else {
        Preprocess::siglip(vision.image_side_px)
    };
    let text = toml::to_string(&pixels).context("cannot write the picture settings")?;
    write_atomically(&options.out.join(PIXELS_FILE), text.as_bytes())?;
    Ok(imported)
}

/// What the `config.json` in the folder of the vision encoder says, if there is one of a kind we know:
/// open_clip's folders have none, or one of their own.
fn vision_config(path: &Path) -> Result<Option<VisionConfig>> {
    let path = path.join("config.json");
    let Ok(text) = fs::read_to_string(&path) else {
        return Ok(None);
    };
    let json: Value =
        serde_json::from_str(&text).with_context(|| format!("{} is not JSON", path.display()))?;
    if json["model_type"].is_null() {
        return Ok(None);
    }
    let config = VisionConfig::from_hugging_face(&json)
        .with_context(|| format!("cannot use {}", path.display()))?;
    Ok(Some(config))
}

fn adjust(config: Config, assignments: &[String]) -> Result<Config> {
    let mut table = toml::Table::try_from(&config).context("cannot change the sizes")?;
    for assignment in assignments {
        assign(&mut table, assignment)?;
    }
    table.try_into().context("in the settings given")
}

/// A language model's tokenizer with OpenFlamingo's tokens behind its own, so that they have the ids
/// of its checkpoints whatever else is missing.
fn tokenizer(path: &Path) -> Result<Tokenizer> {
    let name = path.display().to_string();
    let bytes = fs::read(path).with_context(|| format!("cannot read the tokenizer {name}"))?;
    let mut file: Value =
        serde_json::from_slice(&bytes).with_context(|| format!("{name} is not JSON"))?;
    add_tokens(&mut file).with_context(|| format!("{name} is no tokenizer"))?;
    Ok(Tokenizer::from_bytes(&serde_json::to_vec(&file)?, &name)?)
}

fn add_tokens(file: &mut Value) -> Result<()> {
    let vocabulary = &file["model"]["vocab"];
    let own = match vocabulary {
        Value::Object(ids) => ids.values().filter_map(Value::as_u64).max(),
        Value::Array(pieces) => (pieces.len() as u64).checked_sub(1),
        _ => None,
    };
    let own = own.context("it has no vocabulary")?;
    let added = file["added_tokens"].as_array_mut();
    let added = added.context("it has no list of added tokens")?;
    let ids = added.iter().filter_map(|token| token["id"].as_u64());
    let mut next = ids.max().map_or(own, |most| most.max(own)) + 1;
    for content in ADDED_TOKENS {
        if added.iter().any(|token| token["content"] == content) {
            continue;
        }
        added.push(json!({
            "id": next, "content": content, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        }));
        next += 1;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_tokens_follow_the_last_id_in_openflamingos_order() {
        let mut file = json!({
            "added_tokens": [{ "id": 9, "content": "<|padding|>" }],
            "model": { "vocab": { "a": 0, "b": 7 } },
        });
        add_tokens(&mut file).unwrap();
        assert_eq!(file["added_tokens"][1]["content"], "<|endofchunk|>");
        assert_eq!(file["added_tokens"][1]["id"], 10);
        assert_eq!(file["added_tokens"][2]["id"], 11);
        let before = file.clone();
        add_tokens(&mut file).unwrap();
        assert_eq!(file, before);
    }
}
