//! Sending: a record is checked against its topic and packed; the log sees it with the commit.

use super::EmbeddedSession;
use crate::embedded::batch::Builder;
use crate::embedded::read;
use crate::log::{Cleanup, Fault, Outgoing, TopicPartition};

/// A stored batch holds about this much before compression: large enough to compress, small enough to read one record of.
const BATCH_BYTES: usize = 256 << 10;
/// What one transaction may hold in memory; a pass commits long before.
const TRANSACTION_BYTES: usize = 1 << 30;

impl EmbeddedSession {
    /// Packs a record.
    pub(super) fn put(&mut self, out: Outgoing) -> Result<(), Fault> {
        if !self.topics.contains_key(&*out.topic) {
            self.topics = read::topics(&self.shared.writer().connection)
                .map_err(self.shared.fault("reading topics"))?;
        }
        let part = TopicPartition {
            topic: out.topic.clone(),
            partition: out.partition,
        };
        let Some(topic) = self
            .topics
            .get(&*out.topic)
            .filter(|topic| (0..topic.partitions).contains(&out.partition))
        else {
            return Err(Fault::Config(format!(
                "there is no {part}; `cairn topics apply` creates the topics of the catalogue"
            )));
        };
        let size = out.size_bytes();
        if size > topic.max_message_bytes as usize {
            return Err(Fault::Config(format!(
                "a record of {size} bytes for {part} is larger than the topic's max_message_bytes {}",
                topic.max_message_bytes
            )));
        }
        if topic.cleanup == Cleanup::Compact && out.key.is_none() {
            return Err(Fault::Config(format!(
                "a record for {part} has no key, but the topic is compacted by key"
            )));
        }
        self.pending_bytes += size;
        if self.pending_bytes > TRANSACTION_BYTES {
            return Err(Fault::Config(format!(
                "one transaction holds more than {TRANSACTION_BYTES} bytes; commit more often"
            )));
        }
        let builders = self.pending.entry(part).or_default();
        if builders
            .last()
            .is_none_or(|builder| builder.len_bytes() >= BATCH_BYTES)
        {
            builders.push(Builder::default());
        }
        if let Some(builder) = builders.last_mut() {
            builder.push(
                builder.records(),
                0,
                out.key.as_deref(),
                out.value.as_deref(),
                &out.headers,
            );
        }
        Ok(())
    }
}
