//! How the numbers of a tensor are stored.

use std::borrow::Cow;

use candle_core::quantized::{GgmlDType, QStorage, QTensor};
use candle_core::{DType, Device, Tensor, bail};
use rayon::prelude::*;

/// A type of tensors: numbers as they are, or in blocks that share scales.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Kind {
    /// What `llama.cpp` calls it.
    pub(crate) name: &'static str,
    /// Numbers of a block.
    pub(super) numbers: usize,
    /// Bytes of a block.
    pub(super) bytes: usize,
    stored: Stored,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stored {
    Plain(DType),
    Blocks(GgmlDType),
}

/// The types by their numbers in files (`ggml_type`). Those that are missing are of models that were
/// made smaller than 4 bits a weight by tables (`IQ*`, `TQ*`), which candle does not know, or stand in
/// no file (`Q8_1`, `Q8_K`).
const KINDS: [(u32, Kind); 13] = [
    (0, plain("F32", 4, DType::F32)),
    (1, plain("F16", 2, DType::F16)),
    (30, plain("BF16", 2, DType::BF16)),
    (2, blocks("Q4_0", 32, 18, GgmlDType::Q4_0)),
    (3, blocks("Q4_1", 32, 20, GgmlDType::Q4_1)),
    (6, blocks("Q5_0", 32, 22, GgmlDType::Q5_0)),
    (7, blocks("Q5_1", 32, 24, GgmlDType::Q5_1)),
    (8, blocks("Q8_0", 32, 34, GgmlDType::Q8_0)),
    (10, blocks("Q2_K", 256, 84, GgmlDType::Q2K)),
    (11, blocks("Q3_K", 256, 110, GgmlDType::Q3K)),
    (12, blocks("Q4_K", 256, 144, GgmlDType::Q4K)),
    (13, blocks("Q5_K", 256, 176, GgmlDType::Q5K)),
    (14, blocks("Q6_K", 256, 210, GgmlDType::Q6K)),
];

const fn plain(name: &'static str, bytes: usize, stored: DType) -> Kind {
    Kind {
        name,
        numbers: 1,
        bytes,
        stored: Stored::Plain(stored),
    }
}

const fn blocks(name: &'static str, numbers: usize, bytes: usize, stored: GgmlDType) -> Kind {
    Kind {
        name,
        numbers,
        bytes,
        stored: Stored::Blocks(stored),
    }
}

/// Blocks widened by one task: enough to outweigh handing it out.
const BLOCKS_PER_TASK: usize = 1024;

impl Kind {
    pub(super) fn of(number: u32) -> Result<Self, String> {
        let found = KINDS.iter().find(|(known, _)| *known == number);
        let found = found.map(|(_, kind)| *kind);
        found.ok_or_else(|| {
            let names: Vec<&str> = KINDS.iter().map(|(_, kind)| kind.name).collect();
            let names = names.join(", ");
            format!("has type {number}, which is not read: make it one of {names}")
        })
    }

    /// Bytes of a row of so many numbers; `None` where blocks do not fill it, or they are too many.
    pub(crate) fn row_bytes(self, numbers: usize) -> Option<usize> {
        let is_filled = numbers.is_multiple_of(self.numbers);
        let blocks = is_filled.then_some(numbers / self.numbers)?;
        blocks.checked_mul(self.bytes)
    }

    /// Whether these are blocks as weights of 8 bits are held in.
    pub(crate) fn is_eight_bits(self) -> bool {
        self.stored == Stored::Blocks(GgmlDType::Q8_0)
    }

    /// The numbers of a tensor of this shape: of plain types as they are, of blocks as f32.
    ///
    /// # Errors
    /// The bytes are not those of so many numbers.
    pub(crate) fn tensor(self, bytes: &[u8], shape: &[usize]) -> candle_core::Result<Tensor> {
        let stored = match self.stored {
            Stored::Plain(stored) => {
                return Tensor::from_raw_buffer(bytes, stored, shape, &Device::Cpu);
            }
            Stored::Blocks(stored) => stored,
        };
        let mut numbers = vec![0.0; bytes.len() / self.bytes * self.numbers];
        numbers
            .par_chunks_mut(BLOCKS_PER_TASK * self.numbers)
            .zip(bytes.par_chunks(BLOCKS_PER_TASK * self.bytes))
            .try_for_each(|(numbers, bytes)| widen(stored, bytes, numbers))?;
        Tensor::from_vec(numbers, shape, &Device::Cpu)
    }
}

/// Writes the numbers of these blocks.
fn widen(stored: GgmlDType, bytes: &[u8], numbers: &mut [f32]) -> candle_core::Result<()> {
    // Blocks begin with an f16 or hold one, and candle panics where they lie at odd places. All have
    // an even number of bytes, so it takes an odd start.
    if !bytes.as_ptr().cast::<u16>().is_aligned() {
        bail!("blocks lie at an odd place of memory");
    }
    let storage = QStorage::from_data(Cow::Borrowed(bytes), &Device::Cpu, stored)?;
    let wide = QTensor::new(storage, numbers.len())?.dequantize(&Device::Cpu)?;
    numbers.copy_from_slice(&wide.to_vec1::<f32>()?);
    Ok(())
}
