//! What stands before the tensors of a file.

use std::collections::BTreeMap;
use std::io::Read;

use super::cursor::Cursor;
use super::{Kind, Outcome};

/// How files begin.
pub(super) const MAGIC: [u8; 4] = *b"GGUF";

/// Tensors, and keys of metadata, at most: far more than any model has, and their names take little.
const MOST_ENTRIES: u64 = 1 << 16;

/// The longest name of a key in the specification; those of tensors are shorter.
const LONGEST_NAME: u64 = 65_535;

/// Longer texts (templates, licences) are not kept.
const LONGEST_TEXT: u64 = 256;

/// Dimensions of a tensor in GGML.
const MOST_DIMENSIONS: u32 = 4;

/// Lists within lists: none are known to be used.
const DEEPEST_LIST: usize = 4;

/// Where tensors begin if the file does not say: at multiples of this.
const ALIGNMENT: u64 = 32;

/// A header.
#[derive(Debug, Default)]
pub(crate) struct Header {
    pub(crate) metadata: BTreeMap<String, Value>,
    pub(crate) tensors: BTreeMap<String, Place>,
}

/// A value of the metadata.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    Whole(i128),
    Number(f64),
    Flag(bool),
    Text(String),
    /// A text that is too long to be kept.
    LongText,
    /// How many values a list has, which are not kept.
    List(u64),
}

/// A tensor of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) kind: Kind,
    /// As in PyTorch: numbers of the last dimension lie side by side.
    pub(crate) shape: Vec<usize>,
    /// Where it begins in the file.
    pub(super) start: u64,
    pub(super) bytes: usize,
}

impl Header {
    /// Reads the header of a file of `length` bytes.
    pub(super) fn read(reader: impl Read, length: u64) -> Outcome<Self> {
        let mut cursor = Cursor::new(reader, length);
        if cursor.array()? != MAGIC {
            return Err("it does not begin with `GGUF`".to_owned());
        }
        match cursor.whole4()? {
            2 | 3 => {}
            version if matches!(version.swap_bytes(), 2 | 3) => {
                return Err(
                    "it was written for machines of the other byte order: convert it with \
                            `gguf_convert_endian.py`"
                        .to_owned(),
                );
            }
            version => {
                return Err(format!(
                    "it has version {version} of the form, this build reads 2 and 3: make it anew \
                     with a recent converter"
                ));
            }
        }
        let [tensors, keys] = [cursor.whole8()?, cursor.whole8()?];
        for (what, count) in [("tensors", tensors), ("keys", keys)] {
            if count > MOST_ENTRIES {
                return Err(format!(
                    "it is to have {count} {what}, at most {MOST_ENTRIES} are read"
                ));
            }
        }
        let mut header = Self::default();
        for _ in 0..keys {
            let key = name(&mut cursor)?;
            let kind = cursor.whole4()?;
            let value =
                value(&mut cursor, kind).map_err(|cause| format!("key `{key}`: {cause}"))?;
            if header.metadata.insert(key.clone(), value).is_some() {
                return Err(format!("it has the key `{key}` twice"));
            }
        }
        for _ in 0..tensors {
            let name = name(&mut cursor)?;
            let place = place(&mut cursor).map_err(|cause| format!("tensor `{name}` {cause}"))?;
            if header.tensors.insert(name.clone(), place).is_some() {
                return Err(format!("it has the tensor `{name}` twice"));
            }
        }
        let alignment = match header.metadata.get("general.alignment") {
            None => ALIGNMENT,
            Some(Value::Whole(bytes @ 1..=0x1000_0000)) => *bytes as u64,
            Some(other) => return Err(format!("`general.alignment` is {other:?}")),
        };
        let start = cursor.at.next_multiple_of(alignment);
        header.place_tensors(start, length)?;
        Ok(header)
    }

    /// Counts places from the file's beginning, and checks that each lies within it and apart from all
    /// others: so what is read of a file is no more than it holds.
    fn place_tensors(&mut self, start: u64, length: u64) -> Outcome<()> {
        let mut ranges = Vec::with_capacity(self.tensors.len());
        for (name, place) in &mut self.tensors {
            let begin = place.start.checked_add(start);
            let end = begin.and_then(|begin| begin.checked_add(place.bytes as u64));
            let (Some(begin), Some(end)) = (begin, end.filter(|end| *end <= length)) else {
                return Err(format!(
                    "tensor `{name}` of {} bytes is to begin {} bytes behind the header's {start}, of \
                     {length} in all: is the file whole?",
                    place.bytes, place.start
                ));
            };
            place.start = begin;
            ranges.push((begin, end, name));
        }
        ranges.sort_unstable();
        for pair in ranges.windows(2) {
            let [(_, end, one), (begin, _, other)] = pair else {
                continue;
            };
            if begin < end {
                return Err(format!("tensors `{one}` and `{other}` share bytes"));
            }
        }
        Ok(())
    }
}

/// The name of a key or tensor.
fn name(cursor: &mut Cursor<impl Read>) -> Outcome<String> {
    let length = cursor.whole8()?;
    if length > LONGEST_NAME {
        return Err(format!(
            "a name is to have {length} bytes, at most {LONGEST_NAME} are read"
        ));
    }
    String::from_utf8(cursor.take(length)?).map_err(|_| "a name is not in UTF-8".to_owned())
}

/// A value of this type (`gguf_metadata_value_type`).
fn value(cursor: &mut Cursor<impl Read>, kind: u32) -> Outcome<Value> {
    Ok(match kind {
        0 => Value::Whole(u8::from_le_bytes(cursor.array()?).into()),
        1 => Value::Whole(i8::from_le_bytes(cursor.array()?).into()),
        2 => Value::Whole(u16::from_le_bytes(cursor.array()?).into()),
        3 => Value::Whole(i16::from_le_bytes(cursor.array()?).into()),
        4 => Value::Whole(cursor.whole4()?.into()),
        5 => Value::Whole(i32::from_le_bytes(cursor.array()?).into()),
        6 => Value::Number(f32::from_le_bytes(cursor.array()?).into()),
        7 => Value::Flag(cursor.array()? != [0]),
        8 => match cursor.whole8()? {
            length @ 0..=LONGEST_TEXT => {
                Value::Text(String::from_utf8_lossy(&cursor.take(length)?).into_owned())
            }
            length => {
                cursor.skip(length)?;
                Value::LongText
            }
        },
        9 => Value::List(skip_list(cursor, 0)?),
        10 => Value::Whole(cursor.whole8()?.into()),
        11 => Value::Whole(i64::from_le_bytes(cursor.array()?).into()),
        12 => Value::Number(f64::from_le_bytes(cursor.array()?)),
        other => {
            return Err(format!(
                "it has a value of type {other}, which is not known"
            ));
        }
    })
}

/// Passes over a list; how many values it has.
fn skip_list(cursor: &mut Cursor<impl Read>, depth: usize) -> Outcome<u64> {
    let kind = cursor.whole4()?;
    let count = cursor.whole8()?;
    let size = match kind {
        0 | 1 | 7 => 1,
        2 | 3 => 2,
        4..=6 => 4,
        10..=12 => 8,
        8 | 9 => {
            if depth == DEEPEST_LIST {
                return Err(format!("lists lie more than {DEEPEST_LIST} deep"));
            }
            // Each takes bytes of the file, so a wrong count ends with it.
            for _ in 0..count {
                if kind == 8 {
                    let length = cursor.whole8()?;
                    cursor.skip(length)?;
                } else {
                    skip_list(cursor, depth + 1)?;
                }
            }
            return Ok(count);
        }
        other => return Err(format!("it has a list of type {other}, which is not known")),
    };
    let bytes = count.checked_mul(size);
    cursor.skip(bytes.ok_or_else(|| format!("a list is to have {count} values"))?)?;
    Ok(count)
}

/// A tensor's type, shape and place, the latter from where tensors begin.
fn place(cursor: &mut Cursor<impl Read>) -> Outcome<Place> {
    let dimensions = cursor.whole4()?;
    if !(1..=MOST_DIMENSIONS).contains(&dimensions) {
        return Err(format!(
            "is to have {dimensions} dimensions, 1 to {MOST_DIMENSIONS} are read"
        ));
    }
    let mut shape = Vec::with_capacity(dimensions as usize);
    for _ in 0..dimensions {
        let size = cursor.whole8()?;
        let size = usize::try_from(size).ok().filter(|size| *size > 0);
        shape.push(size.ok_or("has a dimension without numbers, or of too many")?);
    }
    // Files have the dimension first whose numbers lie side by side.
    shape.reverse();
    let kind = Kind::of(cursor.whole4()?)?;
    let [rows @ .., row] = shape.as_slice() else {
        return Err("has no dimensions".to_owned());
    };
    let row_bytes = kind.row_bytes(*row).ok_or_else(|| {
        let (name, numbers) = (kind.name, kind.numbers);
        format!("has shape {shape:?}, whose rows blocks of {numbers} ({name}) do not fill")
    })?;
    let bytes = rows
        .iter()
        .try_fold(row_bytes, |bytes, count| bytes.checked_mul(*count));
    let bytes = bytes.filter(|bytes| isize::try_from(*bytes).is_ok());
    let bytes = bytes.ok_or_else(|| format!("has shape {shape:?}, more than any machine holds"))?;
    Ok(Place {
        kind,
        shape,
        start: cursor.whole8()?,
        bytes,
    })
}
