//! What the inputs of a run are called.

/// What one input of a run is: the word for it in counts and reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// A web page.
    Page,
    /// A picture or a video with its caption.
    Pair,
}

impl Unit {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Page, Self::Pair];

    /// First part of the names under which outcomes are counted: `page/kept`.
    #[must_use]
    pub fn step(self) -> &'static str {
        match self {
            Self::Page => "page",
            Self::Pair => "pair",
        }
    }

    /// The word for several.
    #[must_use]
    pub fn plural(self) -> &'static str {
        match self {
            Self::Page => "pages",
            Self::Pair => "pairs",
        }
    }

    /// Name of the reason for dropping one that an earlier input led to as well.
    #[must_use]
    pub(crate) fn seen_before(self) -> &'static str {
        match self {
            Self::Page => "dedup/same-page",
            Self::Pair => "dedup/same-pair",
        }
    }
}
