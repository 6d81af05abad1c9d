//! The whole topology on the simulated log: one seed is one story of clients, processes and faults, told by one thread and
//! held against an oracle.
//!
//! # Layout
//! - [`draw`]: what the harness decides by the seed.
//! - [`stage`]: topics, settings and shared parts; the work behind an ask.
//! - [`workload`] and [`writer`]: what clients send, and how.
//! - [`instance`]: a process with its members, supervised as in life.
//! - [`planted`]: bugs around sessions and tasks.
//! - [`oracle`]: what must have come of it.
//!
//! Not told: threads (each member's calls follow one another, members take turns between calls), a process that stands still
//! in the middle of a step while others go on (it stands still between steps, or time passes it by in the middle).

pub mod draw;
pub mod instance;
pub mod oracle;
pub mod planted;
pub mod stage;
pub mod workload;
pub mod writer;

use cairn_bus::Fault;
use cairn_bus::simulated::FaultPlan;
use draw::Draw;
use instance::Instance;
use planted::Bug;
use stage::{Stage, shared};
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;
use writer::Writer;

/// At least so many steps with faults, and at most.
const ROUGH_STEPS: std::ops::Range<usize> = 400..2_500;
/// How long clusters and processes have to settle once nothing goes wrong any more, simulated: the longest grace of a run
/// (five times its longest gap) with room.
const SETTLE_MS_MAX: i64 = 3_600_000;
/// So long nothing may have moved before it counts as settled: longer than two ticks.
const STILL_MS: i64 = 7_000;
/// The longest that a still cluster's clock jumps.
const JUMP_MS_MAX: i64 = 1_500;

/// Lines of the trace that are kept.
const TRACE_LINES: usize = 200;

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
}

impl Story {
    /// The story of a seed: all faults, or about half of them, or one of them all the time.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let plan = match seed % 3 {
            0 => FaultPlan::rough(),
            1 => FaultPlan::drawn(seed),
            _ => stubborn(seed),
        };
        Self {
            seed,
            plan,
            bug: Bug::None,
            trace_lines: TRACE_LINES,
        }
    }

    /// The same with a bug.
    #[must_use]
    pub fn with(self, bug: Bug) -> Self {
        Self { bug, ..self }
    }
}

/// The drawn plan with one fault that comes many times as often.
fn stubborn(seed: u64) -> FaultPlan {
    /// Times as often.
    const OFTEN: f64 = 8.0;
    let mut plan = FaultPlan::drawn(seed);
    let rough = FaultPlan::rough();
    let shares = [
        (&mut plan.request_lost, rough.request_lost),
        (&mut plan.answer_lost, rough.answer_lost),
        (&mut plan.request_delayed, rough.request_delayed),
        (&mut plan.end_delayed, rough.end_delayed),
        (&mut plan.ask_lost, rough.ask_lost),
        (&mut plan.abort, rough.abort),
        (&mut plan.rebalance, rough.rebalance),
        (&mut plan.evict, rough.evict),
        (&mut plan.stop, rough.stop),
        (&mut plan.crash, rough.crash),
        (&mut plan.marker_late, rough.marker_late),
        (&mut plan.maintain, rough.maintain),
    ];
    let which = Draw::new(seed, 4).below(shares.len());
    for (index, (share, rough)) in shares.into_iter().enumerate() {
        if index == which {
            *share = rough * OFTEN;
        }
    }
    plan
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
    catch_unwind(AssertUnwindSafe(|| told(story))).unwrap_or_else(|panic| {
        let text = panic
            .downcast_ref::<String>()
            .cloned()
            .or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Outcome {
            difference: Some(format!("a panic: {}", text.unwrap_or_default())),
            ..Outcome::default()
        }
    })
}

fn told(story: &Story) -> Outcome {
    let retries = story.bug == Bug::RetryInPlace;
    let stage = Stage::new(story.seed, retries, |kind| story.bug.into_tasks(kind));
    stage.log.keep_trace(story.trace_lines);
    let mut draw = Draw::new(story.seed, 2);
    let begun_ms = stage.now_ms();
    let mut writers: Vec<Writer> = workload::workload(&stage, &mut Draw::new(story.seed, 3))
        .into_iter()
        .zip(["one", "two"])
        .map(|(records, name)| Writer::new(name, records))
        .collect();
    let mut instances: Vec<Instance<'_>> = stage
        .instances
        .iter()
        .map(|(name, kinds)| Instance::new(&stage, name, kinds, story.bug))
        .collect();
    let ended = rough(story, &stage, &mut draw, &mut writers, &mut instances)
        .and_then(|()| settle(&stage, &mut draw, &mut writers, &mut instances));
    let mut counts = BTreeMap::new();
    for (name, count) in instances.iter().flat_map(|instance| &instance.met) {
        *counts.entry(*name).or_default() += count;
    }
    drop(instances);
    let difference = match ended {
        Err(why) => Some(why),
        Ok(()) => oracle::differs(&stage, story.plan.maintain > 0.0, &mut counts).err(),
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

/// Clients send while everything goes wrong.
fn rough(
    story: &Story,
    stage: &Stage,
    draw: &mut Draw,
    writers: &mut [Writer],
    instances: &mut Vec<Instance<'_>>,
) -> Result<(), String> {
    stage.log.set_plan(story.plan.clone());
    for step in 0..ROUGH_STEPS.end {
        if step >= ROUGH_STEPS.start && writers.iter().all(Writer::is_done) {
            break;
        }
        if draw.percent(12) {
            let which = draw.below(writers.len());
            writers[which].step(stage, draw).map_err(hopeless)?;
        } else {
            let which = draw.below(instances.len());
            let instance = &mut instances[which];
            if draw.below(400) == 0 {
                instance.leave(draw);
            } else if draw.below(600) == 0 && instance.is_current() {
                let heir = instance.superseded();
                instances.push(heir);
            } else {
                let member = draw.below(instance.size().max(1));
                let patience = Duration::from_millis(draw.pick(&[0, 0, 20]));
                instance.step(member, patience, draw).map_err(hopeless)?;
            }
        }
        stage.clock.advance_ms(draw.between(0, 60));
    }
    stage.log.set_plan(FaultPlan::quiet());
    Ok(())
}

/// Nothing goes wrong any more: clients send the rest, and everything must come to rest in time.
fn settle(
    stage: &Stage,
    draw: &mut Draw,
    writers: &mut [Writer],
    instances: &mut [Instance<'_>],
) -> Result<(), String> {
    for old in instances.iter_mut().filter(|old| !old.is_current()) {
        old.end();
    }
    let begun_ms = stage.now_ms();
    let mut still_since_ms = begun_ms;
    let mut jump_ms = 50;
    loop {
        let mut moved = false;
        for writer in writers.iter_mut() {
            moved |= !writer.is_done();
            writer.step(stage, draw).map_err(hopeless)?;
        }
        for instance in instances.iter_mut() {
            moved |= instance.size() > 0 && instance.is_away();
            for member in 0..instance.size() {
                moved |= instance
                    .step(member, Duration::ZERO, draw)
                    .map_err(hopeless)?;
            }
        }
        let now_ms = stage.now_ms();
        if moved {
            (still_since_ms, jump_ms) = (now_ms, 50);
        } else if now_ms - still_since_ms >= STILL_MS && is_quiet(stage, instances)? {
            return Ok(());
        }
        if now_ms - begun_ms > SETTLE_MS_MAX {
            return Err(format!(
                "not at rest {SETTLE_MS_MAX} ms after the last fault: {}",
                oracle::offsets::differs(stage).err().unwrap_or_default()
            ));
        }
        stage.clock.advance_ms(jump_ms);
        jump_ms = (jump_ms * 2).min(JUMP_MS_MAX);
    }
}

/// Whether every partition is somebody's and nobody waits for anything.
fn is_quiet(stage: &Stage, instances: &mut [Instance<'_>]) -> Result<bool, String> {
    let mut owned = 0;
    for instance in instances {
        if !instance.is_up() {
            return Ok(false);
        }
        for member in instance.members() {
            owned += member.owned().len();
            if !member.owned().is_empty() && !member.is_quiet().map_err(hopeless)? {
                return Ok(false);
            }
        }
    }
    let expected: i32 = stage
        .kinds
        .iter()
        .flat_map(|kind| &kind.inputs)
        .filter_map(|topic| shared().encoder.partitions(topic))
        .sum();
    Ok(owned == expected as usize)
}
