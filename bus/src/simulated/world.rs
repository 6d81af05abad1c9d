//! The brokers, the network and the processes as one state machine, driven by one seed: what arrives, what is lost, who stands
//! still and who is dead. No clock and no lock: time comes with every call.

use super::broker::coordinator::Producer;
use super::broker::{Broker, BrokerSettings, Refusal, Write};
use super::draw::Draw;
use super::plan::{FaultPlan, SimulatedSettings};
use super::processes::{Life, Obstacle, Presence, Processes};
use super::trace::Trace;
use crate::log::{Fault, Membership};
use std::sync::Arc;

/// What becomes of a transactional request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answered,
    RequestLost,
    AnswerLost,
    DelayedUntil(i64),
}

struct InFlight {
    due_ms: i64,
    client: u64,
    producer: Producer,
    write: Write,
}

/// Everything there is.
pub(super) struct World {
    pub(super) broker: Broker,
    pub(super) plan: FaultPlan,
    pub(super) settings: SimulatedSettings,
    pub(super) draw: Draw,
    pub(super) trace: Trace,
    pub(super) now_ms: i64,
    pub(super) processes: Processes,
    in_flight: Vec<InFlight>,
    pub(super) requests: u64,
    crash_at: Option<u64>,
    unreachable_until_ms: i64,
}

impl World {
    pub(super) fn new(
        seed: u64,
        plan: FaultPlan,
        settings: SimulatedSettings,
        now_ms: i64,
    ) -> Self {
        let broker = BrokerSettings {
            transaction_timeout_ms: settings.transaction_timeout_ms,
            transaction_scan_ms: settings.transaction_scan_ms,
            patience: super::broker::group::Patience {
                session_ms: settings.session_timeout_ms,
                rebalance_ms: settings.max_poll_interval_ms,
            },
            assignor: settings.assignor,
        };
        let processes = Processes::new(settings.max_poll_interval_ms);
        Self {
            broker: Broker::new(broker),
            plan,
            settings,
            draw: Draw::new(seed),
            trace: Trace::default(),
            now_ms,
            processes,
            in_flight: Vec::new(),
            requests: 0,
            crash_at: None,
            unreachable_until_ms: i64::MIN,
        }
    }

    /// Lets everything happen that is due by now, in order.
    pub(super) fn advance(&mut self, now_ms: i64) {
        while let Some(due_ms) = self.next_due_ms().filter(|due_ms| *due_ms <= now_ms) {
            // what was due before the time went on happens now: time does not go back
            self.now_ms = self.now_ms.max(due_ms);
            self.settle();
        }
        self.now_ms = self.now_ms.max(now_ms);
    }

    /// What is due at this very moment: who goes on first, then who falls silent, then the brokers.
    fn settle(&mut self) {
        let now_ms = self.now_ms;
        let presences = self.processes.settle(now_ms);
        self.hear(presences);
        while let Some(index) = self
            .in_flight
            .iter()
            .position(|flight| flight.due_ms <= now_ms)
        {
            let InFlight {
                client,
                producer,
                write,
                ..
            } = self.in_flight.remove(index);
            let name = write.name();
            let answer = self.write(&producer, &write);
            self.note(client, name, "arrives late", &format!("{answer:?}"));
        }
        let mut lag = marker_lag(&mut self.draw, &self.plan);
        self.broker.advance(now_ms, &mut lag);
    }

    /// When something happens next by itself; never now.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        let flights = self.in_flight.iter().map(|flight| flight.due_ms);
        flights
            .chain(self.processes.next_due_ms())
            .chain(self.broker.next_due_ms())
            .chain(self.unreachable_until_ms())
            .min()
    }

    /// A request of a producer as the brokers see it.
    pub(super) fn write(&mut self, producer: &Producer, write: &Write) -> Result<(), Refusal> {
        let mut lag = marker_lag(&mut self.draw, &self.plan);
        self.broker.write(producer, write, self.now_ms, &mut lag)
    }

    /// See [`Broker::init`].
    pub(super) fn init(&mut self, transactional_id: &Arc<str>) -> Result<Producer, Refusal> {
        let mut lag = marker_lag(&mut self.draw, &self.plan);
        self.broker.init(transactional_id, self.now_ms, &mut lag)
    }

    /// Draws what becomes of a transactional request.
    pub(super) fn fate(&mut self, is_end: bool) -> Fate {
        let plan = &self.plan;
        let draw = &mut self.draw;
        if draw.chance(plan.request_lost) {
            return Fate::RequestLost;
        }
        if draw.chance(plan.answer_lost) {
            return Fate::AnswerLost;
        }
        if draw.chance(plan.request_delayed) || (is_end && draw.chance(plan.end_delayed)) {
            return Fate::DelayedUntil(self.now_ms + draw.between(1, plan.delay_ms_max));
        }
        Fate::Answered
    }

    /// Draws whether a request outside transactions has no answer.
    pub(super) fn is_ask_lost(&mut self) -> bool {
        self.draw.chance(self.plan.ask_lost)
    }

    pub(super) fn delay(&mut self, client: u64, due_ms: i64, producer: Producer, write: Write) {
        self.in_flight.push(InFlight {
            due_ms,
            client,
            producer,
            write,
        });
        self.in_flight.sort_by_key(|flight| flight.due_ms);
    }

    /// How long a call waits for an answer that does not come.
    pub(super) fn answer_wait_ms(&mut self) -> i64 {
        self.draw.between(0, self.plan.answer_wait_ms_max)
    }

    /// A new session.
    pub(super) fn register(&mut self, who: &Membership) -> u64 {
        self.processes.register(who, self.now_ms)
    }

    /// Counts a request and draws what happens just before it; returns how long it takes.
    pub(super) fn before_request(&mut self, client: u64, name: &str) -> Result<i64, Obstacle> {
        self.requests += 1;
        let instance = self.processes.instance(client);
        if self.crash_at == Some(self.requests) || self.draw.chance(self.plan.crash) {
            self.crash_at = self.crash_at.filter(|at| *at > self.requests);
            if let Some(instance) = instance {
                self.note(client, name, "dies", "");
                self.kill(&instance);
                return Err(Obstacle::Dead);
            }
        }
        if self.draw.chance(self.plan.maintain) {
            self.broker.maintain(self.now_ms);
            self.note(0, "maintain", "", "");
        }
        if self.draw.chance(self.plan.unreachable) {
            let for_ms = self.draw.between(1, self.plan.unreachable_ms_max);
            self.unreachable_until_ms = self.now_ms + for_ms;
            self.note(0, "unreachable", "for ms", &for_ms.to_string());
        }
        let (rebalance, evict) = (
            self.draw.chance(self.plan.rebalance),
            self.draw.chance(self.plan.evict),
        );
        if let Some((group, id)) = self.processes.member(client) {
            if evict && self.broker.remove(&group, &id, self.now_ms) {
                self.note(client, "evicted", &id, "");
            }
            if rebalance && self.broker.unsettle(&group, self.now_ms) {
                self.note(client, "rebalance", &group, "");
            }
        }
        Ok(self.draw.between(0, self.plan.latency_ms_max))
    }

    /// Draws whether the instance stands still after a call.
    pub(super) fn after_call(&mut self, client: u64) {
        if !self.draw.chance(self.plan.stop) {
            return;
        }
        let for_ms = self
            .draw
            .between(self.plan.stop_ms_min, self.plan.stop_ms_max);
        let Some(instance) = self.processes.instance(client) else {
            return;
        };
        self.stop(&instance, Some(self.now_ms + for_ms));
    }

    /// Until when nobody reaches the brokers, if so.
    pub(super) fn unreachable_until_ms(&self) -> Option<i64> {
        Some(self.unreachable_until_ms).filter(|until| *until > self.now_ms)
    }

    pub(super) fn set_unreachable(&mut self, until_ms: i64) {
        self.unreachable_until_ms = until_ms;
        self.note(0, "unreachable", "until", &until_ms.to_string());
    }

    pub(super) fn crash_at(&mut self, request: u64) {
        self.crash_at = Some(request);
    }

    pub(super) fn polled(&mut self, client: u64) {
        let presence = self.processes.polled(client, self.now_ms);
        self.hear(presence);
    }

    /// Tells the groups who is there and who is not.
    fn hear(&mut self, presences: impl IntoIterator<Item = Presence>) {
        for ((group, id), is_heard) in presences {
            self.broker.presence(&group, &id, is_heard, self.now_ms);
        }
    }

    /// The instances' sessions stand still; None: until `go_on`.
    pub(super) fn stop(&mut self, instance: &str, until_ms: Option<i64>) {
        self.note(0, "stop", instance, &format!("until {until_ms:?}"));
        self.live(instance, Life::Stopped { until_ms });
    }

    pub(super) fn go_on(&mut self, instance: &str) {
        self.note(0, "go on", instance, "");
        self.live(instance, Life::Running);
    }

    pub(super) fn kill(&mut self, instance: &str) {
        self.note(0, "kill", instance, "");
        self.live(instance, Life::Dead);
    }

    fn live(&mut self, instance: &str, life: Life) {
        let presences = self.processes.set_life(instance, life);
        self.hear(presences);
    }

    /// A session is gone without a word.
    pub(super) fn forget(&mut self, client: u64) {
        let presence = self.processes.forget(client);
        self.hear(presence);
    }

    /// One line of the trace.
    pub(super) fn note(&mut self, client: u64, what: &str, how: &str, answer: &str) {
        let label = self.processes.label(client);
        let line = format!(
            "{} {} {label}#{client} {what} {how} → {answer}",
            self.requests, self.now_ms
        );
        self.trace.line(line);
    }

    /// What a dead session's calls answer.
    pub(super) fn dead() -> Fault {
        Fault::Unknown("the process was killed".into())
    }
}

fn marker_lag<'a>(draw: &'a mut Draw, plan: &'a FaultPlan) -> impl FnMut() -> i64 + 'a {
    move || {
        if draw.chance(plan.marker_late) {
            draw.between(1, plan.marker_ms_max)
        } else {
            0
        }
    }
}
