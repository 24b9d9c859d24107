//! The two durable forms, column by column.
//!
//! Every field, list item and struct child is nullable: a stricter schema is silently ignored by
//! Hugging Face `datasets`, which would then leave images as plain bytes. What may not be null is
//! checked by our own reader and writer.

use std::sync::Arc;

use arrow::datatypes::{DataType, Field, FieldRef, Fields, Schema, TimeUnit};
use serde_json::{Value, json};

/// Version of both schemas. A reader takes this version and older ones; a column that is added
/// does not change it, a column that changes its type or meaning does.
pub const SCHEMA_VERSION: u32 = 1;

/// Key of the schema version in a shard's metadata.
pub(crate) const SCHEMA_VERSION_KEY: &str = "m3w.schema_version";
/// Key of the kind of shard: `documents` or `sequences`.
pub(crate) const KIND_KEY: &str = "m3w.kind";
/// Key of the seed of the run.
pub(crate) const SEED_KEY: &str = "m3w.seed";
/// Key of the hash of the tokenizer's file.
pub(crate) const TOKENIZER_KEY: &str = "m3w.tokenizer_sha256";
/// Key of the special ids, as JSON.
pub(crate) const SPECIAL_IDS_KEY: &str = "m3w.special_ids";
/// Key of the number of rows that an embedding table needs.
pub(crate) const VOCABULARY_SIZE_KEY: &str = "m3w.vocabulary_size";
/// Key of L.
pub(crate) const SEQUENCE_LENGTH_KEY: &str = "m3w.sequence_length";
/// Key of N.
pub(crate) const IMAGES_PER_SEQUENCE_KEY: &str = "m3w.images_per_sequence";
/// Key under which `datasets` looks for the features.
pub(crate) const FEATURES_KEY: &str = "huggingface";

/// Kind of a shard of documents.
pub(crate) const DOCUMENTS: &str = "documents";
/// Kind of a shard of sequences.
pub(crate) const SEQUENCES: &str = "sequences";

/// Fields at the end of structs that shards of the first releases of this version do not have.
const ADDED: [&str; 3] = ["fetched_format", "scores", "seen_at"];

/// Time zone of timestamps.
pub(crate) const UTC: &str = "UTC";

fn field(name: &str, data_type: DataType) -> Field {
    Field::new(name, data_type, true)
}

fn text(name: &str) -> Field {
    field(name, DataType::Utf8)
}

/// The item field of a list; `element` is the name the Parquet format prescribes.
pub(crate) fn element(data_type: DataType) -> FieldRef {
    Arc::new(field("element", data_type))
}

fn list(name: &str, item: DataType) -> Field {
    field(name, DataType::List(element(item)))
}

/// An encoded picture, in the order of fields that `datasets` expects.
pub(crate) fn image_fields() -> Fields {
    Fields::from(vec![field("bytes", DataType::Binary), text("path")])
}

/// What is known of an image besides its bytes.
pub(crate) fn image_metadata_fields() -> Fields {
    Fields::from(vec![
        text("url"),
        list("alternatives", DataType::Utf8),
        text("alt"),
        text("title"),
        text("caption"),
        field("declared_width", DataType::Int32),
        field("declared_height", DataType::Int32),
        field("width", DataType::Int32),
        field("height", DataType::Int32),
        field("fetched_width", DataType::Int32),
        field("fetched_height", DataType::Int32),
        text("format"),
        text("sha256_fetched"),
        text("sha256_stored"),
        text("dhash"),
        text("link"),
        text("media"),
        text("video_url"),
        list("consent", DataType::Struct(consent_fields())),
        text("status"),
        text("fetched_format"),
        list("scores", DataType::Struct(score_fields())),
    ])
}

/// A filter's measured value.
pub(crate) fn score_fields() -> Fields {
    Fields::from(vec![text("name"), field("value", DataType::Float64)])
}

/// A statement on reuse.
pub(crate) fn consent_fields() -> Fields {
    Fields::from(vec![
        text("channel"),
        text("value"),
        field(
            "seen_at",
            DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into())),
        ),
    ])
}

/// Place of a page's record in a WARC file.
pub(crate) fn warc_fields() -> Fields {
    Fields::from(vec![
        text("file"),
        field("offset", DataType::Int64),
        field("length", DataType::Int64),
    ])
}

/// The same without the column of pictures' bytes.
pub(crate) fn documents_schema_without_pictures() -> Schema {
    let whole = documents_schema();
    let fields = whole
        .fields()
        .iter()
        .filter(|field| field.name() != "images");
    Schema::new(fields.cloned().collect::<Vec<_>>())
}

/// The `documents` form: a page, whole.
///
/// Exactly one of `texts[i]`, `images[i]` is set; `text_roles[i]` is set with the text and
/// `image_metadata[i]` with the image.
#[must_use]
pub fn documents_schema() -> Schema {
    Schema::new(vec![
        text("id"),
        text("url"),
        text("final_url"),
        field(
            "fetched_at",
            DataType::Timestamp(TimeUnit::Millisecond, Some(UTC.into())),
        ),
        text("language"),
        text("title"),
        list("texts", DataType::Utf8),
        list("text_roles", DataType::Utf8),
        list("images", DataType::Struct(image_fields())),
        list("image_metadata", DataType::Struct(image_metadata_fields())),
        list("scores", DataType::Struct(score_fields())),
        list("consent", DataType::Struct(consent_fields())),
        field("warc", DataType::Struct(warc_fields())),
    ])
}

/// The `sequences` form: a training row of `sequence_length` tokens.
#[must_use]
pub fn sequences_schema(sequence_length: usize) -> Schema {
    Schema::new(vec![
        text("id"),
        text("source"),
        field(
            "tokens",
            // Validated configurations keep L far below the limit.
            DataType::FixedSizeList(
                element(DataType::UInt32),
                i32::try_from(sequence_length).unwrap_or(i32::MAX),
            ),
        ),
        field("token_count", DataType::Int32),
        list("images", DataType::Struct(image_fields())),
        list("frames_per_image", DataType::UInt8),
        list("frame_times", DataType::Float32),
        text("document_id"),
        field("window_start", DataType::Int64),
        text("text"),
    ])
}

/// The value of the `huggingface` key: the schema as `datasets` features.
pub(crate) fn features_json(schema: &Schema) -> String {
    let features = object(schema.fields());
    json!({"info": {"features": features}}).to_string()
}

fn object(fields: &Fields) -> Value {
    Value::Object(
        fields
            .iter()
            .map(|field| (field.name().clone(), feature(field.data_type())))
            .collect(),
    )
}

fn feature(data_type: &DataType) -> Value {
    let value = |dtype: &str| json!({"dtype": dtype, "_type": "Value"});
    match data_type {
        DataType::Struct(fields) if *fields == image_fields() => json!({"_type": "Image"}),
        DataType::Struct(fields) => object(fields),
        // The spelling `[...]` is read by `datasets` 3 to 5; `{"_type": "List"}` only from 4 on.
        DataType::List(item) => json!([feature(item.data_type())]),
        DataType::FixedSizeList(item, length) => json!({
            "feature": feature(item.data_type()),
            "length": length,
            "_type": "Sequence",
        }),
        DataType::Timestamp(..) => value("timestamp[ms, tz=UTC]"),
        DataType::Binary => value("binary"),
        DataType::Int32 => value("int32"),
        DataType::Int64 => value("int64"),
        DataType::UInt8 => value("uint8"),
        DataType::UInt32 => value("uint32"),
        DataType::Float32 => value("float32"),
        DataType::Float64 => value("float64"),
        _ => value("string"),
    }
}

/// The schema of a file with the pictures' bytes as views.
pub(crate) fn with_picture_views(schema: &Schema) -> Schema {
    let fields = schema.fields().iter().map(|field| {
        if field.name() != "images" {
            return field.as_ref().clone();
        }
        let DataType::List(item) = field.data_type() else {
            return field.as_ref().clone();
        };
        let DataType::Struct(parts) = item.data_type() else {
            return field.as_ref().clone();
        };
        let viewed = parts.iter().map(|part| match part.data_type() {
            DataType::Binary => part.as_ref().clone().with_data_type(DataType::BinaryView),
            _ => part.as_ref().clone(),
        });
        let parts = DataType::Struct(viewed.collect());
        let item = item.as_ref().clone().with_data_type(parts);
        let list = DataType::List(Arc::new(item));
        field.as_ref().clone().with_data_type(list)
    });
    Schema::new_with_metadata(fields.collect::<Fields>(), schema.metadata().clone())
}

/// The first way in which `found` cannot stand for `expected`; further columns are no difference.
pub(crate) fn difference(expected: &Schema, found: &Schema) -> Option<String> {
    expected.fields().iter().find_map(|field| {
        let Some((_, other)) = found.column_with_name(field.name()) else {
            return Some(format!("it has no column `{}`", field.name()));
        };
        (!same_type(field.data_type(), other.data_type())).then(|| {
            format!(
                "its column `{}` is {}, not {}",
                field.name(),
                other.data_type(),
                field.data_type()
            )
        })
    })
}

/// Whether two types are the same but for nullability and for the names of list items, which
/// other writers choose differently.
fn same_type(expected: &DataType, found: &DataType) -> bool {
    match (expected, found) {
        (DataType::List(expected), DataType::List(found)) => {
            same_type(expected.data_type(), found.data_type())
        }
        (DataType::FixedSizeList(expected, length), DataType::FixedSizeList(found, other)) => {
            length == other && same_type(expected.data_type(), found.data_type())
        }
        (DataType::Struct(expected), DataType::Struct(found)) => {
            let (known, added) = expected.split_at(found.len().min(expected.len()));
            let is_optional = |field: &FieldRef| ADDED.contains(&field.name().as_str());
            found.len() <= expected.len()
                && added.iter().all(is_optional)
                && known.iter().zip(found).all(|(expected, found)| {
                    expected.name() == found.name()
                        && same_type(expected.data_type(), found.data_type())
                })
        }
        _ => expected == found,
    }
}
