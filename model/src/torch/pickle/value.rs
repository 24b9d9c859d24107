//! What a pickle makes: the few kinds of value that a file of tensors consists of.

use super::Outcome;

/// The number of a value in [`Values`].
pub(in crate::torch) type Id = usize;

/// Everything a pickle made. Containers hold numbers of other values, so that one which holds
/// itself does no harm.
#[derive(Default)]
pub(in crate::torch) struct Values {
    values: Vec<Value>,
}

/// A value of a pickle.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::torch) enum Value {
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
pub(in crate::torch) enum Global {
    OrderedDictionary,
    RebuildTensor,
    RebuildParameter,
    Size,
    Storage(Number),
}

/// The type of a storage's numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::torch) enum Number {
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
pub(in crate::torch) struct Storage {
    pub(in crate::torch) number: Number,
    /// The entry's name behind `data/`.
    pub(in crate::torch) key: String,
    pub(in crate::torch) count: usize,
}

/// A tensor, still unread.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::torch) struct TensorPlan {
    pub(in crate::torch) storage: Storage,
    pub(in crate::torch) offset: usize,
    pub(in crate::torch) shape: Vec<usize>,
    pub(in crate::torch) strides: Vec<usize>,
}

impl Values {
    pub(in crate::torch) fn get(&self, id: Id) -> &Value {
        &self.values[id]
    }

    pub(super) fn get_mut(&mut self, id: Id) -> &mut Value {
        &mut self.values[id]
    }

    pub(super) fn add(&mut self, value: Value) -> Id {
        self.values.push(value);
        self.values.len() - 1
    }

    fn sequence(&self, id: Id) -> Outcome<&[Id]> {
        match self.get(id) {
            Value::Sequence(items) => Ok(items),
            _ => Err("its pickle is damaged: no list where one belongs".to_owned()),
        }
    }

    fn size(&self, id: Id) -> Outcome<usize> {
        match self.get(id) {
            Value::Int(value) => usize::try_from(*value).ok(),
            _ => None,
        }
        .ok_or_else(|| "its pickle is damaged: a size that is none".to_owned())
    }

    fn sizes(&self, id: Id) -> Outcome<Vec<usize>> {
        self.sequence(id)?.iter().map(|id| self.size(*id)).collect()
    }

    pub(super) fn call(&self, callee: Id, arguments: Id) -> Outcome<Value> {
        let Value::Global(global) = self.get(callee) else {
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
            (Global::RebuildParameter, [tensor, ..]) => Ok(self.get(*tensor).clone()),
            (Global::RebuildTensor, [storage, offset, shape, strides, ..]) => {
                let Value::Storage(storage) = self.get(*storage) else {
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
    pub(super) fn storage(&self, id: Id) -> Outcome<Storage> {
        let parts = self.sequence(id)?;
        if let [word, kind, key, _, count] = parts
            && let Value::Text(word) = self.get(*word)
            && let Value::Global(Global::Storage(number)) = self.get(*kind)
            && let Value::Text(key) = self.get(*key)
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

impl Global {
    pub(super) fn named(module: &str, name: &str) -> Outcome<Self> {
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
