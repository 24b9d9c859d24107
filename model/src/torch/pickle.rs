//! The part of Python's pickle language that a file of tensors needs, read without running
//! anything.
//!
//! A pickle is a program for a small stack machine, and one of its instructions calls any Python
//! function by name. Here that instruction knows the few names that tensors are made of
//! ([`Global`]); any other is refused by its name, before its arguments are looked at. Instructions
//! are those of protocols 2 to 5 (CPython `Lib/pickletools.py`).

use std::collections::HashMap;

/// The number of a value in [`Values`].
pub(super) type Id = usize;

/// Everything a pickle made. Containers hold numbers of other values, so that one which holds
/// itself does no harm.
pub(super) struct Values {
    values: Vec<Value>,
}

/// A value of a pickle.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Sequence(Vec<Id>),
    Dictionary(Vec<(Id, Id)>),
    Global(Global),
    Storage(Storage),
    Tensor(TensorPlan),
}

/// What a pickle may name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDictionary,
    RebuildTensor,
    RebuildParameter,
    Size,
    Storage(Number),
}

/// The type of a storage's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Number {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U8,
    Bool,
}

/// Numbers kept in an entry of the archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Storage {
    pub(super) number: Number,
    /// The entry's name behind `data/`.
    pub(super) key: String,
    pub(super) count: usize,
}

/// A tensor, still unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct TensorPlan {
    pub(super) storage: Storage,
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// What is wrong with a pickle, as words.
pub(super) type Outcome<T> = Result<T, String>;

impl Values {
    /// Reads a pickle and gives the number of what it stands for.
    pub(super) fn read(bytes: &[u8]) -> Outcome<(Self, Id)> {
        let mut machine = Machine {
            bytes,
            at: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
            values: Self { values: Vec::new() },
        };
        let root = machine.run()?;
        Ok((machine.values, root))
    }

    pub(super) fn get(&self, id: Id) -> &Value {
        &self.values[id]
    }

    fn add(&mut self, value: Value) -> Id {
        self.values.push(value);
        self.values.len() - 1
    }
}

impl Global {
    fn named(module: &str, name: &str) -> Outcome<Self> {
        let storage = |number| Ok(Self::Storage(number));
        match (module, name) {
            ("collections", "OrderedDict") => Ok(Self::OrderedDictionary),
            ("torch._utils", "_rebuild_tensor_v2") => Ok(Self::RebuildTensor),
            ("torch._utils", "_rebuild_parameter") => Ok(Self::RebuildParameter),
            ("torch", "Size") => Ok(Self::Size),
            ("torch", "DoubleStorage") => storage(Number::F64),
            ("torch", "FloatStorage") => storage(Number::F32),
            ("torch", "HalfStorage") => storage(Number::F16),
            ("torch", "BFloat16Storage") => storage(Number::Bf16),
            ("torch", "LongStorage") => storage(Number::I64),
            ("torch", "IntStorage") => storage(Number::I32),
            ("torch", "ShortStorage") => storage(Number::I16),
            ("torch", "CharStorage") => storage(Number::I8),
            ("torch", "ByteStorage") => storage(Number::U8),
            ("torch", "BoolStorage") => storage(Number::Bool),
            _ => Err(format!(
                "its pickle asks for `{module}.{name}`, which no tensor needs: nothing of it was \
                 run; save the weights as safetensors, or as a plain dictionary of tensors"
            )),
        }
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    values: Values,
}

impl Machine<'_> {
    fn run(&mut self) -> Outcome<Id> {
        loop {
            let place = self.at;
            let code = self.byte()?;
            match code {
                b'.' => return self.pop(),
                0x80 => drop(self.byte()?),  // protocol
                0x95 => drop(self.take(8)?), // frame
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'1' => drop(self.pop_mark()?),
                b'2' => {
                    let top = *self
                        .stack
                        .last()
                        .ok_or("its pickle is damaged: empty stack")?;
                    self.stack.push(top);
                }
                b'N' => self.push(Value::None),
                0x88 => self.push(Value::Bool(true)),
                0x89 => self.push(Value::Bool(false)),
                b'J' => {
                    let value = i32::from_le_bytes(self.array()?);
                    self.push(Value::Int(value.into()));
                }
                b'K' => {
                    let value = self.byte()?;
                    self.push(Value::Int(value.into()));
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.array()?);
                    self.push(Value::Int(value.into()));
                }
                0x8a => {
                    let length = usize::from(self.byte()?);
                    self.long(length)?;
                }
                0x8b => {
                    let length = self.length4()?;
                    self.long(length)?;
                }
                b'G' => {
                    let value = f64::from_be_bytes(self.array()?);
                    self.push(Value::Float(value));
                }
                b'X' | b'T' => {
                    let length = self.length4()?;
                    self.text(length)?;
                }
                0x8c | b'U' => {
                    let length = usize::from(self.byte()?);
                    self.text(length)?;
                }
                0x8d => {
                    let length = self.length8()?;
                    self.text(length)?;
                }
                b'B' => {
                    let length = self.length4()?;
                    self.raw(length)?;
                }
                b'C' => {
                    let length = usize::from(self.byte()?);
                    self.raw(length)?;
                }
                0x8e | 0x96 => {
                    let length = self.length8()?;
                    self.raw(length)?;
                }
                b']' | b')' | 0x8f => self.push(Value::Sequence(Vec::new())),
                b't' | b'l' | 0x91 => {
                    let items = self.pop_mark()?;
                    self.push(Value::Sequence(items));
                }
                0x85..=0x87 => {
                    let count = usize::from(code - 0x84);
                    let start = self.stack.len().checked_sub(count);
                    let start = start.ok_or("its pickle is damaged: empty stack")?;
                    let items = self.stack.split_off(start);
                    self.push(Value::Sequence(items));
                }
                b'a' => {
                    let item = self.pop()?;
                    self.extend_sequence(vec![item])?;
                }
                b'e' | 0x90 => {
                    let items = self.pop_mark()?;
                    self.extend_sequence(items)?;
                }
                b'}' => self.push(Value::Dictionary(Vec::new())),
                b'd' => {
                    let items = pairs(&self.pop_mark()?)?;
                    self.push(Value::Dictionary(items));
                }
                b's' => {
                    let value = self.pop()?;
                    let key = self.pop()?;
                    self.extend_dictionary(vec![(key, value)])?;
                }
                b'u' => {
                    let items = pairs(&self.pop_mark()?)?;
                    self.extend_dictionary(items)?;
                }
                b'h' => {
                    let key = u32::from(self.byte()?);
                    self.recall(key)?;
                }
                b'j' => {
                    let key = u32::from_le_bytes(self.array()?);
                    self.recall(key)?;
                }
                b'q' => {
                    let key = u32::from(self.byte()?);
                    self.memorise(key)?;
                }
                b'r' => {
                    let key = u32::from_le_bytes(self.array()?);
                    self.memorise(key)?;
                }
                0x94 => {
                    let key = self.memo.len() as u32;
                    self.memorise(key)?;
                }
                b'c' => {
                    let module = self.line()?;
                    let name = self.line()?;
                    self.push(Value::Global(Global::named(&module, &name)?));
                }
                0x93 => {
                    let (name, module) = (self.pop()?, self.pop()?);
                    let (Value::Text(module), Value::Text(name)) =
                        (self.values.get(module), self.values.get(name))
                    else {
                        return Err("its pickle is damaged: a name that is no text".to_owned());
                    };
                    let global = Global::named(module, name)?;
                    self.push(Value::Global(global));
                }
                b'R' | 0x81 => {
                    let (arguments, callee) = (self.pop()?, self.pop()?);
                    let value = self.call(callee, arguments)?;
                    self.push(value);
                }
                // Sets attributes of a dictionary, which are no entries of it.
                b'b' => drop(self.pop()?),
                b'Q' => {
                    let id = self.pop()?;
                    let storage = self.storage(id)?;
                    self.push(Value::Storage(storage));
                }
                _ => {
                    return Err(format!(
                        "its pickle has the instruction {code:#04x} at byte {place}, which no \
                         file of tensors has"
                    ));
                }
            }
        }
    }

    fn push(&mut self, value: Value) {
        let id = self.values.add(value);
        self.stack.push(id);
    }

    fn pop(&mut self) -> Outcome<Id> {
        let least = self.marks.last().copied().unwrap_or_default();
        match self.stack.pop() {
            Some(id) if self.stack.len() >= least => Ok(id),
            _ => Err("its pickle is damaged: empty stack".to_owned()),
        }
    }

    fn pop_mark(&mut self) -> Outcome<Vec<Id>> {
        let mark = self.marks.pop().filter(|mark| *mark <= self.stack.len());
        let mark = mark.ok_or("its pickle is damaged: no mark")?;
        Ok(self.stack.split_off(mark))
    }

    fn take(&mut self, count: usize) -> Outcome<&[u8]> {
        let end = self.at.checked_add(count);
        let found = end.and_then(|end| self.bytes.get(self.at..end));
        let found = found.ok_or("its pickle ends early")?;
        self.at += count;
        Ok(found)
    }

    fn byte(&mut self) -> Outcome<u8> {
        Ok(self.take(1)?[0])
    }

    fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        let mut array = [0; N];
        array.copy_from_slice(self.take(N)?);
        Ok(array)
    }

    fn length4(&mut self) -> Outcome<usize> {
        Ok(u32::from_le_bytes(self.array()?) as usize)
    }

    fn length8(&mut self) -> Outcome<usize> {
        let length = u64::from_le_bytes(self.array()?);
        usize::try_from(length).map_err(|_| "its pickle ends early".to_owned())
    }

    fn line(&mut self) -> Outcome<String> {
        let rest = &self.bytes[self.at..];
        let end = rest.iter().position(|byte| *byte == b'\n');
        let end = end.ok_or("its pickle ends early")?;
        let line = String::from_utf8_lossy(&rest[..end]).into_owned();
        self.at += end + 1;
        Ok(line)
    }

    fn text(&mut self, length: usize) -> Outcome<()> {
        let text = String::from_utf8_lossy(self.take(length)?).into_owned();
        self.push(Value::Text(text));
        Ok(())
    }

    fn raw(&mut self, length: usize) -> Outcome<()> {
        let bytes = self.take(length)?.to_vec();
        self.push(Value::Bytes(bytes));
        Ok(())
    }

    /// A whole number of any length; those that are no 64-bit number are nothing we count with.
    fn long(&mut self, length: usize) -> Outcome<()> {
        let bytes = self.take(length)?;
        let is_negative = bytes.last().is_some_and(|byte| byte & 0x80 != 0);
        let mut wide = [if is_negative { 0xff } else { 0 }; 8];
        let value = if length <= 8 {
            wide[..length].copy_from_slice(bytes);
            Value::Int(i64::from_le_bytes(wide))
        } else {
            Value::Bytes(bytes.to_vec())
        };
        self.push(value);
        Ok(())
    }

    fn memorise(&mut self, key: u32) -> Outcome<()> {
        let top = *self
            .stack
            .last()
            .ok_or("its pickle is damaged: empty stack")?;
        self.memo.insert(key, top);
        Ok(())
    }

    fn recall(&mut self, key: u32) -> Outcome<()> {
        let id = self.memo.get(&key).copied();
        self.stack
            .push(id.ok_or("its pickle is damaged: unknown memo")?);
        Ok(())
    }

    fn extend_sequence(&mut self, items: Vec<Id>) -> Outcome<()> {
        match self.stack.last().map(|top| &mut self.values.values[*top]) {
            Some(Value::Sequence(sequence)) => sequence.extend(items),
            _ => return Err("its pickle is damaged: items for no list".to_owned()),
        }
        Ok(())
    }

    fn extend_dictionary(&mut self, items: Vec<(Id, Id)>) -> Outcome<()> {
        match self.stack.last().map(|top| &mut self.values.values[*top]) {
            Some(Value::Dictionary(dictionary)) => dictionary.extend(items),
            _ => return Err("its pickle is damaged: entries for no dictionary".to_owned()),
        }
        Ok(())
    }

    fn sequence(&self, id: Id) -> Outcome<&[Id]> {
        match self.values.get(id) {
            Value::Sequence(items) => Ok(items),
            _ => Err("its pickle is damaged: no list where one belongs".to_owned()),
        }
    }

    fn size(&self, id: Id) -> Outcome<usize> {
        match self.values.get(id) {
            Value::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        }
        .ok_or_else(|| "its pickle is damaged: a size that is none".to_owned())
    }

    fn sizes(&self, id: Id) -> Outcome<Vec<usize>> {
        self.sequence(id)?.iter().map(|id| self.size(*id)).collect()
    }

    fn call(&self, callee: Id, arguments: Id) -> Outcome<Value> {
        let Value::Global(global) = self.values.get(callee) else {
            return Err("its pickle calls what is no function".to_owned());
        };
        let arguments = self.sequence(arguments)?;
        match (global, arguments) {
            (Global::OrderedDictionary, []) => Ok(Value::Dictionary(Vec::new())),
            (Global::OrderedDictionary, [entries, ..]) => {
                let mut items = Vec::new();
                for entry in self.sequence(*entries)? {
                    let [key, value] = self.sequence(*entry)? else {
                        return Err("its pickle is damaged: an entry that is no pair".to_owned());
                    };
                    items.push((*key, *value));
                }
                Ok(Value::Dictionary(items))
            }
            (Global::Size, [sizes, ..]) => Ok(Value::Sequence(self.sequence(*sizes)?.to_vec())),
            (Global::RebuildParameter, [tensor, ..]) => Ok(self.values.get(*tensor).clone()),
            (Global::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                let Value::Storage(storage) = self.values.get(*storage) else {
                    return Err("its pickle is damaged: a tensor without numbers".to_owned());
                };
                Ok(Value::Tensor(TensorPlan {
                    storage: storage.clone(),
                    offset: self.size(*offset)?,
                    shape: self.sizes(*shape)?,
                    strides: self.sizes(*strides)?,
                }))
            }
            _ => Err(format!(
                "its pickle is damaged: {global:?} without arguments"
            )),
        }
    }

    /// The storage of a persistent id `('storage', type, key, device, count)`.
    fn storage(&self, id: Id) -> Outcome<Storage> {
        let parts = self.sequence(id)?;
        if let [word, kind, key, _, count] = parts
            && let Value::Text(word) = self.values.get(*word)
            && let Value::Global(Global::Storage(number)) = self.values.get(*kind)
            && let Value::Text(key) = self.values.get(*key)
            && word == "storage"
        {
            return Ok(Storage {
                number: *number,
                key: key.clone(),
                count: self.size(*count)?,
            });
        }
        Err("its pickle is damaged: a storage without type, key and count".to_owned())
    }
}

fn pairs(items: &[Id]) -> Outcome<Vec<(Id, Id)>> {
    if !items.len().is_multiple_of(2) {
        return Err("its pickle is damaged: a key without a value".to_owned());
    }
    Ok(items.chunks(2).map(|pair| (pair[0], pair[1])).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn error(bytes: &[u8]) -> String {
        Values::read(bytes).err().unwrap_or_default()
    }

    #[test]
    fn a_name_that_no_tensor_needs_is_refused_by_that_name() {
        // {'state_dict': print('pickle')}, as protocol 2 writes it.
        let call = b"\x80\x02}X\x0a\x00\x00\x00state_dictc__builtin__\nprint\nX\x06\x00\x00\x00pickle\x85Rs.";
        assert!(
            error(call).contains("`__builtin__.print`"),
            "{}",
            error(call)
        );
        // The same by the instruction of protocol 4, which takes names from the stack.
        let call = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x02ls\x85R.";
        assert!(error(call).contains("`os.system`"), "{}", error(call));
        for instruction in [b'i', b'o', 0x82, 0x92] {
            let message = error(&[0x80, 2, instruction, b'.']);
            assert!(message.contains("instruction 0x"), "{message}");
        }
    }

    #[test]
    fn dictionaries_and_numbers_are_read() {
        // {'a': [1, -2, 1.5, None, True], 'b': ()}, with the list filled after it was stored.
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00a]q\x01(K\x01J\xfe\xff\xff\xffG\x3f\xf8\x00\x00\x00\x00\x00\x00N\x88eX\x01\x00\x00\x00b)u.";
        let (values, root) = Values::read(bytes).unwrap();
        let Value::Dictionary(entries) = values.get(root) else {
            panic!("{:?}", values.get(root));
        };
        let Value::Sequence(items) = values.get(entries[0].1) else {
            panic!("{:?}", values.get(entries[0].1));
        };
        let items: Vec<&Value> = items.iter().map(|id| values.get(*id)).collect();
        let expected = [
            &Value::Int(1),
            &Value::Int(-2),
            &Value::Float(1.5),
            &Value::None,
            &Value::Bool(true),
        ];
        assert_eq!(items, expected);
        assert_eq!(values.get(entries[1].1), &Value::Sequence(vec![]));
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(
            bytes in proptest::collection::vec(
                prop_oneof![
                    proptest::sample::select(&b".(012NJKMGXU]})tleasduhqjrcRbQB"[..]),
                    0x80_u8..=0x96,
                    proptest::num::u8::ANY,
                ],
                0..64,
            ),
        ) {
            let _ = Values::read(&bytes);
        }
    }
}
