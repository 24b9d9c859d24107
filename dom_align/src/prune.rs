//! What of a page is not read: hidden elements, and in the main mode the parts around the content.

use url::Url;

use crate::Mode;
use crate::content;
use crate::dom::{Node, Tree};
use crate::image_url::style_property;
use crate::likely;
use crate::mark::{Mark, Rule};
use crate::tags::Kind;

/// Roles (WAI-ARIA landmarks and widgets) of parts that are not content.
const ROLES: [&str; 13] = [
    "navigation",
    "banner",
    "contentinfo",
    "complementary",
    "search",
    "dialog",
    "alertdialog",
    "alert",
    "menu",
    "menubar",
    "toolbar",
    "tooltip",
    "button",
];

/// Words of classes and ids that name a part around the content.
const WORDS: [&str; 78] = [
    "ad",
    "ads",
    "advert",
    "advertisement",
    "advertising",
    "addthis",
    "aside",
    "banner",
    "biography",
    "bookmarks",
    "breadcrumb",
    "breadcrumbs",
    "byline",
    "captcha",
    "consent",
    "cookie",
    "cookies",
    "copyright",
    "crumbs",
    "dialog",
    "disclaimer",
    "footer",
    "gdpr",
    "hotkeys",
    "infolinks",
    "lightbox",
    "login",
    "masthead",
    "megamenu",
    "menu",
    "menus",
    "meta",
    "modal",
    "nav",
    "navbar",
    "navfooter",
    "navheader",
    "navi",
    "navigation",
    "navpath",
    "newsletter",
    "notice",
    "noprint",
    "offcanvas",
    "overlay",
    "pager",
    "paginate",
    "pagination",
    "paginator",
    "popular",
    "popup",
    "postmeta",
    "prevnext",
    "print",
    "promo",
    "promotion",
    "readmore",
    "recommend",
    "recommendation",
    "recommendations",
    "recommended",
    "related",
    "search",
    "share",
    "shares",
    "sharing",
    "sidebar",
    "signup",
    "skip",
    "social",
    "sponsor",
    "sponsored",
    "subscribe",
    "subscription",
    "tagcloud",
    "tags",
    "toolbar",
    "trending",
];

/// Words before which a class does not name a part but says whether the page has one.
const QUALIFIERS: [&str; 8] = ["has", "no", "with", "without", "js", "is", "not", "hide"];

/// Words of classes and ids that name what readers wrote below the content. On a forum that is
/// the content.
const COMMENT_WORDS: [&str; 7] = [
    "comment",
    "comments",
    "commentlist",
    "discussion",
    "reply",
    "replies",
    "respond",
];

/// Share of the page's text at which a part is the page, whatever its tag, class or style says.
const MAX_REMOVED_SHARE: f64 = 0.4;

/// Characters of text from which something that only scripts would show may be the page.
const MIN_PAGE_CHARACTERS: usize = 250;

/// Words of an address by which a page is known that consists of what readers wrote.
const FORUM_WORDS: [&str; 14] = [
    "forum",
    "forums",
    "thread",
    "threads",
    "showthread",
    "topic",
    "topics",
    "viewtopic",
    "showtopic",
    "discussion",
    "discussions",
    "questions",
    "question",
    "comments",
];

/// What the rules say of a page.
pub(crate) struct Rules {
    /// For each node, whether a browser shows its subtree.
    pub(crate) visible: Vec<Option<Mark>>,
    /// For each node, why its subtree is left out, if it is.
    pub(crate) marks: Vec<Option<Mark>>,
    /// Characters that a browser shows.
    visible_characters: usize,
}

/// Reads a page by the rules.
pub(crate) fn rules(tree: &Tree, page: &Url, mode: Mode) -> Rules {
    let visible = hidden(tree);
    let visible_characters = content::text_lengths(tree, &visible)[0];
    let marks = match mode {
        Mode::Everything => visible.clone(),
        Mode::Main => removed(tree, page, &visible),
    };
    Rules {
        visible,
        marks,
        visible_characters,
    }
}

/// Marks all but the content.
fn removed(tree: &Tree, page: &Url, visible: &[Option<Mark>]) -> Vec<Option<Mark>> {
    let host = page.host_str().unwrap_or_default();
    let is_forum = has_word(host, &FORUM_WORDS) || has_word(page.path(), &FORUM_WORDS);
    // From the strictest reading of names to none, until the page has content.
    let readings = [
        Some(Names {
            with_comments: false,
        }),
        Some(Names {
            with_comments: true,
        }),
        None,
    ];
    let mut removed = Vec::new();
    for names in readings.into_iter().skip(usize::from(is_forum)) {
        removed.clear();
        removed.extend_from_slice(visible);
        remove_parts(tree, &mut removed, names.as_ref());
        if content::choose(tree, &mut removed, visible) {
            break;
        }
    }
    removed
}

/// For each node, why it is left out, if it is: by the rules, and on pages of some length by all
/// that is measured of each block and image. What is kept by measure is told to `kept`.
pub(crate) fn decided(
    tree: &Tree,
    page: &Url,
    mode: Mode,
    kept: Option<&mut Vec<(usize, Mark)>>,
) -> Vec<Option<Mark>> {
    let mut rules = rules(tree, page, mode);
    if mode == Mode::Main && rules.visible_characters >= MIN_PAGE_CHARACTERS {
        inherit(tree, &mut rules.marks);
        likely::mark_unlikely(tree, page, &rules.visible, &mut rules.marks, kept);
    }
    rules.marks
}

/// Marks what a browser does not show: hidden elements, and the text of `<noscript>`.
///
/// Some pages hide all of themselves until a script runs, or hold their text only for browsers
/// without scripts; what is most of a page is taken for the page.
fn hidden(tree: &Tree) -> Vec<Option<Mark>> {
    let mut removed = vec![None; tree.nodes.len()];
    let lengths = content::text_lengths(tree, &removed);
    let is_page =
        |index: usize| lengths[index] >= MIN_PAGE_CHARACTERS && lengths[index] * 2 > lengths[0];
    let mut noscript_end = 0;
    for (index, node) in tree.nodes.iter().enumerate() {
        if node.kind == Kind::NoScript && !is_page(index) {
            noscript_end = noscript_end.max(node.end);
        }
        let is_unread = index < noscript_end && node.text().is_some();
        if is_unread || (is_hidden(node) && !is_page(index)) {
            removed[index] = Some(Mark::plain(Rule::Hidden));
        }
    }
    removed
}

/// Marks the parts that tag, role or (as `names` reads it) class name as not being content.
#[expect(
    clippy::cast_precision_loss,
    reason = "characters of a page, far below 2^52"
)]
fn remove_parts(tree: &Tree, removed: &mut [Option<Mark>], names: Option<&Names>) {
    let lengths = content::text_lengths(tree, removed);
    let max_length = lengths[0] as f64 * MAX_REMOVED_SHARE;
    let holds_main = holders_of_main(tree);
    let mut index = 1;
    while index < tree.nodes.len() {
        let node = &tree.nodes[index];
        if removed[index].is_none() && node.is_element() && !holds_main[index] {
            let is_small = (lengths[index] as f64) <= max_length;
            let share = lengths[index] as f64 / (lengths[0] as f64).max(1.0);
            let rule = if is_small && is_part(tree, index) {
                Some(Rule::Part)
            } else if is_small && names.is_some_and(|names| names.is_named_part(node)) {
                Some(Rule::Name)
            } else if names.is_some_and(|names| names.is_comment(node)) {
                Some(Rule::Comments)
            } else {
                None
            };
            removed[index] = rule.map(|rule| Mark::new(rule, share, MAX_REMOVED_SHARE));
        }
        index = if removed[index].is_some() {
            node.end
        } else {
            index + 1
        };
    }
}

/// For each node, whether it is or holds what the page declares to be its main part.
fn holders_of_main(tree: &Tree) -> Vec<bool> {
    let mut holds = vec![false; tree.nodes.len()];
    for (index, node) in tree.nodes.iter().enumerate().rev() {
        holds[index] |= content::is_main(node);
        holds[node.parent] |= holds[index];
    }
    holds
}

/// Whether tag or role say that the element is not content.
fn is_part(tree: &Tree, index: usize) -> bool {
    let node = &tree.nodes[index];
    let by_tag = match node.name() {
        "nav" | "aside" | "footer" | "dialog" | "search" => true,
        "button" => {
            // Sections that unfold have their heading in a button.
            !tree
                .ancestors(index)
                .take(2)
                .any(|above| tree.nodes[above].kind == Kind::Heading)
        }
        "header" => !tree
            .ancestors(index)
            .any(|above| matches!(tree.nodes[above].name(), "article" | "main" | "section")),
        _ => false,
    };
    by_tag
        || node.attribute("role").is_some_and(|role| {
            ROLES
                .iter()
                .any(|held| held.eq_ignore_ascii_case(role.trim()))
        })
}

/// What classes and ids are taken to say.
struct Names {
    /// Comments are content.
    with_comments: bool,
}

impl Names {
    /// Whether class or id say that the element is not content.
    fn is_named_part(&self, node: &Node) -> bool {
        may_be_named(node) && names_of(node).any(|name| has_word(name, &WORDS))
    }

    /// Whether class or id say that the element holds comments, which are not content.
    fn is_comment(&self, node: &Node) -> bool {
        !self.with_comments
            && may_be_named(node)
            && names_of(node).any(|name| has_word(name, &COMMENT_WORDS))
    }
}

/// Classes and id of an element.
fn names_of(node: &Node) -> impl Iterator<Item = &str> {
    let classes = node
        .attribute("class")
        .unwrap_or_default()
        .split_ascii_whitespace();
    classes.chain(node.attribute("id"))
}

/// Whether a name may say that the element is not content; some elements always may be.
fn may_be_named(node: &Node) -> bool {
    !matches!(
        node.name(),
        "html" | "body" | "main" | "article" | "pre" | "code"
    ) && !matches!(node.kind, Kind::Heading | Kind::Image | Kind::Picture)
}

/// Whether a class or id has one of the words; `-`, `_` and capitals tell words apart.
fn has_word(class: &str, list: &[&str]) -> bool {
    let is_one_of =
        |word: &str, list: &[&str]| list.iter().any(|held| held.eq_ignore_ascii_case(word));
    let bytes = class.as_bytes();
    let (mut previous, mut start) = ("", 0);
    for end in 1..=bytes.len() {
        let is_edge = end == bytes.len()
            || !bytes[end].is_ascii_alphanumeric()
            || (bytes[end].is_ascii_uppercase() && bytes[end - 1].is_ascii_lowercase());
        if !is_edge || !class.is_char_boundary(start) || !class.is_char_boundary(end) {
            continue;
        }
        let word = class[start..end].trim_matches(|c: char| !c.is_ascii_alphanumeric());
        if !word.is_empty() {
            if is_one_of(word, list) && !is_one_of(previous, &QUALIFIERS) {
                return true;
            }
            previous = word;
        }
        start = end;
    }
    false
}

/// Whether a browser shows nothing of the element.
fn is_hidden(node: &Node) -> bool {
    // Pages that fade in declare all of themselves hidden at first.
    if !node.is_element() || matches!(node.name(), "html" | "body") {
        return false;
    }
    let is_hidden_by_style = node.attribute("style").is_some_and(|style| {
        let is = |property, value: &str| {
            style_property(style, property).is_some_and(|held| {
                held.get(..value.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(value))
            })
        };
        is("display", "none") || is("visibility", "hidden")
    });
    is_hidden_by_style
        || node.attribute("hidden").is_some()
        // On a picture it says that it adds nothing for a screen reader: it is shown.
        || (node.kind != Kind::Image
            && node.attribute("aria-hidden").is_some_and(|value| value.eq_ignore_ascii_case("true")))
}

/// Gives each node the mark of the subtree it is in.
pub(crate) fn inherit(tree: &Tree, marks: &mut [Option<Mark>]) {
    for (index, node) in tree.nodes.iter().enumerate().skip(1) {
        marks[index] = marks[index].or(marks[node.parent]);
    }
}
