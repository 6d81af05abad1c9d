//! What a commit writes: who may, batches, offsets. Runs inside a transaction or a savepoint.

use super::super::file::OFFSETS;
use super::super::read;
use super::{Batch, EmbeddedSession};
use crate::log::{Fault, Membership, Offsets, TopicPartition};
use rusqlite::{Connection, OptionalExtension, params};

impl EmbeddedSession {
    /// The offsets and records of one commit; runs inside a transaction or savepoint.
    pub(super) fn write(
        &self,
        connection: &Connection,
        batches: &[(TopicPartition, Vec<Batch>)],
        offsets: &Offsets,
    ) -> Result<(), Fault> {
        let fault = self.shared.fault("committing");
        self.check_epochs(connection)?;
        for (part, batches) in batches {
            let place = read::known_place(connection, part, &fault)?;
            let mut next = place.next;
            let now = self.shared.now_ms().max(place.last_append_time_ms);
            for (records, plain_bytes, data) in batches {
                let last = next + records - 1;
                connection
                    .prepare_cached("INSERT INTO batches VALUES (?1, ?2, ?3, ?3, ?4, ?5, ?6)")
                    .and_then(|mut insert| {
                        insert.execute(params![
                            place.id * OFFSETS + last,
                            next,
                            now,
                            records,
                            *plain_bytes as i64,
                            data
                        ])
                    })
                    .map_err(&fault)?;
                next = last + 1;
            }
            connection
                .prepare_cached("UPDATE partitions SET next_offset = ?2, last_append_time_ms = ?3 WHERE id = ?1")
                .and_then(|mut update| update.execute(params![place.id, next, now]))
                .map_err(&fault)?;
        }
        for (part, next) in offsets {
            connection
                .prepare_cached(
                    "INSERT INTO offsets VALUES (?1, ?2, ?3, ?4) ON CONFLICT DO UPDATE SET next_offset = excluded.next_offset",
                )
                .and_then(|mut upsert| upsert.execute(params![self.who.group, &*part.topic, part.partition, next]))
                .map_err(&fault)?;
        }
        Ok(())
    }

    fn check_epochs(&self, connection: &Connection) -> Result<(), Fault> {
        let fault = self.shared.fault("checking ownership");
        let owner: Option<(i64, u32)> = connection
            .prepare_cached("SELECT epoch, pid FROM owners WHERE operator = ?1 AND instance = ?2 AND thread = ?3")
            .and_then(|mut select| {
                select
                    .query_row(params![self.who.operator, self.who.instance, self.who.thread], |row| {
                        Ok((row.get(0)?, row.get(1)?))
                    })
                    .optional()
            })
            .map_err(&fault)?;
        let Membership {
            operator,
            group,
            instance,
            thread,
            ..
        } = &self.who;
        match owner {
            Some((epoch, _)) if epoch == self.owner_epoch => {}
            Some((_, pid)) => {
                return Err(Fault::Fenced(format!(
                    "{operator} (instance {instance}, thread {thread}) was opened again by pid {pid}"
                )));
            }
            None => {
                return Err(Fault::Fenced(format!(
                    "{operator} (instance {instance}) is not known any more"
                )));
            }
        }
        if self.who.topics.is_empty() {
            return Ok(());
        }
        let holder: Option<(i64, u32, String)> = connection
            .prepare_cached("SELECT epoch, pid, instance FROM consumer_groups WHERE name = ?1")
            .and_then(|mut select| {
                select
                    .query_row([group], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
                    .optional()
            })
            .map_err(&fault)?;
        match holder {
            Some((epoch, _, _)) if epoch == self.group_epoch => Ok(()),
            Some((_, pid, instance)) => Err(Fault::Fenced(format!(
                "group {group} was taken over by pid {pid} (instance {instance}); the embedded log gives a group to one member"
            ))),
            None => Err(Fault::Fenced(format!(
                "group {group} is not known any more"
            ))),
        }
    }
}
