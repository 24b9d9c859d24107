//! A finished corpus, opened again for what failed.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use m3w::retry::Failures;
use m3w::source::Source;

use super::site::{Site, files, run};

/// A site of five pages in two shards; page 3 fails while the server is ill.
struct Shaky {
    address: String,
    is_ill: Arc<AtomicBool>,
    asked: Arc<AtomicUsize>,
}

impl Shaky {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let is_ill = Arc::new(AtomicBool::new(true));
        let asked = Arc::new(AtomicUsize::new(0));
        let (ill, count) = (Arc::clone(&is_ill), Arc::clone(&asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up is its own affair.
                let _ = answer(stream, ill.load(Ordering::Relaxed), &count);
            }
        });
        Self {
            address,
            is_ill,
            asked,
        }
    }
}

fn answer(mut stream: TcpStream, is_ill: bool, asked: &AtomicUsize) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.extend(byte);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, kind, body) = match path {
        "/picture.png" => ("200 OK", "image/png", picture()),
        "/3" if is_ill => ("500 Ill", "text/html", Vec::new()),
        "/1" | "/2" | "/3" | "/4" | "/5" => {
            let words = "a kite over the hills and the towns between them ".repeat(3);
            let html = format!("<p>Page {path}: {words}</p><img src=/picture.png><p>{words}</p>");
            ("200 OK", "text/html", html.into_bytes())
        }
        _ => ("404 Not Found", "text/plain", Vec::new()),
    };
    if path.len() == 2 {
        asked.fetch_add(1, Ordering::Relaxed);
    }
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )?;
    stream.write_all(&body)
}

fn picture() -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/demo/site/pictures");
    std::fs::read(folder.join("plan-cross.png")).unwrap()
}

#[test]
fn only_what_failed_is_fetched_again_and_the_corpus_is_as_if_it_never_had() {
    let web = Shaky::start();
    let site = Site::start();
    let list = site.folder.path().join("shaky.txt");
    let urls: String = (1..=5)
        .map(|page| format!("{}/{page}\n", web.address))
        .collect();
    std::fs::write(&list, urls).unwrap();
    let tokenizer = site.folder.path().join("tokenizer.json");
    let options = |name: &str| {
        let mut options = site.options(name, 2);
        options.source = Source::Urls {
            path: list.clone(),
            column: "url".to_owned(),
        };
        options.config.inputs_per_shard = 2;
        options
    };
    // One tokenizer for all: one that is trained depends on the documents.
    let trained = options("trained");
    run(&trained);
    std::fs::copy(trained.out.join("tokenizer.json"), &tokenizer).unwrap();

    let mut first = options("corpus");
    first.tokenizer = Some(tokenizer.clone());
    let manifest = run(&first);
    assert_eq!(manifest.tally.get("page/fetch/http-500"), 1);
    web.is_ill.store(false, Ordering::Relaxed);
    let before = web.asked.load(Ordering::Relaxed);
    first.retry = Some(Failures {
        reasons: vec!["timeout".to_owned()],
    });
    assert_eq!(run(&first), manifest);
    first.retry = Some(Failures::default());
    let mended = run(&first);
    assert_eq!(web.asked.load(Ordering::Relaxed) - before, 1);
    assert_eq!(mended.tally.get("page/kept"), 5);

    let mut fresh = options("fresh");
    fresh.tokenizer = Some(tokenizer);
    run(&fresh);
    let (expected, found) = (files(&fresh.out), files(&first.out));
    let names = |files: &std::collections::BTreeMap<String, Vec<u8>>| {
        files.keys().cloned().collect::<BTreeSet<_>>()
    };
    assert_eq!(names(&found), names(&expected));
    for (name, bytes) in &expected {
        assert!(bytes == &found[name], "{name} differs");
    }
}
