//! The brokers as one state machine: requests in, answers out. No clock, no randomness, no network: the time comes with every
//! call, and so does how late each marker is written.

pub(crate) mod assign;
pub(crate) mod coordinator;
pub(crate) mod group;
#[cfg(test)]
mod group_tests;
mod partition;
#[cfg(test)]
mod tests;

use crate::log::{Cleanup, Offsets, Outgoing, TopicPartition, TopicSpec, TopicState};
use assign::Assignor;
use coordinator::{Coordinator, Producer, Target};
use group::{Counts, Group, Joining, Patience, Standing};
use partition::Partition;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// How many milliseconds later than its transaction was decided the next marker is written.
pub(crate) type Lag<'a> = &'a mut dyn FnMut() -> i64;

/// Why a broker does not do it, by Kafka's error codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    ProducerFenced,
    /// Try again: the last transaction is not over.
    ConcurrentTransactions,
    InvalidTransactionState,
    UnknownTopicOrPartition,
    MessageTooLarge,
    /// A record without a key in a compacted topic.
    InvalidRecord,
    UnknownMember,
    FencedInstance,
    IllegalGeneration,
    RebalanceInProgress,
    /// Try again: a transaction that is not over holds an offset.
    UnstableOffsets,
}

/// What a producer asks for; may be delayed on its way.
#[derive(Clone, Debug)]
pub(crate) enum Write {
    AddPartitions(BTreeSet<TopicPartition>),
    /// Records, and when they were sent.
    Produce(Vec<(Outgoing, i64)>),
    AddOffsets(Arc<str>),
    CommitOffsets(Standing, Offsets),
    End {
        commit: bool,
    },
}

impl Write {
    /// Kafka's name for it.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Write::AddPartitions(_) => "AddPartitionsToTxn",
            Write::Produce(_) => "Produce",
            Write::AddOffsets(_) => "AddOffsetsToTxn",
            Write::CommitOffsets(..) => "TxnOffsetCommit",
            Write::End { commit: true } => "EndTxn commit",
            Write::End { commit: false } => "EndTxn abort",
        }
    }
}

/// How the brokers are set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BrokerSettings {
    pub(crate) transaction_timeout_ms: i64,
    pub(crate) transaction_scan_ms: i64,
    pub(crate) patience: Patience,
    pub(crate) assignor: Assignor,
}

/// All that the brokers know.
#[derive(Clone, Debug)]
pub(crate) struct Broker {
    settings: BrokerSettings,
    topics: BTreeMap<String, TopicState>,
    counts: Counts,
    partitions: BTreeMap<TopicPartition, Partition>,
    coordinator: Coordinator,
    groups: BTreeMap<Arc<str>, Group>,
}

impl Broker {
    pub(crate) fn new(settings: BrokerSettings) -> Self {
        Self {
            settings,
            topics: BTreeMap::new(),
            counts: Counts::new(),
            partitions: BTreeMap::new(),
            coordinator: Coordinator::new(
                settings.transaction_timeout_ms,
                settings.transaction_scan_ms,
            ),
            groups: BTreeMap::new(),
        }
    }

    pub(crate) fn topics(&self) -> &BTreeMap<String, TopicState> {
        &self.topics
    }

    /// False: it was there.
    pub(crate) fn create(&mut self, spec: &TopicSpec) -> bool {
        if self.topics.contains_key(&spec.name) {
            return false;
        }
        let state = TopicState {
            partitions: spec.partitions,
            cleanup: spec.cleanup,
            append_time: spec.append_time,
            max_message_bytes: spec.max_message_bytes,
            delete_retention_ms: spec.delete_retention_ms,
        };
        self.topics.insert(spec.name.clone(), state);
        self.counts.insert(spec.name.clone(), spec.partitions);
        let topic: Arc<str> = Arc::from(spec.name.as_str());
        for number in 0..spec.partitions {
            self.partitions.insert(
                TopicPartition::new(topic.clone(), number),
                Partition::default(),
            );
        }
        true
    }

    /// The last stable offset and the high watermark are asked of this.
    pub(crate) fn partition(&self, part: &TopicPartition) -> Result<&Partition, Refusal> {
        self.partitions
            .get(part)
            .ok_or(Refusal::UnknownTopicOrPartition)
    }

    /// A producer with a new epoch; refused while its predecessor's transaction is not over.
    pub(crate) fn init(
        &mut self,
        transactional_id: &Arc<str>,
        now_ms: i64,
        lag: Lag<'_>,
    ) -> Result<Producer, Refusal> {
        self.coordinator
            .init(transactional_id, now_ms, lag)
            .or_else(|refusal| {
                if refusal != Refusal::ConcurrentTransactions {
                    return Err(refusal);
                }
                // markers without a lag are written at once
                self.advance(now_ms, lag);
                self.coordinator.init(transactional_id, now_ms, lag)
            })
    }

    /// One request of a producer.
    pub(crate) fn write(
        &mut self,
        producer: &Producer,
        write: &Write,
        now_ms: i64,
        lag: Lag<'_>,
    ) -> Result<(), Refusal> {
        match write {
            Write::AddPartitions(parts) => {
                for part in parts {
                    self.partition(part)?;
                }
                let targets = parts.iter().cloned().map(Target::Partition);
                self.coordinator.add(producer, targets, now_ms)
            }
            Write::Produce(records) => self.produce(producer, records, now_ms),
            Write::AddOffsets(group) => {
                self.coordinator
                    .add(producer, [Target::Group(group.clone())], now_ms)
            }
            Write::CommitOffsets(standing, offsets) => {
                let target = Target::Group(standing.group.clone());
                self.coordinator.may_write(producer, &target)?;
                let group = self.group(&standing.group);
                group.check(standing)?;
                group.hold(producer.id, offsets);
                Ok(())
            }
            Write::End { commit } => {
                self.coordinator.end(producer, *commit, now_ms, lag)?;
                self.advance(now_ms, lag);
                Ok(())
            }
        }
    }

    /// All of a batch or nothing.
    fn produce(
        &mut self,
        producer: &Producer,
        records: &[(Outgoing, i64)],
        now_ms: i64,
    ) -> Result<(), Refusal> {
        for (out, _) in records {
            let part = TopicPartition::new(out.topic.clone(), out.partition);
            let topic = self
                .topics
                .get(&*out.topic)
                .filter(|topic| (0..topic.partitions).contains(&out.partition))
                .ok_or(Refusal::UnknownTopicOrPartition)?;
            if out.size_bytes() > topic.max_message_bytes as usize {
                return Err(Refusal::MessageTooLarge);
            }
            if topic.cleanup == Cleanup::Compact && out.key.is_none() {
                return Err(Refusal::InvalidRecord);
            }
            self.coordinator
                .may_write(producer, &Target::Partition(part))?;
        }
        for (out, sent_ms) in records {
            let part = TopicPartition::new(out.topic.clone(), out.partition);
            let stamp = self
                .topics
                .get(&*out.topic)
                .is_none_or(|topic| topic.append_time);
            if let Some(partition) = self.partitions.get_mut(&part) {
                let time_ms = if stamp { now_ms } else { *sent_ms };
                partition.append(producer.id, out.clone(), time_ms, stamp);
            }
        }
        Ok(())
    }

    fn group(&mut self, name: &Arc<str>) -> &mut Group {
        let settings = self.settings;
        self.groups
            .entry(name.clone())
            .or_insert_with(|| Group::new(settings.assignor, settings.patience))
    }

    /// Joins a group; answers with the member id.
    pub(crate) fn join(
        &mut self,
        name: &Arc<str>,
        joining: Joining,
        now_ms: i64,
    ) -> Result<String, Refusal> {
        let settings = self.settings;
        self.groups
            .entry(name.clone())
            .or_insert_with(|| Group::new(settings.assignor, settings.patience))
            .join(joining, now_ms, &self.counts)
    }

    /// A group, as far as it can be asked.
    pub(crate) fn known_group(&self, name: &str) -> Result<&Group, Refusal> {
        self.groups.get(name).ok_or(Refusal::UnknownMember)
    }

    /// A group's stable offsets.
    pub(crate) fn offsets(
        &self,
        group: &str,
        parts: &[TopicPartition],
    ) -> Result<Offsets, Refusal> {
        self.groups
            .get(group)
            .map_or(Ok(Offsets::new()), |group| group.offsets(parts))
    }

    /// A group's offsets as far as they are decided.
    pub(crate) fn decided_offsets(&self, group: &str) -> Offsets {
        self.groups
            .get(group)
            .map(|group| group.decided_offsets().clone())
            .unwrap_or_default()
    }

    /// See [`Group::unsettle`].
    pub(crate) fn unsettle(&mut self, group: &str, now_ms: i64) -> bool {
        self.groups
            .get_mut(group)
            .is_some_and(|group| group.unsettle(now_ms))
    }

    /// See [`Group::presence`].
    pub(crate) fn presence(&mut self, group: &str, member_id: &str, heard: bool, now_ms: i64) {
        if let Some(group) = self.groups.get_mut(group) {
            group.presence(member_id, heard, now_ms);
        }
    }

    /// A member leaves, or is thrown out as if its session had ended.
    pub(crate) fn remove(&mut self, group: &str, member_id: &str, now_ms: i64) -> bool {
        self.groups
            .get_mut(group)
            .is_some_and(|group| group.remove(member_id, now_ms, &self.counts))
    }

    /// Retention and compaction of everything, now.
    pub(crate) fn maintain(&mut self, now_ms: i64) {
        for (part, partition) in &mut self.partitions {
            let Some(topic) = self.topics.get(&*part.topic) else {
                continue;
            };
            match topic.cleanup {
                Cleanup::Delete { retention_ms } if retention_ms >= 0 => {
                    partition.retain(now_ms - retention_ms);
                }
                Cleanup::Delete { .. } => {}
                Cleanup::Compact => partition.compact(now_ms - topic.delete_retention_ms),
            }
        }
    }

    /// Does what is due by now.
    pub(crate) fn advance(&mut self, now_ms: i64, lag: Lag<'_>) {
        for marker in self.coordinator.advance(now_ms, lag) {
            match marker.target {
                Target::Partition(part) => {
                    if let Some(partition) = self.partitions.get_mut(&part) {
                        partition.end(marker.producer_id, marker.commit, now_ms);
                    }
                }
                Target::Group(name) => self.group(&name).end(marker.producer_id, marker.commit),
            }
        }
        for group in self.groups.values_mut() {
            group.advance(now_ms, &self.counts);
        }
    }

    /// When something happens next by itself.
    pub(crate) fn next_due_ms(&self) -> Option<i64> {
        self.groups
            .values()
            .filter_map(Group::next_due_ms)
            .chain(self.coordinator.next_due_ms())
            .min()
    }

    /// Transactions that are not over.
    pub(crate) fn undecided(&self) -> usize {
        self.coordinator.undecided()
    }
}
