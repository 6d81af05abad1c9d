//! Topics that are not read for a while: paused behind what was applied, tried again when their time is over.

use super::Held;
use crate::runtime::member::Member;
use cairn_bus::{Fault, Offsets, TopicPartition};
use cairn_operators::admit::Hold;
use std::time::Duration;

impl Member {
    /// From now on nothing of this topic is read; it goes on behind what was applied.
    pub(in crate::runtime::member) fn hold(
        &mut self,
        hold: Hold,
    ) -> Result<Vec<TopicPartition>, Fault> {
        let until = self.clock.now() + Duration::from_millis(hold.wait_ms.max(0).unsigned_abs());
        tracing::error!(
            operator = self.kind.name,
            topic = hold.topic,
            wait_ms = hold.wait_ms,
            "topic paused by a guard; `cairn doctor` says why"
        );
        let parts: Vec<TopicPartition> = self
            .owned
            .iter()
            .filter(|place| *place.topic == *hold.topic)
            .cloned()
            .collect();
        self.session.pause(&parts)?;
        let mut next = Offsets::new();
        for place in &parts {
            let applied = self.batch.offsets.get(place).or(self.applied.get(place));
            if let Some(offset) = applied {
                next.insert(place.clone(), *offset);
            }
            if let Some(merge) = &mut self.merge {
                merge.forget(place);
            }
        }
        self.session.seek(&next)?;
        let held = Held {
            until,
            is_kept: false,
        };
        self.watch.held.insert(hold.topic, held);
        Ok(parts)
    }

    /// Pauses what is held of partitions that have just come.
    pub(in crate::runtime::member) fn hold_again(
        &mut self,
        parts: &[TopicPartition],
    ) -> Result<(), Fault> {
        let held: Vec<TopicPartition> = parts
            .iter()
            .filter(|place| self.watch.held.contains_key(&*place.topic))
            .cloned()
            .collect();
        if held.is_empty() {
            return Ok(());
        }
        self.session.pause(&held)
    }

    /// Tries again what has been held long enough.
    pub(in crate::runtime::member) fn end_holds(&mut self) -> Result<(), Fault> {
        if self.watch.held.is_empty() {
            return Ok(());
        }
        let now = self.clock.now();
        let due: Vec<String> = self
            .watch
            .held
            .iter()
            .filter(|(_, held)| held.until <= now)
            .map(|(topic, _)| topic.clone())
            .collect();
        for topic in &due {
            self.watch.held.remove(topic);
            for task in self.tasks.values_mut() {
                task.probe(topic);
            }
        }
        self.go_on(&due)
    }

    /// The batch was aborted: what it held is read again, and held again.
    pub(in crate::runtime::member) fn undo_holds(&mut self) -> Result<(), Fault> {
        let undone: Vec<String> = self
            .watch
            .held
            .iter()
            .filter(|(_, held)| !held.is_kept)
            .map(|(topic, _)| topic.clone())
            .collect();
        for topic in &undone {
            self.watch.held.remove(topic);
        }
        self.watch.book.discard();
        self.go_on(&undone)
    }

    fn go_on(&mut self, topics: &[String]) -> Result<(), Fault> {
        let parts: Vec<TopicPartition> = self
            .owned
            .iter()
            .filter(|place| topics.iter().any(|topic| **topic == *place.topic))
            .cloned()
            .collect();
        if parts.is_empty() {
            return Ok(());
        }
        self.session.resume(&parts)
    }
}
