//! The bytes of a header, taken from the front.

use std::io::Read;

use super::Outcome;

pub(super) struct Cursor<R> {
    reader: R,
    pub(super) at: u64,
    /// Bytes of the whole file.
    pub(super) length: u64,
}

impl<R: Read> Cursor<R> {
    pub(super) fn new(reader: R, length: u64) -> Self {
        Self {
            reader,
            at: 0,
            length,
        }
    }

    /// Bytes that are there still, `count` of them; an error before memory is taken for more.
    pub(super) fn take(&mut self, count: u64) -> Outcome<Vec<u8>> {
        let mut bytes = vec![0; self.claim(count)?];
        self.reader.read_exact(&mut bytes).map_err(unreadable)?;
        Ok(bytes)
    }

    pub(super) fn skip(&mut self, count: u64) -> Outcome<()> {
        self.claim(count)?;
        // Read rather than sought: what is skipped is mostly short, and lies in the reader's buffer.
        let skipped = std::io::copy(&mut self.reader.by_ref().take(count), &mut std::io::sink());
        match skipped.map_err(unreadable)? {
            skipped if skipped == count => Ok(()),
            _ => Err("its header ends early".to_owned()),
        }
    }

    fn claim(&mut self, count: u64) -> Outcome<usize> {
        let end = self.at.checked_add(count);
        let end = end.filter(|end| *end <= self.length).ok_or_else(|| {
            format!(
                "{count} bytes are to follow byte {}, of {} in all",
                self.at, self.length
            )
        })?;
        self.at = end;
        usize::try_from(count).map_err(|_| format!("{count} bytes are more than this machine has"))
    }

    pub(super) fn array<const N: usize>(&mut self) -> Outcome<[u8; N]> {
        self.claim(N as u64)?;
        let mut array = [0; N];
        self.reader.read_exact(&mut array).map_err(unreadable)?;
        Ok(array)
    }

    pub(super) fn whole4(&mut self) -> Outcome<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn whole8(&mut self) -> Outcome<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }
}

fn unreadable(error: std::io::Error) -> String {
    format!("it cannot be read: {error}")
}
