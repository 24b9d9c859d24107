//! Stages of the road on pages and pictures of the demonstration site: `cargo bench`.
//!
//! Each figure is the time of one stage for one page or picture on one thread, so that a change in
//! one stage can be seen beside the others.

use divan::{Bencher, black_box};
use m3w::document::image::{PrepareConfig, prepare};
use m3w::document::{Document, Element, Image, ImageRef, Text};
use m3w::dom_align::{self, align};
use m3w::shards::{Config, Tokenizer, subsequence, tokenize, train_tokenizer};
use url::Url;

const PAGE: &str = include_str!("../src/demo/site/diamond-kites.html");
const PICTURE: &[u8] = include_bytes!("../src/demo/site/pictures/red-diamond-blue-hills.jpg");

fn main() {
    divan::main();
}

fn url(name: &str) -> Url {
    Url::parse("http://kites.test/")
        .and_then(|base| base.join(name))
        .expect("a constant that is a URL")
}

#[divan::bench]
fn page_to_elements(bencher: Bencher) {
    let (url, config) = (url("diamond-kites.html"), dom_align::Config::default());
    bencher
        .counter(divan::counter::BytesCount::of_str(PAGE))
        .bench(|| align(black_box(PAGE), &url, &config));
}

#[divan::bench(args = [320, 120])]
fn bytes_to_picture(bencher: Bencher, side_px: u32) {
    let config = PrepareConfig {
        side_px,
        ..PrepareConfig::default()
    };
    let reference = ImageRef::new(url("pictures/red-diamond-blue-hills.jpg"));
    bencher.bench(|| prepare(reference.clone(), black_box(PICTURE), Vec::new(), &config));
}

#[divan::bench]
fn document_to_window(bencher: Bencher) {
    let document = document();
    let texts = document.texts().map(|text| text.content.clone());
    let texts: Vec<String> = texts.collect();
    let file = train_tokenizer(texts.into_iter(), 600).expect("a vocabulary of that size");
    let tokenizer = Tokenizer::from_bytes(&file, "bench").expect("a tokenizer just made");
    let config = Config::default();
    bencher.bench(|| {
        let tokenized = tokenize(black_box(&document), &tokenizer)?;
        Ok::<_, m3w::shards::Error>(subsequence(&tokenized, 0, 0, &config))
    });
}

/// The page as a document in which every image is the same picture.
fn document() -> Document<Image> {
    let config = dom_align::Config::default();
    let mut document = align(PAGE, &url("diamond-kites.html"), &config).document;
    document
        .elements
        .push(Element::Text(Text::paragraph("the end")));
    document.filter_map_images(|reference| {
        prepare(reference, PICTURE, Vec::new(), &PrepareConfig::default()).ok()
    })
}
