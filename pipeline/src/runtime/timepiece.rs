//! What time it is for a member: the machine's clocks, or the clock by hand of a simulation.

use crate::metrics::wall_time_ms;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A clock that never goes back, and the wall time beside it; clones are the same clock.
#[derive(Clone)]
pub struct Timepiece {
    now: Arc<dyn Fn() -> Instant + Send + Sync>,
    wall_ms: Arc<dyn Fn() -> i64 + Send + Sync>,
}

impl Default for Timepiece {
    fn default() -> Self {
        Self {
            now: Arc::new(Instant::now),
            wall_ms: Arc::new(wall_time_ms),
        }
    }
}

impl Timepiece {
    /// A clock that shows what `now_ms` says, in milliseconds since the epoch.
    #[must_use]
    pub fn by_hand(now_ms: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        let (begun, begun_ms) = (Instant::now(), now_ms());
        let now_ms = Arc::new(now_ms);
        let wall_ms = now_ms.clone();
        let passed_ms = move || now_ms().saturating_sub(begun_ms).max(0).unsigned_abs();
        Self {
            now: Arc::new(move || begun + Duration::from_millis(passed_ms())),
            wall_ms,
        }
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Instant {
        (self.now)()
    }

    /// Now, in milliseconds since the epoch: for what people are told, never for a core's decision.
    #[must_use]
    pub fn wall_ms(&self) -> i64 {
        (self.wall_ms)()
    }

    /// Time that has passed since then.
    #[must_use]
    pub fn since(&self, then: Instant) -> Duration {
        self.now().saturating_duration_since(then)
    }
}
