//! Files of tensors: safetensors, or PyTorch's.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;

use candle_core::safetensors::{Load, MmapedSafetensors};
use candle_core::{Device, Tensor};

use crate::torch::{PICKLE_START, ZIP_START, read_torch};
use crate::{Error, Result};

/// Reads every tensor of a safetensors file or a PyTorch checkpoint; which it is, its first bytes
/// say. Of safetensors, memory holds the tensors alone.
pub(crate) fn read_tensors(path: &Path) -> Result<BTreeMap<String, Tensor>> {
    if !is_safetensors(path)? {
        return read_torch(path);
    }
    let mapped = map_safetensors(path)?;
    let views = mapped.tensors().into_iter();
    views
        .map(|(name, view)| Ok((name, view.load(&Device::Cpu).map_err(unreadable(path))?)))
        .collect()
}

/// Whether a file is to be read as safetensors rather than as a PyTorch checkpoint.
pub(crate) fn is_safetensors(path: &Path) -> Result<bool> {
    let file_error = |source| Error::File {
        path: path.to_owned(),
        source,
    };
    let mut start = Vec::new();
    let file = File::open(path).map_err(file_error)?;
    file.take(9).read_to_end(&mut start).map_err(file_error)?;
    // The first eight bytes of safetensors are a length, which may be any.
    let is_safetensors = start.get(8) == Some(&b'{');
    let is_torch = start.starts_with(&ZIP_START) || start.first() == Some(&PICKLE_START);
    Ok(is_safetensors || !is_torch)
}

/// Maps a safetensors file into memory.
pub(crate) fn map_safetensors(path: &Path) -> Result<MmapedSafetensors> {
    // SAFETY: the mapped bytes must not change while they are read, which no program can promise
    // of a file. Ours replace files by renaming; one that is written over while it is read gives
    // wrong weights or ends the program. Worth it: the file is never in memory beside its tensors,
    // which halves what loading takes.
    unsafe { MmapedSafetensors::new(path) }.map_err(unreadable(path))
}

fn unreadable(path: &Path) -> impl Fn(candle_core::Error) -> Error {
    move |cause| Error::Content {
        path: path.to_owned(),
        cause: format!("not a readable safetensors file: {cause}"),
    }
}
