//! Records of .csv and .tsv, in bounded memory whatever the file holds.

use std::collections::VecDeque;
use std::io::{BufRead, Read};

/// Longest record, and longest line of any list of pairs.
pub(super) const MAX_RECORD_BYTES: usize = 1 << 20;

/// A line of a file, without its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Line {
    /// All of it.
    Whole(Vec<u8>),
    /// The start of one that is longer than [`MAX_RECORD_BYTES`].
    TooLong(Vec<u8>),
}

/// The lines of a file; memory is one of them.
pub(super) struct Lines<R> {
    reader: R,
    /// Lines that were read and given back.
    given_back: VecDeque<Line>,
}

/// Bytes of a line that is too long which are kept, so that a person can tell which it is.
const HEAD_BYTES: usize = 200;

impl<R: BufRead> Lines<R> {
    pub(super) fn of(reader: R) -> Self {
        Self {
            reader,
            given_back: VecDeque::new(),
        }
    }

    pub(super) fn next_line(&mut self) -> std::io::Result<Option<Line>> {
        if let Some(line) = self.given_back.pop_front() {
            return Ok(Some(line));
        }
        let mut line = Vec::new();
        let limit = MAX_RECORD_BYTES as u64 + 2;
        let read = self
            .reader
            .by_ref()
            .take(limit)
            .read_until(b'\n', &mut line)?;
        if read == 0 {
            return Ok(None);
        }
        if line.last() == Some(&b'\n') {
            line.pop();
            if line.last() == Some(&b'\r') {
                line.pop();
            }
        } else if line.len() > MAX_RECORD_BYTES {
            self.skip_line()?;
        }
        if line.len() > MAX_RECORD_BYTES {
            line.truncate(HEAD_BYTES);
            return Ok(Some(Line::TooLong(line)));
        }
        Ok(Some(Line::Whole(line)))
    }

    fn skip_line(&mut self) -> std::io::Result<()> {
        loop {
            let buffer = self.reader.fill_buf()?;
            let (used, is_done) = match buffer.iter().position(|&byte| byte == b'\n') {
                Some(end) => (end + 1, true),
                None => (buffer.len(), buffer.is_empty()),
            };
            self.reader.consume(used);
            if is_done {
                return Ok(());
            }
        }
    }
}

/// A record of a delimited file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Record {
    /// Its fields.
    Fields(Vec<Vec<u8>>),
    /// A line with a quote that nothing closes; it alone is lost.
    Unclosed(Vec<u8>),
    /// The start of a line that is too long.
    TooLong(Vec<u8>),
}

/// The records of a file with this sign between fields, blank lines left out.
///
/// Quotes are RFC 4180's; a field may hold lines then. One that is never closed would swallow the
/// rest of the file, or up to the next stray quote: where no closing quote ends a field within
/// [`MAX_RECORD_BYTES`], the line is taken for itself and the next is read as a record of its own.
/// In .tsv, which many write without any quoting, such a line is split as it stands.
pub(super) struct Records<R> {
    lines: Lines<R>,
    delimiter: u8,
}

impl<R: BufRead> Records<R> {
    pub(super) fn of(reader: R, delimiter: u8) -> Self {
        Self {
            lines: Lines::of(reader),
            delimiter,
        }
    }

    pub(super) fn next_record(&mut self) -> std::io::Result<Option<Record>> {
        loop {
            let first = match self.lines.next_line()? {
                None => return Ok(None),
                Some(Line::TooLong(head)) => return Ok(Some(Record::TooLong(head))),
                Some(Line::Whole(line)) if line.is_empty() => continue,
                Some(Line::Whole(line)) => line,
            };
            return self.record(first).map(Some);
        }
    }

    fn record(&mut self, first: Vec<u8>) -> std::io::Result<Record> {
        let mut splitter = Splitter::new(self.delimiter);
        let mut state = splitter.line(&first);
        let mut further = Vec::new();
        let mut bytes = first.len();
        while state == State::Open && bytes < MAX_RECORD_BYTES {
            match self.lines.next_line()? {
                Some(Line::Whole(line)) => {
                    bytes += line.len() + 1;
                    state = splitter.line(&line);
                    further.push(Line::Whole(line));
                }
                Some(line) => {
                    further.push(line);
                    break;
                }
                None => break,
            }
        }
        let is_whole = state == State::Closed && (further.is_empty() || !splitter.is_lenient);
        if is_whole {
            return Ok(Record::Fields(splitter.fields));
        }
        for line in further.into_iter().rev() {
            self.lines.given_back.push_front(line);
        }
        if self.delimiter == b'\t' {
            let fields = first.split(|byte| *byte == b'\t').map(<[u8]>::to_vec);
            return Ok(Record::Fields(fields.collect()));
        }
        Ok(Record::Unclosed(first))
    }
}

/// Whether a record goes on in the next line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    Closed,
}

/// Takes a record's lines and splits them into fields.
struct Splitter {
    delimiter: u8,
    fields: Vec<Vec<u8>>,
    is_quoted: bool,
    /// Whether something stood between a closing quote and the field's end.
    is_lenient: bool,
}

impl Splitter {
    fn new(delimiter: u8) -> Self {
        Self {
            delimiter,
            fields: Vec::new(),
            is_quoted: false,
            is_lenient: false,
        }
    }

    fn line(&mut self, line: &[u8]) -> State {
        let mut field = if self.is_quoted {
            let mut field = self.fields.pop().unwrap_or_default();
            field.push(b'\n');
            field
        } else {
            Vec::new()
        };
        let mut is_start = !self.is_quoted;
        let mut bytes = line.iter().copied().peekable();
        while let Some(byte) = bytes.next() {
            let was_start = std::mem::take(&mut is_start);
            if self.is_quoted {
                if byte != b'"' {
                    field.push(byte);
                } else if bytes.next_if_eq(&b'"').is_some() {
                    field.push(b'"');
                } else {
                    self.is_quoted = false;
                    let next = bytes.peek();
                    self.is_lenient |= next.is_some_and(|next| *next != self.delimiter);
                }
            } else if byte == self.delimiter {
                self.fields.push(std::mem::take(&mut field));
                is_start = true;
            } else if byte == b'"' && was_start {
                self.is_quoted = true;
            } else {
                field.push(byte);
            }
        }
        self.fields.push(field);
        if self.is_quoted {
            State::Open
        } else {
            State::Closed
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &[u8], delimiter: u8) -> Vec<Record> {
        let mut records = Records::of(text, delimiter);
        std::iter::from_fn(|| records.next_record().unwrap()).collect()
    }

    fn fields(fields: &[&str]) -> Record {
        Record::Fields(
            fields
                .iter()
                .map(|field| field.as_bytes().to_vec())
                .collect(),
        )
    }

    #[test]
    fn quotes_keep_separators_line_ends_and_quotes() {
        assert_eq!(
            records(b"a,\"b,\"\"c\"\"\nd\",e\r\n\n,\n\"\",x\"y\n", b','),
            [
                fields(&["a", "b,\"c\"\nd", "e"]),
                fields(&["", ""]),
                fields(&["", "x\"y"]),
            ]
        );
    }

    #[test]
    fn a_quote_that_nothing_closes_costs_its_own_line_only() {
        assert_eq!(
            records(b"1,\"a\n2,b\n3,c", b','),
            [
                Record::Unclosed(b"1,\"a".to_vec()),
                fields(&["2", "b"]),
                fields(&["3", "c"]),
            ]
        );
        // The next stray quote does not close it.
        assert_eq!(
            records(b"1,\"a\n2,b\n3,\"c\n4,d", b','),
            [
                Record::Unclosed(b"1,\"a".to_vec()),
                fields(&["2", "b"]),
                Record::Unclosed(b"3,\"c".to_vec()),
                fields(&["4", "d"]),
            ]
        );
        assert_eq!(
            records(b"1\t\"a\n2\tb", b'\t'),
            [fields(&["1", "\"a"]), fields(&["2", "b"])]
        );
    }

    #[test]
    fn a_line_that_is_too_long_costs_itself_and_no_memory() {
        let mut text = vec![b'x'; 3 * MAX_RECORD_BYTES];
        text.extend(b"\na,b\n");
        let found = records(&text, b',');
        assert_eq!(found.len(), 2);
        assert!(matches!(&found[0], Record::TooLong(head) if head.len() == HEAD_BYTES));
        assert_eq!(found[1], fields(&["a", "b"]));
    }

    proptest::proptest! {
        #[test]
        fn what_the_csv_crate_writes_is_read_back(
            rows in proptest::collection::vec(
                proptest::collection::vec("[a,\"\n \t]{0,6}", 2..4), 1..6)
        ) {
            let mut writer = csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
            for row in &rows {
                writer.write_record(row).unwrap();
            }
            let text = writer.into_inner().unwrap();
            let expected: Vec<Record> = rows
                .iter()
                .map(|row| fields(&row.iter().map(String::as_str).collect::<Vec<_>>()))
                .collect();
            proptest::prop_assert_eq!(records(&text, b','), expected);
        }
    }
}
