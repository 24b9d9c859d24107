//! The weights of a model's folder, in one file or in several.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use candle_core::Tensor;
use serde_json::Value;

use crate::tensor_file::read_tensors;
use crate::{Error, Result};

/// A tensor, and the file that has it.
pub struct StoredTensor {
    /// The tensor, in the type of the file.
    pub tensor: Tensor,
    /// The file.
    pub file: PathBuf,
}

/// Reads every tensor of a folder's safetensors files, or else of its `*.bin` files. Where an index
/// (`model.safetensors.index.json`) stands beside them, it says which.
///
/// # Errors
/// There is no such file, one that the index names is missing, or one is damaged.
pub fn read_folder(folder: &Path) -> Result<BTreeMap<String, StoredTensor>> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder).map_err(file_error(folder))?;
    for entry in entries {
        files.push(entry.map_err(file_error(folder))?.path());
    }
    files.sort();
    for ending in ["safetensors", "bin"] {
        let index = files.iter().find(|file| {
            let name = file.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.ends_with(&format!(".{ending}.index.json")))
        });
        let wanted = match index {
            Some(index) => files_of_index(index)?,
            None => {
                let wanted = files.iter().filter(|file| {
                    let extension = file.extension();
                    extension.is_some_and(|extension| extension == ending)
                });
                wanted.cloned().collect()
            }
        };
        let mut tensors = BTreeMap::new();
        for file in wanted {
            for (name, tensor) in read_tensors(&file)? {
                let file = file.clone();
                tensors.insert(name, StoredTensor { tensor, file });
            }
        }
        if !tensors.is_empty() {
            return Ok(tensors);
        }
    }
    Err(Error::Content {
        path: folder.to_owned(),
        cause: "no weights in it: give a folder with *.safetensors or *.bin files".to_owned(),
    })
}

/// The files an index names, all of which are there.
fn files_of_index(index: &Path) -> Result<Vec<PathBuf>> {
    let refuse = |cause: String| Error::Content {
        path: index.to_owned(),
        cause,
    };
    let text = fs::read_to_string(index).map_err(file_error(index))?;
    let read: Value =
        serde_json::from_str(&text).map_err(|cause| refuse(format!("not JSON: {cause}")))?;
    let map = read["weight_map"].as_object();
    let map = map.ok_or_else(|| refuse("it has no `weight_map`".to_owned()))?;
    let names: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
    let mut files = Vec::new();
    for name in names {
        // Files stand beside their index.
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(refuse(format!("`{name}` is no file beside it")));
        }
        let file = index.with_file_name(name);
        if !file.is_file() {
            let lost = map.values().filter(|value| *value == name).count();
            return Err(Error::Content {
                path: file,
                cause: format!(
                    "not there, though {} names it for {lost} tensors: fetch the model's missing \
                     files",
                    index.display()
                ),
            });
        }
        files.push(file);
    }
    Ok(files)
}

fn file_error(path: &Path) -> impl Fn(std::io::Error) -> Error {
    move |source| Error::File {
        path: path.to_owned(),
        source,
    }
}
