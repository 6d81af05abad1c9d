//! A session on Kafka: a member of a group (or none, for a writer), and a transactional producer.

mod member;

use super::ends::{self, Ends, Looker};
use super::events::Change;
use super::faults;
use super::settings::KafkaSettings;
use super::transactions::Transactions;
use crate::log::{
    Fault, Gap, Membership, Offsets, Outgoing, Poll, Record, Session, TopicPartition,
};
use member::Member;
use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::Offset;
use std::collections::BTreeMap;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

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

    /// Looks for the positions that the log does not have, and goes on at the starts of those partitions.
    fn overtaken(&mut self) -> Result<Poll, Fault> {
        let ends = self.ends.clone();
        let member = self.member()?;
        let parts: Vec<TopicPartition> = member.position.keys().cloned().collect();
        let (starts, highs) = (ends.start(&parts)?, ends.high(&parts)?);
        let mut gaps = Vec::new();
        for (part, &from) in &member.position {
            let (Some(&to), Some(&high)) = (starts.get(part), highs.get(part)) else {
                continue;
            };
            if !(to..=high).contains(&from) {
                let part = part.clone();
                gaps.push(Gap { part, from, to });
            }
        }
        if gaps.is_empty() {
            return Ok(Poll::Idle);
        }
        let next = gaps.iter().map(|gap| (gap.part.clone(), gap.to)).collect();
        member.begin_again(&next)?;
        Ok(Poll::Overtaken(gaps))
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

impl KafkaSession {
    /// Positions, with what is never delivered passed in those of these partitions that a poll has found empty.
    fn look(&mut self, wanted: impl Fn(&TopicPartition) -> bool) -> Result<Offsets, Fault> {
        let member = self.member()?;
        let mut gaps = BTreeMap::new();
        if member.idle {
            for (part, &end) in member.seen_ends.iter().filter(|(part, _)| wanted(part)) {
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
}

impl Session for KafkaSession {
    fn leave_out_headers(&mut self) {
        if let Some(member) = &mut self.member {
            member.has_headers = false;
        }
    }

    fn poll(&mut self, patience: Duration, max_records: usize) -> Result<Poll, Fault> {
        self.transactions.check()?;
        let Some(member) = &mut self.member else {
            return Ok(Poll::Idle);
        };
        match member.poll(patience, max_records)? {
            Poll::Idle if member.take_out_of_range() => self.overtaken(),
            poll => Ok(poll),
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
            member.paused.remove(part);
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

    fn read_from(
        &mut self,
        part: &TopicPartition,
        from: i64,
        each: &mut dyn FnMut(Record),
    ) -> Result<i64, Fault> {
        // a transaction ends at the latest when the broker looks after its time-out, every 10 s
        let undecided = Duration::from_millis(self.settings.transaction_timeout_ms.into())
            + Duration::from_secs(20);
        self.looker()?.read_from(part, from, undecided, each)
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

    fn is_delivered(&mut self) -> Result<bool, Fault> {
        self.transactions.is_delivered()
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
        self.transactions.commit(Some((list, group)))
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
        member.paused.extend(parts.iter().cloned());
        member
            .consumer()?
            .pause(&list)
            .map_err(|error| faults::of_call("pausing", &error))
    }

    fn resume(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        let member = self.member()?;
        member.idle = false;
        member.paused.retain(|part| !parts.contains(part));
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
        self.look(|_| true)
    }

    fn passed(&mut self, parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        self.look(|part| parts.contains(part))
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
