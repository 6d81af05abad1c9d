//! Looks at partitions without a group.

use super::ends::{self, Ends, Looker};
use super::events::Events;
use super::settings::KafkaSettings;
use super::{admin, faults};
use crate::log::{Fault, Offsets, Reader, Record, TopicPartition};
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::topic_partition_list::Offset;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

pub(super) struct KafkaReader {
    settings: KafkaSettings,
    ends: Arc<Ends>,
    consumer: BaseConsumer<Events>,
    looker: Looker,
    /// Where the consumer stands; reading on from here needs no new assignment.
    position: Offsets,
}

impl KafkaReader {
    pub(super) fn open(settings: &KafkaSettings, ends: Arc<Ends>) -> Result<Self, Fault> {
        let consumer = ends::consumer(&settings.looker("read_committed", "reader"))?;
        let looker = Looker::new(settings, ends.clone())?;
        Ok(Self {
            settings: settings.clone(),
            ends,
            consumer,
            looker,
            position: Offsets::new(),
        })
    }

    /// Positions that only markers and aborted records keep from the end go there.
    fn pass_gaps(&mut self) -> Result<(), Fault> {
        let parts: Vec<_> = self.position.keys().cloned().collect();
        let mut gaps = BTreeMap::new();
        for (part, end) in self.ends.stable(&parts)? {
            let position = self.position[&part];
            if position < end {
                gaps.insert(part, (position, end));
            }
        }
        if !gaps.is_empty() {
            self.position.extend(self.looker.passed(&gaps)?);
        }
        Ok(())
    }
}

impl Reader for KafkaReader {
    fn ends(&mut self, topics: &[&str]) -> Result<BTreeMap<TopicPartition, (i64, i64)>, Fault> {
        let counts = admin::partition_counts(&self.settings, &self.ends)?;
        let mut parts = Vec::new();
        for &name in topics {
            let Some(&count) = counts.get(name) else {
                return Err(Fault::Config(format!("there is no topic {name}")));
            };
            let topic: Arc<str> = Arc::from(name);
            parts.extend((0..count).map(|partition| TopicPartition {
                topic: topic.clone(),
                partition,
            }));
        }
        let starts = self.ends.start(&parts)?;
        let ends = self.ends.stable(&parts)?;
        Ok(parts
            .into_iter()
            .map(|part| (part.clone(), (starts[&part], ends[&part])))
            .collect())
    }

    fn read(
        &mut self,
        from: &Offsets,
        patience: Duration,
        max: usize,
    ) -> Result<(Vec<Record>, Offsets), Fault> {
        if from.is_empty() {
            return Ok((Vec::new(), Offsets::new()));
        }
        if *from != self.position {
            let parts = ends::list(
                from.iter()
                    .map(|(part, next)| (part, Offset::Offset(*next))),
            )?;
            self.consumer
                .assign(&parts)
                .map_err(|error| faults::of_call("beginning to read", &error))?;
            self.position = from.clone();
        }
        let topics: BTreeMap<String, Arc<str>> = from
            .keys()
            .map(|part| (part.topic.to_string(), part.topic.clone()))
            .collect();
        let deadline = Instant::now() + patience;
        let mut records = Vec::new();
        while records.len() < max.max(1) {
            let left = deadline.saturating_duration_since(Instant::now());
            let wait = if records.is_empty() {
                ends::whole_ms(left)
            } else {
                Duration::ZERO
            };
            match self.consumer.poll(wait) {
                Some(Ok(message)) => {
                    let Some(topic) = topics.get(message.topic()) else {
                        continue;
                    };
                    let record = ends::record(topic, &message);
                    // what was fetched before the last assignment is dropped by librdkafka; this only makes sure
                    let Some(position) = self.position.get_mut(&record.place()) else {
                        continue;
                    };
                    if record.offset >= *position {
                        *position = record.offset + 1;
                        records.push(record);
                    }
                }
                // told once for each time that the end is reached: whoever asks again waits
                Some(Err(KafkaError::PartitionEOF(_))) if from.len() == 1 && records.is_empty() => {
                    break;
                }
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => match faults::of_call("reading", &error) {
                    Fault::Unreachable(text) => tracing::debug!(%text, "reading goes on"),
                    fault => return Err(fault),
                },
                None if !records.is_empty() || Instant::now() >= deadline => break,
                None => {}
            }
        }
        if records.is_empty() {
            self.pass_gaps()?;
        }
        Ok((records, self.position.clone()))
    }
}
