//! Where partitions end, and what lies between a position and the end.
//!
//! Transactions make offsets sparse: a marker takes one and is never delivered, and neither are aborted records. So a position
//! taken from the last record stays short of the end for ever. [`Looker::passed`] settles it: it takes the stable end, *then*
//! begins to fetch at the position; if the broker's "end of partition" comes before a record does, nothing lies between.

use super::events::Events;
use super::faults;
use super::settings::KafkaSettings;
use crate::chunk::Chunk;
use crate::log::{Fault, Offsets, Record, TopicPartition};
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{BorrowedMessage, Headers as _, Message};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long "is there anything in between" may take before it is left open; the next call asks again.
const PROBE: Duration = Duration::from_secs(2);
/// How often the stable end is looked at while a transaction of somebody else is undecided.
const LOOK_EVERY: Duration = Duration::from_millis(5);
/// How long one try to ask for ends waits: a leader that is gone never answers, and only the next try looks for another.
const TRY: Duration = Duration::from_secs(5);
/// Between two tries, for the new metadata.
const BETWEEN_TRIES: Duration = Duration::from_millis(100);
/// How long a partition may be unknown: a broker that has just started may not know it yet, and a topic that is missing is to be told soon.
const UNKNOWN: Duration = Duration::from_secs(10);
const DOING: &str = "asking for the ends of partitions";

/// Two clients that only ask: ends of what is committed, and of everything.
pub(crate) struct Ends {
    committed: BaseConsumer<Events>,
    everything: BaseConsumer<Events>,
    timeout: Duration,
}

impl Ends {
    pub(crate) fn new(settings: &KafkaSettings) -> Result<Self, Fault> {
        Ok(Self {
            committed: consumer(&settings.looker("read_committed", "ends"))?,
            everything: consumer(&settings.looker("read_uncommitted", "watermarks"))?,
            timeout: settings.call_timeout(),
        })
    }

    /// The client that asks for metadata.
    pub(crate) fn client(&self) -> &BaseConsumer<Events> {
        &self.committed
    }

    /// The end of what a read-committed reader sees: one round trip for all.
    pub(crate) fn stable(&self, parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        self.ask(&self.committed, parts, Offset::End)
    }

    /// The end of everything, open transactions too.
    pub(crate) fn high(&self, parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        self.ask(&self.everything, parts, Offset::End)
    }

    /// The first offset that is still there.
    pub(crate) fn start(&self, parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        self.ask(&self.committed, parts, Offset::Beginning)
    }

    /// Asks the partitions' leaders; where those have just moved, again.
    fn ask(
        &self,
        client: &BaseConsumer<Events>,
        parts: &[TopicPartition],
        which: Offset,
    ) -> Result<Offsets, Fault> {
        if parts.is_empty() {
            return Ok(Offsets::new());
        }
        let begun = Instant::now();
        loop {
            let left = self.timeout.saturating_sub(begun.elapsed());
            let (code, fault) = match Self::try_once(client, parts, which, TRY.min(left)) {
                Ok(offsets) => return Ok(offsets),
                Err(error) => error,
            };
            let patience = match code {
                Some(code) if faults::is_unknown(code) => UNKNOWN.min(self.timeout),
                Some(code) if faults::is_moving(code) => self.timeout,
                _ => return Err(fault),
            };
            if begun.elapsed() + BETWEEN_TRIES >= patience {
                return Err(fault);
            }
            tracing::debug!(%fault, "asked again");
            std::thread::sleep(BETWEEN_TRIES);
            // what it knows of leaders is what was wrong; if nobody answers, the next try says so
            let left = patience.saturating_sub(begun.elapsed());
            drop(client.fetch_metadata(None, TRY.min(left)));
        }
    }

    fn try_once(
        client: &BaseConsumer<Events>,
        parts: &[TopicPartition],
        which: Offset,
        patience: Duration,
    ) -> Result<Offsets, (Option<RDKafkaErrorCode>, Fault)> {
        let failed = |doing: &str, error: &KafkaError| {
            (error.rdkafka_error_code(), faults::of_call(doing, error))
        };
        let none = |text: String| (None, Fault::Unreachable(format!("{DOING}: {text}")));
        let wanted = list(parts.iter().map(|part| (part, which))).map_err(|fault| (None, fault))?;
        // librdkafka asks for "the first offset at this time", where -1 and -2 are the end and the start
        let found = client
            .offsets_for_times(wanted, patience)
            .map_err(|error| failed(DOING, &error))?;
        let mut offsets = Offsets::new();
        for part in parts {
            let element = found
                .find_partition(&part.topic, part.partition)
                .ok_or_else(|| none(format!("no answer for {part}")))?;
            element
                .error()
                .map_err(|error| failed(&format!("{DOING}, {part}"), &error))?;
            match element.offset() {
                Offset::Offset(offset) => offsets.insert(part.clone(), offset),
                other => return Err(none(format!("{other:?} for {part}"))),
            };
        }
        Ok(offsets)
    }
}

pub(crate) fn consumer(config: &ClientConfig) -> Result<BaseConsumer<Events>, Fault> {
    config
        .create_with_context(Events::default())
        .map_err(|error| faults::of_call("making a Kafka consumer", &error))
}

/// A patience rounded up to whole milliseconds: rdkafka cuts what is left of one down to them, and spends the rest asking again and again
/// without a wait.
pub(crate) fn whole_ms(patience: Duration) -> Duration {
    Duration::from_millis(
        u64::try_from(patience.as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX),
    )
}

/// Partitions with offsets, as librdkafka wants them.
pub(crate) fn list<'a>(
    parts: impl IntoIterator<Item = (&'a TopicPartition, Offset)>,
) -> Result<TopicPartitionList, Fault> {
    let mut list = TopicPartitionList::new();
    for (part, offset) in parts {
        list.add_partition_offset(&part.topic, part.partition, offset)
            .map_err(|error| Fault::Config(format!("the offset {offset:?} of {part}: {error}")))?;
    }
    Ok(list)
}

/// Adds a message to the run that was begun last.
pub(crate) fn push(chunk: &mut Chunk, message: &BorrowedMessage<'_>, has_headers: bool) {
    let time_ms = message.timestamp().to_millis().unwrap_or(0);
    let headers = has_headers
        .then(|| message.headers())
        .flatten()
        .into_iter()
        .flat_map(|headers| headers.iter())
        .map(|header| (header.key, header.value.unwrap_or_default()));
    chunk.push(
        message.offset(),
        time_ms,
        message.key(),
        message.payload(),
        headers,
    );
}

/// A record with its topic's name shared.
pub(crate) fn record(topic: &Arc<str>, message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers
            .iter()
            .map(|header| {
                (
                    header.key.to_owned(),
                    header.value.unwrap_or_default().to_vec(),
                )
            })
            .collect()
    });
    Record {
        topic: topic.clone(),
        partition: message.partition(),
        offset: message.offset(),
        append_time_ms: message.timestamp().to_millis().unwrap_or(0),
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
    }
}

/// What to do about a transaction that nobody will ever end.
pub(crate) const UNDECIDED_FOR_LONG: &str = "if this outlasts the transactions' time-out, a broker that was killed has lost \
     the markers of a transaction: see \"A transaction that never ends\" in docs/kafka.md";

/// A consumer that belongs to nobody and reads where it is sent.
pub(crate) struct Looker {
    consumer: BaseConsumer<Events>,
    ends: Arc<Ends>,
    patience: Duration,
}

impl Looker {
    pub(crate) fn new(settings: &KafkaSettings, ends: Arc<Ends>) -> Result<Self, Fault> {
        let consumer = consumer(&settings.looker("read_committed", "look"))?;
        Ok(Self {
            consumer,
            ends,
            patience: settings.call_timeout(),
        })
    }

    fn begin<'a>(
        &self,
        parts: impl IntoIterator<Item = (&'a TopicPartition, i64)>,
    ) -> Result<(), Fault> {
        let parts = list(
            parts
                .into_iter()
                .map(|(part, offset)| (part, Offset::Offset(offset))),
        )?;
        self.consumer
            .assign(&parts)
            .map_err(|error| faults::of_call("beginning to read", &error))
    }

    /// Of these gaps (position, end that was stable *before* this call) those in which nothing will ever be delivered.
    pub(crate) fn passed(
        &self,
        gaps: &BTreeMap<TopicPartition, (i64, i64)>,
    ) -> Result<Offsets, Fault> {
        let mut passed = Offsets::new();
        let mut by_topic: BTreeMap<&str, Vec<(&TopicPartition, i64, i64)>> = BTreeMap::new();
        for (part, &(position, end)) in gaps {
            by_topic
                .entry(&part.topic)
                .or_default()
                .push((part, position, end));
        }
        // one topic after the other: rdkafka's end-of-partition names only the number
        for open in by_topic.values_mut() {
            self.begin(open.iter().map(|(part, position, _)| (*part, *position)))?;
            let deadline = Instant::now() + PROBE;
            while !open.is_empty() && Instant::now() < deadline {
                match self.consumer.poll(Duration::from_millis(20)) {
                    Some(Ok(message)) => open.retain(|(part, _, end)| {
                        if part.partition != message.partition() {
                            return true;
                        }
                        // beyond the end: what lies before it is passed
                        if message.offset() >= *end {
                            passed.insert((*part).clone(), *end);
                        }
                        false
                    }),
                    Some(Err(KafkaError::PartitionEOF(number))) => open.retain(|(part, _, end)| {
                        if part.partition == number {
                            passed.insert((*part).clone(), *end);
                        }
                        part.partition != number
                    }),
                    Some(Err(error)) => self.tolerate(&error)?,
                    None => {}
                }
            }
        }
        let _ = self.consumer.unassign();
        Ok(passed)
    }

    /// Everything committed in a partition from an offset up to its high watermark at the time of the call.
    pub(crate) fn read_from(
        &self,
        part: &TopicPartition,
        from: i64,
        undecided: Duration,
        each: &mut dyn FnMut(Record),
    ) -> Result<i64, Fault> {
        let one = std::slice::from_ref(part);
        let only = |offsets: Offsets| offsets.get(part).copied().unwrap_or(0);
        let end = only(self.ends.high(one)?);
        let start = only(self.ends.start(one)?).max(from);
        if start >= end {
            return Ok(end);
        }
        // the last stable offset may still lack a predecessor's marker
        let deadline = Instant::now() + undecided;
        while only(self.ends.stable(one)?) < end {
            if Instant::now() >= deadline {
                return Err(Fault::Unreachable(format!(
                    "{part}: a transaction has been undecided for {} ms; the broker ends it after its own time-out; {UNDECIDED_FOR_LONG}",
                    undecided.as_millis()
                )));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        self.begin([(part, start)])?;
        let mut last = Instant::now();
        loop {
            match self.consumer.poll(Duration::from_millis(100)) {
                Some(Ok(message)) if message.offset() < end => {
                    last = Instant::now();
                    let offset = message.offset();
                    each(record(&part.topic, &message));
                    if offset + 1 == end {
                        break;
                    }
                }
                // stable up to `end` before reading began: its end, or a record beyond, says that all was delivered
                Some(Ok(_) | Err(KafkaError::PartitionEOF(_))) => break,
                Some(Err(error)) => self.tolerate(&error)?,
                None if last.elapsed() > self.patience => {
                    let _ = self.consumer.unassign();
                    return Err(Fault::Unreachable(format!(
                        "{part}: no records for {} ms",
                        self.patience.as_millis()
                    )));
                }
                None => {}
            }
        }
        let _ = self.consumer.unassign();
        Ok(end)
    }

    /// What librdkafka repairs by itself is only noted.
    fn tolerate(&self, error: &KafkaError) -> Result<(), Fault> {
        match faults::of_call("reading", error) {
            Fault::Unreachable(text) => {
                tracing::debug!(%text, "reading goes on");
                Ok(())
            }
            fault => {
                let _ = self.consumer.unassign();
                Err(fault)
            }
        }
    }
}
