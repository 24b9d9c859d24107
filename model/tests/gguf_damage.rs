//! GGUF files that were cut, changed or made to harm: they are refused by name, without a panic, and
//! before much memory is taken.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test may panic, in its helpers too"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;

use m3w_model::{Decoder, GgufLanguage, ParameterStore, WeightType};
use proptest::prelude::*;

/// The system's allocator, which counts the bytes that a thread holds and the most it held.
struct Counting;

thread_local! {
    static HELD: Cell<isize> = const { Cell::new(0) };
    static MOST: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // At the end of a thread its counters are gone.
    let _ = HELD.try_with(|held| {
        held.set(held.get() + bytes);
        let _ = MOST.try_with(|most| most.set(most.get().max(held.get())));
    });
}

// SAFETY: hands every request to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: as above.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Opening a file takes at most so many times its bytes, and a buffer.
const MOST_PER_BYTE: usize = 16;
const BUFFER: usize = 64 << 10;

/// Opens a file of these bytes, and reads its weights where it is whole; why it is refused.
fn opened(bytes: &[u8]) -> Result<(), String> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.gguf");
    std::fs::write(&path, bytes).unwrap();
    let before = HELD.get();
    MOST.set(before);
    let language = GgufLanguage::open(&path);
    let most = (MOST.get() - before) as usize;
    let bound = MOST_PER_BYTE * bytes.len() + BUFFER;
    assert!(most <= bound, "{most} bytes were taken for {}", bytes.len());
    let language = language.map_err(|error| error.to_string())?;
    let config = language.config().clone();
    for weights in [WeightType::F32, WeightType::Int8] {
        let language = GgufLanguage::open(&path).unwrap();
        let store = ParameterStore::from_tensors(BTreeMap::new(), "nothing");
        let mut store = store.with_language(language).frozen_as(weights);
        let decoder = Decoder::new(&config, &mut store, "lang_encoder.");
        decoder.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A file's parts, to be written with lies in them.
struct Parts {
    start: Vec<u8>,
    keys: Vec<Vec<u8>>,
    tensors: Vec<Vec<u8>>,
    data: Vec<u8>,
}

fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u64).to_le_bytes(), text.as_bytes()].concat()
}

/// A key with a value of this type.
fn key(name: &str, kind: u32, value: &[u8]) -> Vec<u8> {
    [&text(name)[..], &kind.to_le_bytes(), value].concat()
}

fn whole(name: &str, value: u32) -> Vec<u8> {
    key(name, 4, &value.to_le_bytes())
}

/// A tensor, its dimensions as files have them.
fn tensor(name: &str, dimensions: &[u64], kind: u32, offset: u64) -> Vec<u8> {
    let sizes: Vec<u8> = dimensions
        .iter()
        .flat_map(|size| size.to_le_bytes())
        .collect();
    let count = dimensions.len() as u32;
    [
        &text(name)[..],
        &count.to_le_bytes(),
        &sizes,
        &kind.to_le_bytes(),
        &offset.to_le_bytes(),
    ]
    .concat()
}

impl Parts {
    /// The beginnings of a LLaMA of one layer: its table is there, all else is not.
    fn new() -> Self {
        Self {
            start: [&b"GGUF"[..], &3_u32.to_le_bytes()].concat(),
            keys: vec![
                key("general.architecture", 8, &text("llama")),
                whole("llama.embedding_length", 4),
                whole("llama.block_count", 1),
                whole("llama.attention.head_count", 2),
                whole("llama.feed_forward_length", 8),
                whole("llama.context_length", 16),
                key(
                    "llama.attention.layer_norm_rms_epsilon",
                    6,
                    &1e-5_f32.to_le_bytes(),
                ),
            ],
            tensors: vec![tensor("token_embd.weight", &[4, 3], 0, 0)],
            data: vec![0; 48],
        }
    }

    fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.start.clone();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.keys.len() as u64).to_le_bytes());
        bytes.extend(self.keys.concat());
        bytes.extend(self.tensors.concat());
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(&self.data);
        bytes
    }

    fn with_key(mut self, key: Vec<u8>) -> Self {
        self.keys.push(key);
        self
    }

    /// With another value of a key that is there.
    fn changed(mut self, name: &str, value: Vec<u8>) -> Self {
        let start = text(name);
        let found = self.keys.iter_mut().find(|key| key.starts_with(&start));
        *found.unwrap() = value;
        self
    }

    fn with_tensor(mut self, tensor: Vec<u8>) -> Self {
        self.tensors.push(tensor);
        self
    }

    fn of_table(mut self, table: Vec<u8>) -> Self {
        self.tensors = vec![table];
        self
    }
}

#[track_caller]
fn assert_refused(parts: &Parts, expected: &[&str]) {
    let message = opened(&parts.bytes()).unwrap_err();
    for expected in expected {
        assert!(message.contains(expected), "{message}");
    }
    assert!(message.contains("model.gguf"), "{message}");
}

#[test]
fn what_is_no_file_of_this_form_is_refused() {
    for (bytes, expected) in [
        (vec![], "4 bytes are to follow byte 0, of 0"),
        (
            b"GGUF\x03\0\0".to_vec(),
            "4 bytes are to follow byte 4, of 7",
        ),
        (
            b"PK\x03\x04 and more".to_vec(),
            "does not begin with `GGUF`",
        ),
        (b"GGUF\x01\0\0\0".to_vec(), "version 1"),
        (b"GGUF\0\0\0\x03".to_vec(), "other byte order"),
    ] {
        let message = opened(&bytes).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
}

#[test]
fn counts_and_lengths_that_lie_are_refused() {
    let mut many = Parts::new();
    many.start.extend([0xff; 16]);
    assert_refused(&many, &["is to have", "at most 65536 are read"]);
    let long = key("general.name", 8, &u64::MAX.to_le_bytes());
    assert_refused(
        &Parts::new().with_key(long),
        &["general.name", "are to follow byte"],
    );
    let list = [&0_u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
    let list = key("a.list", 9, &list);
    assert_refused(
        &Parts::new().with_key(list),
        &["a.list", "are to follow byte"],
    );
    let list = [&10_u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
    let list = key("a.list", 9, &list);
    assert_refused(&Parts::new().with_key(list), &["a.list", "values"]);
    let texts = [&8_u32.to_le_bytes()[..], &u64::MAX.to_le_bytes()].concat();
    let texts = key("a.list", 9, &texts);
    assert_refused(&Parts::new().with_key(texts), &["a.list"]);
    // A list of one list of one list, and so on.
    let level = [&9_u32.to_le_bytes()[..], &1_u64.to_le_bytes()].concat();
    let nested = key("a.list", 9, &level.repeat(100_000));
    assert_refused(&Parts::new().with_key(nested), &["a.list", "deep"]);
    let unknown = key("a.key", 77, &[]);
    assert_refused(&Parts::new().with_key(unknown), &["a.key", "type 77"]);
    let twice = whole("llama.block_count", 1);
    assert_refused(
        &Parts::new().with_key(twice),
        &["llama.block_count", "twice"],
    );
    for alignment in [0, u32::MAX] {
        let alignment = whole("general.alignment", alignment);
        assert_refused(&Parts::new().with_key(alignment), &["general.alignment"]);
    }
}

#[test]
fn tensors_that_do_not_fit_their_file_are_refused_by_name() {
    let table = |dimensions: &[u64], kind, offset| {
        Parts::new().of_table(tensor("token_embd.weight", dimensions, kind, offset))
    };
    let name = "token_embd.weight";
    let most = u64::MAX;
    for (parts, expected) in [
        (table(&[4, 1 << 40], 0, 0), "is the file whole?"),
        (table(&[4, 3], 0, 1 << 40), "is the file whole?"),
        (table(&[4, 3], 0, most), "is the file whole?"),
        (
            table(&[4, 1 << 60, 1 << 60], 0, 0),
            "more than any machine holds",
        ),
        (table(&[most, most], 0, 0), "do not fill"),
        (table(&[0, 3], 0, 0), "without numbers"),
        (table(&[], 0, 0), "0 dimensions"),
        (table(&[1; 5], 0, 0), "5 dimensions"),
        (table(&[4, 3], 16, 0), "type 16"),
        (
            table(&[4, 3], 8, 0),
            "[3, 4], whose rows blocks of 32 (Q8_0) do not fill",
        ),
        (table(&[5, 2], 0, 0), "[2, 5], expected [tokens, 4]"),
    ] {
        assert_refused(&parts, &[name, expected]);
    }
    let twice = Parts::new().with_tensor(tensor(name, &[4, 3], 0, 0));
    assert_refused(&twice, &[name, "twice"]);
    let shared = Parts::new().with_tensor(tensor("output_norm.weight", &[4], 0, 32));
    assert_refused(&shared, &[name, "output_norm.weight", "share bytes"]);
    let mut cut = Parts::new();
    cut.data.pop();
    assert_refused(&cut, &[name, "is the file whole?"]);
}

#[test]
fn a_model_that_is_not_built_is_refused_by_its_key() {
    let architecture = key("general.architecture", 8, &text("bert"));
    let parts = Parts::new().changed("general.architecture", architecture);
    assert_refused(&parts, &["general.architecture", "bert", "llama, qwen2"]);
    for (name, value, expected) in [
        ("llama.block_count", 0, "whole number from 1"),
        ("llama.block_count", 1 << 20, "no more than 1 tensors"),
        ("llama.embedding_length", u32::MAX, "whole number from 1"),
        ("llama.attention.head_count", 3, "divide language.width"),
    ] {
        let parts = Parts::new().changed(name, whole(name, value));
        let message = opened(&parts.bytes()).unwrap_err();
        assert!(message.contains(expected), "{message}");
    }
    for (name, value) in [("llama.expert_count", 8), ("llama.rope.dimension_count", 1)] {
        assert_refused(&Parts::new().with_key(whole(name, value)), &[name]);
    }
    let yarn = key("llama.rope.scaling.type", 8, &text("yarn"));
    assert_refused(
        &Parts::new().with_key(yarn),
        &["llama.rope.scaling.type", "yarn", "none and linear"],
    );
    let parts = whole("split.count", 3);
    assert_refused(&Parts::new().with_key(parts), &["split.count", "--merge"]);
    // All is well but that most tensors are not there, or that one has no place.
    assert_refused(&Parts::new(), &["no tensor `"]);
    let mut other = Parts::new().with_tensor(tensor("rope_freqs.weight", &[4], 0, 64));
    other.data.resize(80, 0);
    assert_refused(&other, &["rope_freqs.weight", "stretched positions"]);
}

#[test]
fn many_short_names_take_no_more_memory_than_others() {
    let mut parts = Parts::new();
    let names = (0..30_000).map(|number| format!("{number:x}"));
    for (number, name) in names.enumerate() {
        parts.keys.push(key(&name, 0, &[1]));
        parts
            .tensors
            .push(tensor(&name, &[1], 0, 48 + 4 * number as u64));
    }
    parts.data.resize(48 + 4 * 30_000, 0);
    assert_refused(&parts, &["has no place"]);
}

/// The header's bytes are far fewer than those of tensors; changes go to the former mostly.
fn golden(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens/gguf");
    std::fs::read(folder.join(name)).unwrap()
}

proptest! {
    #[test]
    fn a_changed_or_cut_file_is_read_or_refused(
        name in prop::sample::select(vec!["llama_q8_0.gguf", "gpt2.gguf", "gptneox.gguf"]),
        changes in prop::collection::vec((0_usize..4000, any::<u8>()), 1..4),
        kept in prop_oneof![Just(1.0), 0.0..1.0],
    ) {
        let mut bytes = golden(name);
        for (at, value) in changes {
            bytes[at] = value;
        }
        bytes.truncate((kept * bytes.len() as f64) as usize);
        let _ = opened(&bytes);
    }

    #[test]
    fn random_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..600)) {
        let start = b"GGUF\x03\0\0\0";
        prop_assert!(opened(&bytes).is_err());
        prop_assert!(opened(&[&start[..], &bytes].concat()).is_err());
        // Counts that pass, and what follows is random.
        let counts = [&[3, 0, 0, 0, 0, 0, 0, 0, 5][..], &[0; 7]].concat();
        prop_assert!(opened(&[&start[..], &counts, &bytes].concat()).is_err());
    }
}
