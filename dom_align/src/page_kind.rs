//! What kind of page it is, by what its head, address and mark-up declare.
//!
//! The words are those of standards (Open Graph, schema.org) and of widespread software; each is a
//! number that the trees may ask for, none decides alone.

use url::Url;

use crate::dom::Tree;

/// What head, address and body say the page is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PageKind {
    pub(crate) open_graph: f32,
    pub(crate) generator: f32,
    pub(crate) address: f32,
    pub(crate) body: f32,
    pub(crate) articles: f32,
    pub(crate) has_main: f32,
    pub(crate) schema: f32,
    pub(crate) path_parts: f32,
    pub(crate) paragraphs: f32,
}

impl PageKind {
    /// Reads what a page declares.
    pub(crate) fn read(tree: &Tree, url: &Url) -> Self {
        let mut kind = Self::default();
        for node in &tree.nodes {
            match node.name() {
                "meta" => {
                    let content = node.attribute("content").unwrap_or_default();
                    if node.attribute("property") == Some("og:type") {
                        kind.open_graph = code(content, &OPEN_GRAPH_TYPES);
                    } else if node
                        .attribute("name")
                        .is_some_and(|name| name.eq_ignore_ascii_case("generator"))
                    {
                        kind.generator = code(content, &GENERATORS);
                    }
                }
                "body" => {
                    kind.body = code(node.attribute("class").unwrap_or_default(), &BODY_NAMES);
                }
                "article" => kind.articles += 1.0,
                "main" => kind.has_main = 1.0,
                "p" => kind.paragraphs += 1.0,
                _ => {
                    if kind.schema == 0.0
                        && let Some(schema) = node.attribute("itemtype")
                    {
                        kind.schema = code(schema, &SCHEMA_TYPES);
                    }
                }
            }
        }
        let address = url.as_str();
        kind.address = code(address, &ADDRESS_WORDS);
        kind.path_parts = url
            .path()
            .split('/')
            .filter(|part| !part.is_empty())
            .count() as f32;
        kind
    }
}

const OPEN_GRAPH_TYPES: [&str; 6] = ["article", "product", "website", "video", "profile", "blog"];
const GENERATORS: [&str; 10] = [
    "wordpress",
    "discourse",
    "vbulletin",
    "phpbb",
    "mediawiki",
    "sphinx",
    "woocommerce",
    "drupal",
    "joomla",
    "docusaurus",
];
const BODY_NAMES: [&str; 12] = [
    "single-product",
    "single-post",
    "page-template",
    "archive",
    "category",
    "home",
    "product",
    "forum",
    "question",
    "blog",
    "article",
    "collection",
];
const SCHEMA_TYPES: [&str; 9] = [
    "Product",
    "Article",
    "BlogPosting",
    "QAPage",
    "DiscussionForumPosting",
    "CollectionPage",
    "ItemList",
    "WebPage",
    "Blog",
];
const ADDRESS_WORDS: [&str; 18] = [
    "forum",
    "thread",
    "topic",
    "/questions/",
    "/t/",
    "/product",
    "/p/",
    "/shop",
    "/collection",
    "/category",
    "/c/",
    "/docs",
    "doc",
    "/blog",
    "/services",
    "/news",
    "/wiki",
    "/20",
];

/// One plus the place of the first word that the text holds; 0 where it holds none, or says nothing.
fn code(text: &str, words: &[&str]) -> f32 {
    let text = text.to_ascii_lowercase();
    words
        .iter()
        .position(|word| text.contains(&word.to_ascii_lowercase()))
        .map_or(0.0, |place| place as f32 + 1.0)
}
