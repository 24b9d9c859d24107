//! What can be read of a shard with a flipped bit.

use std::fs;

use m3w_document::{Document, Image};
use m3w_shards::{Config, DocumentWriter, Error, Salvaged, salvage_documents};

use crate::sample;

#[test]
fn a_flipped_bit_costs_at_most_its_row_group_and_never_gives_other_bytes() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("documents.parquet");
    let config = Config {
        row_group_rows: 4,
        ..Config::default()
    };
    let documents: Vec<Document<Image>> = (0..20).map(sample::full_document).collect();
    let mut writer = DocumentWriter::create(&path, &sample::info(config)).unwrap();
    for document in &documents {
        writer.write(document).unwrap();
    }
    writer.finish().unwrap();
    let good = fs::read(&path).unwrap();
    let footer = u32::from_le_bytes(good[good.len() - 8..][..4].try_into().unwrap()) as usize + 8;
    let (mut without_pictures, mut lost) = (0, 0);
    let end = good.len() - footer;
    for position in (4..end).step_by(end / 120) {
        let mut bytes = good.clone();
        bytes[position] ^= 1 << (position % 8);
        fs::write(&path, &bytes).unwrap();
        let mut left = 0;
        salvage_documents(&path, |row| {
            let (found, is_whole) = match row {
                Salvaged::Whole(found) => (found, true),
                Salvaged::WithoutPictures(found) => (found, false),
            };
            left += 1;
            without_pictures += usize::from(!is_whole);
            let Some(written) = documents.iter().find(|written| written.id == found.id) else {
                return Ok(());
            };
            // A bit that no checksum covers may give other words; the digest tells.
            if found.digest() == written.digest() {
                for (found, written) in found.images().zip(written.images()) {
                    let is_same = found.bytes == written.bytes;
                    assert!(is_same || (!is_whole && found.bytes.is_empty()));
                }
            }
            Ok::<(), Error>(())
        })
        .unwrap();
        assert!(
            left >= 16,
            "{left} rows are left after a flip at {position}"
        );
        lost += 20 - left;
    }
    // Damage was met of both kinds: to pictures alone, and to words.
    assert!(
        without_pictures > 0 && lost > 0,
        "{without_pictures} {lost}"
    );
}

#[test]
fn nothing_can_be_read_without_a_footer_and_what_keeps_may_refuse() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("documents.parquet");
    let info = sample::info(Config::default());
    let mut writer = DocumentWriter::create(&path, &info).unwrap();
    writer.write(&sample::full_document(0)).unwrap();
    writer.finish().unwrap();
    let refused = salvage_documents(&path, |_| Err("enough".to_owned().into()));
    assert_eq!(refused, Err(Refusal("enough".to_owned())));
    let good = fs::read(&path).unwrap();
    fs::write(&path, &good[..good.len() - 1]).unwrap();
    let cut = salvage_documents(&path, |_| Ok::<(), Refusal>(()));
    assert!(cut.is_err());
}

#[derive(Debug, PartialEq)]
struct Refusal(String);

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        Self(error.to_string())
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Self(text)
    }
}
