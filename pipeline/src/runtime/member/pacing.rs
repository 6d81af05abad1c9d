//! How long to gather before a commit: the configured interval, and under load as long as keeps commits a bounded share of the time.
//!
//! What a commit costs hangs on the runs and partitions that it touches, much less on the rows. Where commits take long, gathering for longer
//! makes them fewer and each row cheaper, here and at the broker; the longest interval bounds what that adds to latency.

use crate::config::RuntimeConfig;
use std::time::Duration;

/// What the latest commits took: the longest of them, forgotten by a quarter with each that takes less.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Pace {
    recent: Duration,
}

impl Pace {
    /// A commit took so long, encoding included.
    pub(super) fn took(&mut self, took: Duration) {
        self.recent = took.max(self.recent * 3 / 4);
    }

    /// How long a batch may stay open.
    pub(super) fn interval(&self, settings: &RuntimeConfig) -> Duration {
        let least = Duration::from_millis(settings.commit_interval_ms);
        let most = Duration::from_millis(settings.commit_interval_ms_max).max(least);
        let share = settings.commit_share_max;
        self.recent
            .mul_f64((1.0 - share) / share)
            .clamp(least, most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> RuntimeConfig {
        RuntimeConfig {
            commit_interval_ms: 100,
            commit_interval_ms_max: 400,
            commit_share_max: 0.2,
            ..RuntimeConfig::default()
        }
    }

    #[test]
    fn commits_take_their_share_of_the_time_and_no_more() {
        let mut pace = Pace::default();
        assert_eq!(pace.interval(&settings()).as_millis(), 100);
        // A fifth of the time: four times as long between two commits as one takes.
        for (took_ms, interval_ms) in [(20, 100), (50, 200), (90, 360), (500, 400)] {
            pace = Pace::default();
            pace.took(Duration::from_millis(took_ms));
            assert_eq!(pace.interval(&settings()).as_millis(), interval_ms);
        }
    }

    #[test]
    fn a_small_commit_does_not_end_it_and_many_do() {
        let mut pace = Pace::default();
        pace.took(Duration::from_millis(80));
        pace.took(Duration::from_millis(1));
        assert_eq!(pace.interval(&settings()).as_millis(), 240);
        for _ in 0..10 {
            pace.took(Duration::from_millis(1));
        }
        assert_eq!(pace.interval(&settings()).as_millis(), 100);
    }

    #[test]
    fn a_longer_interval_that_was_asked_for_stays() {
        let asked = RuntimeConfig {
            commit_interval_ms: 1_000,
            ..settings()
        };
        assert_eq!(Pace::default().interval(&asked).as_millis(), 1_000);
    }
}
