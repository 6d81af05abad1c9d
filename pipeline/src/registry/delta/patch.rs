//! A file with some of its rows replaced where they lie.
//!
//! All columns of a row lie at the same place, so a column in which no replaced row changes is copied as it is, compressed and
//! encoded; only the others are written anew. What comes out is a Parquet file like any other.

use super::super::columns::ORIGIN;
use super::super::conform::conform;
use bytes::Bytes;
use datafusion::arrow::array::{
    Array as _, ArrayRef, MutableArrayData, RecordBatch, StringArray, UInt64Array, make_array,
};
use datafusion::arrow::compute::{concat_batches, take_record_batch};
use datafusion::arrow::datatypes::{Schema, SchemaRef};
use datafusion::arrow::error::ArrowError;
use datafusion::arrow::json::LineDelimitedWriter;
use parquet::arrow::arrow_reader::statistics::StatisticsConverter;
use parquet::arrow::arrow_reader::{
    ArrowReaderMetadata, ArrowReaderOptions, ParquetRecordBatchReaderBuilder, RowSelection,
};
use parquet::arrow::{ArrowWriter, ProjectionMask};
use parquet::column::writer::ColumnCloseResult;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{PageIndexPolicy, ParquetMetaData};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::sync::Arc;

/// What a patched file is.
pub(super) struct Patched {
    pub(super) bytes: Vec<u8>,
    /// Its statistics, as Delta's log says them.
    pub(super) stats: String,
}

/// The file with these rows in the places of those with the same keys; none where it does not hold exactly one row of each
/// key, or is not built as files are built today. `stated` are the columns that Delta's statistics are about.
pub(super) fn patched(
    file: &Bytes,
    fresh: &RecordBatch,
    properties: &WriterProperties,
    stated: &[&str],
) -> Result<Option<Patched>> {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let loaded = ArrowReaderMetadata::load(file, options)?;
    let metadata = loaded.metadata();
    let schema = loaded.schema();
    if metadata.num_row_groups() != 1 || !has_same_columns(schema, &fresh.schema()) {
        return Ok(None);
    }
    let Some(places) = places(file, &loaded, fresh)? else {
        return Ok(None);
    };
    let selection = RowSelection::from_consecutive_ranges(
        places.iter().map(|(place, _)| *place..*place + 1),
        usize::try_from(metadata.file_metadata().num_rows()).unwrap_or(0),
    );
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), loaded.clone())
        .with_row_selection(selection)
        .with_batch_size(places.len())
        .build()?;
    let old = concat_batches(schema, &reader.collect::<Result<Vec<_>, ArrowError>>()?)?;
    let order: UInt64Array = places.iter().map(|(_, at)| *at as u64).collect();
    let new = take_record_batch(fresh, &order)?;
    let changed: Vec<usize> = (0..new.num_columns())
        .filter(|at| old.column(*at) != new.column(*at))
        .collect();

    if changed.is_empty() {
        return Ok(None);
    }
    let places: Vec<usize> = places.into_iter().map(|(place, _)| place).collect();
    let renewed = renewed(
        file,
        &loaded,
        &new.project(&changed)?,
        &changed,
        &places,
        properties,
    )?;
    let spliced = spliced(file, metadata, &renewed, &changed, properties)?;
    spliced
        .map(|(bytes, metadata)| {
            stats(&metadata, schema, stated).map(|stats| Patched { bytes, stats })
        })
        .transpose()
}

fn has_same_columns(one: &Schema, other: &Schema) -> bool {
    one.fields().len() == other.fields().len()
        && one
            .fields()
            .iter()
            .zip(other.fields())
            .all(|(one, other)| one.name() == other.name() && one.data_type() == other.data_type())
}

/// Where in the file each fresh row belongs: its place, and which of the fresh rows it is.
fn places(
    file: &Bytes,
    loaded: &ArrowReaderMetadata,
    fresh: &RecordBatch,
) -> Result<Option<Vec<(usize, usize)>>> {
    let wanted: HashMap<&str, usize> = keys(fresh)?
        .iter()
        .enumerate()
        .map(|(at, key)| (key.unwrap_or_default(), at))
        .collect();
    let only = ProjectionMask::columns(loaded.parquet_schema(), [ORIGIN[0]]);
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), loaded.clone())
        .with_projection(only)
        .build()?;
    let (mut found, mut place) = (Vec::with_capacity(wanted.len()), 0);
    for batch in reader {
        for key in keys(&batch?)? {
            if let Some(at) = key.and_then(|key| wanted.get(key)) {
                found.push((place, *at));
            }
            place += 1;
        }
    }
    let mut told: Vec<usize> = found.iter().map(|(_, at)| *at).collect();
    told.sort_unstable();
    Ok(told.into_iter().eq(0..fresh.num_rows()).then_some(found))
}

fn keys(batch: &RecordBatch) -> Result<&StringArray> {
    batch
        .column_by_name(ORIGIN[0])
        .and_then(|column| column.as_any().downcast_ref::<StringArray>())
        .ok_or_else(|| ParquetError::General(format!("a file has no column {}", ORIGIN[0])))
}

/// A file of the changed columns alone.
fn renewed(
    file: &Bytes,
    loaded: &ArrowReaderMetadata,
    new: &RecordBatch,
    changed: &[usize],
    places: &[usize],
    properties: &WriterProperties,
) -> Result<Bytes> {
    let only = ProjectionMask::roots(loaded.parquet_schema(), changed.iter().copied());
    let reader = ParquetRecordBatchReaderBuilder::new_with_metadata(file.clone(), loaded.clone())
        .with_projection(only)
        .build()?;
    let schema: SchemaRef = Arc::new(loaded.schema().project(changed)?);
    let old = concat_batches(&schema, &reader.collect::<Result<Vec<_>, ArrowError>>()?)?;
    let columns = old
        .columns()
        .iter()
        .zip(new.columns())
        .map(|(old, new)| replaced(old, &conform(new, old.data_type())?, places))
        .collect::<Result<Vec<_>>>()?;
    let mut writer = ArrowWriter::try_new(Vec::new(), schema.clone(), Some(properties.clone()))?;
    writer.write(&RecordBatch::try_new(schema, columns)?)?;
    Ok(writer.into_inner()?.into())
}

/// A column with the new values in these places, which ascend.
fn replaced(old: &ArrayRef, new: &ArrayRef, places: &[usize]) -> Result<ArrayRef> {
    let (before, after) = (old.to_data(), new.to_data());
    let mut out = MutableArrayData::new(vec![&before, &after], false, old.len());
    let mut next = 0;
    for (at, place) in places.iter().enumerate() {
        out.try_extend(0, next, *place)?;
        out.try_extend(1, at, at + 1)?;
        next = place + 1;
    }
    out.try_extend(0, next, old.len())?;
    Ok(make_array(out.freeze()))
}

/// One file out of two: the changed columns of the one, all others of the other. None where their columns are of other types.
fn spliced(
    file: &Bytes,
    metadata: &ParquetMetaData,
    renewed: &Bytes,
    changed: &[usize],
    properties: &WriterProperties,
) -> Result<Option<(Vec<u8>, ParquetMetaData)>> {
    let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Optional);
    let loaded = ArrowReaderMetadata::load(renewed, options)?;
    let columns = metadata.file_metadata().schema_descr();
    let properties = properties
        .clone()
        .into_builder()
        .set_key_value_metadata(metadata.file_metadata().key_value_metadata().cloned())
        .build();
    let mut bytes = Vec::with_capacity(file.len() + renewed.len());
    let mut writer =
        SerializedFileWriter::new(&mut bytes, columns.root_schema_ptr(), Arc::new(properties))?;
    let mut group = writer.next_row_group()?;
    let mut next = 0;
    for leaf in 0..columns.num_columns() {
        if !changed.contains(&columns.get_column_root_idx(leaf)) {
            group.append_column(file, chunk(metadata, leaf))?;
            continue;
        }
        let chunk = chunk(loaded.metadata(), next);
        if loaded.metadata().num_row_groups() != 1
            || chunk.metadata.column_descr() != columns.column(leaf).as_ref()
        {
            return Ok(None);
        }
        group.append_column(renewed, chunk)?;
        next += 1;
    }
    group.close()?;
    let metadata = writer.close()?;
    Ok(Some((bytes, metadata)))
}

/// A column of the one row group, to be copied.
fn chunk(metadata: &ParquetMetaData, leaf: usize) -> ColumnCloseResult {
    let group = metadata.row_group(0);
    let column = group.column(leaf);
    ColumnCloseResult {
        bytes_written: column.compressed_size().unsigned_abs(),
        rows_written: group.num_rows().unsigned_abs(),
        metadata: column.clone(),
        bloom_filter: None,
        column_index: metadata.column_index().map(|index| index[0][leaf].clone()),
        offset_index: metadata.offset_index().map(|index| index[0][leaf].clone()),
    }
}

/// Delta's statistics of a file, from those that Parquet has.
fn stats(metadata: &ParquetMetaData, schema: &Schema, stated: &[&str]) -> Result<String> {
    let groups = metadata.row_groups();
    let (mut least, mut greatest, mut nulls) = (Vec::new(), Vec::new(), serde_json::Map::new());
    for name in stated {
        let converter =
            StatisticsConverter::try_new(name, schema, metadata.file_metadata().schema_descr())?;
        least.push((*name, converter.row_group_mins(groups)?));
        greatest.push((*name, converter.row_group_maxes(groups)?));
        let count = converter.row_group_null_counts(groups)?;
        nulls.insert((*name).to_owned(), count.value(0).into());
    }
    let stats = json!({
        "numRecords": metadata.file_metadata().num_rows(),
        "minValues": object(least)?,
        "maxValues": object(greatest)?,
        "nullCount": nulls,
    });
    Ok(stats.to_string())
}

/// Values of one row as JSON; nulls are left out.
fn object(values: Vec<(&str, ArrayRef)>) -> Result<Value> {
    let batch = RecordBatch::try_from_iter_with_nullable(
        values.into_iter().map(|(name, value)| (name, value, true)),
    )?;
    let mut writer = LineDelimitedWriter::new(Vec::new());
    writer.write(&batch)?;
    writer.finish()?;
    serde_json::from_slice(&writer.into_inner())
        .map_err(|error| ParquetError::External(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::{Row, Table, columns};
    use cairn_avro::codec;
    use cairn_avro::record::{ExperimentRow, RunStatus, Score};

    /// Rows of these runs and numbers; the number decides everything that changes.
    fn rows(wanted: &[(usize, usize)]) -> RecordBatch {
        let rows: Vec<Row> = wanted
            .iter()
            .map(|(run, number)| {
                let mut framed = Vec::new();
                let value = ExperimentRow {
                    tenant: "default".into(),
                    run_id: format!("run-{run}"),
                    status: RunStatus::Running,
                    tokens: (number % 3 > 0).then_some(*number as i64),
                    loss_last: Some(*number as f64 / 7.0),
                    tags: vec![format!("tag-{run}"); run % 3],
                    scores: (0..number % 4)
                        .map(|task| Score {
                            harness: "h".into(),
                            task: format!("task-{task}"),
                            value: (task > 0).then_some(*number as f64),
                            ..Score::default()
                        })
                        .collect(),
                    ..ExperimentRow::default()
                };
                codec::encode_framed(0, &value, &mut framed).expect("a record");
                Row {
                    key: format!("default/run-{run}"),
                    partition: 0,
                    offset: *number as i64,
                    append_time_ms: 1_700_000_000_000 + *number as i64,
                    framed: Some(framed),
                }
            })
            .collect();
        columns::batch(Table::named("rows").expect("a table"), &rows).expect("columns")
    }

    fn properties() -> WriterProperties {
        // several pages of each column
        WriterProperties::builder()
            .set_data_page_row_count_limit(32)
            .set_write_batch_size(16)
            .build()
    }

    fn file(rows: &RecordBatch) -> Bytes {
        let mut writer =
            ArrowWriter::try_new(Vec::new(), rows.schema(), Some(properties())).expect("a writer");
        writer.write(rows).expect("written");
        writer.into_inner().expect("a file").into()
    }

    fn patch(file: &Bytes, fresh: &RecordBatch) -> Option<Patched> {
        let stated = [
            "log_key",
            "log_offset",
            "log_append_time",
            "tokens",
            "loss_last",
            "steps",
        ];
        patched(file, fresh, &properties(), &stated).expect("a file")
    }

    fn metadata(file: &Bytes) -> ArrowReaderMetadata {
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        ArrowReaderMetadata::load(file, options).expect("metadata")
    }

    /// Whatever is replaced, the file says what one of the new rows says; what did not change is there byte by byte.
    #[test]
    fn a_patched_file_reads_like_one_written_anew() {
        for seed in 1..40_usize {
            let count = 1 + seed * 37 % 300;
            let mut wanted: Vec<(usize, usize)> = (0..count).map(|run| (run, run)).collect();
            let old = file(&rows(&wanted));
            let mut fresh = Vec::new();
            for run in (0..count).rev().filter(|run| run * seed % 5 == 0) {
                wanted[run].1 = 1_000 + run * seed % 11;
                fresh.push(wanted[run]);
            }
            let found = patch(&old, &rows(&fresh)).expect("a patch");
            let bytes = Bytes::from(found.bytes);
            let read =
                ParquetRecordBatchReaderBuilder::new_with_metadata(bytes.clone(), metadata(&bytes));
            let read: Vec<RecordBatch> = read
                .build()
                .and_then(|reader| Ok(reader.collect::<Result<_, ArrowError>>()?))
                .expect("rows");
            let expected = rows(&wanted);
            let read = concat_batches(&expected.schema(), &read).expect("one batch");
            assert_eq!(read, expected, "seed {seed}");

            let column = |file: &Bytes| {
                let loaded = metadata(file);
                let group = loaded.metadata().row_group(0);
                let leaf = (0..group.num_columns())
                    .find(|leaf| group.column(*leaf).column_path().string() == "run_id")
                    .expect("a column");
                let (start, length) = group.column(leaf).byte_range();
                file.slice(start as usize..(start + length) as usize)
            };
            assert_eq!(column(&bytes), column(&old), "seed {seed}");
        }
    }

    #[test]
    fn its_statistics_are_those_of_the_new_rows() {
        let old = file(&rows(&[(0, 2), (1, 4), (2, 5)]));
        let found = patch(&old, &rows(&[(1, 9), (2, 7)])).expect("a patch");
        let stats: Value = serde_json::from_str(&found.stats).expect("JSON");
        assert_eq!(
            stats,
            json!({
                "numRecords": 3,
                "minValues": {
                    "log_key": "default/run-0", "log_offset": 2, "log_append_time": "2023-11-14T22:13:20.002Z",
                    "tokens": 2, "loss_last": 2.0 / 7.0
                },
                "maxValues": {
                    "log_key": "default/run-2", "log_offset": 9, "log_append_time": "2023-11-14T22:13:20.009Z",
                    "tokens": 7, "loss_last": 9.0 / 7.0
                },
                "nullCount": {
                    "log_key": 0, "log_offset": 0, "log_append_time": 0, "tokens": 1, "loss_last": 0, "steps": 3
                }
            })
        );
    }

    /// A key that is not there, or twice, and a file that lacks a column: such files are written anew.
    #[test]
    fn a_file_that_does_not_fit_is_not_patched() {
        let old = file(&rows(&[(0, 1), (1, 1), (1, 1)]));
        assert!(patch(&old, &rows(&[(7, 2)])).is_none());
        assert!(patch(&old, &rows(&[(0, 2), (7, 2)])).is_none());
        assert!(patch(&old, &rows(&[(1, 2)])).is_none());
        let fewer: Vec<usize> = (1..rows(&[(0, 1)]).num_columns()).collect();
        let older = file(&rows(&[(0, 1)]).project(&fewer).expect("columns"));
        assert!(patch(&older, &rows(&[(0, 2)])).is_none());
    }
}
