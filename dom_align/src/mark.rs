//! Why a part of the page is left out.

use m3w_document::Reason;

/// The rule by which a subtree was left out, with what it measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Mark {
    pub(crate) rule: Rule,
    /// What the rule measured.
    pub(crate) value: f32,
    /// The bound that the value is beyond.
    pub(crate) threshold: f32,
}

/// Rules by which parts are left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Rule {
    /// A browser does not show it.
    Hidden,
    /// Its tag or role says that it is not content. Measured: its share of the page's text.
    Part,
    /// Its class or id says so. Measured: its share of the page's text.
    Name,
    /// Its class or id says that it holds comments.
    Comments,
    /// It stands outside the part that was chosen. Measured: its score.
    Outside,
    /// Links outweigh its text. Measured: its score.
    Links,
    /// The page says it again. Measured: its words.
    Repeated,
    /// All that was measured, weighed together. Measured: how likely it is content.
    Unlikely,
}

impl Mark {
    pub(crate) fn new(rule: Rule, value: f64, threshold: f64) -> Self {
        #[expect(clippy::cast_possible_truncation, reason = "for people to read")]
        let (value, threshold) = (value as f32, threshold as f32);
        Self {
            rule,
            value,
            threshold,
        }
    }

    /// A mark of a rule that measures nothing.
    pub(crate) fn plain(rule: Rule) -> Self {
        Self::new(rule, 1.0, 0.0)
    }

    /// Value and threshold as people read them, to the hundredth.
    pub(crate) fn measured(&self) -> (f64, f64) {
        let hundredths = |value: f32| (f64::from(value) * 100.0).round() / 100.0;
        (hundredths(self.value), hundredths(self.threshold))
    }

    /// The reason that is told of images left out by it.
    pub(crate) fn reason(&self) -> Reason {
        match self.rule {
            Rule::Hidden => Reason::new("align/hidden"),
            Rule::Unlikely => {
                let (value, threshold) = self.measured();
                Reason::measured("align/boilerplate", value, threshold)
            }
            _ => Reason::new("align/boilerplate"),
        }
    }
}

impl Rule {
    /// Its name for people.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Hidden => "hidden",
            Self::Part => "tag-or-role",
            Self::Name => "class-or-id",
            Self::Comments => "comments",
            Self::Outside => "outside-content",
            Self::Links => "links-outweigh-text",
            Self::Repeated => "repeated",
            Self::Unlikely => "likelihood",
        }
    }
}
