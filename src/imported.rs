//! Published files to a model's directory (see [`crate::trained`]).

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use candle_core::Tensor;
use m3w_model::{
    Assembled, Config, GgufLanguage, ImportSummary, LanguageConfig, Preprocess, Published,
    SpecialTokens, VisionConfig, assemble, assemble_idefics, read_folder, read_torch, read_weights,
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
    /// The OpenFlamingo checkpoint (`.pt`, or its tensors as safetensors); or the folder of an Idefics, which
    /// has all parts, so that the next two are not given.
    pub checkpoint: PathBuf,
    /// The language model: a folder with `config.json`, weights and `tokenizer.json`, or a GGUF file,
    /// whose `tokenizer.json` stands beside it.
    pub language: Option<PathBuf>,
    /// The vision encoder's weights, under the names of open_clip or of `transformers`' CLIP and SigLIP: a
    /// file, or a folder, where a `config.json` tells its sizes.
    pub vision: Option<PathBuf>,
    /// The tokenizer, where it is not in the folder of the language model or of the Idefics, or beside the
    /// language model's file.
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
    if options.checkpoint.is_dir() {
        return import_folder(options);
    }
    let (Some(language_path), Some(vision_path)) = (&options.language, &options.vision) else {
        bail!(
            "{} holds what was trained: give the rest by --language and --vision",
            options.checkpoint.display()
        );
    };
    let language = LanguageParts::read(language_path)?;
    let own_tokens = language.file.as_ref().and_then(GgufLanguage::token_count);
    let published = Published {
        checkpoint: checkpoint(&options.checkpoint)?,
        language_config: language.config,
        language: language.tensors,
        language_file: language.file,
        vision_config: vision_config(vision_path)?,
        vision: read_weights(vision_path)?,
    };
    let assembled = assemble(published, |config| adjust(config, &options.assignments))?;
    if !assembled.summary.missing.is_empty() {
        return Ok(Imported::of(&assembled));
    }
    let beside = match assembled.language_file.is_some() {
        true => language_path.with_file_name("tokenizer.json"),
        false => language_path.join("tokenizer.json"),
    };
    let path = options.tokenizer.as_ref().unwrap_or(&beside);
    let tokenizer = tokenizer(path, own_tokens)?;
    let vision = &assembled.config.vision;
    // What tells SigLIP's encoders from CLIP's.
    let pixels = if vision.class_token {
        Preprocess::clip(vision.image_side_px)
    } else {
        Preprocess::siglip(vision.image_side_px)
    };
    write(&assembled, &tokenizer, &pixels, &options.out)
}

/// Imports an Idefics.
fn import_folder(options: &ImportOptions) -> Result<Imported> {
    let folder = &options.checkpoint;
    let path = folder.join("config.json");
    let name = path.display();
    let text = fs::read_to_string(&path).with_context(|| {
        format!("cannot read {name}: a folder is imported if it holds an Idefics")
    })?;
    let json: Value = serde_json::from_str(&text).with_context(|| format!("{name} is not JSON"))?;
    ensure!(
        json["model_type"] == "idefics",
        "{name} is of a model_type {}: of folders those of Idefics are imported whole; of OpenFlamingo give \
         the checkpoint's file",
        json["model_type"]
    );
    ensure!(
        options.language.is_none() && options.vision.is_none(),
        "{} has all parts of an Idefics: leave out --language and --vision",
        folder.display()
    );
    // Before weights are read, which takes long.
    Config::from_idefics(&json).with_context(|| format!("cannot use {name}"))?;
    let beside = folder.join("tokenizer.json");
    let path = options.tokenizer.as_ref().unwrap_or(&beside);
    let tokenizer = Tokenizer::from_file(path)?;
    ensure!(
        tokenizer.around_image_id().is_some(),
        "{} has no <fake_token_around_image>: give the tokenizer.json of an Idefics",
        path.display()
    );
    let assembled = assemble_idefics(read_folder(folder)?, &json, |config| {
        adjust(config, &options.assignments)
    })
    .with_context(|| format!("cannot use {}", folder.display()))?;
    if !assembled.summary.missing.is_empty() {
        return Ok(Imported::of(&assembled));
    }
    let pixels = Preprocess::idefics(assembled.config.vision.image_side_px);
    write(&assembled, &tokenizer, &pixels, &options.out)
}

/// Writes a whole model's directory.
fn write(
    assembled: &Assembled,
    tokenizer: &Tokenizer,
    pixels: &Preprocess,
    out: &Path,
) -> Result<Imported> {
    let ids = tokenizer.special_ids();
    let special = SpecialTokens {
        image: ids.image,
        end_of_chunk: ids.eoc,
        bos: ids.bos,
        eos: ids.eos,
        pad: ids.pad,
        around_image: tokenizer.around_image_id(),
    };
    let rows = assembled.config.language.vocabulary;
    let largest = [ids.image, ids.eoc, ids.bos, ids.eos, ids.pad]
        .into_iter()
        .chain(special.around_image)
        .max();
    ensure!(
        largest.is_none_or(|id| (id as usize) < rows),
        "the tokenizer's ids reach {}, the embedding table has {rows} rows: give the tokenizer the \
         checkpoint was trained with",
        largest.unwrap_or_default()
    );
    assembled.save(special, &out.join("checkpoint"))?;
    tokenizer.save(&out.join("tokenizer.json"))?;
    let text = toml::to_string(pixels).context("cannot write the picture settings")?;
    write_atomically(&out.join(PIXELS_FILE), text.as_bytes())?;
    Ok(Imported::of(assembled))
}

impl Imported {
    fn of(assembled: &Assembled) -> Self {
        Self {
            config: assembled.config.clone(),
            summary: assembled.summary.clone(),
        }
    }
}

/// The tensors of a checkpoint, by what its name says it is.
fn checkpoint(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let is_safetensors = path.extension() == Some("safetensors".as_ref());
    Ok(match is_safetensors {
        true => read_weights(path)?,
        false => read_torch(path)?,
    })
}

/// What there is of a language model.
struct LanguageParts {
    config: LanguageConfig,
    tensors: BTreeMap<String, Tensor>,
    file: Option<GgufLanguage>,
}

impl LanguageParts {
    /// Reads a folder, or opens a GGUF file.
    fn read(path: &Path) -> Result<Self> {
        if GgufLanguage::is_at(path)? {
            let file = GgufLanguage::open(path)?;
            return Ok(Self {
                config: file.config().clone(),
                tensors: BTreeMap::new(),
                file: Some(file),
            });
        }
        ensure!(
            path.is_dir(),
            "{} is neither a folder with config.json nor a GGUF file",
            path.display()
        );
        let sizes = path.join("config.json");
        let text = fs::read_to_string(&sizes)
            .with_context(|| format!("cannot read {}", sizes.display()))?;
        Ok(Self {
            config: text
                .parse()
                .with_context(|| format!("cannot use {}", sizes.display()))?,
            tensors: read_weights(path)?,
            file: None,
        })
    }
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
/// of its checkpoints whatever else is missing. `known` is how many tokens the language model's file
/// says it has.
fn tokenizer(path: &Path, known: Option<u64>) -> Result<Tokenizer> {
    let name = path.display().to_string();
    let bytes = fs::read(path).with_context(|| {
        format!(
            "cannot read the tokenizer {name}: give the language model's tokenizer.json with \
             --tokenizer, since one inside a GGUF file is not read"
        )
    })?;
    let mut file: Value =
        serde_json::from_slice(&bytes).with_context(|| format!("{name} is not JSON"))?;
    let own = own_tokens(&file).unwrap_or_default();
    ensure!(
        known.is_none_or(|known| own <= known),
        "{name} has {own} tokens, the language model's file is of {}: give the tokenizer.json of the \
         same model",
        known.unwrap_or_default()
    );
    add_tokens(&mut file).with_context(|| format!("{name} is no tokenizer"))?;
    Ok(Tokenizer::from_bytes(&serde_json::to_vec(&file)?, &name)?)
}

/// One more than the highest id of a tokenizer's vocabulary, added tokens apart.
fn own_tokens(file: &Value) -> Option<u64> {
    match &file["model"]["vocab"] {
        Value::Object(ids) => {
            let ids = ids.values().filter_map(Value::as_u64);
            ids.map(|id| id.saturating_add(1)).max()
        }
        Value::Array(pieces) if !pieces.is_empty() => Some(pieces.len() as u64),
        _ => None,
    }
}

fn add_tokens(file: &mut Value) -> Result<()> {
    let own = own_tokens(file).context("it has no vocabulary")?;
    let added = file["added_tokens"].as_array_mut();
    let added = added.context("it has no list of added tokens")?;
    let ids = added.iter().filter_map(|token| token["id"].as_u64());
    let mut next = ids.map(|id| id.saturating_add(1)).fold(own, u64::max);
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
