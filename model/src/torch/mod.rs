//! Checkpoints written by PyTorch (`torch.save`), read without running anything.
//!
//! Such a file is a zip archive: `data.pkl` is a pickle that says how tensors lie in the entries
//! `data/0`, `data/1`, … The pickle is read by an interpreter that knows only what tensors need
//! ([`pickle`]). Sizes are checked against the archive before anything is allocated.

mod pickle;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use zip::read::{ArchiveOffset, Config};
use zip::{CompressionMethod, ZipArchive};

use crate::{Error, Result};
use pickle::{Id, Number, Outcome, Storage, TensorPlan, Value, Values};

/// A larger pickle says more than the names and shapes of a model's tensors.
const MAX_PICKLE_BYTES: u64 = 256 << 20;

/// The first bytes of a zip archive.
pub(crate) const ZIP_START: [u8; 4] = *b"PK\x03\x04";

/// The first byte of a pickle outside an archive, as PyTorch wrote before 1.6.
pub(crate) const PICKLE_START: u8 = 0x80;

/// Entries of a training checkpoint that hold the model's tensors.
const STATE_ENTRIES: [&str; 4] = ["model_state_dict", "state_dict", "model", "module"];

/// Parts that wrappers for training put into names.
const WRAPPERS: [&str; 4] = [
    "module.",
    "_orig_mod.",
    "_fsdp_wrapped_module.",
    "_checkpoint_wrapped_module.",
];

/// Reads the tensors of a model from a PyTorch file, their names without what wrappers for training
/// put into them (`module.` and the like).
///
/// The file holds a dictionary of tensors, or one of several parts with such a dictionary under
/// `model_state_dict`, `state_dict`, `model` or `module`; other parts are not read. Tensors that
/// share numbers share memory; held is at most twice the size of the file.
///
/// # Errors
/// [`Error::Content`]: the file is damaged, or its pickle asks for more than tensors. Nothing of it
/// is ever run.
pub fn read_torch(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    let file = File::open(path).map_err(|source| Error::File {
        path: path.to_owned(),
        source,
    })?;
    let content = |cause: String| Error::Content {
        path: path.to_owned(),
        cause: format!("not a readable PyTorch checkpoint: {cause}"),
    };
    let mut start = [0; 4];
    let is_zip = (&file).read_exact(&mut start).is_ok() && start == ZIP_START;
    if !is_zip {
        let bytes = read_head(path).map_err(content)?;
        return Err(content(match pickle::read(&bytes) {
            Err(cause) => cause,
            Ok(_) => "it has the form of PyTorch before 1.6: save it again".to_owned(),
        }));
    }
    Archive::open(file)
        .and_then(Archive::tensors)
        .map_err(content)
}

/// The beginning of a file that is no archive.
fn read_head(path: &Path) -> Outcome<Vec<u8>> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut bytes = Vec::new();
    let mut head = file.take(MAX_PICKLE_BYTES);
    head.read_to_end(&mut bytes)
        .map_err(|error| error.to_string())?;
    Ok(bytes)
}

struct Archive {
    zip: ZipArchive<BufReader<File>>,
    file_bytes: u64,
    /// What stands before `data.pkl` in the names of entries.
    folder: String,
    storages: HashMap<String, Tensor>,
    /// Bytes of tensors that had to be copied out of their storage.
    copied: u64,
}

impl Archive {
    fn open(file: File) -> Outcome<Self> {
        let file_bytes = file.metadata().map_err(|error| error.to_string())?.len();
        // PyTorch ends every archive with zip64 records. A reader that looks for the directory by
        // its size takes their length, 76 bytes, for that of the first entry where both agree.
        let config = Config {
            archive_offset: ArchiveOffset::Known(0),
        };
        let zip = ZipArchive::with_config(config, BufReader::new(file));
        let zip = zip.map_err(|error| error.to_string())?;
        let folder = {
            let mut names = zip.file_names().flatten();
            names.find_map(|name| name.strip_suffix("data.pkl").map(str::to_owned))
        };
        let folder = folder.ok_or("it holds no data.pkl")?;
        Ok(Self {
            zip,
            file_bytes,
            folder,
            storages: HashMap::new(),
            copied: 0,
        })
    }

    fn tensors(mut self) -> Outcome<BTreeMap<String, Tensor>> {
        let order = format!("{}byteorder", self.folder);
        if self.zip.index_for_name(&order).is_some() && self.entry(&order, 64)? != b"little" {
            return Err("its numbers are big-endian".to_owned());
        }
        let pickle = self.entry(&format!("{}data.pkl", self.folder), MAX_PICKLE_BYTES)?;
        let (values, root) = pickle::read(&pickle)?;
        let mut tensors = BTreeMap::new();
        for (name, plan) in state(&values, root)? {
            let mut plain = name.clone();
            for wrapper in WRAPPERS {
                plain = plain.replace(&format!(".{wrapper}"), ".");
                plain = plain.strip_prefix(wrapper).unwrap_or(&plain).to_owned();
            }
            let tensor = self
                .tensor(plan)
                .map_err(|cause| format!("tensor `{name}`: {cause}"))?;
            if tensors.insert(plain, tensor).is_some() {
                return Err(format!("two tensors are called `{name}`"));
            }
        }
        Ok(tensors)
    }

    /// The bytes of an entry that may have `most`.
    fn entry(&mut self, name: &str, most: u64) -> Outcome<Vec<u8>> {
        let found = self.zip.by_name(name);
        let mut entry = found.map_err(|error| format!("entry `{name}`: {error}"))?;
        let size = entry.size();
        if entry.compression() != CompressionMethod::Stored || entry.encrypted() {
            return Err(format!(
                "entry `{name}` is compressed: save it with torch.save"
            ));
        }
        if size > most || size > self.file_bytes {
            return Err(format!(
                "entry `{name}` claims {size} bytes, {} are possible",
                most.min(self.file_bytes)
            ));
        }
        let mut bytes = Vec::with_capacity(size as usize);
        // The claim is checked while reading: never more than it, and as much.
        let read = entry.by_ref().take(size).read_to_end(&mut bytes);
        match read {
            Ok(count) if count as u64 == size => Ok(bytes),
            Ok(count) => Err(format!(
                "entry `{name}` claims {size} bytes and has {count}"
            )),
            Err(error) => Err(format!("entry `{name}`: {error}")),
        }
    }

    fn tensor(&mut self, plan: &TensorPlan) -> Outcome<Tensor> {
        let TensorPlan {
            storage,
            offset,
            shape,
            strides,
        } = plan;
        let count = shape
            .iter()
            .try_fold(1_usize, |count, size| count.checked_mul(*size));
        let count = count.ok_or("its shape overflows")?;
        let last = shape
            .iter()
            .zip(strides)
            .try_fold(*offset, |last, (size, stride)| {
                last.checked_add(size.saturating_sub(1).checked_mul(*stride)?)
            });
        let is_inside = last.is_some_and(|last| count == 0 || last < storage.count);
        if shape.len() != strides.len() || !is_inside || count > storage.count {
            return Err(format!(
                "shape {shape:?} with strides {strides:?} from {offset} does not fit into {} \
                 numbers",
                storage.count
            ));
        }
        let all = self.storage(storage)?;
        let mut stride = 1_usize;
        let is_contiguous = shape.iter().zip(strides).rev().all(|(size, found)| {
            let expected = stride;
            // Beside a size of 0 the others may be anything.
            stride = expected.wrapping_mul(*size);
            *size == 1 || *found == expected
        });
        let read = if is_contiguous || count == 0 {
            all.narrow(0, (*offset).min(storage.count), count)
        } else {
            self.copied += count as u64 * 8;
            if self.copied > self.file_bytes.saturating_mul(8) {
                return Err("its tensors share numbers more often than there are any".to_owned());
            }
            let indices = gathered(*offset, shape, strides);
            Tensor::from_vec(indices, count, &Device::Cpu)
                .and_then(|indices| all.index_select(&indices, 0))
        };
        read.and_then(|tensor| tensor.reshape(shape.as_slice()))
            .map_err(|error| error.to_string())
    }

    /// All numbers of a storage.
    fn storage(&mut self, storage: &Storage) -> Outcome<Tensor> {
        if let Some(tensor) = self.storages.get(&storage.key) {
            if tensor.elem_count() != storage.count {
                return Err(format!("storage {} has two sizes", storage.key));
            }
            return Ok(tensor.clone());
        }
        let (dtype, bytes_each) = match storage.number {
            Number::F64 => (DType::F64, 8),
            Number::F32 => (DType::F32, 4),
            Number::F16 => (DType::F16, 2),
            Number::Bf16 => (DType::BF16, 2),
            Number::I64 => (DType::I64, 8),
            Number::U8 | Number::Bool => (DType::U8, 1),
            other => return Err(format!("it holds {other:?}, which no weight is")),
        };
        let name = format!("{}data/{}", self.folder, storage.key);
        let bytes = self.entry(&name, u64::MAX)?;
        if storage.count.checked_mul(bytes_each) != Some(bytes.len()) {
            return Err(format!(
                "entry `{name}` has {} bytes for {} numbers of {bytes_each}",
                bytes.len(),
                storage.count
            ));
        }
        let tensor = Tensor::from_raw_buffer(&bytes, dtype, &[storage.count], &Device::Cpu)
            .map_err(|error| error.to_string())?;
        self.storages.insert(storage.key.clone(), tensor.clone());
        Ok(tensor)
    }
}

/// Places in a storage of a tensor that does not lie in one piece, in row-major order.
fn gathered(offset: usize, shape: &[usize], strides: &[usize]) -> Vec<i64> {
    let mut places = vec![offset as i64];
    for (size, stride) in shape.iter().zip(strides) {
        places = places
            .iter()
            .flat_map(|place| (0..*size).map(move |at| place + (at * stride) as i64))
            .collect();
    }
    places
}

/// The model's tensors by name.
fn state(values: &Values, root: Id) -> Outcome<Vec<(String, &TensorPlan)>> {
    let entries = dictionary(values, root).ok_or("it holds no dictionary of tensors")?;
    let tensors: Vec<(String, &TensorPlan)> = entries
        .iter()
        .filter_map(|(name, id)| match values.get(*id) {
            Value::Tensor(plan) => Some(((*name).to_owned(), plan)),
            _ => None,
        })
        .collect();
    if !tensors.is_empty() {
        return Ok(tensors);
    }
    for wanted in STATE_ENTRIES {
        let part = entries.iter().find(|(name, _)| *name == wanted);
        if let Some((_, part)) = part.filter(|(_, part)| *part != root) {
            return state_of_part(values, *part, wanted);
        }
    }
    Err("it holds no dictionary of tensors".to_owned())
}

fn state_of_part<'a>(
    values: &'a Values,
    part: Id,
    name: &str,
) -> Outcome<Vec<(String, &'a TensorPlan)>> {
    let entries = dictionary(values, part);
    let entries = entries.ok_or_else(|| format!("its `{name}` is no dictionary of tensors"))?;
    Ok(entries
        .into_iter()
        .filter_map(|(name, id)| match values.get(id) {
            Value::Tensor(plan) => Some((name.to_owned(), plan)),
            _ => None,
        })
        .collect())
}

/// The entries of a dictionary whose keys are texts.
fn dictionary(values: &Values, id: Id) -> Option<Vec<(&str, Id)>> {
    let Value::Dictionary(entries) = values.get(id) else {
        return None;
    };
    let named = entries
        .iter()
        .filter_map(|(key, value)| match values.get(*key) {
            Value::Text(name) => Some((name.as_str(), *value)),
            _ => None,
        });
    Some(named.collect())
}
