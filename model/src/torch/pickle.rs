//! The part of Python's pickle language that a file of tensors needs, read without running
//! anything.
//!
//! A pickle is a program for a small stack machine, and one of its instructions calls any Python
//! function by name. Here that instruction knows the few names that tensors are made of
//! ([`Global`]); any other is refused by its name, before its arguments are looked at. Instructions
//! are those of protocols 2 to 5 (CPython `Lib/pickletools.py`).

mod cursor;
mod value;

use std::collections::HashMap;

use cursor::Cursor;
pub(super) use value::{Global, Id, Number, Storage, TensorPlan, Value, Values};

/// What is wrong with a pickle, as words.
pub(super) type Outcome<T> = Result<T, String>;

/// Reads a pickle and gives the number of what it stands for.
pub(super) fn read(bytes: &[u8]) -> Outcome<(Values, Id)> {
    let mut machine = Machine {
        from: Cursor::new(bytes),
        stack: Vec::new(),
        marks: Vec::new(),
        memo: HashMap::new(),
        values: Values::default(),
    };
    let root = machine.run()?;
    Ok((machine.values, root))
}

struct Machine<'a> {
    from: Cursor<'a>,
    stack: Vec<Id>,
    marks: Vec<usize>,
    memo: HashMap<u32, Id>,
    values: Values,
}

impl Machine<'_> {
    fn run(&mut self) -> Outcome<Id> {
        loop {
            let place = self.from.at;
            let code = self.from.byte()?;
            match code {
                b'.' => return self.pop(),
                0x80 => drop(self.from.byte()?),  // protocol
                0x95 => drop(self.from.take(8)?), // frame
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
                    let value = i32::from_le_bytes(self.from.array()?);
                    self.push(Value::Int(value.into()));
                }
                b'K' => {
                    let value = self.from.byte()?;
                    self.push(Value::Int(value.into()));
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.from.array()?);
                    self.push(Value::Int(value.into()));
                }
                0x8a => {
                    let length = usize::from(self.from.byte()?);
                    self.long(length)?;
                }
                0x8b => {
                    let length = self.from.length4()?;
                    self.long(length)?;
                }
                b'G' => {
                    let value = f64::from_be_bytes(self.from.array()?);
                    self.push(Value::Float(value));
                }
                b'X' | b'T' => {
                    let length = self.from.length4()?;
                    self.text(length)?;
                }
                0x8c | b'U' => {
                    let length = usize::from(self.from.byte()?);
                    self.text(length)?;
                }
                0x8d => {
                    let length = self.from.length8()?;
                    self.text(length)?;
                }
                b'B' => {
                    let length = self.from.length4()?;
                    self.raw(length)?;
                }
                b'C' => {
                    let length = usize::from(self.from.byte()?);
                    self.raw(length)?;
                }
                0x8e | 0x96 => {
                    let length = self.from.length8()?;
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
                    let key = u32::from(self.from.byte()?);
                    self.recall(key)?;
                }
                b'j' => {
                    let key = u32::from_le_bytes(self.from.array()?);
                    self.recall(key)?;
                }
                b'q' => {
                    let key = u32::from(self.from.byte()?);
                    self.memorise(key)?;
                }
                b'r' => {
                    let key = u32::from_le_bytes(self.from.array()?);
                    self.memorise(key)?;
                }
                0x94 => {
                    let key = self.memo.len() as u32;
                    self.memorise(key)?;
                }
                b'c' => {
                    let module = self.from.line()?;
                    let name = self.from.line()?;
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
                    let value = self.values.call(callee, arguments)?;
                    self.push(value);
                }
                // Sets attributes of a dictionary, which are no entries of it.
                b'b' => drop(self.pop()?),
                b'Q' => {
                    let id = self.pop()?;
                    let storage = self.values.storage(id)?;
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

    fn text(&mut self, length: usize) -> Outcome<()> {
        let text = String::from_utf8_lossy(self.from.take(length)?).into_owned();
        self.push(Value::Text(text));
        Ok(())
    }

    fn raw(&mut self, length: usize) -> Outcome<()> {
        let bytes = self.from.take(length)?.to_vec();
        self.push(Value::Bytes(bytes));
        Ok(())
    }

    /// A whole number of any length; those that are no 64-bit number are nothing we count with.
    fn long(&mut self, length: usize) -> Outcome<()> {
        let bytes = self.from.take(length)?;
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
        match self.stack.last().map(|top| self.values.get_mut(*top)) {
            Some(Value::Sequence(sequence)) => sequence.extend(items),
            _ => return Err("its pickle is damaged: items for no list".to_owned()),
        }
        Ok(())
    }

    fn extend_dictionary(&mut self, items: Vec<(Id, Id)>) -> Outcome<()> {
        match self.stack.last().map(|top| self.values.get_mut(*top)) {
            Some(Value::Dictionary(dictionary)) => dictionary.extend(items),
            _ => return Err("its pickle is damaged: entries for no dictionary".to_owned()),
        }
        Ok(())
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
        read(bytes).err().unwrap_or_default()
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
        let (values, root) = read(bytes).unwrap();
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
            let _ = read(&bytes);
        }
    }
}
