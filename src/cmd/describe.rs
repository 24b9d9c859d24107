//! `m3w describe`

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use clap::Args;
use m3w_model::{Config, DescribedParameter, Description, Group, preset, preset_names};
use serde_json::json;

/// Show the modules, shapes and parameters of a model, and the memory they take
///
/// Nothing is allocated for its weights, so that models of any size can be described.
#[derive(Debug, Args)]
pub(super) struct Describe {
    /// A configuration file, or a preset: flamingo-3b, flamingo-9b, flamingo-80b,
    /// idefics-9b, idefics-80b
    #[arg(value_name = "CONFIG|PRESET")]
    config: String,
    /// Tokens in the vocabulary, where the file leaves that to a tokenizer
    #[arg(long, value_name = "N")]
    vocabulary_size: Option<usize>,
    /// Print the numbers as JSON, each parameter's shape included
    #[arg(long)]
    json: bool,
}

/// Parameters of one shape whose names differ in numbers only.
struct Row {
    group: Group,
    name: String,
    shape: Vec<usize>,
    copies: usize,
}

impl Describe {
    pub(super) fn run(self) -> Result<()> {
        let mut config = read(&self.config)?;
        if let Some(size) = self.vocabulary_size {
            config = config.with_vocabulary(size);
        }
        if config.language.vocabulary == 0 {
            anyhow::bail!(
                "{} leaves the vocabulary to a tokenizer: give --vocabulary-size",
                self.config
            );
        }
        let description = Description::of(&config)?;
        let mut out = std::io::stdout().lock();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &as_json(&description))?;
            return Ok(writeln!(out)?);
        }
        for row in rows(&description.parameters) {
            let count = row.copies * row.shape.iter().product::<usize>();
            let shape = row.shape.iter().map(usize::to_string).collect::<Vec<_>>();
            let shape = format!("[{}]", shape.join(", "));
            let copies = format!("x{}", row.copies);
            let (group, name) = (row.group.name(), row.name);
            writeln!(
                out,
                "{group:<12} {shape:>20} {copies:>5} {count:>15}  {name}"
            )?;
        }
        writeln!(out)?;
        let total = description.total();
        for (name, count) in description
            .groups()
            .into_iter()
            .map(|(group, count)| (group.name(), count))
            .chain([("total", total)])
        {
            let (full, half) = (gibibytes(count, 4), gibibytes(count, 2));
            writeln!(
                out,
                "{name:<12} {count:>15} parameters {full:>9.2} GiB in f32 {half:>9.2} GiB in bf16"
            )?;
        }
        Ok(())
    }
}

/// A preset, or the configuration in a file: a model's own, or that under `model`.
fn read(name: &str) -> Result<Config> {
    if preset_names().any(|known| known == name) {
        return Ok(preset(name)?);
    }
    let path = Path::new(name);
    let text = std::fs::read_to_string(path).with_context(|| {
        let presets: Vec<&str> = preset_names().collect();
        format!(
            "cannot read {name}, which is no preset either ({})",
            presets.join(", ")
        )
    })?;
    let table: toml::Table = text
        .parse()
        .with_context(|| format!("{name} is not TOML"))?;
    let model = table.get("model").cloned();
    let model = model.unwrap_or(toml::Value::Table(table));
    let config = model.try_into();
    config.with_context(|| format!("{name} describes no model"))
}

fn as_json(description: &Description) -> serde_json::Value {
    let total = description.total();
    let mut parameters: BTreeMap<&str, usize> = description
        .groups()
        .into_iter()
        .map(|(group, count)| (group.name(), count))
        .collect();
    parameters.insert("total", total);
    let tensors = description.parameters.iter().map(|parameter| {
        json!({
            "name": parameter.name,
            "group": parameter.group.name(),
            "shape": parameter.shape,
        })
    });
    json!({
        "parameters": parameters,
        "bytes": { "f32": total * 4, "bf16": total * 2 },
        "tensors": tensors.collect::<Vec<_>>(),
    })
}

/// Parameters alike, together, where the first of them stands.
fn rows(parameters: &[DescribedParameter]) -> Vec<Row> {
    let mut rows: Vec<Row> = Vec::new();
    let mut places: BTreeMap<(String, Vec<usize>), usize> = BTreeMap::new();
    for parameter in parameters {
        let parts = parameter.name.split('.').map(|part| {
            let is_number = part.bytes().all(|byte| byte.is_ascii_digit());
            if is_number { "*" } else { part }
        });
        let name = parts.collect::<Vec<_>>().join(".");
        let place = places
            .entry((name.clone(), parameter.shape.clone()))
            .or_insert(rows.len());
        match rows.get_mut(*place) {
            Some(row) => row.copies += 1,
            None => rows.push(Row {
                group: parameter.group,
                name,
                shape: parameter.shape.clone(),
                copies: 1,
            }),
        }
    }
    rows
}

#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
fn gibibytes(count: usize, bytes_each: usize) -> f64 {
    (count * bytes_each) as f64 / f64::from(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layers_alike_are_one_row() {
        let parameter = |name: &str, width: usize| DescribedParameter {
            name: name.to_owned(),
            group: Group::Language,
            shape: vec![width, 2],
        };
        let rows = rows(&[
            parameter("layers.0.up", 4),
            parameter("layers.0.down", 4),
            parameter("layers.1.up", 4),
            parameter("layers.2.up", 8),
        ]);
        let found: Vec<(&str, usize, usize)> = rows
            .iter()
            .map(|row| (row.name.as_str(), row.shape[0], row.copies))
            .collect();
        let expected = [
            ("layers.*.up", 4, 2),
            ("layers.*.down", 4, 1),
            ("layers.*.up", 8, 1),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_neither_preset_nor_file_is_answered_with_the_presets() {
        let message = format!("{:#}", read("no-such-model").unwrap_err());
        assert!(message.contains("flamingo-3b"), "{message}");
    }
}
