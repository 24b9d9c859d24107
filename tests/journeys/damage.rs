//! Single bits that flip on disk.

use m3w::corpus::Corpus;
use m3w::shards::{DocumentReader, SequenceReader};
use m3w::verify::verify;

use super::site::{copy_shared_corpus, files, m3w, shared_corpus};

/// Numbers that look drawn, the same at each call.
pub(super) fn drawn(mut state: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = state;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Some((mixed ^ (mixed >> 31)) as usize)
    })
}

#[test]
fn each_of_a_thousand_flipped_bits_is_found_and_none_makes_a_reader_panic() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    let whole = files(shared_corpus());
    for (name, bytes) in &whole {
        let path = root.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
    let corpus = Corpus::at(root);
    assert_eq!(verify(&corpus, true).unwrap().problems, []);
    let names: Vec<&String> = whole.keys().collect();
    for name in ["manifest.json", "tokenizer.json"] {
        assert!(whole.contains_key(name));
    }
    let mut draws = drawn(5);
    for number in 0..1000 {
        let name = names[number % names.len()];
        let whole = &whole[name];
        let bits = 8 * whole.len();
        let draw = draws.next().unwrap();
        // Half of them in the last 2,000 bytes: the footer of a shard has no checksum of its own.
        let bit = if draw & 1 << 60 == 0 {
            draw % bits
        } else {
            bits - 1 - draw % bits.min(16_000)
        };
        let mut flipped = whole.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        std::fs::write(root.join(name), &flipped).unwrap();
        let found = verify(&corpus, false);
        let is_found = match &found {
            // Without a manifest that can be trusted nothing else is looked at.
            Err(_) => name == "manifest.json",
            Ok(findings) => findings
                .problems
                .iter()
                .any(|problem| problem.file == *name),
        };
        assert!(is_found, "bit {bit} of {name}: {found:?}");
        if name.starts_with("documents/") {
            if let Ok(reader) = DocumentReader::open(&root.join(name)) {
                reader.for_each(drop);
            }
        } else if name.starts_with("sequences/")
            && let Ok(reader) = SequenceReader::open(&root.join(name))
        {
            reader.for_each(drop);
        }
        std::fs::write(root.join(name), whole).unwrap();
    }
    assert_eq!(verify(&corpus, true).unwrap().problems, []);
}

#[test]
fn the_program_names_each_damaged_file_and_its_exit_code_is_1() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path();
    copy_shared_corpus(root);
    let data = root.display().to_string();
    let output = m3w(&["verify", &data]);
    assert!(output.status.success(), "{output:?}");
    std::fs::write(root.join("tokenizer.json"), "{}").unwrap();
    std::fs::remove_file(root.join("outcomes/part-00001.jsonl")).unwrap();
    std::fs::write(root.join("documents/part-09999.parquet"), "").unwrap();
    let output = m3w(&["verify", &data]);
    assert_eq!(output.status.code(), Some(1));
    let said = String::from_utf8(output.stderr).unwrap();
    for file in ["tokenizer.json", "part-00001.jsonl", "part-09999.parquet"] {
        assert!(said.contains(file), "{file}: {said}");
    }
    assert!(said.contains("3 problems"), "{said}");
}
