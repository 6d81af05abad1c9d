//! Time as the simulated log sees it: a number that somebody moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

/// Where the log takes its time from, and how it waits. The log itself never sleeps.
pub trait Clock: Send + Sync {
    /// Milliseconds since 1970; never goes back.
    fn now_ms(&self) -> i64;

    /// Waits until this time or for a shorter while: the caller looks again and waits on. A clock by hand jumps there.
    fn wait_until(&self, time_ms: i64);
}

/// A clock by hand: stands still until it is moved, by [`SimulatedClock::advance_ms`] or by a call that waits. Clones are the
/// same clock.
#[derive(Clone, Debug)]
pub struct SimulatedClock {
    now_ms: Arc<AtomicI64>,
}

impl SimulatedClock {
    /// Where a clock begins unless told otherwise: 2026-01-01T00:00:00Z.
    pub const START_MS: i64 = 1_767_225_600_000;

    /// A clock that stands at this time.
    pub fn at(now_ms: i64) -> Self {
        Self {
            now_ms: Arc::new(AtomicI64::new(now_ms)),
        }
    }

    /// Moves it on; negative values do nothing.
    pub fn advance_ms(&self, by_ms: i64) {
        self.now_ms.fetch_add(by_ms.max(0), Ordering::AcqRel);
    }
}

impl Default for SimulatedClock {
    fn default() -> Self {
        Self::at(Self::START_MS)
    }
}

impl Clock for SimulatedClock {
    fn now_ms(&self) -> i64 {
        self.now_ms.load(Ordering::Acquire)
    }

    fn wait_until(&self, time_ms: i64) {
        self.now_ms.fetch_max(time_ms, Ordering::AcqRel);
    }
}
