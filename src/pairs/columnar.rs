//! The rows of Parquet files.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail};
use arrow::array::{Array, ArrayRef, AsArray, RecordBatch};
use arrow::datatypes::{Float32Type, Float64Type, Int32Type, Int64Type};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder,
};
use parquet::basic::Type as PhysicalType;
use parquet::errors::ParquetError;
use parquet::file::metadata::{FileMetaData, ParquetMetaData};
use parquet::schema::types::{SchemaDescriptor, Type};

use super::config::Columns;
use super::row::{Cell, Cells};
use super::table::{CellsOrRow, Places, Rows};

/// Rows that are held at a time.
const BATCH_ROWS: usize = 256;

/// The cells of a file's rows in order.
///
/// # Errors
///
/// If the file cannot be read or has no such columns.
pub(super) fn rows(path: &Path, columns: &Columns) -> Result<Rows<CellsOrRow>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let damaged = |problem: String| {
        anyhow!(
            "{} is not a readable Parquet file: {problem}",
            path.display()
        )
    };
    let (mut reader, places) = guarded(|| parquet_reader(file, path, columns))
        .map_err(damaged)
        .and_then(|opened| opened)?;
    let path = path.to_owned();
    let mut rows: std::vec::IntoIter<Cells> = Vec::new().into_iter();
    let mut has_failed = false;
    Ok(Box::new(std::iter::from_fn(move || {
        loop {
            if let Some(cells) = rows.next() {
                return Some(Ok(Ok(cells)));
            }
            if has_failed {
                return None;
            }
            let batch = guarded(|| {
                let batch = reader.next()?;
                Some(batch.map(|batch| batch_cells(&batch, &places)))
            });
            let problem = match batch {
                Ok(None) => return None,
                Ok(Some(Ok(cells))) => {
                    rows = cells.into_iter();
                    continue;
                }
                Ok(Some(Err(error))) => error.to_string(),
                Err(problem) => problem,
            };
            has_failed = true;
            return Some(Err(anyhow!("cannot read {}: {problem}", path.display())));
        }
    })))
}

/// What `work` returns; the Parquet library panics on some damaged files.
fn guarded<T>(work: impl FnOnce() -> T) -> std::result::Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(|_| "it is damaged".to_owned())
}

type ParquetRows = parquet::arrow::arrow_reader::ParquetRecordBatchReader;

fn parquet_reader(file: File, path: &Path, columns: &Columns) -> Result<(ParquetRows, Places)> {
    let unreadable = || format!("{} is not a readable Parquet file", path.display());
    let found =
        ArrowReaderMetadata::load(&file, ArrowReaderOptions::new()).with_context(unreadable)?;
    let fields = found.schema().fields();
    let names: Vec<String> = fields.iter().map(|field| field.name().clone()).collect();
    let places = Places::of(columns, &names, path)?;
    let wanted: Vec<usize> = [
        Some(places.url),
        Some(places.caption),
        places.sha256,
        places.md5,
        places.start,
        places.end,
    ]
    .into_iter()
    .flatten()
    .collect();
    let schema = found.metadata().file_metadata().schema();
    let physical = |index: usize| {
        let field = schema.get_fields().get(index)?;
        field.is_primitive().then(|| field.get_physical_type())
    };
    let mut texts = Vec::new();
    for &index in &wanted {
        let is_time = [places.start, places.end].contains(&Some(index));
        let is_number = matches!(
            physical(index),
            Some(
                PhysicalType::INT32
                    | PhysicalType::INT64
                    | PhysicalType::FLOAT
                    | PhysicalType::DOUBLE
            )
        );
        if physical(index) == Some(PhysicalType::BYTE_ARRAY) {
            texts.push(index);
        } else if !(is_time && is_number) {
            bail!(
                "column `{}` of {} holds {}, not text",
                names[index],
                path.display(),
                fields[index].data_type()
            );
        }
    }
    let metadata = without_text(found.metadata(), &texts).with_context(unreadable)?;
    let options = ArrowReaderOptions::new().with_skip_arrow_metadata(true);
    let metadata =
        ArrowReaderMetadata::try_new(Arc::new(metadata), options).with_context(unreadable)?;
    let builder = ParquetRecordBatchReaderBuilder::new_with_metadata(file, metadata);
    let mask = ProjectionMask::roots(builder.parquet_schema(), wanted.iter().copied());
    let reader = builder
        .with_projection(mask)
        .with_batch_size(BATCH_ROWS)
        .build()
        .with_context(unreadable)?;
    // The columns that are left stand in the file's order.
    let mut order = wanted;
    order.sort_unstable();
    order.dedup();
    let left = |place: usize| order.iter().position(|index| *index == place).unwrap_or(0);
    let places = Places {
        url: left(places.url),
        caption: left(places.caption),
        sha256: places.sha256.map(left),
        md5: places.md5.map(left),
        start: places.start.map(left),
        end: places.end.map(left),
    };
    Ok((reader, places))
}

/// The same file with these columns as plain bytes: a text that is broken shall cost its row, and
/// would cost the file if the Parquet library were to read it as text.
fn without_text(
    metadata: &ParquetMetaData,
    columns: &[usize],
) -> std::result::Result<ParquetMetaData, ParquetError> {
    let file = metadata.file_metadata();
    let fields = file.schema().get_fields().iter().enumerate();
    let fields = fields
        .map(|(index, field)| {
            if !columns.contains(&index) {
                return Ok(Arc::clone(field));
            }
            Type::primitive_type_builder(field.name(), PhysicalType::BYTE_ARRAY)
                .with_repetition(field.get_basic_info().repetition())
                .build()
                .map(Arc::new)
        })
        .collect::<std::result::Result<_, ParquetError>>()?;
    let root = Type::group_type_builder(file.schema().name())
        .with_fields(fields)
        .build()?;
    let file = FileMetaData::new(
        file.version(),
        file.num_rows(),
        None,
        None,
        Arc::new(SchemaDescriptor::new(Arc::new(root))),
        None,
    );
    Ok(ParquetMetaData::new(file, metadata.row_groups().to_vec()))
}

fn batch_cells(batch: &RecordBatch, places: &Places) -> Vec<Cells> {
    (0..batch.num_rows())
        .map(|row| places.cells(|column| bytes(batch.column(column), row), false))
        .collect()
}

fn bytes(column: &ArrayRef, row: usize) -> Cell {
    if column.is_null(row) {
        return None;
    }
    if let Some(column) = column.as_binary_opt::<i32>() {
        return Some(column.value(row).to_vec());
    }
    // A time: seconds as a number.
    let number = if let Some(column) = column.as_primitive_opt::<Float64Type>() {
        column.value(row).to_string()
    } else if let Some(column) = column.as_primitive_opt::<Float32Type>() {
        column.value(row).to_string()
    } else if let Some(column) = column.as_primitive_opt::<Int64Type>() {
        column.value(row).to_string()
    } else {
        column
            .as_primitive_opt::<Int32Type>()?
            .value(row)
            .to_string()
    };
    Some(number.into_bytes())
}
