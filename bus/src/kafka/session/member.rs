//! A member of a group: its consumer, what it was assigned, and the rebalances that wait for an answer.

use super::super::ends::{self};
use super::super::events::{self, Change, Events};
use super::super::faults;
use super::super::settings::KafkaSettings;
use crate::chunk::Chunk;
use crate::log::{Fault, Membership, Offsets, Poll, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer, RebalanceProtocol};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A session can come to a partition's fetcher too early, just after it was assigned.
const SEEK_AGAIN_EVERY: Duration = Duration::from_millis(10);

/// The consumer and what it holds.
pub(super) struct Member {
    /// None only while it is being closed.
    consumer: Option<BaseConsumer<Events>>,
    topics: BTreeMap<String, Arc<str>>,
    pub(super) group: String,
    /// Told to the owner, not answered.
    pub(super) offered: Option<Change>,
    /// The next offset of each assigned partition.
    pub(super) position: Offsets,
    /// The stable ends that `last_stable` has seen; what `position` measures gaps against.
    pub(super) seen_ends: Offsets,
    /// Whether headers are read: librdkafka makes a buffer for each record that is asked for them.
    pub(super) has_headers: bool,
    /// The last poll found nothing.
    pub(super) idle: bool,
    /// What its owner has paused: a new assignment would forget it.
    pub(super) paused: BTreeSet<TopicPartition>,
    /// librdkafka found a position that the log does not have; which one, the ends tell.
    out_of_range: bool,
    /// Records and bytes of the last poll that found some: what the next one makes room for.
    last_poll: (usize, usize),
}

impl Member {
    pub(super) fn join(
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
            has_headers: true,
            idle: false,
            paused: BTreeSet::new(),
            out_of_range: false,
            last_poll: (0, 0),
        })
    }

    pub(super) fn consumer(&self) -> Result<&BaseConsumer<Events>, Fault> {
        self.consumer.as_ref().ok_or_else(closed)
    }

    pub(super) fn parts(&self, list: &TopicPartitionList) -> Vec<TopicPartition> {
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
            if parts.is_empty() && !matches!(change, Change::Assign(_)) {
                // nothing to decide: a member that lost none
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

    pub(super) fn answer(&self, change: &Change) -> Result<(), Fault> {
        let consumer = self.consumer()?;
        let answered = match change {
            Change::Assign(list) => events::give(consumer, list),
            Change::Revoke(list) | Change::Lost(list) => events::take_back(consumer, list),
        };
        answered.map_err(|error| faults::of_call("answering a rebalance", &error))
    }

    pub(super) fn poll(&mut self, patience: Duration, max_records: usize) -> Result<Poll, Fault> {
        if let Some(change) = self.next_change()? {
            return Ok(change);
        }
        let deadline = Instant::now() + patience;
        let (records, bytes) = self.last_poll;
        let mut chunk = Chunk::with_capacity(records.min(max_records), bytes);
        loop {
            let is_empty = self.fill(&mut chunk, deadline, max_records.max(1))?;
            if !chunk.is_empty() {
                self.idle = false;
                self.last_poll = (chunk.len(), chunk.bytes());
                return Ok(Poll::Records(chunk));
            }
            if let Some(change) = self.next_change()? {
                return Ok(change);
            }
            // what was taken from librdkafka is delivered, however late: it will not come again
            if self.out_of_range || Instant::now() >= deadline {
                self.idle = is_empty;
                return Ok(Poll::Idle);
            }
        }
    }

    /// True once after a position was found that the log does not have.
    pub(super) fn take_out_of_range(&mut self) -> bool {
        self.offered.is_none() && std::mem::take(&mut self.out_of_range)
    }

    /// Reads on at other offsets where librdkafka has given up fetching: a seek would find no fetcher there.
    pub(super) fn begin_again(&mut self, at: &Offsets) -> Result<(), Fault> {
        const DOING: &str = "reading on where the log begins";
        let failed = |error: KafkaError| faults::of_call(DOING, &error);
        self.position
            .extend(at.iter().map(|(part, next)| (part.clone(), *next)));
        let of = |offsets: &Offsets| {
            ends::list(
                offsets
                    .iter()
                    .map(|(part, next)| (part, Offset::Offset(*next))),
            )
        };
        let consumer = self.consumer()?;
        if matches!(
            consumer.rebalance_protocol(),
            RebalanceProtocol::Cooperative
        ) {
            let moved = of(at)?;
            consumer.incremental_unassign(&moved).map_err(failed)?;
            consumer.incremental_assign(&moved).map_err(failed)?;
        } else {
            consumer.assign(&of(&self.position)?).map_err(failed)?;
        }
        if !self.paused.is_empty() {
            let paused = ends::list(self.paused.iter().map(|part| (part, Offset::Invalid)))?;
            consumer.pause(&paused).map_err(failed)?;
        }
        self.idle = false;
        Ok(())
    }

    /// Takes what is there, at most `max` records, and waits only for the first; true where nothing was left. Ends early when
    /// a change was noted. What is known of a partition is looked up where the partition changes, and the clock is read only
    /// while there is nothing.
    fn fill(&mut self, chunk: &mut Chunk, deadline: Instant, max: usize) -> Result<bool, Fault> {
        let Self {
            consumer: Some(consumer),
            topics,
            position,
            has_headers,
            out_of_range,
            ..
        } = self
        else {
            return Err(closed());
        };
        let is_one_topic = topics.len() == 1;
        let mut lane: Option<(&TopicPartition, &mut i64)> = None;
        loop {
            let wait = if chunk.is_empty() {
                ends::whole_ms(deadline.saturating_duration_since(Instant::now()))
            } else {
                Duration::ZERO
            };
            match consumer.poll(wait) {
                Some(Ok(message)) => {
                    let goes_on = lane.as_ref().is_some_and(|(place, _)| {
                        place.partition == message.partition()
                            && (is_one_topic || *place.topic == *message.topic())
                    });
                    if !goes_on {
                        lane = find(position, topics, &message);
                        if let Some((place, _)) = &lane {
                            chunk.begin(place);
                        }
                    }
                    // a message that a revoked or moved position left behind is not ours to deliver
                    if let Some((_, next)) = &mut lane
                        && message.offset() >= **next
                    {
                        **next = message.offset() + 1;
                        ends::push(chunk, &message, *has_headers);
                    }
                }
                Some(Err(error))
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::AutoOffsetReset) =>
                {
                    *out_of_range = true;
                    return Ok(false);
                }
                Some(Err(error)) => tolerate(&error)?,
                None => return Ok(true),
            }
            if chunk.len() >= max
                || consumer.context().is_noted()
                || (chunk.is_empty() && Instant::now() >= deadline)
            {
                return Ok(false);
            }
        }
    }

    pub(super) fn seek(&mut self, offsets: &Offsets, timeout: Duration) -> Result<(), Fault> {
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

    pub(super) fn committed(
        &self,
        parts: &[TopicPartition],
        timeout: Duration,
    ) -> Result<Offsets, Fault> {
        let doing = format!("reading the committed offsets of group {}", self.group);
        let wanted = ends::list(parts.iter().map(|part| (part, Offset::Invalid)))?;
        // waits while an offset is part of an undecided transaction
        let found = self
            .consumer()?
            .committed_offsets(wanted, timeout)
            .map_err(|error| match faults::of_call(&doing, &error) {
                // it was not that nobody is there: an offset was not given out
                Fault::Unreachable(text)
                    if error.rdkafka_error_code() == Some(RDKafkaErrorCode::OperationTimedOut) =>
                {
                    Fault::Unreachable(format!("{text}; {}", ends::UNDECIDED_FOR_LONG))
                }
                fault => fault,
            })?;
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
    pub(super) fn leave(&mut self) -> Option<BaseConsumer<Events>> {
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

fn closed() -> Fault {
    Fault::Fenced("the session is closed".into())
}

/// The place of a message and its next offset, where it is assigned.
fn find<'a>(
    position: &'a mut Offsets,
    topics: &BTreeMap<String, Arc<str>>,
    message: &BorrowedMessage<'_>,
) -> Option<(&'a TopicPartition, &'a mut i64)> {
    let place = TopicPartition {
        topic: topics.get(message.topic())?.clone(),
        partition: message.partition(),
    };
    position.range_mut(&place..=&place).next()
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
