//! Moving pictures, told from still ones.

use super::Format;

/// Whether a GIF, PNG or WebP file holds an animation; the other formats have none.
pub(super) fn is_animated(bytes: &[u8], format: Format) -> bool {
    match format {
        // The animation control chunk stands before the first image data (PNG, third edition).
        Format::Png => {
            let data = find(bytes, b"IDAT").unwrap_or(bytes.len());
            find(&bytes[..data], b"acTL").is_some()
        }
        // Bit 1 of the flags of an extended header (RFC 9649, section 2.7).
        Format::WebP => {
            bytes.get(12..16) == Some(b"VP8X") && bytes.get(20).is_some_and(|flags| flags & 2 != 0)
        }
        Format::Gif => gif_frames(bytes) > 1,
        Format::Jpeg | Format::Bmp | Format::Tiff | Format::Ico => false,
    }
}

/// Frames of a GIF, counted up to two: it is walked from block to block (GIF89a, appendix B).
fn gif_frames(bytes: &[u8]) -> usize {
    const TABLE: u8 = 0x80;
    let table_bytes = |flags: u8| match flags & TABLE {
        0 => 0,
        _ => 3 << ((flags & 7) + 1),
    };
    let mut frames = 0;
    let mut position = 13 + bytes.get(10).map_or(0, |flags| table_bytes(*flags));
    while frames < 2 {
        match bytes.get(position) {
            Some(0x21) => position += 2,
            Some(0x2c) => {
                frames += 1;
                let flags = bytes.get(position + 9).copied().unwrap_or_default();
                position += 11 + table_bytes(flags);
            }
            _ => break,
        }
        // Sub-blocks, each with its length before it, up to one of length 0.
        while let Some(length) = bytes.get(position) {
            position += 1 + usize::from(*length);
            if *length == 0 {
                break;
            }
        }
    }
    frames
}

fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes
        .windows(needle.len())
        .position(|window| window == needle)
}
