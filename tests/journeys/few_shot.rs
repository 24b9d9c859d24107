//! A model asked the questions of benchmarks, over HTTP, and in the terminal.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::{Value, json};
use tempfile::TempDir;

use super::site::{complaint, m3w, shared_corpus};

const PICTURES: [&str; 5] = [
    "blue-box-roofs.jpg",
    "golden-kite-vault.jpg",
    "purple-box-meadow.jpg",
    "yellow-box-beach.jpg",
    "black-bird-grey-sky.jpg",
];

fn picture(name: &str) -> PathBuf {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/src/demo/site/pictures");
    Path::new(folder).join(name)
}

/// A model that was trained for one step.
fn model() -> &'static str {
    static MODEL: OnceLock<(TempDir, String)> = OnceLock::new();
    let (_, path) = MODEL.get_or_init(|| {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("run").to_str().unwrap().to_owned();
        let config = concat!(env!("CARGO_MANIFEST_DIR"), "/configs/train-tiny.toml");
        let corpus = shared_corpus().to_str().unwrap();
        let places = ["--config", config, "--data", corpus, "--out", &out];
        let sizes = ["--set", "run.steps=1", "--set", "loader.batch_size=1"];
        let run = m3w(&[&["train", "--quiet"], &places[..], &sizes[..]].concat());
        assert!(
            run.status.success(),
            "{}",
            String::from_utf8_lossy(&run.stderr)
        );
        (folder, out)
    });
    path
}

/// COCO's files with three pictures to show and two to ask about.
fn coco(folder: &Path) {
    fs::create_dir_all(folder.join("annotations")).unwrap();
    for (split, names) in [("train2014", &PICTURES[..3]), ("val2014", &PICTURES[3..])] {
        fs::create_dir_all(folder.join(split)).unwrap();
        let mut images = Vec::new();
        let mut annotations = Vec::new();
        for (number, name) in names.iter().enumerate() {
            fs::copy(picture(name), folder.join(split).join(name)).unwrap();
            images.push(json!({"id": number, "file_name": name}));
            let caption = name.trim_end_matches(".jpg").replace('-', " ");
            annotations.push(json!({"image_id": number, "id": number, "caption": caption}));
        }
        let text = json!({"images": images, "annotations": annotations}).to_string();
        fs::write(
            folder.join(format!("annotations/captions_{split}.json")),
            text,
        )
        .unwrap();
    }
}

fn succeed(arguments: &[&str]) -> String {
    let run = m3w(arguments);
    assert!(
        run.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&run.stderr)
    );
    String::from_utf8(run.stdout).unwrap()
}

#[test]
fn a_benchmark_that_was_stopped_goes_on_and_ends_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let (data, out) = (at("coco"), at("out"));
    coco(Path::new(&data));
    let asked = [
        "eval",
        "--quiet",
        "--task",
        "coco",
        "--data",
        &data,
        "--checkpoint",
        model(),
        "--out",
        &out,
        "--shots",
        "0,2",
        "--rices",
    ];
    let table = succeed(&asked);
    assert_eq!(table.lines().count(), 3, "{table}");
    assert!(table.contains("coco") && table.contains("CIDEr"), "{table}");
    let results = fs::read(at("out/results.json")).unwrap();
    let answers = fs::read_to_string(at("out/coco-2.jsonl")).unwrap();
    assert_eq!(answers.lines().count(), 2);

    // As if it had been killed in the middle of the second answer and of the second feature.
    let first = answers.lines().next().unwrap().len();
    fs::write(at("out/coco-2.jsonl"), &answers[..first + 9]).unwrap();
    let features = fs::read(at("out/rices.f32")).unwrap();
    assert_eq!(features.len(), 3 * 128 * 4);
    fs::write(at("out/rices.f32"), &features[..700]).unwrap();
    fs::remove_file(at("out/results.json")).unwrap();
    assert_eq!(succeed(&asked), table);
    assert_eq!(fs::read(at("out/results.json")).unwrap(), results);
    assert_eq!(fs::read_to_string(at("out/coco-2.jsonl")).unwrap(), answers);
    assert_eq!(fs::read(at("out/rices.f32")).unwrap(), features);

    let told = complaint(&[&asked[..], &["--seed", "1"]].concat());
    assert!(told.contains("answers to something else"), "{told}");
    let told = complaint(&[
        "eval",
        "--task",
        "chess",
        "--data",
        ".",
        "--checkpoint",
        ".",
    ]);
    assert!(told.contains("there is no benchmark chess"), "{told}");
}

#[test]
fn candidates_are_ranked_over_several_orders_of_the_examples() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir_all(at("memes/img")).unwrap();
    let mut lines = String::new();
    for (number, name) in PICTURES.iter().enumerate() {
        fs::copy(picture(name), Path::new(&at("memes/img")).join(name)).unwrap();
        let meme =
            json!({"id": number, "img": format!("img/{name}"), "label": number % 2, "text": "hi"});
        lines.push_str(&format!("{meme}\n"));
    }
    fs::write(at("memes/train.jsonl"), &lines).unwrap();
    fs::write(at("memes/dev_seen.jsonl"), &lines).unwrap();
    let (data, out) = (at("memes"), at("out"));
    let asked = [
        "eval",
        "--quiet",
        "--json",
        "--task",
        "hatefulmemes",
        "--data",
        &data,
        "--checkpoint",
        model(),
        "--out",
        &out,
        "--shots",
        "2",
        "--limit",
        "3",
        "--permutations",
        "2",
    ];
    let results: Value = serde_json::from_str(&succeed(&asked)).unwrap();
    assert_eq!(results[0]["measure"], "ROC-AUC");
    assert_eq!(results[0]["count"], 3);
    let answers = fs::read_to_string(at("out/hatefulmemes-2.jsonl")).unwrap();
    for line in answers.lines() {
        let answer: Value = serde_json::from_str(line).unwrap();
        let scores = answer["scores"].as_array().unwrap();
        assert_eq!(scores.len(), 2);
        assert!(scores.iter().all(|score| score.as_f64().unwrap() < 0.0));
    }
    let many = [
        &asked[..11],
        &["--shots", "9", "--limit", "3", "--permutations", "2"],
    ]
    .concat();
    let told = complaint(&many);
    assert!(told.contains("ask with fewer shots"), "{told}");
}

#[test]
fn the_list_says_what_each_benchmark_needs() {
    let list = succeed(&["eval", "--list"]);
    let names = list.lines().filter(|line| !line.starts_with(' ')).count();
    assert_eq!(names, 18);
    assert!(list.contains("annotations/captions_val2014.json"), "{list}");
    let told = complaint(&[
        "eval",
        "--task",
        "coco",
        "--data",
        "/nowhere",
        "--checkpoint",
        "x",
    ]);
    assert!(
        told.contains("captions_train2014.json is missing"),
        "{told}"
    );
}

/// A server of the model on a free port, ended with its owner.
struct Server {
    child: Child,
    address: String,
}

impl Server {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_m3w"))
            .args(["serve", "--port", "0", "--checkpoint", model()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let out = child.stdout.take().unwrap();
        BufReader::new(out).read_line(&mut line).unwrap();
        let address = line
            .trim()
            .trim_start_matches("http://")
            .trim_end_matches('/');
        Self {
            address: address.to_owned(),
            child,
        }
    }

    /// The whole answer to a request, head and body.
    fn ask(&self, method: &str, path: &str, host: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n"
        );
        stream.write_all(head.as_bytes()).unwrap();
        // A request that is refused may not be read to its end.
        let _ = stream.write_all(body.as_bytes());
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }

    fn complete(&self, body: &Value) -> String {
        self.ask(
            "POST",
            "/v1/chat/completions",
            &self.address,
            &body.to_string(),
        )
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn a_server_full_of_idle_clients_ends_when_it_is_asked_to() {
    let mut server = Server::start();
    let clients: Vec<TcpStream> = (0..64)
        .map(|_| {
            let mut stream = TcpStream::connect(&server.address).unwrap();
            stream
                .write_all(b"GET /v1/models HTTP/1.1\r\nhost: localhost\r\n\r\n")
                .unwrap();
            // Taken by the server, and kept by the client.
            assert!(stream.read(&mut [0; 512]).unwrap() > 0);
            stream
        })
        .collect();
    let interrupt = format!("kill -INT {}", server.child.id());
    let sent = Command::new("sh")
        .args(["-c", &interrupt])
        .status()
        .unwrap();
    assert!(sent.success());
    // Idle clients are sent away only after half a minute.
    let ended = (0..200).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(50));
        server.child.try_wait().unwrap().is_some()
    });
    assert!(ended, "the server goes on");
    drop(clients);
}

#[test]
fn a_server_answers_whole_and_word_by_word_and_refuses_what_it_must() {
    let server = Server::start();
    let page = server.ask("GET", "/", &server.address, "");
    assert!(
        page.starts_with("HTTP/1.1 200") && page.contains("<h1>m3w</h1>"),
        "{page}"
    );
    let models = server.ask("GET", "/v1/models", "localhost:1", "");
    assert!(models.contains("\"id\":\"run\""), "{models}");

    let bytes = fs::read(picture(PICTURES[0])).unwrap();
    let url = format!("data:image/jpeg;base64,{}", BASE64_STANDARD.encode(bytes));
    let question = |url: &str, is_streamed: bool| {
        json!({"model": "run", "max_tokens": 4, "stream": is_streamed, "messages": [
            {"role": "user", "content": [
                {"type": "image_url", "image_url": {"url": url}},
                {"type": "text", "text": "Output:"}]}]})
    };
    let whole = server.complete(&question(&url, false));
    let body = whole.split_once("\r\n\r\n").unwrap().1;
    let completion: Value = serde_json::from_str(body).unwrap();
    assert_eq!(completion["object"], "chat.completion");
    let text = completion["choices"][0]["message"]["content"]
        .as_str()
        .unwrap();
    assert!(completion["usage"]["prompt_tokens"].as_u64().unwrap() > 2);
    let is_cut = completion["usage"]["completion_tokens"] == 4;
    let reason = if is_cut { "length" } else { "stop" };
    assert_eq!(completion["choices"][0]["finish_reason"], reason);

    let streamed = server.complete(&question(&url, true));
    assert!(
        streamed.contains("text/event-stream") && streamed.contains("data: [DONE]"),
        "{streamed}"
    );
    let told = format!("\"finish_reason\":\"{reason}\"");
    assert!(streamed.contains(&told), "{streamed}");
    let parts = streamed
        .lines()
        .filter_map(|line| line.strip_prefix("data: {"));
    let parts: String = parts
        .map(|part| {
            let part: Value = serde_json::from_str(&format!("{{{part}")).unwrap();
            let delta = &part["choices"][0]["delta"]["content"];
            delta.as_str().unwrap_or_default().to_owned()
        })
        .collect();
    assert_eq!(parts.trim(), text);

    for (answer, status, told) in [
        (
            server.complete(&question("http://127.0.0.1/a.jpg", false)),
            400,
            "are not fetched",
        ),
        (
            server.complete(&question("data:image/jpeg;base64,aGk=", false)),
            400,
            "cannot be used",
        ),
        (
            server.ask("GET", "/", "example.org", ""),
            403,
            "only this machine",
        ),
        (
            server.ask("GET", "/secret", &server.address, ""),
            404,
            "nothing here",
        ),
        (
            server.ask("DELETE", "/", &server.address, ""),
            405,
            "not how",
        ),
    ] {
        assert!(
            answer.starts_with(&format!("HTTP/1.1 {status}")),
            "{answer}"
        );
        assert!(answer.contains(told), "{answer}");
    }
    let long = "x".repeat(m3w::serve::MAX_BODY_BYTES + 1);
    let answer = server.ask("POST", "/v1/chat/completions", &server.address, &long);
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 413"),
        "{answer}"
    );
    // It goes on answering.
    assert!(
        server
            .ask("GET", "/v1/models", "localhost", "")
            .contains("run")
    );
}

#[test]
fn lines_of_pictures_and_words_are_answered_in_the_terminal() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_m3w"))
        .args(["chat", "--max-new-tokens", "3", "--checkpoint", model()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let path = picture(PICTURES[1]);
    let lines = format!("{}\nOutput:\n\n/new\nA word\n", path.display());
    child
        .stdin
        .take()
        .unwrap()
        .write_all(lines.as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.matches('\n').count() >= 2, "{text:?}");
}
