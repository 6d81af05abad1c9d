//! What time it is for a member: the machine's monotonic clock, or the clock by hand of a simulation.

use std::sync::Arc;
use std::time::{Duration, Instant};

/// A clock that never goes back; clones are the same clock.
#[derive(Clone)]
pub struct Timepiece(Arc<dyn Fn() -> Instant + Send + Sync>);

impl Default for Timepiece {
    fn default() -> Self {
        Self(Arc::new(Instant::now))
    }
}

impl Timepiece {
    /// A clock that shows what `now_ms` says, in milliseconds since it was made.
    #[must_use]
    pub fn by_hand(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        let begun = Instant::now();
        Self(Arc::new(move || begun + Duration::from_millis(now_ms())))
    }

    /// Now.
    #[must_use]
    pub fn now(&self) -> Instant {
        (self.0)()
    }

    /// Time that has passed since then.
    #[must_use]
    pub fn since(&self, then: Instant) -> Duration {
        self.now().saturating_duration_since(then)
    }
}
