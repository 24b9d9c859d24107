//! Content codings undone, within a cap: a bomb costs the cap and no more.

use std::io::{self, Read, Write};

use brotli_decompressor::DecompressorWriter;
use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use zstd::stream::raw::{DParameter, Decoder as ZstdDecoder, InBuffer, Operation, OutBuffer};

use crate::{Failure, FailureKind};

/// What we can undo, as sent in `Accept-Encoding`.
pub(crate) const ACCEPT_ENCODING: &str = "gzip, br, zstd, deflate";

/// Largest zstd window: what RFC 9659 demands of HTTP clients.
const ZSTD_WINDOW_LOG: u32 = 23;

/// Decoded bytes handled at a time.
const STEP_BYTES: usize = 64 * 1024;

/// Reads a whole body and undoes its content coding.
///
/// # Errors
///
/// [`FailureKind::TooLarge`] beyond `max_bytes` after decoding, [`FailureKind::Encoding`] if the
/// bytes are not what the coding says or there is more than one, [`FailureKind::Truncated`] if
/// they end too early or cannot be read.
pub fn decode_body(
    content_encoding: Option<&str>,
    body: impl Read,
    max_bytes: usize,
) -> Result<Vec<u8>, Failure> {
    let mut decoder = BodyDecoder::new(content_encoding, max_bytes)?;
    decoder.push_all(body)?;
    decoder.finish()
}

/// As [`decode_body`], but of a body that ends too early the beginning is kept; the claim says
/// whether it is whole.
pub(crate) fn decode_body_start(
    content_encoding: Option<&str>,
    body: impl Read,
    max_bytes: usize,
) -> Result<(Vec<u8>, bool), Failure> {
    let mut decoder = BodyDecoder::new(content_encoding, max_bytes)?;
    decoder.push_all(body)?;
    let is_whole = decoder.end().is_ok();
    Ok((decoder.into_decoded(), is_whole))
}

/// Undoes a content coding piece by piece. Holds at most the cap and the coding's window.
pub(crate) struct BodyDecoder {
    coding: Coding,
}

enum Coding {
    Identity(Capped),
    Gzip(Box<MultiGzDecoder<Capped>>),
    /// `deflate`, whose first two bytes tell which of its two forms this is.
    DeflateUnknown {
        start: Vec<u8>,
        output: Capped,
    },
    Zlib(Box<ZlibDecoder<Capped>>),
    Deflate(Box<DeflateDecoder<Capped>>),
    Brotli(Box<DecompressorWriter<Capped>>),
    Zstd(Box<Zstd>),
}

struct Zstd {
    decoder: ZstdDecoder<'static>,
    output: Capped,
    is_between_frames: bool,
}

impl BodyDecoder {
    /// A decoder for the value of a `Content-Encoding` header.
    pub(crate) fn new(content_encoding: Option<&str>, max_bytes: usize) -> Result<Self, Failure> {
        let output = Capped::new(max_bytes);
        let names: Vec<String> = content_encoding
            .unwrap_or_default()
            .split(',')
            .map(|name| name.trim().to_ascii_lowercase())
            .filter(|name| !name.is_empty() && name != "identity")
            .collect();
        let unknown = |detail: String| Failure::new(FailureKind::Encoding, detail);
        let coding = match names.as_slice() {
            [] => Coding::Identity(output),
            [name] => match name.as_str() {
                "gzip" | "x-gzip" => Coding::Gzip(Box::new(MultiGzDecoder::new(output))),
                "deflate" => Coding::DeflateUnknown {
                    start: Vec::new(),
                    output,
                },
                "br" => Coding::Brotli(Box::new(DecompressorWriter::new(output, STEP_BYTES))),
                "zstd" => Coding::Zstd(Box::new(Zstd::new(output)?)),
                _ => return Err(unknown(format!("the content coding `{name}` is not known"))),
            },
            // Nobody needs two; who sends them has a bomb or a broken server.
            _ => return Err(unknown("there is more than one content coding".to_owned())),
        };
        Ok(Self { coding })
    }

    /// Takes the next bytes as they came.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        let written = match &mut self.coding {
            Coding::Identity(output) => output.write_all(bytes),
            Coding::Gzip(decoder) => decoder.write_all(bytes),
            Coding::DeflateUnknown { start, output } => {
                start.extend_from_slice(bytes);
                if start.len() < 2 {
                    return Ok(());
                }
                let start = std::mem::take(start);
                let output = output.take();
                self.coding = if is_zlib(&start) {
                    Coding::Zlib(Box::new(ZlibDecoder::new(output)))
                } else {
                    Coding::Deflate(Box::new(DeflateDecoder::new(output)))
                };
                return self.push(&start);
            }
            Coding::Zlib(decoder) => decoder.write_all(bytes),
            Coding::Deflate(decoder) => decoder.write_all(bytes),
            Coding::Brotli(decoder) => decoder.write_all(bytes),
            Coding::Zstd(zstd) => zstd.push(bytes),
        };
        written.map_err(|error| self.failure(FailureKind::Encoding, &error))
    }

    fn push_all(&mut self, mut body: impl Read) -> Result<(), Failure> {
        let mut buffer = vec![0; STEP_BYTES];
        loop {
            match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(count) => self.push(&buffer[..count])?,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Failure::new(FailureKind::Truncated, error.to_string())),
            }
        }
    }

    /// The body, if it is whole.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>, Failure> {
        self.end()?;
        Ok(self.into_decoded())
    }

    /// Whether the coding has come to its end.
    fn end(&mut self) -> Result<(), Failure> {
        let ended = match &mut self.coding {
            Coding::Gzip(decoder) => decoder.try_finish(),
            Coding::Zlib(decoder) => decoder.try_finish(),
            Coding::Deflate(decoder) => decoder.try_finish(),
            Coding::Brotli(decoder) => decoder.close(),
            Coding::Zstd(zstd) if !zstd.is_between_frames => {
                Err(io::Error::from(io::ErrorKind::UnexpectedEof))
            }
            Coding::DeflateUnknown { start, .. } if !start.is_empty() => {
                Err(io::Error::from(io::ErrorKind::UnexpectedEof))
            }
            Coding::Identity(_) | Coding::DeflateUnknown { .. } | Coding::Zstd(_) => Ok(()),
        };
        ended.map_err(|error| self.failure(FailureKind::Truncated, &error))
    }

    /// What has been decoded so far, whole or not.
    pub(crate) fn into_decoded(mut self) -> Vec<u8> {
        std::mem::take(&mut self.output().bytes)
    }

    fn output(&mut self) -> &mut Capped {
        match &mut self.coding {
            Coding::Identity(output) | Coding::DeflateUnknown { output, .. } => output,
            Coding::Gzip(decoder) => decoder.get_mut(),
            Coding::Zlib(decoder) => decoder.get_mut(),
            Coding::Deflate(decoder) => decoder.get_mut(),
            Coding::Brotli(decoder) => decoder.get_mut(),
            Coding::Zstd(zstd) => &mut zstd.output,
        }
    }

    fn failure(&mut self, kind: FailureKind, error: &io::Error) -> Failure {
        let output = self.output();
        if output.is_over {
            return Failure::new(
                FailureKind::TooLarge,
                format!("more than {} bytes after decoding", output.max_bytes),
            );
        }
        Failure::new(kind, format!("the content coding is broken: {error}"))
    }
}

impl Zstd {
    fn new(output: Capped) -> Result<Self, Failure> {
        let set_up = || {
            let mut decoder = ZstdDecoder::new()?;
            decoder.set_parameter(DParameter::WindowLogMax(ZSTD_WINDOW_LOG))?;
            Ok(decoder)
        };
        let decoder = set_up()
            .map_err(|error: io::Error| Failure::new(FailureKind::Encoding, error.to_string()))?;
        Ok(Self {
            decoder,
            output,
            is_between_frames: true,
        })
    }

    fn push(&mut self, bytes: &[u8]) -> io::Result<()> {
        let mut step = vec![0; STEP_BYTES];
        let mut input = InBuffer::around(bytes);
        loop {
            let mut decoded = OutBuffer::around(step.as_mut_slice());
            let wanted = self.decoder.run(&mut input, &mut decoded)?;
            self.is_between_frames = wanted == 0;
            let is_full = decoded.pos() == STEP_BYTES;
            self.output.write_all(decoded.as_slice())?;
            if input.pos == bytes.len() && !is_full {
                return Ok(());
            }
        }
    }
}

/// Whether these bytes start a zlib stream (RFC 1950, 2.2). `deflate` names that form, but many
/// servers send the bare one.
fn is_zlib(start: &[u8]) -> bool {
    let header = u16::from_be_bytes([start[0], start[1]]);
    start[0] & 0x0f == 8 && header.is_multiple_of(31)
}

/// Where decoded bytes go: a buffer that refuses to grow beyond its cap.
struct Capped {
    bytes: Vec<u8>,
    max_bytes: usize,
    is_over: bool,
}

impl Capped {
    fn new(max_bytes: usize) -> Self {
        Self {
            bytes: Vec::new(),
            max_bytes,
            is_over: false,
        }
    }

    fn take(&mut self) -> Self {
        std::mem::replace(self, Self::new(self.max_bytes))
    }
}

impl Write for Capped {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.max_bytes - self.bytes.len();
        if bytes.len() > room {
            self.bytes.extend_from_slice(&bytes[..room]);
            self.is_over = true;
            return Err(io::Error::other("the cap is reached"));
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn kind(result: Result<Vec<u8>, Failure>) -> FailureKind {
        result.unwrap_err().kind
    }

    #[test]
    fn every_coding_offered_is_undone() {
        let text = b"interleaved ".repeat(50);
        let mut zlib = ZlibEncoder::new(Vec::new(), Compression::fast());
        zlib.write_all(&text).unwrap();
        let mut deflate = DeflateEncoder::new(Vec::new(), Compression::fast());
        deflate.write_all(&text).unwrap();
        // Brotli with one uncompressed meta-block, then the empty last one (RFC 7932, 9.2).
        let brotli = [&[0x0b, 0x00, 0x80][..], b"a", &[0x03]].concat();
        let cases: [(&str, Vec<u8>); 5] = [
            ("gzip", gzip(&text)),
            ("Deflate", zlib.finish().unwrap()),
            ("deflate", deflate.finish().unwrap()),
            ("zstd", zstd::encode_all(&text[..], 3).unwrap()),
            ("identity", text.clone()),
        ];
        for (name, bytes) in cases {
            let decoded = decode_body(Some(name), &bytes[..], 10_000);
            assert_eq!(decoded.as_deref(), Ok(&text[..]), "{name}");
        }
        assert_eq!(decode_body(Some("br"), &brotli[..], 10), Ok(b"a".to_vec()));
    }

    #[test]
    fn a_bomb_is_cut_off_at_the_cap() {
        let zeros = vec![0; 4 << 20];
        for (name, bytes) in [
            ("gzip", gzip(&zeros)),
            ("zstd", zstd::encode_all(&zeros[..], 3).unwrap()),
        ] {
            let mut decoder = BodyDecoder::new(Some(name), 100_000).unwrap();
            let failure = bytes
                .chunks(1000)
                .find_map(|chunk| decoder.push(chunk).err())
                .unwrap();
            assert_eq!(failure.kind, FailureKind::TooLarge, "{name}");
            assert_eq!(decoder.into_decoded().len(), 100_000, "{name}");
        }
    }

    #[test]
    fn a_body_cut_short_is_not_taken_for_a_whole_one() {
        let text = b"interleaved ".repeat(50);
        let packed = gzip(&text);
        let cut = &packed[..packed.len() - 4];
        assert_eq!(
            kind(decode_body(Some("gzip"), cut, 10_000)),
            FailureKind::Truncated
        );
        let packed = zstd::encode_all(&text[..], 3).unwrap();
        let cut = &packed[..packed.len() - 4];
        assert_eq!(
            kind(decode_body(Some("zstd"), cut, 10_000)),
            FailureKind::Truncated
        );
    }

    #[test]
    fn wrong_unknown_and_repeated_codings_are_refused() {
        for name in ["gzip", "zstd", "gzip, gzip", "compress"] {
            let result = decode_body(Some(name), &b"<p>plain text</p>"[..], 1000);
            assert_eq!(kind(result), FailureKind::Encoding, "{name}");
        }
    }
}
