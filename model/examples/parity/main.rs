//! Compares this crate with recorded outputs of the reference implementation.
//!
//! `cargo run -p m3w-model --example parity -- DIR [NAME...]` reads `DIR/index.json`, which names
//! files and the kind and sizes of each, and runs every case, or those whose file's name holds one
//! of the words. `--device cuda` and `--precision f64` let the model compute there and in those
//! numbers.
//!
//! An output agrees within 2e-5 absolute or 1e-4 relative, a gradient within 2e-5, 1e-3 or 1e-5 of
//! its tensor's largest, a
//! gradient's norm within 1e-3 relative, what comes of training steps within 1e-3; generated tokens
//! and what is read from files agree exactly; pictures within one step of 8 bits, and in more than
//! 99 of 100 values exactly. Prints for each case the largest absolute error, the largest error
//! relative to the largest value of its tensor, and the verdict; kinds that are not built are
//! listed as such. Exits with 1 if a case fails.
#![expect(
    clippy::print_stdout,
    reason = "a command-line program prints its report"
)]

mod compare;
mod files;
mod flamingo;
mod modules;
mod text;
mod training;

use std::collections::HashMap;
use std::error::Error;
use std::path::Path;
use std::process::ExitCode;
use std::sync::OnceLock;

use m3w_model::{Compute, DeviceName, Precision};
use serde_json::Value;

use compare::Comparison;

type Outcome<T> = Result<T, Box<dyn Error>>;
type Tensors = HashMap<String, candle_core::Tensor>;

const USAGE: &str =
    "usage: parity DIR [NAME...] [--device NAME] [--precision f32], DIR with index.json";

/// Where models compute, once the command line is read.
static COMPUTE: OnceLock<Compute> = OnceLock::new();

fn compute() -> &'static Compute {
    COMPUTE.get_or_init(Compute::default)
}

/// Stack of the thread that runs a case: a backward pass walks its graph by recursion.
const STACK_BYTES: usize = 256 << 20;

fn main() -> Outcome<ExitCode> {
    let mut arguments = std::env::args().skip(1);
    let (mut device, mut precision) = (DeviceName::Cpu, Precision::F32);
    let mut words = Vec::new();
    while let Some(argument) = arguments.next() {
        let mut value = || arguments.next().ok_or(USAGE);
        match argument.as_str() {
            "--device" => device = value()?.parse()?,
            "--precision" => precision = serde_json::from_value(value()?.into())?,
            _ => words.push(argument),
        }
    }
    if words.is_empty() {
        return Err(USAGE.into());
    }
    let directory = words.remove(0);
    let compute = Compute::new(device, precision)?;
    COMPUTE.get_or_init(|| compute);
    let directory = Path::new(&directory);
    let index = std::fs::read_to_string(directory.join("index.json"))?;
    let index: Value = serde_json::from_str(&index)?;
    let files = index["files"]
        .as_array()
        .ok_or("index.json has no `files`")?;
    let (mut passed, mut failed, mut not_built) = (0, 0, 0);
    for entry in files {
        let file = entry["file"].as_str().ok_or("a file without a name")?;
        if !words.is_empty() && !words.iter().any(|word| file.contains(word)) {
            continue;
        }
        // A checkpoint has no header to hold a configuration: its model's weights have it.
        let model = file.split('.').next().unwrap_or_default();
        let weights = format!("{model}.weights.safetensors");
        let config = match &entry["config"] {
            Value::Null => files
                .iter()
                .find(|other| other["file"] == weights.as_str())
                .map_or(&Value::Null, |other| &other["config"]),
            config => config,
        };
        let Some(comparison) = on_deep_stack(directory, file, config) else {
            println!("not built  {file}");
            not_built += 1;
            continue;
        };
        let verdict = if comparison.failures.is_empty() {
            passed += 1;
            "pass"
        } else {
            failed += 1;
            "FAIL"
        };
        let (absolute, relative) = (comparison.absolute, comparison.relative);
        let note = comparison.note;
        println!("{verdict}       {file}  absolute {absolute:.1e}  relative {relative:.1e}{note}");
        for failure in &comparison.failures {
            println!("           {failure}");
        }
    }
    println!(
        "parity {passed}/{} passed, {not_built} not built",
        passed + failed
    );
    Ok(ExitCode::from(u8::from(failed > 0)))
}

/// Runs a case; `None` for a kind that this crate has no module for. A case that cannot be run
/// fails with the reason.
fn on_deep_stack(directory: &Path, file: &str, config: &Value) -> Option<Comparison> {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().stack_size(STACK_BYTES);
        let case = || run(directory, file, config).map_err(|error| error.to_string());
        let thread = thread.spawn_scoped(scope, case);
        let result = match thread.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err("it panics".to_owned()),
            Err(error) => Err(error.to_string()),
        };
        result.unwrap_or_else(|failure| {
            Some(Comparison {
                failures: vec![failure],
                ..Comparison::default()
            })
        })
    })
}

fn run(directory: &Path, file: &str, config: &Value) -> Outcome<Option<Comparison>> {
    let path = directory.join(file);
    let kind = config["kind"].as_str().unwrap_or_default();
    if kind == "clip_preprocess" {
        return files::pictures(&path, config).map(Some);
    }
    if kind != "flamingo_model" {
        return modules::run_case(&path, config);
    }
    // model_NAME.WHAT.safetensors or model_NAME.checkpoint.pt
    let Some((model, what)) = file.split_once('.') else {
        return Ok(None);
    };
    let weights = directory.join(format!("{model}.weights.safetensors"));
    let comparison = match what.split('.').next().unwrap_or_default() {
        "weights" => files::weights(&weights, config),
        "forward" => flamingo::forward(&path, &weights, config),
        "generate" => text::generate(&path, &weights, config),
        "rank" => text::rank(&path, &weights, config),
        "train" => training::train(&path, &weights, config),
        "checkpoint" => {
            let trained = directory.join(format!("{model}.train.safetensors"));
            files::checkpoint(&path, &weights, &trained, config)
        }
        _ => return Ok(None),
    };
    comparison.map(Some)
}

fn number(config: &Value, name: &str, default: usize) -> usize {
    config[name]
        .as_u64()
        .map_or(default, |value| value as usize)
}
