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

/// Words of [`WORDS`] that are also what a photograph may show: in the name of a file they count
/// only where it has hardly any other words (`stars.png`, `flag-de.gif`).
const AMBIGUOUS_WORDS: [&str; 14] = [
    "pixel", "tracking", "tracker", "counter", "beacon", "bullet", "arrow", "flag", "flags",
    "rating", "stars", "badge", "badges", "button",
];
/// Most words in the name of a file in which an ambiguous word counts.
const MAX_WORDS_AROUND_AMBIGUOUS: usize = 2;

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
    if is_captioned_figure(tree, index) {
        return None;
    }
    let file = image.url.path().rsplit('/').next().unwrap_or_default();
    let stem = file.rsplit_once('.').map_or(file, |(stem, _)| stem);
    let is_short = words(stem)
        .filter(|word| word.chars().any(char::is_alphabetic))
        .count()
        <= MAX_WORDS_AROUND_AMBIGUOUS;
    let named = words(stem).filter(|word| {
        is_short
            || !AMBIGUOUS_WORDS
                .iter()
                .any(|held| held.eq_ignore_ascii_case(word))
    });
    let node = &tree.nodes[index];
    let parent = &tree.nodes[node.parent];
    let is_wrapped = matches!(parent.kind, Kind::Anchor | Kind::Inline);
    let attributes = [
        node.attribute("class"),
        node.attribute("id"),
        parent.attribute("class").filter(|_| is_wrapped),
    ];
    let said: Vec<&str> = named
        .chain(attributes.into_iter().flatten().flat_map(words))
        .collect();
    let reason = WORDS.iter().find(|(_, list)| {
        said.iter()
            .any(|word| list.iter().any(|held| held.eq_ignore_ascii_case(word)))
    });
    reason.map(|(name, _)| Reason::new(name))
}

/// Whether the image stands in a `<figure>` with a `<figcaption>`: nobody writes one for an icon.
fn is_captioned_figure(tree: &Tree, index: usize) -> bool {
    const MAX_LEVELS: usize = 4;
    let mut above = tree.nodes[index].parent;
    for _ in 0..MAX_LEVELS {
        let node = &tree.nodes[above];
        if node.name() == "figure" {
            return tree.nodes[above..node.end]
                .iter()
                .any(|node| node.name() == "figcaption");
        }
        above = node.parent;
    }
    false
}

fn words(name: &str) -> impl Iterator<Item = &str> {
    name.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
}
