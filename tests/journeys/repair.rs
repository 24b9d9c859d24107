//! A corpus that was damaged, made whole again from what is left and from what the web still says.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use m3w::build::BuildOptions;
use m3w::corpus::Corpus;
use m3w::repair::{RepairOptions, Repaired, repair};
use m3w::source::Source;
use m3w::verify::verify;

use super::damage::drawn;
use super::picture_server::picture;
use super::site::{Site, complaint, files, kill_after, m3w, never, run};

/// Pages `/page/0` to `/page/5`, each with the pictures `/picture/N0` and `/picture/N1`; what is in
/// `answers` is answered otherwise: another picture, or not at all.
pub(super) struct Web {
    pub(super) address: String,
    answers: Arc<Mutex<HashMap<String, Option<u32>>>>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Web {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let web = Self {
            address: format!("http://{}", listener.local_addr().unwrap()),
            answers: Arc::default(),
            asked: Arc::default(),
        };
        let (answers, asked) = (Arc::clone(&web.answers), Arc::clone(&web.asked));
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                // A client that hangs up is its own affair.
                let _ = answer(stream, &answers, &asked);
            }
        });
        web
    }

    /// The pages and pictures that were asked for since the last call.
    pub(super) fn asked(&self) -> BTreeSet<String> {
        let asked = std::mem::take(&mut *self.asked.lock().unwrap());
        asked
            .into_iter()
            .filter(|path| path.starts_with("/page/") || path.starts_with("/picture/"))
            .collect()
    }

    pub(super) fn answer_with(&self, path: &str, picture: Option<u32>) {
        self.answers
            .lock()
            .unwrap()
            .insert(path.to_owned(), picture);
    }
}

fn answer(
    mut stream: TcpStream,
    answers: &Mutex<HashMap<String, Option<u32>>>,
    asked: &Mutex<Vec<String>>,
) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        request.extend(byte);
    }
    let request = String::from_utf8_lossy(&request).into_owned();
    let path = request.split(' ').nth(1).unwrap_or_default().to_owned();
    let number = |start: &str| path.strip_prefix(start)?.parse::<u32>().ok();
    let other = answers.lock().unwrap().get(&path).copied();
    let (status, kind, body) = match (other, number("/page/"), number("/picture/")) {
        (Some(None), ..) => ("404 Not Found", "text/plain", Vec::new()),
        (Some(Some(other)), ..) => ("200 OK", "image/bmp", picture(other, 96)),
        (None, Some(page), _) => {
            let html = format!(
                "<title>Page {page}</title><article><h1>Page {page}</h1>\
                 <p>Page {page} tells of kites over the hills, and of the wind that carries them, \
                 as those who flew them in many a year remember it.</p>\
                 <p><img src=/picture/{page}0 alt=one></p>\
                 <p>In the first of its pictures, number {page}, the sun stands low, and whoever \
                 looks closely can see the string that holds the kite above the town.</p>\
                 <p><img src=/picture/{page}1 alt=two></p>\
                 <p>The second was taken {page} days later, when rain had come over the hills, and \
                 nobody but the children was out there to see the kite come down.</p>\
                 <p><img src=/picture/999999 width=200 height=200></p></article>"
            );
            ("200 OK", "text/html", html.into_bytes())
        }
        (None, _, Some(999_999)) => ("404 Not Found", "text/plain", Vec::new()),
        (None, _, Some(number)) => ("200 OK", "image/bmp", picture(number, 96)),
        _ => ("404 Not Found", "text/plain", Vec::new()),
    };
    asked.lock().unwrap().push(path);
    let length = body.len();
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n\
         Connection: close\r\n\r\n"
    )?;
    stream.write_all(&body)
}

/// The web, a folder, and a corpus of three parts built from it.
pub(super) struct Built {
    pub(super) web: Web,
    site: Site,
    pub(super) list: PathBuf,
    pub(super) options: BuildOptions,
    pub(super) whole: BTreeMap<String, Vec<u8>>,
}

impl Built {
    pub(super) fn new() -> Self {
        let web = Web::start();
        let site = Site::start();
        let list = site.folder.path().join("list.txt");
        let urls: Vec<String> = (0..6)
            .map(|page| format!("{}/page/{page}\n", web.address))
            .collect();
        std::fs::write(&list, urls.concat()).unwrap();
        let mut options = site.options("corpus", 2);
        options.source = Source::Urls {
            path: list.clone(),
            column: "url".to_owned(),
        };
        options.config.inputs_per_shard = 2;
        let manifest = run(&options);
        assert_eq!(manifest.tally.get("page/kept"), 6, "{:?}", manifest.tally);
        assert!(manifest.tally.get("sequence-content/images") >= 6);
        let whole = files(&options.out);
        web.asked();
        Self {
            web,
            site,
            list,
            options,
            whole,
        }
    }

    pub(super) fn out(&self) -> &Path {
        &self.options.out
    }

    pub(super) fn repair_options(&self) -> RepairOptions {
        RepairOptions {
            corpus: self.out().to_owned(),
            source: None,
            tokenizer: None,
            replay: None,
            fetch_missing_images: true,
            leave_out: false,
            threads: 2,
            is_quiet: true,
        }
    }

    fn repair(&self) -> Repaired {
        repair(&self.repair_options(), &never()).unwrap()
    }

    pub(super) fn with_list(&self) -> RepairOptions {
        RepairOptions {
            source: Some(self.options.source.clone()),
            ..self.repair_options()
        }
    }

    fn damage(&self, name: &str, change: impl FnOnce(&mut Vec<u8>)) {
        let mut bytes = self.whole[name].clone();
        change(&mut bytes);
        std::fs::write(self.out().join(name), bytes).unwrap();
    }

    pub(super) fn delete(&self, name: &str) {
        std::fs::remove_file(self.out().join(name)).unwrap();
    }

    fn assert_whole(&self, what: &str) {
        let found = files(self.out());
        let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&found), names(&self.whole), "{what}");
        for (name, bytes) in &self.whole {
            assert!(bytes == &found[name], "{what}: {name} differs");
        }
    }

    pub(super) fn problems(&self) -> Vec<String> {
        let findings = verify(&Corpus::at(self.out()), true).unwrap();
        findings.problems.into_iter().map(|one| one.file).collect()
    }
}

const DOCUMENTS: &str = "documents/part-00001.parquet";
const OUTCOMES: &str = "outcomes/part-00001.jsonl";
const SEQUENCES: &str = "sequences/part-00001.parquet";

#[test]
fn what_is_damaged_is_made_again_byte_for_byte_from_the_nearest_that_is_left() {
    let built = Built::new();
    assert_eq!(built.repair(), Repaired::default());
    assert_eq!(built.problems(), Vec::<String>::new());

    // Training rows and the tokenizer are functions of the documents.
    for name in built.whole.keys() {
        if name.starts_with("sequences/") {
            built.delete(name);
        }
    }
    built.damage("tokenizer.json", |bytes| bytes.truncate(100));
    assert_eq!(built.problems().len(), 4);
    assert_eq!(built.repair().restored.len(), 4);
    built.assert_whole("training rows and tokenizer");
    assert_eq!(built.web.asked(), BTreeSet::new());

    // A bit in a page of words costs no request that a row's own digest does not ask for; one in
    // the pictures none that the training rows can answer.
    for position in [20, 3000, 9000, 20_000] {
        built.damage(DOCUMENTS, |bytes| {
            let index = position % bytes.len();
            bytes[index] ^= 4;
        });
        assert_eq!(built.problems(), [DOCUMENTS]);
        assert_eq!(built.repair().restored, [DOCUMENTS]);
        built.assert_whole("a flipped bit");
    }
    built.web.asked();

    // What is nowhere else is asked for again, and nothing more.
    built.delete(DOCUMENTS);
    assert_eq!(built.repair().restored, [DOCUMENTS]);
    built.assert_whole("a shard of documents");
    let expected: BTreeSet<String> = [
        "/page/2",
        "/page/3",
        "/picture/20",
        "/picture/21",
        "/picture/30",
        "/picture/31",
        "/picture/999999",
    ]
    .map(str::to_owned)
    .into();
    assert_eq!(built.web.asked(), expected);

    // A list of outcomes has what no other file has: it takes the inputs.
    built.damage(OUTCOMES, |bytes| bytes.truncate(40));
    let repaired = built.repair();
    assert_eq!(repaired.lost.len(), 2);
    assert_eq!(repaired.lost[0].reason.name, "repair/no-input");
    assert_eq!(
        repair(&built.with_list(), &never()).unwrap().restored,
        [OUTCOMES]
    );
    built.assert_whole("a list of outcomes");

    // All of it but a list that tells the day.
    for name in built.whole.keys() {
        if name != "manifest.json" && name != OUTCOMES {
            built.delete(name);
        }
    }
    assert_eq!(
        repair(&built.with_list(), &never()).unwrap().restored.len(),
        9
    );
    built.assert_whole("everything");
}

#[test]
fn what_has_changed_or_is_gone_is_told_and_left_out_only_when_asked_for() {
    let built = Built::new();
    built.delete(DOCUMENTS);
    built.web.answer_with("/picture/20", None);
    built.web.answer_with("/picture/31", Some(7));
    let damaged = files(built.out());
    let repaired = built.repair();
    let told: Vec<String> = repaired.lost.iter().map(ToString::to_string).collect();
    let root = &built.web.address;
    assert_eq!(told.len(), 2, "{told:?}");
    assert_eq!(
        told[0],
        format!(
            "{DOCUMENTS}\tinput 2\t{root}/page/2\tfetch/http-404: its picture {root}/picture/20"
        )
    );
    let start = format!(
        "{DOCUMENTS}\tinput 3\t{root}/page/3\trepair/changed: its picture {root}/picture/31 has other \
         bytes"
    );
    assert!(told[1].starts_with(&start), "{}", told[1]);
    assert!(repaired.left.contains_key(DOCUMENTS), "{repaired:?}");
    // Nothing of the corpus was touched.
    let mut found = files(built.out());
    found.retain(|name, _| !name.starts_with(".m3w-repair"));
    assert!(found == damaged);

    // The program says the same and how to go on.
    let said = complaint(&["repair", &built.out().display().to_string()]);
    assert!(said.contains("--leave-out"), "{said}");

    // One is back: the other is left out.
    built.web.answers.lock().unwrap().remove("/picture/31");
    let leave_out = RepairOptions {
        leave_out: true,
        ..built.repair_options()
    };
    let repaired = repair(&leave_out, &never()).unwrap();
    assert_eq!(repaired.lost.len(), 1, "{repaired:?}");
    assert_eq!(repaired.left, BTreeMap::new());
    eprintln!(
        "{repaired:?} {:?}",
        Corpus::at(built.out()).manifest().unwrap()
    );
    assert_eq!(repaired.rewritten, [DOCUMENTS, OUTCOMES, SEQUENCES]);
    assert_eq!(built.problems(), Vec::<String>::new());
    let manifest = Corpus::at(built.out()).manifest().unwrap();
    assert_eq!(manifest.tally.get("page/kept"), 5);
    assert_eq!(manifest.tally.get("page/fetch/http-404"), 1);
    assert_eq!(manifest.documents[1].rows, 1);
    // The parts beside it are as they were, and a second call finds nothing to do.
    let after = files(built.out());
    for (name, bytes) in &built.whole {
        let is_touched = [DOCUMENTS, OUTCOMES, SEQUENCES, "manifest.json"].contains(&&**name);
        assert_eq!(bytes != &after[name], is_touched, "{name}");
    }
    assert_eq!(repair(&leave_out, &never()).unwrap(), Repaired::default());
    assert!(files(built.out()) == after);
}

#[test]
fn a_repair_killed_at_any_moment_goes_on_and_ends_the_same() {
    let built = Built::new();
    let out = built.out().display().to_string();
    let list = built.list.display().to_string();
    let arguments = ["repair", &out, "--urls", &list, "--quiet"];
    for milliseconds in [2, 10, 25, 50, 100, 200] {
        for name in built.whole.keys() {
            if name.contains("part-00001") || name.contains("part-00002") {
                built.delete(name);
            }
        }
        for _ in 0..2 {
            kill_after(milliseconds, &arguments);
        }
        let output = m3w(&arguments);
        assert!(output.status.success(), "{output:?}");
        built.assert_whole("killed");
    }
    let said = m3w(&["verify", &out]);
    let said = String::from_utf8(said.stdout).unwrap();
    assert!(
        said.contains("11 files are whole") || said.contains("10 files are whole"),
        "{said}"
    );
    drop(built.site);
}

#[test]
fn any_single_bit_of_any_file_is_put_right() {
    let built = Built::new();
    let options = built.with_list();
    let names: Vec<&String> = built
        .whole
        .keys()
        .filter(|name| *name != "manifest.json")
        .collect();
    for (number, draw) in drawn(11).take(60).enumerate() {
        let name = names[number % names.len()];
        built.damage(name, |bytes| {
            let bit = draw % (8 * bytes.len());
            bytes[bit / 8] ^= 1 << (bit % 8);
        });
        let repaired = repair(&options, &never()).unwrap();
        assert_eq!(repaired.restored, [name.as_str()], "{repaired:?}");
        built.assert_whole("a flipped bit");
    }
}

#[test]
fn pairs_of_a_folder_are_read_again_where_their_inputs_are_given() {
    let folder = tempfile::tempdir().unwrap();
    let pairs = folder.path().join("pairs");
    std::fs::create_dir(&pairs).unwrap();
    for number in 0..4 {
        std::fs::write(pairs.join(format!("{number}.bmp")), picture(number, 96)).unwrap();
        let caption = format!("A kite of the kind that is number {number} in the book");
        std::fs::write(pairs.join(format!("{number}.txt")), caption).unwrap();
    }
    let out = folder.path().join("corpus");
    let [input, data] = [&pairs, &out].map(|path| path.display().to_string());
    let built = m3w(&[
        "pairs",
        "--input",
        &input,
        "--kind",
        "pairs",
        "--out",
        &data,
        "--quiet",
        "--set",
        "vocabulary_size=400",
        "--set",
        "inputs_per_shard=2",
    ]);
    assert!(built.status.success(), "{built:?}");
    let whole = files(&out);
    let documents = out.join("documents/part-00001.parquet");
    std::fs::remove_file(&documents).unwrap();
    let said = m3w(&["repair", &data, "--quiet"]);
    assert_eq!(said.status.code(), Some(1));
    let lost = String::from_utf8(said.stdout).unwrap();
    assert_eq!(lost.matches("repair/no-input").count(), 2, "{lost}");
    let said = m3w(&["repair", &data, "--quiet", "--input", &input]);
    assert!(said.status.success(), "{said:?}");
    assert!(files(&out) == whole);
}

#[test]
fn another_input_than_that_of_the_corpus_is_refused() {
    let built = Built::new();
    built.delete(OUTCOMES);
    let other = built.site.list.display().to_string();
    let out = built.out().display().to_string();
    let said = complaint(&["repair", &out, "--urls", &other]);
    assert!(said.contains("was built from another input"), "{said}");
}
