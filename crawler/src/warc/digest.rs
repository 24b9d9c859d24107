//! Digests of records: `sha1:` or `sha256:` and the digest in base32, base64 or hexadecimal.

use sha1::{Digest, Sha1};

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

/// What a record's digests say of its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DigestCheck {
    /// There is none that could be compared.
    None,
    /// All that are there fit.
    Fits,
    /// The one in this header does not.
    Mismatch {
        /// `WARC-Block-Digest` or `WARC-Payload-Digest`.
        header: &'static str,
        /// What the header says.
        stated: String,
        /// What was found.
        found: String,
    },
}

/// The digest that we write: SHA-1 in base32, which every reader knows.
pub(super) fn sha1_digest(bytes: &[u8]) -> String {
    sha1_in_words(&Sha1::digest(bytes))
}

/// A SHA-1 digest as records state it.
pub(super) fn sha1_in_words(digest: &[u8]) -> String {
    format!("sha1:{}", base32(digest))
}

/// Whether a stated digest is that of the bytes; `None` for an algorithm that is not known here. A
/// value that no digest of its algorithm can have is wrong.
pub(super) fn fits(stated: &str, bytes: &[u8]) -> Option<bool> {
    let (algorithm, value) = stated.split_once(':')?;
    if !algorithm.trim().eq_ignore_ascii_case("sha1") {
        return None;
    }
    let stated = decode_sha1(value.trim());
    Some(stated.is_some_and(|stated| stated == *Sha1::digest(bytes)))
}

/// The 20 bytes of a SHA-1 digest: in base32 they take 32 characters, in base64 28 with one `=`,
/// in hexadecimal 40.
fn decode_sha1(value: &str) -> Option<Vec<u8>> {
    let bytes = match value.len() {
        32 => bits(value.to_ascii_uppercase().bytes(), 5, |byte| {
            BASE32.iter().position(|known| *known == byte)
        }),
        40 => bits(value.bytes(), 4, |byte| {
            char::from(byte).to_digit(16).map(|digit| digit as usize)
        }),
        27 | 28 => bits(value.trim_end_matches('=').bytes(), 6, |byte| match byte {
            b'A'..=b'Z' => Some(usize::from(byte - b'A')),
            b'a'..=b'z' => Some(usize::from(byte - b'a') + 26),
            b'0'..=b'9' => Some(usize::from(byte - b'0') + 52),
            b'+' | b'-' => Some(62),
            b'/' | b'_' => Some(63),
            _ => None,
        }),
        _ => None,
    }?;
    (bytes.len() == 20).then_some(bytes)
}

/// Joins digits of `width` bits to bytes; what is left over at the end is padding.
fn bits(
    digits: impl Iterator<Item = u8>,
    width: u32,
    value: impl Fn(u8) -> Option<usize>,
) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let (mut held, mut count) = (0_usize, 0);
    for digit in digits {
        held = held << width | value(digit)?;
        count += width;
        if count >= 8 {
            count -= 8;
            bytes.push(u8::try_from(held >> count & 0xff).ok()?);
            held &= (1 << count) - 1;
        }
    }
    Some(bytes)
}

fn base32(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(5) {
        let mut padded = [0; 8];
        padded[3..3 + chunk.len()].copy_from_slice(chunk);
        let value = u64::from_be_bytes(padded);
        let digits = (chunk.len() * 8).div_ceil(5);
        for digit in 0..digits {
            let index = value >> (35 - 5 * digit) & 31;
            text.push(char::from(
                BASE32[usize::try_from(index).unwrap_or_default()],
            ));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_nothing_is_known_in_every_spelling() {
        assert_eq!(sha1_digest(b""), "sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ");
        for stated in [
            "sha1:3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ",
            "SHA1:3i42h3s6nnfq2msvx7xzkyayscx5qbyj",
            "sha1:2jmj7l5rSw0yVb/vlWAYkK/YBwk=",
            "sha1:2jmj7l5rSw0yVb_vlWAYkK_YBwk",
            "sha1:da39a3ee5e6b4b0d3255bfef95601890afd80709",
        ] {
            assert_eq!(fits(stated, b""), Some(true), "{stated}");
            assert_eq!(fits(stated, b"x"), Some(false), "{stated}");
        }
        assert_eq!(
            fits("sha1:1112H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ", b""),
            Some(false)
        );
        for unknown in ["md5:x", "3I42H3S6NNFQ2MSVX7XZKYAYSCX5QBYJ", ""] {
            assert_eq!(fits(unknown, b""), None, "{unknown}");
        }
    }
}
