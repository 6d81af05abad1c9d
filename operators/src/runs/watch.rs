//! Which runs time can do something to, so that a record costs a look at a few runs and not at all of them.
//!
//! An index over the tables `followed` and `endings`, made from them and never written to the changelog. It holds for each run
//! under way the one moment at which its clock must be looked at next; between a look and that moment nothing happens to a
//! run unless its clock or its row changes, and then it is named to [`Watch::look_at`].

use super::agenda::Agenda;
use super::timers::Health;
use crate::time::{self, Activity, AppendTimeMs, RunClock, TimeSettings};
use std::collections::BTreeSet;

/// The index.
#[derive(Debug, Default)]
pub(super) struct Watch {
    /// When the clock of a run under way is next to be looked at.
    next: Agenda,
    /// Append time of the newest row of a run under way.
    heard: Agenda,
    /// Runs that had stalled when they were last placed.
    stalled: BTreeSet<String>,
    /// When an ended run is forgotten.
    endings: Agenda,
    /// Runs to be looked at with the next record, whatever the time.
    named: BTreeSet<String>,
}

impl Watch {
    /// Notes where a run stands at a wall time; called whenever its clock or its ending changed, and after each look.
    pub(super) fn place(
        &mut self,
        key: &str,
        clock: Option<&RunClock>,
        forget_at_ms: Option<i64>,
        settings: &TimeSettings,
        now: AppendTimeMs,
    ) {
        let under_way = clock.filter(|clock| is_under_way(clock));
        self.next.set(
            key,
            under_way
                .and_then(|clock| time::next_timer(clock, settings, now))
                .map(|at| at.0),
        );
        self.heard
            .set(key, under_way.map(|clock| clock.append_time_ms.0));
        if under_way.is_some_and(|clock| is_stalled(clock, settings, now)) {
            if !self.stalled.contains(key) {
                self.stalled.insert(key.to_owned());
            }
        } else {
            self.stalled.remove(key);
        }
        self.endings.set(key, forget_at_ms);
    }

    /// Has a run looked at with the next record.
    pub(super) fn look_at(&mut self, key: &str) {
        self.named.insert(key.to_owned());
    }

    /// Runs to be looked at now, in key order. Each is placed again after the look.
    pub(super) fn take_due(&mut self, now: AppendTimeMs) -> BTreeSet<String> {
        let mut due = std::mem::take(&mut self.named);
        due.extend(self.next.due(now.0).map(str::to_owned));
        due
    }

    /// Runs whose moment has passed.
    pub(super) fn passed(&self, now: AppendTimeMs) -> Vec<String> {
        self.next.due(now.0).map(str::to_owned).collect()
    }

    /// Ended runs that are to be forgotten now, in key order.
    pub(super) fn over(&self, now: AppendTimeMs) -> BTreeSet<String> {
        self.endings.due(now.0).map(str::to_owned).collect()
    }

    /// When ended runs are forgotten, in key order.
    #[cfg(test)]
    pub(super) fn endings(&self) -> Vec<(&str, i64)> {
        self.endings.times()
    }

    /// The earliest wall time at which something is to be done.
    pub(super) fn due_ms(&self) -> Option<i64> {
        let both = [self.next.first_ms(), self.endings.first_ms()];
        both.into_iter().flatten().min()
    }

    /// How the runs are doing at a wall time that need not be the core's; `placed` is when they were placed, `has_stalled`
    /// says it of one run at the time asked for.
    pub(super) fn health(
        &self,
        wall: AppendTimeMs,
        placed: AppendTimeMs,
        has_stalled: impl Fn(&str) -> bool,
    ) -> Health {
        let known = if wall >= placed {
            self.stalled.len()
        } else {
            self.stalled.iter().filter(|key| has_stalled(key)).count()
        };
        // The moment at which a run stalls is one at which it is looked at.
        let since = self.next.due(wall.0);
        let since = since.filter(|key| !self.stalled.contains(*key) && has_stalled(key));
        Health {
            silence_ms_max: self
                .heard
                .first_ms()
                .map_or(0, |heard_ms| wall.0.saturating_sub(heard_ms).max(0)),
            stalled: known + since.count(),
        }
    }
}

/// True while a run's silence means something.
pub(super) fn is_under_way(clock: &RunClock) -> bool {
    !clock.ended && clock.attempt.is_some()
}

/// True where a run under way has been silent for too long.
pub(super) fn is_stalled(clock: &RunClock, settings: &TimeSettings, now: AppendTimeMs) -> bool {
    is_under_way(clock) && time::activity(clock, settings, now) == Activity::Stalled
}
