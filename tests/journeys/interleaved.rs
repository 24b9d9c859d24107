//! Corpora of other forms to shards: what we export comes back, and what others wrote is read.

use std::collections::BTreeMap;
use std::path::Path;

use m3w::document::{Document, Element, Image, Sha256};
use m3w::shards::{DocumentReader, Manifest};
use serde_json::{Value, json};

use super::picture_server::{PictureServer, picture};
use super::site::{complaint, files, m3w, shared_corpus};

fn documents(corpus: &Path) -> Vec<Document<Image>> {
    let manifest = Manifest::load(corpus).unwrap();
    let shards = manifest.documents.iter();
    shards
        .flat_map(|entry| DocumentReader::open(&corpus.join(&entry.path)).unwrap())
        .map(Result::unwrap)
        .collect()
}

fn run(arguments: &[&str]) -> String {
    let output = m3w(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

fn build(form: &str, input: &Path, out: &Path, further: &[&str]) -> String {
    let tokenizer = shared_corpus().join("tokenizer.json");
    let paths = [input, out, &tokenizer].map(|path| path.display().to_string());
    let [input, out, tokenizer] = &paths;
    let arguments = [
        &["build", form, input, "--out", out, "--tokenizer", tokenizer][..],
        &["--quiet", "--allow-private-addresses"],
        &["--set", "crawler.delay_ms=0", "--set", "inputs_per_shard=5"],
        further,
    ];
    run(&arguments.concat())
}

fn export(format: &str, out: &Path) {
    let (from, out) = (
        shared_corpus().display().to_string(),
        out.display().to_string(),
    );
    run(&[
        "export",
        "--to",
        format,
        "--samples-per-file",
        "5",
        &from,
        &out,
    ]);
}

/// What every form keeps: the page, and texts and pictures in order.
fn kept(document: &Document<Image>) -> (String, Vec<Value>) {
    let elements = document.elements.iter().map(|element| match element {
        Element::Text(text) => json!(text.content),
        Element::Image(image) => json!({
            "url": image.reference.url.as_str(),
            "stored": image.sha256_stored.to_string(),
        }),
    });
    (document.id.to_string(), elements.collect())
}

#[test]
fn documents_come_back_from_obelics_with_their_pictures() {
    let folder = tempfile::tempdir().unwrap();
    let (exported, out) = (folder.path().join("exported"), folder.path().join("corpus"));
    export("obelics-images", &exported);
    build("--obelics", &exported, &out, &["--offline"]);
    let (before, after) = (documents(shared_corpus()), documents(&out));
    assert!(before.len() >= 10);
    assert_eq!(before.len(), after.len());
    for (before, after) in before.iter().zip(&after) {
        assert_eq!(kept(before), kept(after));
        assert_eq!(before.final_url, after.url);
        assert_eq!(before.warc, after.warc);
        let alts = |document: &Document<Image>| -> Vec<Option<String>> {
            let images = document.images();
            images.map(|image| image.reference.alt.clone()).collect()
        };
        assert_eq!(alts(before), alts(after));
    }
    // Finished, the same command leaves all as it is; as every build, on any number of threads.
    let first = files(&out);
    build("--obelics", &exported, &out, &["--offline"]);
    assert_eq!(files(&out), first);
    let again = folder.path().join("again");
    build(
        "--obelics",
        &exported,
        &again,
        &["--offline", "--threads", "1"],
    );
    assert_eq!(
        files(&again.join("documents")),
        files(&out.join("documents"))
    );
    assert_eq!(
        files(&again.join("sequences")),
        files(&out.join("sequences"))
    );
}

#[test]
fn documents_come_back_from_mmc4_as_openflamingo_reads_it() {
    let folder = tempfile::tempdir().unwrap();
    let (exported, out) = (folder.path().join("exported"), folder.path().join("corpus"));
    export("openflamingo", &exported);
    build("--mmc4", &exported, &out, &["--offline"]);
    let (before, after) = (documents(shared_corpus()), documents(&out));
    // What it would take for a special token is spelt with a space there.
    let escaped = |(id, elements): (String, Vec<Value>)| {
        let texts = elements.into_iter().map(|element| match element {
            Value::String(text) => json!(text.replace("<image>", "< image>")),
            image => image,
        });
        (id, texts.collect::<Vec<_>>())
    };
    let before: Vec<_> = before
        .iter()
        .map(|document| escaped(kept(document)))
        .collect();
    let after: Vec<_> = after.iter().map(kept).collect();
    assert_eq!(before, after);
}

#[test]
fn images_without_bytes_are_fetched_as_those_of_pages_are() {
    let folder = tempfile::tempdir().unwrap();
    let server = PictureServer::start();
    let at = |name: &str| folder.path().join(name);
    let words = "ten words that say what the picture beside them shows";
    let image = |path: &str, place: usize| {
        let url = format!("{}/{path}", server.root);
        json!({"raw_url": url, "image_name": format!("{place}.bmp"), "matched_text_index": place})
    };
    let line = |url: &str, images: Vec<Value>| {
        json!({"url": url, "text_list": [words, words, "the end"], "image_info": images})
            .to_string()
    };
    std::fs::write(
        at("shard.jsonl"),
        [
            line(
                "https://a.test/1",
                vec![
                    image("picture/1", 2),
                    image("gone/2", 1),
                    image("text/3", 0),
                ],
            ),
            "{\"text_list\": 7}".to_owned(),
            line("https://a.test/2", vec![image("small/4", 0)]),
            line("https://a.test/1", vec![image("picture/5", 0)]),
        ]
        .join("\n"),
    )
    .unwrap();
    build("--mmc4", &at("shard.jsonl"), &at("corpus"), &[]);
    let tally = |name: &str| -> BTreeMap<String, u64> {
        let tally = Manifest::load(&at(name)).unwrap().tally;
        let counts = tally.step("page").into_iter().chain(tally.step("image"));
        counts
            .map(|(name, count)| (name.to_owned(), count))
            .collect()
    };
    let expected = [
        ("image/decode/not-an-image", 1),
        ("image/fetch/http-410", 1),
        ("image/filter/too-small", 1),
        ("page/dedup/same-page", 1),
        ("page/filter/too-few-images", 1),
        ("page/input/not-mmc4", 1),
        ("page/kept", 1),
    ];
    let expected = expected.map(|(name, count)| (name.to_owned(), count));
    let mut found = tally("corpus");
    found.remove("image/kept");
    assert_eq!(found, BTreeMap::from(expected));
    let document = &documents(&at("corpus"))[0];
    assert_eq!(document.url.as_str(), "https://a.test/1");
    let bytes = picture(1, 64);
    assert_eq!(
        document.images().next().unwrap().sha256_fetched,
        Sha256::of(&bytes)
    );

    // Those of a folder are not asked for.
    let asked = server.asked();
    std::fs::create_dir(at("pictures")).unwrap();
    std::fs::write(at("pictures/0.bmp"), picture(7, 64)).unwrap();
    let pictures = at("pictures").display().to_string();
    let further = ["--pictures", &pictures, "--offline"];
    build("--mmc4", &at("shard.jsonl"), &at("local"), &further);
    assert_eq!(server.asked(), asked);
    let found = tally("local");
    assert_eq!(found.get("page/kept"), Some(&2));
    assert_eq!(found.get("image/fetch/not-archived"), Some(&2));
}

#[test]
fn files_of_another_form_are_refused_with_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("a.parquet"), "no Parquet").unwrap();
    let out = at("out");
    let complain = |form: &str, input: &str| complaint(&["build", form, input, "--out", &out]);
    assert!(complain("--obelics", &at("a.parquet")).contains("a.parquet"));
    assert!(complain("--obelics", &at("b.parquet")).contains("no such file"));
    assert!(complain("--mmc4", &at("a.parquet")).contains(".jsonl"));
    let corpus = shared_corpus().join("sequences").display().to_string();
    assert!(complain("--obelics", &corpus).contains("OBELICS"));
}
