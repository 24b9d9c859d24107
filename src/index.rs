//! Indexes of archives: where in which WARC file a page stands.
//!
//! Archives publish them as CDX (columns of text), as CDXJ (a key, a date and JSON), as JSON lines
//! from a query server, and as tables with a column for each field. All of them name a file, the
//! offset of a record in it and its length, so that one page can be read without the rest.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use flate2::bufread::MultiGzDecoder;
use m3w_document::Reason;
use serde_json::Value;
use url::Url;

use crate::input;

mod table;

use table::{delimited, parquet_rows};

/// Where a record stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Archived {
    /// The WARC file.
    pub file: WarcFile,
    /// Offset of the record in it.
    pub offset: u64,
    /// Its length, compressed as it is.
    pub length: u64,
}

/// A WARC file that an index names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WarcFile {
    /// On this machine.
    Local(PathBuf),
    /// Behind a server that gives ranges of bytes.
    Remote(Url),
}

/// One line or row of an index: the page's URL as it is written there, and where it stands, or why
/// it is not worth asking for.
pub type Indexed = (String, Result<Archived, Reason>);

/// What one line says, each field as text.
#[derive(Debug, Default)]
struct Fields {
    url: Option<String>,
    file: Option<String>,
    offset: Option<String>,
    length: Option<String>,
    status: Option<String>,
    mime: Option<String>,
}

/// The names of each field, in JSON and in tables; those further ahead go first.
const NAMES: [&[&str]; 6] = [
    &["url"],
    &["warc_filename", "filename"],
    &["warc_record_offset", "offset"],
    &["warc_record_length", "length"],
    &["fetch_status", "status"],
    &[
        "content_mime_detected",
        "mime-detected",
        "content_mime_type",
        "mime",
    ],
];

/// Columns of a CDX file that names none: key, date, URL, type, status, digest, redirect, robot
/// flags, length, offset, file.
const CDX_LEGEND: [&str; 11] = ["N", "b", "a", "m", "s", "k", "r", "M", "S", "V", "g"];

/// Reads an index in its order. The kind is told by the name (`.parquet`, `.csv`, `.tsv`; anything
/// else is lines of CDX, CDXJ or JSON, each told by itself, packed if the name ends in `.gz`).
///
/// `base` is the folder or the `http(s)` URL below which the files stand. Memory held is one line,
/// or one batch of rows.
///
/// # Errors
///
/// If the file cannot be read, is not what its name says, or has no column with file, offset and
/// length.
pub fn records(path: &Path, base: &str) -> Result<Box<dyn Iterator<Item = Result<Indexed>>>> {
    let base = Base::parse(base)?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let extension = name.rsplit('.').next().unwrap_or_default();
    let fields: Box<dyn Iterator<Item = Result<Fields>>> =
        match extension.to_ascii_lowercase().as_str() {
            "parquet" => parquet_rows(path)?,
            "csv" => delimited(path, b',')?,
            "tsv" => delimited(path, b'\t')?,
            "gz" => Box::new(lines(
                MultiGzDecoder::new(BufReader::new(open(path)?)),
                path,
            )),
            _ => Box::new(lines(open(path)?, path)),
        };
    Ok(Box::new(
        fields.map(move |fields| Ok(fields?.settle(&base))),
    ))
}

fn open(path: &Path) -> Result<File> {
    File::open(path).with_context(|| format!("cannot read the index {}", path.display()))
}

impl Fields {
    fn of<'a>(value: impl Fn(&str) -> Option<&'a str>) -> Self {
        let field = |number: usize| {
            let names = NAMES[number].iter();
            names
                .filter_map(|name| value(name))
                .next()
                .map(str::to_owned)
        };
        Self {
            url: field(0),
            file: field(1),
            offset: field(2),
            length: field(3),
            status: field(4),
            mime: field(5),
        }
    }

    fn settle(self, base: &Base) -> Indexed {
        let is_stated = |text: &&str| !matches!(*text, "" | "-");
        let status = self.status.as_deref().filter(is_stated);
        let mime = self.mime.as_deref().filter(is_stated);
        let place = || {
            let file = self.file.as_deref().filter(is_stated)?;
            Some(Archived {
                file: base.file(file)?,
                offset: self.offset.as_deref()?.parse().ok()?,
                length: self.length.as_deref()?.parse().ok()?,
            })
        };
        let archived = match (place(), status, mime) {
            (None, _, _) => Err(Reason::new("fetch/bad-index-line")),
            (_, _, Some("warc/revisit")) => Err(Reason::new("fetch/revisit")),
            (_, Some(status), _) if status != "200" => Err(Reason {
                name: match status.parse::<u16>() {
                    Ok(status) => format!("fetch/http-{status}").into(),
                    Err(_) => "fetch/bad-index-line".into(),
                },
                measured: None,
                threshold: None,
                duplicate_of: None,
            }),
            (_, _, Some(mime)) if !is_html(mime) => Err(Reason::new("fetch/not-html")),
            (Some(place), _, _) => Ok(place),
        };
        (self.url.unwrap_or_default(), archived)
    }
}

/// Whether an index's word for a type may be that of a page; some do not know.
fn is_html(mime: &str) -> bool {
    let mime = mime.split(';').next().unwrap_or_default().trim();
    let pages = ["text/html", "application/xhtml+xml", "unk"];
    pages.iter().any(|page| mime.eq_ignore_ascii_case(page))
}

/// Where files stand that an index names.
enum Base {
    Folder(PathBuf),
    Server(Url),
}

impl Base {
    fn parse(text: &str) -> Result<Self> {
        if !text.contains("://") {
            return Ok(Self::Folder(PathBuf::from(text)));
        }
        let with_slash = format!("{}/", text.trim_end_matches('/'));
        match Url::parse(&with_slash) {
            Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(Self::Server(url)),
            _ => bail!("`{text}` is no place of WARC files: give a folder or an http(s) URL"),
        }
    }

    /// `None` for a name that leads out of the base: an index is data from elsewhere.
    fn file(&self, name: &str) -> Option<WarcFile> {
        if ["http://", "https://"]
            .iter()
            .any(|start| name.starts_with(start))
        {
            return Url::parse(name).ok().map(WarcFile::Remote);
        }
        let is_below = !name.starts_with('/') && !name.split('/').any(|part| part == "..");
        match self {
            _ if !is_below => None,
            Self::Folder(folder) => Some(WarcFile::Local(folder.join(name))),
            Self::Server(url) => url.join(&format!("./{name}")).ok().map(WarcFile::Remote),
        }
    }
}

/// Lines of CDX, CDXJ or JSON.
fn lines<R: Read>(source: R, path: &Path) -> impl Iterator<Item = Result<Fields>> + use<R> {
    let mut legend: Vec<String> = CDX_LEGEND.map(str::to_owned).to_vec();
    input::lines(source, path).filter_map(move |line| {
        let line = match line {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        if let Some(columns) = line.strip_prefix("CDX ") {
            legend = columns.split(' ').map(str::to_owned).collect();
            return None;
        }
        Some(Ok(match line.find('{') {
            Some(start) => json_fields(&line[start..]),
            None => cdx_fields(&line, &legend),
        }))
    })
}

fn json_fields(text: &str) -> Fields {
    let value: Value = serde_json::from_str(text).unwrap_or_default();
    let texts: Vec<(String, String)> = value
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(name, value)| match value {
            Value::String(text) => Some((name.clone(), text.clone())),
            Value::Number(number) => Some((name.clone(), number.to_string())),
            _ => None,
        })
        .collect();
    Fields::of(|wanted| {
        let found = texts.iter().find(|(name, _)| name == wanted);
        found.map(|(_, text)| text.as_str())
    })
}

fn cdx_fields(line: &str, legend: &[String]) -> Fields {
    let values: Vec<&str> = line.split(' ').collect();
    let column = |letter: &str| {
        let position = legend.iter().position(|column| column == letter)?;
        values.get(position).map(|value| (*value).to_owned())
    };
    Fields {
        url: column("a"),
        file: column("g"),
        offset: column("V"),
        length: column("S"),
        status: column("s"),
        mime: column("m"),
    }
}

impl Fields {
    fn at(places: [Option<usize>; 6], value: impl Fn(usize) -> Option<String>) -> Self {
        let [url, file, offset, length, status, mime] = places.map(|place| place.and_then(&value));
        Self {
            url,
            file,
            offset,
            length,
            status,
            mime,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int32Array, RecordBatch, StringArray};
    use parquet::arrow::ArrowWriter;

    use super::*;

    fn read(name: &str, content: &[u8], base: &str) -> Result<Vec<Indexed>> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        records(&path, base)?.collect()
    }

    fn expected() -> Vec<Indexed> {
        let archived = Archived {
            file: WarcFile::Remote(Url::parse("https://data.test/crawl/a.warc.gz").unwrap()),
            offset: 12,
            length: 345,
        };
        vec![
            ("http://a.test/1".to_owned(), Ok(archived)),
            (
                "http://a.test/2".to_owned(),
                Err(Reason::new("fetch/http-404")),
            ),
        ]
    }

    #[test]
    fn every_kind_of_index_says_the_same() {
        let base = "https://data.test";
        let cdx = " CDX N b a m s k r M S V g\n\
            test,a)/1 20250101000000 http://a.test/1 text/html 200 ABC - - 345 12 crawl/a.warc.gz\n\
            test,a)/2 20250101000000 http://a.test/2 text/html 404 ABC - - 1 2 crawl/a.warc.gz\n";
        assert_eq!(read("a.cdx", cdx.as_bytes(), base).unwrap(), expected());
        let json = [
            r#"{"url": "http://a.test/1", "mime": "text/html", "status": "200", "length": "345", "offset": "12", "filename": "crawl/a.warc.gz"}"#,
            r#"{"url": "http://a.test/2", "status": 404, "length": 1, "offset": 2, "filename": "crawl/a.warc.gz"}"#,
        ];
        let lines = json.join("\n");
        assert_eq!(read("a.jsonl", lines.as_bytes(), base).unwrap(), expected());
        let cdxj = json
            .map(|json| format!("test,a)/ 20250101000000 {json}\n"))
            .concat();
        assert_eq!(read("a.cdxj", cdxj.as_bytes(), base).unwrap(), expected());
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut packed, cdxj.as_bytes()).unwrap();
        let packed = packed.finish().unwrap();
        assert_eq!(read("cdx-00000.gz", &packed, base).unwrap(), expected());
        let csv = "url,fetch_status,warc_filename,warc_record_offset,warc_record_length\n\
            http://a.test/1,200,crawl/a.warc.gz,12,345\nhttp://a.test/2,404,crawl/a.warc.gz,2,1\n";
        assert_eq!(read("a.csv", csv.as_bytes(), base).unwrap(), expected());
        let text = |texts: [&str; 2]| Arc::new(StringArray::from(texts.to_vec())) as ArrayRef;
        let number = |numbers: [i32; 2]| Arc::new(Int32Array::from(numbers.to_vec())) as ArrayRef;
        let batch = RecordBatch::try_from_iter([
            ("warc_record_length", number([345, 1])),
            ("content_mime_type", text(["text/html", "-"])),
            ("warc_record_offset", number([12, 2])),
            ("unrelated", number([0, 0])),
            ("url", text(["http://a.test/1", "http://a.test/2"])),
            ("fetch_status", number([200, 404])),
            ("warc_filename", text(["crawl/a.warc.gz"; 2])),
        ])
        .unwrap();
        let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
        writer.write(&batch).unwrap();
        let bytes = writer.into_inner().unwrap();
        assert_eq!(read("a.parquet", &bytes, base).unwrap(), expected());
    }

    #[test]
    fn what_cannot_be_a_page_is_not_asked_for() {
        let reasons = |json: &str| {
            let found = read("a.jsonl", json.as_bytes(), "folder").unwrap();
            found[0]
                .1
                .as_ref()
                .map_err(|reason| reason.name.to_string())
                .cloned()
        };
        let with =
            |more: &str| format!(r#"{{"filename": "a.warc", "offset": "0", "length": "9"{more}}}"#);
        let local = Archived {
            file: WarcFile::Local(PathBuf::from("folder/a.warc")),
            offset: 0,
            length: 9,
        };
        assert_eq!(reasons(&with("")), Ok(local));
        let reason = |name: &str| Err(name.to_owned());
        let picture = with(r#", "mime": "image/png""#);
        assert_eq!(reasons(&picture), reason("fetch/not-html"));
        let revisit = with(r#", "mime": "warc/revisit""#);
        assert_eq!(reasons(&revisit), reason("fetch/revisit"));
        let outside = with(r#", "filename": "../a.warc""#);
        assert_eq!(reasons(&outside), reason("fetch/bad-index-line"));
        assert_eq!(reasons(r#"{"url": "x"}"#), reason("fetch/bad-index-line"));
        assert_eq!(reasons("no index at all"), reason("fetch/bad-index-line"));
    }

    #[test]
    fn a_table_without_places_is_refused_by_name() {
        let message = read("a.csv", b"url,id\nx,1\n", ".")
            .unwrap_err()
            .to_string();
        assert!(
            message.contains("no column `warc_filename` (it has: url, id)"),
            "{message}"
        );
        assert!(read("a.cdx", b"", "ftp://a.test/").is_err());
    }
}
