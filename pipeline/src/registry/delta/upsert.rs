//! One commit: the files that a batch touches are written anew with its rows, their old ones taken out, the offsets moved on.

use super::super::conform::conform;
use super::super::{Batch, Covered, Fault, Keeps, Table, columns};
use super::file::StoredFile;
use super::keys::{DataFile, Keys, hash};
use super::{DeltaRules, fault};
use datafusion::arrow::array::{Array as _, BooleanArray, RecordBatch, StringArray};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use deltalake::DeltaTable;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, MetadataExt as _, StructType, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::writer::{DeltaWriter as _, RecordBatchWriter};
use futures::TryStreamExt as _;
use object_store::path::Path;
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::collections::HashSet;

/// Rows read at once.
const READ_ROWS: usize = 8_192;

/// Puts a batch into a table.
pub(super) async fn upsert(
    table: &'static Table,
    delta: &mut DeltaTable,
    known: &mut Option<Keys>,
    batch: &Batch,
    rules: &DeltaRules,
) -> Result<(), Fault> {
    let is_keyed = table.keeps == Keeps::Newest;
    if known.is_none() {
        *known = Some(Keys::load(delta, is_keyed).await?);
    }
    let Some(keys) = known.as_mut() else {
        return Err(Fault::Broken("the keys are not known".into()));
    };
    let replaced: HashSet<&str> = if is_keyed {
        batch.rows.iter().map(|row| row.key.as_str()).collect()
    } else {
        HashSet::new()
    };
    let touched = keys.holders(replaced.iter().map(|key| hash(key)));
    let fresh = columns::batch(table, &batch.rows)?;
    let mut taken = touched.clone();
    if fresh.num_rows() > 0 || !touched.is_empty() {
        taken.extend(keys.absorbed(&touched, fresh.num_rows(), rules.file_rows_max));
    }

    let mut files = Files::new(delta, rules)?;
    for id in &taken {
        let Some(file) = keys.files.get(id) else {
            continue;
        };
        for old in read(delta, file, None).await? {
            files.put(without(&old, &replaced)?).await?;
        }
    }
    files.put(fresh).await?;
    let added = files.finish().await?;

    let now_ms = chrono::Utc::now().timestamp_millis();
    let mut actions: Vec<Action> = taken
        .iter()
        .filter_map(|id| keys.files.get(id))
        .map(|file| Action::Remove(file.remove(now_ms)))
        .collect();
    actions.extend(added.iter().map(|(add, _, _)| Action::Add(add.clone())));
    let operation = if taken.is_empty() {
        DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: None,
            predicate: None,
        }
    } else {
        DeltaOperation::Update { predicate: None }
    };
    commit(
        delta,
        actions,
        moved(table, &batch.from, &batch.next),
        operation,
    )
    .await?;

    keys.take_out(&taken, replaced.iter().map(|key| hash(key)));
    for (add, rows, hashes) in added {
        keys.add(
            DataFile::of(&add, rows),
            if is_keyed { &hashes } else { &[] },
        );
    }
    Ok(())
}

/// Gives a table the columns that it is to have. Files that lack one are read as null there; where a column's own type has
/// changed (a member more of the records in a list) they are written anew as well.
pub(super) async fn widen(
    mut delta: DeltaTable,
    rules: &DeltaRules,
    wanted: &StructType,
) -> Result<DeltaTable, Fault> {
    let snapshot = delta.snapshot().map_err(fault)?;
    let has_changed = snapshot.schema().fields().any(|field| {
        wanted
            .field(field.name())
            .is_some_and(|wanted| wanted.data_type() != field.data_type())
    });
    let metadata = snapshot
        .metadata()
        .clone()
        .with_schema(wanted)
        .map_err(broken)?;
    let operation = DeltaOperation::Write {
        mode: SaveMode::Append,
        partition_by: None,
        predicate: None,
    };
    let actions = vec![Action::Metadata(metadata)];
    commit(&mut delta, actions, Vec::new(), operation).await?;
    if has_changed {
        rewrite(&mut delta, rules).await?;
    }
    Ok(delta)
}

/// Writes every file of a table anew.
async fn rewrite(delta: &mut DeltaTable, rules: &DeltaRules) -> Result<(), Fault> {
    let keys = Keys::load(delta, false).await?;
    let mut files = Files::new(delta, rules)?;
    for file in keys.files.values() {
        for old in read(delta, file, None).await? {
            files.put(old).await?;
        }
    }
    let added = files.finish().await?;
    let now_ms = chrono::Utc::now().timestamp_millis();
    let mut actions: Vec<Action> = keys
        .files
        .values()
        .map(|file| Action::Remove(file.remove(now_ms)))
        .collect();
    actions.extend(added.into_iter().map(|(add, _, _)| Action::Add(add)));
    let operation = DeltaOperation::Update { predicate: None };
    commit(delta, actions, Vec::new(), operation).await
}

/// The offsets that a batch moves, as application transactions.
fn moved(table: &Table, from: &Covered, next: &Covered) -> Vec<Transaction> {
    next.iter()
        .filter(|(partition, next)| from.get(partition) != Some(next))
        .map(|(partition, next)| {
            Transaction::new_with_last_update(
                format!("{}/{partition}", table.topic),
                *next,
                Some(chrono::Utc::now().timestamp_millis()),
            )
        })
        .collect()
}

async fn commit(
    delta: &mut DeltaTable,
    actions: Vec<Action>,
    offsets: Vec<Transaction>,
    operation: DeltaOperation,
) -> Result<(), Fault> {
    let properties = CommitProperties::default()
        .with_application_transactions(offsets)
        .with_max_retries(0);
    let log_store = delta.log_store();
    let finalized = {
        let snapshot = delta.snapshot().map_err(fault)?;
        CommitBuilder::from(properties)
            .with_actions(actions)
            .build(Some(snapshot), log_store, operation)
            .await
            .map_err(fault)?
    };
    delta.state = Some(finalized.snapshot());
    Ok(())
}

/// Files that are being written, none with more rows than it may have.
struct Files {
    writer: RecordBatchWriter,
    schema: SchemaRef,
    rows_max: usize,
    rows: usize,
    hashes: Vec<u64>,
    done: Vec<(Add, usize, Vec<u64>)>,
}

impl Files {
    fn new(delta: &DeltaTable, rules: &DeltaRules) -> Result<Self, Fault> {
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(1).map_err(broken)?))
            .set_max_row_group_row_count(Some(rules.file_rows_max.max(1)))
            .build();
        let writer = RecordBatchWriter::for_table(delta)
            .map_err(fault)?
            .with_writer_properties(properties);
        Ok(Self {
            // of the table: a later build may have made columns that this one does not know
            schema: writer.arrow_schema(),
            writer,
            rows_max: rules.file_rows_max.max(1),
            rows: 0,
            hashes: Vec::new(),
            done: Vec::new(),
        })
    }

    async fn put(&mut self, batch: RecordBatch) -> Result<(), Fault> {
        let batch = conformed(&batch, &self.schema)?;
        let mut start = 0;
        while start < batch.num_rows() {
            let length = (self.rows_max - self.rows).min(batch.num_rows() - start);
            let slice = batch.slice(start, length);
            self.hashes.extend(hashes(&slice)?);
            self.rows += length;
            start += length;
            self.writer.write(slice).await.map_err(fault)?;
            if self.rows >= self.rows_max {
                self.close().await?;
            }
        }
        Ok(())
    }

    async fn close(&mut self) -> Result<(), Fault> {
        let adds = self.writer.flush().await.map_err(fault)?;
        let (rows, hashes) = (
            std::mem::take(&mut self.rows),
            std::mem::take(&mut self.hashes),
        );
        match <[Add; 1]>::try_from(adds) {
            Ok([add]) => self.done.push((add, rows, hashes)),
            Err(adds) => {
                return Err(Fault::Broken(format!(
                    "{} files were written where one was expected",
                    adds.len()
                )));
            }
        }
        Ok(())
    }

    async fn finish(mut self) -> Result<Vec<(Add, usize, Vec<u64>)>, Fault> {
        if self.rows > 0 {
            self.close().await?;
        }
        Ok(self.done)
    }
}

fn hashes(batch: &RecordBatch) -> Result<Vec<u64>, Fault> {
    Ok(keys_in(batch)?
        .iter()
        .map(|key| hash(key.unwrap_or_default()))
        .collect())
}

fn keys_in(batch: &RecordBatch) -> Result<&StringArray, Fault> {
    batch
        .column_by_name(columns::ORIGIN[0])
        .and_then(|column| column.as_any().downcast_ref::<StringArray>())
        .ok_or_else(|| Fault::Broken(format!("a file has no column {}", columns::ORIGIN[0])))
}

/// The rows whose key is none of these.
fn without(batch: &RecordBatch, keys: &HashSet<&str>) -> Result<RecordBatch, Fault> {
    if keys.is_empty() {
        return Ok(batch.clone());
    }
    let stays: BooleanArray = keys_in(batch)?
        .iter()
        .map(|key| Some(!keys.contains(key.unwrap_or_default())))
        .collect();
    filter_record_batch(batch, &stays).map_err(broken)
}

/// A batch with exactly these columns; those that it lacks are null.
fn conformed(batch: &RecordBatch, schema: &SchemaRef) -> Result<RecordBatch, Fault> {
    let columns = schema
        .fields()
        .iter()
        .map(|field| match batch.column_by_name(field.name()) {
            Some(column) => conform(column, field.data_type()).map_err(broken),
            None => Ok(datafusion::arrow::array::new_null_array(
                field.data_type(),
                batch.num_rows(),
            )),
        })
        .collect::<Result<Vec<_>, Fault>>()?;
    RecordBatch::try_new(schema.clone(), columns).map_err(broken)
}

/// The hashes of a file's keys.
pub(super) async fn keys_of(delta: &DeltaTable, file: &DataFile) -> Result<Vec<u64>, Fault> {
    let mut found = Vec::with_capacity(file.rows);
    for batch in read(delta, file, Some(columns::ORIGIN[0])).await? {
        found.extend(hashes(&batch)?);
    }
    Ok(found)
}

/// A file's rows, or one of its columns.
async fn read(
    delta: &DeltaTable,
    file: &DataFile,
    only: Option<&str>,
) -> Result<Vec<RecordBatch>, Fault> {
    let path = Path::from_url_path(&file.path).map_err(broken)?;
    let reader = StoredFile {
        store: delta.object_store(),
        path,
        size_bytes: file.size_bytes.unsigned_abs(),
    };
    let builder = ParquetRecordBatchStreamBuilder::new(reader)
        .await
        .map_err(broken)?
        .with_batch_size(READ_ROWS);
    let mask = match only {
        Some(name) => ProjectionMask::columns(builder.parquet_schema(), [name]),
        None => ProjectionMask::all(),
    };
    let stream = builder.with_projection(mask).build().map_err(broken)?;
    let batches: Vec<RecordBatch> = stream.try_collect().await.map_err(broken)?;
    match batches.first() {
        // one batch for each file: fewer, larger pieces for the filter and the writer
        Some(first) if batches.len() > 1 && only.is_none() => Ok(vec![
            concat_batches(&first.schema(), &batches).map_err(broken)?,
        ]),
        _ => Ok(batches),
    }
}

fn broken(error: impl std::fmt::Display) -> Fault {
    Fault::Broken(error.to_string())
}
