//! What holds for every page.

#![expect(clippy::unwrap_used, reason = "what fails fails the test")]

use m3w_document::{Element, TextRole};
use m3w_dom_align::{CaptionPlacement, Config, Mode, align};
use proptest::prelude::*;
use url::Url;

fn page() -> Url {
    Url::parse("https://example.org/folder/page.html").unwrap()
}

fn everything() -> Config {
    Config {
        mode: Mode::Everything,
        ..Config::default()
    }
}

/// Pieces of mark-up around numbered words and images, opened and closed as it comes.
fn markup() -> impl Strategy<Value = Vec<&'static str>> {
    let pieces = [
        "<p>",
        "</p>",
        "<div>",
        "</div>",
        "<b>",
        "</b>",
        "<i>",
        "</i>",
        "<a href=x>",
        "</a>",
        "<ul>",
        "<li>",
        "</ul>",
        "<br>",
        "<h2>",
        "</h2>",
        "<pre>",
        "</pre>",
        "<span>",
        "</span>",
        "<figure>",
        "</figure>",
        "WORD ",
        "WORD",
        "IMAGE",
        " ",
        "\n",
        "<section>",
        "</section>",
        "<blockquote>",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..60)
}

proptest! {
    #[test]
    fn any_text_is_a_page(html in "\\PC{0,200}|(<[a-z!/]{0,6}[ a-z=\"'>-]{0,12}){0,30}") {
        let aligned = align(&html, &page(), &Config::default());
        for text in aligned.document.texts() {
            prop_assert!(!text.content.trim().is_empty());
            prop_assert!(text.content.chars().all(|c| !c.is_control() || "\n\t".contains(c)));
        }
    }

    #[test]
    fn words_and_images_keep_their_order_and_none_is_invented(pieces in markup()) {
        let (mut html, mut expected) = (String::new(), String::new());
        for (number, piece) in pieces.into_iter().enumerate() {
            match piece {
                "IMAGE" => {
                    html.push_str(&format!("<img src=\"i{number}.jpg\">"));
                    expected.push_str(&format!("[i{number}.jpg]"));
                }
                _ => {
                    html.push_str(&piece.replace("WORD", &format!("w{number}")));
                    if piece.starts_with("WORD") {
                        expected.push_str(&format!("w{number}"));
                    }
                }
            }
        }
        let document = align(&html, &page(), &everything()).document;
        let got: String = document
            .elements
            .iter()
            .map(|element| match element {
                Element::Text(text) => text.content.split_whitespace().collect(),
                Element::Image(image) => {
                    format!("[{}]", image.url.path().rsplit('/').next().unwrap_or_default())
                }
            })
            .collect();
        prop_assert_eq!(got, expected, "{}", html);
    }

    #[test]
    fn a_url_of_the_output_joins_to_itself(path in "[a-zA-Z0-9./?&=%,_ -]{1,30}") {
        let html = format!("<p>words</p><img src=\"{path}\">");
        for image in align(&html, &page(), &everything()).document.images() {
            prop_assert_eq!(&page().join(image.url.as_str()).unwrap(), &image.url);
        }
    }
}

#[test]
fn a_caption_stands_on_the_side_that_is_configured() {
    let html = "<p>a</p><figure><img src=i.jpg><figcaption>c</figcaption></figure><p>b</p>";
    let roles = |caption_placement| {
        let config = Config {
            caption_placement,
            ..everything()
        };
        let document = align(html, &page(), &config).document;
        let role = |element: &Element<_>| element.as_text().map(|text| text.role);
        document.elements.iter().map(role).collect::<Vec<_>>()
    };
    let (text, caption) = (Some(TextRole::Paragraph), Some(TextRole::Caption));
    assert_eq!(roles(CaptionPlacement::After), [text, None, caption, text]);
    assert_eq!(roles(CaptionPlacement::Before), [text, caption, None, text]);
}

#[test]
fn pages_beyond_a_bound_give_what_was_read_and_say_so() {
    let reason = |html: &str| {
        let aligned = align(html, &page(), &everything());
        let name = aligned.given_up.map(|reason| reason.name.into_owned());
        (name.unwrap_or_default(), aligned.document.word_count())
    };
    let deep = format!(
        "{}words in the deep{}",
        "<div>".repeat(50_000),
        "</div>".repeat(50_000)
    );
    assert_eq!(reason(&deep), ("align/too-deep".to_owned(), 4));
    let attributes: String = (0..50_000).map(|number| format!(" a{number}")).collect();
    let wide = format!("<p{attributes}>word</p>");
    assert_eq!(reason(&wide), ("align/too-many-attributes".to_owned(), 1));
    let ends_in_the_deep = format!("{}word{}", "<span>".repeat(500), "</x>".repeat(200_000));
    assert_eq!(reason(&ends_in_the_deep), ("align/too-slow".to_owned(), 1));
    let (name, words) = reason(&"<p>word".repeat(200_000));
    assert_eq!(name, "align/too-many-nodes");
    assert!(words > 1_000, "{words}");
    assert_eq!(reason(&"a ".repeat(3 << 20)).0, "align/page-too-large");
}

#[test]
fn images_beyond_the_bound_are_dropped_with_the_reason() {
    let config = Config {
        max_images: 2,
        ..everything()
    };
    let aligned = align(
        "<img src=a.png><img src=b.png><img src=c.png>",
        &page(),
        &config,
    );
    assert_eq!(aligned.document.images().count(), 2);
    assert_eq!(aligned.dropped[0].reason.name, "align/too-many-images");
}

#[test]
fn an_unknown_key_of_the_configuration_is_refused() {
    assert_eq!(
        toml::from_str::<Config>("mode = \"everything\"").unwrap(),
        everything()
    );
    assert!(toml::from_str::<Config>("mood = \"main\"").is_err());
}
