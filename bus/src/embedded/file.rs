//! The SQLite file: its tables, how it is opened, and what its errors mean for the caller.

use super::EmbeddedSettings;
use crate::log::Fault;
use rusqlite::{Connection, ErrorCode, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// "crn1": says that a SQLite file is ours.
const APPLICATION_ID: i32 = 0x6372_6e31;
/// Goes up when an older program could misread the tables; such a program refuses the file.
const FORMAT: i32 = 1;

/// `batches.id` is the partition's number times this plus the batch's last offset: one B-tree is the index, a partition's
/// batches lie side by side, and appending is always at the end of a range. 2^44 offsets at 1,000,000 records a second last
/// 200 days; at the 10,000 that one file is good for, 55 years. 2^19 partitions remain.
pub(crate) const OFFSETS: i64 = 1 << 44;

const TABLES: &str = "
CREATE TABLE topics (
    name TEXT PRIMARY KEY,
    partitions INTEGER NOT NULL,
    cleanup TEXT NOT NULL CHECK (cleanup IN ('compact', 'delete')),
    retention_ms INTEGER NOT NULL,
    append_time INTEGER NOT NULL,
    max_message_bytes INTEGER NOT NULL,
    delete_retention_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE partitions (
    id INTEGER PRIMARY KEY,
    topic TEXT NOT NULL REFERENCES topics (name),
    partition INTEGER NOT NULL,
    start_offset INTEGER NOT NULL DEFAULT 0,
    next_offset INTEGER NOT NULL DEFAULT 0,
    last_append_time_ms INTEGER NOT NULL DEFAULT 0,
    compacted_offset INTEGER NOT NULL DEFAULT 0,
    tombstone_due_ms INTEGER NOT NULL DEFAULT 0,
    UNIQUE (topic, partition)
) STRICT;
CREATE TABLE batches (
    id INTEGER PRIMARY KEY,
    first_offset INTEGER NOT NULL,
    first_append_time_ms INTEGER NOT NULL,
    last_append_time_ms INTEGER NOT NULL,
    records INTEGER NOT NULL,
    plain_bytes INTEGER NOT NULL,
    data BLOB NOT NULL
) STRICT;
CREATE TABLE offsets (
    consumer_group TEXT NOT NULL,
    topic TEXT NOT NULL,
    partition INTEGER NOT NULL,
    next_offset INTEGER NOT NULL,
    PRIMARY KEY (consumer_group, topic, partition)
) STRICT, WITHOUT ROWID;
CREATE TABLE owners (
    operator TEXT NOT NULL,
    instance TEXT NOT NULL,
    thread INTEGER NOT NULL,
    epoch INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    PRIMARY KEY (operator, instance, thread)
) STRICT, WITHOUT ROWID;
CREATE TABLE consumer_groups (
    name TEXT PRIMARY KEY,
    epoch INTEGER NOT NULL,
    pid INTEGER NOT NULL,
    instance TEXT NOT NULL,
    since_ms INTEGER NOT NULL
) STRICT;
CREATE TABLE schemas (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    text TEXT NOT NULL,
    canonical TEXT NOT NULL UNIQUE
) STRICT;
CREATE TABLE subjects (
    name TEXT NOT NULL,
    version INTEGER NOT NULL,
    schema_id INTEGER NOT NULL REFERENCES schemas (id),
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;
CREATE TABLE compatibility (
    subject TEXT PRIMARY KEY,
    level TEXT NOT NULL
) STRICT;
";

/// What a commit survives. A `kill -9` it survives always: the pages are the kernel's by then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Durability {
    /// SQLite's `synchronous=NORMAL`: after a power loss the last seconds may be gone, *whole commits, newest first*: outputs,
    /// state and offsets together, so that the file is consistent and the input is simply read again. What came in over HTTP
    /// and was acknowledged in those seconds is lost. A commit costs no fsync. The same bargain as one Kafka broker's.
    #[default]
    Process,
    /// `synchronous=FULL`: an fsync for each commit (1 to 20 ms on a disk), and nothing acknowledged is ever lost.
    PowerLoss,
}

/// Opens the file for writing and makes its tables where there are none. No statement runs before `busy_timeout` is set.
pub(crate) fn open(path: &Path, settings: &EmbeddedSettings) -> Result<Connection, Fault> {
    let fault = |error| sorted(path, "opening it", error);
    let mut connection = Connection::open(path).map_err(fault)?;
    connection
        .busy_timeout(settings.busy_timeout)
        .map_err(fault)?;
    check(path, &connection)?;
    let synchronous = match settings.durability {
        Durability::Process => "NORMAL",
        Durability::PowerLoss => "FULL",
    };
    if format_of(&connection).map_err(fault)? == 0 {
        // both must be set before the first table; the WAL mode stays in the file
        connection
            .execute_batch("PRAGMA auto_vacuum=INCREMENTAL; PRAGMA journal_mode=WAL;")
            .map_err(fault)?;
        let transaction = connection
            .transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)
            .map_err(fault)?;
        // another process may have been first
        if format_of(&transaction).map_err(fault)? == 0 {
            transaction.execute_batch(TABLES).map_err(fault)?;
            transaction
                .execute_batch(&format!(
                    "PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={FORMAT};"
                ))
                .map_err(fault)?;
        }
        transaction.commit().map_err(fault)?;
    }
    connection
        .execute_batch(&format!(
            // after a burst the WAL is cut back to 64 MiB
            "PRAGMA synchronous={synchronous}; PRAGMA journal_size_limit=67108864; PRAGMA temp_store=MEMORY;"
        ))
        .map_err(fault)?;
    if let Some(bytes) = settings.max_file_bytes {
        let page: i64 = connection
            .pragma_query_value(None, "page_size", |row| row.get(0))
            .map_err(fault)?;
        connection
            .execute_batch(&format!(
                "PRAGMA max_page_count={}",
                (bytes / page.unsigned_abs().max(1)).max(1)
            ))
            .map_err(fault)?;
    }
    connection.set_prepared_statement_cache_capacity(64);
    // what SQLite only finds out when it writes is to be said at the start
    connection
        .execute_batch("BEGIN IMMEDIATE; ROLLBACK;")
        .map_err(fault)?;
    Ok(connection)
}

/// Opens the file for reading only; it must exist.
pub(crate) fn open_to_read(path: &Path, busy: Duration) -> Result<Connection, Fault> {
    let fault = |error| sorted(path, "opening it to read", error);
    // read-write, because a WAL reader takes part in the shared-memory index; `query_only` forbids the rest
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(fault)?;
    connection.busy_timeout(busy).map_err(fault)?;
    check(path, &connection)?;
    connection
        .execute_batch("PRAGMA query_only=ON;")
        .map_err(fault)?;
    Ok(connection)
}

fn format_of(connection: &Connection) -> rusqlite::Result<i32> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Refuses what is not ours and what a newer program wrote.
fn check(path: &Path, connection: &Connection) -> Result<(), Fault> {
    let fault = |error| sorted(path, "opening it", error);
    let format = format_of(connection).map_err(fault)?;
    let application: i32 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(fault)?;
    if format > FORMAT && application == APPLICATION_ID {
        return Err(Fault::Config(format!(
            "{} was written by a newer version of cairn (format {format}, this one knows up to {FORMAT}); use that version",
            path.display()
        )));
    }
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(fault)?;
    if application != APPLICATION_ID && (tables > 0 || format != 0) {
        return Err(Fault::Config(format!(
            "{} is a SQLite file of another program",
            path.display()
        )));
    }
    Ok(())
}

/// What a SQLite error means for the caller; `doing` completes "while …".
pub(crate) fn sorted(path: &Path, doing: &str, error: rusqlite::Error) -> Fault {
    let place = path.display();
    match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Fault::Config(format!(
            "no space left for {place} (while {doing}); nothing of this commit was kept. Free space on that disk, or shorten \
             the retention of topics, and start again"
        )),
        Some(ErrorCode::ReadOnly | ErrorCode::CannotOpen | ErrorCode::PermissionDenied) => {
            Fault::Config(format!(
                "cannot write {place} (while {doing}): {error}. The directory and the file must exist and be writable for this user, \
             `-wal` and `-shm` beside it too"
            ))
        }
        Some(ErrorCode::NotADatabase) => Fault::Config(format!("{place} is no database: {error}")),
        Some(ErrorCode::DatabaseCorrupt) => Fault::Config(format!(
            "{place} is damaged (while {doing}): {error}. Restore it from a copy"
        )),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Fault::Unreachable(format!(
            "another process kept {place} locked for longer than the busy time-out (while {doing})"
        )),
        // the transaction may or may not have reached the disk
        Some(ErrorCode::SystemIoFailure) => Fault::Unknown(format!(
            "reading or writing {place} failed (while {doing}): {error}"
        )),
        _ => Fault::Unknown(format!("{place} (while {doing}): {error}")),
    }
}
