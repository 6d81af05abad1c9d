//! Looks at the log, read-committed, without a group and without a life of its own: only unreachable brokers disturb it.

use super::session::millis;
use super::shared::Shared;
use crate::log::{Fault, Offsets, Reader, Record, TopicPartition};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

pub(super) struct SimulatedReader {
    pub(super) shared: Arc<Shared>,
}

impl Reader for SimulatedReader {
    fn ends(&mut self, topics: &[&str]) -> Result<BTreeMap<TopicPartition, (i64, i64)>, Fault> {
        self.shared
            .reach()
            .map_err(|trouble| trouble.outside("asking for the ends of topics"))?;
        let world = self.shared.world();
        let mut ends = BTreeMap::new();
        for &name in topics {
            let Some(topic) = world.broker.topics().get(name) else {
                return Err(Fault::Config(format!("there is no topic {name}")));
            };
            let shared: Arc<str> = Arc::from(name);
            for number in 0..topic.partitions {
                let part = TopicPartition::new(shared.clone(), number);
                if let Ok(partition) = world.broker.partition(&part) {
                    let range = (partition.start(), partition.last_stable());
                    ends.insert(part, range);
                }
            }
        }
        Ok(ends)
    }

    fn read(
        &mut self,
        from: &Offsets,
        patience: Duration,
        max: usize,
    ) -> Result<(Vec<Record>, Offsets), Fault> {
        self.shared
            .reach()
            .map_err(|trouble| trouble.outside("reading"))?;
        let mut position = from.clone();
        let max = max.max(1);
        let read = self.shared.wait_for(millis(patience), |world| {
            let mut records = Vec::new();
            for (part, next) in &mut position {
                if records.len() == max {
                    break;
                }
                let Ok(partition) = world.broker.partition(part) else {
                    return Some(Err(Fault::Config(format!("there is no {part}"))));
                };
                let fetched = partition.fetch(part, *next, max - records.len());
                *next = fetched.next;
                records.extend(fetched.records);
            }
            (!records.is_empty()).then_some(Ok(records))
        });
        Ok((read.unwrap_or(Ok(Vec::new()))?, position))
    }
}
