//! Entropy-coded data to frequencies (ITU-T T.81, annexes F and G).

use super::bits::{Bits, unstuff};
use super::header::{Frame, Header, Scan};
use super::huffman::Table;
use super::idct::ZIGZAG;
use super::plane::Plane;

/// Where a decoder stands between two blocks of a scan.
#[derive(Default)]
struct State {
    /// Each component's last mean.
    means: [i32; 4],
    /// Blocks that follow without anything more in this scan.
    empty_blocks: u32,
}

/// The tables of one component in a scan; those that it does not use may be absent.
struct Tables<'a> {
    dc: Option<&'a Table>,
    ac: Option<&'a Table>,
}

/// Reads the data of `scan`, which begin at `position`, into `planes`, and moves `position` to the
/// marker behind them. `None` for damage.
pub(super) fn read(
    bytes: &[u8],
    position: &mut usize,
    header: &Header,
    scan: &Scan,
    planes: &mut [Plane],
) -> Option<()> {
    let frame = header.frame.as_ref()?;
    let tables: Vec<Tables> = scan
        .components
        .iter()
        .map(|component| Tables {
            dc: header.dc_tables[component.dc_table].as_ref(),
            ac: header.ac_tables[component.ac_table].as_ref(),
        })
        .collect();
    let mut data = Data {
        bytes,
        position,
        interval: header.restart_interval,
        scratch: Vec::new(),
    };
    if !frame.is_progressive {
        let tables: Vec<(&Table, &Table)> = tables
            .iter()
            .map(|tables| tables.dc.zip(tables.ac))
            .collect::<Option<_>>()?;
        let mut block = [0.0; 64];
        return data.blocks(frame, scan, planes, |bits, state, part, plane, at| {
            let (dc, ac) = tables[part];
            let mean = &mut state.means[part];
            let last = sequential(bits, dc, ac, mean, plane, &mut block)?;
            plane.put(at, &mut block, last);
            Some(())
        });
    }
    match (scan.first, scan.is_refinement) {
        (0, false) => {
            let tables: Vec<&Table> = tables
                .iter()
                .map(|tables| tables.dc)
                .collect::<Option<_>>()?;
            data.blocks(frame, scan, planes, |bits, state, part, plane, at| {
                bits.refill();
                let (_, difference) = tables[part].number(bits)?;
                let mean = &mut state.means[part];
                *mean = mean.wrapping_add(difference);
                #[expect(clippy::cast_possible_truncation, reason = "what is larger is damage")]
                plane.frequencies.set(at, 0, (*mean << scan.shift) as i16);
                Some(())
            })
        }
        (0, true) => data.blocks(frame, scan, planes, |bits, _, _, plane, at| {
            bits.refill();
            if bits.take(1) == 1 {
                let (block, _) = plane.frequencies.block(at);
                block[0] |= 1 << scan.shift;
            }
            Some(())
        }),
        (_, false) => {
            let table = tables.first()?.ac?;
            data.blocks(frame, scan, planes, |bits, state, _, plane, at| {
                first_pass(bits, table, scan, &mut state.empty_blocks, plane, at)
            })
        }
        (_, true) => {
            let table = tables.first()?.ac?;
            data.blocks(frame, scan, planes, |bits, state, _, plane, at| {
                later_pass(bits, table, scan, &mut state.empty_blocks, plane, at)
            })
        }
    }
}

/// The data of one scan.
struct Data<'a> {
    bytes: &'a [u8],
    position: &'a mut usize,
    /// Units between two restarts; 0 for none.
    interval: usize,
    scratch: Vec<u8>,
}

impl Data<'_> {
    /// Calls `read` for each block of the scan, in the order in which they are written, with the
    /// component's place in the scan and the block's place in its plane.
    #[inline(always)]
    fn blocks(
        &mut self,
        frame: &Frame,
        scan: &Scan,
        planes: &mut [Plane],
        mut read: impl FnMut(&mut Bits, &mut State, usize, &mut Plane, usize) -> Option<()>,
    ) -> Option<()> {
        // A component that is alone has no units: its blocks follow each other, row by row, without
        // those that stand beyond the edge to fill the last unit (A.2.2).
        let alone = match &scan.components[..] {
            [only] => Some(only.index),
            _ => None,
        };
        let (across, down) = match alone {
            Some(index) => planes[index].blocks(),
            None => frame.units(),
        };
        let units = across * down;
        let interval = if self.interval == 0 {
            units
        } else {
            self.interval
        };
        let mut scratch = std::mem::take(&mut self.scratch);
        let (mut x, mut y) = (0, 0);
        let mut begun = 0;
        let mut restart = 0;
        while begun < units {
            if begun > 0 {
                let marker = self.bytes.get(*self.position..)?.first_chunk::<2>()?;
                if *marker != [0xff, 0xd0 + restart] {
                    return None;
                }
                restart = (restart + 1) % 8;
                *self.position += 2;
            }
            *self.position = unstuff(self.bytes, *self.position, &mut scratch);
            let mut bits = Bits::new(&scratch);
            let mut state = State::default();
            for _ in 0..interval.min(units - begun) {
                if let Some(index) = alone {
                    let plane = &mut planes[index];
                    let at = plane.place(x, y);
                    read(&mut bits, &mut state, 0, plane, at)?;
                } else {
                    for (part, component) in scan.components.iter().enumerate() {
                        let plane = &mut planes[component.index];
                        let size = &frame.components[component.index];
                        for row in 0..size.blocks_down {
                            let first =
                                plane.place(size.blocks_across * x, size.blocks_down * y + row);
                            for column in 0..size.blocks_across {
                                read(&mut bits, &mut state, part, plane, first + column)?;
                            }
                        }
                    }
                }
                x += 1;
                if x == across {
                    (x, y) = (0, y + 1);
                    if bits.is_beyond_end() {
                        return None;
                    }
                }
            }
            if bits.is_beyond_end() {
                return None;
            }
            begun += interval;
        }
        self.scratch = scratch;
        Some(())
    }
}

/// A whole block, its frequencies scaled; the last that is not zero and is seen. Those beyond what
/// the plane shows are read and not kept.
///
/// Here and below the reader is copied: a copy stays in registers.
#[inline(always)]
fn sequential(
    reader: &mut Bits,
    dc: &Table,
    ac: &Table,
    mean: &mut i32,
    plane: &Plane,
    block: &mut [f32; 64],
) -> Option<u32> {
    let mut bits = *reader;
    bits.refill();
    let (_, difference) = dc.number(&mut bits)?;
    *mean = mean.wrapping_add(difference);
    block[0] = *mean as f32 * plane.factors[0];
    let seen = plane.side.last_seen();
    let mut last = 0;
    let mut at = 1;
    while at < 64 {
        bits.refill();
        let (run, number) = ac.number(&mut bits)?;
        if number == 0 {
            if run == 15 {
                at += 16;
                continue;
            }
            break;
        }
        at += run;
        if at > 63 {
            return None;
        }
        if at <= seen {
            block[usize::from(ZIGZAG[at as usize] & 63)] =
                number as f32 * plane.factors[at as usize];
            last = at;
        }
        at += 1;
    }
    *reader = bits;
    Some(last)
}

/// The upper bits of a band of frequencies (G.1.2.2).
#[inline(always)]
fn first_pass(
    reader: &mut Bits,
    table: &Table,
    scan: &Scan,
    empty_blocks: &mut u32,
    plane: &mut Plane,
    at: usize,
) -> Option<()> {
    if *empty_blocks > 0 {
        *empty_blocks -= 1;
        return Some(());
    }
    let mut bits = *reader;
    let (block, non_zero) = plane.frequencies.block(at);
    let mut at = scan.first;
    while at <= scan.last {
        bits.refill();
        let (run, number) = table.number(&mut bits)?;
        if number == 0 {
            if run == 15 {
                at += 16;
                continue;
            }
            *empty_blocks = (1 << run) - 1 + bits.take(run);
            break;
        }
        at += run;
        if at > scan.last {
            return None;
        }
        #[expect(clippy::cast_possible_truncation, reason = "what is larger is damage")]
        let shifted = (number << scan.shift) as i16;
        block[at as usize & 63] = shifted;
        *non_zero |= 1 << at;
        at += 1;
    }
    *reader = bits;
    Some(())
}

/// One more bit of a band of frequencies (G.1.2.3): for those that are not zero yet whether they
/// grow, for the others which become one.
#[inline(always)]
fn later_pass(
    reader: &mut Bits,
    table: &Table,
    scan: &Scan,
    empty_blocks: &mut u32,
    plane: &mut Plane,
    at: usize,
) -> Option<()> {
    let mut bits = *reader;
    let (block, non_zero) = plane.frequencies.block(at);
    let one = 1_i16 << scan.shift;
    // The bits of the frequencies of the band, and of those before `at`.
    let up_to_last = u64::MAX >> (63 - scan.last);
    let before = |at: u32| (1_u64 << at) - 1;
    let known = *non_zero;
    let mut at = scan.first;
    if *empty_blocks == 0 {
        while at <= scan.last {
            bits.refill();
            let (run, number) = table.number(&mut bits)?;
            let value = match number {
                0 if run < 15 => {
                    *empty_blocks = (1 << run) + bits.take(run);
                    break;
                }
                0 => 0,
                1 => one,
                -1 => -one,
                _ => return None,
            };
            // The zero after `run` others, or the end of the band.
            let mut zeros = !known & up_to_last & !before(at);
            for _ in 0..run {
                zeros &= zeros.wrapping_sub(1);
            }
            let place = zeros.trailing_zeros().min(scan.last + 1);
            let passed = if place == 64 { u64::MAX } else { before(place) };
            refine(
                &mut bits,
                block,
                known & !before(at) & passed & up_to_last,
                one,
            );
            if value != 0 {
                if place > scan.last {
                    return None;
                }
                block[place as usize & 63] = value;
                *non_zero |= 1 << place;
            }
            at = place + 1;
        }
    }
    if *empty_blocks > 0 {
        if at <= scan.last {
            refine(&mut bits, block, known & !before(at) & up_to_last, one);
        }
        *empty_blocks -= 1;
    }
    *reader = bits;
    Some(())
}

/// Reads a bit for each of the frequencies `which`, and lets those grow for which it is set.
#[inline(always)]
fn refine(bits: &mut Bits, block: &mut [i16; 64], mut which: u64, one: i16) {
    while which != 0 {
        bits.refill();
        let count = which.count_ones().min(32);
        let mut grows = u64::from(bits.peek(count)) << (64 - count);
        bits.skip(count);
        for _ in 0..count {
            let place = which.trailing_zeros() as usize;
            let frequency = &mut block[place & 63];
            if grows >> 63 == 1 && *frequency & one == 0 {
                let step = if *frequency < 0 { -one } else { one };
                *frequency = frequency.wrapping_add(step);
            }
            grows <<= 1;
            which &= which - 1;
        }
    }
}
