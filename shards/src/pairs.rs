//! What rows of pairs have and rows of pages have not.

use m3w_document::{Document, Element, Image, TextRole};
use rand::RngExt;

use crate::randomness::generator;

/// Puts a space before the document's first caption with that probability: of a given document and
/// seed always or never.
///
/// Flamingo's pairs have it with a probability of one half (arXiv 2204.14198, appendix A.3), for a
/// byte-pair tokenizer spells a word differently with a space before it, and prompts come both
/// ways. It is drawn where a row is packed, since a row holds tokens (`docs/decisions/0014`).
pub fn space_before_caption(document: &mut Document<Image>, seed: u64, probability: f64) {
    let name = document.id.0;
    let caption = document
        .elements
        .iter_mut()
        .find_map(|element| match element {
            Element::Text(text) if text.role == TextRole::Caption => Some(text),
            _ => None,
        });
    let Some(caption) = caption.filter(|caption| !caption.content.starts_with(' ')) else {
        return;
    };
    if generator(seed, "space", &[&name]).random_bool(probability.clamp(0.0, 1.0)) {
        caption.content.insert(0, ' ');
    }
}

#[cfg(test)]
mod tests {
    use m3w_document::Text;
    use url::Url;

    use super::*;

    fn has_space(number: u32, seed: u64, probability: f64) -> bool {
        let url = Url::parse(&format!("https://a.test/{number}")).unwrap();
        let mut document = Document::<Image>::new(url);
        document.elements = vec![
            Element::Text(Text::paragraph("before")),
            Element::Text(Text::caption("a cat")),
        ];
        space_before_caption(&mut document, seed, probability);
        let texts: Vec<&str> = document.texts().map(|text| text.content.as_str()).collect();
        assert_eq!((texts[0], texts[1].trim_start()), ("before", "a cat"));
        texts[1].starts_with(' ')
    }

    #[test]
    fn about_half_of_the_captions_get_a_space_and_always_the_same_ones() {
        let spaces = |seed| (0..400).map(move |number| has_space(number, seed, 0.5));
        let count = spaces(1).filter(|has_space| *has_space).count();
        // Six standard deviations around 200.
        assert!((140..=260).contains(&count), "{count}");
        assert!(spaces(1).eq(spaces(1)));
        assert!(!spaces(1).eq(spaces(2)));
        assert!((0..20).all(|number| !has_space(number, 1, 0.0) && has_space(number, 1, 1.0)));
    }
}
