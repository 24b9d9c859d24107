//! The `config.json` that stands beside published weights, asked by key.

use serde_json::Value;

use crate::config::Activation;
use crate::{Error, Result};

/// A configuration file, asked by key.
#[derive(Clone, Copy)]
pub(crate) struct Json<'a>(pub(crate) &'a Value);

impl<'a> Json<'a> {
    pub(crate) fn text(self, key: &str) -> Result<&'a str> {
        let found = &self.0[key];
        found
            .as_str()
            .ok_or_else(|| setting(key, &found.to_string(), "it must be a text"))
    }

    pub(crate) fn section(self, key: &str) -> &'a Value {
        &self.0[key]
    }

    pub(crate) fn size(self, key: &str) -> Result<usize> {
        let found = &self.0[key];
        let size = found.as_u64().and_then(|size| usize::try_from(size).ok());
        size.ok_or_else(|| setting(key, &found.to_string(), "it must be a whole number"))
    }

    /// A size that may be missing or null.
    pub(crate) fn size_or(self, key: &str, default: usize) -> Result<usize> {
        if self.0[key].is_null() {
            Ok(default)
        } else {
            self.size(key)
        }
    }

    pub(crate) fn number_or(self, key: &str, default: f64) -> f64 {
        self.0[key].as_f64().unwrap_or(default)
    }

    pub(crate) fn flag_or(self, key: &str, default: bool) -> bool {
        self.0[key].as_bool().unwrap_or(default)
    }

    pub(crate) fn activation(self, key: &str, default: &str) -> Result<Activation> {
        let name = self.0[key].as_str().unwrap_or(default);
        match name {
            "gelu" | "gelu_python" => Ok(Activation::Gelu),
            "gelu_new" | "gelu_fast" | "gelu_pytorch_tanh" => Ok(Activation::GeluTanh),
            "quick_gelu" => Ok(Activation::QuickGelu),
            "relu" => Ok(Activation::Relu),
            "silu" | "swish" => Ok(Activation::Silu),
            other => Err(setting(
                key,
                other,
                "it must be one of gelu, gelu_new, gelu_fast, gelu_pytorch_tanh, quick_gelu, relu \
                 and silu",
            )),
        }
    }
}

/// Refuses a value of the file.
pub(crate) fn setting(key: &str, found: &str, must: &str) -> Error {
    Error::Setting {
        setting: format!("config.json: {key}"),
        found: found.to_owned(),
        must: must.to_owned(),
    }
}
