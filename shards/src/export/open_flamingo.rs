//! Documents as OpenFlamingo's two readers of interleaved data take them.

use std::fmt::Write as _;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use m3w_document::{Document, Element, Image};
use serde_json::{Value, json};

use super::tar_file::TarFile;
use super::{ExportReport, Target};
use crate::{Error, FileEntry};

/// What its tokenizer would take for a special token; a page may hold such words too.
const SPECIAL: [(&str, &str); 3] = [
    ("<image>", "< image>"),
    ("<|endofchunk|>", "<| endofchunk|>"),
    ("<|endoftext|>", "<| endoftext|>"),
];

/// Samples in the form of mmc4: sentences, and for each image the sentence it stands before.
pub(super) struct MatrixFile(TarFile);

impl MatrixFile {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        Ok(Self(TarFile::create(path)?))
    }
}

impl Target for MatrixFile {
    fn write(
        &mut self,
        document: &Document<Image>,
        report: &mut ExportReport,
    ) -> Result<(), Error> {
        let sample = matched(document);
        add(&mut self.0, document, &sample, report)
    }

    fn finish(self: Box<Self>) -> Result<FileEntry, Error> {
        self.0.finish()
    }
}

/// Samples in the form of OpenFlamingo's generated sequences: one text with marks in it.
pub(super) struct TextFile(TarFile);

impl TextFile {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        Ok(Self(TarFile::create(path)?))
    }
}

impl Target for TextFile {
    fn write(
        &mut self,
        document: &Document<Image>,
        report: &mut ExportReport,
    ) -> Result<(), Error> {
        let sample = marked(document);
        add(&mut self.0, document, &sample, report)
    }

    fn finish(self: Box<Self>) -> Result<FileEntry, Error> {
        self.0.finish()
    }
}

fn add(
    file: &mut TarFile,
    document: &Document<Image>,
    sample: &Value,
    report: &mut ExportReport,
) -> Result<(), Error> {
    if document.images().next().is_none() {
        report.leave_out("a document without an image");
        return Ok(());
    }
    report.samples += 1;
    file.add(
        &document.id.to_string(),
        &[("json", sample.to_string().as_bytes())],
    )
}

fn escaped(text: &str) -> String {
    let replace = |text: String, (special, harmless): (&str, &str)| text.replace(special, harmless);
    SPECIAL.into_iter().fold(text.to_owned(), replace)
}

/// The reader gives images to sentences one to one, by the best sum of similarities, so each image
/// needs a sentence of its own: one that stands right before another image, or at the end, gets an
/// empty one. Older versions take `matched_text_index` and `matched_sim` as they are.
fn matched(document: &Document<Image>) -> Value {
    let (mut sentences, mut images) = (Vec::new(), Vec::new());
    let mut is_waiting = false;
    for element in &document.elements {
        match element {
            Element::Text(text) => {
                sentences.push(escaped(&text.content));
                is_waiting = false;
            }
            Element::Image(image) => {
                if is_waiting {
                    sentences.push(String::new());
                }
                images.push((image, sentences.len()));
                is_waiting = true;
            }
        }
    }
    if is_waiting {
        sentences.push(String::new());
    }
    let row = |sentence: usize| -> Vec<f32> {
        let similarity = |other| if other == sentence { 1.0 } else { 0.0 };
        (0..sentences.len()).map(similarity).collect()
    };
    let matrix: Vec<Vec<f32>> = images.iter().map(|(_, sentence)| row(*sentence)).collect();
    let described: Vec<Value> = images
        .iter()
        .map(|(image, sentence)| {
            json!({
                "image_name": crate::tokenize::image_name(image),
                "raw_url": image.reference.url.as_str(),
                "matched_text_index": sentence,
                "matched_sim": 1.0,
                "image_base64": STANDARD.encode(&image.bytes),
            })
        })
        .collect();
    json!({
        "url": document.final_url.as_str(),
        "text_list": sentences,
        "image_info": described,
        "similarity_matrix": matrix,
    })
}

fn marked(document: &Document<Image>) -> Value {
    let mut text = String::new();
    let mut images = serde_json::Map::new();
    let mut follows_text = false;
    for element in &document.elements {
        match element {
            Element::Text(block) => {
                if follows_text {
                    text.push('\n');
                }
                text.push_str(&escaped(&block.content).replace("_!_IMAGE", "_! _IMAGE"));
                follows_text = true;
            }
            Element::Image(image) => {
                let mark = format!("_!_IMAGE{}_!_", images.len() + 1);
                // Writing to a string does not fail.
                let _ = write!(text, "{mark}");
                let encoded = STANDARD.encode(&image.bytes);
                images.insert(mark, json!({ "base64_image": encoded }));
                follows_text = false;
            }
        }
    }
    json!({
        "is_gpt": true,
        "url": document.final_url.as_str(),
        "example": text,
        "image_map": images,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use m3w_document::image::{PrepareConfig, prepare};
    use m3w_document::{ImageRef, Text};
    use url::Url;

    fn document() -> Document<Image> {
        let url = Url::parse("https://example.org/").unwrap();
        let png = crate::pixels::tests::two_coloured_png(80, 80, [0; 3], [255; 3]);
        let picture = prepare(
            ImageRef::new(url.clone()),
            &png,
            Vec::new(),
            &PrepareConfig::default(),
        );
        let picture = picture.unwrap();
        let image = || Element::Image(picture.clone());
        let text = |words: &str| Element::Text(Text::paragraph(words));
        let mut document = Document::new(url);
        document.elements = vec![
            text("one"),
            image(),
            image(),
            text("two <image>"),
            text("three"),
            image(),
        ];
        document
    }

    #[test]
    fn each_image_has_the_text_after_it_or_an_empty_one() {
        let sample = matched(&document());
        assert_eq!(
            sample["text_list"],
            json!(["one", "", "two < image>", "three", ""])
        );
        let places: Vec<_> = (0..3)
            .map(|image| {
                sample["image_info"][image]["matched_text_index"]
                    .as_u64()
                    .unwrap()
            })
            .collect();
        assert_eq!(places, [1, 2, 4]);
        assert_eq!(
            sample["similarity_matrix"][1],
            json!([0.0, 0.0, 1.0, 0.0, 0.0])
        );
    }

    #[test]
    fn marks_stand_where_the_images_stand() {
        let sample = marked(&document());
        assert_eq!(
            sample["example"],
            "one_!_IMAGE1_!__!_IMAGE2_!_two < image>\nthree_!_IMAGE3_!_"
        );
        assert_eq!(sample["image_map"].as_object().unwrap().len(), 3);
    }
}
