//! Images that are no content: pixels that count visitors, icons, sprites, avatars, share buttons.
//!
//! Known by their declared size, and by whole words of their file name and class. The words are
//! English because the names that programs and themes give are.

use m3w_document::{ImageRef, Reason};

use crate::Config;
use crate::dom::Tree;
use crate::tags::Kind;

/// A picture with a declared side of at most this many pixels counts visitors or keeps a distance.
const MAX_TRACKING_SIDE_PX: u32 = 3;

/// Largest declared side at which a name may say that a picture is none of the content; larger
/// ones are content whatever they are called.
const MAX_NAMED_SIDE_PX: u32 = 160;

/// Words that say what an image is, by reason.
const WORDS: [(&str, &[&str]); 5] = [
    (
        "align/tracking-pixel",
        &["pixel", "beacon", "tracking", "tracker", "counter"],
    ),
    ("align/sprite", &["sprite", "sprites"]),
    (
        "align/icon",
        &[
            "icon", "icons", "ico", "favicon", "emoji", "emojis", "smiley", "smilies", "emoticon",
            "bullet", "arrow", "chevron", "spinner", "logo", "flag", "flags", "rating", "stars",
        ],
    ),
    (
        "align/avatar",
        &[
            "avatar",
            "avatars",
            "gravatar",
            "userpic",
            "headshot",
            "profilepic",
        ],
    ),
    (
        "align/share-button",
        &[
            "share", "sharing", "social", "badge", "badges", "button", "btn",
        ],
    ),
];

/// Why the image is no content, if it is none.
pub(crate) fn judge(
    tree: &Tree,
    index: usize,
    image: &ImageRef,
    config: &Config,
) -> Option<Reason> {
    let sides = [image.declared_width_px, image.declared_height_px];
    let smallest = sides.into_iter().flatten().min();
    let largest = sides.into_iter().flatten().max();
    if let Some(side) = smallest {
        let (side_px, min_px) = (f64::from(side), f64::from(config.min_declared_side_px));
        if side <= MAX_TRACKING_SIDE_PX
            && largest.is_none_or(|largest| largest <= 3 * MAX_TRACKING_SIDE_PX)
        {
            let max_px = f64::from(MAX_TRACKING_SIDE_PX);
            return Some(Reason::measured("align/tracking-pixel", side_px, max_px));
        }
        if side < config.min_declared_side_px && side > 0 {
            return Some(Reason::measured("align/too-small", side_px, min_px));
        }
    }
    if largest.is_some_and(|largest| largest > MAX_NAMED_SIDE_PX) || image.url.scheme() == "data" {
        return None;
    }
    let node = &tree.nodes[index];
    let file = image.url.path().rsplit('/').next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let mut names = vec![stem];
    names.extend(node.attribute("class"));
    names.extend(node.attribute("id"));
    let parent = &tree.nodes[node.parent];
    if matches!(parent.kind, Kind::Anchor | Kind::Inline) {
        names.extend(parent.attribute("class"));
    }
    let words = || {
        names
            .iter()
            .flat_map(|name| name.split(|c: char| !c.is_alphanumeric()))
    };
    let reason = WORDS.iter().find(|(_, list)| {
        words().any(|word| list.iter().any(|held| held.eq_ignore_ascii_case(word)))
    });
    reason.map(|(name, _)| Reason::new(name))
}
