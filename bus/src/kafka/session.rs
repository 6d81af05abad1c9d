//! A session on Kafka: a member of a group (or none, for a writer), and a transactional producer.

use super::ends::{self, Ends, Looker};
use super::events::{self, Change, Events};
use super::faults;
use super::settings::KafkaSettings;
use super::transactions::Transactions;
use crate::log::{Fault, Membership, Offsets, Outgoing, Poll, Record, Session, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::Message;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// A session can come to a partition's fetcher too early, just after it was assigned.
const SEEK_AGAIN_EVERY: Duration = Duration::from_millis(10);

pub(super) struct KafkaSession {
    settings: Arc<KafkaSettings>,
    ends: Arc<Ends>,
    transactions: Transactions,
    /// Partitions by topic: librdkafka would wait half a minute for a topic that does not exist.
    partitions: BTreeMap<String, i32>,
    member: Option<Member>,
    /// Made when it is needed: a restore, or a position at the end.
    looker: Option<Looker>,
}

/// The consumer and what it holds.
struct Member {
    /// None only while it is being closed.
    consumer: Option<BaseConsumer<Events>>,
    topics: BTreeMap<String, Arc<str>>,
    group: String,
    /// Told to the owner, not answered.
    offered: Option<Change>,
    /// The next offset of each assigned partition.
    position: Offsets,
    /// The stable ends that `last_stable` has seen; what `position` measures gaps against.
    seen_ends: Offsets,
    /// The last poll found nothing.
    idle: bool,
}

impl KafkaSession {
    pub(super) fn open(
        settings: Arc<KafkaSettings>,
        ends: Arc<Ends>,
        who: Membership,
    ) -> Result<Self, Fault> {
        // first the producer: it fences the predecessor, and settles the offsets that the consumer will ask for
        let transactions = Transactions::begin(&settings, &who)?;
        let partitions = super::admin::partition_counts(&settings, &ends)?;
        let member = if who.topics.is_empty() {
            None
        } else {
            Some(Member::join(&settings, &partitions, &who)?)
        };
        Ok(Self {
            settings,
            ends,
            transactions,
            partitions,
            member,
            looker: None,
        })
    }

    fn exists(&self, topic: &str, partition: i32) -> bool {
        self.partitions
            .get(topic)
            .is_some_and(|count| (0..*count).contains(&partition))
    }

    fn member(&mut self) -> Result<&mut Member, Fault> {
        self.member
            .as_mut()
            .ok_or_else(|| Fault::Config("this session is a writer only: it reads nothing".into()))
    }

    fn looker(&mut self) -> Result<&Looker, Fault> {
        if self.looker.is_none() {
            self.looker = Some(Looker::new(&self.settings, self.ends.clone())?);
        }
        self.looker
            .as_ref()
            .ok_or_else(|| Fault::Config("no looker".into()))
    }
}

impl Member {
    fn join(
        settings: &KafkaSettings,
        known: &BTreeMap<String, i32>,
        who: &Membership,
    ) -> Result<Self, Fault> {
        let missing: Vec<_> = who
            .topics
            .iter()
            .filter(|name| !known.contains_key(*name))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            return Err(Fault::Config(format!(
                "there is no topic {}; `cairn topics apply` creates the topics of the catalogue",
                missing.join(", ")
            )));
        }
        let consumer = ends::consumer(&settings.member(who))?;
        let names: Vec<_> = who.topics.iter().map(String::as_str).collect();
        consumer
            .subscribe(&names)
            .map_err(|error| faults::of_call("subscribing", &error))?;
        Ok(Self {
            consumer: Some(consumer),
            topics: who
                .topics
                .iter()
                .map(|name| (name.clone(), Arc::from(name.as_str())))
                .collect(),
            group: who.group.clone(),
            offered: None,
            position: Offsets::new(),
            seen_ends: Offsets::new(),
            idle: false,
        })
    }

    fn consumer(&self) -> Result<&BaseConsumer<Events>, Fault> {
        self.consumer
            .as_ref()
            .ok_or_else(|| Fault::Fenced("the session is closed".into()))
    }

    fn parts(&self, list: &TopicPartitionList) -> Vec<TopicPartition> {
        let mut parts: Vec<_> = list
            .elements()
            .iter()
            .map(|element| {
                let topic = self
                    .topics
                    .get(element.topic())
                    .cloned()
                    .unwrap_or_else(|| Arc::from(element.topic()));
                TopicPartition {
                    topic,
                    partition: element.partition(),
                }
            })
            .collect();
        parts.sort();
        parts
    }

    /// Tells the owner of the next change, if there is one and the last was answered.
    fn next_change(&mut self) -> Result<Option<Poll>, Fault> {
        if self.offered.is_some() {
            return Ok(None);
        }
        while let Some(change) = self.consumer()?.context().next_change() {
            let (Change::Assign(list) | Change::Revoke(list) | Change::Lost(list)) = &change;
            let parts = self.parts(list);
            if parts.is_empty() {
                // nothing to decide: a member that got no partition, or lost none
                self.answer(&change)?;
                continue;
            }
            let poll = match &change {
                Change::Assign(_) => Poll::Assigned(parts),
                Change::Revoke(_) => Poll::Revoked(parts),
                Change::Lost(_) => Poll::Lost(parts),
            };
            self.offered = Some(change);
            return Ok(Some(poll));
        }
        Ok(None)
    }

    fn answer(&self, change: &Change) -> Result<(), Fault> {
        let consumer = self.consumer()?;
        let answered = match change {
            Change::Assign(list) => events::give(consumer, list),
            Change::Revoke(list) | Change::Lost(list) => events::take_back(consumer, list),
        };
        answered.map_err(|error| faults::of_call("answering a rebalance", &error))
    }

    fn poll(&mut self, patience: Duration, max_records: usize) -> Result<Poll, Fault> {
        if let Some(change) = self.next_change()? {
            return Ok(change);
        }
        let deadline = Instant::now() + patience;
        let mut records: Vec<Record> = Vec::new();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = if records.is_empty() {
                left
            } else {
                Duration::ZERO
            };
            let is_empty = match self.consumer()?.poll(wait) {
                Some(Ok(message)) => {
                    // a message that a revoked or moved position left behind is not ours to deliver
                    let record = self
                        .topics
                        .get(message.topic())
                        .map(|topic| ends::record(topic, &message));
                    drop(message);
                    if let Some(record) = record
                        && let Some(next) = self.position.get_mut(&record.place())
                        && record.offset >= *next
                    {
                        *next = record.offset + 1;
                        records.push(record);
                    }
                    false
                }
                Some(Err(error)) => {
                    tolerate(&error)?;
                    false
                }
                None => true,
            };
            let is_noted = self.consumer()?.context().is_noted();
            if records.len() >= max_records.max(1)
                || (!records.is_empty() && (is_empty || is_noted))
            {
                self.idle = false;
                return Ok(Poll::Records(records));
            }
            if is_noted && let Some(change) = self.next_change()? {
                return Ok(change);
            }
            // what was taken from librdkafka is delivered, however late: it will not come again
            if records.is_empty() && Instant::now() >= deadline {
                self.idle = is_empty;
                return Ok(Poll::Idle);
            }
        }
    }

    fn seek(&mut self, offsets: &Offsets, timeout: Duration) -> Result<(), Fault> {
        const DOING: &str = "seeking";
        if let Some(part) = offsets
            .keys()
            .find(|part| !self.position.contains_key(*part))
        {
            return Err(Fault::Config(format!(
                "cannot seek in {part}: it is not assigned"
            )));
        }
        let deadline = Instant::now() + timeout;
        let mut open: Offsets = offsets.clone();
        while !open.is_empty() {
            let wanted = ends::list(
                open.iter()
                    .map(|(part, next)| (part, Offset::Offset(*next))),
            )?;
            let sought = self
                .consumer()?
                .seek_partitions(wanted, timeout)
                .map_err(|error| faults::of_call(DOING, &error))?;
            let mut failed = None;
            open.retain(|part, _| {
                let error = sought
                    .find_partition(&part.topic, part.partition)
                    .and_then(|found| found.error().err());
                failed = error.clone().or(failed.take());
                error.is_some()
            });
            if let Some(error) = failed {
                // "erroneous state": its fetcher has not begun
                let is_early = error.rdkafka_error_code() == Some(RDKafkaErrorCode::State);
                if !is_early || Instant::now() >= deadline {
                    return Err(faults::of_call(DOING, &error));
                }
                std::thread::sleep(SEEK_AGAIN_EVERY);
            }
        }
        self.position
            .extend(offsets.iter().map(|(part, next)| (part.clone(), *next)));
        self.idle = false;
        Ok(())
    }

    fn committed(&self, parts: &[TopicPartition], timeout: Duration) -> Result<Offsets, Fault> {
        let doing = format!("reading the committed offsets of group {}", self.group);
        let wanted = ends::list(parts.iter().map(|part| (part, Offset::Invalid)))?;
        // waits while an offset is part of an undecided transaction
        let found = self
            .consumer()?
            .committed_offsets(wanted, timeout)
            .map_err(|error| faults::of_call(&doing, &error))?;
        let mut offsets = Offsets::new();
        for part in parts {
            let Some(element) = found.find_partition(&part.topic, part.partition) else {
                continue;
            };
            element
                .error()
                .map_err(|error| faults::of_call(&doing, &error))?;
            if let Offset::Offset(next) = element.offset() {
                offsets.insert(part.clone(), next);
            }
        }
        Ok(offsets)
    }

    /// Leaves the group; every rebalance is answered first, or the consumer would wait for ever.
    fn leave(&mut self) -> Option<BaseConsumer<Events>> {
        let consumer = self.consumer.take()?;
        consumer.context().close();
        let mut open = self.offered.take();
        while let Some(change) = open.take().or_else(|| consumer.context().next_change()) {
            let (Change::Assign(list) | Change::Revoke(list) | Change::Lost(list)) = &change;
            let _ = events::take_back(&consumer, list);
        }
        Some(consumer)
    }
}

/// What librdkafka repairs by itself is only noted.
fn tolerate(error: &KafkaError) -> Result<(), Fault> {
    match faults::of_call("reading", error) {
        Fault::Unreachable(text) => {
            tracing::debug!(%text, "reading goes on");
            Ok(())
        }
        fault => Err(fault),
    }
}

impl Session for KafkaSession {
    fn poll(&mut self, patience: Duration, max_records: usize) -> Result<Poll, Fault> {
        self.transactions.check()?;
        match &mut self.member {
            Some(member) => member.poll(patience, max_records),
            None => Ok(Poll::Idle),
        }
    }

    fn assigned(&mut self, start: &Offsets) -> Result<(), Fault> {
        let timeout = self.settings.call_timeout();
        let ends = self.ends.clone();
        let member = self.member()?;
        let Some(Change::Assign(list)) = member.offered.clone() else {
            return Err(Fault::Config(
                "nothing was assigned that is not answered yet".into(),
            ));
        };
        let parts = member.parts(&list);
        let mut position: Offsets = Offsets::new();
        let mut open = Vec::new();
        for part in parts {
            match start.get(&part) {
                Some(next) => drop(position.insert(part, *next)),
                None => open.push(part),
            }
        }
        if !open.is_empty() {
            position.extend(member.committed(&open, timeout)?);
            open.retain(|part| !position.contains_key(part));
            position.extend(ends.start(&open)?);
        }
        let list = ends::list(
            position
                .iter()
                .map(|(part, next)| (part, Offset::Offset(*next))),
        )?;
        member.position.extend(position);
        member.offered = None;
        member.answer(&Change::Assign(list))
    }

    fn revoked(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        let member = self.member()?;
        for part in parts {
            member.position.remove(part);
            member.seen_ends.remove(part);
        }
        match member.offered.take() {
            Some(change @ (Change::Revoke(_) | Change::Lost(_))) => member.answer(&change),
            other => {
                member.offered = other;
                Ok(())
            }
        }
    }

    fn committed(&mut self, parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        let timeout = self.settings.call_timeout();
        self.member()?.committed(parts, timeout)
    }

    fn read_to_end(
        &mut self,
        part: &TopicPartition,
        each: &mut dyn FnMut(Record),
    ) -> Result<i64, Fault> {
        // a transaction ends at the latest when the broker looks after its time-out, every 10 s
        let undecided = Duration::from_millis(self.settings.transaction_timeout_ms.into())
            + Duration::from_secs(20);
        self.looker()?.read_to_end(part, undecided, each)
    }

    fn send(&mut self, out: Outgoing) -> Result<(), Fault> {
        if !self.exists(&out.topic, out.partition) {
            self.partitions = super::admin::partition_counts(&self.settings, &self.ends)?;
            if !self.exists(&out.topic, out.partition) {
                return Err(Fault::Config(format!(
                    "there is no {}[{}]; `cairn topics apply` creates the topics of the catalogue",
                    out.topic, out.partition
                )));
            }
        }
        self.transactions.send(&out)
    }

    fn commit(&mut self, offsets: &Offsets) -> Result<(), Fault> {
        if offsets.is_empty() {
            return self.transactions.commit(None);
        }
        self.transactions.check()?;
        let member = self.member()?;
        let list = ends::list(
            offsets
                .iter()
                .map(|(part, next)| (part, Offset::Offset(*next))),
        )?;
        let Some(group) = member.consumer()?.group_metadata() else {
            return Err(Fault::Config(format!(
                "no membership in group {}",
                member.group
            )));
        };
        self.transactions.commit(Some((&list, &group)))
    }

    fn abort(&mut self) -> Result<(), Fault> {
        self.transactions.abort()
    }

    fn seek(&mut self, offsets: &Offsets) -> Result<(), Fault> {
        let timeout = self.settings.call_timeout();
        self.member()?.seek(offsets, timeout)
    }

    fn pause(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        let member = self.member()?;
        let list = ends::list(parts.iter().map(|part| (part, Offset::Invalid)))?;
        member
            .consumer()?
            .pause(&list)
            .map_err(|error| faults::of_call("pausing", &error))
    }

    fn resume(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        let member = self.member()?;
        member.idle = false;
        let list = ends::list(parts.iter().map(|part| (part, Offset::Invalid)))?;
        member
            .consumer()?
            .resume(&list)
            .map_err(|error| faults::of_call("resuming", &error))
    }

    fn last_stable(&mut self, parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        let stable = self.ends.stable(parts)?;
        if let Some(member) = &mut self.member {
            member.seen_ends.extend(stable.clone());
        }
        Ok(stable)
    }

    fn position(&mut self) -> Result<Offsets, Fault> {
        let member = self.member()?;
        let mut gaps = BTreeMap::new();
        if member.idle {
            for (part, &end) in &member.seen_ends {
                if let Some(&next) = member.position.get(part)
                    && next < end
                {
                    gaps.insert(part.clone(), (next, end));
                }
            }
        }
        if !gaps.is_empty() {
            let passed = self.looker()?.passed(&gaps)?;
            self.member()?.position.extend(passed);
        }
        Ok(self.member()?.position.clone())
    }

    fn close(mut self: Box<Self>, deadline: Duration) -> Result<(), Fault> {
        let begun = Instant::now();
        let aborted = self.transactions.abort();
        if let Some(consumer) = self.member.as_mut().and_then(Member::leave) {
            // closing waits for brokers; the deadline holds even if none answers
            let (done, closed) = mpsc::channel();
            std::thread::spawn(move || {
                drop(consumer);
                let _ = done.send(());
            });
            if closed
                .recv_timeout(deadline.saturating_sub(begun.elapsed()))
                .is_err()
            {
                return Err(Fault::Unreachable(
                    "leaving the group took longer than the deadline".into(),
                ));
            }
        }
        match aborted {
            // whoever took over is no concern of one who leaves
            Ok(()) | Err(Fault::Fenced(_)) => Ok(()),
            Err(fault) => Err(fault),
        }
    }
}

impl Drop for KafkaSession {
    fn drop(&mut self) {
        // without `close`: leave all the same, or the drop of the consumer would hang
        drop(self.member.as_mut().and_then(Member::leave));
    }
}
