//! Files as tables, and several as one.

use super::{Unusable, unusable};
use crate::ingest::format::mapped::read_table;
use crate::ingest::source::{Content, Everywhere, Place as _};
use datafusion::arrow::array::{
    Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, new_null_array,
};
use datafusion::arrow::compute::{CastOptions, cast_with_options, concat, concat_batches};
use datafusion::arrow::datatypes::{DataType, Field, Schema};
use std::sync::Arc;

/// Largest file that is read into memory, decompressed. A fit's table has thousands of rows, not billions: beyond it, select
/// first with `cairn sql` or another engine.
pub const FILE_BYTES_MAX: usize = 2 << 30;

/// `NAME=FILE`, where NAME is a plain word; a file of such a name is written `./a=b.csv`.
pub(super) fn named(source: &str) -> (Option<&str>, &str) {
    match source.split_once('=') {
        Some((name, file))
            if !name.is_empty()
                && name
                    .chars()
                    .all(|one| one.is_ascii_alphanumeric() || one == '_') =>
        {
            (Some(name), file)
        }
        _ => (None, source),
    }
}

pub(super) fn file(
    place: &Everywhere,
    name: &str,
) -> Result<(RecordBatch, Vec<(u64, String)>), Unusable> {
    let unreadable = |error: std::io::Error| {
        unusable(
            "io",
            error.to_string(),
            name,
            "check the path and its permissions",
        )
    };
    let mut content = Content::new(place.open(name).map_err(unreadable)?)
        .map_err(unreadable)?
        .undigested();
    let (bytes, broken) = content.whole(FILE_BYTES_MAX);
    if broken.is_some() {
        return Err(unusable(
            "io",
            "the file breaks off",
            name,
            "fetch it again",
        ));
    }
    if bytes.len() > FILE_BYTES_MAX {
        return Err(unusable(
            "table",
            format!("the file has more than {FILE_BYTES_MAX} bytes"),
            name,
            "select the rows first",
        ));
    }
    let whole = read_table(bytes).map_err(|refusal| {
        unusable(
            "table",
            refusal.0,
            name,
            "give a CSV, JSON Lines, JSON or Parquet file",
        )
    })?;
    Ok((whole.batch, whole.bad))
}

/// The batch with a column `file` more, unless it has one.
pub(super) fn with_file(batch: &RecordBatch, name: &str) -> Result<RecordBatch, Unusable> {
    if batch.column_by_name("file").is_some() {
        return Ok(batch.clone());
    }
    let mut fields: Vec<_> = batch.schema().fields().iter().cloned().collect();
    fields.push(Arc::new(Field::new("file", DataType::Utf8, true)));
    let mut columns = batch.columns().to_vec();
    columns.push(Arc::new(StringArray::from(vec![name; batch.num_rows()])));
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(|error| unusable("table", error.to_string(), name, "see the message"))
}

/// Batches end to end, columns matched by name; a column that one lacks is null there.
pub(super) fn by_name(batches: &[RecordBatch]) -> Result<RecordBatch, String> {
    let Some(first) = batches.first() else {
        return Err("there is no table".to_owned());
    };
    if batches.iter().all(|batch| batch.schema() == first.schema()) {
        return concat_batches(&first.schema(), batches).map_err(|error| error.to_string());
    }
    let mut fields: Vec<Field> = Vec::new();
    for field in batches
        .iter()
        .flat_map(|batch| batch.schema().fields().to_vec())
    {
        match fields.iter_mut().find(|known| known.name() == field.name()) {
            None => fields.push(Field::new(field.name(), field.data_type().clone(), true)),
            Some(known) => {
                *known = Field::new(
                    field.name(),
                    wider(known.data_type(), field.data_type()),
                    true,
                )
            }
        }
    }
    let mut columns = Vec::with_capacity(fields.len());
    for field in &fields {
        let parts = batches
            .iter()
            .map(|batch| match batch.column_by_name(field.name()) {
                Some(column) => {
                    cast_with_options(column, field.data_type(), &CastOptions::default())
                        .map_err(|error| error.to_string())
                }
                None => Ok(new_null_array(field.data_type(), batch.num_rows())),
            })
            .collect::<Result<Vec<ArrayRef>, String>>()?;
        let parts: Vec<&dyn Array> = parts.iter().map(AsRef::as_ref).collect();
        columns.push(concat(&parts).map_err(|error| error.to_string())?);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(|error| error.to_string())
}

/// The type that holds the values of both.
fn wider(one: &DataType, other: &DataType) -> DataType {
    match (one, other) {
        _ if one == other => one.clone(),
        (DataType::Null, kind) | (kind, DataType::Null) => kind.clone(),
        _ if one.is_numeric() && other.is_numeric() => DataType::Float64,
        _ => DataType::Utf8,
    }
}
