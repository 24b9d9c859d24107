//! Requests for less than the whole: for what has changed since, or for some bytes.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of these tests fail as the tests do"
)]

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use m3w_crawler::warc::{WarcItem, WarcReader, item_in};
use m3w_crawler::{Archives, Config, Crawler, FailureKind, Piece, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// A server that knows of its pages whether they are those that the client has, and an archive.
struct Site {
    port: u16,
    requests: Arc<Mutex<Vec<String>>>,
}

impl Site {
    async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&requests);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, Arc::clone(&log)));
            }
        });
        Self { port, requests }
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://127.0.0.1:{}{path}", self.port)).unwrap()
    }

    fn crawler(&self, archives: &Archives) -> Crawler {
        let config = Config {
            allowed_private_hosts: vec![format!("127.0.0.1:{}", self.port)],
            delay_ms: 0,
            ..Config::default()
        };
        Crawler::with_archives(config, archives).unwrap()
    }
}

async fn serve(mut stream: TcpStream, log: Arc<Mutex<Vec<String>>>) {
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => request.push(byte),
                Err(_) => return,
            }
        }
        let request = String::from_utf8(request).unwrap().to_ascii_lowercase();
        let path = request.split(' ').nth(1).unwrap().to_owned();
        let times_before = {
            let mut log = log.lock().unwrap();
            log.push(request.clone());
            let is_same = |asked: &&String| asked.contains(&format!(" {path} "));
            log.iter().filter(is_same).count() - 1
        };
        let answer = answer(&path, &request, times_before);
        if stream.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}

fn answer(path: &str, request: &str, times_before: usize) -> String {
    const DATE: &str = "Sat, 01 Nov 2025 00:00:00 GMT";
    let page = |headers: &str| {
        let body = format!("<p>{path}, answer {times_before}</p>");
        let length = body.len();
        format!(
            "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n{headers}Content-Length: {length}\r\n\r\n{body}"
        )
    };
    let not_modified = |headers: &str| format!("HTTP/1.1 304 Not Modified\r\n{headers}\r\n");
    match path {
        "/tagged" if request.contains("if-none-match: \"v1\"") => not_modified("ETag: \"v1\"\r\n"),
        "/tagged" => page("ETag: \"v1\"\r\n"),
        "/dated" if request.contains(&format!("if-modified-since: {DATE}").to_lowercase()) => {
            not_modified("Content-Type: image/png\r\n")
        }
        "/dated" => page(&format!("Last-Modified: {DATE}\r\n")),
        "/changed" => page(&format!("ETag: \"v{times_before}\"\r\n")),
        "/closed-since" if request.contains("if-none-match") => {
            not_modified("X-Robots-Tag: noai\r\n")
        }
        "/closed-since" => page("ETag: \"v1\"\r\n"),
        "/untagged" => page(""),
        "/stubborn" => not_modified(""),
        "/archive.warc" if times_before == 0 => {
            "HTTP/1.1 503 Busy\r\nRetry-After: 0\r\nContent-Length: 0\r\n\r\n".to_owned()
        }
        "/archive.warc" => {
            let range = request
                .lines()
                .find_map(|line| line.strip_prefix("range: bytes="));
            let (first, last) = range.unwrap().split_once('-').unwrap();
            let (archive, first) = (archive(), first.parse::<usize>().unwrap());
            let end = archive.len().min(last.parse::<usize>().unwrap() + 1);
            let body = &archive[first.min(end)..end];
            format!(
                "HTTP/1.1 206 Partial Content\r\nETag: \"a\"\r\nContent-Range: bytes {first}-{}/{}\r\n\
                 Content-Length: {}\r\n\r\n{body}",
                end.saturating_sub(1),
                archive.len(),
                body.len()
            )
        }
        "/whole.warc" => {
            let archive = archive();
            format!(
                "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{archive}",
                archive.len()
            )
        }
        _ => "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n".to_owned(),
    }
}

fn record(number: usize) -> String {
    let block = format!("HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<p>record {number}</p>");
    let length = block.len();
    format!(
        "WARC/1.0\r\nWARC-Type: response\r\nWARC-Target-URI: http://h.test/{number}\r\n\
         Content-Length: {length}\r\n\r\n{block}\r\n\r\n"
    )
}

fn archive() -> String {
    (0..3).map(record).collect()
}

const PATHS: [&str; 6] = [
    "/tagged",
    "/dated",
    "/changed",
    "/closed-since",
    "/untagged",
    "/stubborn",
];

/// The text of each page, or why there is none.
async fn crawl(crawler: &Crawler, site: &Site) -> Vec<Result<String, FailureKind>> {
    let mut texts = Vec::new();
    for path in PATHS {
        let page = crawler.fetch_page(&site.url(path)).await;
        texts.push(page.map(|page| page.html).map_err(|failure| failure.kind));
    }
    crawler.check_archive().unwrap();
    texts
}

fn kinds(folder: &Path) -> Vec<String> {
    let records = WarcReader::open(&folder.join("m3w-00000.warc.gz"), 1 << 20).unwrap();
    let about_pages = records.map(Result::unwrap).filter(|record| {
        let target = record.header("WARC-Target-URI").unwrap_or_default();
        PATHS.iter().any(|path| target.ends_with(path))
    });
    about_pages
        .map(|record| record.kind().to_owned())
        .filter(|kind| kind == "response" || kind == "revisit")
        .collect()
}

#[tokio::test]
async fn what_has_not_changed_since_an_earlier_crawl_is_not_sent_again() {
    let site = Site::start().await;
    let root = tempfile::tempdir().unwrap();
    let folder = |name: &str| -> PathBuf { root.path().join(name) };
    let first = site.crawler(&Archives {
        out: Some(folder("first")),
        ..Archives::default()
    });
    let page = |path: &str, answer: usize| Ok(format!("<p>{path}, answer {answer}</p>"));
    let unasked = Err(FailureKind::Http(304));
    let expected = [
        page("/tagged", 0),
        page("/dated", 0),
        page("/changed", 0),
        page("/closed-since", 0),
        page("/untagged", 0),
        unasked.clone(),
    ];
    assert_eq!(crawl(&first, &site).await, expected);
    assert_eq!(first.stats().unchanged, 0);

    let second = site.crawler(&Archives {
        out: Some(folder("second")),
        earlier: vec![folder("first")],
        ..Archives::default()
    });
    let expected = [
        page("/tagged", 0),
        page("/dated", 0),
        page("/changed", 1),
        Err(FailureKind::Consent),
        page("/untagged", 1),
        unasked,
    ];
    let found = crawl(&second, &site).await;
    assert_eq!(found, expected);
    assert_eq!(second.stats().unchanged, 3);
    let revisits = [
        "revisit", "revisit", "response", "revisit", "response", "response",
    ];
    assert_eq!(kinds(&folder("second")), revisits);

    // A replay of what was written needs the folder that holds the bodies.
    let asked = site.requests.lock().unwrap().len();
    let mut archives = Archives {
        replay: Some(folder("second")),
        ..Archives::default()
    };
    let alone = crawl(&site.crawler(&archives), &site).await;
    assert_eq!(alone[0], Err(FailureKind::NotArchived));
    assert_eq!(alone[2], found[2]);
    archives.earlier = vec![folder("first")];
    let whole = crawl(&site.crawler(&archives), &site).await;
    assert_eq!(whole[..5], found[..5]);
    assert_eq!(site.requests.lock().unwrap().len(), asked);
}

#[tokio::test]
async fn what_a_server_says_anew_with_its_confirmation_counts() {
    let site = Site::start().await;
    let root = tempfile::tempdir().unwrap();
    let archives = |out: bool| Archives {
        out: out.then(|| root.path().to_owned()),
        earlier: if out {
            Vec::new()
        } else {
            vec![root.path().to_owned()]
        },
        ..Archives::default()
    };
    let url = site.url("/closed-since");
    site.crawler(&archives(true))
        .fetch_page(&url)
        .await
        .unwrap();
    let failure = site
        .crawler(&archives(false))
        .fetch_page(&url)
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Consent);
    let signal = Signal {
        channel: "x-robots-tag".to_owned(),
        value: "noai".to_owned(),
    };
    assert!(
        failure.detail.to_lowercase().contains(&signal.value),
        "{failure}"
    );
}

#[tokio::test]
async fn a_record_is_taken_out_of_an_archive_by_its_place_alone() {
    let site = Site::start().await;
    let crawler = site.crawler(&Archives::default());
    let (offset, length) = (record(0).len() as u64, record(1).len() as u64);
    let url = site.url("/archive.warc");
    let bytes = crawler.fetch_range(&url, offset, length).await.unwrap();
    let item = item_in(bytes, Path::new("archive.warc"), crawler.config());
    let Some(WarcItem::Page(page)) = item.unwrap() else {
        panic!("a record that is no page");
    };
    assert_eq!(page.html, "<p>record 1</p>");
    let asked = site.requests.lock().unwrap().concat();
    assert!(!asked.contains("robots.txt"), "{asked}");
    let kind = async |path: &str, offset: u64, length: u64| {
        let fetched = crawler.fetch_range(&site.url(path), offset, length).await;
        fetched.unwrap_err().kind
    };
    let beyond = archive().len() as u64 - 5;
    assert_eq!(
        kind("/archive.warc", beyond, 100).await,
        FailureKind::Truncated
    );
    assert_eq!(
        kind("/whole.warc", offset, length).await,
        FailureKind::TooLarge
    );
    assert_eq!(
        kind("/archive.warc", 0, u64::MAX).await,
        FailureKind::TooLarge
    );
}

#[tokio::test]
async fn a_file_is_fetched_from_where_it_broke_off() {
    let site = Site::start().await;
    let crawler = site.crawler(&Archives::default());
    let piece = crawler.fetch_piece(&site.url("/archive.warc"), 7).await;
    let expected = Piece {
        bytes: archive().into_bytes().split_off(7).into(),
        total: archive().len() as u64,
        version: Some("\"a\"".to_owned()),
    };
    assert_eq!(piece.unwrap(), expected);
    let whole = site.url("/whole.warc");
    let piece = crawler.fetch_piece(&whole, 0).await.unwrap();
    assert_eq!((piece.bytes, piece.version), (archive().into(), None));
    let failure = crawler.fetch_piece(&whole, 7).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::BadHttp, "{failure}");
}
