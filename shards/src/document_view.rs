//! A document of a shard, borrowed.

use std::ops::Range;

use arrow::array::{ArrayRef, AsArray, RecordBatch};
use m3w_document::DocumentId;

use crate::batch::EncodedPicture;
use crate::columns::{Problem, items, required, text, values};
use crate::document_rows::{MEDIA_FRAME, picture};
use crate::tokenize::Part;

/// The columns that windows are made of, in the order in which a view takes them.
pub(crate) const PATHS: &[&str] = &[
    "id",
    "images.list.element.bytes",
    "image_metadata.list.element.media",
    "image_metadata.list.element.video_url",
    "texts",
];

/// The same without texts, whose ids are known.
pub(crate) const PATHS_BUT_TEXTS: &[&str] = PATHS.split_at(PATHS.len() - 1).0;

/// What windows are made of: of a row of the `documents` form the texts and pictures.
pub(crate) struct DocumentView<'a> {
    pub(crate) id: DocumentId,
    images: &'a ArrayRef,
    image_items: Range<usize>,
    metadata: &'a ArrayRef,
    first_metadata: usize,
    texts: Option<(&'a ArrayRef, usize)>,
}

impl<'a> DocumentView<'a> {
    /// The document in row `row` of a batch with the columns [`PATHS`] or [`PATHS_BUT_TEXTS`].
    pub(crate) fn of(batch: &'a RecordBatch, row: usize) -> Result<Self, Problem> {
        let [id, images, metadata, texts @ ..] = batch.columns() else {
            return Err(format!("it has {} columns", batch.num_columns()));
        };
        let image_items = items(images, row);
        let texts = texts.first();
        for column in std::iter::once(metadata).chain(texts) {
            let count = items(column, row).len();
            if count != image_items.len() {
                return Err(format!(
                    "it has {} images and {count} texts or image metadata",
                    image_items.len()
                ));
            }
        }
        Ok(Self {
            id: required(id, row, "id")?,
            images: values(images),
            image_items,
            metadata: values(metadata),
            first_metadata: items(metadata, row).start,
            texts: texts.map(|texts| (values(texts), items(texts, row).start)),
        })
    }

    /// The elements in order, an image as its index; texts are empty where they were not read.
    pub(crate) fn parts(&self) -> Result<impl Iterator<Item = Part<'a, usize>>, Problem> {
        let metadata = self.metadata.as_struct();
        let [Some(media), Some(video)] =
            ["media", "video_url"].map(|name| metadata.column_by_name(name))
        else {
            return Err("its image metadata has no `media` and `video_url`".to_owned());
        };
        let parts = (0..self.image_items.len()).map(|index| {
            let item = self.first_metadata + index;
            let has_image = picture(self.images, self.image_items.start + index).is_some();
            let content = match self.texts {
                Some((texts, first)) => text(texts, first + index),
                None => (!has_image).then_some(""),
            };
            match (content, has_image) {
                (Some(content), false) => Ok(Part::Text(content)),
                (None, true) => {
                    let is_frame = text(media, item) == Some(MEDIA_FRAME);
                    let video = text(video, item).filter(|_| is_frame);
                    Ok(Part::Image(index, video))
                }
                _ => Err(format!(
                    "element {index}: exactly one of text and image must be set"
                )),
            }
        });
        Ok(parts.collect::<Result<Vec<_>, Problem>>()?.into_iter())
    }

    /// A copy of the picture of an element, so that it does not hold all those around it.
    pub(crate) fn picture(&self, index: usize) -> Result<EncodedPicture, Problem> {
        let bytes = picture(self.images, self.image_items.start + index)
            .ok_or_else(|| format!("element {index}: its image is null"))?;
        Ok(EncodedPicture::copied(bytes))
    }
}
