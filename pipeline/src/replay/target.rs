//! The new log that a replay writes into: an embedded one, with the topics, partitions and schema ids of the original.

use super::{Trouble, lane, shown};
use crate::connect::Place;
use cairn_avro::frame;
use cairn_bus::embedded::EmbeddedLog;
use cairn_bus::{
    Fault, Log, Lookup, Membership, Offsets, Outgoing, SchemaRegistry, Session, TopicSpec,
    TopicState,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// So much is written in one transaction.
const TRANSACTION_BYTES: usize = 8 << 20;

/// Refuses a directory that holds something.
pub(super) fn must_be_new(into: &Path) -> Result<(), Trouble> {
    match std::fs::read_dir(into) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(lane::not_new(into)),
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(Trouble::refused(
            error.to_string(),
            shown(into),
            "name a directory that can be made",
        )),
    }
}

pub(super) struct Target {
    log: EmbeddedLog,
    session: Box<dyn Session>,
    registry: Arc<dyn SchemaRegistry>,
    kept: BTreeSet<(Arc<str>, u32)>,
    pending_bytes: usize,
}

impl Target {
    pub(super) fn open(
        into: &Path,
        original: &Place,
        topics: &BTreeMap<String, TopicState>,
    ) -> Result<Self, Trouble> {
        let log = EmbeddedLog::open(into)?;
        let specs: Vec<TopicSpec> = topics
            .iter()
            .map(|(name, state)| TopicSpec {
                append_time: state.append_time,
                max_message_bytes: state.max_message_bytes,
                delete_retention_ms: state.delete_retention_ms,
                ..TopicSpec::new(name.as_str(), state.partitions, state.cleanup)
            })
            .collect();
        log.create(&specs)?;
        let session = log.open(Membership {
            operator: "replay".to_owned(),
            group: "replay".to_owned(),
            instance: "replay".to_owned(),
            thread: 0,
            topics: Vec::new(),
        })?;
        Ok(Self {
            log,
            session,
            registry: original.registry.clone(),
            kept: BTreeSet::new(),
            pending_bytes: 0,
        })
    }

    /// Writes a record, and the schema that it needs to be read.
    pub(super) fn send(&mut self, out: Outgoing) -> Result<(), Trouble> {
        if let Some(Ok(frame)) = out
            .value
            .as_deref()
            .filter(|v| v.first() == Some(&0))
            .map(frame::split)
        {
            let key = (out.topic.clone(), frame.schema_id);
            if !self.kept.contains(&key) {
                if let Lookup::Schema(schema) = self.registry.schema_of(frame.schema_id)? {
                    let subject = cairn_avro::contract::subject(&out.topic);
                    self.log.keep_schema(&subject, frame.schema_id, &schema)?;
                }
                self.kept.insert(key);
            }
        }
        self.pending_bytes += out.size_bytes();
        self.session.send(out)?;
        if self.pending_bytes >= TRANSACTION_BYTES {
            self.commit()?;
        }
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Fault> {
        self.pending_bytes = 0;
        self.session.commit(&Offsets::new())
    }

    pub(super) fn finish(mut self) -> Result<(), Trouble> {
        self.commit()?;
        Ok(self.session.close(Duration::from_secs(10))?)
    }
}
