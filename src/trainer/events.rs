//! Event files for TensorBoard.
//!
//! A file is a row of records as TensorFlow frames them (`tensorflow/core/lib/io/record_writer.h`: length
//! and bytes, each with a masked CRC-32C), each an `Event` (`tensorflow/core/util/event.proto`)
//! in Protocol Buffers. The few fields that are needed are written here; the crates for it bring a
//! compiler of `.proto` files along or are no longer cared for.

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};

/// What makes readers drop events of later steps that an earlier launch wrote.
const SESSION_START: u64 = 1;
/// `DT_STRING` in `tensorflow/core/framework/types.proto`.
const STRING: u64 = 7;

/// Writes the events of one launch of a run.
///
/// Memory is one buffer of 8 KiB.
pub(super) struct Events {
    path: PathBuf,
    file: BufWriter<File>,
}

impl Events {
    /// Begins a file in `folder`, for the steps after `steps`.
    pub(super) fn create(folder: &Path, steps: usize) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        // Readers order files by name: seconds first, then what keeps two of one second apart.
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.unwrap_or_default();
        let name = format!(
            "events.out.tfevents.{:010}.{:09}.m3w",
            now.as_secs(),
            now.subsec_nanos()
        );
        let path = folder.join(name);
        let file = File::create(&path);
        let file = file.with_context(|| format!("cannot write {}", path.display()))?;
        let mut events = Self {
            path,
            file: BufWriter::new(file),
        };
        events.write(0, |event| bytes_field(event, 3, b"brain.Event:2"))?;
        events.write(steps + 1, |event| {
            bytes_field(
                event,
                7,
                &message(|session| number_field(session, 1, SESSION_START)),
            );
        })?;
        Ok(events)
    }

    /// Numbers by their names.
    pub(super) fn scalars<'a>(
        &mut self,
        step: usize,
        values: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<()> {
        let summary = message(|summary| {
            for (tag, number) in values {
                let value = message(|value| {
                    bytes_field(value, 1, tag.as_bytes());
                    value.push(2 << 3 | 5);
                    #[expect(clippy::cast_possible_truncation, reason = "the form holds f32")]
                    value.extend_from_slice(&(number as f32).to_le_bytes());
                });
                bytes_field(summary, 1, &value);
            }
        });
        self.write(step, |event| bytes_field(event, 5, &summary))
    }

    /// Words, as the text page of TensorBoard shows them.
    pub(super) fn text(&mut self, step: usize, tag: &str, words: &str) -> Result<()> {
        let value = message(|value| {
            bytes_field(value, 1, tag.as_bytes());
            let plugin = message(|plugin| bytes_field(plugin, 1, b"text"));
            bytes_field(
                value,
                9,
                &message(|metadata| bytes_field(metadata, 1, &plugin)),
            );
            let shape = message(|shape| {
                bytes_field(shape, 2, &message(|size| number_field(size, 1, 1)));
            });
            let tensor = message(|tensor| {
                number_field(tensor, 1, STRING);
                bytes_field(tensor, 2, &shape);
                bytes_field(tensor, 8, words.as_bytes());
            });
            bytes_field(value, 8, &tensor);
        });
        let summary = message(|summary| bytes_field(summary, 1, &value));
        self.write(step, |event| bytes_field(event, 5, &summary))
    }

    /// Puts on the disk what was written so far.
    pub(super) fn flush(&mut self) -> Result<()> {
        self.file
            .flush()
            .with_context(|| format!("cannot write {}", self.path.display()))
    }

    fn write(&mut self, step: usize, fill: impl FnOnce(&mut Vec<u8>)) -> Result<()> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let event = message(|event| {
            event.push(1 << 3 | 1);
            event.extend_from_slice(&now.unwrap_or_default().as_secs_f64().to_le_bytes());
            number_field(event, 2, step as u64);
            fill(event);
        });
        let record = record(&event);
        self.file
            .write_all(&record)
            .with_context(|| format!("cannot write {}", self.path.display()))
    }
}

/// A record: length, its checksum, the bytes, theirs.
fn record(bytes: &[u8]) -> Vec<u8> {
    let length = (bytes.len() as u64).to_le_bytes();
    let mut record = Vec::with_capacity(bytes.len() + 16);
    record.extend_from_slice(&length);
    record.extend_from_slice(&masked_crc(&length).to_le_bytes());
    record.extend_from_slice(bytes);
    record.extend_from_slice(&masked_crc(bytes).to_le_bytes());
    record
}

/// `tensorflow/core/lib/hash/crc32c.h`: a checksum of bytes that hold checksums is no longer one of
/// them.
fn masked_crc(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4), bit by bit: some hundred bytes a step.
fn crc32c(bytes: &[u8]) -> u32 {
    let sum = bytes.iter().fold(u32::MAX, |sum, byte| {
        (0..8).fold(sum ^ u32::from(*byte), |sum, _| {
            (sum >> 1) ^ (0x82f6_3b78 & (sum & 1).wrapping_neg())
        })
    });
    !sum
}

fn message(fill: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    fill(&mut bytes);
    bytes
}

fn number_field(message: &mut Vec<u8>, field: u8, number: u64) {
    message.push(field << 3);
    varint(message, number);
}

fn bytes_field(message: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    message.push(field << 3 | 2);
    varint(message, bytes.len() as u64);
    message.extend_from_slice(bytes);
}

fn varint(message: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        message.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    message.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_rfc() {
        // RFC 3720, appendix B.4.
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
        assert_eq!(crc32c(&[0xff; 32]), 0x62a8_ab43);
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
    }

    #[test]
    fn numbers_take_seven_bits_a_byte() {
        let bytes = message(|message| number_field(message, 2, 300));
        assert_eq!(bytes, [0x10, 0xac, 0x02]);
    }

    #[test]
    fn a_file_is_whole_records_that_begin_with_the_version() {
        let folder = tempfile::tempdir().unwrap();
        let mut events = Events::create(folder.path(), 4).unwrap();
        events
            .scalars(5, [("loss", 2.5), ("loss/pages", 3.0)])
            .unwrap();
        events.text(5, "samples/1", "a kite").unwrap();
        events.flush().unwrap();
        let bytes = fs::read(&events.path).unwrap();
        let mut rest = bytes.as_slice();
        let mut records = Vec::new();
        while let Some((length, _)) = rest.split_first_chunk::<8>() {
            let length = u64::from_le_bytes(*length) as usize;
            let bytes = &rest[12..12 + length];
            assert_eq!(record(bytes), rest[..length + 16]);
            records.push(bytes);
            rest = &rest[length + 16..];
        }
        assert_eq!(records.len(), 4);
        assert!(records[0].ends_with(b"brain.Event:2"));
        // Tag `loss` and 2.5 as the number.
        let value = [&b"\x0a\x04loss\x15"[..], &2.5_f32.to_le_bytes()].concat();
        assert!(records[2].windows(value.len()).any(|part| part == value));
    }
}
