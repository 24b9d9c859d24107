//! Huffman codes.

use super::bits::{Bits, extend};

/// Bits that are looked up at once.
const LOOKED_UP: u32 = 10;

/// What a code stands for: a run of zeros, and the size of the number behind it (T.81, F.1.2).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Symbol {
    /// Bits that were read: the code, and the number if it was looked up with it. 0 for a code
    /// that is not in the table.
    pub(super) length: u8,
    /// Zeros before the number.
    pub(super) run: u8,
    /// Bits of the number that still have to be read.
    pub(super) size: u8,
    /// The number, if it has been read.
    pub(super) value: i16,
}

/// A table of codes, with all that fit into ten bits, their numbers included, ready to be looked up.
pub(super) struct Table {
    short: Box<[Symbol; 1 << LOOKED_UP]>,
    symbols: Vec<u8>,
    /// By length: the code after the last of that length, shifted to 16 bits.
    ends: [u32; 17],
    /// By length: what has to be added to a code to get its place among the symbols.
    offsets: [i32; 17],
}

impl Table {
    /// The table of `counts[i]` codes with `i + 1` bits, which stand for `symbols` (T.81, annex C).
    /// `None` if there are more codes than bits allow.
    pub(super) fn new(counts: &[u8; 16], symbols: &[u8]) -> Option<Self> {
        let mut table = Self {
            short: Box::new([Symbol::default(); 1 << LOOKED_UP]),
            symbols: symbols.to_vec(),
            ends: [0; 17],
            offsets: [0; 17],
        };
        let mut code = 0_u32;
        let mut place = 0_usize;
        for (length, count) in (1_u32..).zip(counts) {
            table.offsets[length as usize] =
                i32::try_from(place).ok()? - i32::try_from(code).ok()?;
            for _ in 0..*count {
                let symbol = *symbols.get(place)?;
                if code >= 1 << length {
                    return None;
                }
                if length <= LOOKED_UP {
                    table.fill(code, length, symbol);
                }
                code += 1;
                place += 1;
            }
            table.ends[length as usize] = code << (16 - length);
            code <<= 1;
        }
        Some(table)
    }

    fn fill(&mut self, code: u32, length: u32, symbol: u8) {
        let rest = LOOKED_UP - length;
        let (run, size) = (symbol >> 4, symbol & 15);
        let places = (code << rest) as usize..((code + 1) << rest) as usize;
        for (tail, entry) in (0_u32..).zip(&mut self.short[places]) {
            #[expect(clippy::cast_possible_truncation, reason = "both are at most ten")]
            let length_8 = length as u8;
            *entry = Symbol {
                length: length_8,
                run,
                size,
                value: 0,
            };
            let bits = u32::from(size);
            if bits > 0 && bits <= rest {
                let number = extend((tail >> (rest - bits)).cast_signed(), bits);
                entry.value = i16::try_from(number).unwrap_or_default();
                entry.size = 0;
                entry.length += size;
            }
        }
    }

    /// The next run and its number; reads at most 31 bits, which have to be available. `None` for
    /// bits that are no code.
    #[inline(always)]
    pub(super) fn number(&self, bits: &mut Bits) -> Option<(u32, i32)> {
        let symbol = self.short[bits.peek(LOOKED_UP) as usize & ((1 << LOOKED_UP) - 1)];
        if symbol.length > 0 {
            bits.skip(u32::from(symbol.length));
            if symbol.size == 0 {
                return Some((u32::from(symbol.run), i32::from(symbol.value)));
            }
            return Some((u32::from(symbol.run), bits.signed(u32::from(symbol.size))));
        }
        let (length, symbol) = self.long(bits.peek(16))?;
        bits.skip(length);
        let number = match symbol & 15 {
            0 => 0,
            size => bits.signed(u32::from(size)),
        };
        Some((u32::from(symbol >> 4), number))
    }

    /// The length and symbol of the code that 16 bits begin with.
    #[cold]
    #[inline(never)]
    fn long(&self, bits: u32) -> Option<(u32, u8)> {
        let length = (1..=16).find(|length| bits < self.ends[*length as usize])?;
        let place = (bits >> (16 - length)).cast_signed() + self.offsets[length as usize];
        let symbol = self.symbols.get(usize::try_from(place).ok()?)?;
        Some((length, *symbol))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Three codes of two bits, one of eleven.
    fn table() -> Table {
        let mut counts = [0; 16];
        counts[1] = 3;
        counts[10] = 1;
        Table::new(&counts, &[0x00, 0x02, 0x31, 0xf0]).unwrap()
    }

    #[test]
    fn codes_of_any_length_are_read_with_their_numbers() {
        // 01 10, 10 0, 00, 11000000000.
        let data = [0b0110_1000, 0b0110_0000, 0b0000_0000];
        let mut bits = Bits::new(&data);
        bits.refill();
        let table = table();
        assert_eq!(table.number(&mut bits), Some((0, 2)));
        assert_eq!(table.number(&mut bits), Some((3, -1)));
        assert_eq!(table.number(&mut bits), Some((0, 0)));
        assert_eq!(table.number(&mut bits), Some((15, 0)));
        assert!(!bits.is_beyond_end());
    }

    #[test]
    fn bits_that_are_no_code_are_refused() {
        let mut bits = Bits::new(&[0xff; 4]);
        bits.refill();
        assert_eq!(table().number(&mut bits), None);
        let mut counts = [0; 16];
        counts[0] = 3;
        assert!(Table::new(&counts, &[1, 2, 3]).is_none());
        assert!(Table::new(&counts, &[1]).is_none());
    }
}
