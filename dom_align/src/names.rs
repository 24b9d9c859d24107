//! What the classes, ids, roles and tags around a text say about it.
//!
//! Themes, forum and shop software name their parts with English words whatever the page's
//! language: `post-content`, `product-description`, `sidebar`, `related-posts`. The words are
//! gathered into groups of one meaning each; a node has the groups of its own names, and inherits
//! those of the elements around it with the number of levels to them.

use std::sync::LazyLock;

use crate::dom::{Node, Tree};

/// Levels to an element that does not exist.
pub(crate) const NO_LEVEL: u8 = 40;

/// Groups of words, each with its name.
#[rustfmt::skip]
const GROUPS: [(&str, &[&str]); 30] = [
    ("nav", &["nav", "navbar", "navigation", "navi", "menu", "menus", "megamenu", "submenu", "navheader", "navfooter", "navpath", "mainmenu", "navlinks", "sitemap"]),
    ("pager", &["pager", "pagination", "paginate", "paginator", "prevnext", "pages", "pagenav", "prev", "previous", "next"]),
    ("breadcrumb", &["breadcrumb", "breadcrumbs", "crumbs", "crumb"]),
    ("footer", &["footer", "foot", "colophon", "bottom", "copyright", "footnote", "site-footer"]),
    ("header", &["header", "masthead", "topbar", "head", "banner", "appbar"]),
    ("sidebar", &["sidebar", "aside", "rail", "widget", "widgets", "secondary", "complementary", "side", "sidenav", "sticky"]),
    ("related", &["related", "recommend", "recommended", "recommendation", "recommendations", "similar", "popular", "trending", "also", "upsell", "upsells", "crosssell", "cross", "suggested", "suggestions", "recent", "recently", "latest", "readmore", "more", "viewed", "teaser", "promoted", "featured", "bestsellers"]),
    ("carousel", &["carousel", "slider", "swiper", "slick", "slide", "slides", "slideshow", "flickity", "owl", "splide", "marquee"]),
    ("comment", &["comment", "comments", "commentlist", "reply", "replies", "respond", "disqus", "response", "responses", "discussion"]),
    ("share", &["share", "shares", "sharing", "social", "addthis", "follow", "facebook", "twitter", "sharedaddy", "bookmarks"]),
    ("ad", &["ad", "ads", "advert", "advertisement", "advertising", "sponsor", "sponsored", "promo", "promotion", "promotions", "dfp", "taboola", "outbrain", "infolinks"]),
    ("overlay", &["cookie", "cookies", "consent", "gdpr", "modal", "popup", "overlay", "dialog", "lightbox", "offcanvas", "drawer", "toast", "alert", "tooltip", "captcha", "loading", "loader", "popover"]),
    ("meta", &["meta", "byline", "author", "authors", "date", "time", "timestamp", "published", "postmeta", "info", "details", "dateline", "posted", "updated"]),
    ("tags", &["tag", "tags", "tagcloud", "category", "categories", "cat", "label", "labels", "topics", "keywords"]),
    ("form", &["search", "form", "login", "signup", "signin", "register", "subscribe", "subscription", "newsletter", "input", "field", "filter", "filters", "facet", "facets", "sort", "sorting", "refine", "select", "checkbox", "dropdown", "optin"]),
    ("content", &["content", "main", "article", "entry", "body", "text", "story", "prose", "richtext", "rte", "markdown", "editorial", "copy", "wysiwyg", "paragraph", "contents", "mw"]),
    ("post", &["post", "posts", "message", "messages", "thread", "threads", "topic", "forum", "bbp", "question", "answer", "answers", "postbody", "postcontent", "cooked", "quote", "bbcode"]),
    ("product", &["product", "products", "price", "prices", "sku", "pdp", "description", "desc", "spec", "specs", "specification", "specifications", "shop", "variant", "stock", "feature", "features", "ingredients"]),
    ("cart", &["cart", "basket", "checkout", "wishlist", "compare", "quantity", "qty", "swatch", "swatches", "shipping", "delivery", "minicart", "account", "currency"]),
    ("user", &["user", "username", "avatar", "profile", "member", "members", "signature", "sig", "poster", "postprofile", "usercard", "reputation", "rank", "usertitle", "userinfo", "biography", "bio"]),
    ("title", &["title", "heading", "headline", "subtitle", "lead", "lede", "intro", "excerpt", "summary", "deck", "standfirst", "subheading", "name"]),
    ("card", &["card", "cards", "item", "items", "list", "grid", "tile", "tiles", "row", "result", "results", "listing", "listings", "feed", "loop", "collection", "archive", "directory"]),
    ("hero", &["hero", "jumbotron", "cover", "masthead", "banner"]),
    ("action", &["btn", "button", "buttons", "cta", "action", "actions", "link", "links", "control", "controls", "toggle", "toolbar", "tools", "hotkeys"]),
    ("media", &["caption", "figcaption", "image", "images", "img", "gallery", "figure", "photo", "photos", "media", "video", "thumb", "thumbnail", "picture", "credit"]),
    ("review", &["review", "reviews", "rating", "ratings", "stars", "testimonial", "testimonials", "feedback"]),
    ("fold", &["faq", "faqs", "accordion", "collapse", "collapsible", "panel", "tab", "tabs", "tabpanel", "pane", "expand", "details"]),
    ("toc", &["toc", "index", "outline", "onthispage", "toctree"]),
    ("unseen", &["sr", "screen", "visually", "visuallyhidden", "hidden", "skip", "print", "noprint", "invisible", "hide", "a11y", "clip"]),
    ("legal", &["disclaimer", "legal", "privacy", "terms", "policy", "notice", "disclosure", "edit", "flag", "report", "vote", "votes", "voting", "like", "likes", "count", "counter", "views", "stats", "permalink"]),
];

/// What tags, roles and microdata around a text are told apart.
#[rustfmt::skip]
const MARKS: [&str; 26] = [
    "in nav", "in aside", "in footer", "in header", "in main", "in article", "in section",
    "in form", "in list", "in table", "in figure", "in button", "in label", "in details", "in quote",
    "in item", "in link", "in heading", "in noscript", "in hidden", "in role part", "in role panel",
    "in body property", "in other property", "in schema item", "in custom element",
];

/// Whether the element is hidden until a reader unfolds it: a panel of tabs or of an accordion, and
/// not an overlay or a menu.
pub(crate) fn is_folded(levels: &Levels) -> bool {
    const NEAR: u8 = 2;
    let hidden = levels[IN_HIDDEN];
    let is_panel = levels[FOLD].abs_diff(hidden) <= NEAR
        || levels[IN_PANEL].abs_diff(hidden) <= NEAR
        || levels[IN_DETAILS] < NO_LEVEL;
    hidden < NO_LEVEL && is_panel && levels[OVERLAY] > hidden + NEAR && levels[NAV] > hidden + NEAR
}

/// Whether the node is hidden or in something hidden.
pub(crate) fn is_hidden(levels: &Levels) -> bool {
    levels[IN_HIDDEN] < NO_LEVEL
}

// Places of those in [`Levels`] that rules ask for by name; a test holds them to the tables.
const NAV: usize = 0;
const OVERLAY: usize = 11;
const FOLD: usize = 26;
const IN_DETAILS: usize = GROUPS.len() + 13;
const IN_HIDDEN: usize = GROUPS.len() + 19;
const IN_PANEL: usize = GROUPS.len() + 21;

/// Groups and marks together.
pub(crate) const COUNT: usize = GROUPS.len() + MARKS.len();

/// Levels from a node to the nearest element of each group or mark, itself included.
pub(crate) type Levels = [u8; COUNT];

/// Name of a place in [`Levels`].
pub(crate) fn name(place: usize) -> &'static str {
    match place.checked_sub(GROUPS.len()) {
        None => GROUPS[place].0,
        Some(mark) => MARKS[mark],
    }
}

/// Words by the hash of their lower-case letters.
static WORDS: LazyLock<Vec<(u32, u8)>> = LazyLock::new(|| {
    let mut table = vec![(0, 0); TABLE_SIZE];
    for (group, (_, words)) in GROUPS.iter().enumerate() {
        for word in *words {
            let hash = word.bytes().fold(HASH_START, hashed);
            let mut place = hash as usize % TABLE_SIZE;
            while table[place].0 != 0 && table[place].0 != hash {
                place = (place + 1) % TABLE_SIZE;
            }
            // A word of two groups counts for the first.
            if table[place].0 == 0 {
                table[place] = (hash, u8::try_from(group).unwrap_or(0));
            }
        }
    }
    table
});

const TABLE_SIZE: usize = 2048;
const HASH_START: u32 = 0x811c_9dc5;

/// One step of the FNV-1a hash over a lower-case letter.
fn hashed(hash: u32, byte: u8) -> u32 {
    (hash ^ u32::from(byte.to_ascii_lowercase())).wrapping_mul(0x0100_0193)
}

/// Calls `found` with the group of each known word of a class or id attribute; white space, `-`,
/// `_` and capitals tell words apart.
fn each_group(names: &str, mut found: impl FnMut(usize)) {
    let mut hash = HASH_START;
    let mut previous = b' ';
    let mut end_word = |hash: u32| {
        let mut place = hash as usize % TABLE_SIZE;
        while WORDS[place].0 != 0 {
            if WORDS[place].0 == hash {
                return found(usize::from(WORDS[place].1));
            }
            place = (place + 1) % TABLE_SIZE;
        }
    };
    for byte in names.bytes() {
        let is_edge = !byte.is_ascii_alphanumeric()
            || (byte.is_ascii_uppercase() && previous.is_ascii_lowercase());
        if is_edge && hash != HASH_START {
            end_word(hash);
            hash = HASH_START;
        }
        if byte.is_ascii_alphanumeric() {
            hash = hashed(hash, byte);
        }
        previous = byte;
    }
    if hash != HASH_START {
        end_word(hash);
    }
}

/// Levels for each node.
pub(crate) fn levels(tree: &Tree, is_hidden: impl Fn(usize) -> bool) -> Vec<Levels> {
    let mut all: Vec<Levels> = Vec::with_capacity(tree.nodes.len());
    all.push([NO_LEVEL; COUNT]);
    for (index, node) in tree.nodes.iter().enumerate().skip(1) {
        let mut levels = all[node.parent];
        if node.is_element() {
            for level in &mut levels {
                *level = (*level + 1).min(NO_LEVEL);
            }
            if !matches!(node.name(), "html" | "body") {
                for attribute in ["class", "id"] {
                    each_group(node.attribute(attribute).unwrap_or_default(), |group| {
                        levels[group] = 0;
                    });
                }
            }
            each_mark(node, is_hidden(index), |mark| {
                levels[GROUPS.len() + mark] = 0;
            });
        }
        all.push(levels);
    }
    all
}

fn each_mark(node: &Node, is_hidden: bool, mut found: impl FnMut(usize)) {
    let by_tag = match node.name() {
        "nav" => 0,
        "aside" => 1,
        "footer" => 2,
        "header" => 3,
        "main" => 4,
        "article" => 5,
        "section" => 6,
        "form" => 7,
        "ul" | "ol" | "dl" | "menu" => 8,
        "table" => 9,
        "figure" | "picture" => 10,
        "button" => 11,
        "label" => 12,
        "details" => 13,
        "blockquote" | "q" => 14,
        "li" | "dd" | "dt" => 15,
        "a" => 16,
        "h1" | "h2" | "h3" | "h4" | "h5" | "h6" => 17,
        "noscript" => 18,
        name if name.contains('-') => 25,
        _ => usize::MAX,
    };
    if by_tag != usize::MAX {
        found(by_tag);
    }
    if is_hidden {
        found(19);
    }
    match node.attribute("role").map(str::trim) {
        Some("main") => found(4),
        Some("article") => found(5),
        Some("navigation") => found(0),
        Some(
            "banner" | "contentinfo" | "complementary" | "search" | "dialog" | "alertdialog"
            | "alert" | "menu" | "menubar" | "toolbar" | "tooltip" | "button" | "menuitem" | "tab"
            | "tablist" | "status" | "listbox" | "option",
        ) => found(20),
        Some("tabpanel" | "region") => found(21),
        _ => {}
    }
    match node.attribute("itemprop") {
        Some("articleBody" | "text" | "description" | "reviewBody" | "mainEntity") => found(22),
        Some(_) => found(23),
        None => {}
    }
    if node.attribute("itemtype").is_some() {
        found(24);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_have_the_names_they_are_used_by() {
        let named = [NAV, OVERLAY, FOLD, IN_DETAILS, IN_HIDDEN, IN_PANEL].map(name);
        let expected = [
            "nav",
            "overlay",
            "fold",
            "in details",
            "in hidden",
            "in role panel",
        ];
        assert_eq!(named, expected);
    }

    #[test]
    fn words_are_told_apart_by_marks_and_capitals() {
        let groups = |names: &str| {
            let mut found = Vec::new();
            each_group(names, |group| found.push(name(group)));
            found
        };
        assert_eq!(
            groups("post-Content siteFooter x"),
            ["post", "content", "footer"]
        );
        assert_eq!(groups("reposted scontent"), Vec::<&str>::new());
    }
}
