//! What a filter says of a document, a text or an image.

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Serialize};

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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// Stable name, `step/cause` in kebab case: `filter/too-small`, `fetch/robots`.
    pub name: Cow<'static, str>,
    /// The value that was measured, if the rule measures one.
    pub measured: Option<f64>,
    /// The threshold it failed.
    pub threshold: Option<f64>,
}

impl Reason {
    /// A reason without a measurement.
    #[must_use]
    pub const fn new(name: &'static str) -> Self {
        Self {
            name: Cow::Borrowed(name),
            measured: None,
            threshold: None,
        }
    }

    /// A reason with the value that was measured and the threshold it failed.
    #[must_use]
    pub const fn measured(name: &'static str, measured: f64, threshold: f64) -> Self {
        Self {
            name: Cow::Borrowed(name),
            measured: Some(measured),
            threshold: Some(threshold),
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)?;
        if let (Some(measured), Some(threshold)) = (self.measured, self.threshold) {
            write!(f, " ({measured} against {threshold})")?;
        }
        Ok(())
    }
}
