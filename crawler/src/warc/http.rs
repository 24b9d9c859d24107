//! HTTP/1 answers as WARC records hold them.

/// The header of an answer.
pub(super) struct Head {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    /// Bytes up to the body.
    pub(super) length: usize,
}

impl Head {
    /// Reads the header at the beginning of a block; `None` if there is none. Bytes that are not
    /// UTF-8 are replaced.
    pub(super) fn parse(block: &[u8]) -> Option<Self> {
        if !block.starts_with(b"HTTP/") {
            return None;
        }
        let mut position = 0;
        let mut lines = Vec::new();
        loop {
            let rest = &block[position..];
            // A record may end with its header.
            let end = rest.iter().position(|byte| *byte == b'\n');
            let line = &rest[..end.unwrap_or(rest.len())];
            position += end.map_or(rest.len(), |end| end + 1);
            let line = line.strip_suffix(b"\r").unwrap_or(line);
            if line.is_empty() {
                break;
            }
            lines.push(String::from_utf8_lossy(line).into_owned());
        }
        let status = lines.first()?.split_ascii_whitespace().nth(1)?;
        Some(Self {
            status: status.parse().ok()?,
            headers: headers(&lines[1..]),
            length: position,
        })
    }

    /// The value of a header; of several the last.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        find(&self.headers, name)
    }

    pub(super) fn headers(&self) -> impl Iterator<Item = (&str, &str)> {
        self.headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

/// What follows the header of a message; all of a block that is none.
pub(super) fn payload(block: &[u8]) -> &[u8] {
    let is_message = block.starts_with(b"HTTP/")
        || ["GET ", "POST ", "HEAD "]
            .iter()
            .any(|method| block.starts_with(method.as_bytes()));
    if !is_message {
        return block;
    }
    let end = block.windows(4).position(|window| window == b"\r\n\r\n");
    end.map_or(&[], |end| &block[end + 4..])
}

/// Header lines to names and values; a line that begins with white space continues the one before.
pub(super) fn headers(lines: &[String]) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> = Vec::new();
    for line in lines {
        if line.starts_with([' ', '\t'])
            && let Some((_, value)) = headers.last_mut()
        {
            value.push(' ');
            value.push_str(line.trim());
        } else if let Some((name, value)) = line.split_once(':') {
            headers.push((name.trim().to_owned(), value.trim().to_owned()));
        }
    }
    headers
}

pub(super) fn find<'a>(headers: &'a [(String, String)], name: &str) -> Option<&'a str> {
    headers
        .iter()
        .rev()
        .find(|(found, _)| found.eq_ignore_ascii_case(name))
        .map(|(_, value)| value.as_str())
}

/// A chunked body put together; `None` if it is not chunked to its end.
pub(super) fn without_chunks(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = rest.iter().position(|byte| *byte == b'\n')?;
        let line = std::str::from_utf8(&rest[..end]).ok()?;
        let digits = line.split(';').next().unwrap_or_default().trim();
        let size = usize::from_str_radix(digits, 16).ok()?;
        rest = &rest[end + 1..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = &rest[size..];
        rest = rest.strip_prefix(b"\r").unwrap_or(rest);
        rest = rest.strip_prefix(b"\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_read_up_to_its_empty_line() {
        let block = b"HTTP/1.1 200 OK\r\nA: 1\r\n  2\r\na: 3\r\n\r\nbody";
        let head = Head::parse(block).unwrap();
        assert_eq!((head.status, head.header("A")), (200, Some("3")));
        assert_eq!(head.headers().next(), Some(("A", "1 2")));
        assert_eq!(&block[head.length..], b"body");
        assert!(Head::parse(b"no header").is_none());
    }

    #[test]
    fn chunks_are_joined_and_what_is_not_chunked_is_told_apart() {
        let chunked = b"3\r\nabc\r\nA;x=y\r\n0123456789\r\n0\r\n\r\n";
        assert_eq!(without_chunks(chunked).unwrap(), b"abc0123456789");
        assert_eq!(without_chunks(b"<html>\nwhole</html>"), None);
        assert_eq!(without_chunks(b"5\r\nabc"), None);
        assert_eq!(without_chunks(b"ffffffffffffffff\r\nabc"), None);
    }
}
