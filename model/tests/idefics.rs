//! Idefics, read from its published files, beside what `transformers` computed. The recorded values come
//! from `goldens/idefics.py`.
#![expect(
    clippy::unwrap_used,
    reason = "a failed test may panic, in its helpers too"
)]

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::Path;

use candle_core::{DType, Device, Tensor};
use m3w_model::{
    Assembled, Compute, Config, DeviceName, Error, Flamingo, GenerateOptions, Group, Inputs,
    ParameterStore, Picture, Precision, Preprocess, SpecialTokens, assemble_idefics,
    generate_batch, read_folder,
};
use serde_json::{Value, json};

const GOLDEN: &[u8] = include_bytes!("goldens/idefics.safetensors");

/// What is trained at once: all there is.
const ALL: [Group; 5] = [
    Group::Vision,
    Group::Resampler,
    Group::GatedXattn,
    Group::Embeddings,
    Group::Language,
];

type Tensors = HashMap<String, Tensor>;

/// One recorded model.
struct Case {
    name: String,
    config: Value,
    tensors: Tensors,
}

impl Case {
    fn all() -> Vec<Self> {
        let length = u64::from_le_bytes(GOLDEN[..8].try_into().unwrap()) as usize;
        let header: Value = serde_json::from_slice(&GOLDEN[8..8 + length]).unwrap();
        let tensors = candle_core::safetensors::load_buffer(GOLDEN, &Device::Cpu).unwrap();
        let configs = header["__metadata__"].as_object().unwrap();
        let case = |(name, config): (&String, &Value)| Self {
            name: name.clone(),
            config: serde_json::from_str(config.as_str().unwrap()).unwrap(),
            tensors: below(&tensors, name),
        };
        configs.iter().map(case).collect()
    }

    fn published() -> Self {
        let mut all = Self::all().into_iter();
        all.find(|case| case.name == "published").unwrap()
    }

    fn get(&self, name: &str) -> &Tensor {
        &self.tensors[name]
    }

    fn ids(&self, name: &str) -> Vec<Vec<i64>> {
        self.get(name).to_vec2().unwrap()
    }

    fn special(&self) -> SpecialTokens {
        let ids: Vec<i64> = self.get("special").to_vec1().unwrap();
        SpecialTokens {
            image: ids[0] as u32,
            end_of_chunk: 2,
            bos: 1,
            eos: 2,
            pad: 0,
            around_image: Some(ids[1] as u32),
        }
    }

    /// Writes tensors as files of a model's folder are: in two files with an index.
    fn write(&self, folder: &Path, tensors: Tensors) {
        let mut map = serde_json::Map::new();
        let mut files: [Tensors; 2] = Default::default();
        for (at, (name, tensor)) in tensors.into_iter().enumerate() {
            map.insert(name.clone(), json!(shard(at % 2)));
            files[at % 2].insert(name, tensor);
        }
        for (at, tensors) in files.iter().enumerate() {
            candle_core::safetensors::save(tensors, folder.join(shard(at))).unwrap();
        }
        let index = json!({ "metadata": {}, "weight_map": map }).to_string();
        fs::write(folder.join("model.safetensors.index.json"), index).unwrap();
    }

    /// What the import makes of such a folder.
    fn assemble(&self, tensors: Tensors) -> Assembled {
        let folder = tempfile::tempdir().unwrap();
        self.write(folder.path(), tensors);
        self.read(folder.path()).unwrap()
    }

    fn read(&self, folder: &Path) -> Result<Assembled, Error> {
        assemble_idefics(read_folder(folder)?, &self.config, |config| {
            Ok::<_, Error>(config)
        })
    }

    /// The model as it is when it was saved and loaded.
    fn model(&self) -> Flamingo {
        let assembled = self.assemble(below(&self.tensors, "weight"));
        assert_eq!(assembled.summary.missing, []);
        // The norm of the class token, which nothing reads.
        let unused = assembled.summary.unused.iter();
        let unused: Vec<&str> = unused.map(|(name, _)| name.as_str()).collect();
        let norm = "model.vision_model.post_layernorm";
        assert_eq!(unused, [format!("{norm}.bias"), format!("{norm}.weight")]);
        let folder = tempfile::tempdir().unwrap();
        let place = folder.path().join("model");
        assembled.save(self.special(), &place).unwrap();
        let model = Flamingo::load(&place).unwrap();
        assert_eq!(model.config(), &assembled.config);
        assert_eq!(model.special_tokens(), &self.special());
        model
    }

    fn inputs(&self) -> Inputs {
        Inputs::new(
            self.get("tokens").to_dtype(DType::U32).unwrap(),
            Some(self.get("image_index").clone()),
            self.get("pixels").unsqueeze(2).unwrap(),
            Some(self.get("loss_mask").clone()),
        )
        .unwrap()
    }
}

fn shard(at: usize) -> String {
    format!("model-0000{}-of-00002.safetensors", at + 1)
}

/// The tensors whose names begin so, without that.
fn below(tensors: &Tensors, prefix: &str) -> Tensors {
    let named = tensors.iter().filter_map(|(name, tensor)| {
        let name = name.strip_prefix(prefix)?.strip_prefix('.')?;
        Some((name.to_owned(), tensor.clone()))
    });
    named.collect()
}

/// The same weights, computed with in another way or trained; if `averages`, as `transformers` did before
/// 4.36.
fn again(model: &Flamingo, compute: &Compute, trained: &[Group], averages: bool) -> Flamingo {
    let store = ParameterStore::from_tensors(model.parameters().clone(), "test");
    let store = store.on(compute).trainable(trained);
    let mut config = model.config().clone();
    config.cross_attention.text_without_image_averages_all = averages;
    Flamingo::new(&config, *model.special_tokens(), store).unwrap()
}

/// Where a recorded value stands.
fn recorded(name: &str, averages: bool) -> String {
    if averages {
        format!("averaging.{name}")
    } else {
        name.to_owned()
    }
}

fn values(tensor: &Tensor) -> Vec<f32> {
    let tensor = tensor.to_dtype(DType::F32).unwrap();
    tensor.flatten_all().unwrap().to_vec1().unwrap()
}

fn assert_near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (found, expected) in found.iter().zip(expected) {
        let apart = (found - expected).abs();
        assert!(
            apart <= 2e-5 || apart <= 1e-4 * expected.abs(),
            "{what}: {found}, expected {expected}"
        );
    }
}

/// Both sets of operations, and both rules for text that belongs to no image.
fn ways() -> [(Compute, bool); 4] {
    let exact = Compute::new(DeviceName::Cpu, Precision::F64).unwrap();
    let ours = Compute::default();
    [
        (ours.clone(), false),
        (exact.clone(), false),
        (ours, true),
        (exact, true),
    ]
}

#[test]
fn scores_and_losses_are_those_of_transformers() {
    for case in Case::all() {
        let read = case.model();
        let inputs = case.inputs();
        let padding: Vec<i64> = case.get("padding_behind").to_vec1().unwrap();
        for (compute, averages) in ways() {
            let model = again(&read, &compute, &[], averages);
            let expected = case.get(&recorded("logits", averages));
            let length = expected.dim(1).unwrap();
            let found = model.forward(&inputs).unwrap();
            for (row, padding) in padding.iter().enumerate() {
                let text = |tensor: &Tensor| {
                    let row = tensor.get(row).unwrap();
                    values(&row.narrow(0, 0, length - *padding as usize).unwrap())
                };
                let what = format!("{}, row {row}", case.name);
                assert_near(&text(&found), &text(expected), &what);
            }
            let loss = model.loss(&inputs).unwrap();
            let expected = case.get(&recorded("loss", averages));
            assert_near(&values(&loss), &values(expected), &case.name);
        }
    }
}

#[test]
fn an_index_of_images_need_not_be_given() {
    let case = Case::published();
    let model = case.model();
    let inputs = case.inputs();
    let derived = Inputs::new(inputs.tokens.clone(), None, inputs.pixels.clone(), None).unwrap();
    let [given, derived] = [&inputs, &derived].map(|inputs| model.forward(inputs).unwrap());
    // But for the second row, in which a text ends.
    for row in [0, 2] {
        let of = |tensor: &Tensor| values(&tensor.get(row).unwrap());
        assert_eq!(of(&given), of(&derived));
    }
}

#[test]
fn gradients_are_those_of_transformers() {
    let mut compared = 0;
    for case in Case::all() {
        // Named and put together as the weights are; of the older rule those of the gated blocks alone.
        let [expected, averaging] = [false, true].map(|averages| {
            let recorded = below(&case.tensors, &recorded("gradient", averages));
            (!recorded.is_empty()).then(|| case.assemble(recorded).tensors)
        });
        let (Some(expected), Some(averaging)) = (expected, averaging) else {
            continue;
        };
        let read = case.model();
        for (compute, averages) in ways() {
            let model = again(&read, &compute, &ALL, averages);
            assert_eq!(model.variables().len(), expected.len());
            let expected: &BTreeMap<String, Tensor> = if averages { &averaging } else { &expected };
            let gradients = model.loss(&case.inputs()).unwrap().backward().unwrap();
            for (name, variable) in model.variables() {
                let Some(expected) = expected.get(name).map(values) else {
                    continue;
                };
                let found = gradients.get(variable).map(values);
                let found = found.unwrap_or(vec![0.0; expected.len()]);
                let norm = |values: &[f32]| {
                    let squares = values.iter().map(|value| f64::from(*value).powi(2));
                    squares.sum::<f64>().sqrt()
                };
                let (found_norm, expected_norm) = (norm(&found), norm(&expected));
                assert!(
                    (found_norm - expected_norm).abs() <= 1e-3 * expected_norm + 1e-7,
                    "{}, {name}: {found_norm}, expected {expected_norm}",
                    case.name
                );
                assert_near(&found, &expected, &format!("{}, {name}", case.name));
                compared += 1;
            }
        }
    }
    assert!(compared > 400, "{compared}");
}

#[test]
fn continuations_are_those_of_transformers() {
    for case in Case::all() {
        let read = case.model();
        let padding: Vec<i64> = case.get("padding").to_vec1().unwrap();
        let prompts: Vec<Vec<u32>> = case
            .ids("prompts")
            .iter()
            .zip(padding)
            .map(|(row, padding)| {
                row[padding as usize..]
                    .iter()
                    .map(|id| *id as u32)
                    .collect()
            })
            .collect();
        let pixels = case.get("prompt_pixels").unsqueeze(2).unwrap();
        let stop = case.get("stop").to_scalar::<i64>().unwrap() as u32;
        for (compute, averages) in ways() {
            let model = again(&read, &compute, &[], averages);
            for (name, beams) in [("greedy", 1), ("beams", 3)] {
                let expected = case.ids(&recorded(name, averages));
                let options = GenerateOptions {
                    max_new_tokens: expected[0].len(),
                    beams,
                    stop_tokens: Some(vec![stop]),
                    banned_tokens: Some(Vec::new()),
                    ..GenerateOptions::default()
                };
                let found =
                    generate_batch(&model, &prompts, Some(&pixels), &options, |_, _| {}).unwrap();
                for (found, expected) in found.iter().zip(expected) {
                    let expected: Vec<u32> = expected
                        .into_iter()
                        .take_while(|id| *id >= 0)
                        .map(|id| id as u32)
                        .collect();
                    assert_eq!(found.tokens, expected, "{}, {name}", case.name);
                }
            }
        }
    }
}

#[test]
fn what_stands_around_images_is_never_written() {
    let case = Case::published();
    let special = case.special();
    let model = case.model();
    let rows = model.config().language.vocabulary;
    let mut tensors = model.parameters().clone();
    // The mark's score is the highest whatever came before: it alone has one.
    let name = "lang_encoder.lm_head.weight";
    let table = tensors[name].zeros_like().unwrap();
    let ones = Tensor::ones((1, table.dim(1).unwrap()), DType::F32, &Device::Cpu).unwrap();
    let mark = special.around_image.unwrap() as usize;
    table.slice_set(&ones, 0, mark).unwrap();
    tensors.insert(name.to_owned(), table);
    let store = ParameterStore::from_tensors(tensors, "test");
    let model = Flamingo::new(model.config(), special, store).unwrap();
    let written = |banned_tokens| {
        let options = GenerateOptions {
            stop_tokens: Some(vec![rows as u32]),
            banned_tokens,
            ..GenerateOptions::default()
        };
        let found = generate_batch(&model, &[vec![1, 5, 6]], None, &options, |_, _| {}).unwrap();
        found[0].tokens.contains(&(mark as u32))
    };
    assert!(written(Some(Vec::new())));
    assert!(!written(None));
}

#[test]
fn a_folder_that_is_not_whole_is_told_by_file_tensor_and_shape() {
    let case = Case::published();
    let whole = below(&case.tensors, "weight");
    let broken = |change: &dyn Fn(&mut Tensors)| {
        let folder = tempfile::tempdir().unwrap();
        let mut tensors = whole.clone();
        change(&mut tensors);
        case.write(folder.path(), tensors);
        (case.read(folder.path()), folder)
    };
    let query = "model.gated_cross_attn_layers.1.cross_attn.k_proj.weight";
    let (found, _folder) = broken(&|tensors| {
        let other = Tensor::zeros((3, 4), DType::F32, &Device::Cpu).unwrap();
        tensors.insert(query.to_owned(), other);
    });
    let message = found.err().unwrap().to_string();
    for part in ["-of-00002.safetensors", query, "[3, 4]", "[16, 12]"] {
        assert!(message.contains(part), "{message}");
    }
    let (found, _folder) = broken(&|tensors| {
        let whole_numbers = tensors[query].to_dtype(DType::I64).unwrap();
        tensors.insert(query.to_owned(), whole_numbers);
    });
    let message = found.err().unwrap().to_string();
    assert!(
        message.contains(query) && message.contains("i64"),
        "{message}"
    );

    let (found, folder) = broken(&|tensors| {
        tensors.remove(query).unwrap();
    });
    let found = found.unwrap();
    assert_eq!(found.summary.missing, [(query.to_owned(), vec![16, 12])]);
    let place = folder.path().join("model");
    let message = found.save(case.special(), &place).unwrap_err().to_string();
    assert!(message.contains(query) && !place.exists(), "{message}");

    let (_, folder) = broken(&|_| {});
    fs::remove_file(folder.path().join(shard(1))).unwrap();
    let message = case.read(folder.path()).err().unwrap().to_string();
    assert!(
        message.contains(&shard(1)) && message.contains("index.json"),
        "{message}"
    );
    fs::write(folder.path().join(shard(1)), [7; 40]).unwrap();
    let message = case.read(folder.path()).err().unwrap().to_string();
    assert!(message.contains(&shard(1)), "{message}");
    let index = folder.path().join("model.safetensors.index.json");
    for (text, part) in [
        ("{", "not JSON"),
        ("{}", "weight_map"),
        (
            r#"{"weight_map": {"a": "../b.safetensors"}}"#,
            "../b.safetensors",
        ),
    ] {
        fs::write(&index, text).unwrap();
        let message = case.read(folder.path()).err().unwrap().to_string();
        assert!(
            message.contains("index.json") && message.contains(part),
            "{message}"
        );
    }
}

#[test]
fn sizes_survive_their_own_file() {
    for case in Case::all() {
        let config = Config::from_idefics(&case.config).unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<Config>(&text).unwrap(), config, "{text}");
    }
}

#[test]
fn pictures_become_pixels_as_its_processor_makes_them() {
    let tensors = candle_core::safetensors::load_buffer(GOLDEN, &Device::Cpu).unwrap();
    let picture: Vec<u8> = tensors["picture"].flatten_all().unwrap().to_vec1().unwrap();
    let picture = Picture {
        values: &picture,
        width: 15,
        height: 9,
        channels: 3,
    };
    let found = Preprocess::idefics(6).pixels(picture).unwrap();
    assert_near(&values(&found), &values(&tensors["pixels"]), "pixels");
}

#[test]
fn what_cannot_be_is_refused_by_its_setting() {
    let whole = Config::from_idefics(&Case::published().config).unwrap();
    let refused = |change: &dyn Fn(&mut Config)| {
        let mut config = whole.clone();
        change(&mut config);
        config.validate().unwrap_err().to_string()
    };
    for (message, setting) in [
        (
            refused(&|config| config.vision.class_token = false),
            "vision.keeps_class_token",
        ),
        (
            refused(&|config| config.cross_attention.norm_epsilon = Some(0.0)),
            "cross_attention.norm_epsilon",
        ),
        (
            refused(&|config| config.cross_attention.feed_forward_width = Some(0)),
            "cross_attention.feed_forward_width",
        ),
    ] {
        assert!(message.contains(setting), "{message}");
    }
}
