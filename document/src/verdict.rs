//! What a filter says of a document, a text or an image.

use std::borrow::Cow;
use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Deserialize, Serialize, Serializer};

/// What a filter decided.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// It stays.
    Keep,
    /// It goes, and why.
    Drop(Reason),
}

impl Verdict {
    /// The reason, if this is a drop.
    #[must_use]
    pub fn reason(self) -> Option<Reason> {
        match self {
            Self::Keep => None,
            Self::Drop(reason) => Some(reason),
        }
    }
}

/// Why something was dropped: a stable name to count by, and what was measured.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct Reason {
    /// Stable name, `step/cause` in kebab case: `filter/too-small`, `fetch/robots`.
    pub name: Cow<'static, str>,
    /// The value that was measured, if the rule measures one.
    pub measured: Option<f64>,
    /// The threshold it failed.
    pub threshold: Option<f64>,
    /// What it repeats, if it goes as a repetition: id of a document, URL of an image, name of a
    /// protected file.
    #[serde(default)]
    pub duplicate_of: Option<String>,
}

impl Reason {
    /// A reason without a measurement.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            measured: None,
            threshold: None,
            duplicate_of: None,
        }
    }

    /// A reason with the value that was measured and the threshold it failed.
    #[must_use]
    pub const fn measured(name: &'static str, measured: f64, threshold: f64) -> Self {
        Self {
            name: Cow::Borrowed(name),
            measured: Some(measured),
            threshold: Some(threshold),
            duplicate_of: None,
        }
    }

    /// The same with the name of what is repeated.
    #[must_use]
    pub fn with_duplicate_of(self, name: impl Into<String>) -> Self {
        Self {
            duplicate_of: Some(name.into()),
            ..self
        }
    }
}

impl Serialize for Reason {
    /// Text forms name what is repeated only where there is something; others need every field.
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let has_all = self.duplicate_of.is_some() || !serializer.is_human_readable();
        let fields = 3 + usize::from(has_all);
        let mut reason = serializer.serialize_struct("Reason", fields)?;
        reason.serialize_field("name", &self.name)?;
        reason.serialize_field("measured", &self.measured)?;
        reason.serialize_field("threshold", &self.threshold)?;
        if has_all {
            reason.serialize_field("duplicate_of", &self.duplicate_of)?;
        }
        reason.end()
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let (Some(measured), Some(threshold)) = (self.measured, self.threshold) {
            write!(f, " ({measured} against {threshold})")?;
        }
        if let Some(name) = &self.duplicate_of {
            write!(f, ", repeats {name}")?;
        }
        Ok(())
    }
}
