//! What rows of lists are read as.

use std::io::Write;

use std::sync::Arc;

use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use parquet::arrow::ArrowWriter;

use super::*;
use crate::pairs::Media;

fn outcomes(name: &str, content: &[u8], columns: &Columns) -> Result<Vec<String>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, content).unwrap();
    rows(&path, columns)?
        .map(|row| {
            let (_, pair) = row?;
            Ok(match pair {
                Ok(pair) => match pair.media {
                    Media::Url(url) => format!("{url} {}", pair.caption),
                    Media::Stored(_) | Media::Held(_) => "stored".to_owned(),
                },
                Err(reason) => reason.name.into_owned(),
            })
        })
        .collect()
}

fn parquet_file(columns: Vec<(&str, ArrayRef)>) -> Vec<u8> {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer = ArrowWriter::try_new(Vec::new(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.into_inner().unwrap()
}

#[test]
fn every_kind_of_list_yields_its_pairs_in_order() {
    let expected = ["http://a.test/1 a cat", "http://a.test/2 a dog, too"];
    let columns = Columns::default();
    let csv = "id,URL,TEXT\n1,http://a.test/1,a cat\n2,http://a.test/2,\"a dog, too\"\n";
    assert_eq!(
        outcomes("l.csv", csv.as_bytes(), &columns).unwrap(),
        expected
    );
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(csv.as_bytes()).unwrap();
    let gzip = gzip.finish().unwrap();
    assert_eq!(outcomes("l.csv.gz", &gzip, &columns).unwrap(), expected);
    let tsv = "caption\turl\na cat\thttp://a.test/1\na dog, too\thttp://a.test/2\n";
    assert_eq!(
        outcomes("l.tsv", tsv.as_bytes(), &columns).unwrap(),
        expected
    );
    let json = "{\"url\":\"http://a.test/1\",\"caption\":\"a cat\"}\n\
                {\"caption\":\"a dog, too\",\"url\":\"http://a.test/2\"}\n";
    assert_eq!(
        outcomes("l.jsonl", json.as_bytes(), &columns).unwrap(),
        expected
    );
    let urls: ArrayRef = Arc::new(StringArray::from(vec![
        "http://a.test/1",
        "http://a.test/2",
    ]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["a cat", "a dog, too"]));
    let file = parquet_file(vec![
        ("TEXT", texts),
        ("x", Arc::clone(&urls)),
        ("URL", urls),
    ]);
    assert_eq!(outcomes("l.parquet", &file, &columns).unwrap(), expected);
    let numbered = Columns {
        url: Some("2".to_owned()),
        caption: Some("1".to_owned()),
        has_header: false,
        ..Columns::default()
    };
    let body = tsv.split_once('\n').unwrap().1;
    assert_eq!(
        outcomes("l.tsv", body.as_bytes(), &numbered).unwrap(),
        expected
    );
}

#[test]
fn a_bad_row_costs_itself_only() {
    let columns = Columns::default();
    let csv = b"url,caption\nhttp://a.test/1\nhttp://a.test/2,caf\xe9\nhttp://a.test/3,\"x\n\
                http://a.test/4,ok\n";
    assert_eq!(
        outcomes("l.csv", csv, &columns).unwrap(),
        [
            "input/missing-column",
            "input/broken-utf8",
            "input/unclosed-quote",
            "http://a.test/4 ok"
        ]
    );
    let json = b"not json\n{\"url\":\"http://a.test/1\"}\n{\"url\":1,\"text\":\"x\"}\n\
                 {\"url\":\"http://a.test/2\",\"text\":\"\xff\"}\n\
                 {\"url\":\"http://a.test/3\",\"text\":\"ok\"}";
    assert_eq!(
        outcomes("l.jsonl", json, &columns).unwrap(),
        [
            "input/not-json",
            "input/missing-column",
            "input/no-url",
            "input/broken-utf8",
            "http://a.test/3 ok"
        ]
    );
    let urls: ArrayRef = Arc::new(StringArray::from(vec![Some("http://a.test/1"), None]));
    let texts: ArrayRef = Arc::new(BinaryArray::from(vec![&b"\xff"[..], b"ok"]));
    let file = parquet_file(vec![("url", urls), ("text", texts)]);
    assert_eq!(
        outcomes("l.parquet", &file, &columns).unwrap(),
        ["input/broken-utf8", "input/no-url"]
    );
}

#[test]
fn a_text_column_with_broken_text_costs_the_row_and_not_the_file() {
    let urls: ArrayRef = Arc::new(StringArray::from(vec![
        "http://a.test/1",
        "http://a.test/2",
    ]));
    let texts: ArrayRef = Arc::new(StringArray::from(vec!["brokenhere", "ok"]));
    let mut file = parquet_file(vec![("url", urls), ("text", texts)]);
    // In the data page only: the other place is the footer's statistics.
    let at = file
        .windows(10)
        .position(|part| part == b"brokenhere")
        .unwrap();
    file[at] = 0xff;
    assert_eq!(
        outcomes("l.parquet", &file, &Columns::default()).unwrap(),
        ["input/broken-utf8", "http://a.test/2 ok"]
    );
}

#[test]
fn a_missing_column_is_named_with_those_there_are() {
    let message = |name: &str, content: &[u8], columns: &Columns| {
        outcomes(name, content, columns).unwrap_err().to_string()
    };
    let said = message("l.csv", b"link,text\nx,1\n", &Columns::default());
    assert!(
        said.contains("(it has: link, text)") && said.contains("--url-col"),
        "{said}"
    );
    let named = Columns {
        caption: Some("words".to_owned()),
        ..Columns::default()
    };
    let said = message("l.csv", b"url,text\nx,1\n", &named);
    assert!(
        said.contains("no column `words`") && said.contains("--caption-col"),
        "{said}"
    );
    let said = message("l.txt", b"", &Columns::default());
    assert!(said.contains(".parquet"), "{said}");
    assert!(message("l.parquet", b"PAR1", &Columns::default()).contains("l.parquet"));
}
