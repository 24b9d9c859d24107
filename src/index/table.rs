//! Indexes that are tables, with a column for each field.

use std::io::BufReader;
use std::path::Path;

use anyhow::{Context, Result, bail};
use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::{Int16Type, Int32Type, Int64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::{Fields, NAMES, open};

/// The place of each field among the columns.
///
/// # Errors
///
/// If one is missing without which no record can be found.
fn columns(path: &Path, names: &[String]) -> Result<[Option<usize>; 6]> {
    let place = |candidates: &[&str]| {
        let mut places = candidates.iter();
        places.find_map(|candidate| names.iter().position(|name| name == candidate))
    };
    let places = NAMES.map(place);
    for (candidates, found) in NAMES.iter().zip(places).skip(1).take(3) {
        if found.is_none() {
            bail!(
                "the index {} has no column `{}` (it has: {}): give one that says where each record \
                 stands",
                path.display(),
                candidates[0],
                names.join(", ")
            );
        }
    }
    Ok(places)
}

/// Rows of a table in text.
pub(super) fn delimited(
    path: &Path,
    delimiter: u8,
) -> Result<Box<dyn Iterator<Item = Result<Fields>>>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .flexible(true)
        .from_reader(BufReader::new(open(path)?));
    let headers = reader
        .byte_headers()
        .with_context(|| format!("cannot read the header line of {}", path.display()))?;
    let names: Vec<String> = headers
        .iter()
        .map(|name| String::from_utf8_lossy(name).trim().to_owned())
        .collect();
    let places = columns(path, &names)?;
    let path = path.to_owned();
    Ok(Box::new(reader.into_byte_records().map(move |record| {
        let record = record.with_context(|| format!("cannot read {}", path.display()))?;
        Ok(Fields::at(places, |place| {
            let field = record.get(place)?;
            Some(String::from_utf8_lossy(field).trim().to_owned())
        }))
    })))
}

/// Rows of a Parquet table, of which only the columns that say something are read.
pub(super) fn parquet_rows(path: &Path) -> Result<Box<dyn Iterator<Item = Result<Fields>>>> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(open(path)?)
        .with_context(|| format!("{} is not a readable Parquet file", path.display()))?;
    let schema = builder.schema();
    let names: Vec<String> = schema.fields().iter().map(|f| f.name().clone()).collect();
    let wanted: Vec<usize> = columns(path, &names)?.into_iter().flatten().collect();
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted);
    let reader = builder
        .with_projection(mask)
        .build()
        .with_context(|| format!("cannot read {}", path.display()))?;
    let path = path.to_owned();
    Ok(Box::new(reader.flat_map(move |batch| match batch {
        Ok(batch) => batch_rows(&path, &batch),
        Err(error) => {
            let context = format!("cannot read {}", path.display());
            vec![Err(anyhow::Error::new(error).context(context))]
        }
    })))
}

fn batch_rows(path: &Path, batch: &RecordBatch) -> Vec<Result<Fields>> {
    let fields = batch.schema();
    let names: Vec<String> = fields.fields().iter().map(|f| f.name().clone()).collect();
    let places = match columns(path, &names) {
        Ok(places) => places,
        Err(error) => return vec![Err(error)],
    };
    let row = |row: usize| Fields::at(places, |place| text_at(batch.column(place), row));
    (0..batch.num_rows())
        .map(|number| Ok(row(number)))
        .collect()
}

/// A text or a whole number as text; `None` for a null, and for a column of another type.
fn text_at(column: &dyn Array, row: usize) -> Option<String> {
    if column.is_null(row) {
        return None;
    }
    if let Some(texts) = column.as_string_opt::<i32>() {
        return Some(texts.value(row).to_owned());
    }
    if let Some(texts) = column.as_string_opt::<i64>() {
        return Some(texts.value(row).to_owned());
    }
    if let Some(numbers) = column.as_primitive_opt::<Int16Type>() {
        return Some(numbers.value(row).to_string());
    }
    if let Some(numbers) = column.as_primitive_opt::<Int32Type>() {
        return Some(numbers.value(row).to_string());
    }
    let numbers = column.as_primitive_opt::<Int64Type>()?;
    Some(numbers.value(row).to_string())
}
