//! A story in which every member and every client has a thread of its own, and the baton goes from one to another at every
//! request that takes time: in the middle of a commit, of a restore, of a stop.

use super::baton::Baton;
use super::process::{Process, Slot};
use super::stage::Stage;
use super::writer::Writer;
use super::{Client, Counts, Draw, STILL_MS, Story, hopeless};
use cairn_bus::simulated::FaultPlan;
use cairn_pipeline::runtime::task::Kind;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::Scope;
use std::time::Duration;

/// Simulated time with faults, at least and at most.
const ROUGH_MS: std::ops::Range<i64> = 40_000..90_000;
/// How often it is looked whether all is done, or what to do next.
const LOOK_EVERY_MS: i64 = 300;
/// The longest pause between two steps of a member while it rests.
const PAUSE_MS_MAX: i64 = 1_500;

struct Hall<'a> {
    story: &'a Story,
    stage: &'a Stage,
    baton: &'a Baton,
    is_rough: AtomicBool,
    is_over: AtomicBool,
    /// When anything moved last.
    moved_ms: AtomicI64,
    writers_left: AtomicUsize,
    /// What each member at rest owns.
    rests: Mutex<BTreeMap<u64, Option<usize>>>,
    wrong: Mutex<Option<String>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn play(
    story: &Story,
    stage: &Stage,
    baton: &Baton,
    clients: Vec<Client>,
) -> Result<Counts, String> {
    let hall = Hall {
        story,
        stage,
        baton,
        is_rough: AtomicBool::new(true),
        is_over: AtomicBool::new(false),
        moved_ms: AtomicI64::new(stage.now_ms()),
        writers_left: AtomicUsize::new(clients.len()),
        rests: Mutex::default(),
        wrong: Mutex::default(),
    };
    let mut processes = Vec::new();
    let result = std::thread::scope(|scope| {
        baton.begin(baton.ticket());
        for (name, records) in clients {
            hall.part(scope, move |hall, _, draw| {
                hall.send(Writer::new(name, records), draw)
            });
        }
        let directed = catch_unwind(AssertUnwindSafe(|| hall.direct(scope, &mut processes)));
        hall.is_over.store(true, Ordering::Release);
        baton.leave();
        directed.unwrap_or_else(|panic| resume_unwind(panic))
    });
    if let Some(wrong) = lock(&hall.wrong).take() {
        return Err(wrong);
    }
    result.map(|()| super::met(&processes))
}

impl<'a> Hall<'a> {
    /// A thread of the round.
    fn part<'scope, 'env: 'scope>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        play: impl FnOnce(&Self, u64, &mut Draw) -> Result<(), String> + Send + 'scope,
    ) {
        let ticket = self.baton.ticket();
        let handle = scope.spawn(move || {
            self.baton.enter(ticket);
            let mut draw = Draw::new(self.story.seed, 100 + ticket);
            let played = catch_unwind(AssertUnwindSafe(|| play(self, ticket, &mut draw)));
            let wrong = match played {
                Ok(played) => played.err(),
                Err(panic) => Some(super::panicked(&*panic)),
            };
            if let Some(wrong) = wrong {
                lock(&self.wrong).get_or_insert(wrong);
                self.is_over.store(true, Ordering::Release);
            }
            self.baton.leave();
        });
        self.baton.admit(ticket, handle.thread().clone());
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire)
    }

    fn note_moved(&self) {
        let now_ms = self.stage.now_ms();
        self.moved_ms.store(now_ms, Ordering::Release);
    }

    fn send(&self, mut writer: Writer, draw: &mut Draw) -> Result<(), String> {
        while !self.is_over() && !writer.is_done() {
            writer.step(self.stage, draw).map_err(hopeless)?;
            self.note_moved();
            self.stage.clock.advance_ms(draw.between(0, 1_500));
        }
        self.writers_left.fetch_sub(1, Ordering::AcqRel);
        Ok(())
    }

    fn follow(
        &self,
        ticket: u64,
        process: Arc<Process>,
        kind: Arc<Kind>,
        draw: &mut Draw,
    ) -> Result<(), String> {
        let mut slot = Slot::new(self.stage, process, kind, self.story.bug);
        let mut pause_ms = 50;
        while !self.is_over() {
            let is_rough = self.is_rough.load(Ordering::Acquire);
            let patience = if is_rough {
                draw.pick(&[0, 20, 100])
            } else {
                0
            };
            let moved = slot
                .turn(Duration::from_millis(patience), draw)
                .map_err(hopeless)?;
            let mut rest = None;
            if moved || is_rough {
                pause_ms = 50;
            } else {
                pause_ms = (pause_ms * 2).min(PAUSE_MS_MAX);
                rest = slot.rest().map_err(hopeless)?;
            }
            if moved {
                self.note_moved();
            }
            lock(&self.rests).insert(ticket, rest);
            let pause_ms = if is_rough {
                draw.between(0, 200)
            } else {
                pause_ms
            };
            self.stage.clock.advance_ms(pause_ms);
        }
        lock(&self.rests).remove(&ticket);
        Ok(())
    }

    fn enter<'scope, 'env: 'scope>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        processes: &mut Vec<Arc<Process>>,
        index: usize,
    ) {
        let (name, kinds) = &self.stage.instances[index];
        let process = Process::new(name, kinds.len());
        for kind in kinds {
            let (process, kind) = (process.clone(), kind.clone());
            self.part(scope, move |hall, ticket, draw| {
                hall.follow(ticket, process, kind, draw)
            });
        }
        processes.push(process);
    }

    /// What happens when, by the seed.
    fn direct<'scope, 'env: 'scope>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        processes: &mut Vec<Arc<Process>>,
    ) -> Result<(), String> {
        let stage = self.stage;
        let mut draw = Draw::new(self.story.seed, 2);
        stage.log.set_plan(self.story.plan.clone());
        for index in 0..stage.instances.len() {
            self.enter(scope, processes, index);
        }
        let begun_ms = stage.now_ms();
        let have_sent = || self.writers_left.load(Ordering::Acquire) == 0;
        while !self.is_over() {
            let past_ms = stage.now_ms() - begun_ms;
            if past_ms > ROUGH_MS.end || (past_ms > ROUGH_MS.start && have_sent()) {
                break;
            }
            if draw.percent(1) {
                let which = draw.below(processes.len());
                processes[which].leave(stage, &mut draw);
            } else if draw.percent(1) {
                let which = draw.below(stage.instances.len());
                let name = stage.instances[which].0;
                let mut newest = processes.iter().rev();
                if newest
                    .find(|old| old.name == name)
                    .is_some_and(|old| old.supersede())
                {
                    self.enter(scope, processes, which);
                }
            }
            stage.clock.advance_ms(LOOK_EVERY_MS);
        }
        stage.log.set_plan(FaultPlan::quiet());
        for process in processes.iter() {
            process.end_if_superseded();
        }
        self.is_rough.store(false, Ordering::Release);
        let settle_ms = super::settle_ms(stage.now_ms() - begun_ms);
        let begun_ms = stage.now_ms();
        while !self.is_over() {
            let now_ms = stage.now_ms();
            if now_ms - begun_ms > settle_ms {
                return Err(super::restless(stage, settle_ms));
            }
            let still_ms = now_ms - self.moved_ms.load(Ordering::Acquire);
            if still_ms >= STILL_MS && have_sent() && self.are_quiet() {
                break;
            }
            stage.clock.advance_ms(LOOK_EVERY_MS);
        }
        Ok(())
    }

    fn are_quiet(&self) -> bool {
        let rests = lock(&self.rests);
        let owned: Option<usize> = rests.values().copied().sum();
        owned == Some(self.stage.partitions())
    }
}
