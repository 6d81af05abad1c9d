//! A consumer group of the classic protocol: members, generations, rebalances, offsets and the offsets that a transaction
//! holds.
//!
//! The assignment is worked out when the last member has joined, not by a leader a round trip later: a leader that dies in
//! between is left out.

use super::Refusal;
use super::assign::{self, Assignor, Claim};
use crate::log::{Offsets, TopicPartition};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Partitions by topic.
pub(crate) type Counts = BTreeMap<String, i32>;

/// How long members are waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Patience {
    /// A member that is silent for so long is out.
    pub(crate) session_ms: i64,
    /// How long a rebalance waits for members that do not join.
    pub(crate) rebalance_ms: i64,
}

/// What a member says when it joins.
#[derive(Clone, Debug, Default)]
pub(crate) struct Joining {
    /// Empty: it has none yet.
    pub(crate) member_id: String,
    /// A static member's name.
    pub(crate) instance: Option<String>,
    pub(crate) topics: Vec<String>,
    /// What it holds on to (cooperative).
    pub(crate) owned: BTreeSet<TopicPartition>,
}

/// As which member of which generation offsets are committed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Standing {
    pub(crate) group: Arc<str>,
    pub(crate) member_id: String,
    pub(crate) instance: Option<String>,
    /// -1: it is in none.
    pub(crate) generation: i32,
}

#[derive(Clone, Debug)]
struct Member {
    instance: Option<String>,
    topics: Vec<String>,
    owned: BTreeSet<TopicPartition>,
    /// It has joined the rebalance that is under way.
    joined: bool,
    /// None: it is heard of all the time.
    silent_since_ms: Option<i64>,
    assignment: BTreeSet<TopicPartition>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// Nobody is in it.
    Empty,
    /// A rebalance waits for members to join.
    Preparing { since_ms: i64 },
    /// Everybody has what it gets.
    Stable,
}

/// One group.
#[derive(Clone, Debug)]
pub(crate) struct Group {
    assignor: Assignor,
    patience: Patience,
    generation: i32,
    phase: Phase,
    members: BTreeMap<String, Member>,
    /// The member ids of static members.
    statics: BTreeMap<String, String>,
    joins: u64,
    offsets: Offsets,
    /// Offsets of transactions that are not over, by producer id.
    pending: BTreeMap<i64, Offsets>,
}

impl Group {
    pub(crate) fn new(assignor: Assignor, patience: Patience) -> Self {
        Self {
            assignor,
            patience,
            generation: 0,
            phase: Phase::Empty,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            joins: 0,
            offsets: Offsets::new(),
            pending: BTreeMap::new(),
        }
    }

    /// Joins or joins again; answers with the member id. A static member takes the place of its predecessor, who is fenced, and
    /// a group at rest stays at rest. (Not so where a cooperative hand-over is half done: the predecessor would have joined
    /// again to finish it, its successor does not know of it.)
    pub(crate) fn join(
        &mut self,
        joining: Joining,
        now_ms: i64,
        counts: &Counts,
    ) -> Result<String, Refusal> {
        let predecessor = joining
            .instance
            .as_ref()
            .filter(|_| joining.member_id.is_empty())
            .and_then(|instance| self.statics.get(instance).cloned());
        if !joining.member_id.is_empty() {
            self.validate(&joining.member_id, joining.instance.as_ref())?;
        }
        let id = if joining.member_id.is_empty() {
            self.joins += 1;
            let name = joining.instance.as_deref().unwrap_or("member");
            format!("{name}-{}", self.joins)
        } else {
            joining.member_id
        };
        let is_half_done = predecessor.is_some() && self.withholds(counts);
        let known = self.members.remove(predecessor.as_ref().unwrap_or(&id));
        let changed = known.as_ref().is_none_or(|known| {
            known.topics != joining.topics
                || is_half_done
                || (predecessor.is_none() && known.owned != joining.owned)
        });
        let member = Member {
            instance: joining.instance.clone(),
            topics: joining.topics,
            owned: joining.owned,
            joined: true,
            silent_since_ms: None,
            assignment: known.map(|known| known.assignment).unwrap_or_default(),
        };
        if let Some(instance) = joining.instance {
            self.statics.insert(instance, id.clone());
        }
        self.members.insert(id.clone(), member);
        if self.phase != Phase::Stable {
            self.prepare_if_needed(now_ms);
        } else if changed {
            self.prepare(now_ms);
            if let Some(member) = self.members.get_mut(&id) {
                member.joined = true;
            }
        }
        self.complete_if_all(now_ms, counts);
        Ok(id)
    }

    /// Whether some partition is assigned to nobody, until somebody has given it up.
    fn withholds(&self, counts: &Counts) -> bool {
        let assigned: usize = self
            .members
            .values()
            .map(|member| member.assignment.len())
            .sum();
        let topics: BTreeSet<&String> = self
            .members
            .values()
            .flat_map(|member| &member.topics)
            .collect();
        let all: i32 = topics.iter().filter_map(|topic| counts.get(*topic)).sum();
        assigned < all as usize
    }

    /// Begins a rebalance, which every member must join.
    fn prepare(&mut self, now_ms: i64) {
        self.phase = Phase::Preparing { since_ms: now_ms };
        for member in self.members.values_mut() {
            member.joined = false;
        }
    }

    fn prepare_if_needed(&mut self, now_ms: i64) {
        if self.phase == Phase::Empty {
            self.phase = Phase::Preparing { since_ms: now_ms };
        }
    }

    /// A rebalance for no reason that a member could see.
    pub(crate) fn unsettle(&mut self, now_ms: i64) -> bool {
        let is_stable = self.phase == Phase::Stable;
        if is_stable {
            self.prepare(now_ms);
        }
        is_stable
    }

    fn complete_if_all(&mut self, now_ms: i64, counts: &Counts) {
        if matches!(self.phase, Phase::Preparing { .. })
            && self.members.values().all(|member| member.joined)
        {
            self.complete(now_ms, counts);
        }
    }

    /// The next generation. Static members that did not join keep their place until their session ends.
    fn complete(&mut self, now_ms: i64, counts: &Counts) {
        self.members
            .retain(|_, member| member.joined || member.instance.is_some());
        if !self.members.is_empty() && self.members.values().all(|member| !member.joined) {
            self.phase = Phase::Preparing { since_ms: now_ms };
            return;
        }
        self.generation += 1;
        if self.members.is_empty() {
            self.phase = Phase::Empty;
            return;
        }
        let mut order: Vec<(&str, &String)> = self
            .members
            .iter()
            .map(|(id, member)| (member.instance.as_deref().unwrap_or(id), id))
            .collect();
        order.sort_unstable();
        let claims: Vec<Claim<'_>> = order
            .iter()
            .map(|(_, id)| {
                let member = &self.members[*id];
                Claim {
                    topics: &member.topics,
                    owned: &member.owned,
                }
            })
            .collect();
        let shares = assign::assign(self.assignor, &claims, counts);
        let ids: Vec<String> = order.into_iter().map(|(_, id)| id.clone()).collect();
        for (id, share) in ids.into_iter().zip(shares) {
            if let Some(member) = self.members.get_mut(&id) {
                member.assignment = share;
                member.joined = false;
                // a member that had joined was waited for, not heard
                if let Some(since_ms) = &mut member.silent_since_ms {
                    *since_ms = now_ms.max(*since_ms);
                }
            }
        }
        self.phase = Phase::Stable;
    }

    fn validate(&self, member_id: &str, instance: Option<&String>) -> Result<(), Refusal> {
        if let Some(instance) = instance {
            match self.statics.get(instance) {
                None => return Err(Refusal::UnknownMember),
                Some(id) if id != member_id => return Err(Refusal::FencedInstance),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) {
            Ok(())
        } else {
            Err(Refusal::UnknownMember)
        }
    }

    /// What a member that has joined waits for: the generation and its share. None: others are still to join.
    pub(crate) fn assignment(
        &self,
        member_id: &str,
        instance: Option<&String>,
    ) -> Result<Option<(i32, BTreeSet<TopicPartition>)>, Refusal> {
        self.validate(member_id, instance)?;
        let member = &self.members[member_id];
        match self.phase {
            Phase::Stable => Ok(Some((self.generation, member.assignment.clone()))),
            Phase::Preparing { .. } if member.joined => Ok(None),
            _ => Err(Refusal::RebalanceInProgress),
        }
    }

    /// Whether a member's place is still what it thinks.
    pub(crate) fn heartbeat(&self, standing: &Standing) -> Result<(), Refusal> {
        self.validate(&standing.member_id, standing.instance.as_ref())?;
        if standing.generation != self.generation {
            return Err(Refusal::IllegalGeneration);
        }
        match self.phase {
            Phase::Stable => Ok(()),
            _ => Err(Refusal::RebalanceInProgress),
        }
    }

    /// Whether these may commit offsets in a transaction: while a rebalance is being prepared they still may.
    pub(crate) fn check(&self, standing: &Standing) -> Result<(), Refusal> {
        let is_nobody =
            standing.generation < 0 && standing.member_id.is_empty() && standing.instance.is_none();
        if is_nobody || (standing.generation < 0 && self.phase == Phase::Empty) {
            return Ok(());
        }
        self.validate(&standing.member_id, standing.instance.as_ref())?;
        if standing.generation == self.generation {
            Ok(())
        } else {
            Err(Refusal::IllegalGeneration)
        }
    }

    /// Offsets that count once the producer's transaction is committed.
    pub(crate) fn hold(&mut self, producer_id: i64, offsets: &Offsets) {
        self.pending
            .entry(producer_id)
            .or_default()
            .extend(offsets.iter().map(|(part, next)| (part.clone(), *next)));
    }

    /// The marker of a producer's transaction has come.
    pub(crate) fn end(&mut self, producer_id: i64, commit: bool) {
        let held = self.pending.remove(&producer_id).unwrap_or_default();
        if commit {
            self.offsets.extend(held);
        }
    }

    /// The stable offsets; refused while a transaction that is not over holds one of them.
    pub(crate) fn offsets(&self, parts: &[TopicPartition]) -> Result<Offsets, Refusal> {
        let is_held = |part: &TopicPartition| {
            self.pending
                .values()
                .any(|offsets| offsets.contains_key(part))
        };
        if parts.iter().any(is_held) {
            return Err(Refusal::UnstableOffsets);
        }
        Ok(parts
            .iter()
            .filter_map(|part| self.offsets.get_key_value(part))
            .map(|(part, next)| (part.clone(), *next))
            .collect())
    }

    /// The offsets without those that a transaction still holds.
    pub(crate) fn decided_offsets(&self) -> &Offsets {
        &self.offsets
    }

    /// From now on a member is heard of (true) or not.
    pub(crate) fn presence(&mut self, member_id: &str, heard: bool, now_ms: i64) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.silent_since_ms = match (heard, member.silent_since_ms) {
                (true, _) => None,
                (false, Some(since_ms)) => Some(since_ms),
                (false, None) => Some(now_ms),
            };
        }
    }

    /// A member leaves or is thrown out.
    pub(crate) fn remove(&mut self, member_id: &str, now_ms: i64, counts: &Counts) -> bool {
        let Some(member) = self.members.remove(member_id) else {
            return false;
        };
        if let Some(instance) = member.instance {
            self.statics.remove(&instance);
        }
        if self.phase == Phase::Stable {
            self.prepare(now_ms);
        }
        self.complete_if_all(now_ms, counts);
        true
    }

    /// Ends sessions and rebalances whose time is over.
    pub(crate) fn advance(&mut self, now_ms: i64, counts: &Counts) {
        loop {
            let over = self
                .members
                .iter()
                .find(|(_, member)| self.session_end_ms(member).is_some_and(|end| now_ms >= end))
                .map(|(id, _)| id.clone());
            let Some(id) = over else { break };
            self.remove(&id, now_ms, counts);
        }
        if let Phase::Preparing { since_ms } = self.phase
            && now_ms >= since_ms + self.patience.rebalance_ms
        {
            self.complete(now_ms, counts);
        }
    }

    /// A member that waits for others to join is not measured by its heartbeats.
    fn session_end_ms(&self, member: &Member) -> Option<i64> {
        let waits = member.joined && matches!(self.phase, Phase::Preparing { .. });
        member
            .silent_since_ms
            .filter(|_| !waits)
            .map(|since_ms| since_ms + self.patience.session_ms)
    }

    /// When something happens next by itself.
    pub(crate) fn next_due_ms(&self) -> Option<i64> {
        let sessions = self
            .members
            .values()
            .filter_map(|member| self.session_end_ms(member));
        let rebalance = match self.phase {
            Phase::Preparing { since_ms } => Some(since_ms + self.patience.rebalance_ms),
            _ => None,
        };
        sessions.chain(rebalance).min()
    }
}
