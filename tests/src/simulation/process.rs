//! A process and its members, supervised as `runtime::service` does it: a member that meets a fault is built anew after a
//! pause; a process that is fenced or killed starts anew as a whole, once nothing is left of it.

use super::draw::Draw;
use super::planted::Bug;
use super::stage::{self, Stage, shared};
use cairn_bus::{Fault, Membership};
use cairn_pipeline::runtime::decode::Decoder;
use cairn_pipeline::runtime::executor::Executor;
use cairn_pipeline::runtime::member::{Member, Step};
use cairn_pipeline::runtime::supervision::Backoff;
use cairn_pipeline::runtime::task::Kind;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often the lag is looked at, as the service does.
const LOOK_EVERY_MS: i64 = 1_000;
/// At most so long is a process gone before it starts anew.
const GONE_MS_MAX: i64 = 15_000;

/// How a process ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    /// SIGKILL, or an error that ends it: nobody is told.
    Dies,
    /// SIGTERM: commits what is open and leaves.
    Leaves,
}

/// A process: what its members share.
pub struct Process {
    /// Its name, which outlives it.
    pub name: &'static str,
    state: Mutex<State>,
}

struct State {
    /// Counts its lives.
    life: u64,
    last: Way,
    /// Members that are still of the life before.
    lagging: usize,
    members: usize,
    gone_until_ms: i64,
    /// Another process with its name was started: whoever looks after this one does so no more.
    superseded: bool,
    ended: bool,
    met: BTreeMap<&'static str, usize>,
}

impl Process {
    /// A process that is about to begin, with so many members.
    #[must_use]
    pub fn new(name: &'static str, members: usize) -> Arc<Self> {
        Arc::new(Self {
            name,
            state: Mutex::new(State {
                life: 0,
                last: Way::Dies,
                lagging: 0,
                members,
                gone_until_ms: 0,
                superseded: false,
                ended: false,
                met: BTreeMap::new(),
            }),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn note(&self, what: &'static str) {
        *self.state().met.entry(what).or_default() += 1;
    }

    /// What it met, by name.
    #[must_use]
    pub fn met(&self) -> BTreeMap<&'static str, usize> {
        self.state().met.clone()
    }

    /// From now on there is another process of its name, and it does not know; one of them will be fenced. False: it was so.
    pub fn supersede(&self) -> bool {
        let mut state = self.state();
        let is_first = !std::mem::replace(&mut state.superseded, true);
        if is_first {
            *state.met.entry("superseded").or_default() += 1;
        }
        is_first
    }

    /// Ends it for good if there is another of its name.
    pub fn end_if_superseded(&self) {
        let mut state = self.state();
        state.ended |= state.superseded;
    }

    /// As after SIGTERM; then it starts anew.
    pub fn leave(&self, stage: &Stage, draw: &mut Draw) {
        self.note("left");
        self.start_anew(Way::Leaves, stage, draw);
    }

    fn start_anew(&self, way: Way, stage: &Stage, draw: &mut Draw) {
        let mut state = self.state();
        if state.lagging > 0 {
            return;
        }
        state.ended |= state.superseded;
        state.life += 1;
        state.last = way;
        state.lagging = state.members;
        state.gone_until_ms = stage.now_ms() + draw.between(0, GONE_MS_MAX);
    }
}

/// A member of a process, or its place.
pub struct Slot<'a> {
    stage: &'a Stage,
    process: Arc<Process>,
    kind: Arc<Kind>,
    bug: Bug,
    life: u64,
    member: Option<Member>,
    backoff: Backoff,
    wait_until_ms: i64,
    built_ms: i64,
    looked_ms: i64,
}

impl<'a> Slot<'a> {
    /// The place of a member.
    #[must_use]
    pub fn new(stage: &'a Stage, process: Arc<Process>, kind: Arc<Kind>, bug: Bug) -> Self {
        Self {
            stage,
            process,
            kind,
            bug,
            life: 0,
            member: None,
            backoff: Backoff::new(&stage.config.runtime),
            wait_until_ms: 0,
            built_ms: 0,
            looked_ms: 0,
        }
    }

    /// Lets the member do one step, or does what is to be done without one; true when that moved anything.
    ///
    /// # Errors
    /// A fault that nobody should meet.
    pub fn turn(&mut self, patience: Duration, draw: &mut Draw) -> Result<bool, Fault> {
        let (log, name) = (&self.stage.log, self.process.name);
        let now_ms = self.stage.now_ms();
        let (life, way, may_begin) = {
            let state = self.process.state();
            if state.ended {
                drop(state);
                return Ok(self.member.take().is_some());
            }
            let may_begin = state.lagging == 0 && now_ms >= state.gone_until_ms;
            (state.life, state.last, may_begin)
        };
        if log.is_stopped(name) {
            self.process.note("stopped");
            return Ok(true);
        }
        if self.life != life {
            self.follow(life, way);
            return Ok(true);
        }
        if self.member.is_some() && log.is_killed(name) {
            self.process.note("killed");
            self.process.start_anew(Way::Dies, self.stage, draw);
            return Ok(true);
        }
        if !may_begin || now_ms < self.wait_until_ms {
            return Ok(true);
        }
        let fault = match self.step(patience) {
            Ok(moved) => return Ok(moved),
            Err(fault) => fault,
        };
        let was_killed = log.is_killed(name);
        self.member = None;
        if was_killed {
            self.process.note("killed");
            self.process.start_anew(Way::Dies, self.stage, draw);
            return Ok(true);
        }
        let what = fault.name();
        match self.backoff.after(fault) {
            Ok(wait) => self.wait_until_ms = self.stage.now_ms() + wait.as_millis() as i64,
            Err(Fault::Fenced(_)) => self.process.start_anew(Way::Dies, self.stage, draw),
            Err(fault) => return Err(fault),
        }
        self.process.note(what);
        Ok(true)
    }

    /// The process has begun another life.
    fn follow(&mut self, life: u64, way: Way) {
        let settings = &self.stage.config.runtime;
        if let Some(member) = self.member.take()
            && way == Way::Leaves
            && !self.stage.log.is_killed(self.process.name)
        {
            // What it could not commit, the next one reads again.
            let _ = member.stop(Duration::from_millis(settings.stop_deadline_ms));
        }
        self.life = life;
        self.backoff = Backoff::new(settings);
        self.wait_until_ms = 0;
        let mut state = self.process.state();
        state.lagging = state.lagging.saturating_sub(1);
    }

    fn step(&mut self, patience: Duration) -> Result<bool, Fault> {
        let stage = self.stage;
        let Some(member) = &mut self.member else {
            self.member = Some(self.build()?);
            (self.built_ms, self.looked_ms) = (stage.now_ms(), stage.now_ms());
            return Ok(true);
        };
        let moved = member.step(patience)? == Step::Moved;
        let now_ms = stage.now_ms();
        let proven_ms = stage.config.runtime.restart_backoff_ms_max as i64;
        if now_ms - self.built_ms > proven_ms {
            self.backoff.reset();
        }
        if now_ms - self.looked_ms > LOOK_EVERY_MS {
            self.looked_ms = now_ms;
            member.lag()?;
        }
        Ok(moved)
    }

    fn build(&self) -> Result<Member, Fault> {
        let (stage, kind, shared) = (self.stage, &self.kind, shared());
        let who = Membership {
            operator: kind.name.to_owned(),
            group: group(stage, kind),
            instance: self.process.name.to_owned(),
            thread: 0,
            topics: kind.inputs.clone(),
        };
        let session = self.bug.open(&stage.log, who, kind.changelog.as_deref())?;
        let member = Member::new(
            kind.clone(),
            session,
            Decoder::new(shared.registry.clone()),
            shared.encoder.clone(),
            Executor::inline(Arc::new(stage::fit), shared.metrics.clone()),
            stage.config.runtime.clone(),
            shared.metrics.clone(),
            None,
        );
        Ok(member
            .with_clock(stage.timepiece())
            .with_snapshots(stage.snapshots(self.process.name)))
    }

    /// How many partitions are its own, once it waits for nothing.
    ///
    /// # Errors
    /// See [`Member::step`].
    pub fn rest(&mut self) -> Result<Option<usize>, Fault> {
        if self.process.state().ended {
            return Ok(Some(0));
        }
        let Some(member) = &mut self.member else {
            return Ok(None);
        };
        let owned = member.owned().len();
        if owned > 0 && !member.is_quiet()? {
            return Ok(None);
        }
        Ok(Some(owned))
    }
}

/// Whose offsets a kind commits.
#[must_use]
pub fn group(stage: &Stage, kind: &Kind) -> String {
    format!("{}.{}", stage.config.log.app_id, kind.name)
}
