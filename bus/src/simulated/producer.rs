//! A session's transactional producer: the same decisions as [`crate::kafka`]'s, over simulated brokers.

use super::broker::coordinator::Producer;
use super::broker::group::Standing;
use super::broker::{Refusal, Write};
use super::shared::{Shared, Trouble};
use super::world::World;
use crate::log::{Fault, Membership, Offsets, Outgoing, TopicPartition};
use std::collections::BTreeSet;
use std::sync::Arc;

/// A batch that lingers goes at the latest when it holds so many records.
const BATCH_RECORDS: usize = 100;

pub(super) struct Transactions {
    shared: Arc<Shared>,
    client: u64,
    producer: Producer,
    /// When the open transaction began.
    opened_ms: Option<i64>,
    /// What the brokers know to be part of it.
    added: BTreeSet<TopicPartition>,
    /// Whether the brokers know of it at all.
    known: bool,
    /// Sent and not on its way yet, with the time of sending.
    batch: Vec<(Outgoing, i64)>,
    over: Option<Fault>,
}

impl Transactions {
    /// Fences a predecessor and settles what it left open.
    pub(super) fn begin(
        shared: &Arc<Shared>,
        client: u64,
        who: &Membership,
    ) -> Result<Self, Fault> {
        let id: Arc<str> = Arc::from(format!("{}.{}.{}", who.operator, who.instance, who.thread));
        let producer = shared
            .init(client, &id)
            .map_err(|trouble| trouble.outside(&format!("opening transactional id {id}")))?;
        Ok(Self {
            shared: shared.clone(),
            client,
            producer,
            opened_ms: None,
            added: BTreeSet::new(),
            known: false,
            batch: Vec::new(),
            over: None,
        })
    }

    /// The fault after which nothing more is possible.
    pub(super) fn check(&self) -> Result<(), Fault> {
        self.over.clone().map_or(Ok(()), Err)
    }

    fn ensure_open(&mut self) -> Result<(), Fault> {
        self.check()?;
        if self.opened_ms.is_none() {
            self.opened_ms = Some(self.shared.world().now_ms);
        }
        Ok(())
    }

    pub(super) fn send(&mut self, out: Outgoing) -> Result<(), Fault> {
        self.ensure_open()?;
        let (aborts, lingers) = {
            let mut world = self.shared.world();
            let World { draw, plan, .. } = &mut *world;
            (draw.chance(plan.abort), draw.chance(plan.linger))
        };
        if aborts {
            return self.aborted("sending: a record was not delivered in time");
        }
        let now_ms = self.shared.world().now_ms;
        self.batch.push((out, now_ms));
        if lingers && self.batch.len() < BATCH_RECORDS {
            return Ok(());
        }
        self.flush("sending")
    }

    fn flush(&mut self, doing: &str) -> Result<(), Fault> {
        if self.batch.is_empty() {
            return Ok(());
        }
        let new: BTreeSet<TopicPartition> = self
            .batch
            .iter()
            .map(|(out, _)| TopicPartition::new(out.topic.clone(), out.partition))
            .filter(|part| !self.added.contains(part))
            .collect();
        if !new.is_empty() {
            self.write(doing, Write::AddPartitions(new.clone()))?;
            self.added.extend(new);
        }
        let batch = std::mem::take(&mut self.batch);
        let places: BTreeSet<&str> = batch.iter().map(|(out, _)| &*out.topic).collect();
        let doing = format!(
            "{doing} to {}",
            places.into_iter().collect::<Vec<_>>().join(", ")
        );
        self.write(&doing, Write::Produce(batch))
    }

    /// Records and offsets together, or neither.
    pub(super) fn commit(&mut self, offsets: Option<(&Offsets, Standing)>) -> Result<(), Fault> {
        self.check()?;
        if self.opened_ms.is_none() && offsets.is_none() {
            return Ok(());
        }
        self.ensure_open()?;
        let aborts = {
            let mut world = self.shared.world();
            let World { draw, plan, .. } = &mut *world;
            draw.chance(plan.abort)
        };
        if aborts {
            return self.aborted("committing: a broker has moved on");
        }
        self.flush("committing")?;
        if let Some((offsets, standing)) = offsets {
            let doing = "sending offsets to the transaction";
            self.write(doing, Write::AddOffsets(standing.group.clone()))?;
            self.write(doing, Write::CommitOffsets(standing, offsets.clone()))?;
        }
        if self.known {
            self.write("committing", Write::End { commit: true })?;
        }
        self.reset();
        Ok(())
    }

    /// Leaves nothing of the open transaction.
    pub(super) fn abort(&mut self) -> Result<(), Fault> {
        self.check()?;
        if self.opened_ms.is_none() {
            return Ok(());
        }
        self.batch.clear();
        if self.known {
            let ended =
                self.shared
                    .write(self.client, &self.producer, Write::End { commit: false });
            if let Err(trouble) = ended {
                return Err(self.over("aborting", trouble));
            }
        }
        self.reset();
        Ok(())
    }

    fn aborted(&mut self, why: &str) -> Result<(), Fault> {
        self.abort()?;
        Err(Fault::Abort(why.into()))
    }

    fn reset(&mut self) {
        self.opened_ms = None;
        self.added.clear();
        self.known = false;
        self.batch.clear();
    }

    fn write(&mut self, doing: &str, write: Write) -> Result<(), Fault> {
        let may_repeat =
            matches!(write, Write::End { .. }) && self.shared.world().settings.retry_in_place;
        // even a request that was lost may be one that arrived
        self.known = true;
        let Err(trouble) = self.shared.write(self.client, &self.producer, write) else {
            return Ok(());
        };
        match trouble {
            Trouble::Refused(
                Refusal::UnknownMember | Refusal::IllegalGeneration | Refusal::RebalanceInProgress,
            ) => {
                self.abort()?;
                Err(Fault::Abort(format!("{doing}: {trouble:?}")))
            }
            Trouble::Refused(
                Refusal::MessageTooLarge
                | Refusal::InvalidRecord
                | Refusal::UnknownTopicOrPartition,
            ) => {
                self.abort()?;
                Err(Fault::Config(format!("{doing}: {trouble:?}")))
            }
            Trouble::NoAnswer if may_repeat => Err(unknown(doing, trouble)),
            _ => Err(self.over(doing, trouble)),
        }
    }

    /// The producer is of no more use.
    fn over(&mut self, doing: &str, trouble: Trouble) -> Fault {
        let (now_ms, timeout_ms) = {
            let world = self.shared.world();
            (world.now_ms, world.settings.transaction_timeout_ms)
        };
        let is_old = self
            .opened_ms
            .is_some_and(|opened_ms| now_ms - opened_ms >= timeout_ms);
        let fault = match trouble {
            Trouble::Stopped => return trouble.outside(doing),
            Trouble::Dead => World::dead(),
            // the brokers fence the producer of a transaction that was open too long: nobody need have taken over
            Trouble::Refused(
                Refusal::ProducerFenced
                | Refusal::FencedInstance
                | Refusal::InvalidTransactionState,
            ) if !is_old => Fault::Fenced(format!("{doing}: {trouble:?}")),
            _ => unknown(doing, trouble),
        };
        self.over = Some(fault.clone());
        fault
    }
}

fn unknown(doing: &str, trouble: Trouble) -> Fault {
    Fault::Unknown(format!("{doing}: {trouble:?}"))
}
