//! PyTorch checkpoints, made by `goldens/checkpoints.py`.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test may panic, in its helpers too"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use candle_core::{DType, Tensor};
use m3w_model::{Family, ParameterStore, read_torch, reference_name};

fn golden(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    folder.join(name)
}

fn numbers(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.flatten_all().unwrap().to_dtype(DType::F32).unwrap();
    tensor.to_vec1().unwrap()
}

fn assert_is_the_recorded_state(tensors: &BTreeMap<String, Tensor>) {
    let count_up = |count: u8| (0..count).map(f32::from).collect::<Vec<_>>();
    for name in ["perceiver.latents", "turned", "half", "double"] {
        assert_eq!(tensors[name].dims(), [3, 4], "{name}");
        assert_eq!(numbers(&tensors[name]), count_up(12), "{name}");
    }
    assert_eq!(tensors["whole"].dims(), [6, 4]);
    assert_eq!(numbers(&tensors["part"])[..2], [100.0, 101.0]);
    assert_eq!(tensors["half"].dtype(), DType::F16);
    assert_eq!(tensors["counts"].to_vec1::<i64>().unwrap(), [3, -4]);
}

#[test]
fn a_dictionary_of_tensors_is_read() {
    let tensors = read_torch(&golden("plain.pt")).unwrap();
    assert_is_the_recorded_state(&tensors);
    let gate = "lang_encoder.transformer.blocks.1.gated_cross_attn_layer.attn_gate";
    assert_eq!(numbers(&tensors[gate]), [0.5]);
    assert_eq!(tensors.len(), 8);
}

#[test]
fn a_directory_is_found_where_a_record_is_as_long_as_what_follows_it() {
    let tensors = read_torch(&golden("name_of_21_characters.pt")).unwrap();
    assert_is_the_recorded_state(&tensors);
}

#[test]
fn of_a_training_checkpoint_the_model_is_read_without_its_wrappers_name() {
    let tensors = read_torch(&golden("training.pt")).unwrap();
    assert_is_the_recorded_state(&tensors);
    let first = "lang_encoder.gated_cross_attn_layers.1.attn_gate";
    assert_eq!(numbers(&tensors[first]), [0.5]);
    assert_eq!(
        reference_name(first, Family::Mpt),
        "lang_encoder.transformer.blocks.1.gated_cross_attn_layer.attn_gate"
    );
    assert_eq!(tensors.len(), 8);
}

#[test]
fn a_call_is_refused_by_its_name_and_not_made() {
    for read in [
        |path: &Path| read_torch(path).map(|_| ()),
        |path: &Path| ParameterStore::from_file(path).map(|_| ()),
    ] {
        let message = read(&golden("call.pt")).unwrap_err().to_string();
        assert!(
            message.contains("call.pt") && message.contains("`__builtin__.print`"),
            "{message}"
        );
    }
}

#[test]
fn the_form_before_zip_archives_is_named() {
    let message = read_torch(&golden("old.pt")).unwrap_err().to_string();
    assert!(message.contains("before 1.6: save it again"), "{message}");
}

#[test]
fn a_damaged_archive_is_an_error_wherever_it_is_cut_or_changed() {
    let whole = std::fs::read(golden("plain.pt")).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("damaged.pt");
    for cut in (0..whole.len()).step_by(97) {
        std::fs::write(&path, &whole[..cut]).unwrap();
        assert!(read_torch(&path).is_err(), "cut at {cut}");
    }
    for at in (0..whole.len()).step_by(7) {
        let mut bytes = whole.clone();
        bytes[at] ^= 0x55;
        std::fs::write(&path, &bytes).unwrap();
        // Numbers may have changed; what matters is that it ends, and takes no memory for lies.
        let _ = read_torch(&path);
    }
}
