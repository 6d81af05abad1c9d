//! One commit: the files that a batch touches are written anew with its rows, or patched; their old ones are taken out, the
//! offsets moved on.

use super::super::conform::conform;
use super::super::{Batch, Covered, Fault, Keeps, Table, columns};
use super::file::StoredFile;
use super::keys::{DataFile, Keys, Plan, hash};
use super::patch::{Patched, patched};
use super::{DeltaRules, fault};
use datafusion::arrow::array::{Array as _, BooleanArray, RecordBatch, StringArray};
use datafusion::arrow::compute::{concat_batches, filter_record_batch};
use datafusion::arrow::datatypes::SchemaRef;
use deltalake::DeltaTable;
use deltalake::kernel::transaction::{CommitBuilder, CommitProperties};
use deltalake::kernel::{Action, Add, MetadataExt as _, StructType, Transaction};
use deltalake::protocol::{DeltaOperation, SaveMode};
use deltalake::writer::{DeltaWriter as _, RecordBatchWriter};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt as _};
use parquet::arrow::ProjectionMask;
use parquet::arrow::async_reader::ParquetRecordBatchStreamBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::num::NonZero;
use std::sync::Arc;
use uuid::Uuid;

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
    let (mut touched, mut loses) = (BTreeMap::new(), BTreeSet::new());
    for row in batch.rows.iter().filter(|_| is_keyed) {
        let Some(id) = keys.holder(&row.key) else {
            continue;
        };
        *touched.entry(id).or_insert(0) += 1;
        if row.framed.is_none() {
            loses.insert(id);
        }
    }
    let fresh = columns::batch(table, &batch.rows)?;
    let mut plan = Plan::default();
    if fresh.num_rows() > 0 || !touched.is_empty() {
        plan = keys.plan(&touched, &loses, fresh.num_rows(), rules.file_rows_max);
    }

    let mut files = Files::new(delta, rules)?;
    let fresh = conformed(&fresh, &files.schema)?;
    let patches = patches(delta, keys, &plan.patched, &fresh, &files.properties).await?;
    let patched: BTreeSet<u32> = patches.iter().map(|(id, _)| *id).collect();
    // what cannot be patched is written anew
    plan.parted.extend(plan.patched.difference(&patched));
    // what gives rows up is a file for itself, the others and the batch go together
    for (ids, is_apart) in [(&plan.parted, true), (&plan.merged, false)] {
        for file in ids.iter().filter_map(|id| keys.files.get(id)) {
            for old in read(delta, file, None).await? {
                files.put(without(&old, &replaced)?).await?;
            }
            if is_apart {
                files.close().await?;
            }
        }
    }
    files
        .put(held_by(&fresh, keys, |id| {
            id.is_none_or(|id| !patched.contains(&id))
        })?)
        .await?;
    let added = files.finish().await?;

    let now_ms = chrono::Utc::now().timestamp_millis();
    let rewritten: BTreeSet<u32> = plan.merged.union(&plan.parted).copied().collect();
    let mut actions: Vec<Action> = rewritten
        .union(&patched)
        .filter_map(|id| keys.files.get(id))
        .map(|file| Action::Remove(file.remove(now_ms)))
        .collect();
    let has_removed = !actions.is_empty();
    let adds = added.iter().map(|(add, _, _)| add);
    actions.extend(
        adds.chain(patches.iter().map(|(_, add)| add))
            .map(|add| Action::Add(add.clone())),
    );
    let operation = if has_removed {
        DeltaOperation::Update { predicate: None }
    } else {
        DeltaOperation::Write {
            mode: SaveMode::Append,
            partition_by: None,
            predicate: None,
        }
    };
    commit(
        delta,
        actions,
        moved(table, &batch.from, &batch.next),
        operation,
    )
    .await?;

    keys.take_out(&rewritten, replaced.iter().map(|key| hash(key)));
    for (add, rows, hashes) in added {
        keys.add(
            DataFile::of(&add, rows),
            if is_keyed { &hashes } else { &[] },
        );
    }
    for (id, add) in patches {
        keys.renew(id, &add);
    }
    Ok(())
}

/// The rows of a batch whose key lies in a file of which this is true; those of new keys lie in none.
fn held_by(
    fresh: &RecordBatch,
    keys: &Keys,
    is_wanted: impl Fn(Option<u32>) -> bool,
) -> Result<RecordBatch, Fault> {
    let wanted: BooleanArray = keys_in(fresh)?
        .iter()
        .map(|key| Some(is_wanted(keys.holder(key.unwrap_or_default()))))
        .collect();
    filter_record_batch(fresh, &wanted).map_err(broken)
}

/// Replaces rows in these files where they lie, as many files at a time as there are cores; the files that could be patched.
async fn patches(
    delta: &DeltaTable,
    keys: &Keys,
    files: &BTreeSet<u32>,
    fresh: &RecordBatch,
    properties: &WriterProperties,
) -> Result<Vec<(u32, Add)>, Fault> {
    let at_once = std::thread::available_parallelism().map_or(1, NonZero::get);
    let jobs = files
        .iter()
        .filter_map(|id| Some((*id, keys.files.get(id)?)))
        .map(|(id, file)| Ok((id, file, held_by(fresh, keys, |holder| holder == Some(id))?)))
        .collect::<Result<Vec<_>, Fault>>()?;
    let done: Vec<Option<(u32, Add)>> = stream::iter(jobs)
        .map(|(id, file, fresh)| async move {
            let add = patch(delta.object_store(), file, fresh, properties.clone()).await?;
            Ok::<_, Fault>(add.map(|add| (id, add)))
        })
        .buffered(at_once)
        .try_collect()
        .await?;
    Ok(done.into_iter().flatten().collect())
}

/// Puts a file beside this one with these rows in place of those of the same keys, where that can be done.
async fn patch(
    store: Arc<dyn ObjectStore>,
    file: &DataFile,
    fresh: RecordBatch,
    properties: WriterProperties,
) -> Result<Option<Add>, Fault> {
    let old = Path::from_url_path(&file.path).map_err(broken)?;
    let bytes = store.get(&old).await.map_err(stored)?;
    let bytes = bytes.bytes().await.map_err(stored)?;
    let work = move || {
        let stated = super::skipping(&fresh.schema());
        patched(&bytes, &fresh, &properties, &stated)
    };
    let done = tokio::task::spawn_blocking(work).await.map_err(broken)?;
    let Some(Patched { bytes, stats }) = done.map_err(broken)? else {
        return Ok(None);
    };
    let path = format!("part-00000-{}-c000.zstd.parquet", Uuid::new_v4());
    let size = i64::try_from(bytes.len()).map_err(broken)?;
    store
        .put(&Path::from(path.as_str()), bytes.into())
        .await
        .map_err(stored)?;
    Ok(Some(Add {
        path,
        size,
        modification_time: chrono::Utc::now().timestamp_millis(),
        data_change: true,
        stats: Some(stats),
        partition_values: HashMap::new(),
        tags: None,
        deletion_vector: None,
        base_row_id: None,
        default_row_commit_version: None,
        clustering_provider: None,
    }))
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
    properties: WriterProperties,
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
            .with_writer_properties(properties.clone());
        Ok(Self {
            // of the table: a later build may have made columns that this one does not know
            schema: writer.arrow_schema(),
            writer,
            properties,
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

    /// Ends the file that is being written, if one is.
    async fn close(&mut self) -> Result<(), Fault> {
        if self.rows == 0 {
            return Ok(());
        }
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
        self.close().await?;
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

/// What the caller does after an error of the object store's.
fn stored(error: object_store::Error) -> Fault {
    fault(error.into())
}

fn broken(error: impl std::fmt::Display) -> Fault {
    Fault::Broken(error.to_string())
}
