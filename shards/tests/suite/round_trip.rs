//! What is written is what is read, byte for byte the same each time.

use std::fs;

use m3w_document::{Document, Element, Image, Text, TextRole};
use m3w_shards::{
    Config, DocumentReader, DocumentWriter, Error, Manifest, SequenceReader, SequenceWriter,
    subsequence, tokenize,
};
use proptest::prelude::*;

use crate::sample;

fn small_groups() -> Config {
    Config {
        sequence_length: 48,
        row_group_rows: 7,
        ..Config::default()
    }
}

#[test]
fn documents_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("documents.parquet");
    let mut documents: Vec<_> = (0..40).map(sample::full_document).collect();
    // One that has nothing but its address.
    documents.push(Document::new(sample::url("empty")));
    let mut writer = DocumentWriter::create(&path, &sample::info(small_groups())).unwrap();
    for document in &documents {
        writer.write(document).unwrap();
    }
    let entry = writer.finish().unwrap();
    assert_eq!((entry.path.as_str(), entry.rows), ("documents.parquet", 41));
    entry.verify(folder.path()).unwrap();

    let reader = DocumentReader::open(&path).unwrap();
    assert_eq!(reader.row_count(), 41);
    let read: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(read, documents);
}

#[test]
fn sequences_come_back_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sequences.parquet");
    let tokenizer = sample::tokenizer();
    let config = small_groups();
    let rows: Vec<_> = (0..40)
        .map(|number| {
            let tokenized = tokenize(&sample::full_document(number), &tokenizer).unwrap();
            let window = subsequence(&tokenized, 3, 0, &config).unwrap();
            window.into_row("m3w", &tokenizer).unwrap()
        })
        .collect();
    let mut writer =
        SequenceWriter::create(&path, &sample::info(config.clone()), &tokenizer).unwrap();
    for row in &rows {
        writer.write(row).unwrap();
    }
    writer.finish().unwrap();

    let reader = SequenceReader::open(&path).unwrap();
    let info = reader.info();
    assert_eq!(info.tokenizer_sha256, tokenizer.sha256());
    assert_eq!(info.special, tokenizer.special_ids());
    assert_eq!(info.vocabulary_size, tokenizer.vocabulary_size());
    assert_eq!((info.sequence_length, info.images_per_sequence), (48, 5));
    assert_eq!(info.seed, 11);
    let read: Vec<_> = reader.map(Result::unwrap).collect();
    assert_eq!(read, rows);
}

#[test]
fn the_same_rows_make_the_same_bytes() {
    let written = || {
        let folder = tempfile::tempdir().unwrap();
        sample::write_corpus(folder.path(), 30, &small_groups());
        Manifest::load(folder.path()).unwrap()
    };
    assert_eq!(written(), written());
}

#[test]
fn row_groups_keep_their_limits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("documents.parquet");
    let groups = |config| {
        let mut writer = DocumentWriter::create(&path, &sample::info(config)).unwrap();
        for number in 0..20 {
            writer.write(&sample::full_document(number)).unwrap();
        }
        writer.finish().unwrap();
        let file = fs::File::open(&path).unwrap();
        let reader = parquet::file::reader::SerializedFileReader::new(file).unwrap();
        let metadata = parquet::file::reader::FileReader::metadata(&reader);
        let groups = metadata.row_groups().iter();
        groups
            .map(parquet::file::metadata::RowGroupMetaData::num_rows)
            .collect::<Vec<_>>()
    };
    assert_eq!(groups(small_groups()), [7, 7, 6]);
    let one_byte = Config {
        row_group_bytes: 1,
        ..small_groups()
    };
    assert_eq!(groups(one_byte), [1; 20]);
}

#[test]
fn a_writer_that_is_dropped_leaves_no_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("documents.parquet");
    let mut writer = DocumentWriter::create(&path, &sample::info(small_groups())).unwrap();
    writer.write(&sample::full_document(1)).unwrap();
    drop(writer);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_row_that_breaks_a_promise_is_refused_with_its_number() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sequences.parquet");
    let tokenizer = sample::tokenizer();
    let config = small_groups();
    let tokenized = tokenize(&sample::full_document(0), &tokenizer).unwrap();
    let window = subsequence(&tokenized, 3, 0, &config).unwrap();
    let mut row = window.into_row("m3w", &tokenizer).unwrap();
    let mut writer = SequenceWriter::create(&path, &sample::info(config), &tokenizer).unwrap();
    writer.write(&row).unwrap();
    row.images.pop();
    let error = writer.write(&row).unwrap_err();
    assert!(matches!(error, Error::Row { row: 1, .. }), "{error}");
}

#[test]
fn a_shard_of_another_kind_or_version_says_so() {
    let folder = tempfile::tempdir().unwrap();
    sample::write_corpus(folder.path(), 6, &small_groups());
    let documents = folder.path().join("documents-0.parquet");
    let error = SequenceReader::open(&documents).unwrap_err().to_string();
    assert!(
        error.ends_with("is not a shard of sequences: it holds documents"),
        "{error}"
    );

    // The version stands in the footer as text; a newer one is made by changing the digit.
    let mut bytes = fs::read(&documents).unwrap();
    let key = b"m3w.schema_version";
    let start = bytes
        .windows(key.len())
        .rposition(|window| window == key)
        .unwrap();
    let digit = start + key.len() + 2;
    assert_eq!(bytes[digit], b'1');
    bytes[digit] = b'3';
    let newer = folder.path().join("newer.parquet");
    fs::write(&newer, bytes).unwrap();
    let error = DocumentReader::open(&newer).unwrap_err().to_string();
    assert_eq!(
        error,
        format!(
            "shard {} has schema version 3, this build reads up to 1: rebuild it or update m3w",
            newer.display()
        )
    );
}

#[test]
fn a_flipped_bit_or_a_cut_is_never_a_panic_and_always_found_by_the_manifest() {
    let folder = tempfile::tempdir().unwrap();
    sample::write_corpus(folder.path(), 9, &small_groups());
    let manifest = Manifest::load(folder.path()).unwrap();
    let entry = &manifest.documents[1];
    let path = folder.path().join(&entry.path);
    let good = fs::read(&path).unwrap();
    let step = good.len() / 97;
    for position in (0..good.len()).step_by(step) {
        let mut bytes = good.clone();
        bytes[position] ^= 1 << (position % 8);
        fs::write(&path, &bytes).unwrap();
        assert!(entry.verify(folder.path()).is_err(), "flip at {position}");
        if let Ok(reader) = DocumentReader::open(&path) {
            reader.for_each(drop);
        }
        fs::write(&path, &good[..position]).unwrap();
        assert!(DocumentReader::open(&path).is_err(), "cut at {position}");
    }
}

#[test]
fn a_manifest_names_no_file_outside_its_folder_and_no_newer_version_is_read() {
    let folder = tempfile::tempdir().unwrap();
    let error = Manifest::load(folder.path()).unwrap_err().to_string();
    assert!(
        error.contains("give the folder of a finished build"),
        "{error}"
    );

    sample::write_corpus(folder.path(), 6, &small_groups());
    let mut manifest = Manifest::load(folder.path()).unwrap();
    let entry = manifest.documents[0].clone().in_folder("documents");
    assert_eq!(entry.path, "documents/documents-0.parquet");
    for path in ["../documents-0.parquet", "/etc/passwd", "a//b", "c:\\d", ""] {
        manifest.documents[0].path = path.to_owned();
        manifest.save(folder.path()).unwrap();
        assert!(Manifest::load(folder.path()).is_err(), "{path}");
    }
    manifest.schema_version += 1;
    manifest.save(folder.path()).unwrap();
    let error = Manifest::load(folder.path()).unwrap_err().to_string();
    assert!(error.contains("this build reads up to 1"), "{error}");
}

fn any_element() -> impl Strategy<Value = Element<Image>> {
    let text = ("\\PC{0,40}", 0..6_usize).prop_map(|(content, role)| {
        let roles = [
            TextRole::Paragraph,
            TextRole::Heading,
            TextRole::ListItem,
            TextRole::TableRow,
            TextRole::Preformatted,
            TextRole::Caption,
        ];
        Element::Text(Text::new(roles[role], content))
    });
    let image = (proptest::collection::vec(any::<u8>(), 0..50), 1..5000_u32)
        .prop_map(|(bytes, side)| Element::Image(sample::picture("any.png", bytes, (side, 7))));
    prop_oneof![text, image]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_documents_survive_the_disk(
        pages in proptest::collection::vec(proptest::collection::vec(any_element(), 0..12), 0..30),
        row_group_bytes in 1..4000_usize,
    ) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("documents.parquet");
        let config = Config { row_group_bytes, ..small_groups() };
        let mut writer = DocumentWriter::create(&path, &sample::info(config)).unwrap();
        let documents: Vec<_> = pages
            .into_iter()
            .enumerate()
            .map(|(number, elements)| {
                let mut document = Document::new(sample::url(&number.to_string()));
                document.elements = elements;
                document
            })
            .collect();
        for document in &documents {
            writer.write(document).unwrap();
        }
        writer.finish().unwrap();
        let read: Vec<_> = DocumentReader::open(&path).unwrap().map(Result::unwrap).collect();
        prop_assert_eq!(read, documents);
    }
}
