//! The bytes of a WARC file, member by member.
//!
//! A compressed WARC file is a row of gzip members or zstd frames, each of which should hold one
//! record. [`Members`] gives the decompressed bytes of one member at a time and knows where it
//! stands; a plain file is one member.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::GzDecoder;
use zstd::stream::read::Decoder as ZstdDecoder;

const BUFFER_BYTES: usize = 64 * 1024;

/// Largest dictionary that a zstd file may bring along.
const MAX_DICTIONARY_BYTES: u32 = 8 << 20;

const GZIP_MAGIC: [u8; 3] = [0x1f, 0x8b, 0x08];
const ZSTD_MAGIC: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
/// Skippable frame that holds a dictionary: WARC zstd specification, section 3.
const ZSTD_DICTIONARY_MAGIC: [u8; 4] = [0x5d, 0x2a, 0x4d, 0x18];

type Source = Counted<BufReader<Box<dyn Read + Send>>>;

/// Decompressed bytes of the member at hand.
pub(super) enum Members {
    Plain(Source),
    /// Between members of a compressed file.
    Between(Source, Form),
    Gzip(Box<BufReader<GzDecoder<Source>>>),
    Zstd(BufReader<ZstdDecoder<'static, Source>>, Form),
    /// The source is at its end, or lost.
    Finished,
}

#[derive(Clone)]
pub(super) enum Form {
    Gzip,
    Zstd { dictionary: Vec<u8> },
}

impl Members {
    pub(super) fn new(source: Box<dyn Read + Send>) -> io::Result<Self> {
        let mut source = Counted {
            inner: BufReader::with_capacity(BUFFER_BYTES, source),
            position: 0,
        };
        let start = source.fill_buf()?;
        if start.starts_with(&GZIP_MAGIC[..2]) {
            return Ok(Self::Between(source, Form::Gzip));
        }
        if start.starts_with(&ZSTD_MAGIC) || start.starts_with(&ZSTD_DICTIONARY_MAGIC) {
            let dictionary = dictionary(&mut source)?;
            return Ok(Self::Between(source, Form::Zstd { dictionary }));
        }
        Ok(Self::Plain(source))
    }

    /// Whether the file consists of members, each with an end of its own.
    pub(super) fn is_compressed(&self) -> bool {
        !matches!(self, Self::Plain(_) | Self::Finished)
    }

    /// Bytes of the file that have been used.
    pub(super) fn position(&self) -> u64 {
        match self {
            Self::Plain(source) | Self::Between(source, _) => source.position,
            Self::Gzip(decoder) => decoder.get_ref().get_ref().position,
            Self::Zstd(decoder, _) => decoder.get_ref().get_ref().position,
            Self::Finished => 0,
        }
    }

    /// Opens the next member; `false` at the end of the file.
    pub(super) fn open_next(&mut self) -> io::Result<bool> {
        match std::mem::replace(self, Self::Finished) {
            Self::Between(mut source, form) => {
                if source.fill_buf()?.is_empty() {
                    return Ok(false);
                }
                *self = match form {
                    Form::Gzip => Self::Gzip(Box::new(BufReader::new(GzDecoder::new(source)))),
                    Form::Zstd { ref dictionary } => {
                        let decoder = ZstdDecoder::with_dictionary(source, dictionary)?;
                        Self::Zstd(BufReader::new(decoder.single_frame()), form)
                    }
                };
                Ok(true)
            }
            other => {
                *self = other;
                Ok(!matches!(self, Self::Finished))
            }
        }
    }

    /// Leaves a member whose bytes are all read.
    pub(super) fn close(&mut self) {
        *self = match std::mem::replace(self, Self::Finished) {
            Self::Gzip(decoder) => Self::Between(decoder.into_inner().into_inner(), Form::Gzip),
            Self::Zstd(decoder, form) => Self::Between(decoder.into_inner().finish(), form),
            other => other,
        };
    }

    /// Leaves a damaged member or record and looks for the next place where one may begin; `false`
    /// if there is none.
    pub(super) fn resynchronise(&mut self) -> io::Result<bool> {
        self.close();
        let (source, magic): (_, &[u8]) = match self {
            Self::Plain(source) => (source, b"WARC/1."),
            Self::Between(source, Form::Gzip) => (source, &GZIP_MAGIC),
            Self::Between(source, Form::Zstd { .. }) => (source, &ZSTD_MAGIC),
            Self::Gzip(_) | Self::Zstd(..) | Self::Finished => return Ok(false),
        };
        let is_found = source.skip_to(magic)?;
        if !is_found {
            *self = Self::Finished;
        }
        Ok(is_found)
    }
}

impl Read for Members {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = {
            let mut available = self.fill_buf()?;
            available.read(buffer)?
        };
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Members {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        match self {
            Self::Plain(source) => source.fill_buf(),
            Self::Gzip(decoder) => decoder.fill_buf(),
            Self::Zstd(decoder, _) => decoder.fill_buf(),
            Self::Between(..) | Self::Finished => Ok(&[]),
        }
    }

    fn consume(&mut self, amount: usize) {
        match self {
            Self::Plain(source) => source.consume(amount),
            Self::Gzip(decoder) => decoder.consume(amount),
            Self::Zstd(decoder, _) => decoder.consume(amount),
            Self::Between(..) | Self::Finished => {}
        }
    }
}

/// The dictionary at the beginning of a zstd file, which may itself be compressed; empty if there
/// is none.
fn dictionary(source: &mut Source) -> io::Result<Vec<u8>> {
    if !source.fill_buf()?.starts_with(&ZSTD_DICTIONARY_MAGIC) {
        return Ok(Vec::new());
    }
    let mut header = [0; 8];
    source.read_exact(&mut header)?;
    let [.., a, b, c, d] = header;
    let length = u32::from_le_bytes([a, b, c, d]);
    let too_large = || io::Error::new(io::ErrorKind::InvalidData, "the dictionary is too large");
    if length > MAX_DICTIONARY_BYTES {
        return Err(too_large());
    }
    let mut stored = vec![0; length as usize];
    source.read_exact(&mut stored)?;
    if !stored.starts_with(&ZSTD_MAGIC) {
        return Ok(stored);
    }
    let mut dictionary = Vec::new();
    ZstdDecoder::new(stored.as_slice())?
        .take(u64::from(MAX_DICTIONARY_BYTES) + 1)
        .read_to_end(&mut dictionary)?;
    if dictionary.len() > MAX_DICTIONARY_BYTES as usize {
        return Err(too_large());
    }
    Ok(dictionary)
}

/// A reader that counts what is taken from it.
pub(super) struct Counted<R> {
    inner: R,
    position: u64,
}

impl<R: BufRead> Counted<R> {
    /// Skips to the next place where `wanted` stands; `false` if there is none.
    fn skip_to(&mut self, wanted: &[u8]) -> io::Result<bool> {
        loop {
            let available = self.fill_buf()?;
            if available.is_empty() {
                return Ok(false);
            }
            let found = available
                .windows(wanted.len())
                .position(|window| window == wanted);
            if let Some(position) = found {
                self.consume(position);
                return Ok(true);
            }
            // What stands across two buffers is not found: then the record after it is.
            let length = available.len();
            self.consume(length);
        }
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.position += count as u64;
        Ok(count)
    }
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.inner.fill_buf()
    }

    fn consume(&mut self, amount: usize) {
        self.inner.consume(amount);
        self.position += amount as u64;
    }
}
