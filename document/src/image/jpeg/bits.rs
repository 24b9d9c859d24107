//! Entropy-coded data, bit by bit.

/// Reads the entropy-coded data that begin at `start` into `data`, without the zero bytes that
/// stand behind each `0xff` (ITU-T T.81, B.1.1.5). Returns where the marker stands that ends them,
/// or the end of the input.
pub(super) fn unstuff(bytes: &[u8], start: usize, data: &mut Vec<u8>) -> usize {
    data.clear();
    let mut position = start;
    while let Some(rest) = bytes.get(position..) {
        let Some(length) = memchr::memchr(0xff, rest) else {
            data.extend_from_slice(rest);
            break;
        };
        data.extend_from_slice(&rest[..length]);
        // Any number of 0xff may stand before a marker.
        let fill = rest[length..].iter().take_while(|byte| **byte == 0xff);
        let next = length + fill.count();
        match rest.get(next) {
            Some(0) => {
                data.push(0xff);
                position += next + 1;
            }
            Some(_) => {
                position += next - 1;
                break;
            }
            None => {
                position = bytes.len();
                break;
            }
        }
    }
    position
}

/// Bits of unstuffed data, the highest of each byte first; behind the end there are zeros.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    data: &'a [u8],
    /// The byte that is read next.
    position: usize,
    /// Bits that were read, from the highest on.
    buffer: u64,
    /// How many of them count.
    available: u32,
}

impl<'a> Bits<'a> {
    pub(super) fn new(data: &'a [u8]) -> Self {
        Self {
            data,
            position: 0,
            buffer: 0,
            available: 0,
        }
    }

    /// Makes at least 32 bits available.
    #[inline(always)]
    pub(super) fn refill(&mut self) {
        if self.available >= 32 {
            return;
        }
        let rest = self.data.get(self.position..).unwrap_or_default();
        let word = match rest.first_chunk::<8>() {
            Some(word) => u64::from_be_bytes(*word),
            None => {
                let mut word = [0; 8];
                word[..rest.len()].copy_from_slice(rest);
                u64::from_be_bytes(word)
            }
        };
        // Bits beyond the whole bytes are read again, at the same place, by the next call.
        self.buffer |= word >> self.available;
        let taken = (63 - self.available) >> 3;
        self.position += taken as usize;
        self.available += 8 * taken;
    }

    /// The next `count` bits, 1 to 32 of those available.
    #[inline(always)]
    pub(super) fn peek(&self, count: u32) -> u32 {
        #[expect(clippy::cast_possible_truncation, reason = "at most 32 bits are left")]
        let bits = (self.buffer >> (64 - count)) as u32;
        bits
    }

    /// Passes over `count` bits of those available.
    #[inline(always)]
    pub(super) fn skip(&mut self, count: u32) {
        self.buffer <<= count;
        self.available = self.available.wrapping_sub(count);
    }

    /// The next `count` bits, 0 to 16 of those available.
    #[inline(always)]
    pub(super) fn take(&mut self, count: u32) -> u32 {
        if count == 0 {
            return 0;
        }
        let bits = self.peek(count);
        self.skip(count);
        bits
    }

    /// A number of `size` bits, 1 to 16 of those available, as a difference or coefficient is
    /// written (F.2.2.1, `EXTEND`).
    #[inline(always)]
    pub(super) fn signed(&mut self, size: u32) -> i32 {
        let bits = self.peek(size).cast_signed();
        self.skip(size);
        extend(bits, size)
    }

    /// Whether more was read than there is.
    pub(super) fn is_beyond_end(&self) -> bool {
        8 * self.position > 8 * self.data.len() + self.available as usize
    }
}

/// Negative numbers are written as the bits of what is one less than they are.
#[inline(always)]
pub(super) fn extend(bits: i32, size: u32) -> i32 {
    let is_positive = bits >> (size - 1);
    bits + ((is_positive - 1) & (1 - (1 << size)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stuffed_byte_is_data_and_a_marker_ends_them() {
        let bytes = [9, 1, 0xff, 0, 2, 0xff, 0xff, 0xd0, 3];
        let mut data = Vec::new();
        let end = unstuff(&bytes, 1, &mut data);
        assert_eq!((data, end), (vec![1, 0xff, 2], 6));
    }

    #[test]
    fn bits_come_highest_first_and_the_end_is_noticed() {
        let data = [0b1010_0101, 0x0f];
        let mut bits = Bits::new(&data);
        bits.refill();
        assert_eq!(bits.take(1), 1);
        assert_eq!(bits.take(0), 0);
        assert_eq!(bits.take(7), 0b010_0101);
        assert_eq!(bits.take(8), 0x0f);
        assert!(!bits.is_beyond_end());
        bits.skip(1);
        assert!(bits.is_beyond_end());
    }

    #[test]
    fn numbers_are_extended_as_the_standard_says() {
        let numbers = [(0, 1), (1, 1), (0, 3), (3, 3), (4, 3), (7, 3)];
        let extended = numbers.map(|(bits, size)| extend(bits, size));
        assert_eq!(extended, [-1, 1, -7, -4, 4, 7]);
    }
}
