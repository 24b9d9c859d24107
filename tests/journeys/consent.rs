//! What pages and pictures say of their use, what they say of people, and what is kept of both.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};

use m3w::document::{Document, Image};
use m3w::outcomes::{OutcomeLine, lines};
use m3w::shards::DocumentReader;
use tempfile::TempDir;

use super::picture_server::picture;
use super::site::m3w;

/// Three pages with a picture each: `/free`, `/noindex` and `/noimageai` with that header. `/free`
/// names a person, and shows a second picture whose metadata reserve it.
fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // A client that hangs up is its own affair.
            let _ = answer(stream);
        }
    });
    address
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.extend(byte);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default();
    let (status, header, body) = match path {
        "/free" | "/noindex" | "/noimageai" => {
            let html = format!(
                "<title>Kites of jane@example.org</title><article><h1>Kites</h1><p>Those who fly \
                 kites over the hills of {path} may write to jane@example.org or call (555) \
                 010-4477 on any day of the week but Sunday, when she is out herself.</p>\
                 <p><img src='/picture/1?of=jane@example.org' alt='of jane@example.org'></p>\
                 <p>The wind was strong when this was taken, and the string that held the kite did \
                 not break, to the wonder of all who had come to see it.</p>\
                 <p><img src=/picture/2 alt=reserved></p></article>"
            );
            let tag = path.trim_start_matches('/').replace("free", "all");
            let header = format!("Content-Type: text/html\r\nX-Robots-Tag: {tag}\r\n");
            ("200 OK", header, html.into_bytes())
        }
        _ if path.starts_with("/picture/1") => ("200 OK", String::new(), picture(1, 96)),
        "/picture/2" => {
            let mut bytes = picture(2, 96);
            bytes.extend(b"<rdf:Description plus:DataMining=\"DMI-PROHIBITED\"/>");
            ("200 OK", String::new(), bytes)
        }
        _ => ("404 Not Found", String::new(), Vec::new()),
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\n{header}Content-Length: {}\r\nConnection: close\r\n\r\n",
        body.len()
    )?;
    stream.write_all(&body)
}

struct Corpus {
    _folder: TempDir,
    root: PathBuf,
}

impl Corpus {
    fn build(settings: &[&str]) -> Self {
        let address = start();
        let folder = tempfile::tempdir().unwrap();
        let list = folder.path().join("urls.txt");
        let urls = ["/free", "/noindex", "/noimageai"].map(|path| format!("{address}{path}\n"));
        std::fs::write(&list, urls.concat()).unwrap();
        let root = folder.path().join("corpus");
        let [list, out] = [&list, &root].map(|path| path.display().to_string());
        let mut arguments = vec!["build", "--urls", &list, "--out", &out, "--quiet"];
        let always = [
            "crawler.allow_private_addresses=true",
            "crawler.delay_ms=0",
            "vocabulary_size=400",
        ];
        for setting in always.iter().chain(settings) {
            arguments.extend(["--set", setting]);
        }
        let output = m3w(&arguments);
        assert!(output.status.success(), "{output:?}");
        Self {
            _folder: folder,
            root,
        }
    }

    fn documents(&self) -> Vec<Document<Image>> {
        let path = self.root.join("documents/part-00000.parquet");
        let rows = DocumentReader::open(&path).unwrap();
        rows.map(Result::unwrap).collect()
    }

    fn outcomes(&self) -> Vec<OutcomeLine> {
        let path = self.root.join("outcomes/part-00000.jsonl");
        lines(&path).unwrap().map(Result::unwrap).collect()
    }

    fn kept(&self) -> Vec<String> {
        let paths = self.documents().into_iter();
        paths.map(|one| one.url.path().to_owned()).collect()
    }
}

fn texts(document: &Document<Image>) -> String {
    let mut all: Vec<&str> = document.texts().map(|text| &*text.content).collect();
    all.extend(document.title.as_deref());
    for image in document.images() {
        all.extend(image.reference.alt.as_deref());
        all.extend(image.reference.caption.as_deref());
    }
    all.join("\n")
}

#[test]
fn the_policy_decides_and_every_signal_is_kept() {
    let usual = Corpus::build(&[]);
    assert_eq!(usual.kept(), ["/free"]);
    let document = &usual.documents()[0];
    let signal = &document.consent[0];
    assert_eq!((&*signal.channel, &*signal.value), ("x-robots-tag", "all"));
    assert_eq!(signal.seen_at, document.fetched_at);
    assert!(signal.seen_at.is_some());
    // A picture is kept to what its own metadata say.
    assert_eq!(document.images().count(), 1);
    let dropped = &usual.outcomes()[0].images_dropped;
    assert!(
        dropped
            .iter()
            .any(|drop| drop.reason.name == "consent/data-mining"
                && drop.url.ends_with("/picture/2")),
        "{dropped:?}"
    );

    let ignoring = Corpus::build(&["crawler.consent_policy=ignore-page-only"]);
    assert_eq!(ignoring.kept(), ["/free", "/noindex"]);
    let signal = &ignoring.documents()[1].consent[0];
    assert_eq!(signal.value, "noindex");

    // Without pictures to ask for, the text of the page alone may stay.
    let settings = ["filter.min_images=0", "crawler.consent_policy=strict"];
    assert_eq!(Corpus::build(&settings).kept(), ["/free"]);
    let reasons: Vec<String> = usual
        .outcomes()
        .into_iter()
        .filter_map(|line| Some(line.dropped?.name.into_owned()))
        .collect();
    assert_eq!(reasons, ["fetch/consent", "consent/images-reserved"]);
}

#[test]
fn people_are_taken_out_of_texts_and_not_out_of_urls() {
    let as_it_is = Corpus::build(&[]);
    assert_eq!(texts(&as_it_is.documents()[0]).matches("jane@").count(), 3);

    let scrubbed = Corpus::build(&["filter.pii.emails=true", "filter.pii.phones=true"]);
    let document = &scrubbed.documents()[0];
    let text = texts(document);
    assert!(!text.contains('@') && !text.contains("4477"), "{text}");
    assert!(
        text.contains("write to [EMAIL] or call [PHONE] on any day"),
        "{text}"
    );
    assert_eq!(document.scores.get("pii_emails"), Some(&3.0));
    assert_eq!(document.scores.get("pii_phones"), Some(&1.0));
    assert_eq!(document.scores.get("pii_cards"), None);
    let image = document.images().next().unwrap();
    assert!(image.reference.url.as_str().contains("jane@example.org"));
}

#[test]
fn statistics_tell_what_went_with_examples() {
    let corpus = Corpus::build(&["filter.min_images=2"]);
    let file = corpus.root.with_file_name("survival.json");
    let [data, path]: [String; 2] =
        [corpus.root.as_path(), Path::new(&file)].map(|path| path.display().to_string());
    let output = m3w(&["stats", &data, "--examples", "1", "--survival", &path]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(
        said.contains("\npages, filter/too-few-images\n  http://"),
        "{said}"
    );
    assert!(said.contains("/free (1.0000 against 2)\n"), "{said}");
    let written: serde_json::Value =
        serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    assert_eq!(written[0]["what"], "pages");
    assert_eq!(written[0]["total"], 3);
    let ends = written[0]["ends"].as_array().unwrap();
    let shares: f64 = ends.iter().map(|end| end["share"].as_f64().unwrap()).sum();
    assert!((shares - 1.0).abs() < 1e-9, "{written}");
    let few = ends
        .iter()
        .find(|end| end["name"] == "filter/too-few-images")
        .unwrap();
    assert_eq!(few["examples"][0]["threshold"], 2.0);
}

#[test]
fn what_a_list_names_is_not_asked_for_and_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let [hosts, pictures] = ["hosts.gz", "pictures"].map(|name| folder.path().join(name));
    let sha256 = m3w::document::Sha256::of(&picture(1, 96));
    std::fs::write(&pictures, format!("# known\n{sha256}\nexample.org\n")).unwrap();
    let file = std::fs::File::create(&hosts).unwrap();
    let mut gz = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    gz.write_all(b"github.io\n127.0.0.1\n").unwrap();
    gz.finish().unwrap();
    let lists = |path: &Path| format!("filter.block.lists=['{}']", path.display());

    let by_picture = Corpus::build(&[&lists(&pictures)]);
    let first = &by_picture.outcomes()[0];
    assert_eq!(
        first.dropped.as_ref().unwrap().name,
        "filter/too-few-images"
    );
    let blocked = first
        .images_dropped
        .iter()
        .find(|drop| drop.reason.name == "filter/blocked");
    assert!(blocked.unwrap().url.contains("/picture/1"), "{first:?}");

    let by_host = Corpus::build(&[&lists(&hosts)]);
    for line in by_host.outcomes() {
        assert_eq!(line.dropped.unwrap().name, "filter/blocked");
    }

    // The lists are part of what the corpus was built with.
    std::fs::write(&pictures, "no list\n").unwrap();
    let list = by_picture.root.with_file_name("urls.txt");
    let [list, out] = [&list, &by_picture.root].map(|path| path.display().to_string());
    let settings = [
        &lists(&pictures),
        "crawler.allow_private_addresses=true",
        "crawler.delay_ms=0",
        "vocabulary_size=400",
    ];
    let mut arguments = vec!["build", "--urls", &list, "--out", &out];
    for setting in settings {
        arguments.extend(["--set", setting]);
    }
    let said = super::site::complaint(&arguments);
    assert!(said.contains("built with other block lists"), "{said}");
    let other = by_picture.root.with_file_name("other");
    let other = other.display().to_string();
    arguments[4] = &other;
    let said = super::site::complaint(&arguments);
    assert!(
        said.contains("pictures, line 1: `no list` is no host"),
        "{said}"
    );
}
