//! What both sessions and readers read: topics, places, batches. Each call is one short statement or two; batches are taken
//! out as they are and unpacked when no lock is held any more.

use super::batch::{self, Damaged, Packed};
use super::file::OFFSETS;
use crate::log::{Cleanup, Fault, TopicPartition, TopicState};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::BTreeMap;
use std::path::Path;

/// A partition's row.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Place {
    pub(crate) id: i64,
    pub(crate) start: i64,
    pub(crate) next: i64,
    pub(crate) last_append_time_ms: i64,
}

/// A batch as it is stored.
pub(crate) struct Raw {
    pub(crate) id: i64,
    pub(crate) first_offset: i64,
    pub(crate) first_append_time_ms: i64,
    pub(crate) plain_bytes: i64,
    pub(crate) data: Vec<u8>,
}

impl Raw {
    pub(crate) fn last_offset(&self) -> i64 {
        self.id % OFFSETS
    }

    pub(crate) fn unpack(&self) -> Result<Vec<Packed>, Damaged> {
        batch::unpack(self.first_offset, self.first_append_time_ms, &self.data)
    }
}

/// What a damaged batch means for the caller.
pub(crate) fn damaged(path: &Path, place: &TopicPartition) -> impl Fn(Damaged) -> Fault {
    move |error| {
        Fault::Config(format!(
            "{}: {place} holds {error}. Restore the file from a copy",
            path.display()
        ))
    }
}

pub(crate) fn topics(connection: &Connection) -> rusqlite::Result<BTreeMap<String, TopicState>> {
    let mut statement = connection.prepare_cached("SELECT * FROM topics")?;
    let rows = statement.query_map([], |row| {
        let retention_ms = row.get("retention_ms")?;
        let cleanup = match row.get_ref("cleanup")?.as_str()? {
            "compact" => Cleanup::Compact,
            _ => Cleanup::Delete { retention_ms },
        };
        let state = TopicState {
            partitions: row.get("partitions")?,
            cleanup,
            append_time: row.get("append_time")?,
            max_message_bytes: row.get("max_message_bytes")?,
            delete_retention_ms: row.get("delete_retention_ms")?,
        };
        Ok((row.get("name")?, state))
    })?;
    rows.collect()
}

pub(crate) fn place(
    connection: &Connection,
    part: &TopicPartition,
) -> rusqlite::Result<Option<Place>> {
    connection
        .prepare_cached(
            "SELECT id, start_offset, next_offset, last_append_time_ms FROM partitions WHERE topic = ?1 AND partition = ?2",
        )?
        .query_row(params![&*part.topic, part.partition], |row| {
            Ok(Place { id: row.get(0)?, start: row.get(1)?, next: row.get(2)?, last_append_time_ms: row.get(3)? })
        })
        .optional()
}

/// A partition that must exist.
pub(crate) fn known_place(
    connection: &Connection,
    part: &TopicPartition,
    fault: impl Fn(rusqlite::Error) -> Fault,
) -> Result<Place, Fault> {
    place(connection, part).map_err(fault)?.ok_or_else(|| {
        Fault::Config(format!(
            "there is no {part}; `cairn topics apply` creates the topics of the catalogue"
        ))
    })
}

/// Start and end of a topic's partitions, in order; empty if there is no such topic.
pub(crate) fn ends(connection: &Connection, topic: &str) -> rusqlite::Result<Vec<(i32, i64, i64)>> {
    connection
        .prepare_cached("SELECT partition, start_offset, next_offset FROM partitions WHERE topic = ?1 ORDER BY partition")?
        .query_map([topic], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

/// The batches from the one that holds `from` on, until they hold `max_bytes`; at least one if there is one.
pub(crate) fn batches(
    connection: &Connection,
    id: i64,
    from: i64,
    max_bytes: i64,
) -> rusqlite::Result<Vec<Raw>> {
    let mut statement = connection.prepare_cached(
        "SELECT id, first_offset, first_append_time_ms, plain_bytes, data FROM batches WHERE id >= ?1 AND id < ?2 ORDER BY id",
    )?;
    let mut rows = statement.query(params![
        id * OFFSETS + from.clamp(0, OFFSETS - 1),
        (id + 1) * OFFSETS
    ])?;
    let mut found = Vec::new();
    let mut bytes = 0;
    while let Some(row) = rows.next()? {
        let raw = Raw {
            id: row.get(0)?,
            first_offset: row.get(1)?,
            first_append_time_ms: row.get(2)?,
            plain_bytes: row.get(3)?,
            data: row.get(4)?,
        };
        bytes += raw.plain_bytes;
        found.push(raw);
        if bytes >= max_bytes {
            break;
        }
    }
    Ok(found)
}
