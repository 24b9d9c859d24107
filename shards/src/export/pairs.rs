//! Pictures with their captions, as img2dataset writes them.

use std::path::Path;

use m3w_document::{Document, Image, ImageRef, Media};
use serde_json::json;

use super::tar_file::TarFile;
use super::{ExportReport, Target};
use crate::{Error, FileEntry};

pub(super) struct PairFile(TarFile);

impl PairFile {
    pub(super) fn create(path: &Path) -> Result<Self, Error> {
        Ok(Self(TarFile::create(path)?))
    }
}

impl Target for PairFile {
    fn write(
        &mut self,
        document: &Document<Image>,
        report: &mut ExportReport,
    ) -> Result<(), Error> {
        for (number, image) in document.images().enumerate() {
            if matches!(image.reference.media, Media::Frame { .. }) {
                report.leave_out("a frame of a clip");
                continue;
            }
            let Some(caption) = caption(document, &image.reference) else {
                report.leave_out("an image without caption or alternative text");
                continue;
            };
            let metadata = json!({
                "caption": caption,
                "url": image.reference.url.as_str(),
                "key": format!("{}{number:04}", document.id),
                "status": "success",
                "width": image.width_px,
                "height": image.height_px,
                "original_width": image.fetched_width_px,
                "original_height": image.fetched_height_px,
                "sha256": image.sha256_fetched.to_string(),
                "page_url": document.final_url.as_str(),
            });
            let extension = match image.format.as_str() {
                "jpeg" => "jpg",
                other => other,
            };
            self.0.add(
                &format!("{}{number:04}", document.id),
                &[
                    (extension, &image.bytes),
                    ("txt", caption.as_bytes()),
                    ("json", metadata.to_string().as_bytes()),
                ],
            )?;
            report.samples += 1;
        }
        Ok(())
    }

    fn finish(self: Box<Self>) -> Result<FileEntry, Error> {
        self.0.finish()
    }
}

/// What is said of an image: its caption, else its alternative text; in a document of one image
/// and one text, which is what a pair is, that text.
fn caption<'a>(document: &'a Document<Image>, image: &'a ImageRef) -> Option<&'a str> {
    let mut texts = document.texts();
    let only = texts.next().filter(|_| texts.next().is_none());
    let is_pair = document.images().nth(1).is_none();
    image
        .caption
        .as_deref()
        .or(only.filter(|_| is_pair).map(|text| text.content.as_str()))
        .or(image.alt.as_deref())
        .map(str::trim)
        .filter(|text| !text.is_empty())
}
