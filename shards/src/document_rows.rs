//! Documents as rows of the `documents` form, and back.

use std::sync::Arc;

use arrow::array::{
    ArrayRef, Int32Builder, Int64Builder, RecordBatch, StringBuilder, StructArray,
    TimestampMillisecondBuilder,
};
use arrow::buffer::NullBuffer;
use arrow::datatypes::SchemaRef;
use arrow::error::ArrowError;
use m3w_document::{Document, Element, Format, Image, Media};

use crate::columns::{ConsentColumn, ImageColumn, Offsets, Problem, ScoreColumn};
use crate::schema;
use crate::tokenize::image_name;

mod read;

pub(crate) use read::{document, picture, with_empty_pictures};

/// `status` of an image whose bytes are in the row.
const STORED: &str = "stored";
/// `media` of a picture that stands for itself.
const MEDIA_IMAGE: &str = "image";
/// `media` of the first frame of a moving picture.
const MEDIA_ANIMATION: &str = "animation";
/// `media` of a video's poster.
const MEDIA_VIDEO: &str = "video";
/// A frame of a clip in the column `media`; its time stands in the URL.
pub(crate) const MEDIA_FRAME: &str = "frame";

/// Rows of the `documents` form under construction.
#[derive(Debug, Default)]
pub(crate) struct DocumentColumns {
    id: StringBuilder,
    url: StringBuilder,
    final_url: StringBuilder,
    fetched_at: TimestampMillisecondBuilder,
    language: StringBuilder,
    title: StringBuilder,
    texts: StringBuilder,
    text_roles: StringBuilder,
    images: ImageColumn,
    image_metadata: ImageMetadataColumns,
    element_offsets: Offsets,
    scores: ScoreColumn,
    consent: ConsentColumn,
    warc_file: StringBuilder,
    warc_offset: Int64Builder,
    warc_length: Int64Builder,
    warc_present: Vec<bool>,
    elements: usize,
}

impl DocumentColumns {
    /// Adds a row; a document whose values the schema cannot hold is refused before anything of
    /// it is added.
    pub(crate) fn push(&mut self, document: &Document<Image>) -> Result<(), Problem> {
        check(document)?;
        self.id.append_value(document.id.to_string());
        self.url.append_value(document.url.as_str());
        self.final_url.append_value(document.final_url.as_str());
        self.fetched_at.append_option(
            document
                .fetched_at
                .map(|seconds| seconds.saturating_mul(1000)),
        );
        self.language.append_option(document.language.as_deref());
        self.title.append_option(document.title.as_deref());
        for element in &document.elements {
            match element {
                Element::Text(text) => {
                    self.texts.append_value(&text.content);
                    self.text_roles.append_value(text.role.as_str());
                    self.images.push_null();
                    self.image_metadata.push_null();
                }
                Element::Image(image) => {
                    self.texts.append_null();
                    self.text_roles.append_null();
                    self.images.push(&image_name(image), &image.bytes);
                    self.image_metadata.push(image);
                }
            }
        }
        self.elements += document.elements.len();
        self.images.close_row();
        self.element_offsets.close(self.elements);
        self.scores.push_row(document.scores.iter());
        self.consent.push_row(&document.consent);
        let warc = document.warc.as_ref();
        self.warc_file
            .append_option(warc.map(|location| location.file.as_str()));
        self.warc_offset
            .append_option(warc.map(|location| location.offset as i64));
        self.warc_length
            .append_option(warc.map(|location| location.length as i64));
        self.warc_present.push(warc.is_some());
        Ok(())
    }

    /// The rows so far, as one batch; the builders are empty again.
    pub(crate) fn finish(&mut self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        self.elements = 0;
        let element_offsets = std::mem::take(&mut self.element_offsets);
        let list_of = |items: ArrayRef| -> Result<ArrayRef, ArrowError> {
            Ok(Arc::new(element_offsets.share(items)?))
        };
        let warc = StructArray::try_new(
            schema::warc_fields(),
            vec![
                Arc::new(self.warc_file.finish()),
                Arc::new(self.warc_offset.finish()),
                Arc::new(self.warc_length.finish()),
            ],
            Some(NullBuffer::from(std::mem::take(&mut self.warc_present))),
        )?;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.id.finish()),
            Arc::new(self.url.finish()),
            Arc::new(self.final_url.finish()),
            Arc::new(self.fetched_at.finish().with_timezone(schema::UTC)),
            Arc::new(self.language.finish()),
            Arc::new(self.title.finish()),
            list_of(Arc::new(self.texts.finish()))?,
            list_of(Arc::new(self.text_roles.finish()))?,
            self.images.finish()?,
            list_of(self.image_metadata.finish()?)?,
            self.scores.finish()?,
            self.consent.finish()?,
            Arc::new(warc),
        ];
        RecordBatch::try_new(Arc::clone(schema), columns)
    }
}

/// What the schema cannot hold of a document.
fn check(document: &Document<Image>) -> Result<(), Problem> {
    for image in document.images() {
        let reference = &image.reference;
        let sizes = [
            Some(image.width_px),
            Some(image.height_px),
            Some(image.fetched_width_px),
            Some(image.fetched_height_px),
            reference.declared_width_px,
            reference.declared_height_px,
        ];
        if let Some(size) = sizes
            .into_iter()
            .flatten()
            .find(|size| *size > i32::MAX as u32)
        {
            return Err(format!(
                "an image of {} has a side of {size} pixels, more than a row can hold",
                document.id
            ));
        }
    }
    if let Some(warc) = &document.warc
        && (i64::try_from(warc.offset).is_err() || i64::try_from(warc.length).is_err())
    {
        return Err(format!(
            "the place of {} in its WARC file is no 63-bit number",
            document.id
        ));
    }
    Ok(())
}

/// The column `image_metadata` under construction.
#[derive(Debug, Default)]
struct ImageMetadataColumns {
    url: StringBuilder,
    alternatives: StringBuilder,
    alternative_offsets: Offsets,
    alt: StringBuilder,
    title: StringBuilder,
    caption: StringBuilder,
    declared_width: Int32Builder,
    declared_height: Int32Builder,
    width: Int32Builder,
    height: Int32Builder,
    fetched_width: Int32Builder,
    fetched_height: Int32Builder,
    format: StringBuilder,
    sha256_fetched: StringBuilder,
    sha256_stored: StringBuilder,
    dhash: StringBuilder,
    link: StringBuilder,
    media: StringBuilder,
    video_url: StringBuilder,
    consent: ConsentColumn,
    status: StringBuilder,
    fetched_format: StringBuilder,
    scores: ScoreColumn,
    present: Vec<bool>,
}

impl ImageMetadataColumns {
    fn push(&mut self, image: &Image) {
        let reference = &image.reference;
        let (media, video_url) = match &reference.media {
            Media::Image => (MEDIA_IMAGE, None),
            Media::Animation => (MEDIA_ANIMATION, None),
            Media::Video { source } => (MEDIA_VIDEO, source.as_ref()),
            Media::Frame { source } => (MEDIA_FRAME, Some(source)),
        };
        self.url.append_value(reference.url.as_str());
        for url in &reference.alternatives {
            self.alternatives.append_value(url.as_str());
        }
        self.alternative_offsets
            .close_after(reference.alternatives.len());
        self.alt.append_option(reference.alt.as_deref());
        self.title.append_option(reference.title.as_deref());
        self.caption.append_option(reference.caption.as_deref());
        // `check` has refused sizes that do not fit.
        let size = |pixels: u32| pixels as i32;
        self.declared_width
            .append_option(reference.declared_width_px.map(size));
        self.declared_height
            .append_option(reference.declared_height_px.map(size));
        self.width.append_value(size(image.width_px));
        self.height.append_value(size(image.height_px));
        self.fetched_width
            .append_value(size(image.fetched_width_px));
        self.fetched_height
            .append_value(size(image.fetched_height_px));
        self.format.append_value(image.format.as_str());
        self.sha256_fetched
            .append_value(image.sha256_fetched.to_string());
        self.sha256_stored
            .append_value(image.sha256_stored.to_string());
        self.dhash.append_value(format!("{:016x}", image.dhash));
        self.link
            .append_option(reference.link.as_ref().map(url::Url::as_str));
        self.media.append_value(media);
        self.video_url
            .append_option(video_url.map(url::Url::as_str));
        self.consent.push_row(&image.consent);
        self.status.append_value(STORED);
        self.fetched_format
            .append_option(image.fetched_format.map(Format::as_str));
        self.scores.push_row(image.scores.iter());
        self.present.push(true);
    }

    fn push_null(&mut self) {
        let texts = [
            &mut self.url,
            &mut self.alt,
            &mut self.title,
            &mut self.caption,
            &mut self.format,
            &mut self.sha256_fetched,
            &mut self.sha256_stored,
            &mut self.dhash,
            &mut self.link,
            &mut self.media,
            &mut self.video_url,
            &mut self.status,
            &mut self.fetched_format,
        ];
        for column in texts {
            column.append_null();
        }
        let sizes = [
            &mut self.declared_width,
            &mut self.declared_height,
            &mut self.width,
            &mut self.height,
            &mut self.fetched_width,
            &mut self.fetched_height,
        ];
        for column in sizes {
            column.append_null();
        }
        self.alternative_offsets.close_after(0);
        self.consent.push_row(&[]);
        self.scores.push_row(std::iter::empty());
        self.present.push(false);
    }

    fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let alternatives = self
            .alternative_offsets
            .finish(Arc::new(self.alternatives.finish()))?;
        // The order of `schema::image_metadata_fields`.
        let children: Vec<ArrayRef> = vec![
            Arc::new(self.url.finish()),
            Arc::new(alternatives),
            Arc::new(self.alt.finish()),
            Arc::new(self.title.finish()),
            Arc::new(self.caption.finish()),
            Arc::new(self.declared_width.finish()),
            Arc::new(self.declared_height.finish()),
            Arc::new(self.width.finish()),
            Arc::new(self.height.finish()),
            Arc::new(self.fetched_width.finish()),
            Arc::new(self.fetched_height.finish()),
            Arc::new(self.format.finish()),
            Arc::new(self.sha256_fetched.finish()),
            Arc::new(self.sha256_stored.finish()),
            Arc::new(self.dhash.finish()),
            Arc::new(self.link.finish()),
            Arc::new(self.media.finish()),
            Arc::new(self.video_url.finish()),
            self.consent.finish()?,
            Arc::new(self.status.finish()),
            Arc::new(self.fetched_format.finish()),
            self.scores.finish()?,
        ];
        Ok(Arc::new(StructArray::try_new(
            schema::image_metadata_fields(),
            children,
            Some(NullBuffer::from(std::mem::take(&mut self.present))),
        )?))
    }
}
