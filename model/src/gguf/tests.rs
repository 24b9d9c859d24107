//! Each type of tensors beside what the `gguf` package reads.

use std::path::Path;

use candle_core::Device;

use super::*;

#[test]
fn blocks_of_each_type_stand_for_the_numbers_they_were_made_of() {
    let goldens = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/goldens");
    let file = GgufFile::open(&goldens.join("gguf/types.gguf")).unwrap();
    let path = goldens.join("gguf.safetensors");
    let recorded = candle_core::safetensors::load(path, &Device::Cpu).unwrap();
    assert_eq!(file.header.tensors.len(), 10);
    for (name, place) in &file.header.tensors {
        assert_eq!(
            (name.as_str(), &place.shape[..]),
            (place.kind.name, &[3, 256][..])
        );
        let bytes = file.bytes(place).unwrap();
        let found = place.kind.tensor(&bytes, &place.shape).unwrap();
        let expected = &recorded[&format!("types.{name}")];
        let rows = found.to_vec2::<f32>().unwrap();
        for (found, expected) in rows.iter().zip(expected.to_vec2::<f32>().unwrap()) {
            for (found, expected) in found.iter().zip(expected) {
                let error = (found - expected).abs();
                assert!(
                    error <= 1e-6 * expected.abs(),
                    "{name}: {found}, expected {expected}"
                );
            }
        }
    }
}
