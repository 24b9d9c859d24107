//! Machine-readable statements on reuse, and what follows from them.
//!
//! What was seen travels with each page as [`Signal`]s; what to do about it is one pure function,
//! [`decide`], under the [`Policy`] of the configuration. Read are `X-Robots-Tag` headers, `<meta name=robots>` and `<meta>` with our own
//! product token, the TDM Reservation Protocol's header, `<meta>` and file, and `ai.txt`
//! ([`crate::Reservations`]).

use serde::{Deserialize, Serialize};

use crate::config::PRODUCT_TOKEN;
use crate::meta::Meta;

/// Channel of the licences that a page names; they are kept as they stand and close nothing.
const LICENSE: &str = "license";
/// Most licences of a page that are kept, and the longest: a gallery may name one for each picture.
const MAX_LICENSES: usize = 5;
const MAX_LICENSE_BYTES: usize = 300;

/// A statement on reuse, as it was seen.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Signal {
    /// Where it stood: `x-robots-tag`, `meta-robots`, `meta-mwwbot`, `tdm-reservation`,
    /// `meta-tdm-reservation`, `tdmrep.json`, `ai.txt`; `license` for a licence that a page names.
    pub channel: String,
    /// Its text.
    pub value: String,
}

/// Which statements are kept to. Every one that is seen is recorded, whatever the policy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// A statement that closes anything closes all: a page with `noimageai` goes with its text, one
    /// with `noindex` with its images.
    Strict,
    /// Each statement closes what it names.
    #[default]
    Default,
    /// As the default, but `noindex` and `none`, which speak to search engines of the page alone,
    /// close nothing.
    IgnorePageOnly,
}

impl Policy {
    /// What one statement closes under this policy.
    fn settle(self, decision: Decision) -> Decision {
        match self {
            Self::Strict if decision != Decision::KEEP => Decision::DROP,
            Self::IgnorePageOnly if decision.images_allowed => Decision::KEEP,
            _ => decision,
        }
    }
}

/// What may be kept of a page. For an image's own headers, either `false` drops it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decision {
    /// Whether the page, its text above all, may be kept.
    pub page_allowed: bool,
    /// Whether its images may be kept.
    pub images_allowed: bool,
}

impl Decision {
    const KEEP: Self = Self {
        page_allowed: true,
        images_allowed: true,
    };

    const DROP: Self = Self {
        page_allowed: false,
        images_allowed: false,
    };

    fn and(self, other: Self) -> Self {
        Self {
            page_allowed: self.page_allowed && other.page_allowed,
            images_allowed: self.images_allowed && other.images_allowed,
        }
    }
}

/// The signals in an answer's headers, given as names in any case and values.
pub fn from_headers<'a>(headers: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<Signal> {
    headers
        .into_iter()
        .filter_map(|(name, value)| {
            let channel = ["x-robots-tag", "tdm-reservation"]
                .into_iter()
                .find(|channel| name.eq_ignore_ascii_case(channel))?;
            Some(Signal {
                channel: channel.to_owned(),
                value: value.trim().to_owned(),
            })
        })
        .collect()
}

/// The signals in a page's `<meta>` elements; those in comments, scripts and text are none.
#[must_use]
pub fn from_html(html: &str) -> Vec<Signal> {
    from_metas(&crate::meta::metas(html))
}

pub(crate) fn from_metas(metas: &[Meta]) -> Vec<Signal> {
    let mut signals: Vec<Signal> = metas
        .iter()
        .filter(|meta| ["robots", PRODUCT_TOKEN, "tdm-reservation"].contains(&meta.name.as_str()))
        .map(|meta| Signal {
            channel: format!("meta-{}", meta.name),
            value: meta.content.trim().to_owned(),
        })
        .collect();
    let mut licences: Vec<&str> = Vec::new();
    for meta in metas.iter().filter(|meta| meta.name == LICENSE) {
        let value = meta.content.trim();
        let is_new = !value.is_empty() && !licences.contains(&value);
        if is_new && value.len() <= MAX_LICENSE_BYTES && licences.len() < MAX_LICENSES {
            licences.push(value);
        }
    }
    signals.extend(licences.into_iter().map(|value| Signal {
        channel: LICENSE.to_owned(),
        value: value.to_owned(),
    }));
    signals
}

/// What the signals leave us under the default policy, if `agent` is our product token; see
/// [`decide_by`].
#[must_use]
pub fn decide(signals: &[Signal], agent: &str) -> Decision {
    decide_by(Policy::Default, signals, agent)
}

/// What the signals leave us, if `agent` is our product token.
///
/// `noai`, `noml` and a TDM reservation close page and images; `noindex` and `none` close the page;
/// `noimageai` and `noimageindex` close the images; what a picture's own metadata reserve closes the
/// picture. Whatever is closed by one signal stays closed.
#[must_use]
pub fn decide_by(policy: Policy, signals: &[Signal], agent: &str) -> Decision {
    signals
        .iter()
        .map(|signal| match signal.channel.as_str() {
            "tdm-reservation" | "meta-tdm-reservation" | "tdmrep.json" => decide_tdm(&signal.value),
            "ai.txt" => Decision::DROP,
            LICENSE => Decision::KEEP,
            "iptc-data-mining" => decide_iptc(&signal.value),
            "c2pa-training-mining" => decide_c2pa(&signal.value),
            "x-robots-tag" => decide_robots_tag(policy, &signal.value, agent),
            _ => signal
                .value
                .split(',')
                .map(|directive| policy.settle(decide_directive(directive)))
                .fold(Decision::KEEP, Decision::and),
        })
        .fold(Decision::KEEP, Decision::and)
}

/// PLUS LDF 2.0.1: every name that begins so prohibits the training of models, if only some of it.
fn decide_iptc(value: &str) -> Decision {
    if value.starts_with("DMI-PROHIBITED") {
        Decision::DROP
    } else {
        Decision::KEEP
    }
}

/// C2PA: a use that is `constrained` takes a permission, which we have not. Inference is not what a
/// corpus is for.
fn decide_c2pa(value: &str) -> Decision {
    match value.split_once(": ") {
        Some((entry, "notAllowed" | "constrained")) if entry != "ai_inference" => Decision::DROP,
        _ => Decision::KEEP,
    }
}

/// TDMRep, 4.2: 1 means that rights are reserved.
fn decide_tdm(value: &str) -> Decision {
    Decision {
        page_allowed: value.trim() != "1",
        images_allowed: value.trim() != "1",
    }
}

/// A list of directives, of which each may stand behind the name of the agent that it and those
/// after it are for: `otherbot: noai, noindex`.
fn decide_robots_tag(policy: Policy, value: &str, agent: &str) -> Decision {
    let mut is_for_us = true;
    let mut decision = Decision::KEEP;
    for part in value.split(',') {
        let directive = match part.split_once(':') {
            // `unavailable_after: 25 Jun 2010 15:00:00 PST`, `max-snippet: 20`: a value, not an
            // agent.
            Some((name, _)) if has_value(name.trim()) => continue,
            Some((name, directive)) => {
                is_for_us = name.trim().eq_ignore_ascii_case(agent) || name.trim() == "*";
                directive
            }
            None => part,
        };
        if is_for_us {
            decision = decision.and(policy.settle(decide_directive(directive)));
        }
    }
    decision
}

/// The directives that come with a value behind a colon.
fn has_value(name: &str) -> bool {
    [
        "unavailable_after",
        "max-snippet",
        "max-image-preview",
        "max-video-preview",
    ]
    .iter()
    .any(|directive| name.eq_ignore_ascii_case(directive))
}

fn decide_directive(directive: &str) -> Decision {
    let (page_allowed, images_allowed) = match directive.trim().to_ascii_lowercase().as_str() {
        "noai" | "noml" => (false, false),
        "noindex" | "none" => (false, true),
        "noimageai" | "noimageindex" => (true, false),
        _ => (true, true),
    };
    Decision {
        page_allowed,
        images_allowed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header(value: &str) -> (bool, bool) {
        let signals = from_headers([("X-Robots-Tag", value)]);
        let decision = decide(&signals, "mwwbot");
        (decision.page_allowed, decision.images_allowed)
    }

    #[test]
    fn directives_close_what_they_name() {
        assert_eq!(header("noarchive, NoAI , nofollow"), (false, false));
        assert_eq!(header("noimageai"), (true, false));
        assert_eq!(header("none"), (false, true));
        assert_eq!(header("all"), (true, true));
    }

    #[test]
    fn licences_are_kept_as_they_stand_and_close_nothing() {
        let html = "<a rel=license href=https://a.test/by>x</a><a rel=license \
                    href=https://a.test/by>x</a><link rel=license href=none>";
        let signals = from_html(html);
        let values: Vec<&str> = signals.iter().map(|signal| signal.value.as_str()).collect();
        assert_eq!(values, ["https://a.test/by", "none"]);
        assert_eq!(decide(&signals, "mwwbot"), Decision::KEEP);
        let many: String = (0..50)
            .map(|number| format!("<a rel=license href=/{number}>"))
            .collect();
        assert_eq!(from_html(&many).len(), MAX_LICENSES);
    }

    #[test]
    fn a_directive_for_another_agent_is_not_for_us() {
        assert_eq!(header("otherbot: noai, noindex"), (true, true));
        assert_eq!(header("otherbot: noai, MwwBot: noimageai"), (true, false));
        assert_eq!(
            header("unavailable_after: 25 Jun 2010 15:00:00 PST, noai"),
            (false, false)
        );
    }

    #[test]
    fn metas_speak_for_all_agents_or_for_ours() {
        let html = "<meta name=robots content='noimageai'><meta name=MWWBOT content=noindex><meta name=otherbot content=noai>";
        let signals = from_html(html);
        assert_eq!(signals.len(), 2);
        let decision = decide(&signals, "mwwbot");
        assert!(!decision.page_allowed && !decision.images_allowed);
    }

    #[test]
    fn a_policy_widens_or_narrows_what_a_statement_closes() {
        let decision = |policy, value| {
            let signals = from_headers([("x-robots-tag", value)]);
            let decision = decide_by(policy, &signals, "mwwbot");
            (decision.page_allowed, decision.images_allowed)
        };
        for (value, strict, default, ignoring) in [
            ("noml", (false, false), (false, false), (false, false)),
            ("noimageai", (false, false), (true, false), (true, false)),
            ("noindex", (false, false), (false, true), (true, true)),
            (
                "noindex, noimageai",
                (false, false),
                (false, false),
                (true, false),
            ),
            ("nofollow", (true, true), (true, true), (true, true)),
        ] {
            assert_eq!(decision(Policy::Strict, value), strict, "{value}");
            assert_eq!(decision(Policy::Default, value), default, "{value}");
            assert_eq!(decision(Policy::IgnorePageOnly, value), ignoring, "{value}");
        }
    }

    #[test]
    fn what_a_picture_reserves_closes_it() {
        let is_kept = |channel: &str, value: &str| {
            let signal = Signal {
                channel: channel.to_owned(),
                value: value.to_owned(),
            };
            decide(&[signal], "mwwbot").images_allowed
        };
        assert!(is_kept("iptc-data-mining", "DMI-ALLOWED"));
        assert!(!is_kept("iptc-data-mining", "DMI-PROHIBITED"));
        assert!(!is_kept(
            "iptc-data-mining",
            "DMI-PROHIBITED-GENAIMLTRAINING"
        ));
        assert!(is_kept("c2pa-training-mining", "ai_inference: notAllowed"));
        assert!(is_kept("c2pa-training-mining", "ai_training: allowed"));
        assert!(!is_kept("c2pa-training-mining", "ai_training: constrained"));
    }

    #[test]
    fn a_tdm_reservation_of_one_closes_everything() {
        let decision = |value| decide(&from_headers([("tdm-reservation", value)]), "mwwbot");
        assert!(!decision("1").page_allowed && !decision("1").images_allowed);
        assert_eq!(decision("0"), Decision::KEEP);
    }
}
