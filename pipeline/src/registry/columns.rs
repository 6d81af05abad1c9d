//! The columns of a table: those of its record's schema, nested records spread where the table is flat, and where in the log
//! a row comes from.
//!
//! A member of a nested record is a column under its own name (`model.parameters_total` is `parameters_total`), unless
//! [`RENAMED`] says otherwise; a test holds that no two columns are called alike.

use super::{Fault, Row, Table};
use crate::registry::conform::{conform, plain};
use cairn_avro::codec::Reader;
use datafusion::arrow::array::{
    Array, ArrayRef, Int32Array, Int64Array, RecordBatch, StringArray, StructArray,
    TimestampMicrosecondArray, new_null_array,
};
use datafusion::arrow::buffer::NullBuffer;
use datafusion::arrow::datatypes::{
    DataType, Field, FieldRef, Fields, Schema, SchemaRef, TimeUnit,
};
use datafusion::arrow::json::ArrayWriter;
use datafusion::catalog::TableProvider;
use datafusion::datasource::MemTable;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Members of nested records that are not called by their own name, since another column is.
pub const RENAMED: &[(&str, &str)] = &[
    ("model.name", "model_name"),
    ("model.context_length_tokens", "model_context_length_tokens"),
    ("hardware.currency", "price_currency"),
    ("derived.parameters_total", "derived_parameters_total"),
    ("derived.parameters_active", "derived_parameters_active"),
    (
        "derived.parameters_non_embedding",
        "derived_parameters_non_embedding",
    ),
    (
        "derived.parameters_embedding",
        "derived_parameters_embedding",
    ),
    ("derived.accelerator", "derived_accelerator"),
    (
        "derived.peak_flops_per_second",
        "derived_peak_flops_per_second",
    ),
    ("derived.price_per_hour", "derived_price_per_hour"),
];

/// Columns that say where in the log a row comes from.
pub const ORIGIN: [&str; 4] = ["log_key", "log_partition", "log_offset", "log_append_time"];

/// The columns of a table.
///
/// # Errors
/// See [`Table::entry`].
pub fn schema(table: &Table) -> Result<SchemaRef, Fault> {
    let record = cairn_avro::arrow::schema(table.entry()?).map_err(broken)?;
    let mut fields: Vec<FieldRef> = Vec::new();
    for field in record.fields() {
        match field.data_type() {
            DataType::Struct(members) if table.is_flat => {
                for member in members {
                    fields.push(Arc::new(Field::new(
                        name_of(field.name(), member.name()),
                        plain(member.data_type()),
                        true,
                    )));
                }
            }
            other => fields.push(Arc::new(Field::new(field.name(), plain(other), true))),
        }
    }
    fields.extend(origin_fields());
    Ok(Arc::new(Schema::new(fields)))
}

/// What a member of a nested record is called.
fn name_of(record: &str, member: &str) -> String {
    RENAMED
        .iter()
        .find(|(path, _)| {
            path.split_once('.')
                .is_some_and(|(outer, inner)| outer == record && inner == member)
        })
        .map_or_else(|| member.to_owned(), |(_, name)| (*name).to_owned())
}

fn origin_fields() -> [FieldRef; 4] {
    let time = DataType::Timestamp(TimeUnit::Microsecond, Some("UTC".into()));
    [
        Arc::new(Field::new(ORIGIN[0], DataType::Utf8, true)),
        Arc::new(Field::new(ORIGIN[1], DataType::Int32, true)),
        Arc::new(Field::new(ORIGIN[2], DataType::Int64, true)),
        Arc::new(Field::new(ORIGIN[3], time, true)),
    ]
}

/// Records as columns; those without a value are left out.
///
/// # Errors
/// A datum that is none of the table's record.
pub fn batch(table: &Table, rows: &[Row]) -> Result<RecordBatch, Fault> {
    let entry = table.entry()?;
    let present: Vec<&Row> = rows.iter().filter(|row| row.framed.is_some()).collect();
    let framed: Vec<&[u8]> = present
        .iter()
        .filter_map(|row| row.framed.as_deref())
        .collect();
    let readers = BTreeMap::from([(0, Reader::native(entry))]);
    let records = cairn_avro::arrow::rows_to_batch(entry, &readers, &framed).map_err(broken)?;
    let schema = schema(table)?;
    let mut columns: Vec<ArrayRef> = Vec::with_capacity(schema.fields().len());
    for (field, column) in records.schema().fields().iter().zip(records.columns()) {
        match column.as_any().downcast_ref::<StructArray>() {
            Some(nested) if table.is_flat => columns.extend(spread(nested)),
            _ => columns.push(column.clone()),
        }
        debug_assert!(!field.name().is_empty());
    }
    columns.push(Arc::new(StringArray::from_iter_values(
        present.iter().map(|row| row.key.as_str()),
    )));
    columns.push(Arc::new(Int32Array::from_iter_values(
        present.iter().map(|row| row.partition),
    )));
    columns.push(Arc::new(Int64Array::from_iter_values(
        present.iter().map(|row| row.offset),
    )));
    columns.push(Arc::new(
        TimestampMicrosecondArray::from_iter_values(
            present
                .iter()
                .map(|row| row.append_time_ms.saturating_mul(1_000)),
        )
        .with_timezone("UTC"),
    ));
    let columns = columns
        .iter()
        .zip(schema.fields())
        .map(|(column, field)| conform(column, field.data_type()))
        .collect::<Result<Vec<_>, _>>()
        .map_err(broken)?;
    RecordBatch::try_new(schema, columns).map_err(broken)
}

/// Records as a table in memory.
///
/// # Errors
/// See [`batch`].
pub(super) fn in_memory(table: &Table, rows: &[Row]) -> Result<Arc<dyn TableProvider>, Fault> {
    let batch = batch(table, rows)?;
    let memory = MemTable::try_new(batch.schema(), vec![vec![batch]]).map_err(broken)?;
    Ok(Arc::new(memory))
}

/// The members of nested records, each null where its record is.
fn spread(nested: &StructArray) -> Vec<ArrayRef> {
    nested
        .columns()
        .iter()
        .map(|member| {
            let nulls = NullBuffer::union(nested.nulls(), member.nulls());
            member
                .to_data()
                .into_builder()
                .nulls(nulls)
                .build()
                .map_or_else(|_| member.clone(), datafusion::arrow::array::make_array)
        })
        .collect()
}

/// Rows of a table as records.
///
/// # Errors
/// A batch that lacks a column, or a row that is no such record.
pub fn typed<T: cairn_avro::contract::Record>(
    table: &Table,
    batch: &RecordBatch,
) -> Result<Vec<T>, Fault> {
    if batch.num_rows() == 0 {
        return Ok(Vec::new());
    }
    let nested = nested(table, batch)?;
    let mut writer = ArrayWriter::new(Vec::new());
    writer.write(&nested).map_err(broken)?;
    writer.finish().map_err(broken)?;
    serde_json::from_slice(&writer.into_inner()).map_err(broken)
}

/// Columns of a table as members of its record, in the types that JSON has.
fn nested(table: &Table, batch: &RecordBatch) -> Result<RecordBatch, Fault> {
    let record = cairn_avro::arrow::schema(table.entry()?).map_err(broken)?;
    let column = |name: &str, kind: &DataType| -> Result<ArrayRef, Fault> {
        let kind = in_json(kind);
        match batch.column_by_name(name) {
            Some(column) => conform(&in_milliseconds(column)?, &kind).map_err(broken),
            // a column that an older program did not write
            None => Ok(new_null_array(&kind, batch.num_rows())),
        }
    };
    let mut fields: Vec<FieldRef> = Vec::new();
    let mut columns: Vec<ArrayRef> = Vec::new();
    for field in record.fields() {
        let whole = match field.data_type() {
            DataType::Struct(members) if table.is_flat => {
                let kinds: Fields = members
                    .iter()
                    .map(|member| Field::new(member.name(), in_json(member.data_type()), true))
                    .collect();
                let arrays = members
                    .iter()
                    .map(|member| column(&name_of(field.name(), member.name()), member.data_type()))
                    .collect::<Result<Vec<_>, Fault>>()?;
                Arc::new(StructArray::try_new(kinds, arrays, None).map_err(broken)?) as ArrayRef
            }
            kind => column(field.name(), kind)?,
        };
        fields.push(Arc::new(Field::new(
            field.name(),
            whole.data_type().clone(),
            true,
        )));
        columns.push(whole);
    }
    RecordBatch::try_new(Arc::new(Schema::new(fields)), columns).map_err(broken)
}

/// The type that the contract's JSON has for a column: words for enums, milliseconds for times.
fn in_json(kind: &DataType) -> DataType {
    match plain(kind) {
        DataType::Timestamp(..) => DataType::Int64,
        other => other,
    }
}

/// Times in milliseconds, as records have them; anything else as it is.
fn in_milliseconds(column: &ArrayRef) -> Result<ArrayRef, Fault> {
    match column.data_type() {
        DataType::Timestamp(_, zone) => {
            let kind = DataType::Timestamp(TimeUnit::Millisecond, zone.clone());
            conform(column, &kind).map_err(broken)
        }
        _ => Ok(column.clone()),
    }
}

fn broken(error: impl std::fmt::Display) -> Fault {
    Fault::Broken(error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::TABLES;
    use std::collections::BTreeSet;

    /// A field whose name another column has must get one of its own in `RENAMED`, or columns would change their meaning.
    #[test]
    fn no_two_columns_are_called_alike() {
        for table in TABLES {
            let schema = table.schema().expect("a schema");
            let mut names = BTreeSet::new();
            for field in schema.fields() {
                assert!(
                    names.insert(field.name()),
                    "{}.{}",
                    table.name,
                    field.name()
                );
            }
        }
    }

    #[test]
    fn members_of_the_row_are_columns() {
        let schema = Table::named("rows")
            .and_then(|table| table.schema().ok())
            .expect("rows");
        for name in [
            "run_id",
            "parameters_total",
            "learning_rate_peak",
            "flops",
            "code_commit",
            "accelerator",
            "context_length_tokens",
            "model_context_length_tokens",
            "log_offset",
        ] {
            assert!(schema.field_with_name(name).is_ok(), "{name}");
        }
    }
}
