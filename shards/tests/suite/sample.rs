//! Documents, tokenizers and corpora to test with.

use std::path::Path;
use std::sync::Arc;

use m3w_document::{
    ConsentSignal, Document, Element, Format, Image, ImageRef, Media, Sha256, Text, TextRole,
    WarcLocation,
};
use m3w_shards::{
    Config, DocumentWriter, Manifest, SequenceWriter, ShardInfo, Tokenizer, subsequence, tokenize,
    train_tokenizer,
};
use url::Url;

pub(crate) fn url(path: &str) -> Url {
    Url::parse("https://example.org/")
        .unwrap()
        .join(path)
        .unwrap()
}

/// A tokenizer trained on a few words.
pub(crate) fn tokenizer() -> Tokenizer {
    let texts = (0..20).map(|number| format!("the robin number {number} sings in the snow"));
    let file = train_tokenizer(texts, 320).unwrap();
    Tokenizer::from_bytes(&file, "sample").unwrap()
}

/// A PNG of one colour.
pub(crate) fn png(width: u32, height: u32, colour: [u8; 3]) -> Vec<u8> {
    let mut bytes = std::io::Cursor::new(Vec::new());
    image::RgbImage::from_pixel(width, height, image::Rgb(colour))
        .write_to(&mut bytes, image::ImageFormat::Png)
        .unwrap();
    bytes.into_inner()
}

pub(crate) fn picture(name: &str, bytes: Vec<u8>, (width_px, height_px): (u32, u32)) -> Image {
    Image {
        reference: ImageRef::new(url(name)),
        format: Format::Png,
        width_px,
        height_px,
        fetched_width_px: width_px,
        fetched_height_px: height_px,
        sha256_fetched: Sha256::of(&bytes),
        sha256_stored: Sha256::of(&bytes),
        bytes: Arc::from(bytes),
        dhash: 0,
        consent: Vec::new(),
        fetched_format: None,
        scores: Default::default(),
    }
}

/// A document with every field in use, one of its three pictures the poster of a video.
pub(crate) fn full_document(number: u32) -> Document<Image> {
    let mut document = Document::new(url(&format!("page/{number}")));
    document.final_url = url(&format!("page/{number}?final"));
    document.fetched_at = Some(1_700_000_000 + i64::from(number));
    document.language = Some("de-CH".to_owned());
    document.title = Some("Vögel im Schnee".to_owned());
    document.scores.insert("text/words".to_owned(), 12.5);
    document.consent.push(ConsentSignal {
        channel: "x-robots-tag".to_owned(),
        value: "noai".to_owned(),
        seen_at: Some(1_699_920_000),
    });
    document.warc = Some(WarcLocation {
        file: "crawl-00001.warc.gz".to_owned(),
        offset: u64::from(number) * 1000,
        length: 999,
    });
    let colour = [(number * 40 % 256) as u8, 128, 7];
    let mut robin = picture("robin.png", png(12, 6, colour), (12, 6));
    robin.reference.alternatives = vec![url("robin-2x.png"), url("robin-3x.png")];
    robin.reference.alt = Some("a robin".to_owned());
    robin.reference.title = Some("Robin".to_owned());
    robin.reference.caption = Some("Erithacus rubecula".to_owned());
    robin.reference.declared_width_px = Some(120);
    robin.reference.declared_height_px = Some(60);
    robin.reference.link = Some(url("robin-large.png"));
    robin.fetched_width_px = 1200;
    robin.fetched_height_px = 600;
    robin.dhash = u64::MAX - u64::from(number);
    robin.consent = document.consent.clone();
    let mut poster = picture("poster.png", png(6, 12, colour), (6, 12));
    poster.reference.media = Media::Video {
        source: Some(url("robin.mp4")),
    };
    let last = picture("last.png", png(9, 9, [1, 2, 3]), (9, 9));
    document.elements = vec![
        Element::Text(Text::new(TextRole::Heading, "The robin")),
        Element::Image(robin),
        Element::Text(Text::caption("Erithacus rubecula")),
        Element::Text(Text::paragraph(format!("It is robin number {number}."))),
        Element::Image(poster),
        Element::Text(Text::new(TextRole::Preformatted, "tu\n  tu")),
        Element::Image(last),
        Element::Text(Text::new(TextRole::ListItem, "the end")),
    ];
    document
}

pub(crate) fn info(config: Config) -> ShardInfo {
    ShardInfo { config, seed: 11 }
}

/// Writes a corpus of `documents` full documents: its documents, and one window of each.
pub(crate) fn write_corpus(directory: &Path, documents: u32, config: &Config) -> Arc<Tokenizer> {
    let tokenizer = Arc::new(tokenizer());
    let mut manifest = Manifest::new(Sha256::of(b"settings"), 11);
    manifest.tokenizer_sha256 = Some(tokenizer.sha256());
    // Two shards of each kind, of different lengths.
    for (shard, range) in [(0, 0..documents / 3), (1, documents / 3..documents)] {
        let name = format!("documents-{shard}.parquet");
        let mut writer =
            DocumentWriter::create(&directory.join(name), &info(config.clone())).unwrap();
        let name = format!("sequences-{shard}.parquet");
        let mut sequences =
            SequenceWriter::create(&directory.join(name), &info(config.clone()), &tokenizer)
                .unwrap();
        for number in range {
            let document = full_document(number);
            writer.write(&document).unwrap();
            let tokenized = tokenize(&document, &tokenizer).unwrap();
            let window = subsequence(&tokenized, 11, 0, config).unwrap();
            let row = window.into_row("m3w", &tokenizer).unwrap();
            sequences.write(&row).unwrap();
        }
        manifest.documents.push(writer.finish().unwrap());
        manifest.sequences.push(sequences.finish().unwrap());
    }
    manifest.save(directory).unwrap();
    tokenizer
}
