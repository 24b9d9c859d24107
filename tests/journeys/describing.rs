//! What a corpus says of itself: its datasheet, and a sheet for people to look at.

use std::path::Path;

use m3w::audit::{AuditOptions, write_sheet};
use m3w::corpus::Corpus;
use m3w::shards::DocumentReader;

use super::site::{complaint, copy_shared_corpus, m3w, shared_corpus};

fn sheet(folder: &Path, documents: usize, seed: u64) -> String {
    let out = folder.join("audit.html");
    let options = AuditOptions { documents, seed };
    write_sheet(&Corpus::at(shared_corpus()), &out, &options).unwrap();
    std::fs::read_to_string(out).unwrap()
}

#[test]
fn a_sheet_holds_documents_drawn_by_its_seed_and_asks_nothing_of_the_network() {
    let folder = tempfile::tempdir().unwrap();
    let ids = |html: &str| -> Vec<String> {
        let articles = html.split("<article data-id=").skip(1);
        articles.map(|rest| rest[..32].to_owned()).collect()
    };
    let root = shared_corpus();
    let manifest = Corpus::at(root).manifest().unwrap();
    let all: Vec<String> = manifest
        .documents
        .iter()
        .flat_map(|entry| DocumentReader::open(&root.join(&entry.path)).unwrap())
        .map(|document| document.unwrap().id.to_string())
        .collect();
    let whole = sheet(folder.path(), 200, 0);
    assert_eq!(ids(&whole), all);
    let drawn = sheet(folder.path(), 5, 3);
    assert_eq!(drawn, sheet(folder.path(), 5, 3));
    assert_eq!(ids(&drawn).len(), 5);
    assert!(ids(&drawn).iter().all(|id| all.contains(id)));
    assert_ne!(ids(&drawn), ids(&sheet(folder.path(), 5, 4)));
    assert_eq!(whole.matches("<script").count(), 1);
    let sources = whole.matches(" src=").count();
    assert!(sources > 10);
    assert_eq!(
        sources,
        whole.matches(" src=\"data:image/jpeg;base64,").count()
    );
    assert!(whole.contains("default-src 'none'"));
}

#[test]
fn a_row_is_read_without_those_before_it() {
    let root = shared_corpus();
    let manifest = Corpus::at(root).manifest().unwrap();
    let path = root.join(&manifest.documents[0].path);
    let all: Vec<_> = DocumentReader::open(&path)
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let last = all.len() as u64 - 1;
    let some = DocumentReader::open_rows(&path, &[1, last]).unwrap();
    let some: Vec<_> = some.map(Result::unwrap).collect();
    assert_eq!(some, [all[1].clone(), all.last().unwrap().clone()]);
    assert_eq!(DocumentReader::open_rows(&path, &[]).unwrap().count(), 0);
}

#[test]
fn the_program_writes_card_datasheet_and_sheet_into_the_corpus() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    copy_shared_corpus(root);
    let data = root.display().to_string();
    let output = m3w(&["audit", &data, "--documents", "3"]);
    assert!(output.status.success(), "{output:?}");
    assert!(root.join("audit.html").exists());
    let output = m3w(&["card", &data]);
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), 3, "{said}");
    let text = std::fs::read_to_string(root.join("DATASHEET.md")).unwrap();
    let kept = Corpus::at(root).manifest().unwrap().tally.get("page/kept");
    for part in [
        format!("| documents | {kept} |"),
        "| kept | ".to_owned(),
        "| fetch/robots | 1 | 6.2 % |".to_owned(),
        "### Words of a document".to_owned(),
        "| picture | ".to_owned(),
        "documents name none.".to_owned(),
        "| SHA-256 of the tokenizer | ".to_owned(),
    ] {
        assert!(text.contains(&part), "{part}: {text}");
    }
    // What describes a corpus is no part of it.
    let output = m3w(&["verify", &data]);
    assert!(output.status.success(), "{output:?}");
    let said = complaint(&["audit", &root.join("documents").display().to_string()]);
    assert!(said.contains("there is no corpus"), "{said}");
}
