//! Retention and compaction, a partition at a time, in short write transactions.
//!
//! Compaction reads a partition twice: first it notes the latest offset of each key, then it rewrites batches that hold
//! something older. Offsets stay what they are. It looks at what was committed when it began; what comes meanwhile waits for
//! the next time. Only one process maintains a file at a time.

use super::batch::{Builder, Packed};
use super::file::{self, OFFSETS};
use super::read::{self, Raw};
use super::{Shared, Writer};
use crate::log::{Cleanup, Fault, TopicPartition, TopicState};
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::sync::Arc;

/// What one look takes out of the file, and so what one write transaction replaces.
const CHUNK_BYTES: i64 = 4 << 20;
/// Rewritten batches hold about this much before compression.
const BATCH_BYTES: usize = 256 << 10;
/// So many batches are deleted in one transaction.
const DELETE_BATCHES: i64 = 1_000;
/// So many pages are given back to the file system at a time (8 MiB).
const VACUUM_PAGES: i64 = 2_000;

/// A partition, and what decides whether it is to be compacted.
struct Candidate {
    part: TopicPartition,
    id: i64,
    next: i64,
    compacted: i64,
    tombstone_due_ms: i64,
    topic: TopicState,
}

/// One step: all retention that is due, and one partition compacted. True if there is more.
pub(super) fn step(shared: &Shared) -> Result<bool, Fault> {
    let lock = std::fs::File::create(shared.locks.join(".maintain.lock")).map_err(|error| {
        Fault::Config(format!("cannot use {}: {error}", shared.locks.display()))
    })?;
    if lock.try_lock().is_err() {
        return Ok(false);
    }
    let connection = file::open_to_read(&shared.path, shared.settings.busy_timeout)?;
    let fault = shared.fault("maintaining it");
    let mut more = false;
    let mut due = None;
    for candidate in candidates(&connection).map_err(&fault)? {
        match candidate.topic.cleanup {
            Cleanup::Delete { retention_ms } if retention_ms >= 0 => {
                more |= retain(shared, &candidate, shared.now_ms() - retention_ms)?;
            }
            Cleanup::Delete { .. } => {}
            Cleanup::Compact => {
                if is_due(shared, &connection, &candidate).map_err(&fault)? {
                    more |= due.is_some();
                    due = due.or(Some(candidate));
                }
            }
        }
    }
    if let Some(candidate) = due {
        compact(shared, &connection, &candidate)?;
    }
    give_back(&shared.writer()).map_err(&fault)?;
    Ok(more)
}

fn candidates(connection: &Connection) -> rusqlite::Result<Vec<Candidate>> {
    let topics = read::topics(connection)?;
    let mut statement = connection.prepare(
        "SELECT id, topic, partition, next_offset, compacted_offset, tombstone_due_ms FROM partitions ORDER BY id",
    )?;
    let rows = statement.query_map([], |row| {
        let topic: String = row.get(1)?;
        Ok((
            row.get(0)?,
            topic,
            row.get(2)?,
            row.get(3)?,
            row.get(4)?,
            row.get(5)?,
        ))
    })?;
    let mut found = Vec::new();
    for row in rows {
        let (id, topic, partition, next, compacted, tombstone_due_ms) = row?;
        let Some(state) = topics.get(&topic) else {
            continue;
        };
        let part = TopicPartition {
            topic: Arc::from(topic),
            partition,
        };
        found.push(Candidate {
            part,
            id,
            next,
            compacted,
            tombstone_due_ms,
            topic: state.clone(),
        });
    }
    Ok(found)
}

/// Deletes batches whose last record is older; true if there may be more.
fn retain(shared: &Shared, candidate: &Candidate, before_ms: i64) -> Result<bool, Fault> {
    let fault = shared.fault("deleting old records");
    let (low, high) = (candidate.id * OFFSETS, (candidate.id + 1) * OFFSETS);
    let deleted = shared.writer().transact(&fault, |connection| {
        let deleted = connection
            .prepare_cached(
                "DELETE FROM batches WHERE id IN
                 (SELECT id FROM batches WHERE id >= ?1 AND id < ?2 AND last_append_time_ms < ?3 ORDER BY id LIMIT ?4)",
            )
            .and_then(|mut delete| delete.execute(params![low, high, before_ms, DELETE_BATCHES]))
            .map_err(&fault)?;
        if deleted > 0 {
            connection
                .prepare_cached(
                    "UPDATE partitions SET start_offset = coalesce(
                       (SELECT first_offset FROM batches WHERE id >= ?2 AND id < ?3 ORDER BY id LIMIT 1), next_offset)
                     WHERE id = ?1",
                )
                .and_then(|mut update| update.execute(params![candidate.id, low, high]))
                .map_err(&fault)?;
        }
        Ok(deleted as i64)
    })?;
    Ok(deleted == DELETE_BATCHES)
}

/// Compaction pays when at least half as much is new as is old, or a tombstone's time is over.
fn is_due(
    shared: &Shared,
    connection: &Connection,
    candidate: &Candidate,
) -> rusqlite::Result<bool> {
    if candidate.tombstone_due_ms > 0 && candidate.tombstone_due_ms < shared.now_ms() {
        return Ok(true);
    }
    if candidate.compacted >= candidate.next {
        return Ok(false);
    }
    let bytes = |low: i64, high: i64| -> rusqlite::Result<i64> {
        connection
            .prepare_cached(
                "SELECT coalesce(sum(plain_bytes), 0) FROM batches WHERE id >= ?1 AND id < ?2",
            )?
            .query_row(params![low, high], |row| row.get(0))
    };
    let low = candidate.id * OFFSETS;
    let old = bytes(low, low + candidate.compacted)?;
    let new = bytes(low + candidate.compacted, low + OFFSETS)?;
    Ok(new >= shared.settings.compact_after_bytes && new * 2 >= old)
}

fn compact(shared: &Shared, connection: &Connection, candidate: &Candidate) -> Result<(), Fault> {
    let fault = shared.fault("compacting");
    let damaged = read::damaged(&shared.path, &candidate.part);
    let mut latest: HashMap<Vec<u8>, i64> = HashMap::new();
    each_chunk(shared, connection, candidate, &mut |chunk| {
        for raw in chunk {
            for packed in raw.unpack().map_err(&damaged)? {
                if let Some(key) = packed.key.filter(|_| packed.offset < candidate.next) {
                    latest.insert(key, packed.offset);
                }
            }
        }
        Ok(())
    })?;
    let lags = &shared.settings.compaction_lag_ms;
    let lag_ms = lags.get(&*candidate.part.topic).copied().unwrap_or(0);
    let young_from_ms = shared.now_ms().saturating_sub(lag_ms);
    let tombstone_ms = candidate.topic.delete_retention_ms.max(lag_ms);
    let gone_before_ms = shared.now_ms().saturating_sub(tombstone_ms);
    let mut tombstone_due_ms = 0;
    let mut keeps = |packed: &Packed| {
        let is_latest = packed.offset >= candidate.next
            || packed
                .key
                .as_ref()
                .is_some_and(|key| latest.get(key) == Some(&packed.offset));
        if is_latest && packed.value.is_none() {
            if packed.append_time_ms < gone_before_ms {
                return false;
            }
            let due = packed.append_time_ms.saturating_add(tombstone_ms);
            tombstone_due_ms = if tombstone_due_ms == 0 {
                due
            } else {
                due.min(tombstone_due_ms)
            };
        }
        is_latest || (lag_ms > 0 && packed.append_time_ms >= young_from_ms)
    };
    each_chunk(shared, connection, candidate, &mut |chunk| {
        let mut replaced = Vec::new();
        let mut group = Group::default();
        for raw in chunk {
            let records = raw.unpack().map_err(&damaged)?;
            let before = records.len();
            group.ids.push(raw.id);
            group
                .records
                .extend(records.into_iter().filter(|packed| keeps(packed)));
            group.bytes += raw.plain_bytes as usize;
            group.before += before;
            if group.bytes >= BATCH_BYTES {
                replaced.push(std::mem::take(&mut group));
            }
        }
        replaced.push(group);
        // a single batch that keeps everything stays as it is
        replaced.retain(|group| group.ids.len() > 1 || group.records.len() < group.before);
        if replaced.is_empty() {
            return Ok(());
        }
        shared.writer().transact(&fault, |connection| {
            replaced
                .iter()
                .try_for_each(|group| group.replace(connection))
                .map_err(&fault)
        })
    })?;
    shared.writer().transact(&fault, |connection| {
        connection
            .execute(
                "UPDATE partitions SET compacted_offset = ?2, tombstone_due_ms = ?3 WHERE id = ?1",
                params![candidate.id, candidate.next, tombstone_due_ms],
            )
            .map_err(&fault)
    })?;
    Ok(())
}

/// Batches that become one.
#[derive(Default)]
struct Group {
    ids: Vec<i64>,
    records: Vec<Packed>,
    bytes: usize,
    /// Records before anything was dropped.
    before: usize,
}

impl Group {
    fn replace(&self, connection: &Connection) -> rusqlite::Result<()> {
        for id in &self.ids {
            connection
                .prepare_cached("DELETE FROM batches WHERE id = ?1")?
                .execute([id])?;
        }
        let (Some(id), Some(first), Some(last)) =
            (self.ids.last(), self.records.first(), self.records.last())
        else {
            return Ok(());
        };
        let mut builder = Builder::default();
        for packed in &self.records {
            builder.push(
                packed.offset - first.offset,
                packed.append_time_ms - first.append_time_ms,
                packed.key.as_deref(),
                packed.value.as_deref(),
                &packed.headers,
            );
        }
        connection
            .prepare_cached("INSERT INTO batches VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)")?
            .execute(params![
                id,
                first.offset,
                first.append_time_ms,
                last.append_time_ms,
                builder.records(),
                builder.len_bytes() as i64,
                builder.compress()
            ])?;
        Ok(())
    }
}

/// Every batch that was committed when the step began, some megabytes at a time.
fn each_chunk(
    shared: &Shared,
    connection: &Connection,
    candidate: &Candidate,
    work: &mut dyn FnMut(&[Raw]) -> Result<(), Fault>,
) -> Result<(), Fault> {
    let mut position = 0;
    while position < candidate.next {
        let mut chunk = read::batches(connection, candidate.id, position, CHUNK_BYTES)
            .map_err(shared.fault("reading a partition"))?;
        chunk.retain(|raw| raw.last_offset() < candidate.next);
        let Some(last) = chunk.last() else { break };
        position = last.last_offset() + 1;
        work(&chunk)?;
    }
    Ok(())
}

/// Gives free pages back to the file system when they are a quarter of the file.
fn give_back(writer: &Writer) -> rusqlite::Result<()> {
    if writer.pass.is_some() {
        return Ok(());
    }
    let pragma = |name| {
        writer
            .connection
            .pragma_query_value(None, name, |row| row.get::<_, i64>(0))
    };
    if pragma("freelist_count")? * 4 > pragma("page_count")? {
        writer
            .connection
            .execute_batch(&format!("PRAGMA incremental_vacuum({VACUUM_PAGES})"))?;
    }
    Ok(())
}
