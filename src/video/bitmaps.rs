//! Bitmaps one after the other in a stream.

use std::io::{Error, ErrorKind, Read};

/// Bytes of a bitmap up to and with its length.
const HEAD_BYTES: usize = 6;

/// Splits a stream of bitmaps, each of which says how long it is. Memory is one of them.
pub(super) struct Bitmaps<R> {
    reader: R,
    bitmap: Vec<u8>,
    max_bytes: u64,
}

impl<R: Read> Bitmaps<R> {
    pub(super) fn of(reader: R, max_bytes: u64) -> Self {
        Self {
            reader,
            bitmap: Vec::new(),
            max_bytes,
        }
    }

    /// The next one, unless the stream ends.
    pub(super) fn next_bitmap(&mut self) -> std::io::Result<Option<&[u8]>> {
        self.bitmap.clear();
        let head = HEAD_BYTES as u64;
        (&mut self.reader)
            .take(head)
            .read_to_end(&mut self.bitmap)?;
        if self.bitmap.is_empty() {
            return Ok(None);
        }
        let damaged = || Error::new(ErrorKind::InvalidData, "no bitmap");
        let &[b'B', b'M', a, b, c, d] = self.bitmap.as_slice() else {
            return Err(damaged());
        };
        let length = u64::from(u32::from_le_bytes([a, b, c, d]));
        if length > self.max_bytes {
            return Err(damaged());
        }
        let rest = length.checked_sub(head).ok_or_else(damaged)?;
        (&mut self.reader)
            .take(rest)
            .read_to_end(&mut self.bitmap)?;
        if self.bitmap.len() as u64 != length {
            return Err(damaged());
        }
        Ok(Some(&self.bitmap))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_split_by_the_lengths_in_it() {
        let stream = b"BM\x08\0\0\0abBM\x07\0\0\0c";
        let mut bitmaps = Bitmaps::of(stream.as_slice(), 8);
        assert_eq!(bitmaps.next_bitmap().unwrap(), Some(&stream[..8]));
        assert_eq!(bitmaps.next_bitmap().unwrap(), Some(&stream[8..]));
        assert_eq!(bitmaps.next_bitmap().unwrap(), None);
        for stream in [
            &b"BM\x09\0\0\0abc"[..],
            b"BM\x08\0\0\0a",
            b"BM\x05\0\0\0",
            b"PNG...",
            b"BM",
        ] {
            assert!(Bitmaps::of(stream, 8).next_bitmap().is_err(), "{stream:?}");
        }
    }
}
