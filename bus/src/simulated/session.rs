//! A session on the simulated log: a member of a group (or none, for a writer), and a transactional producer.

use super::member::{Change, Member, Reading};
use super::producer::Transactions;
use super::restore;
use super::shared::Shared;
use super::world::World;
use crate::log::{Fault, Membership, Offsets, Outgoing, Poll, Record, Session, TopicPartition};
use std::sync::Arc;
use std::time::Duration;

/// The one place where records become what a poll answers.
fn delivered(records: Vec<Record>) -> Poll {
    Poll::Records(records.into_iter().collect())
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX / 2)
}

pub(super) struct SimulatedSession {
    shared: Arc<Shared>,
    client: u64,
    transactions: Transactions,
    member: Option<Member>,
}

impl SimulatedSession {
    pub(super) fn open(shared: Arc<Shared>, who: &Membership) -> Result<Self, Fault> {
        let client = shared.world().register(who);
        let opened = Self::begin(&shared, client, who);
        let mut world = shared.world();
        let answer = opened
            .as_ref()
            .map_or_else(Fault::to_string, |_| "ok".into());
        world.note(client, "open", "", &answer);
        match opened {
            Ok((transactions, member)) => {
                drop(world);
                Ok(Self {
                    shared,
                    client,
                    transactions,
                    member,
                })
            }
            Err(fault) => {
                world.forget(client);
                Err(fault)
            }
        }
    }

    /// First the producer: it fences the predecessor, and settles the offsets that will be asked for.
    fn begin(
        shared: &Arc<Shared>,
        client: u64,
        who: &Membership,
    ) -> Result<(Transactions, Option<Member>), Fault> {
        let transactions = Transactions::begin(shared, client, who)?;
        if who.topics.is_empty() {
            return Ok((transactions, None));
        }
        shared
            .begin(client, "JoinGroup")
            .map_err(|trouble| trouble.outside("joining"))?;
        let mut world = shared.world();
        let missing: Vec<&str> = who
            .topics
            .iter()
            .filter(|name| !world.broker.topics().contains_key(*name))
            .map(String::as_str)
            .collect();
        if !missing.is_empty() {
            return Err(Fault::Config(format!(
                "there is no topic {}; `cairn topics apply` creates the topics of the catalogue",
                missing.join(", ")
            )));
        }
        let mut member = Member::new(&world, client, who);
        member.progress(&mut world)?;
        Ok((transactions, Some(member)))
    }

    fn member(&mut self) -> Result<&mut Member, Fault> {
        self.member
            .as_mut()
            .ok_or_else(|| Fault::Config("this session is a writer only: it reads nothing".into()))
    }

    /// Writes a call and its answer down, and lets the plan have its say.
    fn answer<T>(
        &self,
        call: &str,
        answer: Result<T, Fault>,
        show: impl FnOnce(&T) -> String,
    ) -> Result<T, Fault> {
        let mut world = self.shared.world();
        let text = match &answer {
            Ok(value) => show(value),
            Err(fault) => format!("{}: {fault}", fault.name()),
        };
        world.note(self.client, call, "", &text);
        world.after_call(self.client);
        answer
    }

    fn polled(&mut self, patience: Duration, max_records: usize) -> Result<Poll, Fault> {
        self.transactions.check()?;
        self.shared
            .begin(self.client, "poll")
            .map_err(|trouble| trouble.outside("polling"))?;
        let (shared, client) = (self.shared.clone(), self.client);
        let Some(member) = &mut self.member else {
            shared.pass_ms(millis(patience));
            return Ok(Poll::Idle);
        };
        let mut max = max_records.max(1);
        {
            let mut world = shared.world();
            world.polled(client);
            let World { draw, plan, .. } = &mut *world;
            if draw.chance(plan.short_poll) {
                max = draw.between(1, max as i64) as usize;
            }
            if draw.chance(plan.empty_poll) {
                max = 0;
            }
        }
        let found = shared.wait_for(millis(patience), |world| {
            if world.unreachable_until_ms().is_some() {
                return None;
            }
            if let Err(fault) = member.progress(world) {
                return Some(Err(fault));
            }
            if let Some(change) = member.next_change() {
                return Some(Ok(change));
            }
            if max == 0 {
                return None;
            }
            let gaps = member.gaps(world);
            if !gaps.is_empty() {
                return Some(Ok(Poll::Overtaken(gaps)));
            }
            let records = member.gather(world, max);
            if records.is_empty() {
                return None;
            }
            let places = world.trace.records(&records);
            world.note(client, "delivers", "", &places);
            Some(Ok(delivered(records)))
        });
        found.unwrap_or(Ok(Poll::Idle))
    }

    fn take_over(&mut self, start: &Offsets) -> Result<(), Fault> {
        let (shared, client) = (self.shared.clone(), self.client);
        let member = self.member()?;
        let Some(Change::Assign(parts)) = member.offered.clone() else {
            return Err(Fault::Config(
                "nothing was assigned that is not answered yet".into(),
            ));
        };
        let open: Vec<TopicPartition> = parts
            .iter()
            .filter(|part| !start.contains_key(*part))
            .cloned()
            .collect();
        let mut position: Offsets = start.clone();
        if !open.is_empty() {
            let group = member.group.clone();
            let found = shared.ask(client, "OffsetFetch", |world| {
                let mut found = world.broker.offsets(&group, &open)?;
                for part in &open {
                    if !found.contains_key(part) {
                        found.insert(part.clone(), world.broker.partition(part)?.start());
                    }
                }
                Ok(found)
            });
            position.extend(found.map_err(|trouble| trouble.outside("beginning to read"))?);
        }
        for part in parts {
            let reading = Reading {
                position: position.get(&part).copied().unwrap_or(0),
                paused: false,
            };
            member.reading.insert(part, reading);
        }
        member.offered = None;
        Ok(())
    }

    fn stable_offsets(&mut self, parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        let (shared, client) = (self.shared.clone(), self.client);
        let group = self.member()?.group.clone();
        shared
            .ask(client, "OffsetFetch", |world| {
                world.broker.offsets(&group, parts)
            })
            .map_err(|trouble| {
                trouble.outside(&format!("reading the committed offsets of group {group}"))
            })
    }

    fn exists(&self, out: &Outgoing) -> Result<(), Fault> {
        let world = self.shared.world();
        let exists = world
            .broker
            .topics()
            .get(&*out.topic)
            .is_some_and(|topic| (0..topic.partitions).contains(&out.partition));
        if exists {
            return Ok(());
        }
        Err(Fault::Config(format!(
            "there is no {}[{}]; `cairn topics apply` creates the topics of the catalogue",
            out.topic, out.partition
        )))
    }

    fn leave(&mut self) -> Result<(), Fault> {
        let aborted = self.transactions.abort();
        let mut world = self.shared.world();
        if world.processes.obstacle(self.client).is_none()
            && let Some(member) = self.member.take().filter(|member| !member.is_static())
        {
            let now_ms = world.now_ms;
            world.broker.remove(&member.group, member.id(), now_ms);
        }
        match aborted {
            // whoever took over is no concern of one who leaves
            Err(Fault::Fenced(_)) => Ok(()),
            other => other,
        }
    }
}

impl Session for SimulatedSession {
    fn poll(&mut self, patience: Duration, max_records: usize) -> Result<Poll, Fault> {
        let polled = self.polled(patience, max_records);
        self.answer("poll", polled, |poll| match poll {
            Poll::Records(_) => "records".into(),
            other => format!("{other:?}"),
        })
    }

    fn assigned(&mut self, start: &Offsets) -> Result<(), Fault> {
        let taken = self.take_over(start);
        self.answer("assigned", taken, |()| show(start))
    }

    fn revoked(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        let member = self.member()?;
        for part in parts {
            member.reading.remove(part);
        }
        member.offered = member
            .offered
            .take()
            .filter(|change| matches!(change, Change::Assign(_)));
        self.answer("revoked", Ok(()), |()| {
            format!("{} partitions", parts.len())
        })
    }

    fn committed(&mut self, parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        let offsets = self.stable_offsets(parts);
        self.answer("committed", offsets, show)
    }

    fn read_from(
        &mut self,
        part: &TopicPartition,
        from: i64,
        each: &mut dyn FnMut(Record),
    ) -> Result<i64, Fault> {
        let mut count = 0;
        let end = restore::to_end(&self.shared, self.client, part, from, &mut |record| {
            count += 1;
            each(record);
        });
        self.answer("read_from", end, |end| {
            format!("{count} of {part} from {from} up to {end}")
        })
    }

    fn send(&mut self, out: Outgoing) -> Result<(), Fault> {
        let place = format!("{}[{}]", out.topic, out.partition);
        let sent = self.exists(&out).and_then(|()| self.transactions.send(out));
        self.answer("send", sent, |()| place)
    }

    fn commit(&mut self, offsets: &Offsets) -> Result<(), Fault> {
        let committed = if offsets.is_empty() {
            self.transactions.commit(None)
        } else {
            self.transactions
                .check()
                .and_then(|()| Ok(self.member()?.standing()))
                .and_then(|standing| self.transactions.commit(Some((offsets, standing))))
        };
        self.answer("commit", committed, |()| show(offsets))
    }

    fn abort(&mut self) -> Result<(), Fault> {
        let aborted = self.transactions.abort();
        self.answer("abort", aborted, |()| String::new())
    }

    fn seek(&mut self, offsets: &Offsets) -> Result<(), Fault> {
        let sought = self.member().and_then(|member| member.seek(offsets));
        self.answer("seek", sought, |()| show(offsets))
    }

    fn pause(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        self.member()?.pause(parts, true);
        Ok(())
    }

    fn resume(&mut self, parts: &[TopicPartition]) -> Result<(), Fault> {
        self.member()?.pause(parts, false);
        Ok(())
    }

    fn last_stable(&mut self, parts: &[TopicPartition]) -> Result<Offsets, Fault> {
        let ends = self
            .shared
            .ask(self.client, "ListOffsets", |world| {
                parts
                    .iter()
                    .map(|part| Ok((part.clone(), world.broker.partition(part)?.last_stable())))
                    .collect::<Result<Offsets, _>>()
            })
            .map_err(|trouble| trouble.outside("asking for the ends of partitions"));
        self.answer("last_stable", ends, show)
    }

    fn position(&mut self) -> Result<Offsets, Fault> {
        let member = self.member()?;
        Ok(member
            .reading
            .iter()
            .map(|(part, reading)| (part.clone(), reading.position))
            .collect())
    }

    fn close(mut self: Box<Self>, _deadline: Duration) -> Result<(), Fault> {
        let left = self.leave();
        self.answer("close", left, |()| String::new())
    }
}

impl Drop for SimulatedSession {
    /// Without `close` it is as if the process had died: nobody is told.
    fn drop(&mut self) {
        let mut world = self.shared.world();
        world.note(self.client, "gone", "", "");
        world.forget(self.client);
    }
}

fn show(offsets: &Offsets) -> String {
    offsets
        .iter()
        .map(|(part, next)| format!("{part}@{next}"))
        .collect::<Vec<_>>()
        .join(" ")
}
