//! The crawler against a small server on loopback that answers as the web does: well, badly and
//! maliciously.

#![expect(
    clippy::unwrap_used,
    reason = "the helpers of these tests fail as the tests do"
)]

use std::io::Write;
use std::path::Path;
use std::sync::{Arc, Mutex};

use m3w_crawler::warc::{WarcItem, pages};
use m3w_crawler::{Archives, Config, Crawler, FailureKind, Page};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use url::Url;

/// A server whose answers depend on the path alone, and the log of what it was asked.
struct Site {
    port: u16,
    log: Arc<Mutex<Vec<String>>>,
}

impl Site {
    async fn start(robots: &'static str) -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let log = Arc::new(Mutex::new(Vec::new()));
        let log_of_server = Arc::clone(&log);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(serve(stream, robots, Arc::clone(&log_of_server)));
            }
        });
        Self { port, log }
    }

    fn url(&self, path: &str) -> Url {
        Url::parse(&format!("http://127.0.0.1:{}{path}", self.port)).unwrap()
    }

    /// A crawler that may ask this site and no other machine of ours.
    fn crawler(&self) -> Crawler {
        self.crawler_with(Config::default())
    }

    fn crawler_with(&self, config: Config) -> Crawler {
        Crawler::new(self.config(config)).unwrap()
    }

    fn config(&self, config: Config) -> Config {
        Config {
            allowed_private_hosts: vec![format!("127.0.0.1:{}", self.port)],
            delay_ms: 0,
            max_page_bytes: 100_000,
            ..config
        }
    }

    async fn page(&self, path: &str) -> Result<Page, FailureKind> {
        let fetched = self.crawler().fetch_page(&self.url(path)).await;
        fetched.map_err(|failure| failure.kind)
    }

    fn asked(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }
}

async fn serve(mut stream: TcpStream, robots: &str, log: Arc<Mutex<Vec<String>>>) {
    loop {
        let mut request = Vec::new();
        while !request.ends_with(b"\r\n\r\n") {
            match stream.read_u8().await {
                Ok(byte) => request.push(byte),
                Err(_) => return,
            }
        }
        let request = String::from_utf8(request).unwrap();
        let path = request.split(' ').nth(1).unwrap().to_owned();
        let times_before = {
            let mut log = log.lock().unwrap();
            let times_before = log.iter().filter(|asked| **asked == path).count();
            log.push(path.clone());
            times_before
        };
        let answer = answer(&path, robots, times_before);
        if stream.write_all(&answer).await.is_err() || path == "/short" {
            return;
        }
        if path == "/stalled" {
            std::future::pending::<()>().await;
        }
    }
}

fn answer(path: &str, robots: &str, times_before: usize) -> Vec<u8> {
    let redirect = |target: &str| message("302 Found", &format!("Location: {target}\r\n"), b"");
    match path {
        "/robots.txt" if robots == "503" => message("503 Busy", "Retry-After: 9999\r\n", b""),
        "/robots.txt" if robots.is_empty() => message("404 Not Found", "", b""),
        "/robots.txt" => message("200 OK", "", robots.as_bytes()),
        "/.well-known/tdmrep.json" if robots.contains("tdm") => {
            let json = br#"[{"location":"/latin","tdm-reservation":1}]"#;
            message("200 OK", "Content-Type: application/json\r\n", json)
        }
        "/ai.txt" if robots.contains("tdm") => {
            message("200 OK", "", b"User-Agent: *\nDisallow: *picture\n")
        }
        "/page" => message("200 OK", "Content-Type: text/html\r\n", b"<p>page</p>"),
        "/latin" => message(
            "200 OK",
            "Content-Type: text/html;charset=latin1\r\n",
            b"<p>\xfc</p>",
        ),
        "/loop" => redirect("/loop"),
        "/to-page" => redirect("page"),
        "/to-private" => redirect("http://127.0.0.2:8099/"),
        "/to-forbidden" => redirect("/forbidden"),
        "/refresh" => {
            let html = b"<meta http-equiv=refresh content='0; url=/page'>";
            message("200 OK", "Content-Type: text/html\r\n", html)
        }
        "/busy" if times_before == 0 => message("429 Busy", "Retry-After: 0\r\n", b""),
        "/busy" => message("200 OK", "Content-Type: text/html\r\n", b"<p>now</p>"),
        "/closed" => message("429 Busy", "Retry-After: 99999\r\n", b""),
        "/bomb" => {
            let coded = gzip(&vec![b' '; 10 << 20]);
            message(
                "200 OK",
                "Content-Type: text/html\r\nContent-Encoding: gzip\r\n",
                &coded,
            )
        }
        "/short" => {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 500\r\n\r\n<p>".to_vec()
        }
        "/stalled" => {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 500\r\n\r\n<p>".to_vec()
        }
        "/huge" => {
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000000000000\r\n\r\n"
                .to_vec()
        }
        "/picture" => message("200 OK", "Content-Type: image/png\r\n", b"\x89PNG"),
        "/picture-as-page" => message(
            "200 OK",
            "Content-Type: text/html\r\n",
            b"\x89PNG\r\n\x1a\n",
        ),
        "/closed-picture" => message(
            "200 OK",
            "Content-Type: image/png\r\nX-Robots-Tag: noimageai\r\n",
            b"\x89PNG",
        ),
        "/noai" => message(
            "200 OK",
            "Content-Type: text/html\r\nX-Robots-Tag: noai\r\n",
            b"<p>",
        ),
        "/text-only" => {
            let html = b"<meta name=robots content=noimageai><p>text</p>";
            message("200 OK", "Content-Type: text/html\r\n", html)
        }
        _ => message("404 Not Found", "", b"nothing"),
    }
}

fn message(status: &str, headers: &str, body: &[u8]) -> Vec<u8> {
    let length = body.len();
    let head = format!("HTTP/1.1 {status}\r\n{headers}Content-Length: {length}\r\n\r\n");
    [head.as_bytes(), body].concat()
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[tokio::test]
async fn a_page_comes_decoded_from_where_its_redirects_lead() {
    let site = Site::start("").await;
    let page = site.page("/to-page#part").await.unwrap();
    assert_eq!(
        (page.url, page.final_url),
        (site.url("/to-page#part"), site.url("/page"))
    );
    assert_eq!(page.html, "<p>page</p>");
    let page = site.page("/latin").await.unwrap();
    assert_eq!(
        (page.html.as_str(), page.charset),
        ("<p>ü</p>", "windows-1252")
    );
    let page = site.page("/refresh").await.unwrap();
    assert_eq!(page.final_url, site.url("/page"));
}

#[tokio::test]
async fn each_way_to_fail_has_its_reason() {
    let site = Site::start("").await;
    for (path, kind) in [
        ("/missing", FailureKind::Http(404)),
        ("/loop", FailureKind::RedirectLimit),
        ("/bomb", FailureKind::TooLarge),
        ("/huge", FailureKind::TooLarge),
        ("/short", FailureKind::Truncated),
        ("/picture", FailureKind::NotHtml),
        ("/picture-as-page", FailureKind::NotHtml),
        ("/noai", FailureKind::Consent),
    ] {
        assert_eq!(site.page(path).await.unwrap_err(), kind, "{path}");
    }
}

#[tokio::test]
async fn private_addresses_are_refused_before_any_request() {
    let site = Site::start("").await;
    let strict = Crawler::new(Config::default()).unwrap();
    for url in [site.url("/page"), Url::parse("http://localhost/").unwrap()] {
        let failure = strict.fetch_page(&url).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::PrivateAddress);
    }
    assert_eq!(site.asked(), Vec::<String>::new());
    let refused = site.page("/to-private").await.unwrap_err();
    assert_eq!(refused, FailureKind::PrivateAddress);
}

#[tokio::test]
async fn robots_txt_is_asked_for_once_and_kept_to_also_behind_redirects() {
    let site = Site::start("User-agent: *\nDisallow: /forbidden\n").await;
    let crawler = site.crawler();
    let urls = [
        site.url("/page"),
        site.url("/forbidden"),
        site.url("/to-forbidden"),
    ];
    let (page, forbidden, behind) = tokio::join!(
        crawler.fetch_page(&urls[0]),
        crawler.fetch_page(&urls[1]),
        crawler.fetch_image(&urls[2]),
    );
    assert!(page.is_ok());
    assert_eq!(forbidden.unwrap_err().kind, FailureKind::Robots);
    assert_eq!(behind.unwrap_err().kind, FailureKind::Robots);
    let mut asked = site.asked();
    assert_eq!(asked[0], "/robots.txt");
    asked.sort();
    assert_eq!(
        asked,
        [
            "/.well-known/tdmrep.json",
            "/ai.txt",
            "/page",
            "/robots.txt",
            "/to-forbidden"
        ]
    );
    assert_eq!(crawler.stats().requests, 5);
}

#[tokio::test]
async fn an_origin_whose_robots_txt_fails_is_closed() {
    let site = Site::start("503").await;
    let failure = site.page("/page").await.unwrap_err();
    assert_eq!(failure, FailureKind::RobotsUnavailable);
    assert!(!site.asked().contains(&"/page".to_owned()));
}

#[tokio::test]
async fn a_busy_host_is_asked_again_or_given_up_as_it_wishes() {
    let site = Site::start("").await;
    assert_eq!(site.page("/busy").await.unwrap().html, "<p>now</p>");
    let crawler = site.crawler_with(Config {
        max_retry_after_s: 0,
        ..Config::default()
    });
    for path in ["/closed", "/closed", "/closed", "/page"] {
        let failure = crawler.fetch_page(&site.url(path)).await.unwrap_err();
        assert_eq!(failure.kind, FailureKind::RateLimited, "{path}");
    }
    let asked = site.asked();
    assert_eq!(asked.iter().filter(|path| *path == "/closed").count(), 3);
    assert!(!asked.contains(&"/page".to_owned()));
}

#[tokio::test]
async fn a_body_that_never_ends_is_given_up() {
    let site = Site::start("").await;
    let crawler = site.crawler_with(Config {
        total_timeout_s: 1,
        ..Config::default()
    });
    let failure = crawler.fetch_page(&site.url("/stalled")).await.unwrap_err();
    assert_eq!(failure.kind, FailureKind::Timeout);
}

#[tokio::test]
async fn images_come_as_bytes_unless_their_header_forbids_it() {
    let site = Site::start("").await;
    let crawler = site.crawler();
    let image = crawler.fetch_image(&site.url("/picture")).await.unwrap();
    assert_eq!(&image.bytes[..], b"\x89PNG");
    assert_eq!(image.content_type.as_deref(), Some("image/png"));
    let failure = crawler
        .fetch_image(&site.url("/closed-picture"))
        .await
        .unwrap_err();
    assert_eq!(failure.kind, FailureKind::Consent);
    let page = site.page("/text-only").await.unwrap();
    assert!(!page.images_allowed);
    assert_eq!(page.consent[0].value, "noimageai");
}

#[tokio::test]
async fn what_files_on_reuse_close_is_not_asked_for() {
    let site = Site::start("# tdm\n").await;
    let crawler = site.crawler();
    assert!(crawler.fetch_page(&site.url("/page")).await.is_ok());
    let page = crawler.fetch_page(&site.url("/latin")).await;
    assert_eq!(page.unwrap_err().kind, FailureKind::Consent);
    let image = crawler.fetch_image(&site.url("/picture")).await;
    assert_eq!(image.unwrap_err().kind, FailureKind::Consent);
    let asked = site.asked();
    assert!(!asked.contains(&"/latin".to_owned()) && !asked.contains(&"/picture".to_owned()));
}

/// Every way in which a URL can end.
const PATHS: [&str; 14] = [
    "/page",
    "/latin",
    "/to-page",
    "/loop",
    "/to-private",
    "/to-forbidden",
    "/refresh",
    "/busy",
    "/bomb",
    "/short",
    "/huge",
    "/picture-as-page",
    "/noai",
    "/missing",
];

fn into(folder: &Path) -> Archives {
    Archives {
        out: Some(folder.to_owned()),
        ..Archives::default()
    }
}

fn from(folder: &Path) -> Archives {
    Archives {
        replay: Some(folder.to_owned()),
        ..Archives::default()
    }
}

#[tokio::test]
async fn a_crawl_that_was_written_down_can_be_replayed() {
    let site = Site::start("User-agent: *\nDisallow: /forbidden\n").await;
    let folder = tempfile::tempdir().unwrap();
    let config = site.config(Config::default());
    let crawler = Crawler::with_archives(config.clone(), &into(folder.path())).unwrap();
    let mut first = Vec::new();
    for path in PATHS {
        first.push(crawler.fetch_page(&site.url(path)).await);
    }
    let picture = crawler.fetch_image(&site.url("/picture")).await.unwrap();
    crawler.check_archive().unwrap();
    let asked = site.asked().len();

    let replay = Crawler::with_archives(config.clone(), &from(folder.path())).unwrap();
    for (path, expected) in PATHS.iter().zip(&first) {
        let found = replay.fetch_page(&site.url(path)).await;
        let kinds = |result: &Result<Page, m3w_crawler::Failure>| {
            result.clone().map_err(|failure| failure.kind)
        };
        assert_eq!(kinds(&found), kinds(expected), "{path}");
    }
    let again = replay.fetch_image(&site.url("/picture")).await.unwrap();
    assert_eq!(again, picture);
    let unknown = replay.fetch_page(&site.url("/never-asked")).await;
    assert_eq!(unknown.unwrap_err().kind, FailureKind::NotArchived);
    assert_eq!(site.asked().len(), asked);
}

#[tokio::test]
async fn the_torn_end_of_an_archive_is_cut_off_and_the_rest_stays() {
    let site = Site::start("").await;
    let folder = tempfile::tempdir().unwrap();
    let config = site.config(Config::default());
    let crawler = Crawler::with_archives(config.clone(), &into(folder.path())).unwrap();
    crawler.fetch_page(&site.url("/page")).await.unwrap();
    drop(crawler);
    let file = folder.path().join("m3w-00000.warc.gz");
    let whole = std::fs::read(&file).unwrap();
    let torn = [&whole[..], &whole[..100]].concat();
    std::fs::write(&file, torn).unwrap();
    let crawler = Crawler::with_archives(config.clone(), &into(folder.path())).unwrap();
    crawler.fetch_page(&site.url("/latin")).await.unwrap();
    assert_eq!(std::fs::read(&file).unwrap(), whole);
    let second = folder.path().join("m3w-00001.warc.gz");
    let texts = [&file, &second].map(|path| {
        let items = pages(path, &config).unwrap().map(Result::unwrap);
        let mut texts = items.filter_map(|item| match item {
            WarcItem::Page(page) => Some(page.html),
            _ => None,
        });
        texts.next().unwrap()
    });
    assert_eq!(texts, ["<p>page</p>", "<p>ü</p>"]);
}
