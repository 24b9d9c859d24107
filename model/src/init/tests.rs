use super::*;

#[test]
fn a_draw_depends_on_seed_and_name_only() {
    let init = Init::Normal { deviation: 1.0 };
    let values = |seed, name: &str, before: &[&str]| {
        let mut store = ParameterStore::seeded(seed);
        for other in before {
            store.get(other, &[3], init).unwrap();
        }
        let tensor = store.get(name, &[4], init).unwrap();
        tensor.to_vec1::<f32>().unwrap()
    };
    assert_eq!(values(7, "a", &[]), values(7, "a", &["b", "c"]));
    assert_ne!(values(7, "a", &[]), values(8, "a", &[]));
    assert_ne!(values(7, "a", &[]), values(7, "b", &[]));
}

#[test]
fn a_weight_that_is_no_number_is_named() {
    let store = |last: f32| {
        let tensor = Tensor::new(&[1.0, f32::MAX, last], &Device::Cpu).unwrap();
        ParameterStore::from_tensors(BTreeMap::from([("w".to_owned(), tensor)]), "file")
    };
    assert!(store(f32::MIN).check_finite().is_ok());
    for last in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let message = store(last).check_finite().unwrap_err().to_string();
        assert!(message.contains("tensor `w`"), "{message}");
    }
}

#[test]
fn what_is_trained_is_not_rounded_to_the_type_computed_in() {
    let name = "perceiver.layers.0.0.to_q.weight";
    let handed_out = |trainable: &[Group]| {
        let store = ParameterStore::seeded(1).on(&Compute::in_type(DType::BF16));
        let mut store = store.trainable(trainable);
        store.get_map(name, &[2, 2], Init::Ones).unwrap();
        let (tensors, _) = store.into_parts();
        ParameterStore::from_tensors(tensors, "model")
            .on(&Compute::in_type(DType::BF16))
            .trainable(&[Group::Resampler])
    };
    assert!(handed_out(&[Group::Resampler]).check_unrounded().is_ok());
    let refused = handed_out(&[]).check_unrounded().unwrap_err();
    let message = refused.to_string();
    assert!(
        message.contains(name) && message.contains("bf16"),
        "{message}"
    );
}

#[test]
fn a_wrong_shape_is_refused_with_both_shapes() {
    let tensor = Tensor::zeros((2, 3), DType::F32, &Device::Cpu).unwrap();
    let tensors = BTreeMap::from([("w".to_owned(), tensor)]);
    let mut store = ParameterStore::from_tensors(tensors, "file.safetensors");
    let message = store
        .get("w", &[3, 2], Init::Zeros)
        .unwrap_err()
        .to_string();
    assert!(
        message.contains("[2, 3]") && message.contains("[3, 2]"),
        "{message}"
    );
    let message = store.get("v", &[1], Init::Zeros).unwrap_err().to_string();
    assert!(message.contains("no tensor `v`"), "{message}");
}

#[test]
fn weights_of_another_type_are_refused() {
    let tensor = Tensor::zeros(2, DType::I64, &Device::Cpu).unwrap();
    let tensors = BTreeMap::from([("w".to_owned(), tensor)]);
    let mut store = ParameterStore::from_tensors(tensors, "file.safetensors");
    let error = store.get("w", &[2], Init::Zeros).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with("file.safetensors: tensor `w` holds i64"),
        "{message}"
    );
}

#[test]
fn damaged_files_are_refused_by_name() {
    let header = |length: u64, text: &str| [&length.to_le_bytes(), text.as_bytes()].concat();
    let too_many = r#"{"w":{"dtype":"F32","shape":[4294967296,4294967296],"data_offsets":[0,0]}}"#;
    let other_size = r#"{"w":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#;
    let cases = [
        ("empty", vec![]),
        ("short", vec![0; 7]),
        ("the longest header", header(u64::MAX, "{}")),
        ("a header past the end", header(100, "{}")),
        ("no JSON", header(4, "none")),
        (
            "a shape that overflows",
            header(too_many.len() as u64, too_many),
        ),
        (
            "a shape of another size",
            header(other_size.len() as u64, other_size),
        ),
    ];
    for (what, bytes) in cases {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("weights.safetensors");
        std::fs::write(&path, bytes).unwrap();
        let Err(error) = ParameterStore::from_file(&path) else {
            panic!("{what} was read");
        };
        let message = error.to_string();
        assert!(
            message.contains("weights.safetensors: not a readable"),
            "{what}: {message}"
        );
    }
}
