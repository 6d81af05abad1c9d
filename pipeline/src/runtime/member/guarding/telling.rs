//! What only a member sees, and opens a guard for: slow commits, schemas that are waited for, records that are gone.

use super::tenant;
use crate::runtime::member::Member;
use cairn_bus::{Gap, TopicPartition};
use cairn_operators::guards::{Cleared, GuardKind, Opening};
use cairn_operators::operator::Place;
use std::time::Duration;

impl Member {
    /// Says that commits are slow, where the last one was.
    pub(in crate::runtime::member) fn tell_slow(&mut self) {
        let Some(took) = self.watch.slow.take() else {
            return;
        };
        let now_ms = self.clock.wall_ms();
        let is_fresh = self
            .watch
            .book
            .get(GuardKind::SlowLog, "default", self.kind.name)
            .and_then(|guard| guard.until_ms)
            .is_some_and(|until| until.saturating_sub(now_ms) > self.settings.guard_notice_ms / 2);
        if is_fresh {
            return;
        }
        let opening = Opening {
            kind: GuardKind::SlowLog,
            tenant: "default".to_owned(),
            subject: self.kind.name.to_owned(),
            now_ms,
            until_ms: Some(now_ms.saturating_add(self.settings.guard_notice_ms)),
            records: 0,
            text: format!(
                "a commit took {} ms, more than runtime.slow_commit_ms = {}",
                took.as_millis(),
                self.settings.slow_commit_ms
            ),
            evidence: Vec::new(),
        };
        self.watch.book.open(opening, 1, &mut self.emit);
        self.begin_if_told();
    }

    /// A partition waits for a schema; a guard opens once that takes long.
    pub(in crate::runtime::member) fn waits(
        &mut self,
        place: &TopicPartition,
        kind: GuardKind,
        why: &str,
    ) {
        let now = self.clock.now();
        let (since, known) = self
            .watch
            .waiting
            .entry(place.clone())
            .or_insert((now, kind));
        *known = kind;
        let waited = now.saturating_duration_since(*since);
        let tenant = tenant(&place.topic);
        if waited < Duration::from_millis(self.settings.guard_after_ms)
            || self.watch.book.get(kind, tenant, &place.topic).is_some()
        {
            return;
        }
        let opening = Opening {
            kind,
            tenant: tenant.to_owned(),
            subject: place.topic.to_string(),
            now_ms: self.clock.wall_ms(),
            until_ms: None,
            records: 0,
            text: format!("partition {} waits: {why}", place.partition),
            evidence: Vec::new(),
        };
        self.watch.book.open(opening, 1, &mut self.emit);
        self.begin_if_told();
    }

    /// A record of this partition could be read: what waited for it is over.
    pub(in crate::runtime::member) fn goes_well(&mut self, place: &TopicPartition) {
        if self.watch.waiting.is_empty() && self.watch.book.is_empty() {
            return;
        }
        self.watch.waiting.remove(place);
        if self
            .watch
            .waiting
            .keys()
            .any(|other| other.topic == place.topic)
        {
            return;
        }
        let now_ms = self.clock.wall_ms();
        for kind in [GuardKind::RegistryOutage, GuardKind::UnknownSchema] {
            self.watch.book.close(
                kind,
                tenant(&place.topic),
                &place.topic,
                Cleared::Recovered,
                now_ms,
                &mut self.emit,
            );
        }
    }

    /// The log has deleted what was to be read: said loudly, counted, never silent.
    pub(in crate::runtime::member) fn overtaken(&mut self, gaps: &[Gap]) {
        let now_ms = self.clock.wall_ms();
        for gap in gaps {
            let lost = gap.to.saturating_sub(gap.from).max(0);
            tracing::error!(
                operator = self.kind.name,
                topic = &*gap.part.topic,
                partition = gap.part.partition,
                from = gap.from,
                to = gap.to,
                lost,
                "retention has overtaken the reader: these offsets are gone unread"
            );
            self.metrics.lost(self.kind.name, &gap.part.topic, lost);
            let text = if gap.to < gap.from {
                format!(
                    "partition {} ends before offset {}, which was to be read next: the topic was made anew or cut off; it is read from {} on",
                    gap.part.partition, gap.from, gap.to
                )
            } else {
                format!(
                    "partition {} lost up to {lost} records: offsets {} to {} were deleted before they were read",
                    gap.part.partition, gap.from, gap.to
                )
            };
            let opening = Opening {
                kind: GuardKind::RetentionOvertaken,
                tenant: tenant(&gap.part.topic).to_owned(),
                subject: gap.part.topic.to_string(),
                now_ms,
                until_ms: Some(now_ms.saturating_add(self.settings.loss_notice_ms)),
                records: lost,
                text,
                evidence: vec![Place {
                    topic: gap.part.topic.to_string(),
                    partition: gap.part.partition,
                    offset: gap.from,
                }],
            };
            let times = self
                .watch
                .book
                .get(
                    GuardKind::RetentionOvertaken,
                    tenant(&gap.part.topic),
                    &gap.part.topic,
                )
                .map_or(1, |guard| guard.times.saturating_add(1));
            self.watch.book.open(opening, times, &mut self.emit);
            self.applied.insert(gap.part.clone(), gap.to);
            self.batch.offsets.insert(gap.part.clone(), gap.to);
        }
        self.begin_if_told();
    }
}
