//! A session's part in its group: joins, hears of rebalances, gives up, takes, and reads what it holds.

use super::broker::Refusal;
use super::broker::assign::Assignor;
use super::broker::group::{Joining, Standing};
use super::world::World;
use crate::log::{Fault, Gap, Membership, Offsets, Poll, Record, TopicPartition};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A change of ownership.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Change {
    Assign(BTreeSet<TopicPartition>),
    Revoke(BTreeSet<TopicPartition>),
    Lost(BTreeSet<TopicPartition>),
}

/// A partition that is being read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reading {
    pub(super) position: i64,
    pub(super) paused: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// Has to join.
    Out,
    /// Has joined, waits for the others.
    Waiting,
    In,
}

pub(super) struct Member {
    client: u64,
    pub(super) group: Arc<str>,
    instance: Option<String>,
    topics: Vec<String>,
    assignor: Assignor,
    id: String,
    generation: i32,
    place: Place,
    /// To join again as soon as what was to be given up is.
    rejoin: bool,
    owned: BTreeSet<TopicPartition>,
    /// To be told.
    changes: VecDeque<Change>,
    /// Told, not answered.
    pub(super) offered: Option<Change>,
    /// What was answered with `assigned`.
    pub(super) reading: BTreeMap<TopicPartition, Reading>,
}

impl Member {
    pub(super) fn new(world: &World, client: u64, who: &Membership) -> Self {
        let name = format!("{}.{}.{}", who.operator, who.instance, who.thread);
        Self {
            client,
            group: Arc::from(who.group.as_str()),
            instance: world.settings.static_membership.then_some(name),
            topics: who.topics.clone(),
            assignor: world.settings.assignor,
            id: String::new(),
            generation: -1,
            place: Place::Out,
            rejoin: false,
            owned: BTreeSet::new(),
            changes: VecDeque::new(),
            offered: None,
            reading: BTreeMap::new(),
        }
    }

    /// As whom offsets are committed.
    pub(super) fn standing(&self) -> Standing {
        Standing {
            group: self.group.clone(),
            member_id: self.id.clone(),
            instance: self.instance.clone(),
            generation: self.generation,
        }
    }

    /// Whether it leaves when it closes; a static member's place waits for it.
    pub(super) fn is_static(&self) -> bool {
        self.instance.is_some()
    }

    pub(super) fn id(&self) -> &str {
        &self.id
    }

    /// Does what librdkafka's own thread would: joins, and hears what became of the group. Not while a change is unanswered.
    pub(super) fn progress(&mut self, world: &mut World) -> Result<(), Fault> {
        if self.offered.is_some() || !self.changes.is_empty() {
            return Ok(());
        }
        if self.place == Place::In && self.rejoin {
            self.place = Place::Out;
        }
        self.rejoin = false;
        if self.place == Place::In {
            let group = world.broker.known_group(&self.group);
            match group.and_then(|group| group.heartbeat(&self.standing())) {
                Ok(()) => return Ok(()),
                Err(Refusal::RebalanceInProgress) => {
                    self.place = Place::Out;
                    if self.assignor == Assignor::Range && !self.owned.is_empty() {
                        let owned = std::mem::take(&mut self.owned);
                        self.changes.push_back(Change::Revoke(owned));
                        return Ok(());
                    }
                }
                Err(refusal) => return self.out(world, refusal),
            }
        }
        if self.place == Place::Out {
            self.join(world)?;
        }
        if self.place == Place::Waiting {
            let group = world.broker.known_group(&self.group);
            match group.and_then(|group| group.assignment(&self.id, self.instance.as_ref())) {
                Ok(None) => {}
                Ok(Some((generation, parts))) => self.take(world, generation, parts),
                // the next rebalance came before the answer of the last
                Err(Refusal::RebalanceInProgress) => self.join(world)?,
                Err(refusal) => return self.out(world, refusal),
            }
        }
        Ok(())
    }

    fn join(&mut self, world: &mut World) -> Result<(), Fault> {
        loop {
            let joining = Joining {
                member_id: self.id.clone(),
                instance: self.instance.clone(),
                topics: self.topics.clone(),
                owned: self.owned.clone(),
            };
            match world.broker.join(&self.group, joining, world.now_ms) {
                Ok(id) => {
                    world
                        .processes
                        .set_member(self.client, Some((self.group.clone(), id.clone())));
                    world.note(self.client, "JoinGroup", &self.group, &id);
                    self.id = id;
                    self.place = Place::Waiting;
                    return Ok(());
                }
                Err(Refusal::UnknownMember) if !self.id.is_empty() => {
                    self.forget(world);
                    if !self.owned.is_empty() {
                        return self.out(world, Refusal::UnknownMember);
                    }
                }
                Err(refusal) => return self.out(world, refusal),
            }
        }
    }

    fn forget(&mut self, world: &mut World) {
        self.id.clear();
        self.generation = -1;
        world.processes.set_member(self.client, None);
    }

    /// It is no longer what it thought: everything is lost, and it begins anew.
    fn out(&mut self, world: &mut World, refusal: Refusal) -> Result<(), Fault> {
        world.note(self.client, "group", &self.group, &format!("{refusal:?}"));
        match refusal {
            Refusal::UnknownMember => self.forget(world),
            Refusal::IllegalGeneration => self.generation = -1,
            Refusal::FencedInstance => {
                return Err(Fault::Fenced(format!(
                    "another member has this name in group {}",
                    self.group
                )));
            }
            other => {
                return Err(Fault::Unreachable(format!(
                    "group {}: {other:?}",
                    self.group
                )));
            }
        }
        self.place = Place::Out;
        if !self.owned.is_empty() {
            let owned = std::mem::take(&mut self.owned);
            self.changes.push_back(Change::Lost(owned));
        }
        Ok(())
    }

    fn take(&mut self, world: &mut World, generation: i32, parts: BTreeSet<TopicPartition>) {
        world.note(
            self.client,
            "SyncGroup",
            &format!("generation {generation}"),
            &parts
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
        );
        // an assignment is told even if it is empty: every one of the eager protocol, of the cooperative one the first
        let is_told = self.assignor == Assignor::Range || self.generation < 0;
        self.generation = generation;
        self.place = Place::In;
        let given_up: BTreeSet<_> = self.owned.difference(&parts).cloned().collect();
        let added: BTreeSet<_> = parts.difference(&self.owned).cloned().collect();
        if !given_up.is_empty() {
            self.rejoin = true;
            self.changes.push_back(Change::Revoke(given_up));
        }
        if is_told || !added.is_empty() {
            self.changes.push_back(Change::Assign(added));
        }
        self.owned = parts;
    }

    /// Tells of the next change, if the last was answered.
    pub(super) fn next_change(&mut self) -> Option<Poll> {
        if self.offered.is_some() {
            return None;
        }
        let change = self.changes.pop_front()?;
        let list = |parts: &BTreeSet<TopicPartition>| parts.iter().cloned().collect();
        let poll = match &change {
            Change::Assign(parts) => Poll::Assigned(list(parts)),
            Change::Revoke(parts) => Poll::Revoked(list(parts)),
            Change::Lost(parts) => Poll::Lost(list(parts)),
        };
        self.offered = Some(change);
        Some(poll)
    }

    /// What the next offsets of partitions that are read miss; they go on at the start.
    pub(super) fn gaps(&mut self, world: &World) -> Vec<Gap> {
        let mut gaps = Vec::new();
        for (part, reading) in &mut self.reading {
            let Ok(partition) = world.broker.partition(part) else {
                continue;
            };
            let known = partition.start()..=partition.high();
            if !reading.paused && !known.contains(&reading.position) {
                gaps.push(Gap {
                    part: part.clone(),
                    from: reading.position,
                    to: partition.start(),
                });
                reading.position = partition.start();
            }
        }
        gaps
    }

    /// What can be delivered now, from whichever partition comes first. What is to be given up delivers nothing more.
    pub(super) fn gather(&mut self, world: &mut World, max: usize) -> Vec<Record> {
        let leaving = match &self.offered {
            Some(Change::Revoke(parts) | Change::Lost(parts)) => parts.clone(),
            _ => BTreeSet::new(),
        };
        let mut open: Vec<(&TopicPartition, &mut Reading)> = self
            .reading
            .iter_mut()
            .filter(|(part, reading)| !reading.paused && !leaving.contains(*part))
            .collect();
        if open.len() > 1 {
            let first = world.draw.between(0, open.len() as i64 - 1) as usize;
            open.rotate_left(first);
        }
        let mut records = Vec::new();
        for (part, reading) in open {
            if records.len() == max {
                break;
            }
            let Ok(partition) = world.broker.partition(part) else {
                continue;
            };
            let fetched = partition.fetch(part, reading.position, max - records.len());
            reading.position = fetched.next;
            records.extend(fetched.records);
        }
        records
    }

    pub(super) fn seek(&mut self, offsets: &Offsets) -> Result<(), Fault> {
        if let Some(part) = offsets
            .keys()
            .find(|part| !self.reading.contains_key(*part))
        {
            return Err(Fault::Config(format!(
                "cannot seek in {part}: it is not assigned"
            )));
        }
        for (part, next) in offsets {
            if let Some(reading) = self.reading.get_mut(part) {
                reading.position = *next;
            }
        }
        Ok(())
    }

    pub(super) fn pause(&mut self, parts: &[TopicPartition], paused: bool) {
        for part in parts {
            if let Some(reading) = self.reading.get_mut(part) {
                reading.paused = paused;
            }
        }
    }
}
