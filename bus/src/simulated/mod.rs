//! The simulated log: brokers, network, processes and time in one state machine that is driven by one seed. The same seed and
//! the same calls give the same answers, fault by fault.
//!
//! ```text
//!  session, reader   the traits, over …
//!  producer, member  what librdkafka does by itself: transactions, joining, rebalances
//!  shared            one lock, one clock: requests and waits
//!  world, processes  pure: who lives, stands still, is dead; what is lost and what is late, drawn from the seed
//!  broker            pure: partitions, transaction coordinator (protocol version 1), groups, assignors
//! ```
//!
//! Whoever tests with it drives several sessions from *one* thread: a call that waits (for records, for an undecided
//! transaction, for a delayed answer) moves the clock to the next event and never blocks. Between calls the driver asks
//! [`SimulatedLog::is_stopped`] and [`SimulatedLog::is_killed`], leaves the stopped alone and drops the killed. Threads work
//! too, with a clock that really waits; only the order of their calls then is nobody's.
//!
//! Time is Kafka's: a transaction ends at its time-out, a member at its session's. A live, running instance counts as heard
//! of at every moment; one that was stopped, killed or dropped does not.
//!
//! Left out: replication and leader changes; sequence numbers (a record is appended once, late or never); transaction
//! protocol 2; the group protocol `consumer`; ACLs; a leader that dies between joining and syncing; compression.

mod broker;
mod clock;
mod draw;
mod member;
mod plan;
mod processes;
mod producer;
mod reader;
mod restore;
mod session;
mod shared;
mod trace;
mod world;

pub use broker::assign::Assignor;
pub use clock::{Clock, SimulatedClock};
pub use plan::{FaultPlan, SimulatedSettings};

use crate::log::{Fault, Log, Membership, Offsets, Reader, Session, TopicSpec, TopicState};
use reader::SimulatedReader;
use session::SimulatedSession;
use shared::Shared;
use std::collections::BTreeMap;
use std::sync::Arc;
use world::World;

/// A simulated cluster. Clones are the same one, seen by another process.
#[derive(Clone)]
pub struct SimulatedLog {
    shared: Arc<Shared>,
}

impl SimulatedLog {
    /// A cluster whose faults are drawn from a seed, with the default settings.
    pub fn new(seed: u64, plan: FaultPlan, clock: impl Clock + 'static) -> Self {
        Self::with_settings(seed, plan, clock, SimulatedSettings::default())
    }

    /// A cluster with settings.
    pub fn with_settings(
        seed: u64,
        plan: FaultPlan,
        clock: impl Clock + 'static,
        settings: SimulatedSettings,
    ) -> Self {
        let world = World::new(seed, plan, settings, clock.now_ms());
        Self {
            shared: Arc::new(Shared::new(world, Arc::new(clock))),
        }
    }

    /// Other faults from now on; with [`FaultPlan::quiet`] what is under way comes to its end. Ends an outage too.
    pub fn set_plan(&self, plan: FaultPlan) {
        let mut world = self.shared.world();
        world.plan = plan;
        world.set_unreachable(i64::MIN);
    }

    /// All sessions of an instance stand still, as after SIGSTOP, until [`SimulatedLog::go_on`]. Their calls are a
    /// [`Fault::Config`] meanwhile.
    pub fn stop(&self, instance: &str) {
        self.shared.world().stop(instance, None);
    }

    /// SIGCONT; also ends a stop that was drawn.
    pub fn go_on(&self, instance: &str) {
        self.shared.world().go_on(instance);
    }

    /// SIGKILL: all sessions of an instance are void, and nobody is told. What it opens afterwards is a new process.
    pub fn kill(&self, instance: &str) {
        self.shared.world().kill(instance);
    }

    /// Whether an instance stands still. If one of its sessions is called although the stop was drawn, the clock first moves
    /// to its end.
    pub fn is_stopped(&self, instance: &str) -> bool {
        self.shared.world().processes.is_stopped(instance)
    }

    /// Whether an instance has sessions that were killed and not dropped yet.
    pub fn is_killed(&self, instance: &str) -> bool {
        self.shared.world().processes.is_killed(instance)
    }

    /// How many requests sessions have made.
    pub fn requests(&self) -> u64 {
        self.shared.world().requests
    }

    /// The instance that makes this request (they count from 1) is killed just before it; 0: none.
    pub fn crash_at_request(&self, number: u64) {
        self.shared.world().crash_at(number);
    }

    /// Nobody reaches the brokers for so long; 0 ends it.
    pub fn unreachable_for_ms(&self, for_ms: i64) {
        let mut world = self.shared.world();
        let until_ms = world.now_ms.saturating_add(for_ms);
        world.set_unreachable(until_ms);
    }

    /// Begins a rebalance of a group at rest; false if it was not.
    pub fn rebalance(&self, group: &str) -> bool {
        let mut world = self.shared.world();
        let now_ms = world.now_ms;
        world.broker.unsettle(group, now_ms)
    }

    /// Transactions that are not over, markers included.
    pub fn undecided(&self) -> usize {
        self.shared.world().broker.undecided()
    }

    /// A group's offsets as far as they are decided.
    pub fn committed_offsets(&self, group: &str) -> Offsets {
        self.shared.world().broker.decided_offsets(group)
    }

    /// All calls, answers and faults so far as one SHA-256, in hexadecimal.
    pub fn trace_hash(&self) -> String {
        self.shared.world().trace.hash()
    }

    /// From now on the trace keeps so many lines instead of 2,000; at least 1.
    pub fn keep_trace(&self, lines_max: usize) {
        self.shared.world().trace.lines_max = lines_max.max(1);
    }

    /// The last lines of the trace: requests so far, time, session, what, how → answer.
    pub fn trace(&self) -> Vec<String> {
        self.shared.world().trace.lines()
    }
}

impl Log for SimulatedLog {
    fn kind(&self) -> &'static str {
        "simulated"
    }

    fn topics(&self) -> Result<BTreeMap<String, TopicState>, Fault> {
        self.shared
            .reach()
            .map_err(|trouble| trouble.outside("listing topics"))?;
        Ok(self.shared.world().broker.topics().clone())
    }

    fn create(&self, wanted: &[TopicSpec]) -> Result<Vec<String>, Fault> {
        self.shared
            .reach()
            .map_err(|trouble| trouble.outside("creating topics"))?;
        if let Some(spec) = wanted.iter().find(|spec| spec.partitions < 1) {
            return Err(Fault::Config(format!(
                "{} cannot have {} partitions",
                spec.name, spec.partitions
            )));
        }
        let mut world = self.shared.world();
        Ok(wanted
            .iter()
            .filter(|spec| world.broker.create(spec))
            .map(|spec| spec.name.clone())
            .collect())
    }

    fn open(&self, who: Membership) -> Result<Box<dyn Session>, Fault> {
        Ok(Box::new(SimulatedSession::open(self.shared.clone(), &who)?))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, Fault> {
        Ok(Box::new(SimulatedReader {
            shared: self.shared.clone(),
        }))
    }

    /// Everything at once; the plan can also have it happen at any request, as Kafka does it at any time.
    fn maintain(&self) -> Result<bool, Fault> {
        let mut world = self.shared.world();
        let now_ms = world.now_ms;
        world.broker.maintain(now_ms);
        Ok(false)
    }
}
