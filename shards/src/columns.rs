//! Small builders and readers of Arrow columns, shared by both durable forms.

use std::sync::Arc;

use arrow::array::{
    Array, ArrayRef, AsArray, BinaryBuilder, Float64Builder, ListArray, StringBuilder, StructArray,
    TimestampMillisecondBuilder,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{Fields, TimestampMillisecondType};
use arrow::error::ArrowError;
use m3w_document::ConsentSignal;

use crate::schema;

/// The offsets of a list column under construction.
///
/// Lists are built from their flattened items and these offsets, which is shorter and quicker
/// than Arrow's nested builders.
#[derive(Debug)]
pub(crate) struct Offsets(Vec<i32>);

impl Default for Offsets {
    fn default() -> Self {
        Self(vec![0])
    }
}

impl Offsets {
    /// Ends a list that holds the items up to `item_count`, counted over all lists.
    pub(crate) fn close(&mut self, item_count: usize) {
        // A batch holds a few rows; its items are counted in thousands.
        let end = i32::try_from(item_count).expect("a batch of rows has less than 2^31 items");
        self.0.push(end);
    }

    /// Ends a list of `length` items.
    pub(crate) fn close_after(&mut self, length: usize) {
        let start = self.0.last().copied().unwrap_or_default();
        self.close(start as usize + length);
    }

    /// The list column of these items; the offsets begin anew.
    pub(crate) fn finish(&mut self, items: ArrayRef) -> Result<ListArray, ArrowError> {
        std::mem::take(self).share(items)
    }

    /// The list column of these items, one of several with the same offsets.
    pub(crate) fn share(&self, items: ArrayRef) -> Result<ListArray, ArrowError> {
        ListArray::try_new(
            schema::element(items.data_type().clone()),
            OffsetBuffer::new(self.0.clone().into()),
            items,
            None,
        )
    }
}

/// A column of encoded pictures under construction: `list<struct<bytes, path>>`.
#[derive(Debug, Default)]
pub(crate) struct ImageColumn {
    bytes: BinaryBuilder,
    path: StringBuilder,
    present: Vec<bool>,
    offsets: Offsets,
}

impl ImageColumn {
    pub(crate) fn push(&mut self, name: &str, bytes: &[u8]) {
        self.bytes.append_value(bytes);
        self.path.append_value(name);
        self.present.push(true);
    }

    pub(crate) fn push_null(&mut self) {
        self.bytes.append_null();
        self.path.append_null();
        self.present.push(false);
    }

    pub(crate) fn close_row(&mut self) {
        self.offsets.close(self.present.len());
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let present = std::mem::take(&mut self.present);
        let items = StructArray::try_new(
            schema::image_fields(),
            vec![Arc::new(self.bytes.finish()), Arc::new(self.path.finish())],
            Some(NullBuffer::from(present)),
        )?;
        Ok(Arc::new(self.offsets.finish(Arc::new(items))?))
    }
}

/// A column `list<struct<channel, value>>` under construction.
#[derive(Debug, Default)]
pub(crate) struct ConsentColumn {
    channel: StringBuilder,
    value: StringBuilder,
    seen_at: TimestampMillisecondBuilder,
    offsets: Offsets,
}

impl ConsentColumn {
    pub(crate) fn push_row(&mut self, signals: &[ConsentSignal]) {
        for signal in signals {
            self.channel.append_value(&signal.channel);
            self.value.append_value(&signal.value);
            self.seen_at
                .append_option(signal.seen_at.map(|seconds| seconds.saturating_mul(1000)));
        }
        self.offsets.close_after(signals.len());
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let items = struct_of(
            schema::consent_fields(),
            vec![
                Arc::new(self.channel.finish()),
                Arc::new(self.value.finish()),
                Arc::new(self.seen_at.finish().with_timezone(schema::UTC)),
            ],
        )?;
        Ok(Arc::new(self.offsets.finish(items)?))
    }
}

/// A column `list<struct<name, value>>` under construction.
#[derive(Debug, Default)]
pub(crate) struct ScoreColumn {
    name: StringBuilder,
    value: Float64Builder,
    offsets: Offsets,
}

impl ScoreColumn {
    pub(crate) fn push_row<'s>(&mut self, scores: impl Iterator<Item = (&'s String, &'s f64)>) {
        let mut count = 0;
        for (name, value) in scores {
            self.name.append_value(name);
            self.value.append_value(*value);
            count += 1;
        }
        self.offsets.close_after(count);
    }

    pub(crate) fn finish(&mut self) -> Result<ArrayRef, ArrowError> {
        let items = struct_of(
            schema::score_fields(),
            vec![Arc::new(self.name.finish()), Arc::new(self.value.finish())],
        )?;
        Ok(Arc::new(self.offsets.finish(items)?))
    }
}

/// A struct column without nulls of its own.
pub(crate) fn struct_of(fields: Fields, children: Vec<ArrayRef>) -> Result<ArrayRef, ArrowError> {
    Ok(Arc::new(StructArray::try_new(fields, children, None)?))
}

/// What is wrong with a cell that a row needs.
pub(crate) type Problem = String;

/// The text in row `row`, if there is one.
pub(crate) fn text(column: &ArrayRef, row: usize) -> Option<&str> {
    let column = column.as_string::<i32>();
    column.is_valid(row).then(|| column.value(row))
}

/// The text in row `row`, which must be there.
pub(crate) fn required_text<'a>(
    column: &'a ArrayRef,
    row: usize,
    name: &str,
) -> Result<&'a str, Problem> {
    text(column, row).ok_or_else(|| format!("`{name}` is null"))
}

/// The parsed text in row `row`, if there is one.
pub(crate) fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(
    column: &ArrayRef,
    row: usize,
    name: &str,
) -> Result<Option<T>, Problem> {
    text(column, row)
        .map(|text| {
            text.parse()
                .map_err(|error| format!("`{name}` is `{text}`: {error}"))
        })
        .transpose()
}

/// The parsed text in row `row`, which must be there.
pub(crate) fn required<T: std::str::FromStr<Err: std::fmt::Display>>(
    column: &ArrayRef,
    row: usize,
    name: &str,
) -> Result<T, Problem> {
    parsed(column, row, name)?.ok_or_else(|| format!("`{name}` is null"))
}

/// The range of row `row`'s items among the flattened items of a list column.
pub(crate) fn items(column: &ArrayRef, row: usize) -> std::ops::Range<usize> {
    let offsets = column.as_list::<i32>().value_offsets();
    if column.is_null(row) {
        return 0..0;
    }
    offsets[row] as usize..offsets[row + 1] as usize
}

/// The flattened items of a list column.
pub(crate) fn values(column: &ArrayRef) -> &ArrayRef {
    column.as_list::<i32>().values()
}

/// The statements on reuse in row `row`.
pub(crate) fn consent(column: &ArrayRef, row: usize) -> Result<Vec<ConsentSignal>, Problem> {
    let signals = values(column).as_struct();
    items(column, row)
        .map(|index| {
            Ok(ConsentSignal {
                channel: required_text(signals.column(0), index, "consent.channel")?.to_owned(),
                value: required_text(signals.column(1), index, "consent.value")?.to_owned(),
                // Shards of earlier versions have no such column.
                seen_at: signals.columns().get(2).and_then(|times| {
                    let times = times.as_primitive::<TimestampMillisecondType>();
                    let is_known = times.is_valid(index);
                    is_known.then(|| times.value(index).div_euclid(1000))
                }),
            })
        })
        .collect()
}
