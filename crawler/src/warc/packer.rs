//! Records of WARC/1.1 as gzip members.

use std::sync::{Mutex, PoisonError};

use flate2::{Compress, Compression, FlushCompress, Status};
use sha1::{Digest, Sha1};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::digest::sha1_in_words;

/// Windows of gzip: 32 KiB, the largest.
const WINDOW_BITS: u8 = 15;

/// Room for what a step of the compressor writes.
const STEP_BYTES: usize = 16 * 1024;

/// What stands in the header of a record, besides its digest and length.
pub(super) struct Header<'a> {
    pub(super) kind: &'a str,
    pub(super) id: &'a str,
    pub(super) date: &'a str,
    pub(super) target: Option<&'a str>,
    pub(super) content_type: &'a str,
    pub(super) fields: &'a [(&'static str, String)],
}

impl Header<'_> {
    /// The header of a record with this block.
    fn text(&self, block: &[&[u8]]) -> String {
        let mut digest = Sha1::new();
        for part in block {
            digest.update(part);
        }
        let mut text = format!(
            "WARC/1.1\r\nWARC-Type: {}\r\nWARC-Record-ID: {}\r\nWARC-Date: {}\r\n",
            self.kind, self.id, self.date
        );
        if let Some(target) = self.target {
            text.push_str(&format!("WARC-Target-URI: {target}\r\n"));
        }
        for (name, value) in self.fields {
            text.push_str(&format!("{name}: {value}\r\n"));
        }
        text.push_str(&format!(
            "WARC-Block-Digest: {}\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            sha1_in_words(&digest.finalize()),
            self.content_type,
            block.iter().map(|part| part.len()).sum::<usize>()
        ));
        text
    }
}

/// Compresses records. The tables of a compressor, a quarter of a megabyte, are kept for the next
/// record: most records are a few hundred bytes, and clearing fresh memory would cost more than
/// they do.
#[derive(Default)]
pub(super) struct Packer {
    /// As many as there were threads at once.
    idle: Mutex<Vec<Compress>>,
}

impl Packer {
    /// Appends a record, whose block is these parts one behind the other, as a gzip member.
    pub(super) fn append(&self, out: &mut Vec<u8>, header: &Header<'_>, block: &[&[u8]]) {
        let mut compress = self
            .idle()
            .pop()
            .unwrap_or_else(|| Compress::new_gzip(Compression::fast(), WINDOW_BITS));
        compress.reset();
        let text = header.text(block);
        feed(&mut compress, out, text.as_bytes(), FlushCompress::None);
        for part in block {
            feed(&mut compress, out, part, FlushCompress::None);
        }
        feed(&mut compress, out, b"\r\n\r\n", FlushCompress::Finish);
        self.idle().push(compress);
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Compress>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes all of `input`, and with [`FlushCompress::Finish`] writes all that is left.
fn feed(compress: &mut Compress, out: &mut Vec<u8>, mut input: &[u8], flush: FlushCompress) {
    loop {
        out.reserve(STEP_BYTES);
        let before = compress.total_in();
        let status = compress
            .compress_vec(input, out, flush)
            .expect("a compressor that is not set up anew takes everything");
        let taken = usize::try_from(compress.total_in() - before).unwrap_or(input.len());
        input = &input[taken..];
        let is_done = match flush {
            FlushCompress::Finish => status == Status::StreamEnd,
            _ => input.is_empty(),
        };
        if is_done {
            return;
        }
    }
}

/// A moment as records tell it.
pub(super) fn date(unix_seconds: i64) -> String {
    OffsetDateTime::from_unix_timestamp(unix_seconds)
        .unwrap_or(OffsetDateTime::UNIX_EPOCH)
        .format(&Rfc3339)
        .unwrap_or_default()
}

/// A UUID of the kind whose bits are the maker's own (RFC 9562, version 8): of the clock, a count
/// and what the record is about.
pub(super) fn unique_id(about: &str, count: u64) -> String {
    let now = OffsetDateTime::now_utc().unix_timestamp_nanos();
    let mut hasher = Sha1::new();
    hasher.update(now.to_le_bytes());
    hasher.update(count.to_le_bytes());
    hasher.update(std::process::id().to_le_bytes());
    hasher.update(about);
    let digest = hasher.finalize();
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&digest[..16]);
    bytes[6] = bytes[6] & 0x0f | 0x80;
    bytes[8] = bytes[8] & 0x3f | 0x80;
    let number = u128::from_be_bytes(bytes);
    format!(
        "<urn:uuid:{:08x}-{:04x}-{:04x}-{:04x}-{:012x}>",
        number >> 96,
        number >> 80 & 0xffff,
        number >> 64 & 0xffff,
        number >> 48 & 0xffff,
        number & 0xffff_ffff_ffff
    )
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use flate2::read::GzDecoder;
    use proptest::prelude::*;

    use super::*;

    const HEADER: Header<'_> = Header {
        kind: "resource",
        id: "<urn:uuid:0>",
        date: "2026-01-02T03:04:05Z",
        target: None,
        content_type: "text/plain",
        fields: &[],
    };

    proptest! {
        /// One packer for all cases: nothing of a record is left for the next.
        #[test]
        fn each_member_holds_its_record_and_nothing_else(
            blocks in prop::collection::vec(prop::collection::vec(0_u8..4, 0..40_000), 1..4)
        ) {
            let packer = Packer::default();
            let mut out = Vec::new();
            let mut ends = Vec::new();
            for block in &blocks {
                let (left, right) = block.split_at(block.len() / 3);
                packer.append(&mut out, &HEADER, &[left, right]);
                ends.push(out.len());
            }
            let mut start = 0;
            for (block, end) in blocks.iter().zip(ends) {
                let mut record = Vec::new();
                GzDecoder::new(&out[start..end]).read_to_end(&mut record).unwrap();
                let expected = [HEADER.text(&[block]).as_bytes(), block, b"\r\n\r\n"].concat();
                prop_assert_eq!(record, expected);
                start = end;
            }
        }
    }
}
