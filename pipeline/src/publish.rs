//! A few records of one topic in one transaction, for commands that say something and go.

use cairn_avro::{codec, contract};
use cairn_bus::{Fault, Log, Membership, Offsets, Outgoing, SchemaRegistry};
use cairn_topics::{Keyed, partition_of, split_tenant};
use std::sync::Arc;
use std::time::Duration;

/// How long it waits as it leaves.
const PATIENCE: Duration = Duration::from_secs(5);

/// Writes records; all of them or none.
///
/// # Errors
/// A topic that does not exist, a record that cannot be written, or whatever the log or the registry says.
pub fn publish<T: contract::Record>(
    log: &dyn Log,
    registry: &dyn SchemaRegistry,
    who: &Who<'_>,
    topic: &str,
    records: &[Keys<T>],
) -> Result<(), Fault> {
    let base = split_tenant(topic).map_or(topic, |(_, known)| known.name);
    let id = registry.id_of(&contract::subject(base), T::entry().schema)?;
    let partitions = log
        .topics()?
        .get(topic)
        .ok_or_else(|| {
            Fault::Config(format!(
                "topic {topic} does not exist; run `cairn topics apply`"
            ))
        })?
        .partitions;
    let mut session = log.open(Membership {
        operator: who.operator.to_owned(),
        group: format!("{}.{}", who.app_id, who.operator),
        instance: who.instance.to_owned(),
        thread: 0,
        topics: Vec::new(),
    })?;
    let topic: Arc<str> = topic.into();
    for keyed in records {
        let mut value = Vec::with_capacity(256);
        codec::encode_framed(id, &keyed.record, &mut value)
            .map_err(|error| Fault::Config(format!("{topic}: {error}")))?;
        session.send(Outgoing {
            topic: topic.clone(),
            partition: partition_of(&keyed.partition_key, partitions),
            key: Some(keyed.record_key.clone().into_bytes()),
            value: Some(value),
            headers: Vec::new(),
        })?;
    }
    session.commit(&Offsets::new())?;
    session.close(PATIENCE)
}

/// A record with its keys.
#[derive(Clone, Debug)]
pub struct Keys<T> {
    /// What the partitioner hashes.
    pub partition_key: String,
    /// Its key on the log.
    pub record_key: String,
    /// The record.
    pub record: T,
}

impl<T: Keyed> From<T> for Keys<T> {
    fn from(record: T) -> Self {
        Self {
            partition_key: record.partition_key(),
            record_key: record.record_key(),
            record,
        }
    }
}

/// Who writes, as transactional ids name it.
#[derive(Clone, Copy, Debug)]
pub struct Who<'a> {
    /// Prefix of this deployment.
    pub app_id: &'a str,
    /// What it is that writes.
    pub operator: &'a str,
    /// Which of them.
    pub instance: &'a str,
}
