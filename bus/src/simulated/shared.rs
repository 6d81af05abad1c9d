//! Where the pure world meets a clock and a lock: every request and every wait goes through here.

use super::broker::coordinator::Producer;
use super::broker::{Refusal, Write};
use super::clock::Clock;
use super::processes::Obstacle;
use super::world::{Fate, World};
use crate::log::Fault;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why a request did not come to an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    Refused(Refusal),
    NoAnswer,
    Unreachable,
    Dead,
    /// Stopped by hand, and called all the same.
    Stopped,
}

impl Trouble {
    /// For a call that is no part of a transaction.
    pub(super) fn outside(self, doing: &str) -> Fault {
        match self {
            Trouble::Dead => World::dead(),
            Trouble::Stopped => Fault::Config(format!(
                "{doing}: the instance was stopped by hand and must go on first"
            )),
            Trouble::Refused(Refusal::UnknownTopicOrPartition) => Fault::Config(format!(
                "{doing}: there is no such topic or partition; `cairn topics apply` creates the topics of the catalogue"
            )),
            Trouble::Refused(Refusal::FencedInstance | Refusal::ProducerFenced) => {
                Fault::Fenced(format!("{doing}: {self:?}"))
            }
            _ => Fault::Unreachable(format!("{doing}: {self:?}")),
        }
    }
}

/// What all sessions and readers of a log share.
pub(super) struct Shared {
    world: Mutex<World>,
    clock: Arc<dyn Clock>,
    call_timeout_ms: i64,
}

impl Shared {
    pub(super) fn new(world: World, clock: Arc<dyn Clock>) -> Self {
        let call_timeout_ms = world.settings.call_timeout_ms;
        Self {
            world: Mutex::new(world),
            clock,
            call_timeout_ms,
        }
    }

    /// The world as it is now.
    pub(super) fn world(&self) -> MutexGuard<'_, World> {
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        world.advance(self.clock.now_ms());
        world
    }

    /// Lets time go by.
    pub(super) fn pass_ms(&self, for_ms: i64) {
        if for_ms > 0 {
            let _ = self.wait_for::<()>(for_ms, |_| None);
        }
    }

    /// Looks again whenever something may have happened, until there is an answer or the patience is over.
    pub(super) fn wait_for<T>(
        &self,
        patience_ms: i64,
        mut look: impl FnMut(&mut World) -> Option<T>,
    ) -> Option<T> {
        let deadline_ms = self.clock.now_ms().saturating_add(patience_ms);
        loop {
            let (now_ms, due_ms) = {
                let mut world = self.world();
                if let Some(found) = look(&mut world) {
                    return Some(found);
                }
                (world.now_ms, world.next_due_ms())
            };
            if now_ms >= deadline_ms {
                return None;
            }
            let next_ms = due_ms.map_or(deadline_ms, |due_ms| due_ms.min(deadline_ms));
            self.clock.wait_until(next_ms.max(now_ms + 1));
        }
    }

    /// Waits within one call's time.
    pub(super) fn wait_for_answer<T>(
        &self,
        look: impl FnMut(&mut World) -> Option<T>,
    ) -> Option<T> {
        self.wait_for(self.call_timeout_ms, look)
    }

    /// Until the brokers can be reached.
    pub(super) fn reach(&self) -> Result<(), Trouble> {
        self.wait_for_answer(|world| world.unreachable_until_ms().is_none().then_some(()))
            .ok_or(Trouble::Unreachable)
    }

    /// What every request of a session goes through first: a stop is waited out, then whatever the plan has for it.
    pub(super) fn begin(&self, client: u64, name: &str) -> Result<(), Trouble> {
        loop {
            let obstacle = self.world().processes.obstacle(client);
            match obstacle {
                None => break,
                Some(Obstacle::Dead) => return Err(Trouble::Dead),
                Some(Obstacle::Stopped) => return Err(Trouble::Stopped),
                Some(Obstacle::StoppedUntil(until_ms)) => self.clock.wait_until(until_ms),
            }
        }
        let latency_ms = self
            .world()
            .before_request(client, name)
            .map_err(|_| Trouble::Dead)?;
        self.pass_ms(latency_ms);
        Ok(())
    }

    /// A request that nothing is undecided after.
    pub(super) fn ask<T>(
        &self,
        client: u64,
        name: &str,
        mut ask: impl FnMut(&mut World) -> Result<T, Refusal>,
    ) -> Result<T, Trouble> {
        self.begin(client, name)?;
        self.reach()?;
        if self.world().is_ask_lost() {
            return Err(self.no_answer());
        }
        self.wait_for_answer(|world| match ask(world) {
            Err(Refusal::UnstableOffsets) => None,
            other => Some(other),
        })
        .unwrap_or(Err(Refusal::UnstableOffsets))
        .map_err(Trouble::Refused)
    }

    /// A request of a transaction, with the fate that is drawn for it.
    pub(super) fn write(
        &self,
        client: u64,
        producer: &Producer,
        write: Write,
    ) -> Result<(), Trouble> {
        let name = write.name();
        self.begin(client, name)?;
        self.reach()?;
        let fate = {
            let mut world = self.world();
            let fate = world.fate(matches!(write, Write::End { .. }));
            world.note(client, name, "", &format!("{fate:?}"));
            fate
        };
        match fate {
            Fate::Answered | Fate::AnswerLost => {}
            Fate::RequestLost => return Err(self.no_answer()),
            Fate::DelayedUntil(due_ms) => {
                self.world().delay(client, due_ms, producer.clone(), write);
                return Err(self.no_answer());
            }
        }
        let answer = self
            .wait_for_answer(|world| match world.write(producer, &write) {
                Err(Refusal::ConcurrentTransactions) => None,
                other => Some(other),
            })
            .unwrap_or(Err(Refusal::ConcurrentTransactions));
        if fate == Fate::AnswerLost {
            return Err(self.no_answer());
        }
        answer.map_err(Trouble::Refused)
    }

    /// A new producer epoch, with the fate that is drawn for the request.
    pub(super) fn init(
        &self,
        client: u64,
        transactional_id: &Arc<str>,
    ) -> Result<Producer, Trouble> {
        self.begin(client, "InitProducerId")?;
        self.reach()?;
        let fate = self.world().fate(false);
        // one that is delayed is lost: the connection that it came by is closed, and nobody writes under its epoch
        if matches!(fate, Fate::RequestLost | Fate::DelayedUntil(_)) {
            return Err(self.no_answer());
        }
        let producer = self
            .wait_for_answer(|world| world.init(transactional_id).ok())
            .ok_or(Trouble::Refused(Refusal::ConcurrentTransactions))?;
        if fate == Fate::AnswerLost {
            return Err(self.no_answer());
        }
        Ok(producer)
    }

    fn no_answer(&self) -> Trouble {
        let wait_ms = self.world().answer_wait_ms();
        self.pass_ms(wait_ms);
        Trouble::NoAnswer
    }
}
