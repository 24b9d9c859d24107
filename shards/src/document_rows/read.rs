//! Rows of the `documents` form as documents.

use std::collections::BTreeMap;
use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryArray, ListArray, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{
    DataType, Float64Type, Int32Type, Int64Type, Schema, TimestampMillisecondType,
};
use arrow::error::ArrowError;
use m3w_document::{
    Document, Element, Format, Image, ImageRef, Media, Text, TextRole, WarcLocation,
};

use super::{MEDIA_ANIMATION, MEDIA_FRAME, MEDIA_IMAGE, MEDIA_VIDEO};
use crate::columns::{Problem, consent, items, parsed, required, required_text, text, values};
use crate::schema;

/// The document in row `row` of a batch whose columns have the types of
/// [`schema::documents_schema`] and stand in its order.
pub(crate) fn document(batch: &RecordBatch, row: usize) -> Result<Document<Image>, Problem> {
    let [
        id,
        url,
        final_url,
        fetched_at,
        language,
        title,
        texts,
        text_roles,
        images,
        image_metadata,
        scores,
        consents,
        warc,
    ] = batch.columns()
    else {
        return Err(format!("it has {} columns", batch.num_columns()));
    };
    let fetched_at = fetched_at.as_primitive::<TimestampMillisecondType>();
    let elements = items(texts, row);
    let lengths = [text_roles, images, image_metadata].map(|column| items(column, row).len());
    if lengths != [elements.len(); 3] {
        return Err(format!(
            "it has {} texts and {lengths:?} text roles, images and image metadata",
            elements.len()
        ));
    }
    let first_role = items(text_roles, row).start;
    let first_image = items(images, row).start;
    let first_metadata = items(image_metadata, row).start;
    let elements = elements
        .enumerate()
        .map(|(index, text_index)| {
            element(
                text(values(texts), text_index),
                text(values(text_roles), first_role + index),
                picture(values(images), first_image + index),
                (values(image_metadata), first_metadata + index),
            )
            .map_err(|problem| format!("element {index}: {problem}"))
        })
        .collect::<Result<_, Problem>>()?;
    Ok(Document {
        id: required(id, row, "id")?,
        url: required(url, row, "url")?,
        final_url: required(final_url, row, "final_url")?,
        fetched_at: fetched_at
            .is_valid(row)
            .then(|| fetched_at.value(row).div_euclid(1000)),
        language: text(language, row).map(str::to_owned),
        title: text(title, row).map(str::to_owned),
        elements,
        scores: scores_of(scores, row)?,
        consent: consent(consents, row)?,
        warc: warc_of(warc, row)?,
    })
}

fn scores_of(column: &ArrayRef, row: usize) -> Result<BTreeMap<String, f64>, Problem> {
    let scores = values(column).as_struct();
    items(column, row)
        .map(|index| {
            let name = required_text(scores.column(0), index, "scores.name")?;
            let value = scores.column(1).as_primitive::<Float64Type>().value(index);
            Ok((name.to_owned(), value))
        })
        .collect()
}

fn warc_of(column: &ArrayRef, row: usize) -> Result<Option<WarcLocation>, Problem> {
    if column.is_null(row) {
        return Ok(None);
    }
    let warc = column.as_struct();
    let number = |child: usize, name: &str| {
        let value = warc.column(child).as_primitive::<Int64Type>().value(row);
        u64::try_from(value).map_err(|_| format!("`warc.{name}` is {value}"))
    };
    Ok(Some(WarcLocation {
        file: required_text(warc.column(0), row, "warc.file")?.to_owned(),
        offset: number(1, "offset")?,
        length: number(2, "length")?,
    }))
}

/// A batch without the column `images` with one in its place whose pictures have no bytes.
pub(crate) fn with_empty_pictures(batch: &RecordBatch) -> Result<RecordBatch, Problem> {
    let [before @ .., scores, consents, warc] = batch.columns() else {
        return Err(format!("it has {} columns", batch.num_columns()));
    };
    let Some((metadata, before)) = before.split_last() else {
        return Err(format!("it has {} columns", batch.num_columns()));
    };
    let metadata_items = values(metadata);
    let length = metadata_items.len();
    let empty = BinaryArray::from_iter_values(std::iter::repeat_n([], length));
    let pictures = StructArray::try_new(
        schema::image_fields(),
        vec![Arc::new(empty), Arc::new(StringArray::new_null(length))],
        metadata_items.logical_nulls(),
    );
    let lists = metadata.as_list::<i32>();
    let build = || {
        let images = ListArray::try_new(
            schema::element(DataType::Struct(schema::image_fields())),
            lists.offsets().clone(),
            Arc::new(pictures?),
            lists.nulls().cloned(),
        )?;
        let mut columns = before.to_vec();
        columns.push(Arc::new(images));
        columns.extend([metadata, scores, consents, warc].map(Arc::clone));
        // Structs of earlier versions have fewer fields.
        let schema = schema::documents_schema();
        let fields = schema.fields().iter().zip(&columns).map(|(field, column)| {
            let field = field.as_ref().clone();
            field.with_data_type(column.data_type().clone())
        });
        let schema = Schema::new(fields.collect::<Vec<_>>());
        RecordBatch::try_new(Arc::new(schema), columns)
    };
    build().map_err(|error: ArrowError| error.to_string())
}

/// The bytes of a picture in a flattened column, if there is one.
pub(crate) fn picture(column: &ArrayRef, index: usize) -> Option<&[u8]> {
    let column = column.as_struct();
    let bytes = column.column(0);
    if !(column.is_valid(index) && bytes.is_valid(index)) {
        return None;
    }
    // The loader reads views, which are parts of what was read from the file.
    Some(match bytes.as_binary_view_opt() {
        Some(views) => views.value(index),
        None => bytes.as_binary::<i32>().value(index),
    })
}

fn element(
    content: Option<&str>,
    role: Option<&str>,
    bytes: Option<&[u8]>,
    (metadata, index): (&ArrayRef, usize),
) -> Result<Element<Image>, Problem> {
    match (content, bytes) {
        (Some(content), None) => {
            let name = role.ok_or("its role is null")?;
            let role = TextRole::from_name(name).ok_or_else(|| format!("its role is `{name}`"))?;
            Ok(Element::Text(Text::new(role, content)))
        }
        (None, Some(bytes)) => image(bytes, metadata, index).map(Element::Image),
        (Some(_), Some(_)) => Err("both a text and an image are set".to_owned()),
        (None, None) => Err("neither a text nor an image is set".to_owned()),
    }
}

fn image(bytes: &[u8], metadata: &ArrayRef, index: usize) -> Result<Image, Problem> {
    if metadata.is_null(index) {
        return Err("its metadata is null".to_owned());
    }
    let [
        url,
        alternatives,
        alt,
        title,
        caption,
        declared_width,
        declared_height,
        width,
        height,
        fetched_width,
        fetched_height,
        format,
        sha256_fetched,
        sha256_stored,
        dhash,
        link,
        media,
        video_url,
        consents,
        _status,
        added @ ..,
    ] = metadata.as_struct().columns()
    else {
        return Err("its metadata has other fields".to_owned());
    };
    let owned = |column| text(column, index).map(str::to_owned);
    let size = |column: &ArrayRef, name: &str| -> Result<Option<u32>, Problem> {
        let column = column.as_primitive::<Int32Type>();
        column
            .is_valid(index)
            .then(|| {
                let pixels = column.value(index);
                u32::try_from(pixels).map_err(|_| format!("`{name}` is {pixels}"))
            })
            .transpose()
    };
    let required_size =
        |column, name: &str| size(column, name)?.ok_or_else(|| format!("`{name}` is null"));
    let format = required_text(format, index, "format")?;
    let dhash = required_text(dhash, index, "dhash")?;
    let media = match required_text(media, index, "media")? {
        MEDIA_IMAGE => Media::Image,
        MEDIA_ANIMATION => Media::Animation,
        MEDIA_VIDEO => Media::Video {
            source: parsed(video_url, index, "video_url")?,
        },
        MEDIA_FRAME => Media::Frame {
            source: required(video_url, index, "video_url")?,
        },
        other => return Err(format!("`media` is `{other}`")),
    };
    Ok(Image {
        reference: ImageRef {
            url: required(url, index, "url")?,
            alternatives: items(alternatives, index)
                .map(|item| required(values(alternatives), item, "alternatives"))
                .collect::<Result<_, _>>()?,
            alt: owned(alt),
            title: owned(title),
            caption: owned(caption),
            declared_width_px: size(declared_width, "declared_width")?,
            declared_height_px: size(declared_height, "declared_height")?,
            link: parsed(link, index, "link")?,
            media,
        },
        bytes: Arc::from(bytes),
        format: Format::from_name(format).ok_or_else(|| format!("`format` is `{format}`"))?,
        width_px: required_size(width, "width")?,
        height_px: required_size(height, "height")?,
        fetched_width_px: required_size(fetched_width, "fetched_width")?,
        fetched_height_px: required_size(fetched_height, "fetched_height")?,
        sha256_fetched: required(sha256_fetched, index, "sha256_fetched")?,
        sha256_stored: required(sha256_stored, index, "sha256_stored")?,
        dhash: u64::from_str_radix(dhash, 16).map_err(|_| format!("`dhash` is `{dhash}`"))?,
        consent: consent(consents, index)?,
        fetched_format: added
            .first()
            .and_then(|column| text(column, index))
            .and_then(Format::from_name),
        scores: match added.get(1) {
            Some(column) => scores_of(column, index)?,
            None => BTreeMap::new(),
        },
    })
}
