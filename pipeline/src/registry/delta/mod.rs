//! Tables in Delta Lake, on local disk or in an object store: any engine reads them, and every commit is a state that can be
//! asked for later.
//!
//! The offsets that a table rests on are Delta application transactions (`TOPIC/PARTITION`, the offset to go on from) and
//! nowhere else: rows and offsets are one Delta commit. One writer; a second one meets a version that it did not expect.
//!
//! An upsert writes anew the files that hold a key of the batch, and no others ([`upsert`]); the writer knows which file holds
//! which key ([`keys`]). Small files are taken along as a batch grows past them, so that there are never many. Of large files
//! only the columns are written anew that change ([`patch`]).

mod bucket;
mod file;
mod keys;
mod patch;
mod upsert;

use super::lock::Lock;
use super::{AsOf, Batch, Covered, Fault, Size, Store, Table};
use datafusion::arrow::datatypes::Schema;
use datafusion::catalog::TableProvider;
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake::kernel::{StructField, StructType};
use deltalake::operations::create::CreateBuilder;
use deltalake::operations::vacuum::VacuumMode;
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use futures::TryStreamExt as _;
use keys::Keys;
use object_store::ObjectStore;
use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::runtime::Runtime;
use url::Url;

/// How a Delta registry is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeltaRules {
    /// Rows that a file holds at most.
    pub file_rows_max: usize,
    /// How long files that no version needs any more are kept (hours): as long as one may ask for an earlier state.
    pub retention_hours: u64,
}

impl Default for DeltaRules {
    fn default() -> Self {
        Self {
            file_rows_max: 50_000,
            retention_hours: 720,
        }
    }
}

/// Tables under one address.
pub(super) struct DeltaStore {
    base: Url,
    /// The object store of an address that is no directory.
    remote: Option<Arc<dyn ObjectStore>>,
    /// The directory of an address that is one.
    directory: Option<PathBuf>,
    rules: DeltaRules,
    runtime: Arc<Runtime>,
    lock: Option<Lock>,
    is_writer: bool,
    tables: HashMap<&'static str, Open>,
}

/// A table that the writer has open.
struct Open {
    delta: DeltaTable,
    covered: Covered,
    keys: Option<Keys>,
}

impl DeltaStore {
    /// Tables in a directory.
    pub(super) fn local(directory: PathBuf, rules: DeltaRules) -> Result<Self, Fault> {
        std::fs::create_dir_all(&directory)
            .map_err(|error| Fault::Broken(format!("{}: {error}", directory.display())))?;
        let absolute = directory
            .canonicalize()
            .map_err(|error| Fault::Broken(format!("{}: {error}", directory.display())))?;
        let base = Url::from_directory_path(&absolute)
            .map_err(|()| Fault::Broken(format!("{} is no address", absolute.display())))?;
        Self::new(base, None, Some(absolute), rules)
    }

    /// Tables in an object store, under this address.
    pub(super) fn remote(
        base: Url,
        store: Arc<dyn ObjectStore>,
        rules: DeltaRules,
    ) -> Result<Self, Fault> {
        bucket::admit_scheme(&base)?;
        Self::new(base, Some(store), None, rules)
    }

    fn new(
        base: Url,
        remote: Option<Arc<dyn ObjectStore>>,
        directory: Option<PathBuf>,
        rules: DeltaRules,
    ) -> Result<Self, Fault> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(|error| Fault::Broken(error.to_string()))?;
        Ok(Self {
            base,
            remote,
            directory,
            rules,
            runtime: Arc::new(runtime),
            lock: None,
            is_writer: false,
            tables: HashMap::new(),
        })
    }

    fn builder(&self, table: &Table) -> Result<DeltaTableBuilder, Fault> {
        let mut base = self.base.clone();
        if !base.path().ends_with('/') {
            base.set_path(&format!("{}/", self.base.path()));
        }
        let url = base
            .join(&format!("{}/", table.name))
            .map_err(|error| Fault::Broken(error.to_string()))?;
        let builder = DeltaTableBuilder::from_url(url.clone()).map_err(fault)?;
        Ok(match &self.remote {
            Some(store) => builder.with_storage_backend(store.clone(), url),
            None => builder,
        })
    }

    /// The table as it is now, or at a version; none where there is none yet.
    fn load(&self, table: &Table, as_of: &AsOf) -> Result<Option<DeltaTable>, Fault> {
        if let Some(directory) = &self.directory
            && !directory.join(table.name).join("_delta_log").exists()
        {
            return Ok(None);
        }
        let builder = self.builder(table)?;
        self.runtime.block_on(async {
            let loaded = match as_of {
                AsOf::Now => builder.load().await,
                AsOf::Version(version) => builder.with_version(*version).load().await,
                AsOf::TimeMs(time) => {
                    let time = chrono_time(*time)?;
                    let mut delta = builder.load().await.map_err(fault)?;
                    delta.load_with_datetime(time).await.map(|()| delta)
                }
            };
            match loaded {
                Ok(delta) => Ok(Some(delta)),
                Err(DeltaTableError::NotATable(_)) => Ok(None),
                Err(error) => Err(match as_of {
                    AsOf::Now => fault(error),
                    _ => Fault::Broken(format!(
                        "table {} has no such state any more, or none yet: {error}",
                        table.name
                    )),
                }),
            }
        })
    }

    /// Makes a table that is not there.
    fn create(&self, table: &Table, schema: &Schema) -> Result<DeltaTable, Fault> {
        let columns = fields(schema)?;
        let log_store = self.builder(table)?.build().map_err(fault)?.log_store();
        self.runtime.block_on(async {
            CreateBuilder::new()
                .with_log_store(log_store)
                .with_table_name(table.name)
                .with_comment(table.meaning)
                .with_columns(columns)
                .with_configuration([
                    // the columns that queries choose rows by; statistics of two hundred others would only be long
                    (
                        "delta.dataSkippingStatsColumns".to_owned(),
                        Some(skipping(schema).join(",")),
                    ),
                    (
                        "delta.logRetentionDuration".to_owned(),
                        Some(format!("interval {} hours", self.rules.retention_hours)),
                    ),
                    (
                        "delta.deletedFileRetentionDuration".to_owned(),
                        Some(format!("interval {} hours", self.rules.retention_hours)),
                    ),
                ])
                .await
                .map_err(fault)
        })
    }

    /// The writer's table, brought up to this build's columns.
    fn opened(&mut self, table: &'static Table) -> Result<&mut Open, Fault> {
        if !self.tables.contains_key(table.name) {
            let delta = match self.load(table, &AsOf::Now)? {
                Some(delta) => self.widened(table, delta)?,
                None => self.create(table, table.schema()?.as_ref())?,
            };
            let covered = self.runtime.block_on(Self::covered_by(&delta, table))?;
            let open = Open {
                delta,
                covered,
                keys: None,
            };
            self.tables.insert(table.name, open);
        }
        self.tables
            .get_mut(table.name)
            .ok_or_else(|| Fault::Broken("a table is not open".into()))
    }

    /// The table with the columns that this build has and the table lacks.
    fn widened(&self, table: &'static Table, delta: DeltaTable) -> Result<DeltaTable, Fault> {
        let wanted: StructType = table
            .schema()?
            .as_ref()
            .try_into_kernel()
            .map_err(|error| Fault::Broken(format!("{error}")))?;
        let found = delta.snapshot().map_err(fault)?.schema();
        // columns that a later build made stay
        let has_all = wanted.fields().all(|field| {
            found
                .field(field.name())
                .is_some_and(|known| known.data_type() == field.data_type())
        });
        if has_all {
            return Ok(delta);
        }
        self.runtime
            .block_on(upsert::widen(delta, &self.rules, &wanted))
    }

    async fn covered_by(delta: &DeltaTable, table: &Table) -> Result<Covered, Fault> {
        let prefix = format!("{}/", table.topic);
        let snapshot = delta.snapshot().map_err(fault)?;
        let log_store = delta.log_store();
        let mut found = Covered::new();
        // partitions are numbered from 0 without a gap: none of the topic's own may be left out
        for partition in 0..i32::MAX {
            let app_id = format!("{prefix}{partition}");
            match snapshot
                .transaction_version(log_store.as_ref(), app_id)
                .await
                .map_err(fault)?
            {
                Some(next) => drop(found.insert(partition, next)),
                None => break,
            }
        }
        Ok(found)
    }
}

/// Columns whose least and greatest values each file's entry in the log says.
fn skipping(schema: &Schema) -> Vec<&'static str> {
    const WANTED: [&str; 12] = [
        "log_key",
        "log_partition",
        "log_offset",
        "log_append_time",
        "tenant",
        "run_id",
        "status",
        "cohort",
        "parameters_total",
        "tokens",
        "loss_last",
        "last_event_time_ms",
    ];
    WANTED
        .into_iter()
        .filter(|name| schema.field_with_name(name).is_ok())
        .collect()
}

/// Arrow's columns as Delta's.
fn fields(schema: &Schema) -> Result<Vec<StructField>, Fault> {
    let kernel: StructType = schema
        .try_into_kernel()
        .map_err(|error| Fault::Broken(format!("{error}")))?;
    Ok(kernel.fields().cloned().collect())
}

fn chrono_time(time_ms: i64) -> Result<chrono::DateTime<chrono::Utc>, Fault> {
    chrono::DateTime::from_timestamp_millis(time_ms)
        .ok_or_else(|| Fault::Broken(format!("{time_ms} is no time")))
}

/// What the caller does after an error of Delta's.
fn fault(error: DeltaTableError) -> Fault {
    match &error {
        DeltaTableError::Transaction { .. } | DeltaTableError::VersionAlreadyExists(_) => {
            Fault::Conflict(error.to_string())
        }
        DeltaTableError::ObjectStore {
            source: object_store::Error::Generic { .. },
        } => Fault::Unreachable(error.to_string()),
        _ => Fault::Broken(error.to_string()),
    }
}

#[cfg(test)]
impl DeltaStore {
    /// A table without these columns, as a build made it that did not know them.
    pub(super) fn make_older(&self, table: &'static Table, lacks: &[&str], rows: &[super::Row]) {
        use deltalake::writer::{DeltaWriter as _, RecordBatchWriter};
        let batch = super::columns::batch(table, rows).expect("rows");
        let kept: Vec<usize> = (0..batch.num_columns())
            .filter(|at| !lacks.contains(&batch.schema().field(*at).name().as_str()))
            .collect();
        let batch = batch.project(&kept).expect("columns");
        let mut delta = self
            .create(table, batch.schema().as_ref())
            .expect("a table");
        self.runtime.block_on(async {
            let mut writer = RecordBatchWriter::for_table(&delta).expect("a writer");
            writer.write(batch).await.expect("written");
            writer
                .flush_and_commit(&mut delta)
                .await
                .expect("committed");
        });
    }
}

impl Store for DeltaStore {
    fn kind(&self) -> &'static str {
        "delta"
    }

    fn place(&self) -> String {
        self.directory
            .as_ref()
            .map_or_else(|| self.base.to_string(), |path| path.display().to_string())
    }

    fn become_writer(&mut self) -> Result<bool, Fault> {
        if !self.is_writer {
            if let Some(directory) = &self.directory {
                self.lock = Lock::take(directory)?;
                self.is_writer = self.lock.is_some();
            } else {
                // an object store has no locks; a second writer is told by the version that it did not expect
                self.is_writer = true;
            }
            self.tables.clear();
        }
        Ok(self.is_writer)
    }

    fn covered(&mut self, table: &'static Table) -> Result<Covered, Fault> {
        if self.is_writer {
            return Ok(self.opened(table)?.covered.clone());
        }
        match self.load(table, &AsOf::Now)? {
            Some(delta) => self.runtime.block_on(Self::covered_by(&delta, table)),
            None => Ok(Covered::new()),
        }
    }

    fn write(&mut self, table: &'static Table, batch: &Batch) -> Result<(), Fault> {
        if !self.is_writer {
            return Err(Fault::Conflict("the directory is not locked".into()));
        }
        let runtime = self.runtime.clone();
        let rules = self.rules.clone();
        let open = self.opened(table)?;
        if open.covered != batch.from {
            return Err(Fault::Conflict(format!(
                "table {} covers {:?}, the batch begins with {:?}",
                table.name, open.covered, batch.from
            )));
        }
        let written = runtime.block_on(upsert::upsert(
            table,
            &mut open.delta,
            &mut open.keys,
            batch,
            &rules,
        ));
        match written {
            Ok(()) => open.covered.clone_from(&batch.next),
            // what is known may be wrong now: the next write begins with what is there
            Err(_) => drop(self.tables.remove(table.name)),
        }
        written
    }

    fn provider(
        &mut self,
        table: &'static Table,
        as_of: &AsOf,
    ) -> Result<Arc<dyn TableProvider>, Fault> {
        let Some(delta) = self.load(table, as_of)? else {
            return super::columns::in_memory(table, &[]);
        };
        self.runtime
            .block_on(async { delta.table_provider().await })
            .map_err(|error| Fault::Broken(error.to_string()))
    }

    fn size(&mut self, table: &'static Table) -> Result<Size, Fault> {
        let Some(delta) = self.load(table, &AsOf::Now)? else {
            return Ok(Size::default());
        };
        self.runtime.block_on(async {
            let snapshot = delta.snapshot().map_err(fault)?;
            let log_store = delta.log_store();
            let mut views = snapshot.snapshot().file_views(log_store.as_ref(), None);
            let mut size = Size {
                version: delta.version(),
                ..Size::default()
            };
            while let Some(view) = views.try_next().await.map_err(fault)? {
                size.files += 1;
                size.rows += view.num_records().unwrap_or(0) as u64;
                size.bytes += view.size().unsigned_abs();
            }
            Ok(size)
        })
    }

    fn tidy(&mut self, table: &'static Table) -> Result<String, Fault> {
        let hours = self.rules.retention_hours;
        let runtime = self.runtime.clone();
        let open = self.opened(table)?;
        let kept = chrono::Duration::hours(i64::try_from(hours).unwrap_or(i64::MAX / 3_600_000));
        let (delta, metrics) = runtime
            .block_on(async {
                open.delta
                    .clone()
                    .vacuum()
                    .with_retention_period(kept)
                    .with_mode(VacuumMode::Full)
                    .await
            })
            .map_err(fault)?;
        open.delta = delta;
        Ok(format!("{} files removed", metrics.files_deleted.len()))
    }
}
