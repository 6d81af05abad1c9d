//! Where the processing thread's time goes, by phase; told at the end. Two looks at the clock for thousands of rows.

use std::time::{Duration, Instant};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Start and whatever is not named here.
    Other,
    Restore,
    Poll,
    Apply,
    Send,
    Changelog,
    Commit,
}

const NAMES: [&str; 7] = [
    "other",
    "restore",
    "poll",
    "apply",
    "send",
    "changelog",
    "commit",
];

pub struct Phases {
    since: Instant,
    phase: Phase,
    spent: [Duration; NAMES.len()],
    pub rows: u64,
    pub outputs: u64,
    pub changes: u64,
    pub changelog_bytes: u64,
    pub commits: u64,
}

impl Default for Phases {
    fn default() -> Self {
        Self {
            since: Instant::now(),
            phase: Phase::Other,
            spent: Default::default(),
            rows: 0,
            outputs: 0,
            changes: 0,
            changelog_bytes: 0,
            commits: 0,
        }
    }
}

impl Phases {
    pub fn enter(&mut self, phase: Phase) {
        let now = Instant::now();
        self.spent[self.phase as usize] += now - self.since;
        self.since = now;
        self.phase = phase;
    }

    pub fn report(&mut self) {
        self.enter(Phase::Other);
        let spent: Vec<String> = NAMES
            .iter()
            .zip(&self.spent)
            .map(|(name, spent)| format!("{name} {:.3}", spent.as_secs_f64()))
            .collect();
        tracing::info!(
            rows = self.rows,
            outputs = self.outputs,
            commits = self.commits,
            changes = self.changes,
            changelog_bytes = self.changelog_bytes,
            "seconds of the processing thread: {}",
            spent.join(", ")
        );
    }
}
