//! One process: a member of each of its task kinds, supervised as `runtime::service` does it. A member that meets a fault is
//! built anew after a pause; a process that is fenced or killed starts anew as a whole.

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
use std::sync::Arc;
use std::time::Duration;

/// How often the lag is looked at, as the service does.
const LOOK_EVERY_MS: i64 = 1_000;
/// At most so long is a process gone before it starts anew.
const GONE_MS_MAX: i64 = 15_000;

/// A process.
pub struct Instance<'a> {
    stage: &'a Stage,
    name: &'static str,
    bug: Bug,
    slots: Vec<Slot>,
    gone_until_ms: i64,
    /// Another process with its name was started: whoever looks after this one does so no more.
    superseded: bool,
    /// What it met, by name.
    pub met: BTreeMap<&'static str, usize>,
}

struct Slot {
    kind: Arc<Kind>,
    member: Option<Member>,
    backoff: Backoff,
    wait_until_ms: i64,
    built_ms: i64,
    looked_ms: i64,
}

impl<'a> Instance<'a> {
    /// A process that has not begun.
    #[must_use]
    pub fn new(stage: &'a Stage, name: &'static str, kinds: &[Arc<Kind>], bug: Bug) -> Self {
        let slots = kinds
            .iter()
            .map(|kind| Slot {
                kind: kind.clone(),
                member: None,
                backoff: Backoff::new(&stage.config.runtime),
                wait_until_ms: 0,
                built_ms: 0,
                looked_ms: 0,
            })
            .collect();
        Self {
            stage,
            name,
            bug,
            slots,
            gone_until_ms: 0,
            superseded: false,
            met: BTreeMap::new(),
        }
    }

    /// Another process of the same name, beside this one, which does not know; one of them will be fenced.
    #[must_use]
    pub fn superseded(&mut self) -> Self {
        self.superseded = true;
        self.note("superseded");
        let kinds: Vec<Arc<Kind>> = self.slots.iter().map(|slot| slot.kind.clone()).collect();
        Self::new(self.stage, self.name, &kinds, self.bug)
    }

    /// Whether it is the only one of its name that somebody looks after.
    #[must_use]
    pub fn is_current(&self) -> bool {
        !self.superseded
    }

    /// Whether it stands still, or is dead and does not know.
    #[must_use]
    pub fn is_away(&self) -> bool {
        self.stage.log.is_stopped(self.name) || self.stage.log.is_killed(self.name)
    }

    /// How many members it has.
    #[must_use]
    pub fn size(&self) -> usize {
        self.slots.len()
    }

    /// Its members, as far as they are built.
    pub fn members(&mut self) -> impl Iterator<Item = &mut Member> {
        self.slots
            .iter_mut()
            .filter_map(|slot| slot.member.as_mut())
    }

    /// Whether all of its members are built.
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.slots.iter().all(|slot| slot.member.is_some())
    }

    fn note(&mut self, what: &'static str) {
        *self.met.entry(what).or_default() += 1;
    }

    /// Lets one member do one step; true when that moved anything.
    ///
    /// # Errors
    /// A fault that waiting does not help.
    pub fn step(
        &mut self,
        which: usize,
        patience: Duration,
        draw: &mut Draw,
    ) -> Result<bool, Fault> {
        let now_ms = self.stage.now_ms();
        if self.stage.log.is_killed(self.name) {
            self.note("killed");
            self.start_anew(draw);
            return Ok(true);
        }
        if self.stage.log.is_stopped(self.name) {
            self.note("stopped");
            return Ok(false);
        }
        let Some(slot) = self.slots.get_mut(which) else {
            return Ok(false);
        };
        if now_ms < self.gone_until_ms || now_ms < slot.wait_until_ms {
            return Ok(false);
        }
        let fault = match slot.step(self.stage, self.name, self.bug, patience) {
            Ok(moved) => return Ok(moved),
            Err(fault) => fault,
        };
        slot.member = None;
        let name = fault.name();
        match slot.backoff.after(fault) {
            Ok(wait) => {
                slot.wait_until_ms = now_ms + wait.as_millis() as i64;
                self.note(name);
            }
            Err(Fault::Fenced(_)) => {
                self.note(name);
                self.start_anew(draw);
            }
            Err(fault) => return Err(fault),
        }
        Ok(true)
    }

    /// As after a kill: nothing of it is left but its name.
    fn start_anew(&mut self, draw: &mut Draw) {
        let settings = &self.stage.config.runtime;
        if self.superseded {
            self.slots.clear();
        }
        for slot in &mut self.slots {
            slot.member = None;
            slot.backoff = Backoff::new(settings);
            slot.wait_until_ms = 0;
        }
        self.gone_until_ms = self.stage.now_ms() + draw.between(0, GONE_MS_MAX);
    }

    /// As after SIGKILL, for good.
    pub fn end(&mut self) {
        self.slots.clear();
    }

    /// As after SIGTERM: commits what is open and leaves, member by member; then it starts anew.
    pub fn leave(&mut self, draw: &mut Draw) {
        let log = &self.stage.log;
        if log.is_killed(self.name) || log.is_stopped(self.name) {
            return;
        }
        let deadline = Duration::from_millis(self.stage.config.runtime.stop_deadline_ms);
        for slot in &mut self.slots {
            if let Some(member) = slot.member.take() {
                // What it could not commit, the next one reads again.
                let _ = member.stop(deadline);
            }
        }
        self.note("left");
        self.start_anew(draw);
    }
}

impl Slot {
    fn step(
        &mut self,
        stage: &Stage,
        instance: &str,
        bug: Bug,
        patience: Duration,
    ) -> Result<bool, Fault> {
        let now_ms = stage.now_ms();
        let Some(member) = &mut self.member else {
            self.member = Some(build(stage, &self.kind, instance, bug)?);
            (self.built_ms, self.looked_ms) = (now_ms, now_ms);
            return Ok(true);
        };
        let moved = member.step(patience)? == Step::Moved;
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
}

fn build(stage: &Stage, kind: &Arc<Kind>, instance: &str, bug: Bug) -> Result<Member, Fault> {
    let shared = shared();
    let who = Membership {
        operator: kind.name.to_owned(),
        group: group(stage, kind),
        instance: instance.to_owned(),
        thread: 0,
        topics: kind.inputs.clone(),
    };
    let session = bug.open(&stage.log, who, kind.changelog.as_deref())?;
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
    Ok(member.with_clock(stage.timepiece()))
}

/// Whose offsets a kind commits.
#[must_use]
pub fn group(stage: &Stage, kind: &Kind) -> String {
    format!("{}.{}", stage.config.log.app_id, kind.name)
}
