//! The log in one SQLite file, for one machine: `DIR/log.sqlite` in WAL mode, and `DIR/locks/`.
//!
//! Several processes use it at once. Writers take turns (SQLite has one write lock; `busy_timeout` bounds the wait), readers
//! never wait and never hold a snapshot over a second, so that the WAL can be checkpointed. What a commit survives is a
//! setting, see [`Durability`]; what it means for the next reader is not: outputs and offsets are one transaction.
//!
//! All sessions of one [`EmbeddedLog`] share one write connection. Inside a pass ([`Log::pass_begin`]) that connection has a
//! transaction open, each commit is a savepoint in it, and the next session reads what the last one committed. Outside a pass
//! each commit is a transaction of its own. A pass belongs to the thread that began it; another thread of the process waits
//! until it is over, like another process, since what it wrote into it would be lost with it after it was told that it had
//! committed.
//!
//! A group has one member: the process that holds `locks/<group>.lock`, which gets all partitions.
//!
//! Not for network file systems: WAL needs shared memory.

mod batch;
mod file;
mod maintain;
mod owner;
mod read;
mod reader;
mod schemas;
mod session;

pub use file::Durability;

use crate::log::{Cleanup, Fault, Log, Membership, Reader, Session, TopicSpec, TopicState};
use owner::GroupLock;
use rusqlite::{Connection, OptionalExtension};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, Weak};
use std::thread::ThreadId;
use std::time::{Duration, SystemTime};

/// Milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// How an embedded log is opened.
#[derive(Clone)]
pub struct EmbeddedSettings {
    /// The data directory; made if it is missing.
    pub directory: PathBuf,
    /// What a commit survives beside `kill -9`.
    pub durability: Durability,
    /// How long a writer waits for another process' transaction; 5 s: a hundred passes.
    pub busy_timeout: Duration,
    /// A compacted partition is compacted once so much is new (and half as much as is old); 4 MiB: some tens of milliseconds of
    /// work. 0 compacts each time.
    pub compact_after_bytes: i64,
    /// By topic, how old a record must be before compaction takes it, milliseconds; without an entry: any age.
    pub compaction_lag_ms: BTreeMap<String, i64>,
    /// Largest file, without `-wal`; none: as large as the disk lets it. A commit beyond it is refused like one on a full disk.
    pub max_file_bytes: Option<u64>,
    /// Where append times come from; the system's clock, but a test's own in a test of retention.
    pub clock: Clock,
}

impl EmbeddedSettings {
    /// The defaults for a directory.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            durability: Durability::default(),
            busy_timeout: Duration::from_secs(5),
            compact_after_bytes: 4 << 20,
            compaction_lag_ms: BTreeMap::new(),
            max_file_bytes: None,
            clock: Arc::new(|| {
                let since = SystemTime::now()
                    .duration_since(SystemTime::UNIX_EPOCH)
                    .unwrap_or_default();
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }),
        }
    }
}

/// The log of one data directory. Cheap to clone; clones are the same log.
#[derive(Clone)]
pub struct EmbeddedLog {
    shared: Arc<Shared>,
}

/// What the sessions of one process share.
struct Shared {
    path: PathBuf,
    locks: PathBuf,
    settings: EmbeddedSettings,
    writer: Mutex<Writer>,
    /// Told when a pass is over.
    pass_over: Condvar,
    /// Goes up with each commit of this process, so that a waiting poll looks again.
    commits: AtomicU64,
    groups: Mutex<BTreeMap<String, Weak<GroupLock>>>,
}

/// The one write connection.
struct Writer {
    connection: Connection,
    /// Whose pass is open.
    pass: Option<ThreadId>,
    /// Threads that wait for it to be over.
    waiting: usize,
    /// How many passes were undone; a session that remembers another number lost what it did.
    undone: u64,
}

impl EmbeddedLog {
    /// Opens the log of a directory with the default settings.
    pub fn open(directory: impl Into<PathBuf>) -> Result<Self, Fault> {
        Self::with(EmbeddedSettings::new(directory))
    }

    /// Opens the log; makes the directory, the file and its tables where they are missing.
    pub fn with(settings: EmbeddedSettings) -> Result<Self, Fault> {
        let locks = settings.directory.join("locks");
        let config = |error: std::io::Error| {
            Fault::Config(format!(
                "cannot use the data directory {}: {error}",
                settings.directory.display()
            ))
        };
        std::fs::create_dir_all(&locks).map_err(config)?;
        let path = settings.directory.join("log.sqlite");
        // switching a new file to WAL does not honour the busy time-out: one at a time
        let opening = std::fs::File::create(locks.join(".open.lock")).map_err(config)?;
        opening.lock().map_err(config)?;
        let connection = file::open(&path, &settings)?;
        drop(opening);
        let writer = Mutex::new(Writer {
            connection,
            pass: None,
            waiting: 0,
            undone: 0,
        });
        let shared = Shared {
            path,
            locks,
            settings,
            writer,
            pass_over: Condvar::new(),
            commits: AtomicU64::new(0),
            groups: Mutex::new(BTreeMap::new()),
        };
        Ok(Self {
            shared: Arc::new(shared),
        })
    }

    /// The SQLite file.
    pub fn path(&self) -> &Path {
        &self.shared.path
    }
}

impl Shared {
    /// The write connection; not while another thread's pass is open.
    fn writer(&self) -> MutexGuard<'_, Writer> {
        // a panic elsewhere leaves no half-done statement behind; the transaction tells
        let mut writer = self
            .writer
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let me = std::thread::current().id();
        let foreign = |writer: &Writer| writer.pass.is_some_and(|owner| owner != me);
        if !foreign(&writer) {
            return writer;
        }
        writer.waiting += 1;
        let mut writer = self
            .pass_over
            .wait_while(writer, |writer| foreign(writer))
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        writer.waiting -= 1;
        self.pass_over.notify_all();
        writer
    }

    /// The write connection for a new pass: after those who waited for the last one.
    fn writer_in_turn(&self) -> MutexGuard<'_, Writer> {
        let writer = self.writer();
        self.pass_over
            .wait_while(writer, |writer| writer.waiting > 0 && writer.pass.is_none())
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn fault(&self, doing: &str) -> impl Fn(rusqlite::Error) -> Fault {
        move |error| file::sorted(&self.path, doing, error)
    }

    fn now_ms(&self) -> i64 {
        (self.settings.clock)()
    }

    fn committed(&self) {
        self.commits.fetch_add(1, Ordering::Release);
    }

    /// The lock of a group: the one that this process has, or a new one.
    fn group_lock(&self, group: &str, instance: &str) -> Result<Arc<GroupLock>, Fault> {
        let mut groups = self
            .groups
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(lock) = groups.get(group).and_then(Weak::upgrade) {
            return Ok(lock);
        }
        let lock = Arc::new(GroupLock::take(
            &self.locks,
            group,
            instance,
            self.now_ms(),
        )?);
        groups.insert(group.to_owned(), Arc::downgrade(&lock));
        Ok(lock)
    }
}

impl Writer {
    /// Runs `work` as one transaction, or as a savepoint of the open pass; all of it or nothing stays.
    fn transact<T>(
        &mut self,
        fault: &dyn Fn(rusqlite::Error) -> Fault,
        work: impl FnOnce(&Connection) -> Result<T, Fault>,
    ) -> Result<T, Fault> {
        let (begin, end, undo) = if self.pass.is_some() {
            (
                "SAVEPOINT task",
                "RELEASE task",
                "ROLLBACK TO task; RELEASE task",
            )
        } else {
            ("BEGIN IMMEDIATE", "COMMIT", "ROLLBACK")
        };
        self.connection.execute_batch(begin).map_err(fault)?;
        let result = work(&self.connection).and_then(|value| {
            self.connection
                .execute_batch(end)
                .map_err(fault)
                .map(|()| value)
        });
        if result.is_err() {
            let _ = self.connection.execute_batch(undo);
            self.notice_undone();
        }
        result
    }

    /// SQLite ends a transaction by itself after some errors (disk full): the pass is gone with everything in it.
    fn notice_undone(&mut self) {
        if self.pass.is_some() && self.connection.is_autocommit() {
            self.pass = None;
            self.undone += 1;
        }
    }
}

impl Log for EmbeddedLog {
    fn kind(&self) -> &'static str {
        "embedded"
    }

    fn topics(&self) -> Result<BTreeMap<String, TopicState>, Fault> {
        let writer = self.shared.writer();
        read::topics(&writer.connection).map_err(self.shared.fault("reading the topics"))
    }

    fn create(&self, wanted: &[TopicSpec]) -> Result<Vec<String>, Fault> {
        let fault = self.shared.fault("creating topics");
        for spec in wanted {
            if spec.name.is_empty() || spec.partitions < 1 {
                return Err(Fault::Config(format!(
                    "topic `{}` cannot have {} partitions",
                    spec.name, spec.partitions
                )));
            }
        }
        let mut writer = self.shared.writer();
        let created = writer.transact(&fault, |connection| {
            let mut created = Vec::new();
            for spec in wanted {
                let known: Option<i64> = connection
                    .query_row(
                        "SELECT 1 FROM topics WHERE name = ?1",
                        [&spec.name],
                        |row| row.get(0),
                    )
                    .optional()
                    .map_err(&fault)?;
                if known.is_none() {
                    insert_topic(connection, spec).map_err(&fault)?;
                    created.push(spec.name.clone());
                }
            }
            Ok(created)
        })?;
        Ok(created)
    }

    fn grow(&self, topic: &str, partitions: i32) -> Result<(), Fault> {
        let fault = self.shared.fault("adding partitions");
        self.shared.writer().transact(&fault, |connection| {
            let known: Option<i32> = connection
                .query_row(
                    "SELECT partitions FROM topics WHERE name = ?1",
                    [topic],
                    |row| row.get(0),
                )
                .optional()
                .map_err(&fault)?;
            let Some(known) = known else {
                return Err(Fault::Config(format!("there is no topic {topic}")));
            };
            if known >= partitions {
                return Ok(());
            }
            connection
                .execute(
                    "UPDATE topics SET partitions = ?2 WHERE name = ?1",
                    rusqlite::params![topic, partitions],
                )
                .map_err(&fault)?;
            insert_partitions(connection, topic, known..partitions).map_err(&fault)
        })
    }

    fn open(&self, who: Membership) -> Result<Box<dyn Session>, Fault> {
        Ok(Box::new(session::EmbeddedSession::open(
            self.shared.clone(),
            who,
        )?))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, Fault> {
        Ok(Box::new(reader::EmbeddedReader::open(&self.shared)?))
    }

    fn pass_begin(&self) -> Result<(), Fault> {
        let mut writer = self.shared.writer_in_turn();
        if writer.pass.is_some() {
            return Err(Fault::Config(
                "a pass is open already: one pass at a time in a process".into(),
            ));
        }
        writer
            .connection
            .execute_batch("BEGIN IMMEDIATE")
            .map_err(self.shared.fault("beginning a pass"))?;
        writer.pass = Some(std::thread::current().id());
        Ok(())
    }

    fn pass_end(&self) -> Result<(), Fault> {
        let mut writer = self.shared.writer();
        if writer.pass.is_none() {
            drop(writer);
            self.shared.pass_over.notify_all();
            // undone when SQLite gave up the transaction; whoever met that error was told, the others are told now
            return Err(Fault::Abort(
                "the pass was undone by an earlier error".into(),
            ));
        }
        let result = writer
            .connection
            .execute_batch("COMMIT")
            .map_err(self.shared.fault("ending a pass"));
        writer.pass = None;
        if result.is_err() {
            if !writer.connection.is_autocommit() {
                let _ = writer.connection.execute_batch("ROLLBACK");
            }
            writer.undone += 1;
        }
        drop(writer);
        self.shared.pass_over.notify_all();
        self.shared.committed();
        result
    }

    fn maintain(&self) -> Result<bool, Fault> {
        maintain::step(&self.shared)
    }
}

fn insert_topic(connection: &Connection, spec: &TopicSpec) -> rusqlite::Result<()> {
    let (cleanup, retention_ms) = match spec.cleanup {
        Cleanup::Compact => ("compact", -1),
        Cleanup::Delete { retention_ms } => ("delete", retention_ms),
    };
    connection.execute(
        "INSERT INTO topics VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        rusqlite::params![
            spec.name,
            spec.partitions,
            cleanup,
            retention_ms,
            spec.append_time,
            spec.max_message_bytes,
            spec.delete_retention_ms
        ],
    )?;
    insert_partitions(connection, &spec.name, 0..spec.partitions)
}

fn insert_partitions(
    connection: &Connection,
    topic: &str,
    partitions: std::ops::Range<i32>,
) -> rusqlite::Result<()> {
    for partition in partitions {
        connection.execute(
            "INSERT INTO partitions (topic, partition) VALUES (?1, ?2)",
            rusqlite::params![topic, partition],
        )?;
    }
    Ok(())
}
