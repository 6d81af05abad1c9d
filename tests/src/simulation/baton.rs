//! Threads that take turns: one runs at a time, those that wait come in the order of their times, ties by the seed. So members
//! are as concurrent as their requests, and the same seed is the same story all the same.
//!
//! Whoever waits (for an answer, for records, for the end of a stop) hands the baton on. A thread that is not in the round
//! moves the clock, as a clock by hand does.

use super::draw::Draw;
use cairn_bus::simulated::{Clock, SimulatedClock};
use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::Thread;

/// The longest that somebody waits without looking again what has happened meanwhile.
const LOOK_AGAIN_MS_MAX: i64 = 80;
/// Ties are broken by numbers below this.
const TIES: usize = 1 << 20;

thread_local! {
    static ME: Cell<Option<u64>> = const { Cell::new(None) };
}

/// The baton, and the time.
pub struct Baton {
    now_ms: AtomicI64,
    running: AtomicU64,
    round: Mutex<Round>,
}

struct Round {
    draw: Draw,
    tickets: u64,
    /// By time, tie and ticket.
    waiting: BTreeMap<(i64, usize, u64), Thread>,
}

impl Baton {
    /// Nobody is in the round.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self {
            now_ms: AtomicI64::new(SimulatedClock::START_MS),
            running: AtomicU64::new(0),
            round: Mutex::new(Round {
                draw: Draw::new(seed, 5),
                tickets: 0,
                waiting: BTreeMap::new(),
            }),
        }
    }

    fn round(&self) -> MutexGuard<'_, Round> {
        self.round.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A place in the round.
    pub fn ticket(&self) -> u64 {
        let mut round = self.round();
        round.tickets += 1;
        round.tickets
    }

    /// The caller is the first of the round, and runs.
    pub fn begin(&self, ticket: u64) {
        ME.set(Some(ticket));
        self.running.store(ticket, Ordering::Release);
    }

    /// A thread that was just begun is in the round from now on.
    pub fn admit(&self, ticket: u64, thread: Thread) {
        let now_ms = self.now_ms();
        let mut round = self.round();
        let tie = round.draw.below(TIES);
        round.waiting.insert((now_ms, tie, ticket), thread);
    }

    /// What a thread of the round does first.
    pub fn enter(&self, ticket: u64) {
        ME.set(Some(ticket));
        self.park(ticket);
    }

    fn park(&self, ticket: u64) {
        while self.running.load(Ordering::Acquire) != ticket {
            std::thread::park();
        }
    }

    /// What a thread of the round does last.
    pub fn leave(&self) {
        ME.set(None);
        self.hand_on(&mut self.round());
    }

    fn hand_on(&self, round: &mut Round) {
        let Some(((time_ms, _, ticket), thread)) = round.waiting.pop_first() else {
            self.running.store(0, Ordering::Release);
            return;
        };
        self.now_ms.fetch_max(time_ms, Ordering::AcqRel);
        self.running.store(ticket, Ordering::Release);
        thread.unpark();
    }

    /// Others run until this time.
    pub fn sleep_until(&self, time_ms: i64) {
        let Some(ticket) = ME.get() else {
            self.now_ms.fetch_max(time_ms, Ordering::AcqRel);
            return;
        };
        {
            let mut round = self.round();
            let tie = round.draw.below(TIES);
            let thread = std::thread::current();
            round.waiting.insert((time_ms, tie, ticket), thread);
            self.hand_on(&mut round);
        }
        self.park(ticket);
    }
}

impl Clock for Baton {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Acquire)
    }

    fn wait_until(&self, time_ms: i64) {
        let again_ms = self.now_ms() + self.round().draw.between(5, LOOK_AGAIN_MS_MAX);
        let is_in_the_round = ME.get().is_some();
        self.sleep_until(if is_in_the_round {
            time_ms.min(again_ms)
        } else {
            time_ms
        });
    }
}
