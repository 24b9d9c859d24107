//! Training rows as rows of the `sequences` form, and back.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, FixedSizeListArray, Float32Builder, Int32Builder, Int64Builder,
    RecordBatch, StringBuilder, UInt8Builder, UInt32Array,
};
use arrow::datatypes::{
    DataType, Float32Type, Int32Type, Int64Type, SchemaRef, UInt8Type, UInt32Type,
};
use arrow::error::ArrowError;

use crate::batch::EncodedPicture;
use crate::columns::{ImageColumn, Offsets, Problem, items, parsed, required_text, text, values};
use crate::document_rows::picture;
use crate::rows::{SequenceImage, SequenceRow, row_problem};

/// Rows of the `sequences` form under construction.
#[derive(Debug, Default)]
pub(crate) struct SequenceColumns {
    id: StringBuilder,
    source: StringBuilder,
    tokens: Vec<u32>,
    token_count: Int32Builder,
    images: ImageColumn,
    frames_per_image: UInt8Builder,
    image_offsets: Offsets,
    frame_times: Float32Builder,
    frame_offsets: Offsets,
    document_id: StringBuilder,
    window_start: Int64Builder,
    text: StringBuilder,
}

impl SequenceColumns {
    /// Adds a row that keeps the promises of [`SequenceRow`].
    pub(crate) fn push(&mut self, row: &SequenceRow) -> Result<(), Problem> {
        let window_start = i64::try_from(row.window_start)
            .map_err(|_| format!("its window starts at {}", row.window_start))?;
        let token_count = i32::try_from(row.token_count)
            .map_err(|_| format!("it has {} tokens", row.token_count))?;
        self.id.append_value(&row.id);
        self.source.append_value(&row.source);
        self.tokens.extend_from_slice(&row.tokens);
        self.token_count.append_value(token_count);
        for image in &row.images {
            self.images.push(&image.name, &image.bytes);
        }
        self.images.close_row();
        self.frames_per_image.append_slice(&row.frames_per_image);
        self.image_offsets.close_after(row.frames_per_image.len());
        self.frame_times.append_slice(&row.frame_times);
        self.frame_offsets.close_after(row.frame_times.len());
        self.document_id
            .append_option(row.document_id.map(|id| id.to_string()));
        self.window_start.append_value(window_start);
        self.text.append_value(&row.text);
        Ok(())
    }

    /// The rows so far, as one batch; the builders are empty again.
    pub(crate) fn finish(&mut self, schema: &SchemaRef) -> Result<RecordBatch, ArrowError> {
        let DataType::FixedSizeList(token, length) = schema.field_with_name("tokens")?.data_type()
        else {
            return Err(ArrowError::SchemaError("tokens are no list".to_owned()));
        };
        let tokens = UInt32Array::from(std::mem::take(&mut self.tokens));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.id.finish()),
            Arc::new(self.source.finish()),
            Arc::new(FixedSizeListArray::try_new(
                Arc::clone(token),
                *length,
                Arc::new(tokens),
                None,
            )?),
            Arc::new(self.token_count.finish()),
            self.images.finish()?,
            Arc::new(
                self.image_offsets
                    .finish(Arc::new(self.frames_per_image.finish()))?,
            ),
            Arc::new(
                self.frame_offsets
                    .finish(Arc::new(self.frame_times.finish()))?,
            ),
            Arc::new(self.document_id.finish()),
            Arc::new(self.window_start.finish()),
            Arc::new(self.text.finish()),
        ];
        RecordBatch::try_new(Arc::clone(schema), columns)
    }
}

/// A row that was not read from a shard but made of a document.
#[derive(Debug)]
pub(crate) struct DrawnRow {
    pub(crate) id: String,
    /// L ids, padded at the end.
    pub(crate) tokens: Vec<u32>,
    pub(crate) token_count: usize,
    pub(crate) frames_per_image: Vec<u8>,
    /// All frames of all images.
    pub(crate) pictures: Vec<EncodedPicture>,
}

/// A row, borrowed: what the loader needs without copying pictures.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RowView<'a> {
    pub(crate) id: &'a str,
    pub(crate) tokens: &'a [u32],
    pub(crate) token_count: usize,
    pub(crate) frames_per_image: &'a [u8],
    pictures: Pictures<'a>,
}

/// The frames of all images of a row.
#[derive(Debug, Clone, Copy)]
enum Pictures<'a> {
    /// So many items of a column from the first on.
    Column(&'a ArrayRef, usize, usize),
    Drawn(&'a [EncodedPicture]),
}

impl Pictures<'_> {
    fn len(&self) -> usize {
        match self {
            Self::Column(_, _, count) => *count,
            Self::Drawn(pictures) => pictures.len(),
        }
    }
}

/// The columns of a shard that a view takes, in its order.
pub(crate) const ROW_PATHS: &[&str] = &[
    "id",
    "tokens",
    "token_count",
    "images.list.element.bytes",
    "frames_per_image",
];

impl<'a> RowView<'a> {
    /// The row `row` of a batch with the columns [`ROW_PATHS`], with the promises of
    /// [`SequenceRow`] checked.
    pub(crate) fn of(batch: &'a RecordBatch, row: usize, image_id: u32) -> Result<Self, Problem> {
        let [id, tokens, token_count, images, frames_per_image] = batch.columns() else {
            return Err(format!("it has {} columns", batch.num_columns()));
        };
        Self::of_columns(
            [id, tokens, token_count, images, frames_per_image],
            row,
            image_id,
        )
    }

    fn of_columns(
        [id, tokens, token_count, images, frames_per_image]: [&'a ArrayRef; 5],
        row: usize,
        image_id: u32,
    ) -> Result<Self, Problem> {
        let token_list = tokens.as_fixed_size_list();
        let all_tokens = token_list.values().as_primitive::<UInt32Type>();
        let counts = token_count.as_primitive::<Int32Type>();
        if tokens.is_null(row) || all_tokens.null_count() > 0 || counts.is_null(row) {
            return Err("its tokens are null".to_owned());
        }
        let length = token_list.value_length() as usize;
        let first = token_list.value_offset_at(row);
        let frames = items(images, row);
        let view = Self {
            id: required_text(id, row, "id")?,
            tokens: &all_tokens.values()[first..first + length],
            token_count: usize::try_from(counts.value(row))
                .map_err(|_| format!("`token_count` is {}", counts.value(row)))?,
            frames_per_image: &values(frames_per_image)
                .as_primitive::<UInt8Type>()
                .values()[items(frames_per_image, row)],
            pictures: Pictures::Column(values(images), frames.start, frames.len()),
        };
        view.checked(image_id)
    }

    /// A row that was drawn, with the same promises checked.
    pub(crate) fn of_drawn(row: &'a DrawnRow, image_id: u32) -> Result<Self, Problem> {
        let view = Self {
            id: &row.id,
            tokens: &row.tokens,
            token_count: row.token_count,
            frames_per_image: &row.frames_per_image,
            pictures: Pictures::Drawn(&row.pictures),
        };
        view.checked(image_id)
    }

    fn checked(self, image_id: u32) -> Result<Self, Problem> {
        let problem = row_problem(
            self.tokens,
            self.token_count,
            self.frames_per_image,
            self.pictures.len(),
            image_id,
        );
        problem.map_or(Ok(self), Err)
    }

    /// The encoded picture of frame `frame`, counted over all images of the row.
    fn frame(&self, frame: usize) -> Result<&'a [u8], Problem> {
        match self.pictures {
            Pictures::Column(images, first, _) => picture(images, first + frame),
            Pictures::Drawn(pictures) => pictures.get(frame).map(|picture| &**picture),
        }
        .ok_or_else(|| format!("picture {frame} is null"))
    }

    /// The same without a copy and without a tie to the batch.
    pub(crate) fn encoded_frame(&self, frame: usize) -> Result<EncodedPicture, Problem> {
        let bytes = self.frame(frame)?;
        match self.pictures {
            Pictures::Column(images, ..) => Ok(EncodedPicture::part_of(images, bytes)),
            Pictures::Drawn(pictures) => Ok(pictures[frame].clone()),
        }
    }
}

/// The row `row` of a batch whose columns have the types of [`crate::sequences_schema`] and stand
/// in its order, as [`RowView::of`] but whole.
pub(crate) fn sequence(
    batch: &RecordBatch,
    row: usize,
    image_id: u32,
) -> Result<SequenceRow, Problem> {
    let [
        id,
        source,
        tokens,
        token_count,
        images,
        frames_per_image,
        frame_times,
        document_id,
        window_start,
        spelt,
    ] = batch.columns()
    else {
        return Err(format!("it has {} columns", batch.num_columns()));
    };
    let view = RowView::of_columns(
        [id, tokens, token_count, images, frames_per_image],
        row,
        image_id,
    )?;
    let first_frame = items(images, row).start;
    let names = values(images).as_struct().column(1);
    let window_start = window_start.as_primitive::<Int64Type>().value(row);
    let row = SequenceRow {
        id: view.id.to_owned(),
        source: required_text(source, row, "source")?.to_owned(),
        tokens: view.tokens.to_vec(),
        token_count: view.token_count,
        images: (0..view.pictures.len())
            .map(|frame| {
                Ok(SequenceImage {
                    name: text(names, first_frame + frame)
                        .unwrap_or_default()
                        .to_owned(),
                    bytes: Arc::from(view.frame(frame)?),
                })
            })
            .collect::<Result<_, Problem>>()?,
        frames_per_image: view.frames_per_image.to_vec(),
        frame_times: values(frame_times).as_primitive::<Float32Type>().values()
            [items(frame_times, row)]
        .to_vec(),
        document_id: parsed(document_id, row, "document_id")?,
        window_start: u64::try_from(window_start)
            .map_err(|_| format!("`window_start` is {window_start}"))?,
        text: required_text(spelt, row, "text")?.to_owned(),
    };
    match row.problem(view.tokens.len(), image_id) {
        Some(problem) => Err(problem),
        None => Ok(row),
    }
}
