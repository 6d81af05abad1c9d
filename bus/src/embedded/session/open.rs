//! Opening a session fences its predecessor: the epochs of owner and group go up in one transaction.

use super::{EmbeddedSession, Hold};
use crate::embedded::{Shared, read};
use crate::log::{Fault, Membership};
use rusqlite::params;
use std::collections::BTreeMap;
use std::sync::Arc;

impl EmbeddedSession {
    pub(in crate::embedded) fn open(shared: Arc<Shared>, who: Membership) -> Result<Self, Fault> {
        let lock = if who.topics.is_empty() {
            None
        } else {
            Some(shared.group_lock(&who.group, &who.instance)?)
        };
        let fault = shared.fault("opening a session");
        let now = shared.now_ms();
        let mut writer = shared.writer();
        if writer.pass.is_some() {
            return Err(Fault::Config(
                "a session cannot be opened inside a pass".into(),
            ));
        }
        let topics = read::topics(&writer.connection).map_err(&fault)?;
        let missing: Vec<_> = who
            .topics
            .iter()
            .filter(|name| !topics.contains_key(*name))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            return Err(Fault::Config(format!(
                "there is no topic {}; `cairn topics apply` creates the topics of the catalogue",
                missing.join(", ")
            )));
        }
        let undone = writer.undone;
        let (owner_epoch, group_epoch) = writer.transact(&fault, |connection| {
            let owner_epoch = connection
                .query_row(
                    "INSERT INTO owners VALUES (?1, ?2, ?3, 1, ?4, ?5) ON CONFLICT DO UPDATE
                     SET epoch = epoch + 1, pid = excluded.pid, since_ms = excluded.since_ms RETURNING epoch",
                    params![who.operator, who.instance, who.thread, std::process::id(), now],
                    |row| row.get(0),
                )
                .map_err(&fault)?;
            if who.topics.is_empty() {
                return Ok((owner_epoch, 0));
            }
            let group_epoch = connection
                .query_row(
                    "INSERT INTO consumer_groups VALUES (?1, 1, ?2, ?3, ?4) ON CONFLICT DO UPDATE
                     SET epoch = epoch + 1, pid = excluded.pid, instance = excluded.instance, since_ms = excluded.since_ms
                     RETURNING epoch",
                    params![who.group, std::process::id(), who.instance, now],
                    |row| row.get(0),
                )
                .map_err(&fault)?;
            Ok((owner_epoch, group_epoch))
        })?;
        drop(writer);
        drop(fault);
        let hold = if who.topics.is_empty() {
            Hold::Nothing
        } else {
            Hold::New
        };
        Ok(Self {
            shared,
            who,
            _lock: lock,
            owner_epoch,
            group_epoch,
            topics,
            hold,
            reading: BTreeMap::new(),
            pending: BTreeMap::new(),
            pending_bytes: 0,
            undone,
            turn: 0,
            idle_at: None,
            gaps: Vec::new(),
        })
    }
}
