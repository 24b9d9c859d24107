//! What stands between the pictures' data: tables, sizes, notes (ITU-T T.81, annex B).

use super::huffman::Table;

/// A picture's size and components.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Frame {
    pub(super) width: usize,
    pub(super) height: usize,
    pub(super) is_progressive: bool,
    pub(super) components: Vec<Component>,
}

/// One of a picture's colours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Component {
    pub(super) id: u8,
    /// Blocks in a unit of the picture, from left to right and from top to bottom.
    pub(super) blocks_across: usize,
    pub(super) blocks_down: usize,
    /// Which table its frequencies are quantized with.
    pub(super) quantization: usize,
}

impl Frame {
    /// The most blocks that a component has in a unit, across and down.
    pub(super) fn unit(&self) -> (usize, usize) {
        let most = |blocks: fn(&Component) -> usize| self.components.iter().map(blocks).max();
        (
            most(|component| component.blocks_across).unwrap_or(1),
            most(|component| component.blocks_down).unwrap_or(1),
        )
    }

    /// Units from left to right and from top to bottom.
    pub(super) fn units(&self) -> (usize, usize) {
        let (across, down) = self.unit();
        (
            self.width.div_ceil(8 * across),
            self.height.div_ceil(8 * down),
        )
    }

    /// `None` for what is rare: arithmetic codes, 12 bits, four colours, lines counted at the end.
    fn read(body: &[u8], is_progressive: bool) -> Option<Self> {
        let [8, h1, h2, w1, w2, count, rest @ ..] = body else {
            return None;
        };
        if !matches!(count, 1 | 3) || rest.len() != 3 * usize::from(*count) {
            return None;
        }
        let components: Vec<Component> = rest
            .chunks_exact(3)
            .map(|component| Component {
                id: component[0],
                blocks_across: usize::from(component[1] >> 4),
                blocks_down: usize::from(component[1] & 15),
                quantization: usize::from(component[2]),
            })
            .collect();
        let mut frame = Self {
            width: usize::from(u16::from_be_bytes([*w1, *w2])),
            height: usize::from(u16::from_be_bytes([*h1, *h2])),
            is_progressive,
            components,
        };
        if let [only] = &mut frame.components[..] {
            // Alone it is read block by block, whatever its unit would be.
            (only.blocks_across, only.blocks_down) = (1, 1);
        }
        let is_known = frame.components.iter().all(|component| {
            (1..=4).contains(&component.blocks_across)
                && (1..=4).contains(&component.blocks_down)
                && component.quantization < 4
        });
        (is_known && frame.width > 0 && frame.height > 0).then_some(frame)
    }
}

/// One pass over some of a picture's frequencies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scan {
    pub(super) components: Vec<ScanComponent>,
    /// First and last frequency, in zigzag order.
    pub(super) first: u32,
    pub(super) last: u32,
    /// Bits that were left out before this pass, if it is not a component's first one; and bits
    /// that are left out still.
    pub(super) is_refinement: bool,
    pub(super) shift: u32,
}

/// A component's part in a scan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ScanComponent {
    /// Its place in the frame.
    pub(super) index: usize,
    pub(super) dc_table: usize,
    pub(super) ac_table: usize,
}

impl Scan {
    fn read(body: &[u8], frame: &Frame) -> Option<Self> {
        let (count, rest) = body.split_first()?;
        let count = usize::from(*count);
        if !(1..=frame.components.len()).contains(&count) || rest.len() != 2 * count + 3 {
            return None;
        }
        let (components, [first, last, bits]) = rest.split_last_chunk::<3>()?;
        let mut in_scan = Vec::new();
        for component in components.chunks_exact(2) {
            let index = frame
                .components
                .iter()
                .position(|known| known.id == component[0])?;
            let (dc_table, ac_table) = (component[1] >> 4, component[1] & 15);
            let is_known = dc_table < 4 && ac_table < 4;
            if !is_known
                || in_scan
                    .iter()
                    .any(|known: &ScanComponent| known.index == index)
            {
                return None;
            }
            in_scan.push(ScanComponent {
                index,
                dc_table: usize::from(dc_table),
                ac_table: usize::from(ac_table),
            });
        }
        let (before, shift) = (u32::from(bits >> 4), u32::from(bits & 15));
        let scan = Self {
            components: in_scan,
            first: u32::from(*first),
            last: u32::from(*last),
            is_refinement: before > 0,
            shift,
        };
        let is_whole = (scan.first, scan.last, before, shift) == (0, 63, 0, 0);
        let is_step = (before == 0 || before == shift + 1) && shift <= 13;
        let is_band = match scan.first {
            0 => scan.last == 0,
            first => first <= scan.last && scan.last <= 63 && count == 1,
        };
        let is_sound = if frame.is_progressive {
            is_step && is_band
        } else {
            is_whole
        };
        is_sound.then_some(scan)
    }
}

/// Everything that the segments so far have said.
#[derive(Default)]
pub(super) struct Header {
    pub(super) frame: Option<Frame>,
    pub(super) quantization: [Option<[u16; 64]>; 4],
    pub(super) dc_tables: [Option<Table>; 4],
    pub(super) ac_tables: [Option<Table>; 4],
    /// Units between two restarts; 0 for none.
    pub(super) restart_interval: usize,
    /// The body of an EXIF file.
    pub(super) exif: Option<Vec<u8>>,
    profile: Vec<(u8, u8, Vec<u8>)>,
    has_jfif: bool,
    adobe_transform: Option<u8>,
}

/// What reading stopped at.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// A scan; its data follow.
    Scan(Scan),
    /// The end of the picture.
    End,
}

impl Header {
    /// Reads segments from `position` on up to the next scan or the end, and moves `position`
    /// behind it. `None` for what is damaged or rare.
    pub(super) fn read(&mut self, bytes: &[u8], position: &mut usize) -> Option<Stop> {
        loop {
            if *bytes.get(*position)? != 0xff {
                return None;
            }
            let marker = *bytes.get(*position + 1)?;
            *position += 1;
            if marker == 0xff {
                continue;
            }
            *position += 1;
            match marker {
                0xd8 | 0x01 => continue,
                0xd9 => return Some(Stop::End),
                0xd0..=0xd7 | 0x00 => return None,
                _ => {}
            }
            let length = bytes.get(*position..)?.first_chunk::<2>()?;
            let length = usize::from(u16::from_be_bytes(*length));
            let body = bytes.get(*position + 2..*position + length)?;
            *position += length;
            match marker {
                0xda => {
                    let scan = Scan::read(body, self.frame.as_ref()?)?;
                    return Some(Stop::Scan(scan));
                }
                0xc0..=0xc2 if self.frame.is_none() => {
                    self.frame = Some(Frame::read(body, marker == 0xc2)?);
                }
                0xc4 => self.read_codes(body)?,
                0xdb => self.read_quantization(body)?,
                0xdd => {
                    let interval = body.first_chunk::<2>()?;
                    self.restart_interval = usize::from(u16::from_be_bytes(*interval));
                }
                0xc0..=0xcf | 0xdc..=0xdf => return None,
                0xe0 => self.has_jfif |= body.starts_with(b"JFIF\0"),
                0xe1 => {
                    let exif = body.strip_prefix(b"Exif\0\0");
                    if let (Some(exif), None) = (exif, &self.exif) {
                        self.exif = Some(exif.to_vec());
                    }
                }
                0xe2 => {
                    if let Some([number, count, part @ ..]) = body.strip_prefix(b"ICC_PROFILE\0") {
                        self.profile.push((*number, *count, part.to_vec()));
                    }
                }
                0xee => {
                    if let Some(adobe) = body.strip_prefix(b"Adobe") {
                        self.adobe_transform = adobe.get(6).copied();
                    }
                }
                _ => {}
            }
        }
    }

    /// Whether three components are luma and two chromas, as they nearly always are.
    pub(super) fn is_luma_and_chroma(&self) -> bool {
        match (self.adobe_transform, &self.frame) {
            (Some(transform), _) => transform == 1,
            (None, Some(frame)) => {
                let ids = frame.components.iter().map(|component| component.id);
                self.has_jfif || !ids.eq(*b"RGB")
            }
            (None, None) => false,
        }
    }

    /// The colour profile, if all its parts are there.
    pub(super) fn icc_profile(&self) -> Option<Vec<u8>> {
        let count = self.profile.first()?.1;
        let mut profile = Vec::new();
        for number in 1..=count {
            let part = self.profile.iter().find(|part| part.0 == number)?;
            profile.extend_from_slice(&part.2);
        }
        (!profile.is_empty() && self.profile.len() == usize::from(count)).then_some(profile)
    }

    fn read_quantization(&mut self, mut body: &[u8]) -> Option<()> {
        while let Some((kind, rest)) = body.split_first() {
            let mut table = [0; 64];
            match kind >> 4 {
                0 => {
                    let (bytes, rest) = rest.split_first_chunk::<64>()?;
                    table = bytes.map(u16::from);
                    body = rest;
                }
                1 => {
                    let (bytes, rest) = rest.split_first_chunk::<128>()?;
                    for (step, pair) in table.iter_mut().zip(bytes.as_chunks().0) {
                        *step = u16::from_be_bytes(*pair);
                    }
                    body = rest;
                }
                _ => return None,
            }
            *self.quantization.get_mut(usize::from(kind & 15))? = Some(table);
        }
        Some(())
    }

    fn read_codes(&mut self, mut body: &[u8]) -> Option<()> {
        while let Some((kind, rest)) = body.split_first() {
            let (counts, rest) = rest.split_first_chunk::<16>()?;
            let count = counts.iter().map(|count| usize::from(*count)).sum();
            let (symbols, rest) = rest.split_at_checked(count)?;
            let tables = match kind >> 4 {
                0 if symbols.iter().all(|size| *size <= 11) => &mut self.dc_tables,
                1 => &mut self.ac_tables,
                _ => return None,
            };
            *tables.get_mut(usize::from(kind & 15))? = Some(Table::new(counts, symbols)?);
            body = rest;
        }
        Some(())
    }
}
