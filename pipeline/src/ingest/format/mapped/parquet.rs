//! A Parquet file by a mapping: its columns go into the mapping's expressions as they are, with their types.
//!
//! Published format: `README.md` and `parquet.thrift` of github.com/apache/parquet-format. A file begins and ends with `PAR1`;
//! what is in it stands in a footer at its end, so that a file that is still written has no rows yet. Row group after row
//! group is decoded, a thousand rows at a time, and of them only the columns that the mapping uses. Members of groups are
//! columns `outer.inner`; lists stay lists, for SQL's functions of arrays.
//!
//! A row is line *n* of its file, and stands at the byte where its row group begins. What a dead letter keeps of it is a JSON
//! object of the columns that the mapping uses.

use super::rows::Rows;
use super::{BATCH_ROWS, Batch, Mapping, unnamed};
use crate::ingest::format::{
    Confidence, Format, Framing, Out, Parser, Position, Refusal, Reject, Setup, TableFault,
    TableRows,
};
use crate::ingest::source::Spool;
use bytes::Bytes;
use datafusion::arrow::array::{Array, ArrayRef, AsArray, RecordBatch, RecordBatchOptions};
use datafusion::arrow::compute::{cast, concat_batches};
use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema};
use parquet::arrow::ProjectionMask;
use parquet::arrow::arrow_reader::{ParquetRecordBatchReader, ParquetRecordBatchReaderBuilder};
use parquet::errors::ParquetError;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The mark at both ends of a file.
const MAGIC: &[u8] = b"PAR1";

/// A Parquet file with a mapping.
pub(in crate::ingest::format) struct MappedParquet;

impl Format for MappedParquet {
    fn name(&self) -> &'static str {
        "mapped_parquet"
    }

    fn aliases(&self) -> &'static [&'static str] {
        &["parquet"]
    }

    fn detect(&self, head: &[u8]) -> Confidence {
        if head.starts_with(MAGIC) {
            Confidence::Sure
        } else {
            Confidence::No
        }
    }

    fn names_its_runs(&self) -> bool {
        true
    }

    fn takes_run_id(
        &self,
        _head: &[u8],
        run_id: &str,
        mapping: Option<&Mapping>,
    ) -> Result<(), Refusal> {
        unnamed(run_id, mapping)
    }

    fn parser(&self, setup: &Setup) -> Result<Box<dyn Parser>, Refusal> {
        let Some(mapping) = setup.mapping.clone() else {
            return Err(Refusal(
                "a table needs a mapping; describe its columns with --map FILE.yaml".into(),
            ));
        };
        Ok(Box::new(Columns {
            rows: Rows::new(mapping, setup)?,
            used: BTreeSet::new(),
            columns: None,
            from: 0,
            waiting: Batch::default(),
        }))
    }
}

struct Columns {
    rows: Rows,
    used: BTreeSet<String>,
    /// The batch whose rows come.
    columns: Option<RecordBatch>,
    /// The first of its rows that was not evaluated yet.
    from: usize,
    waiting: Batch,
}

impl Parser for Columns {
    fn framing(&self) -> Framing {
        Framing::Table
    }

    fn table(&mut self, file: Spool) -> Result<Box<dyn TableRows>, TableFault> {
        let cut_off = !file.ends_with(MAGIC);
        let (topic, head) = (self.rows.topic(), file.head(4096));
        let reject = |error: &dyn std::fmt::Display| {
            let (class, what) = if cut_off {
                (
                    "truncated",
                    "has no footer: it was cut off, or is still being written",
                )
            } else {
                ("damaged", "has a footer that cannot be read")
            };
            TableFault::Reject(Reject {
                class,
                text: format!("the Parquet file {what} ({error}); copy it again"),
                topic: topic.clone(),
                position: Position { line: 1, byte: 0 },
                original: head.clone(),
            })
        };
        let builder = ParquetRecordBatchReaderBuilder::try_new(file.chunks())
            .map_err(|error| reject(&error))?;
        let schema = builder.schema().clone();
        let flat = flat_fields(&schema);
        let flat_schema = Schema::new(
            flat.iter()
                .map(|(_, field)| field.clone())
                .collect::<Vec<_>>(),
        );
        self.used = self.rows.plan(&flat_schema).map_err(TableFault::Refusal)?;
        let mut roots: Vec<usize> = flat
            .iter()
            .filter(|(_, field)| self.used.contains(field.name()))
            .map(|(root, _)| *root)
            .collect();
        roots.sort_unstable();
        roots.dedup();
        if roots.is_empty() && !schema.fields().is_empty() {
            // a mapping of constants: the rows are counted all the same
            roots.push(0);
        }
        let metadata = builder.metadata();
        let mut groups = Vec::with_capacity(metadata.num_row_groups());
        let mut first = 0;
        for group in metadata.row_groups() {
            let byte = group
                .columns()
                .iter()
                .map(|column| column.byte_range().0)
                .min();
            groups.push((first, byte.unwrap_or(0)));
            first += group.num_rows().unsigned_abs();
        }
        let mask = ProjectionMask::roots(builder.parquet_schema(), roots);
        let reader = builder
            .with_projection(mask)
            .with_batch_size(BATCH_ROWS)
            .build()
            .map_err(|error| reject(&error))?;
        Ok(Box::new(Groups { reader, groups }))
    }

    fn batch(&mut self, batch: &RecordBatch, out: &mut Out) -> Result<(), Refusal> {
        self.flush(out)?;
        let wrong = |error| Refusal(format!("the table's columns cannot be used: {error}"));
        self.columns = Some(flat_batch(batch, &self.used).map_err(wrong)?);
        self.from = 0;
        Ok(())
    }

    fn unit(&mut self, unit: &[u8], position: Position, _out: &mut Out) -> Result<(), Refusal> {
        self.waiting.push(unit, position);
        Ok(())
    }

    fn flush(&mut self, out: &mut Out) -> Result<(), Refusal> {
        let count = self.waiting.rows.len();
        if let Some(columns) = self.columns.as_ref().filter(|_| count > 0) {
            let raw: Vec<(&[u8], Position)> = self.waiting.iter().collect();
            self.rows
                .records(&columns.slice(self.from, count), &raw, out);
            self.from += count;
        }
        self.waiting.rows.clear();
        self.waiting.text.clear();
        Ok(())
    }

    fn end(&mut self, position: Position, out: &mut Out) -> Result<(), Refusal> {
        self.flush(out)?;
        self.rows.end(position, out);
        Ok(())
    }
}

struct Groups {
    reader: ParquetRecordBatchReader,
    /// First row and first byte of each row group.
    groups: Vec<(u64, u64)>,
}

impl TableRows for Groups {
    fn next_batch(&mut self) -> Option<Result<RecordBatch, String>> {
        Some(self.reader.next()?.map_err(|error| error.to_string()))
    }

    fn byte_of(&self, row: u64) -> u64 {
        let behind = self.groups.partition_point(|(first, _)| *first <= row);
        behind
            .checked_sub(1)
            .map_or(0, |group| self.groups[group].1)
    }
}

/// A whole file as one batch, every column of it by its path.
pub(super) fn flat_batches(file: Bytes) -> Result<RecordBatch, ParquetError> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file)?;
    let flat = flat_fields(builder.schema());
    let used: BTreeSet<String> = flat.iter().map(|(_, field)| field.name().clone()).collect();
    let schema = Arc::new(Schema::new(
        flat.into_iter().map(|(_, field)| field).collect::<Vec<_>>(),
    ));
    let batches = builder
        .with_batch_size(BATCH_ROWS)
        .build()?
        .map(|batch| flat_batch(&batch?, &used))
        .collect::<Result<Vec<_>, _>>()?;
    let schema = batches.first().map_or(schema, RecordBatch::schema);
    Ok(concat_batches(&schema, &batches)?)
}

/// The columns of a schema by their paths, each with the number of its root; members of groups by `outer.inner`.
fn flat_fields(schema: &Schema) -> Vec<(usize, FieldRef)> {
    let mut flat = Vec::new();
    for (root, field) in schema.fields().iter().enumerate() {
        flatten_field(field, "", &mut |field| flat.push((root, field)));
    }
    flat
}

fn flatten_field(field: &Field, prefix: &str, each: &mut dyn FnMut(FieldRef)) {
    let name = format!("{prefix}{}", field.name());
    if let DataType::Struct(members) = field.data_type() {
        for member in members {
            flatten_field(member, &format!("{name}."), each);
        }
    }
    let kind = usable(field.data_type());
    each(Arc::new(Field::new(name, kind, true)));
}

/// The type that expressions see: dictionaries are their values, bytes without a meaning are text.
fn usable(kind: &DataType) -> DataType {
    match kind {
        DataType::Dictionary(_, value) => usable(value),
        DataType::RunEndEncoded(_, value) => usable(value.data_type()),
        DataType::Binary
        | DataType::LargeBinary
        | DataType::BinaryView
        | DataType::Utf8View
        | DataType::LargeUtf8 => DataType::Utf8,
        other => other.clone(),
    }
}

/// The used columns of a batch, by their paths.
fn flat_batch(
    batch: &RecordBatch,
    used: &BTreeSet<String>,
) -> Result<RecordBatch, datafusion::arrow::error::ArrowError> {
    let (mut fields, mut arrays) = (Vec::new(), Vec::new());
    for (field, array) in batch.schema().fields().iter().zip(batch.columns()) {
        flatten_array(field, array, "", used, &mut fields, &mut arrays)?;
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), arrays, &options)
}

fn flatten_array(
    field: &Field,
    array: &ArrayRef,
    prefix: &str,
    used: &BTreeSet<String>,
    fields: &mut Vec<FieldRef>,
    arrays: &mut Vec<ArrayRef>,
) -> Result<(), datafusion::arrow::error::ArrowError> {
    let name = format!("{prefix}{}", field.name());
    if let DataType::Struct(members) = field.data_type() {
        let group = array.as_struct();
        for (member, values) in members.iter().zip(group.columns()) {
            // a member of a group that is null is null
            let nulls = datafusion::arrow::buffer::NullBuffer::union(group.nulls(), values.nulls());
            let values = if group.nulls().is_some() && !matches!(values.data_type(), DataType::Null)
            {
                let data = values.to_data().into_builder().nulls(nulls).build()?;
                datafusion::arrow::array::make_array(data)
            } else {
                values.clone()
            };
            flatten_array(member, &values, &format!("{name}."), used, fields, arrays)?;
        }
    }
    if used.contains(&name) {
        let kind = usable(field.data_type());
        arrays.push(if kind == *field.data_type() {
            array.clone()
        } else {
            cast(array, &kind)?
        });
        fields.push(Arc::new(Field::new(name, kind, true)));
    }
    Ok(())
}
