//! The whole topology on the simulated log: one seed is one story of clients, processes and faults, held against an oracle.
//!
//! # Layout
//! - [`draw`]: what the harness decides by the seed.
//! - [`stage`]: topics, settings and shared parts; the work behind an ask.
//! - [`workload`] and [`writer`]: what clients send, and how.
//! - [`process`]: a process with its members, supervised as in life.
//! - `turns` and `concert`: two ways to tell a story; the first takes one thread and is cheap, the second gives each member its
//!   own and hands a [`baton`] on at every request.
//! - [`planted`]: bugs around sessions and tasks.
//! - [`oracle`]: what must have come of it.

pub mod baton;
mod concert;
pub mod draw;
pub mod oracle;
mod plan;
pub mod planted;
pub mod process;
pub mod stage;
mod turns;
pub mod workload;
pub mod writer;

use baton::Baton;
use cairn_bus::simulated::{FaultPlan, SimulatedClock};
use cairn_bus::{Fault, Outgoing};
use draw::Draw;
use planted::Bug;
use process::Process;
use stage::{Stage, Time};
use std::any::Any;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

/// How long clusters and processes have to settle once nothing goes wrong any more, simulated: so long, and a multiple of how
/// long it went wrong. A run has stalled after five times its longest gap, and no gap is longer than the trouble.
const SETTLE_MS: i64 = 600_000;
const SETTLE_TIMES: i64 = 6;
/// So long nothing may have moved before it counts as settled: longer than two ticks.
const STILL_MS: i64 = 7_000;
/// Lines of the trace that are kept.
const TRACE_LINES: usize = 200;

/// A client's name, and what it sends.
type Client = (&'static str, Vec<Outgoing>);

type Counts = BTreeMap<&'static str, usize>;

/// One story.
#[derive(Clone, Debug)]
pub struct Story {
    /// Decides everything.
    pub seed: u64,
    /// What goes wrong.
    pub plan: FaultPlan,
    /// What is done wrong.
    pub bug: Bug,
    /// How many lines of the trace are kept.
    pub trace_lines: usize,
    /// Each member on its own thread.
    pub is_concert: bool,
}

impl Story {
    /// The story of a seed, told by turns.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        Self {
            seed,
            plan: plan::of(seed),
            bug: Bug::None,
            trace_lines: TRACE_LINES,
            is_concert: false,
        }
    }

    /// The same in concert.
    #[must_use]
    pub fn in_concert(self) -> Self {
        Self {
            is_concert: true,
            ..self
        }
    }

    /// The same with a bug.
    #[must_use]
    pub fn with(self, bug: Bug) -> Self {
        Self { bug, ..self }
    }
}

/// What came of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// None: as the oracle says.
    pub difference: Option<String>,
    /// All calls and answers.
    pub trace_hash: String,
    /// The last of them.
    pub trace: Vec<String>,
    /// What was met and what was made, by name.
    pub counts: BTreeMap<&'static str, usize>,
    /// Simulated time.
    pub simulated_ms: i64,
}

/// Tells a story to its end. A panic is a difference.
#[must_use]
pub fn run(story: &Story) -> Outcome {
    catch_unwind(AssertUnwindSafe(|| told(story))).unwrap_or_else(|panic| Outcome {
        difference: Some(panicked(&*panic)),
        ..Outcome::default()
    })
}

fn panicked(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied());
    format!("a panic: {}", text.unwrap_or_default())
}

fn told(story: &Story) -> Outcome {
    let baton = story.is_concert.then(|| Arc::new(Baton::new(story.seed)));
    let clock = baton
        .clone()
        .map_or_else(|| Time::Hand(SimulatedClock::default()), Time::Baton);
    let retries = story.bug == Bug::RetryInPlace;
    let stage = Stage::new(story.seed, clock, retries, |kind| {
        story.bug.into_tasks(kind)
    });
    stage.log.keep_trace(story.trace_lines);
    let begun_ms = stage.now_ms();
    let clients: Vec<Client> = ["one", "two"]
        .into_iter()
        .zip(workload::workload(&stage, &mut Draw::new(story.seed, 3)))
        .collect();
    let played = match &baton {
        Some(baton) => concert::play(story, &stage, baton, clients),
        None => turns::play(story, &stage, clients),
    };
    let (difference, mut counts) = match played {
        Err(why) => (Some(why), Counts::new()),
        Ok(mut counts) => {
            let is_compacted = story.plan.maintain > 0.0;
            let difference = oracle::differs(&stage, is_compacted, &mut counts).err();
            (difference, counts)
        }
    };
    counts.insert("requests", stage.log.requests() as usize);
    Outcome {
        difference,
        trace_hash: stage.log.trace_hash(),
        trace: stage.log.trace(),
        counts,
        simulated_ms: stage.now_ms() - begun_ms,
    }
}

fn hopeless(fault: Fault) -> String {
    format!("a fault that nobody should meet: {fault}")
}

/// How long a cluster may take to settle after so much trouble.
fn settle_ms(rough_ms: i64) -> i64 {
    SETTLE_MS + SETTLE_TIMES * rough_ms
}

/// It did not come to rest; what is left.
fn restless(stage: &Stage, settle_ms: i64) -> String {
    format!(
        "not at rest {settle_ms} ms after the last fault: {}",
        oracle::offsets::differs(stage).err().unwrap_or_default()
    )
}

/// What all processes met.
fn met(processes: &[Arc<Process>]) -> Counts {
    let mut counts = Counts::new();
    for process in processes {
        for (name, count) in process.met() {
            *counts.entry(name).or_default() += count;
        }
    }
    counts
}
