//! A reader of JPEG that makes no more of a picture than is wanted.
//!
//! It reads the entropy-coded data of the whole picture, but turns only the low frequencies of each
//! block into samples, at an eighth, a quarter, a half or all of their size; and it leaves luma and
//! chroma apart, each at the size at which the file holds it, for whoever scales them next.
//!
//! It knows what nearly all files are: Huffman codes, sequential or progressive, 8 bits, grey or
//! luma and chroma. Of all else, damage included, it says `None`, and a decoder of all kinds takes
//! the file over: so which pictures are accepted does not depend on it. Memory is that of the
//! samples, and two bytes for each frequency of a progressive picture; it is asked for only up to a
//! limit.

mod bits;
mod header;
mod huffman;
mod idct;
mod plane;
mod scan;

pub(super) use plane::Samples;

use header::{Component, Frame, Header, Stop};
use idct::{Side, factors};
use plane::Plane;

/// Most scans that are read: encoders write about ten, and each costs a walk over all blocks.
const MAX_SCANS: usize = 100;

/// What a file says of its picture before the data.
pub(super) struct About<'a> {
    /// As it is stored, not turned.
    pub(super) width: u32,
    pub(super) height: u32,
    /// The body of an EXIF file.
    pub(super) exif: Option<&'a [u8]>,
}

/// A picture as its file holds it.
pub(super) struct Picture {
    /// Luma alone, or luma and two chromas.
    pub(super) planes: Vec<Samples>,
    /// The colour profile.
    pub(super) profile: Option<Vec<u8>>,
}

/// Reads a picture. `wanted` is told what it is, and says how many columns and rows luma and chroma
/// shall have at least, where the file has as many; or that the picture is not wanted.
///
/// `None` for that, and for what is damaged, rare, or needs more than `max_bytes`.
pub(super) fn read(
    bytes: &[u8],
    max_bytes: u64,
    wanted: impl FnOnce(About) -> Option<[(u32, u32); 2]>,
) -> Option<Picture> {
    let mut header = Header::default();
    let mut position = 0;
    if !bytes.starts_with(&[0xff, 0xd8]) {
        return None;
    }
    let Stop::Scan(mut scan) = header.read(bytes, &mut position)? else {
        return None;
    };
    let frame = header.frame.clone()?;
    if frame.components.len() > 1 && !header.is_luma_and_chroma() {
        return None;
    }
    let about = About {
        width: u32::try_from(frame.width).ok()?,
        height: u32::try_from(frame.height).ok()?,
        exif: header.exif.as_deref(),
    };
    let [luma, chroma] = wanted(about)?;
    let sides: Vec<Side> = frame
        .components
        .iter()
        .enumerate()
        .map(|(index, component)| side(&frame, component, if index == 0 { luma } else { chroma }))
        .collect();
    let needed: u64 = sides
        .iter()
        .enumerate()
        .map(|(index, side)| Plane::bytes(&frame, index, *side))
        .sum();
    if needed > max_bytes {
        return None;
    }
    let mut planes: Vec<Plane> = sides
        .iter()
        .enumerate()
        .map(|(index, side)| Plane::new(&frame, index, *side))
        .collect();
    let mut is_begun = vec![false; planes.len()];
    for _ in 0..MAX_SCANS {
        for component in &scan.components {
            let index = component.index;
            if !is_begun[index] {
                if scan.first != 0 || scan.is_refinement {
                    return None;
                }
                let quantization = header.quantization[frame.components[index].quantization]?;
                planes[index].factors = factors(&quantization, sides[index]);
                is_begun[index] = true;
            } else if !frame.is_progressive {
                return None;
            }
        }
        scan::read(bytes, &mut position, &header, &scan, &mut planes)?;
        match header.read(bytes, &mut position)? {
            Stop::Scan(next) => scan = next,
            Stop::End => {
                if !is_begun.iter().all(|is_begun| *is_begun) {
                    return None;
                }
                if frame.is_progressive {
                    planes.iter_mut().for_each(Plane::put_all);
                }
                return Some(Picture {
                    planes: planes.into_iter().map(Plane::finish).collect(),
                    profile: header.icc_profile(),
                });
            }
        }
    }
    None
}

/// The smallest size at which a component has the columns and rows that are wanted.
fn side(frame: &Frame, component: &Component, wanted: (u32, u32)) -> Side {
    let (across, down) = frame.unit();
    let has = |side: Side, length: usize, blocks: usize, of: usize, wanted: u32| {
        length * blocks * side.samples() >= wanted as usize * of * 8
    };
    Side::ALL
        .into_iter()
        .find(|side| {
            has(
                *side,
                frame.width,
                component.blocks_across,
                across,
                wanted.0,
            ) && has(*side, frame.height, component.blocks_down, down, wanted.1)
        })
        .unwrap_or(Side::Eight)
}
